"""What if: the cycles saved by more of each thing that the chip has, each found by scheduling again.

Only numbers that the schedule reads are tried: it is made once with a chip that notes what it is asked for.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from emulator.plan.plan import Plan
from emulator.timing.result import Schedule
from emulator.timing.stream import stream
from emulator.timing.timeline import schedule
from isa.chip import FIELDS, Chip

# Less of these is more of the chip: cycles, and the grain of an access.
_COSTLY = ("latency", "latency_ns", "_cycles", ".cycles", ".access_bytes")
# What no schedule of a program made for it can be given more of: cores, clock, and sizes; how its memory is cut; and
# the sides of an array, which takes longer to fill the larger it is.
_FIXED = ("chip.cores", "chip.frequency_mhz", "memory.lm_blocks", "te.rows", "te.columns")
# Of these 0 is none at all, and 1 as many as there can be.
_NONE_AT_0 = ("te.f16_cycles", "te.bf16_cycles")
MORE = 0.1


@dataclass(frozen=True)
class WhatIf:
    """A number of the chip: what it is, with 10 % more of it (whole numbers move by 1 at least), and without limit.

    `more_saved` and `most_saved` are cycles; below 0 the run gets longer.
    """

    key: str
    meaning: str
    value: float
    more: float
    more_saved: int
    most: float
    most_saved: int


class _Noting(Mapping[str, Any]):
    """The values of a chip; `read` are the keys that were asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_of, self.read = values, dict[str, None]()

    def __getitem__(self, key: str) -> Any:
        self.read[key] = None
        return self.values_of[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of)

    def __len__(self) -> int:
        return len(self.values_of)


def timed(plan: Plan) -> Schedule:
    return schedule(plan) if plan.tasks == 1 else stream(plan)


def numbers_read(plan: Plan) -> list[str]:
    """Return which numbers of the chip the schedule of a plan reads and could have more of, in the order of FIELDS."""
    noting = _Noting(plan.chip.values)
    _ = timed(replace(plan, chip=Chip(noting, plan.chip.sources))).cycles
    return [key for key in FIELDS if key in noting.read and can_have_more(key)]


def can_have_more(key: str) -> bool:
    kind = FIELDS[key][0]
    size = key.startswith("memory.") and key.endswith("_bytes")
    return kind != "word" and key not in _FIXED and not size


def more_and_most(chip: Chip, key: str) -> tuple[float, float]:
    """Return a number of a chip with 10 % more of what it stands for, and without limit: as FIELDS allows."""
    kind, least, most, _ = FIELDS[key]
    value, least = chip[key], 1 if key in _NONE_AT_0 else least
    if key.endswith(_COSTLY):
        more = value * (1 - MORE) if kind == "rate" else value * 9 // 10
        return max(more, least), least
    more = value * (1 + MORE) if kind == "rate" else -(-value * 11 // 10)
    return min(more, most), most


def what_if(plan: Plan, on_progress: Callable[[int, int], None] | None = None) -> list[WhatIf]:
    """Return what more of each number of the chip saves, most first: by 10 % more of it, then by all of it.

    `on_progress` is called with the schedules made and those to make. Raises Trap as `schedule` does.
    """
    chip, before = plan.chip, timed(plan).cycles
    keys = [key for key in numbers_read(plan) if chip[key] != more_and_most(chip, key)[1]]
    found = []
    for k, key in enumerate(keys):
        saved = []
        tried = more_and_most(chip, key)
        for j, value in enumerate(tried):
            saved.append(before - timed(replace(plan, chip=chip.replace(**{key: value}))).cycles)
            if on_progress:
                on_progress(2 * k + j + 1, 2 * len(keys))
        found.append(WhatIf(key, FIELDS[key][3], chip[key], tried[0], saved[0], tried[1], saved[1]))
    return sorted(found, key=lambda one: (-one.more_saved, -one.most_saved, one.key))
