"""Kernel of the pooling engine: reduce.

Loop order: rows of the result > blocks of kept channels > the reduced indices in row-major order > channels. One block
of x at a time is loaded into a buffer, of int32 for integers and of float32 for floats. Where channels are kept, each
has a place of its own in the block of results and the innermost loop is one vector operation; where they are reduced
there is one result, and the loop is a chain, which the stated order of float sums makes it in any case.
"""

from enum import IntEnum

import numpy as np

from emulator.jit.arrays import Array, Bytes, Columns, Floats, Integers, Row
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import whole
from emulator.kernels.arithmetic import ADD, MUL, combine
from emulator.kernels.numbers import (
    FP32_FRACTION,
    I32_CODE,
    address,
    f32,
    is_floating,
    load_integers,
    load_numbers,
    round_all,
    round_bits,
    store_integers,
    store_numbers,
    u64,
)
from emulator.kernels.rows import OUT, X, load_multiplier, row_count, row_start
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import Call, Field, attribute_slot, operand_slot
from isa.table import MNEMONICS

REDUCE_SCALE = whole(operand_slot("reduce", "scale"))


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


@inner
def scaled(arena: Bytes, row: Row, count: int, v: Floats) -> None:
    """Multiply sums by scale, or scale / count."""
    fraction, scale = row[Call.FRACTION], load_multiplier(arena, row, REDUCE_SCALE)
    multiplier = np.empty(v.size, np.float32)
    multiplier[:] = f32(round_bits(scale / count, fraction)) if row[Reduce.OP] == Reduction.MEAN else f32(scale)
    combine(v, multiplier, MUL, fraction)


@hot
def reduce(arena: Bytes, row: Row) -> None:
    """out = sum, mean, max, min or argmax of x over the dimensions where out has size 1."""
    channels, dtype, op = row[X + Field.SHAPE + 3], row[X + Field.DTYPE], row[Reduce.OP]
    fraction, of_sum = row[Call.FRACTION], row[Call.SUM_FRACTION]
    kept = row[OUT + Field.SHAPE + 3] == channels
    high, wide = folded(row, 1), folded(row, 2)
    outer = folded(row, 0) * high * wide
    count = outer if kept else outer * channels
    floating, adding = is_floating(dtype), op in (Reduction.SUM, Reduction.MEAN)
    least = op == Reduction.MIN
    size = min(channels, LANES)
    numbers, integers = np.empty(size, np.float32), np.empty(size, np.int32)
    sums, totals = np.empty(size, np.float32), np.empty(size, np.int64)
    best, best_integer, places = np.empty(size, np.float32), np.empty(size, np.int32), np.empty(size, np.int32)
    begin, end = share(row, row_count(row))
    for index in range(begin, end):
        origin, to = row_start(row, X, index), row_start(row, OUT, index)
        for first in range(0, channels if kept else 1, LANES):
            last = min(first + LANES, channels) if kept else channels
            n = last - first if kept else 1
            sums[:n], totals[:n], places[:n] = f32(0), 0, -1
            place = 0
            for r in range(outer):
                start = origin + r % wide * row[X + Field.STRIDE + 2] + r // wide % high * row[X + Field.STRIDE + 1]
                start += r // (wide * high) * row[X + Field.STRIDE]
                for c in range(first, last, LANES):
                    if is_ended(arena, row):
                        return
                    some = min(LANES, last - c)
                    at = address(row, X, row[X + Field.ADDRESS], start + c)
                    if floating:
                        load_numbers(arena, dtype, at, 0, of_sum if adding else FP32_FRACTION, numbers[:some])
                        if adding:
                            add_floats(sums[:n], numbers[:some], kept, of_sum)
                        else:
                            keep_best(best[:n], places[:n], numbers[:some], place, kept, least)
                    else:
                        load_integers(arena, dtype, at, integers[:some])
                        if adding:
                            add_integers(totals[:n], integers[:some], kept)
                        else:
                            keep_best(best_integer[:n], places[:n], integers[:some], place, kept, least)
                    place += 1 if kept else some
            at = address(row, OUT, row[OUT + Field.ADDRESS], to + first)
            if op == Reduction.ARGMAX:
                store_integers(arena, I32_CODE, at, places[:n])
            elif op in (Reduction.MAX, Reduction.MIN):
                if floating:
                    store_numbers(arena, dtype, at, 0, best[:n])
                else:
                    store_integers(arena, dtype, at, best_integer[:n])
            else:
                if floating:
                    round_all(sums[:n], fraction)
                else:
                    less = count * row[Reduce.X_ZERO]
                    for k in range(n):
                        integers[k] = np.int32(totals[k] - less)
                        sums[k] = f32(round_bits(np.float64(totals[k] - less), fraction))
                if row[OUT + Field.DTYPE] == I32_CODE:
                    store_integers(arena, I32_CODE, at, integers[:n])
                else:
                    scaled(arena, row, count, sums[:n])
                    store_numbers(arena, row[OUT + Field.DTYPE], at, row[Reduce.OUT_ZERO], sums[:n])
