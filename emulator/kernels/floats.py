"""Floats of products, packed, and what follows: conv, dwconv and matmul of f16 and bf16 (emulator/kernels/tensor.py).

    acc = fma(x, w, acc) for k in order, binary32        so tiles, blocks and walkers change no bit

Elements of x become float32, lines [row][k]; panels of w, [k][COLUMNS], keep 16 bits, those of x's type, which hold
numbers of 8 bits exactly: the micro-kernel converts them as it loads, so that a product of one row reads no more than w
has. The sums go through the chain by stages, block by block. Measured on one core of a Zen 4 with AVX-512: 43 to 47
GMAC/s for 128 rows and more, 57 in registers; a row by 4096 x 4096 as fast as memory is read.
"""

import numpy as np

from emulator.jit.arrays import Array, Bytes, Integers, Row
from emulator.jit.compile import hot, hot_and_inner, inner
from emulator.jit.intrinsics import fused, viewed, whole
from emulator.kernels.chain import Chain, open_chain, run_chain
from emulator.kernels.elements import BIAS, PRODUCT_CHAIN, W
from emulator.kernels.groups import (
    expand_panel,
    group_bytes,
    group_of,
    grouped_element,
    multiply_one_row,
    stays_in_groups,
)
from emulator.kernels.microkernel import HALF_BYTES, multiply_floats
from emulator.kernels.numbers import (
    BF16_CODE,
    E4M3_CODE,
    E5M2_CODE,
    F16_CODE,
    FP32_FRACTION,
    I8_CODE,
    address,
    f32,
    from_e4m3,
    from_e5m2,
    load_numbers,
    padded,
    round_bits,
    to_bf16,
    to_f16,
    u64,
)
from emulator.kernels.packing import Conv, Matmul, Panels, apart, step_of
from emulator.kernels.pairs import (
    UNREACHED,
    clear_pairs,
    close_panel,
    least_of_lines,
    pack_pairs,
    pairs_apart,
    pairs_of,
    takes_pairs,
)
from emulator.kernels.rows import OUT, X, row_count
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import CACHE_LINE, COLUMNS, STEP
from emulator.plan.row import ABSENT, Call, Field, attribute_slot

DWCONV_STAGES = whole(attribute_slot("dwconv", "ew2_op"))
NO_ZERO, ONE = whole(0), whole(1)
# Rows of a product up to which w is not packed, where that is for this product alone.
FEW_ROWS = 4
# Lines of a panel in groups that are expanded at a time.
AT_ONCE = whole(128)


@inner
def load_floats(arena: Bytes, row: Row, slot: int, element: int, v: np.ndarray) -> None:
    """Fill v with elements of an operand, from the one `element` behind its first on."""
    at = address(row, slot, row[slot + Field.ADDRESS], element)
    load_numbers(arena, row[slot + Field.DTYPE], at, NO_ZERO, FP32_FRACTION, v)


@inner
def pack_float_lines(
    arena: Bytes, row: Row, start: int, line_step: int, k_step: int, count: int, k: int, lines: Bytes, needed: int
) -> bool:
    """Pack element start + r * line_step + i * k_step of x as element i of line r, for `count` lines of k.

    Return whether as pairs: they are where the least exponent is what is `needed` (`exponent_needed`).
    """
    if needed < UNREACHED:
        stride, first = pairs_apart(k) // HALF_BYTES, address(row, X, row[X + Field.ADDRESS], start)
        if k_step == 1:
            for r in range(count):
                pack_pairs(arena, first + r * line_step * HALF_BYTES, k, lines, r * stride)
        else:
            for i in range(k):
                for r in range(count):
                    pack_pairs(arena, first + (r * line_step + i * k_step) * HALF_BYTES, 1, lines, r * stride + i)
        if least_of_lines(lines, count, k) >= needed:
            return True
    floats, stride = viewed(lines, np.float32), floats_apart(row, k) // STEP
    end_lines(row, k, count, lines)
    if k_step == 1:
        for r in range(count):
            load_floats(arena, row, X, start + r * line_step, floats[r * stride : r * stride + k])
        return False
    # It is the lines that lie side by side, or nothing.
    one = np.empty(count if line_step == 1 else 1, np.float32)
    for i in range(k):
        for first in range(0, count, one.size):
            load_floats(arena, row, X, start + first * line_step + i * k_step, one)
            for r in range(one.size):
                floats[(first + r) * stride + i] = one[r]
    return False


