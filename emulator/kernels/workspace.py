"""The workspace of a kernel: what it has of its walker, a share of the result, scratch memory, and when to end.

Several walkers share out a large instruction. Each calls the kernel with a row of its own, and the kernel computes the
blocks of the result that `share` names, all of them where there is one walker. Which blocks those are must not change
any bit, so only elements of the result are shared out, never the terms of a sum.

Scratch memory lies in the arena behind the memories of the program, SCRATCH_BYTES for each walker. It holds whatever
the kernel before left there. It costs nothing to take, where np.empty costs 50 to 100 ns.

A kernel that may take long looks between two blocks whether it is to end (`is_ended`), which leaves its result half
written: whoever says so (emulator/execute/walkers.py) does not go on. Those that take no time are not told of a word
to look at, and for them the look is a comparison.
"""

import numpy as np

from emulator.jit.arrays import Bytes, Row
from emulator.jit.atomics import atomic_load
from emulator.jit.compile import inlined, inner
from emulator.jit.intrinsics import viewed
from emulator.plan.blocks import CACHE_LINE
from emulator.plan.row import Call


@inner
def share(row: Row, blocks: int) -> tuple[int, int]:
    """Return the first of this walker's blocks of `blocks`, and the one behind its last."""
    if row[Call.SHARES] == 1:  # divisions would take a third of a small copy's time
        return 0, blocks
    return blocks * row[Call.SHARE] // row[Call.SHARES], blocks * (row[Call.SHARE] + 1) // row[Call.SHARES]


@inlined
def is_ended(arena: Bytes, row: Row) -> bool:
    """Return whether the kernel is to return at once, its result as it is."""
    return row[Call.END_WORD] != 0 and atomic_load(viewed(arena, np.int64), row[Call.END_WORD] >> 3) != 0


@inner
def room(arena: Bytes, row: Row, used: int, size: int) -> Bytes:
    """Return `size` bytes of scratch memory behind `used` of them, which begin a cache line if `used` does.

    Where there are not so many, or none at all, they are allocated, from the start of a cache line on.
    """
    start = row[Call.SCRATCH] + used
    if start + size <= row[Call.SCRATCH_END]:
        return arena[start : start + size]
    allocated = np.empty(size + CACHE_LINE, np.uint8)
    start = -allocated.ctypes.data % CACHE_LINE
    return allocated[start : start + size]


@inner
def behind(used: int, size: int) -> int:
    """Return how much is used after `size` bytes behind `used`, up to a whole cache line."""
    return (used + size + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
