"""Whole networks of the literature with seeded weights, described once, and written as ONNX files for `ratel`."""
