"""Kernels of the tensor engine that sum over channels, on packed factors (emulator/packing.py): conv and matmul.

Loop order: blocks of rows of the result, whose packed x and whose sums take up to BLOCK_BYTES each of the second-level
cache > panels of COLUMNS columns of w > tiles of ROWS rows > all of K (emulator/micro.py). The sums of a block go
through the chain while they are in that cache. No block depends on another. Weights that nothing writes have been
packed before the run (emulator/weights.py), others are packed here.
"""

import numpy as np

from emulator.factors import CHAIN, ZERO, W, source_of
from emulator.jit import hot, inner, whole
from emulator.micro import COLUMNS, ROWS, multiply, multiply_wide
from emulator.packing import (
    CONV_GROUPS,
    CONV_W_ZERO,
    MATMUL_W_ZERO,
    ONE,
    Panels,
    apart,
    base_bytes,
    element_size,
    open_panels,
    pack_filters,
    pack_lines,
    pack_patches,
    pack_right,
    packed_bytes,
    packed_zero,
    step_of,
    take_off_lines,
    to_pack,
)
from emulator.plan import ADDRESS, PACKED_W, SHAPE, SHARES, attribute_slot
from emulator.share import behind, room, share
from emulator.storage import Array, i64, padded
from emulator.vector import OUT, X, open_chain, row_count, row_start, run_chain

CONV_X_ZERO, MATMUL_X_ZERO = attribute_slot("conv", "x_zero"), attribute_slot("matmul", "x_zero")
TRANSPOSE_X = attribute_slot("matmul", "transpose_x")
CONV_STAGES, MATMUL_STAGES = (whole(attribute_slot(name, "ew2_op")) for name in ("conv", "matmul"))

BLOCK_BYTES = 256 * 1024


