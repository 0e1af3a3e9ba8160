"""Many scans on many workers: one case is one result folder and one row, and nothing is lost."""
