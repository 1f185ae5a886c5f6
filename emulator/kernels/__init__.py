"""What each instruction computes, compiled: fast, and to the bit what isa.reference says.

In go the arena and a row of the plan; the result is in the arena. In order: `table` (KERNELS by opcode), a file for
each kind of instruction (`tensor`, with `floats`, `pairs`, `groups` and `group_lines` where it multiplies floats,
`depthwise`, `eltwise`, `rotate`, `pool`, `reduce`, `topk`, `sample`, `memory`), and what they share:
`workspace` (scratch memory, a walker's share), `stripes` (what would take too much of it), `elements`, `packing`,
`microkernel` (products, from memory to accumulators), `chain`, `requantise`, `arithmetic`, `special_functions` (what
follows, to the result; all at once where it is of 8 bits), `rows`, `numbers` (storage types, and float32 in the vector
format).
"""
