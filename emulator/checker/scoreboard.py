"""What conflicts with what for the scoreboard of a core in `hardware` order, as happens_before.py needs it."""

from isa.instruction import Instruction
from isa.intervals import Intervals
from isa.row import ENGINES

Clock = tuple[int, ...]
# The memory, the core that the operand names, the kind of access, the engine.
Key = tuple[str, int | None, str, int]


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
