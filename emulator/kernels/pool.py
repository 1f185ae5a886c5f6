"""Kernels of the pooling engine: maxpool and avgpool.

Loop order of a maxpool of integers, in two passes: lines of the result > rows of the window > a line of x, into the
greatest of each column of pixels; then pixels > taps > channels, or, with stride 1, taps > the whole line. Of the rows
and of the taps the first three are compared at once, which is all there are of most windows. The padding lies around
that line, and is the least there is. Of the others: result pixels > taps inside the image > channels. Channels are
contiguous, so the innermost loop is one vector operation or a widening sum; one buffer of channels takes all taps of a
pixel and stays in the first-level cache. Taps in the padding are left out of the loops, not tested in them. Integers
are compared and summed as they are; floats by way of a float32 buffer of one pixel. Measured on one core of a Zen 4: 40
G elements/s of x for a maxpool of 3x3 with stride 2 of 64 channels, without its call.
"""

import numpy as np

from emulator.jit.arrays import Array, Bytes, Columns, Floats, Integers, Row, Words
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import borrowed, viewed, whole
from emulator.kernels.arithmetic import ADD, MUL, combine
from emulator.kernels.numbers import (
    FP32_FRACTION,
    I8_CODE,
    U8_CODE,
    address,
    f32,
    is_floating,
    load_numbers,
    round_all,
    round_bits,
    store_numbers,
    u64,
)
from emulator.kernels.rows import OUT, X, load_multiplier, row_count, row_start
from emulator.kernels.workspace import is_ended, share
from emulator.plan.row import Call, Field, attribute_slot, operand_slot

AVGPOOL_SCALE = whole(operand_slot("avgpool", "scale"))


# Taps of a line, and pixels, between two looks whether to end.
MANY_TAPS, PIXELS_UNHEARD = 64, 1024


class Pool(Columns):
    """The columns of an avgpool's attributes; a maxpool has those of the window in the same places."""

    WINDOW = attribute_slot("avgpool", "window")
    STRIDE = attribute_slot("avgpool", "stride")
    PAD = attribute_slot("avgpool", "pad")
    COUNT_PAD = attribute_slot("avgpool", "count_pad")
    X_ZERO = attribute_slot("avgpool", "x_zero")
    OUT_ZERO = attribute_slot("avgpool", "out_zero")


for _name in ("maxpool", "avgpool"):
    assert (operand_slot(_name, "out"), operand_slot(_name, "x")) == (OUT, X)
for _name, _slot in (("window", Pool.WINDOW), ("stride", Pool.STRIDE), ("pad", Pool.PAD)):
    assert attribute_slot("maxpool", _name) == _slot


@inner
def window_inside(row: Row, index: int) -> tuple[int, int, int, int, int]:
    """Return (first element of the image, top, bottom, left, right): the part of a result pixel's window inside x."""
    across = row[OUT + Field.SHAPE + 2]
    down = row[OUT + Field.SHAPE + 1]
    top = index // across % down * row[Pool.STRIDE] - row[Pool.PAD]
    left = index % across * row[Pool.STRIDE + 1] - row[Pool.PAD + 1]
    bottom = min(top + row[Pool.WINDOW], row[X + Field.SHAPE + 1])
    right = min(left + row[Pool.WINDOW + 1], row[X + Field.SHAPE + 2])
    image = index // (down * across) * row[X + Field.STRIDE]
    return image, max(top, 0), bottom, max(left, 0), right


@inner
def taps_padded(row: Row, index: int) -> int:
    """Return how many taps of a result pixel's window lie inside x with its padding."""
    across = row[OUT + Field.SHAPE + 2]
    down = row[OUT + Field.SHAPE + 1]
    # From the padding's first pixel on.
    top = index // across % down * row[Pool.STRIDE]
    left = index % across * row[Pool.STRIDE + 1]
    bottom = row[Pool.PAD] + row[X + Field.SHAPE + 1] + row[Pool.PAD + 2]
    right = row[Pool.PAD + 1] + row[X + Field.SHAPE + 2] + row[Pool.PAD + 3]
    return min(row[Pool.WINDOW], bottom - top) * min(row[Pool.WINDOW + 1], right - left)


@inner
def pixel_start(row: Row, image: int, y: int, x: int) -> int:
    """Return the element, from the first of x, where a pixel of x begins."""
    return image + y * row[X + Field.STRIDE + 1] + x * row[X + Field.STRIDE + 2]


@inner
def keep_greater(peak: Floats, values: Floats) -> None:
    """Set peak to the greater of it and float32 values, the first of equals; a NaN is greater than any number."""
    for c in range(u64(peak.size)):
        v = values[c]
        peak[c] = v if (v > peak[c]) | (v != v) else peak[c]


