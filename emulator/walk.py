"""The compiled loop over a plan: loops, affine addresses, overlaps, calls of kernels.

Kernels are called through first-class functions of one type, KERNEL, from a tuple: the loop never changes as the
table grows, and each kernel is compiled and cached by itself. It costs about 20 ns an instruction, and 2 ns for each
address that follows a counter or pair of tensors that may overlap.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from emulator.jit import hot, inner, kernel_table, types
from emulator.plan import ADDRESS, FIELDS, READ, STATUS, Plan

# Columns of `code`, a row for each instruction and one more: the index of its kernel, or what it is to the sequencer;
# what it weighs in the budget; whether to stop before it; its loop; where its rows of `terms` and `watches` begin.
KIND, WORK, STOP, COUNTER, TRIPS, OTHER, FIRST_TERM, FIRST_WATCH, CODE = range(9)
OPENS, CLOSES, ENDS = -1, -2, -3
# Columns of `terms`: where in the row the address is, 1 for the first term of an operand, counter, modulus, stride in
# bytes.
SLOT, FIRST, BY_COUNTER, MODULUS, BY_BYTES, TERM = range(6)
# Columns of `watches`, each a tensor that an instruction reads: where in the row its address is, and between which
# distances from the result the bounds of the two intersect. Results have the first slot.
READS, ABOVE, BELOW, WATCH = range(4)
RESULT_SLOT = 0
# How many of a watch's distances are known to be free of overlap at a time; and none of them.
KNOWN, NO_DISTANCE = 1024, np.iinfo(np.int64).max
# What `walk` keeps between calls: the next instruction, instructions done, then the counters of the loops.
AT, DONE, COUNTERS = range(3)
# Why `walk` returned: the code's end, an instruction to stop at, the budget used up, a distance not yet known, or a
# kernel that set the status of its row.
ENDED, STOPPED, PAUSED, DOUBTED, TRAPPED = range(5)


@hot
def nothing(arena: np.ndarray, row: np.ndarray) -> None:
    """The kernel of opcodes that a program does not use."""


@hot
def walk(
    kernels: tuple,
    arena: np.ndarray,
    plan_rows: np.ndarray,
    rows: np.ndarray,
    code: np.ndarray,
    terms: np.ndarray,
    watches: np.ndarray,
    known: np.ndarray,
    state: np.ndarray,
    passing: bool,
    budget: int,
) -> int:
    """Go on from state[AT] until the budget is used up; return why it stopped.

    `rows` is a copy of `plan_rows` whose addresses follow the counters. The walk stops before an instruction whose
    STOP is set, but for the first one if `passing`, and before one whose watch has a distance that is not `known`.
    """
    counters = state[COUNTERS:]
    at = state[AT]
    why = PAUSED
    while budget > 0:
        if code[at, STOP] and not passing:
            why = STOPPED
            break
        passing = False
        budget -= code[at, WORK]
        kind = code[at, KIND]
        if kind >= 0:
            for t in range(code[at, FIRST_TERM], code[at + 1, FIRST_TERM]):
                slot = terms[t, SLOT]
                if terms[t, FIRST]:
                    rows[at, slot] = plan_rows[at, slot]
                counter = counters[terms[t, BY_COUNTER]]
                if terms[t, MODULUS] != 0:
                    counter %= terms[t, MODULUS]
                rows[at, slot] += counter * terms[t, BY_BYTES]
            for w in range(code[at, FIRST_WATCH], code[at + 1, FIRST_WATCH]):
                distance = rows[at, watches[w, READS]] - rows[at, RESULT_SLOT * FIELDS + ADDRESS]
                if watches[w, ABOVE] < distance < watches[w, BELOW] and not holds(known[w], distance):
                    why = DOUBTED
            if why == DOUBTED:
                break
            # Before the kernel, which may find no memory.
            state[AT] = at
            kernels[kind](arena, rows[at])
            if rows[at, STATUS] != 0:
                why = TRAPPED
                break
            state[DONE] += 1
            at += 1
        elif kind == OPENS:
            counters[code[at, COUNTER]] = 0
            at += 1
        elif kind == CLOSES:
            depth = code[at, COUNTER]
            counters[depth] += 1
            if counters[depth] < code[at, TRIPS]:
                at = code[at, OTHER] + 1
            else:
                counters[depth] = 0
                at += 1
        else:
            why = ENDED
            break
    state[AT] = at
    return why


@inner
def holds(values: np.ndarray, value: int) -> bool:
    for k in range(values.size):  # noqa: SIM110, numba knows no generators
        if values[k] == value:
            return True
    return False


def flat(plan: Plan, kinds: Mapping[int, int], stops: Collection[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `walk` reads of a plan: code, terms and watches, without what is absent.

    `kinds` has the KIND of each opcode, `stops` the instructions to stop before.
    """
    n = len(plan.rows)
    code = np.zeros((n + 1, CODE), np.int64)
    code[:n, KIND] = [kinds[int(opcode)] for opcode in plan.opcodes]
    code[:n, COUNTER : OTHER + 1] = plan.loops
    code[list(stops), STOP] = 1
    terms: list[tuple[int, ...]] = []
    watches: list[tuple[int, ...]] = []
    for k, instruction in enumerate(plan.core.code):
        code[k, WORK] = work(plan, k)
        code[k, FIRST_TERM], code[k, FIRST_WATCH] = len(terms), len(watches)
        for slot, operand in enumerate(instruction.operands):
            if operand is not None:
                address = slot * FIELDS + ADDRESS
                for t, term in enumerate(operand.terms):
                    terms.append((address, t == 0, term.counter, term.modulus, term.stride))
        watches += [_watch(plan, k, slot) for slot in watched(plan, k)]
    code[n, FIRST_TERM], code[n, FIRST_WATCH] = len(terms), len(watches)
    return code, np.array(terms, np.int64).reshape(-1, TERM), np.array(watches, np.int64).reshape(-1, WATCH)


def watched(plan: Plan, k: int) -> list[int]:
    """Return the operands of instruction k, by slot, that its result may overlap in some iteration."""
    if not plan.overlap[k]:
        return []
    operands = plan.core.code[k].operands
    out = operands[RESULT_SLOT]
    return [
        slot
        for slot, operand in enumerate(operands)
        if operand is not None and out is not None and plan.access[k, slot] == READ and operand.memory == out.memory
    ]


def _watch(plan: Plan, k: int, slot: int) -> tuple[int, ...]:
    (out_low, out_high), (low, high) = plan.spans[k, RESULT_SLOT], plan.spans[k, slot]
    return slot * FIELDS + ADDRESS, out_low - high, out_high - low


def work(plan: Plan, k: int) -> int:
    """Return what instruction k weighs in the budget: 1 is about 20 ns, give or take a factor of ten."""
    instruction = plan.core.code[k]
    elements = sum(operand.elements for _, operand in instruction.accesses())
    products = 0
    if any(spec.name == "w" for spec in instruction.row.operands):
        out, w = instruction.operand("out"), instruction.operand("w")
        assert out is not None and w is not None
        products = out.elements * w.elements // out.shape[-1]
    return 1 + elements // 16 + products // 256


def signature(kernels: int) -> Any:
    """Return the signature of `walk` with a tuple of that many kernels."""
    table, column = types.int64[:, ::1], types.int64[::1]
    tables = (table,) * 6  # from plan_rows to known
    return types.int64(kernel_table(kernels), types.uint8[::1], *tables, column, types.boolean, types.int64)
