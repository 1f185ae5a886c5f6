"""Wait bits, where a program is in compiler order: a step waits for an engine that has not finished what it needs.

Steps are followed as the chip would issue them, and with them what each engine knows to have finished elsewhere. A step
waits where another engine may still read what it writes, or write what it touches. Bodies of loops are followed twice,
and an operand that follows a loop counts as all that it touches in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compiler.place import Place
from compiler.roll import Item, Loop
from compiler.steps import BYTES, Step, Tensor, View
from isa.table import MNEMONICS

# Which the others wait for, by the letters of the text.
ENGINES = {"te": "t", "pe": "p", "me": "m"}


@dataclass(frozen=True)
class _Access:
    """Bytes of a memory that a step touches in any turn of the loops around it."""

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


def waits(items: Sequence[Item], places: Mapping[Tensor, Place]) -> dict[Step, str]:
    """Return the engines that each step waits for, as letters; steps that wait for none are left out."""
    engines = {name: _Engine() for name in ENGINES}
    found: dict[Step, set[str]] = {}
    _follow(items, places, {}, engines, found)
    return {step: "".join(ENGINES[name] for name in ENGINES if name in held) for step, held in found.items() if held}


def _follow(
    items: Sequence[Item],
    places: Mapping[Tensor, Place],
    counts: Mapping[int, int],
    engines: Mapping[str, _Engine],
    found: dict[Step, set[str]],
) -> None:
    for item in items:
        if isinstance(item, Loop):
            for _ in range(2):
                _follow(item.body, places, {**counts, item.height: item.count}, engines, found)
            continue
        own = MNEMONICS[item.mnemonic].engine
        mine = engines[own]
        accesses = [_access(view, name == "out", places, counts) for name, view in item.operands.items()]
        for name, other in engines.items():
            if name == own:
                continue
            open_steps = other.steps[mine.knows[name] :]
            if any(here.conflicts(there) for step in open_steps for there in step for here in accesses):
                found.setdefault(item, set()).add(name)
            if name in found.get(item, ()) and other.steps:
                # What that engine's last step had waited for has finished, too.
                for third, count in other.before[-1].items():
                    mine.knows[third] = max(mine.knows[third], count)
                mine.knows[name] = len(other.steps)
        mine.steps.append(accesses)
        mine.before.append(dict(mine.knows))


def _access(view: View, writes: bool, places: Mapping[Tensor, Place], counts: Mapping[int, int]) -> _Access:
    memory, at = places[view.tensor]
    low = high = view.offset
    for size, stride in zip(view.shape, view.strides):
        low, high = low + min((size - 1) * stride, 0), high + max((size - 1) * stride, 0)
    for height, modulus, stride in view.terms:
        reach = (min(counts[height], modulus or counts[height]) - 1) * stride
        low, high = low + min(reach, 0), high + max(reach, 0)
    size = BYTES[view.dtype]
    # An input or an output has a place for each of its buffers.
    behind = (view.tensor.buffers - 1) * view.tensor.bytes
    return _Access(memory, at + low * size, at + (high + 1) * size + behind, writes)
