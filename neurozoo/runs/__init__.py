"""The folder of a training, packed or not."""
