"""Kernel of the tensor engine: eltwise, the chain on a tensor of any type."""

from emulator.factors import ZERO, accumulators
from emulator.jit import hot, whole
from emulator.plan import SHAPE, attribute_slot, operand_slot
from emulator.share import share
from emulator.storage import Array
from emulator.vector import OUT, X, load_rows, open_chain, row_count, run_chain

X_ZERO = attribute_slot("eltwise", "x_zero")
CHAIN, STAGES = whole(operand_slot("eltwise", "ew1_scale")), whole(attribute_slot("eltwise", "ew2_op"))


@hot
def eltwise(arena: Array, row: Array) -> None:
    """acc = x - x_zero, then the chain."""
    rows, channels = row_count(row), row[OUT + SHAPE + 3]
    chain = open_chain(arena, row, CHAIN, STAGES)
    block = chain.v.size // channels
    acc, sums = accumulators(0, channels, False)
    mine, end = share(row, rows)
    for first in range(mine, end, block):
        count = min(block, end - first)
        load_rows(arena, row, X, row[X_ZERO], first, ZERO, channels, chain.v[: count * channels])
        run_chain(arena, row, chain, acc, sums, first, count, ZERO, channels)
