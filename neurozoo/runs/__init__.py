"""The folder that holds all of one training, and what a process is set up with for it."""
