"""Public data by its URLs: what there is, under which terms, and fetching it whole, once."""
