"""Interfaces of the zoo: signals, tasks, neurons, layers, models."""
