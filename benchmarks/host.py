"""The host's own limits, measured in the same run: the micro-kernel in the first-level cache, and copies by size."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.results import Host
from emulator.jit.compile import hot
from emulator.kernels.microkernel import multiply
from emulator.plan.blocks import COLUMNS, ELEMENT, ROWS, STEP

# Steps of a product: the operands take 23 KB, and little of the time is for sums to come and go.
STEPS = 128
# Of one timing: some milliseconds.
TIMES = 2_500
# What a copy reads and writes, by where that lies on most hosts; and bytes of one timing.
LEVELS = {"L1": 16 * 2**10, "L2": 512 * 2**10, "L3": 8 * 2**20, "memory": 256 * 2**20}
COPIED = 2**28


@hot
def repeat(x, w, base, acc, steps, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        multiply(x, steps * STEP, ROWS, w, 0, steps, base, acc, 0, 0, COLUMNS)


@hot
def copy(memory, times):  # type: ignore[no-untyped-def]
    half = np.uint64(memory.size // 2)
    for _ in range(times):
        for k in range(half):
            memory[half + k] = memory[k]


def host(rounds: int) -> Host:
    """Return the limits of this machine, one thread."""
    return Host(products(rounds), {name: (size, copies(size, rounds)) for name, size in LEVELS.items()})


def products(rounds: int) -> float:
    """Return the multiply-adds a second of the micro-kernel, in 1e9."""
    rng = np.random.default_rng(1)
    x, w = (rng.integers(0, 128, STEPS * STEP * count, np.uint8) for count in (ROWS, COLUMNS))
    base, acc = np.zeros(4 * COLUMNS, np.uint8), np.zeros(ROWS * COLUMNS, np.int32)
    seconds = _median(lambda: repeat(x, w, base, acc, STEPS, TIMES), rounds)
    return int(TIMES * ROWS * COLUMNS * STEPS * (STEP // ELEMENT)) / seconds / 1e9


def copies(size: int, rounds: int) -> float:
    """Return the bytes a second that copies read and write together, in 1e9, where those are `size` bytes."""
    memory, times = np.ones(size, np.uint8), max(1, COPIED // size)
    return times * size / _median(lambda: copy(memory, times), rounds) / 1e9


def _median(run: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of some runs; a first, which may compile, is not counted."""
    spent = []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return median(spent[1:])
