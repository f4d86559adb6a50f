"""Backends that run neurons, and checks that two of them agree."""
