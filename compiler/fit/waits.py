"""Wait bits, where a program is in compiler order: a step waits for an engine that has not finished what it needs.

Steps are followed as the chip would issue them, and with them what each engine knows to have finished elsewhere. A step
waits where another engine may still read what it writes, or write what it touches. Of a loop the first turns are
followed, in which each pair of buffers has met itself in turn; what stands before or behind a loop meets all that its
operands touch in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compiler.fit.place import Place
from compiler.fit.roll import Item, Loop, flat
from compiler.steps import BYTES, Step, Tensor, View
from isa.row import WAIT_LETTERS
from isa.table import MNEMONICS

# Which the others wait for, by the letters of the text.
ENGINES = {engine: letter for letter, engine in WAIT_LETTERS.items()}
# So many turns of a loop: both of a pair of buffers with each other, and each with itself.
TURNS = 4


@dataclass(frozen=True)
class _Access:
    """Bytes of a memory that a step touches."""

    memory: str
    begin: int
    end: int
    writes: bool

    def conflicts(self, other: "_Access") -> bool:
        return (
            (self.writes or other.writes)
            and self.memory == other.memory
            and self.begin < other.end
            and other.begin < self.end
        )


# How many steps of each engine are known to have finished.
Known = dict[str, int]


@dataclass
class _Engine:
    """What an engine was given: accesses of each step, and what was known as the step began; what it knows now."""

    steps: list[list[_Access]] = field(default_factory=list)
    before: list[Known] = field(default_factory=list)
    knows: Known = field(default_factory=lambda: dict.fromkeys(ENGINES, 0))


@dataclass(frozen=True)
class _Turn:
    """A loop around a step: the turn that is followed, and how many steps engines had before it."""

    turn: int
    begins: Known


def waits(items: Sequence[Item], places: Mapping[Tensor, Place]) -> dict[Step, str]:
    """Return the engines that each step waits for, as letters; steps that wait for none are left out."""
    found = _Waits(places)
    found.follow(items, {})
    return {step: "".join(ENGINES[name] for name in ENGINES if name in held) for step, held in found.held.items()}


@dataclass
class _Waits:
    places: Mapping[Tensor, Place]
    engines: dict[str, _Engine] = field(default_factory=lambda: {name: _Engine() for name in ENGINES})
    held: dict[Step, set[str]] = field(default_factory=dict)

    def follow(self, items: Sequence[Item], around: Mapping[int, _Turn]) -> None:
        """Follow items within loops, which are given by their heights."""
        for item in items:
            if isinstance(item, Loop):
                begins = {name: len(engine.steps) for name, engine in self.engines.items()}
                for turn in range(min(item.count, TURNS)):
                    self.follow(item.body, {**around, item.height: _Turn(turn, begins)})
                for step in flat(item.body):
                    # What comes behind meets all turns.
                    engine = self.engines[MNEMONICS[step.mnemonic].engine]
                    engine.steps[-1] = engine.steps[-1] + self._accesses(step, around)
            elif isinstance(item, Step):
                self._step(item, around)

    def _step(self, step: Step, around: Mapping[int, _Turn]) -> None:
        own = MNEMONICS[step.mnemonic].engine
        mine = self.engines[own]
        # From the innermost loop outwards: all turns of the loops that an earlier step is not in.
        scopes = [
            ({h: turn for h, turn in around.items() if h >= height}, around[height].begins) for height in sorted(around)
        ]
        scopes.append(({}, dict.fromkeys(ENGINES, 0)))
        forms = [(self._accesses(step, inside), begins) for inside, begins in scopes]
        for name, other in self.engines.items():
            if name == own:
                continue
            end = len(other.steps)
            for accesses, begins in forms:
                first = max(mine.knows[name], begins[name])
                if any(here.conflicts(there) for one in other.steps[first:end] for there in one for here in accesses):
                    self.held.setdefault(step, set()).add(name)
                end = min(end, begins[name])
            if name in self.held.get(step, ()) and other.steps:
                # What that engine's last step had waited for has finished, too.
                for third, count in other.before[-1].items():
                    mine.knows[third] = max(mine.knows[third], count)
                mine.knows[name] = len(other.steps)
        mine.steps.append(forms[0][0])
        mine.before.append(dict(mine.knows))

    def _accesses(self, step: Step, around: Mapping[int, _Turn]) -> list[_Access]:
        """Return what a step touches in the turns that are followed, of other loops in all turns."""
        return [self._access(view, name == "out", around) for name, view in step.operands.items()]

    def _access(self, view: View, writes: bool, around: Mapping[int, _Turn]) -> _Access:
        memory, at = self.places[view.tensor]
        low, high = view.reach
        for height, modulus, stride, turns in view.terms:
            if height in around:
                turn = around[height].turn
                reach = (turn % modulus if modulus else turn) * stride
                low, high = low + reach, high + reach
            else:
                reach = (min(turns, modulus or turns) - 1) * stride
                low, high = low + min(reach, 0), high + max(reach, 0)
        size = BYTES[view.dtype]
        # An input or an output has a place for each of its buffers.
        behind = (view.tensor.buffers - 1) * view.tensor.bytes
        return _Access(memory, at + low * size, at + high * size + behind, writes)
