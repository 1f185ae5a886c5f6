"""Example programs and the scripts that made their weights."""
