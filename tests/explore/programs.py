"""Programs that are swept: that of the digits, and a grid over it."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import ratel
from explore.evaluate import Outcome, Work
from explore.pools import outcomes
from explore.space import Point

DIGITS = Path(__file__).parents[2] / "programs/digits/digits.npu"
GRID = {"te.latency": "10..30/5", "te.vector_lanes": "64..512*2", "te.pixels": "1,4,8", "memory.lm": "8K,1M"}


@cache
def digits() -> ratel.Program:
    return ratel.assemble(DIGITS.read_text(), DIGITS)


def crashing(work: Work, points: Sequence[Point], expected: str) -> list[Outcome]:
    """Compute points, on a worker, and end it at one of them."""
    if any(point["te.latency"] == 13 for point in points):
        os._exit(1)
    return outcomes(work, points, expected)
