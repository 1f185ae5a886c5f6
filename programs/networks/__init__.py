"""Whole networks of the literature with seeded weights: described once, run as programs, computed again in NumPy."""
