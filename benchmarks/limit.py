"""The host's limit: the micro-kernel alone, its operands in the first-level cache."""

import time
from statistics import median

import numpy as np

from emulator.jit.compile import hot
from emulator.kernels.microkernel import multiply
from emulator.plan.blocks import COLUMNS, ELEMENT, ROWS, STEP

# Steps of a product: the operands take 23 KB, and little of the time is for sums to come and go.
STEPS = 128
# Of one timing: some milliseconds.
TIMES = 2_500


@hot
def repeat(x, w, base, acc, steps, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        multiply(x, steps * STEP, ROWS, w, 0, steps, base, acc, 0, 0, COLUMNS)


def rate(rounds: int) -> float:
    """Return the multiply-adds a second of the micro-kernel, in 1e9."""
    rng = np.random.default_rng(1)
    x, w = (rng.integers(0, 128, STEPS * STEP * count, np.uint8) for count in (ROWS, COLUMNS))
    base, acc = np.zeros(4 * COLUMNS, np.uint8), np.zeros(ROWS * COLUMNS, np.int32)
    spent = []
    for _ in range(1 + rounds):
        began = time.perf_counter()
        repeat(x, w, base, acc, STEPS, TIMES)
        spent.append(time.perf_counter() - began)
    # The first compiles.
    return int(TIMES * ROWS * COLUMNS * STEPS * (STEP // ELEMENT)) / median(spent[1:]) / 1e9
