"""A seat in the hospital's network: scans come in, results go back, nothing is lost and nothing done twice."""
