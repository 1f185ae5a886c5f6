"""Programs from Python: the seconds from the first call of a Builder to its Program."""

import time
from statistics import median

import numpy as np

from isa.chip import Chip, load_chip
from ratel import Builder

CONVS, COPIES = "convolutions", "copies"
# How many of each; a convolution has weights, a bias and multipliers of its own.
COUNTS = {CONVS: 10_000, COPIES: 100_000}
CHANNELS, SIDE = 16, 8


def building(rounds: int, share: float = 1.0) -> dict[str, float]:
    """Return the median seconds of emitting and building each program, of `share` of COUNTS' instructions."""
    found: dict[str, list[float]] = {CONVS: [], COPIES: []}
    chip = large()
    for _ in range(rounds):
        for name, write in ((CONVS, convolutions), (COPIES, copies)):
            count = max(1, int(COUNTS[name] * share))
            arrays = parameters(count) if name == CONVS else ()
            began = time.perf_counter()
            b = Builder("built")
            write(b, count, *arrays)
            b.build(chip)
            found[name].append(time.perf_counter() - began)
    return {name: median(seconds) for name, seconds in found.items()}


def large() -> Chip:
    """Return a chip that holds such programs."""
    return load_chip("hanguang800").replace(memory__ib_bytes=2**30, memory__lm_bytes=2**30, memory__cb_bytes=2**30)


def parameters(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, biases and scales of so many convolutions."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-9, 10, (count, CHANNELS, 3, 3, CHANNELS), np.int8)
    biases = rng.integers(-99, 100, (count, CHANNELS), np.int32)
    return weights, biases, rng.uniform(0.001, 0.01, (count, CHANNELS)).astype(np.float32)


def convolutions(b: Builder, count: int, weights: np.ndarray, biases: np.ndarray, scales: np.ndarray) -> None:
    shape = (1, SIDE, SIDE, CHANNELS)
    x, y = b.input("x", "i8", shape, scale=0.1), b.output("y", "i8", shape, scale=0.1)
    turns = [b.local(None, "i8", shape, scale=0.1) for _ in range(2)]
    for k in range(count):
        out = y if k == count - 1 else turns[k % 2]
        w, bias = b.weight(None, weights[k], scale=scales[k]), b.const(None, biases[k])
        x = b.conv(out, x, w, bias=bias, pad=1, relu=True)


def copies(b: Builder, count: int) -> None:
    x, y = b.input("x", "i8", (64,)), b.output("y", "i8", (64,))
    for _ in range(count):
        b.copy(y, x)
