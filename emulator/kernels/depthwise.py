"""Kernel of the tensor engine: dwconv, a convolution without a sum over channels.

Loop order: blocks of result pixels, which go through the chain while they are in the first-level cache > lines of
them > runs of pixels > elements of the run. The lines of x that a row of the result sees are copied to a ring, with
x_zero around them, so there are no edges, and with i8 turned to u8 128 above. With stride 1 neighbouring pixels see
neighbouring bytes: a run is several pixels, RUN elements, and the weights, of 32 bits, are repeated for each of them.
The nine taps of a 3 x 3 window are written out: a sum stays in its register for 9 loads, products and sums, of which a
vector of results takes 27 instructions (LLVM vectorises the loop over the run). More taps are added one at a time,
through memory. The zero point of x is in what the sums begin with. Measured on one core with AVX-512, chain and all: 12
GMAC/s for 144 to 384 channels with stride 1, 9 to 10 with stride 2; 19 for the products alone.
"""

import numpy as np

from emulator.jit.arrays import Array, Bytes, Columns, Integers, Row, Words
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import borrowed, viewed, whole
from emulator.kernels.chain import open_chain, run_chain
from emulator.kernels.elements import PRODUCT_CHAIN, W, accumulators, elements_of, weights_of
from emulator.kernels.numbers import i32, i64, u64
from emulator.kernels.rows import OUT, X
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import NINE, RUN
from emulator.plan.row import ABSENT, Field, attribute_slot, operand_slot

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
def add_nine(ring: Array, at: Words, step: int, weights: Integers, begin: Integers, acc: Integers) -> None:
    """Set acc to begin + the sum of the products of the first nine taps, wrapped to 32 bits.

    at[t] is the byte of the ring where the first run begins for tap t; the next ones begin `step` further on. All but
    the last are as long as `begin`.
    """
    lines, w, first = borrowed(ring).reshape(-1), borrowed(weights), borrowed(begin)
    w0, w1, w2, w3, w4, w5, w6, w7, w8 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]
    a0, a1, a2, a3, a4 = u64(at[0]), u64(at[1]), u64(at[2]), u64(at[3]), u64(at[4])
    a5, a6, a7, a8 = u64(at[5]), u64(at[6]), u64(at[7]), u64(at[8])
    results, o = borrowed(acc), u64(0)
    for start in range(u64(0), u64(acc.size), u64(begin.size)):
        for k in range(min(u64(begin.size), u64(acc.size) - start)):
            # Without the casts numba would add in 64 bits.
            s = i32(first[k] + i32(lines[a0 + o + k]) * w0[k])
            s = i32(i32(s + i32(lines[a1 + o + k]) * w1[k]) + i32(lines[a2 + o + k]) * w2[k])
            s = i32(i32(s + i32(lines[a3 + o + k]) * w3[k]) + i32(lines[a4 + o + k]) * w4[k])
            s = i32(i32(s + i32(lines[a5 + o + k]) * w5[k]) + i32(lines[a6 + o + k]) * w6[k])
            s = i32(i32(s + i32(lines[a7 + o + k]) * w7[k]) + i32(lines[a8 + o + k]) * w8[k])
            results[start + k] = s
        o += u64(step)


@inner
def add_one(ring: Array, at: int, step: int, weights: Integers, acc: Integers) -> None:
    """Add the products of one tap to acc, as `add_nine` does."""
    lines, o = ring.reshape(-1), u64(at)
    for start in range(u64(0), u64(acc.size), u64(weights.size)):
        for k in range(min(u64(weights.size), u64(acc.size) - start)):
            acc[start + k] = i32(acc[start + k] + i32(lines[o + k]) * weights[k])
        o += u64(step)


@inner
def add_wide(ring: Array, zero: int, at: Words, step: int, weights: Integers, begin: Integers, sums: Words) -> None:
    """Set sums to begin + the sum over all taps, in 64 bits; x loses its zero point here. Runs as in `add_nine`."""
    lines, o = ring.reshape(-1), u64(0)
    for start in range(u64(0), u64(sums.size), u64(begin.size)):
        n = min(u64(begin.size), u64(sums.size) - start)
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
    """Return w less its zero point, [taps, run]: channels repeated; zeros for taps beyond the window."""
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
def first_sums(arena: Bytes, row: Row, weights: Integers, less: int) -> Integers:
    """Return what the sums of a run begin with: bias, less what `less` in every x adds; wrapped to 32 bits."""
    begin, channels = np.zeros(weights.shape[1], np.int32), row[W + Field.SHAPE + 3]
    words, start = viewed(arena, np.int32), row[Dwconv.BIAS + Field.ADDRESS] >> 2
    step = 1 if row[Dwconv.BIAS + Field.SHAPE + 3] > 1 else 0
    for k in range(begin.size):
        total = i64(words[start + k % channels * step]) if row[Dwconv.BIAS + Field.ADDRESS] != ABSENT else i64(0)
        for t in range(weights.shape[0]):
            total -= i64(less) * weights[t, k]
        begin[k] = i32(total)
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
    # Pixels of a run lie side by side in the ring only with stride 1.
    run = min(max(1, RUN // channels), across) if row[Dwconv.STRIDE + 1] == 1 else 1
    taps = height * width
    weights = dense_weights(arena, row, max(taps, NINE), run * channels)
    begin = first_sums(arena, row, weights, 0 if x.wide else x.less)
    # Line y of an image is at y % span.
    pitch = before + columns + row[Dwconv.PAD + 3]
    span = (height - 1) * row[Dwconv.DILATION] + 1
    ring_rows, wide_rows = (0, span) if x.wide else (span, 0)
    ring = np.empty((ring_rows, pitch * channels), np.uint8)
    wide_ring = np.empty((wide_rows, pitch * channels), np.int16)
    origins, at = np.zeros(taps, np.int64), np.zeros(max(taps, NINE), np.int64)
    chain = open_chain(arena, row, PRODUCT_CHAIN, DWCONV_STAGES)
    block = chain.block // channels
    acc, sums = accumulators(block, channels, x.wide)
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
                    size = (columns if 0 <= y < rows else 0, channels, before)
                    if x.wide:
                        copy_line(words, start, row[X + Field.STRIDE + 2], x.flip, x.less, wide_ring[y % span], size)
                    else:
                        copy_line(x.bytes, start, row[X + Field.STRIDE + 2], x.flip, x.less, ring[y % span], size)
                held = top + span
                for t in range(taps):
                    y, column = top + t // width * row[Dwconv.DILATION], t % width * row[Dwconv.DILATION + 1]
                    origins[t] = (y % span * pitch + column) * channels
            for t in range(taps):
                at[t] = origins[t] + left * row[Dwconv.STRIDE + 1] * channels
            some, step = min(across - left, count - p), run * row[Dwconv.STRIDE + 1] * channels
            if x.wide:
                wide_results = sums[p * channels : (p + some) * channels]
                add_wide(wide_ring, x.less, at[:taps], step, weights, begin, wide_results)
            else:
                results = acc[p * channels : (p + some) * channels]
                add_nine(ring, at, step, weights, begin, results)
                for t in range(NINE, taps):
                    add_one(ring, at[t], step, weights[t], results)
            p += some
        run_chain(arena, row, chain, acc, sums, channels, first, count)
