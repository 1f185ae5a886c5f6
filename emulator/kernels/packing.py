"""Packing: the matrices of a product as the micro-kernel (emulator/kernels/microkernel.py) reads them.

x becomes lines, a result row's K elements one after another; the lines of a tile lie an odd number of cache lines
apart, or they would compete for the same places of the cache. w becomes panels of COLUMNS columns: [steps][COLUMNS]
steps of 4 bytes, zeros behind the K elements (so that it does not matter what follows them in a line of x), then the
32-bit sum of each column.

Elements of 8 bits keep their zero point in the forms that multiply u8 by s8: they are shifted by 128 where their sign
is the wrong one, by turning over the first bit, and what that and the zero points x0, w0 bring in is taken off, exactly
modulo 2**32:

    sum (x - x0) (w - w0) = sum x w - x0 * (sum w) - w0 * (sum x) + K * x0 * w0

All but the third term is in what the sums begin with (`open_panels`), next to the bias; that one is only there for u8
weights whose zero point is not 128 (`take_off_lines`). In all other forms packing takes off the zero points, and w0 and
x0 are 0 from there on.

A patch of a convolution goes from the image into its line, run by run: im2col without an array of all patches.
Measured on one core of a Zen 4: 0.02 ns a byte for x of 64 channels or more, 0.2 for weights.
"""

from typing import Any, NamedTuple

import numpy as np

from emulator.jit.arrays import Bytes, Columns, Integers, Row
from emulator.jit.compile import hot_and_inner, inner
from emulator.jit.intrinsics import viewed, whole
from emulator.kernels.elements import BIAS, ZERO, Elements, W, weights_of
from emulator.kernels.microkernel import pack_run, pack_runs
from emulator.kernels.numbers import I8_CODE, I16_CODE, i32, i64, padded, u32, u64
from emulator.kernels.rows import OUT, X
from emulator.kernels.workspace import is_ended
from emulator.plan.blocks import CACHE_LINE, COLUMNS, ELEMENT, STEP
from emulator.plan.row import ABSENT, Field, attribute_slot

ONE = whole(1)
TILE_LINES, TILE_ELEMENTS = 16, 32
# An element of 8 bits as it is packed; whether that is as a byte, with its zero point.
PACKED = np.uint8 if ELEMENT == 1 else np.uint16
KEEPS_ZERO = ELEMENT == 1


class Conv(Columns):
    """The columns of a conv's own attributes."""

    STRIDE = attribute_slot("conv", "stride")
    PAD = attribute_slot("conv", "pad")
    DILATION = attribute_slot("conv", "dilation")
    GROUPS = attribute_slot("conv", "groups")
    X_ZERO = attribute_slot("conv", "x_zero")
    W_ZERO = attribute_slot("conv", "w_zero")


class Matmul(Columns):
    """The columns of a matmul's own attributes."""

    TRANSPOSE_X = attribute_slot("matmul", "transpose_x")
    TRANSPOSE_W = attribute_slot("matmul", "transpose_w")
    X_ZERO = attribute_slot("matmul", "x_zero")
    W_ZERO = attribute_slot("matmul", "w_zero")


class Panels(NamedTuple):
    """The panels of w, each `size` bytes, from byte `at` of a room on, of `steps` steps: K elements and zeros.

    `base` is what the sums of each column begin with, of 64 bits or of 32 as they are.
    """

    room: Bytes
    at: int
    k: int
    steps: int
    size: int
    base: Bytes


@inner
def to_pack(elements: Elements, signed: bool) -> Any:
    """Return elements as they are packed; `signed` says which of both it is where u8 is multiplied by s8."""
    flip, less, zero = elements.flip, elements.less, elements.zero
    if KEEPS_ZERO and not elements.wide:
        flip, less, zero = (flip ^ 128, ZERO, less - 128) if signed else (flip, ZERO, less)
    return Elements(elements.bytes, elements.first, elements.wide, flip, less, zero)


@inner
def element_size(wide: bool) -> int:
    """Return the bytes of an element as it is packed."""
    return STEP if wide else ELEMENT


@inner
def packed_zero(row: Row, zero: int) -> int:
    """Return the packed element that stands for 0 in w."""
    if not KEEPS_ZERO or row[W + Field.DTYPE] == I16_CODE:
        return ZERO
    return zero if row[W + Field.DTYPE] == I8_CODE else zero - 128


