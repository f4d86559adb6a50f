"""A zoo of spiking models."""
