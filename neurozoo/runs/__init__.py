"""The folder that holds all of one training, trained models, and the device and threads of a process."""
