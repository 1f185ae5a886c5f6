"""Programs from Python.

In go calls of a Builder; out comes the Program that the same text would mean. `builder` (declarations and build),
`values` (tensors, slices and expressions of counters).
"""
