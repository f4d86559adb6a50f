"""Modules made of the equations: neurons, thresholds, attention, fusions and label heads."""
