"""Kernel of the pooling engine: reduce.

Loop order: rows of the result > blocks of kept channels > the reduced indices in row-major order > channels. One block
of x at a time is loaded into a buffer, of int32 for integers and of float32 for floats. Where channels are kept, each
has a place of its own in the block of results and the innermost loop is one vector operation; where they are reduced
there is one result. Bytes whose channels are kept are not loaded into the buffer: 8 lines of x at a time go into sums
of 16 bits: 42 G elements/s on one core of a Zen 4 for 49 lines of 2048, scaled and rounded. The stated order of float
sums makes that a chain of additions, each of which waits for the one before, 0.8 ns an element: SIDE_BY_SIDE results
are summed at once, 0.1 ns an element.
"""

from enum import IntEnum

import numpy as np

from emulator.jit.arrays import Array, Bytes, Columns, Floats, Integers, Row
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import fused, viewed, whole
from emulator.kernels.arithmetic import ADD, MUL, combine
from emulator.kernels.numbers import (
    FP32_FRACTION,
    I8_CODE,
    I32_CODE,
    U8_CODE,
    address,
    f32,
    i32,
    i64,
    is_floating,
    load_integers,
    load_numbers,
    round_all,
    round_bits,
    store_integers,
    store_numbers,
    to_odd,
    u64,
)
from emulator.kernels.rows import OUT, X, load_multiplier, row_count, row_start
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import Call, Field, attribute_slot, operand_slot
from isa.table import MNEMONICS

REDUCE_SCALE = whole(operand_slot("reduce", "scale"))
# How many chains of additions go on at once, and how many elements of each are loaded at a time.
SIDE_BY_SIDE, STRETCH = 8, 512
# Lines of bytes whose sums 16 bits hold: 128 * 255 < 2**15.
MOST_LINES = 128


class Reduce(Columns):
    """The columns of a reduce's attributes."""

    OP = attribute_slot("reduce", "op")
    X_ZERO = attribute_slot("reduce", "x_zero")
    OUT_ZERO = attribute_slot("reduce", "out_zero")


class Reduction(IntEnum):
    """The words of `op`."""

    SUM = 0
    MEAN = 1
    MAX = 2
    ARGMAX = 3
    MIN = 4
    ABSMAX = 5
    SUMSQ = 6


assert [word.name.lower() for word in Reduction] == list(MNEMONICS["reduce"].choices[0].words)
assert (operand_slot("reduce", "out"), operand_slot("reduce", "x")) == (OUT, X)


@inner
def folded(row: Row, dimension: int) -> int:
    """Return how many indices of a dimension of x become one."""
    return row[X + Field.SHAPE + dimension] if row[OUT + Field.SHAPE + dimension] == 1 else 1


@inner
def add_integers(totals: Array, values: Array, kept: bool) -> None:
    if kept:
        for k in range(u64(values.size)):
            totals[k] += values[k]
    else:
        total = np.int64(0)
        for k in range(u64(values.size)):
            total += values[k]
        totals[0] += total


@inner
def add_lines(source: Array, first: int, step: int, lines: int, part: Array, totals: Array) -> None:
    """Add MOST_LINES or fewer lines of bytes, `step` elements apart, to totals, by way of 16 bits in `part`."""
    n, apart, a, left = u64(totals.size), u64(step), u64(first), lines
    for k in range(n):
        part[k] = 0
    while left >= 8:
        b, c, d = a + apart, a + apart * u64(2), a + apart * u64(3)
        e, f, g, h = a + apart * u64(4), b + apart * u64(4), c + apart * u64(4), d + apart * u64(4)
        for k in range(n):
            low = np.int16(source[a + k] + source[b + k] + source[c + k] + source[d + k])
            high = np.int16(source[e + k] + source[f + k] + source[g + k] + source[h + k])
            part[k] = np.int16(part[k] + low + high)
        a, left = a + apart * u64(8), left - 8
    for _ in range(left):
        for k in range(n):
            part[k] = np.int16(part[k] + source[a + k])
        a += apart
    for k in range(n):
        totals[k] += part[k]


@inner
def add_floats(totals: Array, values: Array, kept: bool, fraction: int) -> None:
    """Add values to the totals, one for each or one for all, in their order, each sum rounded."""
    if kept:
        combine(totals, values, ADD, fraction)
    elif fraction == FP32_FRACTION:
        for k in range(values.size):
            totals[0] = totals[0] + values[k]
    else:
        for k in range(values.size):
            totals[0] = f32(round_bits(np.float64(totals[0]) + np.float64(values[k]), fraction))


