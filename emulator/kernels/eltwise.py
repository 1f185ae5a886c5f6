"""Kernel of the tensor engine: eltwise, the chain on a tensor of any type.

What is a function of an element of 8 bits alone has 256 values: they are computed once, by all stages of the chain, and
looked up, whatever the function and the format: 22 G elements/s on a core of a Zen 4 with AVX-512.
"""

import numpy as np

from emulator.jit.arrays import Bytes, Columns, Integers, Row
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import viewed, whole
from emulator.kernels.arithmetic import NO_EW2, is_fixed
from emulator.kernels.chain import ELTWISE_CHAIN, Chain, all_at_once, open_chain, run_chain
from emulator.kernels.elements import ZERO, accumulators
from emulator.kernels.microkernel import look_up
from emulator.kernels.numbers import I8_CODE, U8_CODE, address, load_integers
from emulator.kernels.rows import OUT, Attribute, Slot, X, load_rows, row_count, row_start, rows_in_run
from emulator.kernels.workspace import behind, is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import ABSENT, Call, Field, attribute_slot

ELTWISE_STAGES = whole(attribute_slot("eltwise", "ew2_op"))
# What is done all at once is done so many elements at a time, or a row.
STRETCH = 256 * LANES
# How many values a byte has, and from how many elements on a table of them is worth it.
BYTES, MANY = whole(256), 2048


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


@inner
def has_few_values(row: Row) -> bool:
    """Return whether a result of 8 bits is a function of an element of 8 bits alone, and there are many of them."""
    channels = row[OUT + Field.SHAPE + 3]
    for slot in (Slot.EW1_SCALE, Slot.EW1_BIAS, Slot.EW3_SCALE):
        if row[ELTWISE_CHAIN + slot + Field.ADDRESS] != ABSENT and row[ELTWISE_CHAIN + slot + Field.SHAPE + 3] > 1:
            return False
    of_bytes = row[X + Field.DTYPE] in (I8_CODE, U8_CODE) and row[OUT + Field.DTYPE] in (I8_CODE, U8_CODE)
    alone = row[ELTWISE_STAGES + Attribute.EW2_OP] == NO_EW2 and row[X + Field.SHAPE + 3] == channels
    return of_bytes and alone and row_count(row) * channels >= MANY


@inner
def as_list(arena: Bytes, row: Row, table: int) -> Row:
    """Return the row as if x were all bytes, in order, and the results were at byte `table` of the arena.

    It lies in front of the table, and x behind it; nobody else works.
    """
    copy = viewed(arena[row[Call.SCRATCH] : table], np.int64)[: row.size]
    for field in range(row.size):
        copy[field] = row[field]
    for slot, address_ in ((OUT, table), (X, table + BYTES)):
        copy[slot + Field.ADDRESS] = address_
        for d in range(4):
            copy[slot + Field.SHAPE + d] = BYTES if d == 3 else 1
            copy[slot + Field.STRIDE + d] = 1 if d == 3 else 0
    for k in range(BYTES):
        arena[table + BYTES + k] = k
    copy[Call.SCRATCH] = table + 2 * BYTES
    copy[Call.SHARE], copy[Call.SHARES], copy[Call.CONSTANTS] = 0, 1, 0
    return copy


@inner
def in_stretches(arena: Bytes, row: Row, chain: Chain, table: int) -> None:
    """Compute the result in one pass, or look it up in the table at a byte of the arena, if that is not 0."""
    first, end = share(row, row_count(row))
    channels, run = row[OUT + Field.SHAPE + 3], rows_in_run(row, X)
    if table:
        run = min(run, rows_in_run(row, OUT))
    most = max(1, STRETCH // channels)
    while first < end:
        if is_ended(arena, row):
            return
        count = min(run - first % run, end - first, most)
        start = row[X + Field.ADDRESS] + row_start(row, X, first)
        if table:
            look_up(arena, table, start, row[OUT + Field.ADDRESS] + row_start(row, OUT, first), count * channels)
        else:
            all_at_once(arena, row, chain, arena, start, row[Eltwise.X_ZERO], channels, first, count)
        first += count


@inner
def by_stages(arena: Bytes, row: Row, chain: Chain) -> None:
    """Compute the result stage by stage."""
    channels, block = row[OUT + Field.SHAPE + 3], chain.block // row[OUT + Field.SHAPE + 3]
    begin, end = share(row, row_count(row))
    fixed = is_fixed(row, ELTWISE_STAGES)
    acc, sums = accumulators(block if fixed else 0, channels, False)
    for first in range(begin, end, block):
        if is_ended(arena, row):
            return
        count = min(block, end - first)
        if fixed:
            load_whole_rows(arena, row, row[Eltwise.X_ZERO], first, acc[: count * channels])
        else:
            load_rows(arena, row, X, row[Eltwise.X_ZERO], first, chain.floats[: count * channels])
        run_chain(arena, row, chain, acc, sums, channels, first, count)


@hot
def eltwise(arena: Bytes, row: Row) -> None:
    """acc = x - x_zero, then the chain."""
    chain = open_chain(arena, row, ELTWISE_CHAIN, ELTWISE_STAGES)
    table = row[Call.SCRATCH] + behind(0, 8 * row.size)
    if chain.at_once:
        in_stretches(arena, row, chain, ZERO)
    elif has_few_values(row) and table + 2 * BYTES <= row[Call.SCRATCH_END]:
        # In the scratch memory of the chain, which is opened anew.
        listed = as_list(arena, row, table)
        by_stages(arena, listed, open_chain(arena, listed, ELTWISE_CHAIN, ELTWISE_STAGES))
        in_stretches(arena, row, chain, table)
    else:
        by_stages(arena, row, chain)
