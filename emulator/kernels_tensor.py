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
    aligned,
    apart,
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
from emulator.share import share
from emulator.storage import Array, i64, padded
from emulator.vector import OUT, X, open_chain, row_count, row_start, run_chain

CONV_X_ZERO, MATMUL_X_ZERO = attribute_slot("conv", "x_zero"), attribute_slot("matmul", "x_zero")
TRANSPOSE_X = attribute_slot("matmul", "transpose_x")
CONV_STAGES, MATMUL_STAGES = (whole(attribute_slot(name, "ew2_op")) for name in ("conv", "matmul"))

BLOCK_BYTES = 256 * 1024


@inner
def deal(row: Array, tiles: int, rows: int, parts: int, columns: int, stride: int) -> tuple[int, int, int, int]:
    """Return this walker's share: (first tile, the one behind the last, first column, the one behind the last).

    There are so many tiles of ROWS rows in all, `rows` to a matrix. Columns are dealt out instead, panel by panel,
    where they are many, of one part (a group, a matrix), and the lines of x, `stride` bytes apart, make up one block:
    then each walker reads only its part of w. That each packs all of x costs little beside so many columns, and is all
    there is to do with few rows.
    """
    own = columns // row[SHARES]
    least = COLUMNS if rows < row[SHARES] * ROWS else 4 * COLUMNS
    if row[SHARES] > 1 and parts == 1 and own >= least and rows * max(stride, 4 * own) <= BLOCK_BYTES:
        first, last = share(row, (columns + COLUMNS - 1) // COLUMNS)
        return ZERO, tiles, first * COLUMNS, min(last * COLUMNS, columns)
    first, last = share(row, tiles)
    return first, last, ZERO, columns


@inner
def block_rows(stride: int, columns: int, rows: int) -> int:
    """Return how many rows of the result make up a block: lines of x `stride` bytes apart, sums of 32 bits.

    Blocks are as large as each other, but for the last one.
    """
    fits = max(BLOCK_BYTES // max(stride, 4 * columns) // ROWS, 1) * ROWS
    blocks = max((rows + fits - 1) // fits, 1)
    return min(padded((rows + blocks - 1) // blocks, ROWS), rows)


@inner
def open_acc(rows: int, columns: int, wide: bool) -> tuple[Array, Array]:
    """Return rows of sums of 32 bits, and of 64, with columns to spare; the ones that are not used have no rows."""
    width = apart((8 if wide else 4) * (columns + COLUMNS)) // 8
    sums = np.empty((rows, width), np.int64)
    acc = sums.view(np.int32)
    return (acc[:0], sums) if wide else (acc, sums[:0])


@inner
def multiply_panels(
    lines: Array, count: int, panels: Panels, group: int, columns: int, low: int, high: int, acc: Array, sums: Array
) -> None:
    """Set a group's columns of acc, or of sums, to the products of lines of x with its panels.

    Of its `columns` it is those from `low` up to `high`, and acc begins with `low`. Up to COLUMNS - 1 columns behind
    them are overwritten.
    """
    stride = apart(panels.k * element_size(sums.shape[0] > 0))
    slots = padded(columns, COLUMNS)
    at = panels.at + (group * slots + low) // COLUMNS * panels.size
    for o in range(low, high, COLUMNS):
        slot, column = group * slots + o, group * columns + o - low
        if sums.shape[0] > 0:
            multiply_wide(lines, stride, count, panels.room, at, panels.steps, panels.longs, sums, slot, column)
        else:
            multiply(lines, stride, count, panels.room, at, panels.steps, panels.narrow, acc, slot, column)
        at += panels.size


@hot
def conv(arena: Array, row: Array) -> None:
    """acc[n,oh,ow,o] = bias[o] + sum over kh, kw, c of (x - x_zero) * (w - w_zero), then the chain."""
    filters, groups, pixels = row[W + SHAPE], row[CONV_GROUPS], row_count(row)
    of_group = filters // groups
    k = row[W + SHAPE + 1] * row[W + SHAPE + 2] * row[W + SHAPE + 3]
    x = to_pack(source_of(arena, row, X, row[X + ADDRESS], row[CONV_X_ZERO]), False)
    w_zero = packed_zero(row, row[CONV_W_ZERO])
    room, at = arena, row[PACKED_W]
    if at == 0:
        room = aligned(packed_bytes(of_group, k, groups, x.wide))
        pack_filters(arena, row, room, at)
    panels = open_panels(arena, row, room, at, k, groups, x.zero, w_zero)
    stride = apart(k * element_size(x.wide))
    tile, last_tile, low, high = deal(row, (pixels + ROWS - 1) // ROWS, pixels, groups, filters, stride)
    begin, end = tile * ROWS, min(last_tile * ROWS, pixels)
    block = block_rows(stride, high - low, end - begin)
    lines = aligned(block * stride)
    acc, sums = open_acc(block, high - low, x.wide)
    chain = open_chain(arena, row, CHAIN, CONV_STAGES)
    for first in range(begin, end, max(block, 1)):
        count = min(block, end - first)
        # In this order the next group overwrites what the panels of a group have too many; the last ones are surplus.
        for g in range(groups):
            pack_patches(x, row, g, first, count, lines)
            multiply_panels(lines, count, panels, g, of_group, low, min(high, of_group), acc, sums)
            if w_zero != 0:
                take_off_lines(lines, k, count, w_zero, acc, g * of_group, min(high, of_group) - low)
        run_chain(arena, row, chain, acc, sums, first, count, low, high - low)


@hot
def matmul(arena: Array, row: Array) -> None:
    """acc[...,m,n] = bias[n] + sum over k of (x[...,m,k] - x_zero) * (w[...,k,n] - w_zero), then the chain."""
    rows, columns = row[OUT + SHAPE + 2], row[OUT + SHAPE + 3]
    line_dimension, k_dimension = (3, 2) if row[TRANSPOSE_X] else (2, 3)
    k = row[X + SHAPE + k_dimension]
    line_step, k_step = step_of(row, X, line_dimension), step_of(row, X, k_dimension)
    x = to_pack(source_of(arena, row, X, row[X + ADDRESS], row[MATMUL_X_ZERO]), False)
    w_zero = packed_zero(row, row[MATMUL_W_ZERO])
    room, at = arena, row[PACKED_W]
    if at == 0:
        room = aligned(packed_bytes(columns, k, ONE, x.wide))
        pack_right(arena, row, ZERO, room, at)
    panels = open_panels(arena, row, room, at, k, ONE, x.zero, w_zero)
    stride = apart(k * element_size(x.wide))
    matrices, tiles = row[OUT + SHAPE] * row[OUT + SHAPE + 1], (rows + ROWS - 1) // ROWS
    tile, last_tile, low, high = deal(row, matrices * tiles, rows, matrices, columns, stride)
    block = block_rows(stride, high - low, min(rows, (last_tile - tile) * ROWS))
    lines = aligned(block * stride)
    acc, sums = open_acc(block, high - low, x.wide)
    chain = open_chain(arena, row, CHAIN, MATMUL_STAGES)
    held = i64(0)
    while tile < last_tile:
        batch, first = tile // tiles, tile % tiles * ROWS
        # The first row of each matrix of the batch; w stays packed while it is the same.
        start = row_start(row, W, batch * rows)
        if start != held:
            pack_right(arena, row, start, room, at)
            panels = open_panels(arena, row, room, at, k, ONE, x.zero, w_zero)
            held = start
        start = x.first + row_start(row, X, batch * rows)
        count = min(block, rows - first, (last_tile - tile) * ROWS)
        pack_lines(x, start + first * line_step, line_step, k_step, count, k, lines)
        multiply_panels(lines, count, panels, ZERO, columns, low, high, acc, sums)
        if w_zero != 0:
            take_off_lines(lines, k, count, w_zero, acc, ZERO, high - low)
        run_chain(arena, row, chain, acc, sums, batch * rows + first, count, low, high - low)
        tile += (count + ROWS - 1) // ROWS