@inner
def add_squares_of_integers(totals: Array, values: Array, zero: int, kept: bool) -> None:
    """Add the squares of int32 less their zero point to the totals, one for each or one for all."""
    for k in range(u64(values.size)):
        v = i64(values[k]) - zero
        totals[u64(k) if kept else u64(0)] += v * v


@inner
def add_squares_of_floats(totals: Array, values: Array, kept: bool, fraction: int) -> None:
    """Add the squares of values to the totals, one for each or one for all, in their order, each by one operation."""
    if fraction == FP32_FRACTION:
        for k in range(u64(values.size)):
            at = u64(k) if kept else u64(0)
            totals[at] = fused(values[k], values[k], totals[at])
    else:
        for k in range(u64(values.size)):
            at = u64(k) if kept else u64(0)
            total = to_odd(np.float64(values[k]) * np.float64(values[k]), np.float64(totals[at]))
            totals[at] = f32(round_bits(total, fraction))


@inner
def magnitudes_of_integers(values: Array, zero: int) -> None:
    """Replace int32 of 8 or 16 bits by their distances from their zero point."""
    for k in range(u64(values.size)):
        values[k] = i32(abs(i32(values[k] - i32(zero))))


@inner
def magnitudes_of_floats(values: Array) -> None:
    for k in range(u64(values.size)):
        values[k] = abs(values[k])


@inner
def scaled(arena: Bytes, row: Row, count: int, v: Floats) -> None:
    """Multiply sums by scale, or scale / count."""
    fraction, scale = row[Call.FRACTION], load_multiplier(arena, row, REDUCE_SCALE)
    multiplier = np.empty(v.size, np.float32)
    multiplier[:] = f32(round_bits(scale / count, fraction)) if row[Reduce.OP] == Reduction.MEAN else f32(scale)
    combine(v, multiplier, MUL, fraction)


@inner
def add_side_by_side(totals: Floats, values: Floats, count: int, fraction: int, squares: bool) -> None:
    """Add `count` values, or their squares, to each total, in their order, each sum rounded.

    Those of total r begin at r * STRETCH.
    """
    if squares:
        # Eight chains in turn wait for none of them.
        for k in range(u64(count)):
            for r in range(u64(SIDE_BY_SIDE)):
                v = values[r * u64(STRETCH) + k]
                if fraction == FP32_FRACTION:
                    totals[r] = fused(v, v, totals[r])
                else:
                    total = to_odd(np.float64(v) * np.float64(v), np.float64(totals[r]))
                    totals[r] = f32(round_bits(total, fraction))
    elif fraction == FP32_FRACTION:
        a, b, c, d, e, f, g, h = totals[0], totals[1], totals[2], totals[3], totals[4], totals[5], totals[6], totals[7]
        for k in range(u64(count)):
            a, b = a + values[k], b + values[u64(STRETCH) + k]
            c, d = c + values[u64(2 * STRETCH) + k], d + values[u64(3 * STRETCH) + k]
            e, f = e + values[u64(4 * STRETCH) + k], f + values[u64(5 * STRETCH) + k]
            g, h = g + values[u64(6 * STRETCH) + k], h + values[u64(7 * STRETCH) + k]
        totals[0], totals[1], totals[2], totals[3], totals[4], totals[5], totals[6], totals[7] = a, b, c, d, e, f, g, h
    else:
        for k in range(u64(count)):
            for r in range(u64(SIDE_BY_SIDE)):
                total = np.float64(totals[r]) + np.float64(values[r * u64(STRETCH) + k])
                totals[r] = f32(round_bits(total, fraction))


