"""Programs from Python.

In go calls of a Builder; out comes the Program that the same text would mean. `builder` (declarations, text and build),
`methods` (the instructions, out of the table), `macros` (of an included file), `sections` (what is written, and what
stands open), `values` (tensors, slices and expressions of counters). All of them write syntax nodes; `stub` writes
instructions.pyi, their types.
"""
