"""Contenders timed in turns: A B A B, so that whatever slows the machine down slows all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Contender:
    """A computation ready to run: `run` does it `count` times, each with its own copy of the input.

    `alone`, where there is one, does what `run` does before the first of them and one less: its time is taken off.
    `result` is what the first run gave, `prepared` the seconds before it: assembling and loading, or making a session.
    `macs` is how many products one computation sums, where that is not what its rivals sum.
    """

    run: Callable[[], Any]
    count: int
    alone: Callable[[], Any] | None = None
    result: Any = None
    prepared: float = 0.0
    macs: int | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds of one computation: the median over the turns, and the distance between the quartiles.

    Outside of it lie `prepared`, once, and `set_up`, each time that computations begin.
    """

    median: float
    spread: float
    prepared: float
    set_up: float
    macs: int | None = None


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Timing]:
    """Give each contender a turn, one after another, `rounds` times; return their timings under the same keys."""
    turns: dict[str, list[tuple[float, float]]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, contender in contenders.items():
            turns[key].append(turn(contender))
    found = {}
    for key, pairs in turns.items():
        times, set_ups = zip(*pairs, strict=True)
        of = contenders[key]
        found[key] = Timing(median(times), spread(times), of.prepared, median(set_ups), of.macs)
    return found


def turn(contender: Contender) -> tuple[float, float]:
    """Return the seconds of one computation, and of what comes before the first."""
    if contender.alone is None:
        return clocked(contender.run) / contender.count, 0.0
    alone, whole = clocked(contender.alone), clocked(contender.run)
    each = (whole - alone) / contender.count
    return each, max(0.0, alone - each)


def clocked(run: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of a run."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def spread(times: tuple[float, ...]) -> float:
    """Return the distance between the quartiles, 0 for a single time."""
    if len(times) < 2:
        return 0.0
    lower, _, upper = quantiles(times, n=4, method="inclusive")
    return upper - lower
