"""What the installed plugins offer, by kind and name."""
