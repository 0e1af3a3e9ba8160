"""Scans in and out: files become a `Volume`, and the geometry of the world is said here alone."""