@inner
def pack_float_patches(arena: Bytes, row: Row, group: int, first: int, count: int, lines: Bytes, needed: int) -> bool:
    """Pack what result pixels `first` on see of x, of a group of channels: element (kh * width + kw) * depth + c.

    Return whether as pairs, as `pack_float_lines`.
    """
    k = row[W + Field.SHAPE + 1] * row[W + Field.SHAPE + 2] * row[W + Field.SHAPE + 3]
    if needed < UNREACHED:
        pack_patches_as(arena, row, group, first, count, lines, True)
        if least_of_lines(lines, count, k) >= needed:
            return True
    pack_patches_as(arena, row, group, first, count, lines, False)
    end_lines(row, k, count, lines)
    return False


@inner
def pack_patches_as(arena: Bytes, row: Row, group: int, first: int, count: int, lines: Bytes, in_pairs: bool) -> None:
    """Pack patches as pairs or as float32."""
    height, width, depth = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    down, across = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2]
    floats, k = viewed(lines, np.float32), height * width * depth
    stride = pairs_apart(k) // HALF_BYTES if in_pairs else floats_apart(row, k) // STEP
    for p in range(count):
        index = first + p
        image = index // (down * across) * row[X + Field.STRIDE] + group * depth
        top = index // across % down * row[Conv.STRIDE] - row[Conv.PAD]
        left = index % across * row[Conv.STRIDE + 1] - row[Conv.PAD + 1]
        to = p * stride
        for i in range(height):
            y = top + i * row[Conv.DILATION]
            for j in range(width):
                x = left + j * row[Conv.DILATION + 1]
                at = image + y * row[X + Field.STRIDE + 1] + x * row[X + Field.STRIDE + 2]
                if not (0 <= y < row[X + Field.SHAPE + 1] and 0 <= x < row[X + Field.SHAPE + 2]):
                    if in_pairs:
                        clear_pairs(lines, to, depth)
                    else:
                        floats[to : to + depth] = f32(0)
                elif in_pairs:
                    pack_pairs(arena, address(row, X, row[X + Field.ADDRESS], at), depth, lines, to)
                else:
                    load_floats(arena, row, X, at, floats[to : to + depth])
                to += depth


@inner
def floats_apart(row: Row, k: int) -> int:
    """Return the distance of lines of K elements, in bytes: of as many as pairs have, where there may be some."""
    return apart((2 * pairs_of(k) if row[X + Field.DTYPE] == BF16_CODE else k) * STEP)


@inner
def end_lines(row: Row, k: int, count: int, lines: Bytes) -> None:
    """Put 0 behind lines of float32 whose odd number of elements panels have in pairs."""
    if row[X + Field.DTYPE] == BF16_CODE and k % 2 != 0:
        floats, stride = viewed(lines, np.float32), floats_apart(row, k) // STEP
        for r in range(count):
            floats[u64(r * stride + k)] = f32(0)


