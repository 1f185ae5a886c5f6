"""Sums of floats that are too long for their format: those of the pooling engine, and those that a loop adds in place.

With f fraction bits a step rounds by up to half of the last digit of the sum so far, 2**-(f + 1) of it. From that many
terms of one size on, the next is lost whole: the sum stops growing, whatever the order of the rest.
"""

from math import prod

import numpy as np

from emulator.checker.findings import Finding
from emulator.plan.plan import CorePlan, Plan
from isa.diagnostic import Place
from isa.dtypes import BF16, E4M3, E5M2, F16, F32
from isa.formats import FRACTION_BITS
from isa.instruction import Instruction
from isa.loops import Loop
from isa.operand import Operand, region

# Fraction bits of what a sum is kept in between two instructions.
STORED_BITS = {F32: 23, F16: 10, BF16: 7, E4M3: 3, E5M2: 2}


def can_stall(plan: Plan) -> list[Finding]:
    """Return the sums of floats that have more terms than their format can add."""
    chip, findings = plan.chip, []
    te, sums = chip["te.vector_format"], chip["pe.sum_format"]
    for part in plan.cores:
        writes = None
        for index, instruction in enumerate(part.core.code):
            bits, name, terms = FRACTION_BITS[sums], f"{sums}, the sum format", _terms(instruction)
            kept = _accumulator(instruction)
            if kept is not None:
                writes = writes if writes is not None else _Writes(part)
                bits, name = min(
                    (FRACTION_BITS[te], f"{te}, the vector format"),
                    (STORED_BITS[kept.dtype], f"{kept.dtype}, the result"),
                )
                terms = 1 + writes.additions(index, kept)
            if terms > 2 ** (bits + 1):
                findings.append(_finding(Place(part.number, index), terms, bits, name))
    return findings


def _finding(place: Place, terms: int, bits: int, name: str) -> Finding:
    return Finding(
        "C502",
        place,
        f"{terms:,} floats are added, but {name}, stops growing after {2 ** (bits + 1):,} of one size",
        "add them in parts: each dimension by a `reduce` of its own, or the sums of blocks",
        severity="warning",
    )


def _terms(instruction: Instruction) -> int:
    """Return how many floats the pooling engine adds into one element; 0 where it adds none."""
    row = instruction.row
    if row.mnemonic not in ("avgpool", "reduce"):
        return 0
    x, out = instruction.operand("x"), instruction.operand("out")
    assert x is not None and out is not None
    if not x.dtype.is_float:
        return 0
    if row.mnemonic == "avgpool":
        return prod(min(int(k), size) for k, size in zip(instruction.attribute("window"), x.shape[1:3], strict=True))
    return x.elements // out.elements if instruction.word("op") in ("sum", "mean", "sumsq") else 0


def _accumulator(instruction: Instruction) -> Operand | None:
    """Return the floats that an instruction of the tensor engine adds something to, where they lie; None for none.

    What scales them each time is no sum: terms of long ago fade, or grow.
    """
    chained = any(spec.name == "ew2_op" for spec in instruction.row.choices)
    if not chained or instruction.word("ew2_op") not in ("add", "sub"):
        return None
    out = instruction.operand("out")
    assert out is not None
    entered = instruction.row.mnemonic == "eltwise" and instruction.operand("x") == out
    added = instruction.operand("ew2") == out
    scales = ("ew1_scale" if entered else "ew2_scale", "ew3_scale")
    scaled = entered == added or any(instruction.operand(name) is not None for name in scales)
    return out if out.dtype.is_float and not scaled else None


class _Writes:
    """What each instruction of a core writes: the memory, and the first byte and the one behind the last."""

    def __init__(self, part: CorePlan) -> None:
        self._part, self._trips = part, part.core.trips()
        self._places: dict[tuple[int, str], int] = {}
        found: list[tuple[int, ...]] = []
        # The loops around each instruction, from the outside in.
        self._around: list[list[Loop]] = [[] for _ in part.core.code]
        for loop in part.core.loops:
            for around in self._around[loop.first : loop.last]:
                around.append(loop)
        for index, instruction in enumerate(part.core.code):
            for kind, operand in instruction.accesses():
                if kind == "write":
                    found.append((index, self._place(operand), *operand.extent(self._trips[index])))
        self._all = np.array(found, np.int64).reshape(-1, 4)

    def _place(self, operand: Operand) -> int:
        core = self._part.number if operand.core is None else operand.core
        return self._places.setdefault(region(core, operand.memory), len(self._places))

    def additions(self, index: int, kept: Operand) -> int:
        """Return how often an instruction adds to the same floats before something else is written there."""
        place, (low, high) = self._place(kept), kept.extent(self._trips[index])
        moving, times = {term.counter for term in kept.terms}, 1
        for loop in reversed(self._around[index]):
            writer, of, first, end = self._all.T
            others = (of == place) & (first < high) & (end > low)
            if (others & (loop.first <= writer) & (writer < loop.last) & (writer != index)).any():
                break
            times *= 1 if loop.depth in moving else loop.count
        return times
