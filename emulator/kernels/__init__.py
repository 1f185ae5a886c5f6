"""What each instruction computes, compiled: fast, and to the bit what isa.reference says.

In go the arena and a row of the plan; the result is in the arena. `table` (KERNELS by opcode), a file for each kind of
instruction (`tensor`, `depthwise`, `eltwise`, `pool`, `reduce`, `sample`, `memory`), and what they share: `packing` and
`microkernel` (products), `chain` (all behind the accumulator), `elements`, `numbers`, `special_functions`, `workspace`.
"""
