"""Kernels of the tensor engine that sum over channels, on packed matrices (packing.py): conv and matmul.

Loop order: blocks of rows of the result, whose packed x and whose sums take up to BLOCK_BYTES each of the second-level
cache > panels of COLUMNS columns of w > tiles of ROWS rows > all of K (emulator/kernels/microkernel.py). The sums of a
block go through the chain while they are in that cache. No block depends on another. Weights that nothing writes have
been packed before the run (emulator/execute/prepack.py), others are packed here.
"""

import numpy as np

from emulator.jit.arrays import Bytes, Integers, Row, Words
from emulator.jit.compile import hot, inlined, inner
from emulator.jit.intrinsics import viewed, whole
from emulator.kernels.chain import open_chain, run_chain
from emulator.kernels.elements import PRODUCT_CHAIN, ZERO, W, elements_of
from emulator.kernels.floats import (
    float_panel_bytes,
    float_panels_bytes,
    floats_apart,
    lines_at_once,
    multiply_directly,
    open_float_panels,
    pack_float_filters,
    pack_float_lines,
    pack_float_patches,
    pack_float_right,
    reads_directly,
    run_float_chain,
)
from emulator.kernels.groups import place_of, stays_in_groups
from emulator.kernels.microkernel import HALF_BYTES, multiply, multiply_floats, multiply_pairs, multiply_wide
from emulator.kernels.numbers import I16_CODE, address, i64, is_floating, padded
from emulator.kernels.packing import (
    ONE,
    Conv,
    Matmul,
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
    panel_bytes,
    step_of,
    steps_of,
    take_off_lines,
    to_pack,
)
from emulator.kernels.pairs import UNREACHED, exponent_needed, takes_pairs
from emulator.kernels.rows import OUT, Slot, X, row_count, row_start
from emulator.kernels.workspace import behind, is_ended, room, share
from emulator.plan.blocks import BLOCK_BYTES, COLUMNS, ROWS, STEP
from emulator.plan.row import ABSENT, ATTRIBUTES, FIELDS, Call, Field, attribute_slot

# The dimension of w that the columns of a convolution are.
FILTERS = whole(0)
CONV_STAGES, MATMUL_STAGES = (whole(attribute_slot(name, "ew2_op")) for name in ("conv", "matmul"))


@inner
def by_columns(row: Row, rows: int, columns: int, stride: int) -> bool:
    """Return whether walkers share a product's columns: they are many, and the lines of x make up one block.

    Then each walker reads only its part of w. That each packs all of x costs little beside so many columns, and is all
    there is to do with few rows. Where rows are not so few they are shared, so that a walker reads next what it made
    itself: between processors that share no cache a line takes 0.3 us to come and go. Two walkers run ResNet-50 there
    some 1.7 times as fast as one; with columns shared more often it was 1.5 to 1.65 times. A compressed w has no part
    that could be packed by itself.
    """
    if columns <= 4 * rows:
        return False
    own = columns // row[Call.SHARES]
    least = COLUMNS if rows < row[Call.SHARES] * ROWS else 4 * COLUMNS
    dense = row[Call.PACKED_W] != 0 or row[W + Field.STORED] == 0 or stays_in_groups(row)
    return row[Call.SHARES] > 1 and dense and own >= least and rows * max(stride, 4 * own) <= BLOCK_BYTES


