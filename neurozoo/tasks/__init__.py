"""Tasks, one per file: loss, prediction, decision and metrics of a model's outputs."""
