"""Training, evaluation, run folders and checkpoints."""