@inner
def narrowed(arena: Bytes, row: Row, columns: int, of_w: int, k: int) -> Row:
    """Return the row as if the result had this walker's share of its columns, whole panels, and nobody else worked.

    `of_w` is the dimension of w that the columns are.
    """
    first, last = share(row, (columns + COLUMNS - 1) // COLUMNS)
    low, width = first * COLUMNS, min(last * COLUMNS, columns) - first * COLUMNS
    size = behind(0, 8 * row.size)
    copy = viewed(room(arena, row, 0, size), np.int64)[: row.size]
    # Not `copy[:] = row`: for the message of its error numba compiles how Python prints numbers, which takes a second.
    for field in range(row.size):
        copy[field] = row[field]
    copy[Call.SCRATCH] += size
    copy[Call.SHARE], copy[Call.SHARES], copy[Call.CONSTANTS] = 0, 1, 0
    for slot in range(0, ATTRIBUTES, FIELDS):
        dimension = of_w if slot == W else 3
        present = slot != X and slot != PRODUCT_CHAIN + Slot.TABLE and row[slot + Field.ADDRESS] != ABSENT
        if present and row[slot + Field.SHAPE + dimension] > 1:
            begin = low * row[slot + Field.STRIDE + dimension]
            if row[slot + Field.FORM] != 0:
                copy[slot + Field.ADDRESS] = place_of(row, begin)[0]
            else:
                copy[slot + Field.ADDRESS] = address(row, slot, row[slot + Field.ADDRESS], begin)
            copy[slot + Field.SHAPE + dimension] = width
    if row[Call.PACKED_W] != 0:
        wide = row[X + Field.DTYPE] == I16_CODE
        size = panel_bytes(steps_of(k, element_size(wide)))
        copy[Call.PACKED_W] += first * (float_panel_bytes(k) if is_floating(row[X + Field.DTYPE]) else size)
    return copy


@inner
def block_rows(stride: int, columns: int, rows: int) -> int:
    """Return how many rows of the result make up a block: lines of x `stride` bytes apart, sums of 32 bits.

    Blocks are as large as each other, but for the last one; a share may have no rows.
    """
    fits = max(BLOCK_BYTES // max(stride, 4 * columns) // ROWS, 1) * ROWS
    blocks = max((rows + fits - 1) // fits, 1)
    return max(min(padded((rows + blocks - 1) // blocks, ROWS), rows), 1)


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


@inlined
def open_buffers(
    arena: Bytes, row: Row, used: int, rows: int, stride: int, columns: int, groups: int, wide: bool
) -> tuple[Bytes, Bytes, Integers, Words, int, int]:
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
    return base, lines, viewed(memory, np.int32)[:narrow], viewed(memory, np.int64)[:longs], width, used


@inlined
def multiply_panels(
    arena: Bytes,
    row: Row,
    lines: Bytes,
    count: int,
    panels: Panels,
    group: int,
    columns: int,
    acc: Integers,
    sums: Words,
    width: int,
    floats: int | None,
    in_pairs: bool,
) -> None:
    """Set a group's columns of acc, or of sums, to the products of lines of x with its panels.

    Up to COLUMNS - 1 columns behind them are overwritten. Lines of x may be `in_pairs`, as panels of bf16 are.
    """
    stride = apart(panels.steps * STEP)
    if floats is not None and not in_pairs:
        stride = floats_apart(row, panels.k)
    slots = padded(columns, COLUMNS)
    at = panels.at + group * (slots // COLUMNS) * panels.size
    for o in range(0, columns, COLUMNS):
        if is_ended(arena, row):
            return
        slot, column = group * slots + o, group * columns + o
        if floats is not None:
            if takes_pairs(row, False):
                multiply_pairs(
                    lines, stride, count, panels.room, at, panels.steps, panels.base, acc, slot, column, width, in_pairs
                )
            else:
                multiply_floats(
                    lines, stride, count, panels.room, at, panels.steps, panels.base, acc, slot, column, width, True,
                    HALF_BYTES * COLUMNS, False,
                )  # fmt: skip
        elif sums.size > 0:
            multiply_wide(lines, stride, count, panels.room, at, panels.steps, panels.base, sums, slot, column, width)
        else:
            multiply(lines, stride, count, panels.room, at, panels.steps, panels.base, acc, slot, column, width)
        at += panels.size


@inlined
def convolve(arena: Bytes, row: Row, floats: int | None) -> None:
    """Compute a convolution; `floats` is None where x is of integers: the other branches are not compiled then."""
    filters, groups, pixels = row[W + Field.SHAPE], row[Conv.GROUPS], row_count(row)
    of_group = filters // groups
    k = row[W + Field.SHAPE + 1] * row[W + Field.SHAPE + 2] * row[W + Field.SHAPE + 3]
    if floats is None:
        x = to_pack(elements_of(arena, row, X, row[X + Field.ADDRESS], row[Conv.X_ZERO]), False)
        wide, w_zero = x.wide, packed_zero(row, row[Conv.W_ZERO])
        stride = apart(k * element_size(wide))
    else:
        wide, w_zero, stride = False, ZERO, floats_apart(row, k)
    if groups == 1 and by_columns(row, pixels, filters, stride):
        row = narrowed(arena, row, filters, FILTERS, k)
        filters = of_group = row[OUT + Field.SHAPE + 3]
    tile, last_tile = share(row, (pixels + ROWS - 1) // ROWS)
    begin, end = tile * ROWS, min(last_tile * ROWS, pixels)
    block = block_rows(stride, filters, end - begin)
    chain = open_chain(arena, row, PRODUCT_CHAIN, CONV_STAGES)
    base, lines, acc, sums, width, used = open_buffers(arena, row, chain.used, block, stride, filters, groups, wide)
    packed, at = arena, row[Call.PACKED_W]
    if at == 0:
        if floats is None:
            packed = room(arena, row, used, packed_bytes(of_group, k, groups, wide))
            pack_filters(arena, row, packed, at)
        else:
            packed = room(arena, row, used, float_panels_bytes(of_group, k, groups))
            pack_float_filters(arena, row, packed, at)
    if floats is None:
        panels = open_panels(arena, row, packed, at, k, groups, x.zero, w_zero, base)
    else:
        panels = open_float_panels(arena, row, packed, at, k, groups, base, False)
        needed = exponent_needed(arena, row, panels, groups)
    in_pairs = False
    for first in range(begin, end, block):
        if is_ended(arena, row):
            return
        count = min(block, end - first)
        # In this order the next group overwrites what the panels of a group have too many; the last ones are surplus.
        for g in range(groups):
            if floats is None:
                pack_patches(x, row, g, first, count, lines)
            else:
                in_pairs = pack_float_patches(arena, row, g, first, count, lines, needed)
            multiply_panels(arena, row, lines, count, panels, g, of_group, acc, sums, width, floats, in_pairs)
            if w_zero != 0:
                take_off_lines(lines, k, count, w_zero, acc, width, g * of_group, of_group)
        if floats is None:
            run_chain(arena, row, chain, acc, sums, width, first, count)
        else:
            run_float_chain(arena, row, chain, acc, width, first, count)


@hot
def conv(arena: Bytes, row: Row) -> None:
    """acc[n,oh,ow,o] = bias[o] + sum over kh, kw, c of (x - x_zero) * (w - w_zero), then the chain."""
    convolve(arena, row, None)


@hot
def conv_of_floats(arena: Bytes, row: Row) -> None:
    """acc[n,oh,ow,o] = fma(x, w, acc) over kh, kw, c in order, from bias[o] or 0, then the chain."""
    convolve(arena, row, ZERO)


@inlined
def multiply_matrices(arena: Bytes, row: Row, floats: int | None) -> None:
    """Compute a product of matrices; `floats` is as in `convolve`."""
    rows, columns = row[OUT + Field.SHAPE + 2], row[OUT + Field.SHAPE + 3]
    line_dimension, k_dimension = (3, 2) if row[Matmul.TRANSPOSE_X] else (2, 3)
    w_column = 2 if row[Matmul.TRANSPOSE_W] else 3
    k = row[X + Field.SHAPE + k_dimension]
    line_step, k_step = step_of(row, X, line_dimension), step_of(row, X, k_dimension)
    if floats is None:
        x = to_pack(elements_of(arena, row, X, row[X + Field.ADDRESS], row[Matmul.X_ZERO]), False)
        wide, w_zero = x.wide, packed_zero(row, row[Matmul.W_ZERO])
        stride, direct = apart(k * element_size(wide)), False
    else:
        direct = row[Call.PACKED_W] == 0 and reads_directly(row)
        wide, w_zero, stride = False, ZERO, floats_apart(row, k)
    matrices, tiles = row[OUT + Field.SHAPE] * row[OUT + Field.SHAPE + 1], (rows + ROWS - 1) // ROWS
    if matrices == 1 and by_columns(row, rows, columns, stride):
        row = narrowed(arena, row, columns, w_column, k)
        columns = row[OUT + Field.SHAPE + 3]
    tile, last_tile = share(row, matrices * tiles)
    block = block_rows(stride, columns, min(rows, (last_tile - tile) * ROWS))
    chain = open_chain(arena, row, PRODUCT_CHAIN, MATMUL_STAGES)
    base, lines, acc, sums, width, used = open_buffers(arena, row, chain.used, block, stride, columns, ONE, wide)
    packed, at = arena, row[Call.PACKED_W]
    if at == 0:
        if floats is None:
            packed = room(arena, row, used, packed_bytes(columns, k, ONE, wide))
            pack_right(arena, row, ZERO, packed, at)
        else:
            some = lines_at_once(row, k, columns, width) if direct and row[W + Field.FORM] != 0 else k
            packed = room(arena, row, used, float_panels_bytes(COLUMNS if direct else columns, some, ONE))
            if not direct:
                pack_float_right(arena, row, ZERO, packed, at)
    if floats is None:
        panels = open_panels(arena, row, packed, at, k, ONE, x.zero, w_zero, base)
    else:
        panels = open_float_panels(arena, row, packed, at, k, ONE, base, direct)
        needed = i64(UNREACHED) if direct else exponent_needed(arena, row, panels, ONE)
    held, in_pairs = i64(0), False
    while tile < last_tile:
        if is_ended(arena, row):
            return
        batch, first = tile // tiles, tile % tiles * ROWS
        # The first row of each matrix of the batch; w stays packed while it is the same.
        start = row_start(row, W, batch * rows)
        if start != held:
            if floats is None:
                pack_right(arena, row, start, packed, at)
                panels = open_panels(arena, row, packed, at, k, ONE, x.zero, w_zero, base)
            elif not direct:
                pack_float_right(arena, row, start, packed, at)
                needed = exponent_needed(arena, row, panels, ONE)
            held = start
        start = row_start(row, X, batch * rows) + first * line_step
        count = min(block, rows - first, (last_tile - tile) * ROWS)
        if floats is None:
            pack_lines(x, x.first + start, line_step, k_step, count, k, lines)
        else:
            in_pairs = pack_float_lines(arena, row, start, line_step, k_step, count, k, lines, needed)
        if floats is not None and direct:
            multiply_directly(arena, row, lines, count, panels, held, columns, acc, width)
        else:
            multiply_panels(arena, row, lines, count, panels, ZERO, columns, acc, sums, width, floats, in_pairs)
        if w_zero != 0:
            take_off_lines(lines, k, count, w_zero, acc, width, ZERO, columns)
        if floats is None:
            run_chain(arena, row, chain, acc, sums, width, batch * rows + first, count)
        else:
            run_float_chain(arena, row, chain, acc, width, batch * rows + first, count)
        tile += (count + ROWS - 1) // ROWS


@hot
def matmul(arena: Bytes, row: Row) -> None:
    """acc[...,m,n] = bias[n] + sum over k of (x[...,m,k] - x_zero) * (w[...,k,n] - w_zero), then the chain."""
    multiply_matrices(arena, row, None)


@hot
def matmul_of_floats(arena: Bytes, row: Row) -> None:
    """acc[...,m,n] = fma(x[...,m,k], w[...,k,n], acc) over k in order, from bias[n] or 0, then the chain."""
    multiply_matrices(arena, row, ZERO)
