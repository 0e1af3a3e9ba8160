"""Lesions over time: registration of two scans, matching of lesions, tracks, growth and response."""
