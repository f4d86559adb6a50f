"""Models of several modalities without spikes, and what they share."""
