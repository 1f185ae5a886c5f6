"""Contenders timed in turns: A B A B, so that whatever slows the machine down slows all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Contender:
    """A computation ready to run: `run` does it `count` times, each from its own copy of the input, and gives a result.

    `prepared` is the seconds that were spent before: assembling and loading, or making a session. `macs` is how many
    products one computation sums, where that is not what its rivals sum.
    """

    run: Callable[[], Any]
    prepared: float = 0.0
    count: int = 1
    macs: int | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds of one computation: the median over the turns, and the distance between the quartiles.

    `prepared` and `first` are what came before: making the contender, and its first turn, in which kernels are loaded
    or compiled and weights packed.
    """

    median: float
    spread: float
    prepared: float
    first: float
    macs: int | None = None


def prepared(make: Callable[[], Callable[[], Any]], count: int = 1, macs: int | None = None) -> Contender:
    """Return the contender whose `run` is what `make` returns, timed while it is made."""
    began = time.perf_counter()
    run = make()
    return Contender(run, time.perf_counter() - began, count, macs)


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Timing]:
    """Give each contender a turn apart, then `rounds` turns one after another; return timings under the same keys."""
    first = {key: clocked(contender) for key, contender in contenders.items()}
    spent: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, contender in contenders.items():
            spent[key].append(clocked(contender) / contender.count)
    return {
        key: Timing(median(times), spread(times), contenders[key].prepared, first[key], contenders[key].macs)
        for key, times in spent.items()
    }


def clocked(contender: Contender) -> float:
    """Return the wall-clock seconds of one turn."""
    began = time.perf_counter()
    contender.run()
    return time.perf_counter() - began


def spread(times: list[float]) -> float:
    """Return the distance between the quartiles, 0 for a single time."""
    if len(times) < 2:
        return 0.0
    lower, _, upper = quantiles(times, n=4, method="inclusive")
    return upper - lower
