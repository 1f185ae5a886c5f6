"""Saturation: how much of each quantised result lies at an end of its type, where it may have been cut off.

The plan runs once more, an instruction at a time, and after each its result is looked at. What moves values or picks
the greatest cuts nothing off, and is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from emulator.execute.interleave import Executed, Interleaver
from emulator.plan.plan import Plan
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
    with _Counter(plan, poison, on_compile) as counter:
        counter.interleaved(0, inputs)
        return [Saturation(*place, *counts.tolist()) for place, counts in sorted(counter.counts.items())]


class _Counter(Interleaver):
    """A plan whose results are counted as they are made."""

    def __init__(self, plan: Plan, poison: int | None, on_compile: Callable[[str], None] | None) -> None:
        super().__init__(plan, poison, on_compile)
        self.counts: dict[tuple[int, int], np.ndarray] = {}

    def _follow(self, order: list[Executed], rows: np.ndarray) -> None:
        for k, e in enumerate(order):
            super()._follow([e], rows[k : k + 1])
            instruction = self._plan.cores[e.core].core.code[e.index]
            out = instruction.operand("out")
            if out is not None and out.dtype.is_quantised and not instruction.row.keeps_values:
                values = self._tensor(e, out)
                low, high = (int(np.count_nonzero(values == end)) for end in (out.dtype.low, out.dtype.high))
                counts = np.array([values.size, low, high])
                self.counts[e.core, e.index] = self.counts.get((e.core, e.index), 0) + counts

    def _tensor(self, e: Executed, operand: Operand) -> np.ndarray:
        """Return the tensor of an operand as it is now."""
        place = region(e.core if operand.core is None else operand.core, operand.memory)
        low, high = operand.span()
        size = operand.dtype.bytes
        first = self._plan.bases[place] + operand.address_at(e.counters)
        held = self._arena[first + low : first + high].view(operand.dtype.numpy)
        strides = [stride * size for stride in operand.strides]
        return np.lib.stride_tricks.as_strided(held[-low // size :], operand.shape, strides)
