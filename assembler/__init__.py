"""Text to Program and back. Knows isa.

In goes text (syntax) or calls (builder); out comes a Program, or diagnostics. `assemble` has the passes in
their order: `files` (which a text names, or which come along, in library/), `expand` (includes, macros, repetitions),
`symbols` and `expressions`, `declarations` with `data`, `placement` with `layout`, `resolve` (instructions) with
`arguments`, `operands`, `attributes`, `multipliers`, `requantise`, `scales` (those left out) and `near_misses` (what
may have been meant), `checks`, and `lint` (what is odd). `disassemble` goes back, with `spelling`.
"""
