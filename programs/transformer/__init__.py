"""One transformer encoder layer."""
