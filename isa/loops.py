"""The hardware loops of a core's code: where they are, and how often each instruction runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH


@dataclass(frozen=True)
class Loop:
    """A hardware loop of a core's code: instructions `first` (its loop) to `last` (its brnz), both included."""

    first: int
    last: int
    depth: int
    count: int


def find_loops(code: Sequence[Instruction]) -> list[Loop]:
    """Return the loops of valid code in the order in which they open."""
    open_loops: list[int] = []
    loops: list[Loop] = []
    for k, instruction in enumerate(code):
        if instruction.row.mnemonic == "loop":
            open_loops.append(k)
        elif instruction.row.mnemonic == "brnz":
            first = open_loops.pop()
            loops.append(Loop(first, k, len(open_loops) + 1, int(code[first].attribute("count")[0])))
    return sorted(loops, key=lambda loop: loop.first)


def trips_at(code: Sequence[Instruction], tasks: int = 1) -> list[tuple[int, ...]]:
    """Return, for each instruction, the trip count of every counter (1 for those whose loop is not open there).

    Counter 0 counts the tasks.
    """
    trips: list[tuple[int, ...]] = []
    # One tuple for all instructions between two that open or close a loop.
    counts = (tasks, *[1] * MAX_LOOP_DEPTH)
    for instruction in code:
        if instruction.row.mnemonic == "loop":
            counts = _with(counts, instruction, int(instruction.attribute("count")[0]))
        trips.append(counts)
        if instruction.row.mnemonic == "brnz":
            counts = _with(counts, instruction, 1)
    return trips


def _with(counts: tuple[int, ...], instruction: Instruction, count: int) -> tuple[int, ...]:
    """Return the counts with that of the counter which an instruction opens or closes changed."""
    counter = int(instruction.attribute("counter")[0])
    return (*counts[:counter], count, *counts[counter + 1 :])


def times_each(code: Sequence[Instruction]) -> list[int]:
    """Return how often one task executes each instruction."""
    return [prod(trips) for trips in trips_at(code)]
