"""Training cases: fetched, checked, converted, split, made from phantoms, cut into patches."""
