"""Many trainings of one recipe: seeds, ablation, tuning, baselines."""
