"""What models see of stored signals: one family of representations a module."""
