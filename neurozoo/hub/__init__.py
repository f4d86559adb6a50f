"""A run as a folder for a model hub."""
