"""The order of steps that all lie in local memory: bands of rows, so that one's latency passes behind another's.

A step on images is cut into bands of rows where that costs its engine next to nothing. Then each step is issued when it
can begin the earliest, by the chip's own costs: a band goes on to the next node while the others are still computed, a
pool works on the first rows while the convolution before it makes the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from compiler.fit.cut import Range, part, rules
from compiler.fit.tile import cost
from compiler.steps import BYTES, Step, Tensor, View
from emulator.timing.costs import Cost
from isa.chip import Chip
from isa.table import MNEMONICS

# So many bands hide latencies where windows reach into the neighbour: while one is computed, the one before is done.
MOST_BANDS = 3
# What bands may cost more than the whole.
MOST_LOSS = 1.02


def banded(steps: Sequence[Step], chip: Chip) -> list[Step]:
    """Return the steps, those cut into bands that lose next to nothing by it."""
    found: list[Step] = []
    for step in steps:
        found += _bands(step, chip)
    return found


def _bands(step: Step, chip: Chip) -> list[Step]:
    if step.mnemonic not in ("conv", "dwconv", "eltwise", "maxpool", "avgpool"):
        return [step]
    found, axes = rules(step)
    # Rows of images, or what else is outermost.
    axis = next((axis for axis, size in enumerate(step.out.shape) if size > 1), 0)
    if axis not in axes or axis == step.out.rank - 1:
        return [step]
    whole, size = cost(chip, step).occupancy, step.out.shape[axis]
    for count in range(min(MOST_BANDS, size), 1, -1):
        ranges = _ranges(size, count)
        parts = [part(step, {axis: one}, found) for one in ranges]
        if sum(cost(chip, one).occupancy for one in parts) <= whole * MOST_LOSS:
            return parts
    return [step]


def _ranges(size: int, count: int) -> list[Range]:
    each = ceil(size / count)
    return [(at, min(each, size - at)) for at in range(0, size, each)]


@dataclass(frozen=True)
class _Access:
    """Bytes of a tensor that a step touches, from the first to the last."""

    step: int
    begin: int
    end: int
    writes: bool


def arranged(steps: Sequence[Step], chip: Chip) -> list[int]:
    """Return the order in which each step can begin the earliest; what depends on another stays behind it."""
    needs, waited = _dependencies(steps)
    # Those of other images cost the same.
    known: dict[Any, Cost] = {}
    costs = [known.get(key := _form(step)) or known.setdefault(key, cost(chip, step)) for step in steps]
    engines = [MNEMONICS[step.mnemonic].engine for step in steps]
    free = dict.fromkeys(engines, 0)
    done = [0] * len(steps)
    left = [len(before) for before in needs]
    ready = [k for k, count in enumerate(left) if not count]
    order = []
    issued = 0
    while ready:
        begins = {k: max(free[engines[k]], issued, max((done[j] for j in needs[k]), default=0)) for k in ready}
        k = min(ready, key=lambda k: (begins[k], k))
        ready.remove(k)
        order.append(k)
        free[engines[k]] = begins[k] + costs[k].occupancy
        done[k] = begins[k] + costs[k].latency
        issued += chip["seq.issue_cycles"]
        for j in waited[k]:
            left[j] -= 1
            if not left[j]:
                ready.append(j)
    return order


def _form(step: Step) -> Any:
    """Return what a step's cost follows."""
    views = tuple((name, view.dtype, view.shape, view.strides) for name, view in step.operands.items())
    return step.mnemonic, views, tuple(step.attributes.items())


def _dependencies(steps: Sequence[Step]) -> tuple[list[set[int]], list[set[int]]]:
    """Return, for each step, the steps that it has to follow, and those that follow it."""
    touched: dict[Tensor, list[_Access]] = {}
    needs: list[set[int]] = [set() for _ in steps]
    waited: list[set[int]] = [set() for _ in steps]
    for k, step in enumerate(steps):
        views = ((view, name == "out") for name, view in step.operands.items())
        here = [(view, writes) for view, writes in views if view.tensor.kind not in ("weight", "const")]
        for view, writes in here:
            begin, end = _reach(view)
            for other in touched.get(view.tensor, ()):
                if other.begin < end and begin < other.end and (writes or other.writes):
                    needs[k].add(other.step)
                    waited[other.step].add(k)
        for view, writes in here:
            touched.setdefault(view.tensor, []).append(_Access(k, *_reach(view), writes))
    return needs, waited


def _reach(view: View) -> tuple[int, int]:
    """Return the bytes of its tensor that a view lies between."""
    low, high = view.reach
    return low * BYTES[view.dtype], high * BYTES[view.dtype]
