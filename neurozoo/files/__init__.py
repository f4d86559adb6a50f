"""The doors to the disk: open, read, write and lock files and folders, which may be somebody else's."""