@inner
def tallest(row: Row, source: Array, at: int, step: int, count: int, line: Array) -> None:
    """Set a line's elements, behind its padding, to the greatest of `count` rows of x, `step` elements apart."""
    columns, channels = row[X + Field.SHAPE + 2], row[OUT + Field.SHAPE + 3]
    pitch = row[X + Field.STRIDE + 2]
    pixels, run = (1, columns * channels) if pitch == channels else (columns, channels)
    for p in range(pixels):
        to, first = u64((row[Pool.PAD + 1] + p) * channels), u64(at + p * pitch)
        # Three rows at once, of which the last may be the same.
        second, third = first + u64(min(count - 1, 1) * step), first + u64(min(count - 1, 2) * step)
        for k in range(u64(run)):
            line[to + k] = max(max(source[first + k], source[second + k]), source[third + k])
        for y in range(3, count):
            other = first + u64(y * step)
            for k in range(u64(run)):
                line[to + k] = max(line[to + k], source[other + k])


@inner
def wider(line: Array, start: int, apart: int, taps: int, source: Array, to: int, count: int) -> None:
    """Let `count` elements of the result be as great as `taps` more elements of a line."""
    o, n = u64(to), u64(count)
    for t in range(taps):
        b = u64(start + t * apart)
        for k in range(n):
            source[o + k] = max(source[o + k], line[b + k])


@inner
def widest(line: Array, start: int, apart: int, taps: int, source: Array, to: int, count: int, pixels: tuple) -> None:
    """Set `count` elements of each pixel to the greatest of 1 to 3 taps, which lie `apart` in a line.

    pixels = (how many; elements from one to the next in the line, and in the result). They are gone through here, and
    the arrays are borrowed: a call for each pixel would count who holds them, which takes longer than 64 channels do.
    """
    lines, results = borrowed(line), borrowed(source)
    many, forward, onward = pixels
    n, second, third = u64(count), u64(min(taps - 1, 1) * apart), u64(min(taps - 1, 2) * apart)
    for p in range(many):
        a, o = u64(start + p * forward), u64(to + p * onward)
        b, c = a + second, a + third
        for k in range(n):
            results[o + k] = max(max(lines[a + k], lines[b + k]), lines[c + k])


@inner
def pool_integers(arena: Bytes, source: Array, row: Row, shift: int, least: int) -> None:
    """Max-pool x in a view of the arena by its type, of 1 << shift bytes; `least` is the type's least value."""
    channels, across, down = row[OUT + Field.SHAPE + 3], row[OUT + Field.SHAPE + 2], row[OUT + Field.SHAPE + 1]
    base, to = row[X + Field.ADDRESS] >> shift, row[OUT + Field.ADDRESS] >> shift
    stride, taps = row[Pool.STRIDE + 1], row[Pool.WINDOW + 1]
    # A line with its padding, and as far as the last window reaches.
    pitch = max((across - 1) * stride + taps, row[Pool.PAD + 1] + row[X + Field.SHAPE + 2])
    line = np.empty(pitch * channels, source.dtype)
    # With stride 1 the windows of a whole line lie side by side.
    joined = stride == 1 and (across == 1 or row[OUT + Field.STRIDE + 2] == channels)
    pixels, run = (1, across * channels) if joined else (across, channels)
    line[:] = least
    first, last = share(row, row[OUT + Field.SHAPE] * down)
    for index in range(first, last):
        if is_ended(arena, row):
            return
        image, top, bottom, _, _ = window_inside(row, index * across)
        if bottom > top:
            tallest(row, source, base + pixel_start(row, image, top, 0), row[X + Field.STRIDE + 1], bottom - top, line)
        else:
            line[:] = least
        start = to + row_start(row, OUT, index * across)
        forward, onward = stride * channels, row[OUT + Field.STRIDE + 2]
        for p in range(0, pixels, PIXELS_UNHEARD):
            if p and is_ended(arena, row):
                return
            many = (min(pixels - p, PIXELS_UNHEARD), forward, onward)
            widest(line, p * forward, channels, min(taps, 3), source, start + p * onward, run, many)
        for p in range(pixels if taps > 3 else 0):
            for t in range(3, taps, MANY_TAPS):
                if is_ended(arena, row):
                    return
                some = min(taps - t, MANY_TAPS)
                wider(line, p * forward + t * channels, channels, some, source, start + p * onward, run)


