"""Sizes of what kernels work on at a time: they are compiled with them, and scratch memory is planned by them.

Why each is as it is says the kernel that goes by it.
"""

from emulator.jit.forms import TILES, chosen_form
from emulator.jit.intrinsics import whole

CACHE_LINE = 64
# Elements of a long row: they stay in the first-level cache (emulator/kernels/rows.py).
LANES = 4096
# Of a chain (emulator/kernels/chain.py): its constants, elements up to which each is repeated, and those of a table.
CONSTANTS, LINE, TABLE_ELEMENTS = whole(4), 256, whole(256)
# Of products summed over channels (emulator/kernels/tensor.py, packing.py, microkernel.py): the register tile, bytes of
# a step and of an element of 8 bits as it is packed; bytes of packed x, and of sums.
TILE = TILES[chosen_form()]
STEP, ELEMENT = whole(4), whole(TILE.element)
ROWS, COLUMNS = whole(TILE.rows), whole(TILE.vectors * TILE.lanes)
BLOCK_BYTES = 256 * 1024
# Of stripes (emulator/kernels/stripes.py): bits that a dimension takes in CUT, which holds one more than it is.
CUT_BITS = whole(4)
