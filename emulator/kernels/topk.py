"""Kernel of the pooling engine: topk.

A row of x is gone through once. Each element is a key of 64 bits: above, an integer in the order of its value, NaN the
least; below, its place, the first the greatest; so no two are equal. The `k` greatest so far are a heap, the least of
them at its root, which most elements of a long row only are compared with. In the end the heap is sorted where it lies.
"""

import numpy as np

from emulator.jit.arrays import Array, Bytes, Floats, Integers, Row, Words
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import whole
from emulator.kernels.memory import copy_line, size_shift
from emulator.kernels.numbers import (
    FP32_FRACTION,
    I32_CODE,
    address,
    f32,
    i32,
    i64,
    is_floating,
    load_integers,
    load_numbers,
    store_integers,
    u64,
)
from emulator.kernels.rows import OUT, row_count, row_start
from emulator.kernels.workspace import is_ended, share
from emulator.plan.blocks import LANES
from emulator.plan.row import Field, operand_slot

PLACES, X = whole(operand_slot("topk", "places")), whole(operand_slot("topk", "x"))
# What takes the lower half of a key for the first place; a place is less.
FIRST = whole(2**32 - 1)
assert operand_slot("topk", "out") == OUT


@inner
def in_order(v: Floats, ranks: Integers) -> None:
    """Set ranks to int32 in the order of float32; both zeros are one, and every NaN is the least."""
    for k in range(u64(v.size)):
        # The sum makes 0 of -0.0; below 0 all bits but the sign count backwards.
        bits = f32(v[k] + f32(0)).view(np.int32)
        rank = i32(bits ^ i32(i32(bits >> i32(31)) & i32(0x7FFFFFFF)))
        ranks[k] = rank if v[k] == v[k] else i32(-0x80000000)


@inner
def sift(heap: Words, key: int, size: int) -> None:
    """Put a key in the place of the root of the first `size` of a heap, whose least is the root."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if key <= heap[child]:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key


@inner
def rise(heap: Words, key: int, at: int) -> None:
    """Add a key behind the first `at` of a heap."""
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= key:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = key


@inner
def keep(heap: Words, ranks: Array, first: int) -> None:
    """Keep the greatest of a row in a heap, which `first` elements have gone through before."""
    k = 0
    while k < ranks.size and first + k < heap.size:
        rise(heap, (i64(ranks[k]) << 32) | (FIRST - (first + k)), first + k)
        k += 1
    while k < ranks.size:
        key = (i64(ranks[k]) << 32) | (FIRST - (first + k))
        if key > heap[0]:
            sift(heap, key, heap.size)
        k += 1


@hot
def topk(arena: Bytes, row: Row) -> None:
    """out = the greatest of each row of x, and their places, in falling order; of equals the first, NaN last"""
    columns, dtype = row[X + Field.SHAPE + 3], row[X + Field.DTYPE]
    floating, shift = is_floating(dtype), size_shift(dtype)
    size = min(columns, LANES)
    numbers, ranks, places = np.empty(size, np.float32), np.empty(size, np.int32), np.empty(size, np.int32)
    heap = np.empty(row[OUT + Field.SHAPE + 3], np.int64)
    begin, end = share(row, row_count(row))
    for index in range(begin, end):
        x = row_start(row, X, index)
        for first in range(0, columns, LANES):
            if is_ended(arena, row):
                return
            some = min(LANES, columns - first)
            at = address(row, X, row[X + Field.ADDRESS], x + first)
            if floating:
                load_numbers(arena, dtype, at, 0, FP32_FRACTION, numbers[:some])
                in_order(numbers[:some], ranks[:some])
            else:
                load_integers(arena, dtype, at, ranks[:some])
            keep(heap, ranks[:some], first)
        for left in range(heap.size - 1, 0, -1):
            if left % LANES == 0 and is_ended(arena, row):
                return
            least = heap[0]
            sift(heap, heap[left], left)
            heap[left] = least
        source, to = (row[X + Field.ADDRESS] >> shift) + x, row_start(row, OUT, index)
        for first in range(0, heap.size, LANES):
            some = min(LANES, heap.size - first)
            for k in range(some):
                place = FIRST - (heap[first + k] & FIRST)
                places[k] = i32(place)
                copy_line(arena, shift, (row[OUT + Field.ADDRESS] >> shift) + to + first + k, 1, source + place, 1, 1)
            at = address(row, PLACES, row[PLACES + Field.ADDRESS], row_start(row, PLACES, index) + first)
            store_integers(arena, I32_CODE, at, places[:some])
