"""What a model computes: its operations by layer, and an estimate of their energy, next to a control without spikes."""
