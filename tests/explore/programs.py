"""Programs that are swept: that of the digits, and a grid over it."""

from functools import cache
from pathlib import Path

import ratel

DIGITS = Path(__file__).parents[2] / "programs/digits/digits.npu"
GRID = {"te.latency": "10..30/5", "te.vector_lanes": "64..512*2", "te.pixels": "1,4,8", "memory.lm": "8K,1M"}


@cache
def digits() -> ratel.Program:
    return ratel.assemble(DIGITS.read_text(), DIGITS)