@inner
def apart(size: int) -> int:
    """Return the distance of lines of `size` bytes: an odd number of cache lines."""
    return (padded(size, CACHE_LINE) // CACHE_LINE | 1) * CACHE_LINE


@inner
def steps_of(elements: int, size: int) -> int:
    """Return the steps that so many elements of `size` bytes take."""
    return padded(elements * size, STEP) // STEP


@inner
def panel_bytes(steps: int) -> int:
    """Return the size of a panel, with the sums of its columns."""
    return (steps + 1) * COLUMNS * STEP


@inner
def clear(packed: Bytes, to: int, size: int, zero: int) -> None:
    """Fill bytes with elements that stand for 0; only those of one byte can be other than 0."""
    value = np.uint8(zero)
    for k in range(u64(to), u64(to + size)):
        packed[k] = value


@inner
def pack_lines(x: Elements, start: int, line_step: int, k_step: int, count: int, k: int, lines: Bytes) -> None:
    """Pack the element at start + r * line_step + i * k_step as element i of line r, for `count` lines of k."""
    size, source, wide, flip, less = element_size(x.wide), x.bytes, x.wide, x.flip, x.less
    stride = apart(k * size)
    if k_step == 1:
        pack_runs(lines, 0, stride, source, start, line_step, count, k, wide, flip, less)
        return
    # Where it is the lines that lie side by side: tiles whose lines all stay in the first-level cache, on both sides.
    words, narrow, out = viewed(source, np.int16), viewed(lines, PACKED), viewed(lines, np.int32)
    for r0 in range(0, count, TILE_LINES):
        for i0 in range(0, k, TILE_ELEMENTS):
            for r in range(r0, min(r0 + TILE_LINES, count)):
                at, to = start + r * line_step, r * stride // size
                for i in range(i0, min(i0 + TILE_ELEMENTS, k)):
                    if wide:
                        out[u64(to + i)] = i32(words[u64(at + i * k_step)]) - i32(less)
                    else:
                        narrow[u64(to + i)] = PACKED((i32(source[u64(at + i * k_step)]) ^ flip) - less)


@inner
def pack_patches(x: Elements, row: Row, group: int, first: int, count: int, lines: Bytes) -> None:
    """Pack what result pixels `first` on see of x, of a group of channels: element (kh * width + kw) * depth + c."""
    height, width, depth = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    rows, columns, channels = row[X + Field.SHAPE + 1], row[X + Field.SHAPE + 2], row[X + Field.SHAPE + 3]
    down, across = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2]
    # In variables: what is written to the lines might change the row, for all that the compiler knows.
    image_step, row_step, column_step = row[X + Field.STRIDE], row[X + Field.STRIDE + 1], row[X + Field.STRIDE + 2]
    stride_down, stride_across = row[Conv.STRIDE], row[Conv.STRIDE + 1]
    top_pad, left_pad = row[Conv.PAD], row[Conv.PAD + 1]
    apart_down, apart_across = row[Conv.DILATION], row[Conv.DILATION + 1]
    source, wide, flip, less, zero, size = x.bytes, x.wide, x.flip, x.less, x.zero, element_size(x.wide)
    stride = apart(height * width * depth * size)
    # Each pixel is a line by itself, and they follow each other.
    single = height * width * stride_down * stride_across == 1 and down == rows and across == columns
    if single and row_step == across * column_step and (image_step == down * row_step or row[X + Field.SHAPE] == 1):
        pack_lines(x, x.first + first * column_step + group * depth, column_step, ONE, count, depth, lines)
        return
    # Neighbouring taps are neighbours in memory: a row of the window is one run.
    runs = 1 if row[Conv.GROUPS] == 1 and apart_across == 1 and column_step == channels else width
    taps = width // runs
    # Of a line of the result, tap by tap: pixels at its ends, which see padding, and those between them at once.
    p = 0
    while p < count:
        index = first + p
        ow, line = index % across, index // across
        n = min(across - ow, count - p)
        corner, top = x.first + line // down * image_step + group * depth, line % down * stride_down - top_pad
        for i in range(height):
            y = top + i * apart_down
            for j in range(runs):
                left = ow * stride_across - left_pad + j * apart_across
                to = p * stride + (i * runs + j) * taps * depth * size
                begin = min(max((stride_across - 1 - left) // stride_across, 0), n)
                end = min(max((columns - taps - left + stride_across) // stride_across, begin), n)
                if y < 0 or y >= rows:
                    begin = end = n
                for q in range(n):
                    if begin <= q < end:
                        continue
                    at = left + q * stride_across
                    before = min(max(-at, 0), taps)
                    inside = max(min(columns - at, taps) - before, 0) if 0 <= y < rows else 0
                    clear(lines, to + q * stride, taps * depth * size, zero)
                    start = corner + y * row_step + (at + before) * column_step
                    edge = to + q * stride + before * depth * size
                    pack_run(lines, edge, source, start, inside * depth, wide, flip, less)
                start = corner + y * row_step + (left + begin * stride_across) * column_step
                step = stride_across * column_step
                between = to + begin * stride
                pack_runs(lines, between, stride, source, start, step, end - begin, taps * depth, wide, flip, less)
        p += n


@inner
def pack_panel(lines: Bytes, columns: int, steps: int, room: Bytes, at: int) -> None:
    """Turn lines of K elements, with zeros behind them, into the panel at byte `at`."""
    words, out = viewed(lines, np.uint32), viewed(room, np.uint32)
    stride = apart(steps * STEP) // STEP
    for s in range(steps):
        to = u64(at // STEP + s * COLUMNS)
        for o in range(u64(columns)):
            out[to + o] = words[o * u64(stride) + u64(s)]
    add_up(columns, steps, room, at)


@inner
def add_up(columns: int, steps: int, room: Bytes, at: int) -> None:
    """Put the sums of its columns behind a panel, in the forms that need them."""
    if not KEEPS_ZERO:
        return
    words = viewed(room, np.int32)
    sums = u64(at // STEP + steps * COLUMNS)
    for o in range(u64(columns)):
        words[sums + o] = 0
    for s in range(steps):
        to = u64(at // STEP + s * COLUMNS)
        for o in range(u64(columns)):
            v = words[to + o]
            words[sums + o] += i32(i32(v << 24) >> 24) + i32(i32(v << 16) >> 24) + i32(i32(v << 8) >> 24) + i32(v >> 24)


@inner
def packed_bytes(columns: int, k: int, groups: int, wide: bool) -> int:
    """Return the size of the panels of w: of `groups` times so many columns of K elements."""
    steps = (k * (STEP if wide else ELEMENT) + STEP - 1) // STEP
    return groups * ((columns + COLUMNS - 1) // COLUMNS) * (steps + 1) * COLUMNS * STEP


@hot_and_inner
def pack_filters(arena: Bytes, row: Row, room: Bytes, at: int) -> None:
    """Pack the filters of a convolution as panels from byte `at` on; each group begins with a panel."""
    height, width, depth = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    groups = row[Conv.GROUPS]
    of_group = row[W + Field.SHAPE] // groups
    w = to_pack(weights_of(arena, row, row[Conv.W_ZERO]), True)
    steps = steps_of(height * width * depth, element_size(w.wide))
    stride = apart(steps * STEP)
    lines = np.zeros(COLUMNS * stride, np.uint8)
    for g in range(groups):
        for first in range(0, of_group, COLUMNS):
            if is_ended(arena, row):
                return
            columns = min(COLUMNS, of_group - first)
            for o in range(columns):
                filter_ = w.first + (g * of_group + first + o) * row[W + Field.STRIDE]
                for i in range(height):
                    for j in range(width):
                        start = filter_ + i * row[W + Field.STRIDE + 1] + j * row[W + Field.STRIDE + 2]
                        to = o * stride + (i * width + j) * depth * element_size(w.wide)
                        pack_run(lines, to, w.bytes, start, depth, w.wide, w.flip, w.less)
            pack_panel(lines, columns, steps, room, at)
            at += panel_bytes(steps)


@inner
def step_of(row: Row, slot: int, dimension: int) -> int:
    """Return the stride of a dimension; 1 where it has one element, so that nothing depends on it."""
    return row[slot + Field.STRIDE + dimension] if row[slot + Field.SHAPE + dimension] > 1 else 1


@hot_and_inner
def pack_right(arena: Bytes, row: Row, start: int, room: Bytes, at: int) -> None:
    """Pack the right matrix that begins `start` elements behind the first of w as panels, from byte `at` on."""
    w = to_pack(weights_of(arena, row, row[Matmul.W_ZERO]), True)
    start += w.first
    columns = row[OUT + Field.SHAPE + 3]
    k = row[W + Field.SHAPE + 3] if row[Matmul.TRANSPOSE_W] else row[W + Field.SHAPE + 2]
    steps = steps_of(k, element_size(w.wide))
    step = step_of(row, W, 2)
    lines = np.zeros(COLUMNS * apart(steps * STEP) if row[Matmul.TRANSPOSE_W] else 0, np.uint8)
    for first in range(0, columns, COLUMNS):
        if is_ended(arena, row):
            return
        count = min(COLUMNS, columns - first)
        if row[Matmul.TRANSPOSE_W]:
            pack_lines(w, start + first * step, step, ONE, count, k, lines)
            pack_panel(lines, count, steps, room, at)
        else:
            weave(w, start + first, step, count, k, room, at)
            add_up(count, steps, room, at)
        at += panel_bytes(steps)


@inner
def weave(w: Elements, start: int, k_step: int, columns: int, k: int, room: Bytes, at: int) -> None:
    """Pack a panel whose columns lie side by side: the rows of a step go into its lanes one after another."""
    words, out = viewed(w.bytes, np.int16), viewed(room, np.uint32)
    in_step = STEP // element_size(w.wide)
    for s in range(steps_of(k, element_size(w.wide))):
        to = u64(at // STEP + s * COLUMNS)
        for o in range(u64(columns)):
            out[to + o] = 0
        for j in range(min(in_step, k - s * in_step)):
            line = u64(start + (s * in_step + j) * k_step)
            if w.wide:
                for o in range(u64(columns)):
                    out[to + o] = u32(i32(words[line + o]) - i32(w.less))
            else:
                shift = u32(8 * element_size(w.wide) * j)
                flip, less = i32(w.flip), i32(w.less)
                for o in range(u64(columns)):
                    element = PACKED(i32(i32(w.bytes[line + o]) ^ flip) - less)
                    out[to + o] |= u32(u32(element) << shift)


@inner
def base_bytes(columns: int, groups: int) -> int:
    """Return the size of what the sums of columns begin with."""
    return 8 * groups * padded(columns, COLUMNS)


@inner
def open_panels(
    arena: Bytes, row: Row, room: Bytes, at: int, k: int, groups: int, x_zero: int, w_zero: int, base: Bytes
) -> Any:
    """Return packed panels, each group's from a new one on, with what the sums of their columns begin with.

    The zero points are the packed elements that stand for 0; `base` are `base_bytes`.
    """
    wide = row[X + Field.DTYPE] == I16_CODE
    filters = row[OUT + Field.SHAPE + 3]
    of_group = filters // groups
    slots = padded(of_group, COLUMNS)
    steps = steps_of(k, element_size(wide))
    longs, narrow = viewed(base, np.int64), viewed(base, np.int32)
    biases, column_sums = viewed(arena, np.int32), viewed(room, np.int32)
    has_bias = row[BIAS + Field.ADDRESS] != ABSENT
    bias_step = u64(1 if row[BIAS + Field.SHAPE + 3] > 1 else 0)
    constant = k * w_zero * x_zero
    for g in range(groups):
        for first in range(0, of_group, COLUMNS):
            slot, count = u64(g * slots + first), u64(min(COLUMNS, of_group - first))
            bias = u64((row[BIAS + Field.ADDRESS] >> 2) + (g * of_group + first) * i64(bias_step))
            panel = (g * slots + first) // COLUMNS
            behind = u64((at + panel * panel_bytes(steps)) // STEP + steps * COLUMNS)
            if wide:
                for o in range(count):
                    longs[slot + o] = biases[bias + o * bias_step] if has_bias else 0
                continue
            for o in range(count):
                narrow[slot + o] = biases[bias + o * bias_step] if has_bias else 0
            if KEEPS_ZERO:
                for o in range(count):
                    narrow[slot + o] = i32(narrow[slot + o] + constant - x_zero * column_sums[behind + o])
    return Panels(room, at, k, steps, panel_bytes(steps), base)


@inner
def take_off_lines(
    lines: Bytes, k: int, count: int, w_zero: int, acc: Integers, width: int, column: int, columns: int
) -> None:
    """Take w_zero times the sum of a line off its sums in acc; only forms with elements of 8 bits have a w_zero."""
    stride = apart(k)
    for r in range(count):
        total = i32(0)
        for i in range(u64(r * stride), u64(r * stride + k)):
            total = i32(total + i32(lines[i]))
        total = i32(total * i32(w_zero))
        first = r * width + column
        for o in range(u64(first), u64(first + columns)):
            acc[o] = i32(acc[o] - total)
