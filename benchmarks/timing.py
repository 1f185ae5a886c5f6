"""Contenders timed in turns: A B A B, so that whatever slows the machine down slows all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Contender:
    """A computation ready to run: `run` does it `count` times, each with its own copy of the input.

    `result` is what the first run gave, `prepared` the seconds before it: compiling, or making a session; `set_up` the
    seconds of them in which memory was set up and constant weights were packed, where that is known. `is_exact` says
    that a program of the chip has to have onnxruntime's bits.
    `macs` is how many products one computation sums, where that is not what its rivals sum.
    """

    run: Callable[[], Any]
    count: int
    result: Any = None
    prepared: float = 0.0
    set_up: float = 0.0
    macs: int | None = None
    is_exact: bool = True


@dataclass(frozen=True)
class Timing:
    """Seconds of one computation: the median over the turns, and the distance between the quartiles.

    Outside of it lies what a contender does once, `prepared` and `set_up`.
    """

    median: float
    spread: float
    prepared: float
    set_up: float
    macs: int | None = None


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Timing]:
    """Give each contender a turn, one after another, `rounds` times; return their timings under the same keys."""
    turns: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, contender in contenders.items():
            turns[key].append(clocked(contender.run) / contender.count)
    return {
        key: Timing(median(times), spread(times), of.prepared, of.set_up, of.macs)
        for (key, times), of in zip(turns.items(), contenders.values(), strict=True)
    }


def clocked(run: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of a run."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def spread(times: Sequence[float]) -> float:
    """Return the distance between the quartiles, 0 for a single time."""
    if len(times) < 2:
        return 0.0
    lower, _, upper = quantiles(times, n=4, method="inclusive")
    return upper - lower
