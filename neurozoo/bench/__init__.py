"""What things cost on this machine: ratios of runs that take turns in one process."""