@inner
def float_panels_bytes(columns: int, k: int, groups: int) -> int:
    """Return the size of the panels of w: of `groups` times so many columns of K elements.

    There is room for whole pairs, and for their least exponent.
    """
    panel = (k + 1) // 2 * STEP * COLUMNS + CACHE_LINE
    return groups * ((columns + COLUMNS - 1) // COLUMNS) * panel


@inner
def float_panel_bytes(k: int) -> int:
    """Return the size of a panel of K lines."""
    return float_panels_bytes(COLUMNS, k, ONE)


@inner
def pack_halves(arena: Bytes, row: Row, element: int, halves: Array, to: int, step: int, count: int) -> None:
    """Pack `count` elements of w, from the one `element` behind its first on, as x's type, `step` numbers apart."""
    of_f16 = row[X + Field.DTYPE] == F16_CODE
    if row[W + Field.FORM] != 0:
        for i in range(count):
            value = grouped_element(arena, row, element + i)
            halves[u64(to + i * step)] = to_f16(value) if of_f16 else to_bf16(value)
        return
    at = address(row, W, row[W + Field.ADDRESS], element)
    dtype = row[W + Field.DTYPE]
    if dtype in (I8_CODE, E4M3_CODE, E5M2_CODE):
        for i in range(count):
            byte = arena[u64(at + i)]
            value = from_e4m3(byte) if dtype == E4M3_CODE else from_e5m2(byte)
            value = f32(np.int8(byte)) if dtype == I8_CODE else value
            halves[u64(to + i * step)] = to_f16(value) if of_f16 else to_bf16(value)
        return
    source, first = viewed(arena, np.uint16), at >> 1
    for i in range(count):
        halves[u64(to + i * step)] = source[u64(first + i)]


@hot_and_inner
def pack_float_filters(arena: Bytes, row: Row, room: Bytes, at: int) -> None:
    """Pack the filters of a convolution as panels from byte `at` on; each group begins with a panel."""
    height, width, depth = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    of_group, k = row[W + Field.SHAPE] // row[Conv.GROUPS], height * width * depth
    halves = viewed(room, np.uint16)
    for g in range(row[Conv.GROUPS]):
        for first in range(0, of_group, COLUMNS):
            if is_ended(arena, row):
                return
            for o in range(min(COLUMNS, of_group - first)):
                filter_ = (g * of_group + first + o) * row[W + Field.STRIDE]
                to = at // HALF_BYTES + o
                for i in range(height):
                    for j in range(width):
                        start = filter_ + i * row[W + Field.STRIDE + 1] + j * row[W + Field.STRIDE + 2]
                        pack_halves(arena, row, start, halves, to, COLUMNS, depth)
                        to += depth * COLUMNS
            if takes_pairs(row, False):
                close_panel(room[at : at + float_panel_bytes(k)], min(COLUMNS, of_group - first), k)
            at += float_panel_bytes(k)


@hot_and_inner
def pack_float_right(arena: Bytes, row: Row, start: int, room: Bytes, at: int) -> None:
    """Pack the right matrix that begins `start` elements behind the first of w as panels, from byte `at` on."""
    columns, step = row[OUT + Field.SHAPE + 3], step_of(row, W, 2)
    k = row[W + Field.SHAPE + 3] if row[Matmul.TRANSPOSE_W] else row[W + Field.SHAPE + 2]
    halves = viewed(room, np.uint16)
    for first in range(0, columns, COLUMNS):
        if is_ended(arena, row):
            return
        count, to = min(COLUMNS, columns - first), at // HALF_BYTES
        if row[Matmul.TRANSPOSE_W]:
            for o in range(count):
                pack_halves(arena, row, start + (first + o) * step, halves, to + o, COLUMNS, k)
        else:
            for i in range(k):
                pack_halves(arena, row, start + first + i * step, halves, to + i * COLUMNS, ONE, count)
        if takes_pairs(row, False):
            close_panel(room[at : at + float_panel_bytes(k)], count, k)
        at += float_panel_bytes(k)


@inner
def open_float_panels(
    arena: Bytes, row: Row, room: Bytes, at: int, k: int, groups: int, base: Bytes, direct: bool
) -> Panels:
    """Return packed panels, with what the sums of their columns begin with: the bias, or 0."""
    filters = row[OUT + Field.SHAPE + 3]
    of_group = filters // groups
    slots = padded(of_group, COLUMNS)
    sums, biases = viewed(base, np.float32), viewed(arena, np.float32)
    step = 1 if row[BIAS + Field.SHAPE + 3] > 1 else 0
    for g in range(groups):
        for o in range(of_group):
            bias = f32(0)
            if row[BIAS + Field.ADDRESS] != ABSENT:
                bias = biases[(row[BIAS + Field.ADDRESS] >> 2) + (g * of_group + o) * step]
            sums[g * slots + o] = bias
    return Panels(room, at, k, pairs_of(k) if takes_pairs(row, direct) else k, float_panel_bytes(k), base)


@inner
def reads_directly(row: Row) -> bool:
    """Return whether a product reads w where it lies: lines of columns that few rows are multiplied by, or groups."""
    same = row[W + Field.DTYPE] == row[X + Field.DTYPE] and row[W + Field.FORM] == 0
    few = same and not row[Matmul.TRANSPOSE_W] and row[OUT + Field.SHAPE + 2] <= FEW_ROWS
    return few or stays_in_groups(row)


@inner
def lines_at_once(row: Row, k: int, columns: int, width: int) -> int:
    """Return how many lines of a panel in groups are expanded at a time: all where sums cannot be resumed.

    They cannot where the row before has overwritten them, for want of room in a line of acc.
    """
    if row[OUT + Field.SHAPE + 2] > 1 and padded(columns, COLUMNS) > width:
        return k
    return min(max(AT_ONCE, group_of(row)), k)


@inner
def multiply_groups(
    arena: Bytes, row: Row, lines: Bytes, count: int, panels: Panels, start: int, columns: int, acc: Integers, o: int,
    width: int, group: Bytes,
) -> None:  # fmt: skip
    """Set columns of acc, from number `o` on, to the products with those of w from element `start` on.

    Some groups at a time are expanded, into the first-level cache, and the sums resumed.
    """
    stride, of_f16 = floats_apart(row, panels.k), row[X + Field.DTYPE] == F16_CODE
    if count == 1:
        begin = viewed(panels.base, np.int32)
        for c in range(COLUMNS):
            acc[u64(o + c)] = begin[u64(o + c)]
        multiply_one_row(arena, row, start, min(COLUMNS, columns - o), panels.k, group, lines, acc, o)
        return
    most = lines_at_once(row, panels.k, columns, width)
    sums = viewed(acc, np.uint8)
    for first in range(0, panels.k, most):
        steps = min(most, panels.k - first)
        expand_panel(arena, row, start + first, min(COLUMNS, columns - o), steps, group, panels.room)
        base = sums if first > 0 else panels.base
        multiply_floats(
            lines[first * STEP :], stride, count, panels.room, NO_ZERO, steps, base, acc, o, o, width, of_f16,
            HALF_BYTES * COLUMNS, first > 0,
        )  # fmt: skip


@inner
def multiply_directly(
    arena: Bytes,
    row: Row,
    lines: Bytes,
    count: int,
    panels: Panels,
    start: int,
    columns: int,
    acc: Integers,
    width: int,
) -> None:
    """Set acc to the products of lines of x with the matrix that begins `start` elements behind the first of w.

    Its last columns, which are fewer than a panel has, are packed as one; so are panels of groups, one after the other.
    """
    stride, step, of_f16 = floats_apart(row, panels.k), step_of(row, W, 2), row[X + Field.DTYPE] == F16_CODE
    left = columns % COLUMNS
    if row[W + Field.FORM] != 0:
        group = np.empty(group_bytes(row), np.uint8)
        for o in range(0, columns, COLUMNS):
            if is_ended(arena, row):
                return
            multiply_groups(arena, row, lines, count, panels, start + o * step, columns, acc, o, width, group)
        return
    for o in range(0, columns - left, COLUMNS):
        if is_ended(arena, row):
            return
        at = row[W + Field.ADDRESS] + HALF_BYTES * (start + o)
        multiply_floats(
            lines, stride, count, arena, at, panels.k, panels.base, acc, o, o, width, of_f16, HALF_BYTES * step, False
        )
    if left > 0:
        o, halves = columns - left, viewed(panels.room, np.uint16)
        for i in range(panels.k):
            pack_halves(arena, row, start + o + i * step, halves, i * COLUMNS, ONE, left)
        multiply_floats(
            lines, stride, count, panels.room, NO_ZERO, panels.k, panels.base, acc, o, o, width, of_f16,
            HALF_BYTES * COLUMNS, False,
        )  # fmt: skip


@inner
def run_float_chain(arena: Bytes, row: Row, chain: Chain, acc: Integers, pitch: int, first: int, count: int) -> None:
    """Take rows of the result, `count` from number `first` on, through the chain; acc holds float32, as `run_chain`."""
    channels, fraction, sums = row[OUT + Field.SHAPE + 3], row[Call.FRACTION], viewed(acc, np.float32)
    block, none = chain.block // channels, np.empty(0, np.int64)
    for done in range(0, count, block):
        some = min(block, count - done)
        for r in range(some):
            to, at = u64(r * channels), u64((done + r) * pitch)
            if fraction == FP32_FRACTION:
                for c in range(u64(channels)):
                    chain.floats[to + c] = sums[at + c]
            else:
                for c in range(u64(channels)):
                    chain.floats[to + c] = f32(round_bits(np.float64(sums[at + c]), fraction))
        run_chain(arena, row, chain, acc[:0], none, channels, first + done, some)


@hot
def dwconv_of_floats(arena: Bytes, row: Row) -> None:
    """acc[n,oh,ow,c] = fma(x, w, acc) over kh, kw in order, from bias[c] or 0, then the chain."""
    height, width, channels = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    down, across = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2]
    chain = open_chain(arena, row, PRODUCT_CHAIN, DWCONV_STAGES)
    weights, pixel = np.empty((height * width, channels), np.float32), np.empty(channels, np.float32)
    for t in range(height * width):
        start = t // width * row[W + Field.STRIDE + 1] + t % width * row[W + Field.STRIDE + 2]
        load_floats(arena, row, W, start, weights[t])
    begin = np.zeros(channels, np.float32)
    if row[BIAS + Field.ADDRESS] != ABSENT:
        biases, step = viewed(arena, np.float32), 1 if row[BIAS + Field.SHAPE + 3] > 1 else 0
        for c in range(channels):
            begin[c] = biases[(row[BIAS + Field.ADDRESS] >> 2) + c * step]
    mine, end = share(row, row_count(row))
    acc = np.empty(channels, np.int32)
    sums = viewed(acc, np.float32)
    for index in range(mine, end):
        if is_ended(arena, row):
            return
        image = index // (down * across) * row[X + Field.STRIDE]
        top = index // across % down * row[Conv.STRIDE] - row[Conv.PAD]
        left = index % across * row[Conv.STRIDE + 1] - row[Conv.PAD + 1]
        sums[:] = begin
        for t in range(height * width):
            y, x = top + t // width * row[Conv.DILATION], left + t % width * row[Conv.DILATION + 1]
            if 0 <= y < row[X + Field.SHAPE + 1] and 0 <= x < row[X + Field.SHAPE + 2]:
                load_floats(arena, row, X, image + y * row[X + Field.STRIDE + 1] + x * row[X + Field.STRIDE + 2], pixel)
            else:
                pixel[:] = f32(0)
            for c in range(u64(channels)):
                sums[c] = fused(pixel[c], weights[t, c], sums[c])
        run_float_chain(arena, row, chain, acc, channels, index, 1)


for _name in ("stride", "pad", "dilation"):
    assert attribute_slot("dwconv", _name) == attribute_slot("conv", _name), _name
