"""Trained models as programs of other runtimes, which need no neurozoo."""
