"""Who signals, who waits and who meets: whether the cores' semaphores and barriers pair up.

A semaphore is signalled in one queue, of one engine of one core, and waited for in one, so that the k-th wait has its
k-th signal, whenever each comes. A barrier has one queue on each core that uses it, and each arrives there as often.
How often is known from the loops.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isa.diagnostic import Diagnostic, Note, Place
from isa.instruction import Instruction
from isa.loops import times_each


@dataclass(frozen=True)
class Use:
    """An instruction that signals, waits or arrives: core, index in its code, engine of its queue, executions."""

    core: int
    index: int
    engine: str
    times: int

    @property
    def queue(self) -> tuple[int, str]:
        return self.core, self.engine

    @property
    def place(self) -> Place:
        return Place(self.core, self.index)


def uses(cores: Sequence[Sequence[Instruction]]) -> dict[tuple[str, int], list[Use]]:
    """Return who uses each semaphore and barrier: by mnemonic and number, in the order of the cores' code."""
    found: dict[tuple[str, int], list[Use]] = {}
    for core, code in enumerate(cores):
        for index, (instruction, times) in enumerate(zip(code, times_each(code), strict=True)):
            if instruction.row.engine == "sync":
                key = instruction.row.mnemonic, int(instruction.attributes[0][0])
                found.setdefault(key, []).append(Use(core, index, instruction.engine, times))
    return found


def check_synchronisation(
    cores: Sequence[Sequence[Instruction]], semaphores: Sequence[str], barriers: Sequence[str]
) -> Iterator[Diagnostic[Place]]:
    """Yield semaphores and barriers of well-formed code that do not pair up."""
    for (mnemonic, number), found in uses(cores).items():
        if mnemonic == "barrier":
            yield from _check_barrier(barriers[number], found)
            continue
        first, other = found[0], next((use for use in found if use.queue != found[0].queue), None)
        if other:
            verb = "signalled" if mnemonic == "signal" else "waited for"
            message = f"semaphore `{semaphores[number]}` is {verb} in two queues: {_queue(first)} and {_queue(other)}"
            help = "one queue signals a semaphore, and one waits for it: declare a second semaphore"
            yield _problem(other, first, message, help)


def _check_barrier(name: str, found: Sequence[Use]) -> Iterator[Diagnostic[Place]]:
    firsts: dict[int, Use] = {}
    arrivals: dict[int, int] = {}
    for use in found:
        first = firsts.setdefault(use.core, use)
        arrivals[use.core] = arrivals.get(use.core, 0) + use.times
        if use.engine != first.engine:
            message = f"core {use.core} arrives at barrier `{name}` in two queues: {first.engine} and {use.engine}"
            help = "a core arrives in one queue; its other engines can wait for that one with a wait bit"
            yield _problem(use, first, message, help)
            return
    one = found[0].core
    for core, times in arrivals.items():
        if times != arrivals[one]:
            message = f"core {core} arrives {times:,} times at barrier `{name}`, core {one} {arrivals[one]:,} times"
            help = "each core that uses a barrier arrives there as often, loops counted"
            yield _problem(firsts[core], firsts[one], message, help)
            return


def _problem(use: Use, other: Use, message: str, help: str) -> Diagnostic[Place]:
    return Diagnostic("synchronisation", use.place, message, help, (Note("this goes with it", other.place),))


def _queue(use: Use) -> str:
    return f"{use.engine} of core {use.core}"
