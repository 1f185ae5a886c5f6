"""What the machine is: types, operands, the table, encoding, meaning, Program, chips. Imports no other package here.

Flat, for its files are alike. Values: `dtypes`, `formats`, `operand`, `intervals`, `instruction`, `program`, with
`kept`. The table: `row` (what a row is made of), `rows_tensor`, `rows_pool`, `rows_memory`, `rows_sequencer`, `table`,
and `words`. What must hold: `view`, `shape_rules`, `verify`, `loops`, `synchronisation`, `verify_program`. Bits:
`encoding`, `compressed`, `grouped`, `object_file`. Meaning: `functions`, `reference`, `interpret`, `quantise`. Chips:
`chip_file`, `chip`, `bounds_chip`. For people: `manual`, `diagnostic`, `errors`, `suggest`, `visible`, `files`, `npy`,
`memory` (what is free), and `file_kinds` (what a file is).
"""
