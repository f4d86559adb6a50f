"""Real data that comes with neurozoo, each file with its own licence, and opened without a download."""
