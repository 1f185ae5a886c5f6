"""What conflicts with what for the scoreboard of a core in `hardware` order, as happens_before.py needs it."""

import numpy as np

from isa.instruction import Instruction
from isa.row import ENGINES

Clock = tuple[int, ...]
# The memory, the core that the operand names, the kind of access, the engine.
Key = tuple[str, int | None, str, int]


class Intervals:
    """Byte intervals of accesses of one kind by one engine, each with a number; the numbers rise."""

    def __init__(self) -> None:
        self._rows, self._count = np.zeros((16, 3), np.int64), 0

    def add(self, number: int, low: int, high: int) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = number, low, high
        self._count += 1

    def meeting(self, after: int, low: int, high: int) -> np.ndarray:
        """Return the numbers, greater than `after`, of the intervals that overlap [low, high)."""
        first = np.searchsorted(self._rows[: self._count, 0], after, side="right")
        numbers, lows, highs = self._rows[first : self._count].T
        return numbers[(lows < high) & (low < highs)]


class Scoreboard:
    """What the engines of one core have accessed, and what its finish follows."""

    def __init__(self) -> None:
        self._intervals: dict[Key, Intervals] = {}
        self._finishes: list[dict[int, Clock]] = [{} for _ in ENGINES]

    def start(self, instruction: Instruction, counters: tuple[int, ...], start: Clock, first: int) -> Clock:
        """Return what the start of an instruction follows, by `start` and by what conflicts with it.

        `first` is the core's first queue among all.
        """
        for kind, operand in instruction.accesses():
            low, high = (operand.address_at(counters) + end for end in operand.span())
            for other in ("write",) if kind == "read" else ("write", "read"):
                for engine, finishes in enumerate(self._finishes):
                    intervals = self._intervals.get((operand.memory, operand.core, other, engine))
                    if intervals is None:
                        continue
                    numbers = intervals.meeting(start[first + engine], low, high)
                    if len(numbers):
                        # Whoever follows the last follows those before it.
                        start = tuple(map(max, start, finishes[int(numbers[-1])]))
        return start

    def enter(self, instruction: Instruction, counters: tuple[int, ...], number: int, finish: Clock) -> None:
        """Enter the accesses of an instruction, with its number in its queue and what its finish follows."""
        engine = ENGINES.index(instruction.engine)
        self._finishes[engine][number] = finish
        for kind, operand in instruction.accesses():
            low, high = (operand.address_at(counters) + end for end in operand.span())
            key = operand.memory, operand.core, kind, engine
            self._intervals.setdefault(key, Intervals()).add(number, low, high)