@inner
def block_rows(stride: int, columns: int, rows: int, shares: int) -> int:
    """Return how many rows of the result make up a block: lines of x `stride` bytes apart, sums of 32 bits.

    Blocks are as large as each other, but for the last one, and each walker has as many.
    """
    fits = max(BLOCK_BYTES // max(stride, 4 * columns) // ROWS, 1) * ROWS
    blocks = padded((rows + fits - 1) // fits, shares)
    return min(padded((rows + blocks - 1) // blocks, ROWS), rows)


@inner
def acc_width(columns: int, groups: int, wide: bool) -> int:
    """Return how many sums a row has room for.

    The tile writes COLUMNS of them, so most rows have some to spare, and are an odd number of cache lines apart. Rows
    of whole tiles need no more; neither do those of a single one, where the next row comes later: they lie side by
    side, so that the chain makes long loops of short rows.
    """
    if groups == 1 and (columns <= COLUMNS or columns == 2 * COLUMNS):
        return columns
    size = 8 if wide else 4
    return apart(size * (columns + COLUMNS)) // size


@inner
def open_buffers(
    arena: Array, row: Array, used: int, rows: int, stride: int, columns: int, groups: int, wide: bool
) -> tuple[Array, Array, Array, Array, int, int]:
    """Return (bases of the sums, lines of x, sums of 32 bits, sums of 64, how many a row has, scratch memory used).

    Of those sums that are not used there are none.
    """
    size = base_bytes(columns // groups, groups)
    base, used = room(arena, row, used, size), behind(used, size)
    lines, used = room(arena, row, used, rows * stride), behind(used, rows * stride)
    width = acc_width(columns, groups, wide)
    size = padded((rows * width + COLUMNS) * (8 if wide else 4), 8)
    memory, used = room(arena, row, used, size), behind(used, size)
    narrow, longs = (0, size // 8) if wide else (size // 4, 0)
    return base, lines, memory.view(np.int32)[:narrow], memory.view(np.int64)[:longs], width, used


@inner
def multiply_panels(
    lines: Array, count: int, panels: Panels, group: int, columns: int, acc: Array, sums: Array, width: int
) -> None:
    """Set a group's columns of acc, or of sums, to the products of lines of x with its panels.

    Up to COLUMNS - 1 columns behind them are overwritten.
    """
    stride = apart(panels.k * element_size(sums.size > 0))
    slots = padded(columns, COLUMNS)
    at = panels.at + group * (slots // COLUMNS) * panels.size
    for o in range(0, columns, COLUMNS):
        slot, column = group * slots + o, group * columns + o
        if sums.size > 0:
            multiply_wide(lines, stride, count, panels.room, at, panels.steps, panels.base, sums, slot, column, width)
        else:
            multiply(lines, stride, count, panels.room, at, panels.steps, panels.base, acc, slot, column, width)
        at += panels.size


@hot
def conv(arena: Array, row: Array) -> None:
    """acc[n,oh,ow,o] = bias[o] + sum over kh, kw, c of (x - x_zero) * (w - w_zero), then the chain."""
    filters, groups, pixels = row[W + SHAPE], row[CONV_GROUPS], row_count(row)
    of_group = filters // groups
    k = row[W + SHAPE + 1] * row[W + SHAPE + 2] * row[W + SHAPE + 3]
    x = to_pack(source_of(arena, row, X, row[X + ADDRESS], row[CONV_X_ZERO]), False)
    w_zero = packed_zero(row, row[CONV_W_ZERO])
    stride = apart(k * element_size(x.wide))
    block = block_rows(stride, filters, pixels, row[SHARES])
    mine, end = share(row, (pixels + block - 1) // block)
    chain = open_chain(arena, row, CHAIN, CONV_STAGES)
    base, lines, acc, sums, width, used = open_buffers(arena, row, chain.used, block, stride, filters, groups, x.wide)
    packed, at = arena, row[PACKED_W]
    if at == 0:
        packed = room(arena, row, used, packed_bytes(of_group, k, groups, x.wide))
        pack_filters(arena, row, packed, at)
    panels = open_panels(arena, row, packed, at, k, groups, x.zero, w_zero, base)
    for first in range(mine * block, min(end * block, pixels), block):
        count = min(block, pixels - first)
        # In this order the next group overwrites what the panels of a group have too many; the last ones are surplus.
        for g in range(groups):
            pack_patches(x, row, g, first, count, lines)
            multiply_panels(lines, count, panels, g, of_group, acc, sums, width)
            if w_zero != 0:
                take_off_lines(lines, k, count, w_zero, acc, width, g * of_group, of_group)
        run_chain(arena, row, chain, acc, sums, width, first, count)


@hot
def matmul(arena: Array, row: Array) -> None:
    """acc[...,m,n] = bias[n] + sum over k of (x[...,m,k] - x_zero) * (w[...,k,n] - w_zero), then the chain."""
    rows, columns = row[OUT + SHAPE + 2], row[OUT + SHAPE + 3]
    line_dimension, k_dimension = (3, 2) if row[TRANSPOSE_X] else (2, 3)
    k = row[X + SHAPE + k_dimension]
    line_step, k_step = step_of(row, X, line_dimension), step_of(row, X, k_dimension)
    x = to_pack(source_of(arena, row, X, row[X + ADDRESS], row[MATMUL_X_ZERO]), False)
    w_zero = packed_zero(row, row[MATMUL_W_ZERO])
    stride = apart(k * element_size(x.wide))
    block = block_rows(stride, columns, rows, row[SHARES])
    blocks = (rows + block - 1) // block
    mine, end = share(row, row[OUT + SHAPE] * row[OUT + SHAPE + 1] * blocks)
    chain = open_chain(arena, row, CHAIN, MATMUL_STAGES)
    base, lines, acc, sums, width, used = open_buffers(arena, row, chain.used, block, stride, columns, ONE, x.wide)
    packed, at = arena, row[PACKED_W]
    if at == 0:
        packed = room(arena, row, used, packed_bytes(columns, k, ONE, x.wide))
        pack_right(arena, row, ZERO, packed, at)
    panels = open_panels(arena, row, packed, at, k, ONE, x.zero, w_zero, base)
    held = i64(0)
    for number in range(mine, end):
        batch, first = number // blocks, number % blocks * block
        # The first row of each matrix of the batch; w stays packed while it is the same.
        start = row_start(row, W, batch * rows)
        if start != held:
            pack_right(arena, row, start, packed, at)
            panels = open_panels(arena, row, packed, at, k, ONE, x.zero, w_zero, base)
            held = start
        start = x.first + row_start(row, X, batch * rows)
        count = min(block, rows - first)
        pack_lines(x, start + first * line_step, line_step, k_step, count, k, lines)
        multiply_panels(lines, count, panels, ZERO, columns, acc, sums, width)
        if w_zero != 0:
            take_off_lines(lines, k, count, w_zero, acc, width, ZERO, columns)
        run_chain(arena, row, chain, acc, sums, width, batch * rows + first, count)
