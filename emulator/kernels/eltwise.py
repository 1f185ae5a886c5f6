"""Kernel of the tensor engine: eltwise, the chain on a tensor of any type."""

import numpy as np

from emulator.jit.arrays import Bytes, Columns, Integers, Row
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import viewed, whole
from emulator.kernels.arithmetic import is_fixed
from emulator.kernels.chain import all_at_once, open_chain, run_chain
from emulator.kernels.elements import accumulators
from emulator.kernels.numbers import I8_CODE, address, load_integers
from emulator.kernels.rows import OUT, X, load_rows, row_count, row_start, rows_in_run
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import Field, attribute_slot, operand_slot

ELTWISE_CHAIN, ELTWISE_STAGES = whole(operand_slot("eltwise", "ew1_scale")), whole(attribute_slot("eltwise", "ew2_op"))
# What is done all at once is done so many elements at a time, or a row.
STRETCH = 256 * LANES


class Eltwise(Columns):
    """The column of eltwise's own attribute."""

    X_ZERO = attribute_slot("eltwise", "x_zero")


@inner
def load_whole_rows(arena: Bytes, row: Row, zero: int, first: int, acc: Integers) -> None:
    """Fill acc with rows, from number `first` on, of an integer x less its zero point; x is broadcast to the result."""
    channels, dtype, less = row[OUT + Field.SHAPE + 3], row[X + Field.DTYPE], np.int32(zero)
    spread = row[X + Field.SHAPE + 3] != channels
    for r in range(acc.size // channels):
        part = acc[r * channels : (r + 1) * channels]
        held = part[:1] if spread else part
        load_integers(arena, dtype, address(row, X, row[X + Field.ADDRESS], row_start(row, X, first + r)), held)
        for k in range(held.size):
            held[k] = np.int32(held[k] - less)
        for k in range(held.size, channels):
            part[k] = held[0]


@hot
def eltwise(arena: Bytes, row: Row) -> None:
    """acc = x - x_zero, then the chain."""
    rows, channels = row_count(row), row[OUT + Field.SHAPE + 3]
    mine, end = share(row, rows)
    chain = open_chain(arena, row, ELTWISE_CHAIN, ELTWISE_STAGES)
    if chain.at_once and row[X + Field.DTYPE] == I8_CODE and row[X + Field.SHAPE + 3] == channels:
        signed, run = viewed(arena, np.int8), rows_in_run(row, X)
        first, most = mine, max(1, STRETCH // channels)
        while first < end:
            if is_ended(arena, row):
                return
            count = min(run - first % run, end - first, most)
            start = row[X + Field.ADDRESS] + row_start(row, X, first)
            all_at_once(arena, row, chain, signed, start, row[Eltwise.X_ZERO], channels, first, count)
            first += count
        return
    block = chain.block // channels
    fixed = is_fixed(row, ELTWISE_STAGES)
    acc, sums = accumulators(block if fixed else 0, channels, False)
    for first in range(mine, end, block):
        if is_ended(arena, row):
            return
        count = min(block, end - first)
        if fixed:
            load_whole_rows(arena, row, row[Eltwise.X_ZERO], first, acc[: count * channels])
        else:
            load_rows(arena, row, X, row[Eltwise.X_ZERO], first, chain.floats[: count * channels])
        run_chain(arena, row, chain, acc, sums, channels, first, count)