@inner
def sum_lines(arena: Bytes, row: Row, begin: int, end: int) -> int:
    """Store float sums of whole lines of x, of as many of the results from `begin` to `end` as are whole groups.

    Return the first that is left.
    """
    channels, dtype, of_sum = row[X + Field.SHAPE + 3], row[X + Field.DTYPE], row[Call.SUM_FRACTION]
    values, totals = np.empty(SIDE_BY_SIDE * STRETCH, np.float32), np.empty(SIDE_BY_SIDE, np.float32)
    while begin + SIDE_BY_SIDE <= end:
        totals[:] = f32(0)
        for c in range(0, channels, STRETCH):
            if is_ended(arena, row):
                return end
            some = min(STRETCH, channels - c)
            for r in range(SIDE_BY_SIDE):
                at = address(row, X, row[X + Field.ADDRESS], row_start(row, X, begin + r) + c)
                load_numbers(arena, dtype, at, 0, of_sum, values[r * STRETCH : r * STRETCH + some])
            add_side_by_side(totals, values, some, of_sum, row[Reduce.OP] == Reduction.SUMSQ)
        round_all(totals, row[Call.FRACTION])
        scaled(arena, row, channels, totals)
        for r in range(SIDE_BY_SIDE):
            at = address(row, OUT, row[OUT + Field.ADDRESS], row_start(row, OUT, begin + r))
            store_numbers(arena, row[OUT + Field.DTYPE], at, row[Reduce.OUT_ZERO], totals[r : r + 1])
        begin += SIDE_BY_SIDE
    return begin


@inner
def extreme(values: Integers, least: bool) -> int:
    """Return the greatest or the least of int32, in vectors."""
    best = values[0]
    if least:
        for k in range(u64(values.size)):
            best = min(best, values[k])
    else:
        for k in range(u64(values.size)):
            best = max(best, values[k])
    return best


@inner
def is_extreme_of_floats(values: Floats, least: bool, best: Floats) -> bool:
    """Set best[0] to the greatest or the least of float32, in vectors; return whether it is certain.

    Their bits are integers in the same order, once those below 0 are turned over. A NaN is out of that order, and of
    two zeros the first counts.
    """
    bits, odd = values.view(np.int32), i32(0)
    first = bits[0]
    found = i32(first ^ i32(i32(first >> i32(31)) & i32(0x7FFFFFFF)))
    sign = i32(-1) if least else i32(0)
    found = i32(found ^ sign)
    for k in range(u64(bits.size)):
        n = bits[k]
        odd = i32(odd | i32(i32(n & i32(0x7FFFFFFF)) > i32(0x7F800000)))
        found = max(found, i32(i32(n ^ i32(i32(n >> i32(31)) & i32(0x7FFFFFFF))) ^ sign))
    found = i32(found ^ sign)
    best[0] = i32(found ^ i32(i32(found >> i32(31)) & i32(0x7FFFFFFF))).view(np.float32)
    return odd == 0 and best[0] != f32(0)


@inner
def keep_best(best: Array, places: Integers, values: Array, place: int, kept: bool, least: bool) -> None:
    """Keep the greatest, or the least, and where it was first seen; a NaN is beyond any number.

    `place` is that of values[0].
    """
    for k in range(values.size):
        to, at = (k, place) if kept else (0, place + k)
        v, b = values[k], best[to]
        beyond = v < b if least else v > b
        if places[to] < 0 or beyond or (v != v and b == b):
            best[to], places[to] = v, np.int32(at)


