"""Kernel of the tensor engine: dwconv, a convolution without a sum over channels.

Loop order: lines of the result > blocks of its pixels, which go through the chain while they are in the first-level
cache > vectors of a run > runs > steps. A step is what the micro-kernel multiplies at once: TAPS bytes, here those of
so many rows of the window in one column, for a channel. For that the lines of x that a line of the result sees are
woven into lines of steps, once for all columns of the window: 3 loads, 2 shifts, 2 ors and a store for as many channels
as a vector has lanes. A vector's weights then stay in registers for all runs of the block, and a sum costs a load and a
product for each column, and a store. The lines come from a ring, with x_zero around them, so there are no edges, and
with i8 turned to u8 128 above. With stride 1 neighbouring pixels see neighbouring steps: a run is as many pixels as
make whole vectors, and the weights are repeated for each of them. Weights beyond 8 bits, which differences of u8 may
be, are sums of several of 8 bits, a step for each. The zero point of x is in what the sums begin with.
"""

from typing import Any

import numpy as np

from emulator.jit.arrays import Array, Bytes, Columns, Integers, Row, Words
from emulator.jit.compile import hot, hot_and_inner, inner
from emulator.jit.intrinsics import borrowed, viewed, whole
from emulator.kernels.chain import open_chain, run_chain
from emulator.kernels.elements import PRODUCT_CHAIN, W, elements_of, weights_of
from emulator.kernels.microkernel import TAP_LANES, add_taps
from emulator.kernels.numbers import I8_CODE, i32, i64, padded, u64
from emulator.kernels.rows import OUT, X
from emulator.kernels.workspace import behind, is_ended, room, share
from emulator.plan.blocks import CACHE_LINE, ELEMENT, LANES, STEP
from emulator.plan.row import ABSENT, Call, Field, attribute_slot, operand_slot