@inner
def pool_floats(arena: Bytes, row: Row) -> None:
    """Max-pool x by way of float32, which holds each value of the floating types."""
    peak, pixel = np.empty((2, row[OUT + Field.SHAPE + 3]), np.float32)
    dtype = row[X + Field.DTYPE]
    first, last = share(row, row_count(row))
    for index in range(first, last):
        image, top, bottom, left, right = window_inside(row, index)
        peak[:] = -np.inf
        for y in range(top, bottom):
            if is_ended(arena, row):
                return
            for x in range(left, right):
                at = address(row, X, row[X + Field.ADDRESS], pixel_start(row, image, y, x))
                load_numbers(arena, dtype, at, 0, FP32_FRACTION, pixel)
                keep_greater(peak, pixel)
        store_numbers(arena, dtype, address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, index)), 0, peak)


@hot
def maxpool(arena: Bytes, row: Row) -> None:
    """out[n,oh,ow,c] = max over kh, kw inside x of x[n,ih,iw,c]."""
    if row[X + Field.DTYPE] == I8_CODE:
        pool_integers(arena, viewed(arena, np.int8), row, 0, -128)
    elif row[X + Field.DTYPE] == U8_CODE:
        pool_integers(arena, arena, row, 0, 0)
    elif is_floating(row[X + Field.DTYPE]):
        pool_floats(arena, row)
    else:
        pool_integers(arena, viewed(arena, np.int16), row, 1, -32768)


@inner
def add_line(source: Array, first: int, step: int, count: int, line: Integers, sums: Words) -> None:
    """Add `count` pixels, `step` elements apart, of a line of the window to sums.

    Sums of one line fit 32 bits, those of the whole window need not.
    """
    channels = u64(sums.size)
    line[:] = 0
    for x in range(count):
        start = u64(first + x * step)
        for c in range(channels):
            line[c] = np.int32(line[c] + source[start + c])
    for c in range(channels):
        sums[c] += line[c]


@inner
def sum_integers(arena: Bytes, row: Row, window: tuple, line: Integers, sums: Words, v: Floats) -> None:
    """Set v to the sums of a window of integers less their zero points: exact, then rounded once."""
    image, top, bottom, left, right = window
    dtype, step, fraction = row[X + Field.DTYPE], row[X + Field.STRIDE + 2], row[Call.FRACTION]
    sums[:] = 0
    for y in range(top, bottom):
        if is_ended(arena, row):
            return
        at = address(row, X, row[X + Field.ADDRESS], pixel_start(row, image, y, left))
        if dtype == I8_CODE:
            add_line(viewed(arena, np.int8), at, step, right - left, line, sums)
        elif dtype == U8_CODE:
            add_line(arena, at, step, right - left, line, sums)
        else:
            add_line(viewed(arena, np.int16), at >> 1, step, right - left, line, sums)
    less = (bottom - top) * (right - left) * row[Pool.X_ZERO]
    for c in range(u64(v.size)):
        v[c] = f32(round_bits(np.float64(sums[c] - less), fraction))


@inner
def sum_floats(arena: Bytes, row: Row, window: tuple, pixel: Floats, v: Floats) -> None:
    """Set v to the sums of a window of floats, in row-major order: each step in the sum format, then rounded once."""
    image, top, bottom, left, right = window
    fraction = row[Call.SUM_FRACTION]
    v[:] = 0
    for y in range(top, bottom):
        if is_ended(arena, row):
            return
        for x in range(left, right):
            at = address(row, X, row[X + Field.ADDRESS], pixel_start(row, image, y, x))
            load_numbers(arena, row[X + Field.DTYPE], at, 0, fraction, pixel)
            combine(v, pixel, ADD, fraction)
    round_all(v, row[Call.FRACTION])


@hot
def avgpool(arena: Bytes, row: Row) -> None:
    """out[n,oh,ow,c] = to storage(float(sum of (x - x_zero)) * (scale / count))."""
    channels, fraction = row[OUT + Field.SHAPE + 3], row[Call.FRACTION]
    scale = load_multiplier(arena, row, AVGPOOL_SCALE)
    floating = is_floating(row[X + Field.DTYPE])
    line, sums = np.empty(channels, np.int32), np.empty(channels, np.int64)
    v, pixel, multiplier = np.empty((3, channels), np.float32)
    first, last = share(row, row_count(row))
    for index in range(first, last):
        if is_ended(arena, row):
            return
        window = window_inside(row, index)
        if floating:
            sum_floats(arena, row, window, pixel, v)
        else:
            sum_integers(arena, row, window, line, sums, v)
        _, top, bottom, left, right = window
        taps = taps_padded(row, index) if row[Pool.COUNT_PAD] else (bottom - top) * (right - left)
        # The format's greatest number may be passed here: float32 makes it the infinity that it is.
        multiplier[:] = f32(round_bits(scale / taps, fraction))
        combine(v, multiplier, MUL, fraction)
        at = address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, index))
        store_numbers(arena, row[OUT + Field.DTYPE], at, row[Pool.OUT_ZERO], v)
