"""Training a model of a recipe into a run folder."""