# Elements of a step; in how many pieces differences of u8 may be; bytes in front of packed weights.
TAPS, MOST_PIECES, HEADER = whole(STEP // ELEMENT), whole(3), whole(CACHE_LINE)
# Sums of a block; elements of a run of several pixels.
SUMS, RUN = 2 * LANES, LANES // 4
DWCONV_STAGES = whole(attribute_slot("dwconv", "ew2_op"))
assert (operand_slot("dwconv", "w"), operand_slot("dwconv", "ew1_scale")) == (W, PRODUCT_CHAIN)


class Dwconv(Columns):
    """The slot of a dwconv's bias, and the columns of its own attributes."""

    BIAS = operand_slot("dwconv", "bias")
    STRIDE = attribute_slot("dwconv", "stride")
    PAD = attribute_slot("dwconv", "pad")
    DILATION = attribute_slot("dwconv", "dilation")
    X_ZERO = attribute_slot("dwconv", "x_zero")
    W_ZERO = attribute_slot("dwconv", "w_zero")


@inner
def weave(ring: Array, height: int, top: int, dilation: int, group: int, woven: Integers) -> None:
    """Fill a line of steps with rows of a group of the window, whose first lies in line `top` of the ring's image.

    Rows that the group has not have weights of 0: any line does for them.
    """
    span, pitch, lines = ring.shape[0], ring.shape[1], borrowed(ring).reshape(-1)
    a0 = a1 = a2 = a3 = u64(0)
    for t in range(TAPS):
        i = group * TAPS + t
        line = u64((top + (i if i < height else group * TAPS) * dilation) % span * pitch)
        if t == 0:
            a0 = line
        elif t == 1:
            a1 = line
        elif t == 2:
            a2 = line
        else:
            a3 = line
    out = borrowed(woven)
    if TAPS == 2:
        for k in range(u64(pitch)):
            out[k] = i32(i32(lines[a0 + k]) | i32(i32(lines[a1 + k]) << 16))
    elif height - group * TAPS < 4:
        for k in range(u64(pitch)):
            out[k] = i32(i32(lines[a0 + k]) | i32(i32(lines[a1 + k]) << 8) | i32(i32(lines[a2 + k]) << 16))
    else:
        for k in range(u64(pitch)):
            low = i32(i32(lines[a0 + k]) | i32(i32(lines[a1 + k]) << 8))
            out[k] = i32(low | i32(i32(lines[a2 + k]) << 16) | i32(i32(lines[a3 + k]) << 24))


@inner
def add_wide(
    ring: Array, zero: int, at: Words, first: int, step: int, weights: Integers, begin: Integers, sums: Words
) -> None:
    """Set sums to begin + the sum over all taps, in 64 bits; x loses its zero point here.

    at[t] + first is the element of the ring where the first run begins for tap t; the next ones begin `step` further
    on. All but the last are as long as a line of weights.
    """
    lines, o, run = ring.reshape(-1), u64(first), u64(weights.shape[1])
    for start in range(u64(0), u64(sums.size), run):
        n = min(run, u64(sums.size) - start)
        for k in range(n):
            sums[start + k] = begin[k]
        for t in range(at.size):
            for k in range(n):
                sums[start + k] += (i64(lines[u64(at[t]) + o + k]) - zero) * i64(weights[t, k])
        o += u64(step)


@inner
def copy_line(source: Array, start: int, step: int, flip: int, fill: int, line: Array, size: tuple) -> None:
    """Fill a line of the ring with a line of x: size = (pixels of x, 0 where it lies outside; channels; padding)."""
    pixels, channels, pad = size
    line[: pad * channels] = fill
    line[(pad + pixels) * channels :] = fill
    turn = source.dtype.type(flip)
    joined = step == channels
    run = pixels * channels if joined else channels
    for p in range(1 if joined else pixels):
        to, at = u64((pad + p) * channels), u64(start + p * step)
        for k in range(u64(run)):
            line[to + k] = source[at + k] ^ turn


@inner
def dense_weights(arena: Bytes, row: Row, taps: int, run: int) -> Integers:
    """Return w less its zero point, [taps, run]: channels repeated; one line for each tap."""
    w = weights_of(arena, row, row[Dwconv.W_ZERO])
    words, width, channels = viewed(w.bytes, np.int16), row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    weights = np.zeros((taps, run), np.int32)
    for t in range(row[W + Field.SHAPE + 1] * width):
        start = u64(w.first + t // width * row[W + Field.STRIDE + 1] + t % width * row[W + Field.STRIDE + 2])
        for c in range(u64(channels)):
            if w.wide:
                weights[t, c] = i32(words[start + c]) - i32(w.less)
            else:
                weights[t, c] = (i32(w.bytes[start + c]) ^ i32(w.flip)) - i32(w.less)
        for k in range(channels, run):
            weights[t, k] = weights[t, k - channels]
    return weights


@inner
def run_of(row: Row) -> int:
    """Return how many pixels of the result make a run."""
    return pixels_of_run(row[W + Field.SHAPE + 3], row[Dwconv.STRIDE + 1])


@inner
def pixels_of_run(channels: int, stride: int) -> int:
    """Return the fewest pixels whose channels are whole vectors; 1 where those of neighbours lie apart, or are many."""
    run = TAP_LANES // min(channels & -channels, TAP_LANES)
    return run if stride == 1 and run * channels <= RUN else 1


@inner
def taps_bytes(height: int, width: int, elements: int, single: bool) -> int:
    """Return the size of packed weights for runs of so many elements, each in a single piece, or in MOST_PIECES."""
    pieces = 1 if single or ELEMENT != 1 else MOST_PIECES
    steps = pieces * ((height + TAPS - 1) // TAPS) * width
    return HEADER + (steps + 1) * ((elements + TAP_LANES - 1) // TAP_LANES * TAP_LANES) * STEP


@hot_and_inner
def pack_taps(arena: Bytes, row: Row, packed: Bytes, at: int) -> None:
    """Pack w less its zero point from byte `at` on: how many pieces a weight is in, its steps, and its sums.

    A step of a column of the window has the weights of TAPS of its rows, [pieces][groups of rows][width], each for the
    elements of a run, and up to a vector's lanes of zeros behind them; the sums are those of all taps.
    """
    height, width, channels = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    run = run_of(row) * channels
    weights = dense_weights(arena, row, height * width, run)
    groups, across = (height + TAPS - 1) // TAPS, padded(run, TAP_LANES)
    least, most = i64(0), i64(0)
    for t in range(height * width):
        for k in range(channels):
            least, most = min(least, i64(weights[t, k])), max(most, i64(weights[t, k]))
    pieces: Any = 1 if ELEMENT != 1 else max((most + 126) // 127, (127 - least) // 128, 1)
    words, begin = viewed(packed, np.int32), (at + HEADER) // STEP
    words[at // STEP] = pieces
    for k in range((pieces * groups * width + 1) * across):
        words[begin + k] = 0
    sums = begin + pieces * groups * width * across
    bits = 32 // TAPS
    for t in range(height * width):
        if is_ended(arena, row):
            return
        i, j = t // width, t % width
        for k in range(run):
            left = weights[t, k]
            words[sums + k] += left
            for p in range(pieces):
                part = left if ELEMENT != 1 else min(max(left, i32(-128)), i32(127))
                left = i32(left - part)
                step = begin + ((p * groups + i // TAPS) * width + j) * across + k
                words[step] |= i32(i32(part & i32((1 << bits) - 1)) << i32(i % TAPS * bits))


@inner
def first_sums(arena: Bytes, row: Row, sums: Integers, less: int) -> Integers:
    """Return what the sums of a run begin with: bias, less what `less` in every x adds; wrapped to 32 bits."""
    begin, channels = np.zeros(padded(sums.size, TAP_LANES), np.int32), row[W + Field.SHAPE + 3]
    words, start = viewed(arena, np.int32), u64(row[Dwconv.BIAS + Field.ADDRESS] >> 2)
    step = u64(row[Dwconv.BIAS + Field.SHAPE + 3] > 1)
    for first in range(0, sums.size, channels):
        for c in range(u64(channels)):
            total = i32(0) if row[Dwconv.BIAS + Field.ADDRESS] == ABSENT else words[start + c * step]
            begin[first + c] = i32(total - i32(i32(less) * sums[first + c]))
    return begin


@hot
def dwconv(arena: Bytes, row: Row) -> None:
    """acc[n,oh,ow,c] = bias[c] + sum over kh, kw of (x - x_zero) * (w - w_zero), then the chain."""
    height, width, channels = row[W + Field.SHAPE + 1], row[W + Field.SHAPE + 2], row[W + Field.SHAPE + 3]
    rows, columns, before = row[X + Field.SHAPE + 1], row[X + Field.SHAPE + 2], row[Dwconv.PAD + 1]
    down, across = row[OUT + Field.SHAPE + 1], row[OUT + Field.SHAPE + 2]
    # Walkers share lines of the result: each has a ring of its own.
    mine, end = share(row, row[OUT + Field.SHAPE] * down)
    begin_pixel, end_pixel = mine * across, end * across
    x = elements_of(arena, row, X, row[X + Field.ADDRESS], row[Dwconv.X_ZERO])
    words = viewed(x.bytes, np.int16)
    run = run_of(row)
    taps, groups = height * width, (height + TAPS - 1) // TAPS
    # Line y of an image is at y % span.
    pitch = (before + columns + row[Dwconv.PAD + 3]) * channels
    span = (height - 1) * row[Dwconv.DILATION] + 1
    ring_rows, wide_rows = (0, span) if x.wide else (span, 0)
    ring, wide_ring = np.empty((ring_rows, pitch), np.uint8), np.empty((wide_rows, pitch), np.int16)
    chain = open_chain(arena, row, PRODUCT_CHAIN, DWCONV_STAGES)
    pad = padded(run * channels, TAP_LANES)
    # Behind the last line a run may begin that ends beyond it.
    size = STEP * (0 if x.wide else groups * pitch + pad)
    woven = viewed(room(arena, row, chain.used, size), np.int32)
    used = behind(chain.used, size)
    weights = dense_weights(arena, row, taps, run * channels) if x.wide else np.zeros((0, run * channels), np.int32)
    packed, first_step = arena, row[Call.PACKED_W]
    if first_step == 0 and not x.wide:
        single = row[W + Field.DTYPE] == I8_CODE and row[Dwconv.W_ZERO] == 0
        packed = np.empty(taps_bytes(height, width, run * channels, single), np.uint8)
        pack_taps(arena, row, packed, first_step)
    steps = viewed(packed, np.int32)
    number = 0 if x.wide else steps[first_step // STEP] * groups * width
    first_step = (first_step + HEADER) // STEP
    none = np.zeros(run * channels, np.int32)
    of_sums = first_step + number * pad
    begin = first_sums(arena, row, none if x.wide else steps[of_sums : of_sums + run * channels], x.less)
    steps = steps[first_step:]
    at, origins = np.zeros(number, np.int64), np.zeros(taps, np.int64)
    for s in range(number):
        at[s] = s // width % groups * pitch + s % width * row[Dwconv.DILATION + 1] * channels
    # Parts of a line, whose sums stay in the first-level cache, as long as each other.
    parts = (across * channels + SUMS - 1) // SUMS
    block = (across + parts - 1) // parts
    # The last run may end beyond the block.
    longs, words_of_sums = (block * channels, 0) if x.wide else (0, block * channels + pad)
    acc, sums = viewed(room(arena, row, used, 4 * words_of_sums), np.int32), np.empty(longs, np.int64)
    held = i64(0)
    for first in range(begin_pixel, end_pixel, block):
        count = min(block, end_pixel - first)
        p = 0
        while p < count:
            if is_ended(arena, row):
                return
            index = first + p
            left = index % across
            if left == 0:
                line, image = index // across % down, index // (across * down)
                top = line * row[Dwconv.STRIDE] - row[Dwconv.PAD]
                # The lines that the row above, if it was computed here, has not seen.
                for y in range(max(held, top) if line and index > begin_pixel else top, top + span):
                    if is_ended(arena, row):
                        return
                    start = x.first + image * row[X + Field.STRIDE] + y * row[X + Field.STRIDE + 1]
                    seen = (columns if 0 <= y < rows else 0, channels, before)
                    if x.wide:
                        copy_line(words, start, row[X + Field.STRIDE + 2], x.flip, x.less, wide_ring[y % span], seen)
                    else:
                        copy_line(x.bytes, start, row[X + Field.STRIDE + 2], x.flip, x.less, ring[y % span], seen)
                held = top + span
                if x.wide:
                    for t in range(taps):
                        y, column = top + t // width * row[Dwconv.DILATION], t % width * row[Dwconv.DILATION + 1]
                        origins[t] = y % span * pitch + column * channels
                else:
                    for g in range(groups):
                        weave(ring, height, top, row[Dwconv.DILATION], g, woven[g * pitch : (g + 1) * pitch])
            some, step = min(across - left, count - p), run * row[Dwconv.STRIDE + 1] * channels
            start = left * row[Dwconv.STRIDE + 1] * channels
            if x.wide:
                add_wide(
                    wide_ring, x.less, origins, start, step, weights, begin, sums[p * channels : (p + some) * channels]
                )
            else:
                to, ahead = p * channels, some * channels
                while ahead > 0:
                    # Where a run is no whole vectors it ends in the next one, which is computed later.
                    runs = max(ahead // pad, 1) if pad == run * channels else 1
                    add_taps(woven, at, start, step, steps, number, begin, acc, to, runs, pad)
                    start, to, ahead = start + runs * step, to + runs * run * channels, ahead - runs * run * channels
            p += some
        run_chain(arena, row, chain, acc, sums, channels, first, count)
