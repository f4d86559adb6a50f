"""Data sets on disk, how they are made of other people's files, and how a recipe sees them."""