@hot
def reduce(arena: Bytes, row: Row) -> None:
    """out = sum, mean, max, min, argmax, absmax or sumsq of x over the dimensions where out has size 1."""
    channels, dtype, op = row[X + Field.SHAPE + 3], row[X + Field.DTYPE], row[Reduce.OP]
    fraction, of_sum = row[Call.FRACTION], row[Call.SUM_FRACTION]
    kept = row[OUT + Field.SHAPE + 3] == channels
    high, wide = folded(row, 1), folded(row, 2)
    outer = folded(row, 0) * high * wide
    count = outer if kept else outer * channels
    floating, adding = is_floating(dtype), op in (Reduction.SUM, Reduction.MEAN, Reduction.SUMSQ)
    least, magnitude, squares = op == Reduction.MIN, op == Reduction.ABSMAX, op == Reduction.SUMSQ
    of_bytes = kept and adding and not squares and dtype in (I8_CODE, U8_CODE)
    # Then every sum is a number of the vector format and of 32 bits.
    is_exact = of_bytes and count * (255 + abs(row[Reduce.X_ZERO])) < 1 << (fraction + 1)
    # Lines of x, of dimension 2, that are summed at a time.
    lines = min(wide, MOST_LINES) if of_bytes else 1
    size = min(channels, LANES)
    numbers, integers = np.empty(size, np.float32), np.empty(size, np.int32)
    sums, totals = np.empty(size, np.float32), np.empty(size, np.int64)
    best, best_integer, places = np.empty(size, np.float32), np.empty(size, np.int32), np.empty(size, np.int32)
    part, shorts = np.empty(1, np.float32), np.empty(size if of_bytes else 0, np.int16)
    begin, end = share(row, row_count(row))
    if floating and adding and not kept and outer == 1:
        begin = sum_lines(arena, row, begin, end)
    for index in range(begin, end):
        origin, to = row_start(row, X, index), row_start(row, OUT, index)
        for first in range(0, channels if kept else 1, LANES):
            last = min(first + LANES, channels) if kept else channels
            n = last - first if kept else 1
            sums[:n], totals[:n], places[:n] = f32(0), 0, -1
            place = 0
            r = 0
            while r < outer:
                some_lines = min(lines, wide - r % wide)
                start = origin + r % wide * row[X + Field.STRIDE + 2] + r // wide % high * row[X + Field.STRIDE + 1]
                start += r // (wide * high) * row[X + Field.STRIDE]
                for c in range(first, last, LANES):
                    if is_ended(arena, row):
                        return
                    some = min(LANES, last - c)
                    at = address(row, X, row[X + Field.ADDRESS], start + c)
                    if of_bytes:
                        if dtype == I8_CODE:
                            bytes_of_x = viewed(arena, np.int8)
                            add_lines(bytes_of_x, at, row[X + Field.STRIDE + 2], some_lines, shorts[:n], totals[:n])
                        else:
                            add_lines(arena, at, row[X + Field.STRIDE + 2], some_lines, shorts[:n], totals[:n])
                    elif floating:
                        load_numbers(arena, dtype, at, 0, of_sum if adding else FP32_FRACTION, numbers[:some])
                        if magnitude:
                            magnitudes_of_floats(numbers[:some])
                        if squares:
                            add_squares_of_floats(sums[:n], numbers[:some], kept, of_sum)
                        elif adding:
                            add_floats(sums[:n], numbers[:some], kept, of_sum)
                        elif kept or op == Reduction.ARGMAX or not is_extreme_of_floats(numbers[:some], least, part):
                            keep_best(best[:n], places[:n], numbers[:some], place, kept, least)
                        else:
                            keep_best(best[:n], places[:n], part, place, kept, least)
                    else:
                        load_integers(arena, dtype, at, integers[:some])
                        if magnitude:
                            magnitudes_of_integers(integers[:some], row[Reduce.X_ZERO])
                        if squares:
                            add_squares_of_integers(totals[:n], integers[:some], row[Reduce.X_ZERO], kept)
                        elif adding:
                            add_integers(totals[:n], integers[:some], kept)
                        elif kept or op == Reduction.ARGMAX:
                            keep_best(best_integer[:n], places[:n], integers[:some], place, kept, least)
                        else:
                            integers[0] = extreme(integers[:some], least)
                            keep_best(best_integer[:n], places[:n], integers[:1], place, kept, least)
                    place += 1 if kept else some
                r += some_lines
            at = address(row, OUT, row[OUT + Field.ADDRESS], to + first)
            if op == Reduction.ARGMAX:
                store_integers(arena, I32_CODE, at, places[:n])
            elif op in (Reduction.MAX, Reduction.MIN):
                if floating:
                    store_numbers(arena, dtype, at, 0, best[:n])
                else:
                    store_integers(arena, dtype, at, best_integer[:n])
            else:
                if magnitude:
                    for k in range(n):
                        sums[k] = best[k] if floating else f32(best_integer[k])
                if floating or magnitude:
                    round_all(sums[:n], fraction)
                else:
                    less = 0 if squares else count * row[Reduce.X_ZERO]
                    for k in range(u64(n)):
                        integers[k] = np.int32(totals[k] - less)
                    if is_exact:
                        for k in range(u64(n)):
                            sums[k] = f32(integers[k])
                    else:
                        for k in range(u64(n)):
                            sums[k] = f32(round_bits(np.float64(totals[k] - less), fraction))
                if row[OUT + Field.DTYPE] == I32_CODE:
                    store_integers(arena, I32_CODE, at, integers[:n])
                else:
                    scaled(arena, row, count, sums[:n])
                    store_numbers(arena, row[OUT + Field.DTYPE], at, row[Reduce.OUT_ZERO], sums[:n])
