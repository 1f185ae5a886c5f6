"""A plan in the arrays that the compiled loop walks: decoded once, before a run."""

from collections.abc import Collection, Mapping
from math import prod

import numpy as np

from emulator.execute.loop import AddressTerm, Decoded, Stop, Watch
from emulator.jit.arrays import Matrix
from emulator.kernels.table import key_of
from emulator.plan.layout import beside_results
from emulator.plan.plan import CorePlan, Plan
from emulator.plan.row import FIELDS, Field, starts

# Instructions of less work are not shared. To meet takes 60 ns where all run, but they seldom arrive together, and what
# one of them wrote has to come to the other's cache.
LEAST_SHARED = 500
# An instruction of more work than this, about 0.1 s, is not left to itself: whoever interrupts it is heard.
MOST_UNHEARD = 5 * 10**6


def flat(
    plan: Plan, kinds: Mapping[int, int], stops: Collection[tuple[int, int]], shared: Collection[int]
) -> tuple[Matrix, ...]:
    """Return what `walk` reads of a plan: code, terms and watches, without what is absent.

    `kinds` has the KIND of each kernel and opcode by key, `stops` the instructions to stop before: (core, index);
    `shared` has the opcodes that walkers share where there is enough to do.
    """
    code = np.zeros((sum(len(part.rows) for part in plan.cores) + 1, len(Decoded)), np.int64)
    terms: list[tuple[int, ...]] = []
    watches: list[tuple[int, ...]] = []
    for part, start in zip(plan.cores, starts(len(part.rows) for part in plan.cores), strict=True):
        for k, instruction in enumerate(part.core.code):
            row = code[start + k]
            row[Decoded.KIND], row[Decoded.WORK] = kinds[key_of(instruction)], work(part, k)
            row[Decoded.STOP] = Stop.DUMPED if (part.number, k) in stops else 0
            if longest(part, k) > MOST_UNHEARD:
                row[Decoded.STOP] |= Stop.LONG
            row[Decoded.COUNTER : Decoded.OTHER + 1] = part.loops[k] + (0, 0, start)
            row[Decoded.BY_ALL] = instruction.opcode in shared and row[Decoded.WORK] >= LEAST_SHARED
            row[Decoded.FIRST_TERM], row[Decoded.FIRST_WATCH] = len(terms), len(watches)
            if instruction.row.engine == "sync":
                row[Decoded.TOKEN] = instruction.attributes[0][0]
            for slot, operand in enumerate(instruction.operands):
                if operand is not None:
                    address = slot * FIELDS + Field.ADDRESS
                    for t, term in enumerate(operand.terms):
                        terms.append((address, t == 0, term.counter, term.modulus, term.stride))
            watches += [_watch(part, k, *pair) for pair in watched(part, k)]
    code[-1, Decoded.FIRST_TERM], code[-1, Decoded.FIRST_WATCH] = len(terms), len(watches)
    tables = ((terms, AddressTerm), (watches, Watch))
    return code, *(np.array(rows, np.int64).reshape(-1, len(columns)) for rows, columns in tables)


def watched(part: CorePlan, k: int) -> list[tuple[int, int]]:
    """Return the operands of instruction k, by slot, that may overlap in some iteration: a result, and another."""
    return beside_results(part.core.code[k]) if part.overlap[k] else []


def _watch(part: CorePlan, k: int, result: int, other: int) -> tuple[int, ...]:
    (out_low, out_high), (low, high) = part.spans[k, result], part.spans[k, other]
    addresses = (slot * FIELDS + Field.ADDRESS for slot in (result, other))
    return *addresses, out_low - high, out_high - low


def work(part: CorePlan, k: int) -> int:
    """Return what instruction k weighs in the budget: 1 is about 20 ns, give or take a factor of ten."""
    instruction = part.core.code[k]
    elements = sum(operand.elements for _, operand in instruction.accesses())
    products = 0
    if any(spec.name == "w" for spec in instruction.row.operands):
        out, w = instruction.operand("out"), instruction.operand("w")
        assert out is not None and w is not None
        products = out.elements * w.elements // out.shape[-1]
    return 1 + elements // 16 + products // 256


def longest(part: CorePlan, k: int) -> int:
    """Return what instruction k weighs, each element of its window counted; of a bin of roipool all of x."""
    instruction = part.core.code[k]
    names = {spec.name for spec in instruction.row.attributes}
    taps = 0
    if instruction.row.engine == "pe" and "window" in names:
        taps = prod(int(size) for size in instruction.attribute("window"))
    elif instruction.row.mnemonic == "roipool":
        x = instruction.operand("x")
        assert x is not None
        taps = prod(x.shape[1:3])
    results = sum(operand.elements for access, operand in instruction.accesses() if access == "write")
    return work(part, k) + results * taps // 16
