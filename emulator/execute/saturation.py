"""Saturation: how much of each quantised result lies at an end of its type, where it may have been cut off.

The plan runs once more, an instruction at a time, and after each its result is looked at. What moves values or picks
the greatest cuts nothing off, and is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from emulator.execute.interleave import Interleaver
from emulator.execute.stepping import Observer
from emulator.plan.plan import Plan
from isa.diagnostic import Place
from isa.operand import Operand, region


@dataclass(frozen=True)
class Saturation:
    """Results of one instruction over all its executions: elements, and those at the least and the greatest value."""

    core: int
    index: int
    elements: int
    at_low: int
    at_high: int


def find_saturation(
    plan: Plan,
    inputs: Mapping[str, np.ndarray],
    poison: int | None = None,
    on_compile: Callable[[str], None] | None = None,
) -> list[Saturation]:
    """Return the saturation of each instruction that rounds to 8 or 16 bits, unwritten bytes as a run has them.

    Raises what a run does, and Trap where a task executes too many instructions.
    """
    counter = _Counter(plan)
    with Interleaver(plan, poison, on_compile, [counter]) as interleaver:
        interleaver.interleaved(0, inputs)
    return [Saturation(*place, *counts.tolist()) for place, counts in sorted(counter.counts.items())]


class _Counter(Observer):
    """Counts the results of a plan as they are made."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.counts: dict[tuple[int, int], np.ndarray] = {}

    def after(self, executed: Place, memory: np.ndarray) -> None:
        core, index = executed.core, executed.index
        instruction = self._plan.cores[core].core.code[index]
        if instruction.row.engine == "sync" or instruction.row.keeps_values:
            return
        out = instruction.operand("out")
        if out is not None and out.dtype.is_quantised:
            values = self._tensor(executed, out, memory)
            low, high = (int(np.count_nonzero(values == end)) for end in (out.dtype.low, out.dtype.high))
            self.counts[core, index] = self.counts.get((core, index), 0) + np.array([values.size, low, high])

    def _tensor(self, executed: Place, operand: Operand, memory: np.ndarray) -> np.ndarray:
        """Return the tensor of an operand as it is now."""
        place = region(executed.core if operand.core is None else operand.core, operand.memory)
        low, high = operand.span()
        size = operand.dtype.bytes
        first = self._plan.bases[place] + operand.address_at(executed.counters)
        held = memory[first + low : first + high].view(operand.dtype.numpy)
        strides = [stride * size for stride in operand.strides]
        return np.lib.stride_tricks.as_strided(held[-low // size :], operand.shape, strides)
