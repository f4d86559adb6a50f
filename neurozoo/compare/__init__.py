"""Backends compared on one model, and runs compared with one another."""
