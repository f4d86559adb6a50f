"""Stand-in data sets, generated here."""
