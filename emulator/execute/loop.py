"""The compiled loop over a plan: loops, affine addresses, overlaps, calls of kernels, cores in turn.

The code of all cores lies in one array, core after core; an index here counts through it. A core runs until it has to
wait, for a signal or at a barrier, or ends; then the next one goes on.

Several walkers, each in a thread and with all state of its own, walk the same instructions in the same order. One that
is BY_ALL is computed by all of them, each a share, and they meet before and after; all other instructions are left to
walker 0, and the others pass on. So all of them use up a budget, stop and doubt at the same instruction.

Kernels are called by their addresses, all of one type, KERNEL: the loop never changes as the table grows, and each
kernel is compiled and cached by itself. It costs about 20 ns an instruction, and 2 ns for each
address that follows a counter or pair of tensors that may overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.execute.spin_barrier import FAILED, meet
from emulator.jit.compile import hot, inner, types
from emulator.jit.intrinsics import borrowed, call_kernel
from emulator.plan.barriers import met
from emulator.plan.row import FIELDS, READ, Call, Field, starts

if TYPE_CHECKING:
    from emulator.plan.plan import CorePlan, Plan

# Columns of `code`, a row for each instruction and one more: the index of its kernel, or what it is to the sequencer;
# what it weighs in the budget; whether to stop before it; its loop; where its rows of `terms` and `watches` begin; its
# semaphore or barrier; whether walkers share it.
KIND, WORK, STOP, COUNTER, TRIPS, OTHER, FIRST_TERM, FIRST_WATCH, TOKEN, BY_ALL, CODE = range(11)
OPENS, CLOSES, ENDS, SIGNALS, WAITS, MEETS = -1, -2, -3, -4, -5, -6
# Columns of `terms`: where in the row the address is, 1 for the first term of an operand, counter, modulus, stride in
# bytes.
SLOT, FIRST, BY_COUNTER, MODULUS, BY_BYTES, TERM = range(6)
# Columns of `watches`, each a tensor that an instruction reads: where in the row its address is, and between which
# distances from the result the bounds of the two intersect. Results have the first slot.
READS, ABOVE, BELOW, WATCH = range(4)
RESULT_SLOT = 0
# How many of a watch's distances are known to be free of overlap at a time; and none of them.
KNOWN, NO_DISTANCE = 1024, np.iinfo(np.int64).max
# What `walk` keeps of each core between calls: the next instruction, whether it has arrived at that barrier, then the
# counters of its loops; and of all: whose turn it is, instructions done, meetings of the walkers, whether walker 0 has
# done anything alone since the last.
AT, ARRIVED, COUNTERS = range(3)
TURN, DONE, MEETINGS, ALONE, PROGRESS = range(5)
# Why `walk` returned: no core can go on, an instruction to stop at, the budget used up, a distance not yet known, a
# kernel that set the status of its row, that another walker has failed, or (not told by `walk`) no memory to be had.
STUCK, STOPPED, PAUSED, DOUBTED, TRAPPED, LEFT, NO_MEMORY = range(7)
# Instructions of less work are not shared. To meet takes 60 ns where all run, but they seldom arrive together, and what
# one of them wrote has to come to the other's cache.
LEAST_SHARED = 500


@hot
def nothing(arena: np.ndarray, row: np.ndarray) -> None:
    """The kernel of opcodes that a program does not use."""


@hot
def walk(
    kernels: np.ndarray,
    arena: np.ndarray,
    plan_rows: np.ndarray,
    code: np.ndarray,
    terms: np.ndarray,
    watches: np.ndarray,
    known: np.ndarray,
    users: np.ndarray,
    meeting: np.ndarray,
    rows: np.ndarray,
    states: np.ndarray,
    arrivals: np.ndarray,
    signals: np.ndarray,
    progress: np.ndarray,
    walker: int,
    walkers: int,
    passing: bool,
    budget: int,
) -> int:
    """Go on with the core whose turn it is until the budget is used up; return why it stopped.

    `rows` is a copy of `plan_rows` whose addresses follow the counters. The walk stops before an instruction whose
    STOP is set, but for the first one if `passing`, and before one whose watch has a distance that is not `known`.
    signals [semaphores] are those that no wait has used up; arrivals and users [cores, barriers]: how often a core has
    arrived, and whether it uses the barrier. Walkers share what comes before `rows`; the rest is of this one.
    """
    lent, lent_rows = borrowed(arena), borrowed(rows)
    core = progress[TURN]
    state = states[core]
    counters = state[COUNTERS:]
    at = state[AT]
    why = PAUSED
    held = 0  # cores in a row that could not go on
    while budget > 0:
        if code[at, STOP] and not passing:
            why = STOPPED
            break
        passing = False
        kind, work_done = code[at, KIND], code[at, WORK]
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
                distance = rows[at, watches[w, READS]] - rows[at, RESULT_SLOT * FIELDS + Field.ADDRESS]
                if watches[w, ABOVE] < distance < watches[w, BELOW] and not holds(known[w], distance):
                    why = DOUBTED
            if why == DOUBTED:
                break
            shared = code[at, BY_ALL]
            if shared and progress[ALONE]:
                progress[ALONE] = 0
                progress[MEETINGS] += 1
                if not meet(meeting, progress[MEETINGS], walkers):
                    why = LEFT
                    break
            if shared or walker == 0:
                # Before the kernel, which may find no memory.
                state[AT] = at
                call_kernel(kernels, kind, lent, lent_rows[at])
                if rows[at, Call.STATUS] != 0:
                    meeting[FAILED] = 1
                    why = TRAPPED
                    break
            if shared:
                progress[MEETINGS] += 1
                if not meet(meeting, progress[MEETINGS], walkers):
                    why = LEFT
                    break
            else:
                progress[ALONE] = 1
            progress[DONE] += 1
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
        elif kind == SIGNALS:
            signals[code[at, TOKEN]] += 1
            progress[DONE] += 1
            at += 1
        elif kind == WAITS and signals[code[at, TOKEN]] > 0:
            signals[code[at, TOKEN]] -= 1
            progress[DONE] += 1
            at += 1
        elif kind == MEETS and all_met(arrivals, users, state, core, code[at, TOKEN]):
            progress[DONE] += 1
            at += 1
        else:
            held += 1
            if held == states.shape[0]:
                why = STUCK
                break
            state[AT] = at
            core = (core + 1) % states.shape[0]
            progress[TURN] = core
            state = states[core]
            counters = state[COUNTERS:]
            at = state[AT]
            continue
        budget -= work_done
        held = 0
    state[AT] = at
    progress[TURN] = core
    return why


@inner
def all_met(arrivals: np.ndarray, users: np.ndarray, state: np.ndarray, core: int, barrier: int) -> bool:
    """Arrive at a barrier, once; return whether every core that uses it has arrived as often."""
    if not state[ARRIVED]:
        state[ARRIVED] = 1
        arrivals[core, barrier] += 1
    if not met(arrivals, users, core, barrier):
        return False
    state[ARRIVED] = 0
    return True


@inner
def holds(values: np.ndarray, value: int) -> bool:
    for k in range(values.size):  # noqa: SIM110, numba knows no generators
        if values[k] == value:
            return True
    return False


def flat(
    plan: Plan, kinds: Mapping[int, int], stops: Collection[tuple[int, int]], shared: Collection[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `walk` reads of a plan: code, terms and watches, without what is absent.

    `kinds` has the KIND of each opcode, `stops` the instructions to stop before: (core, index); `shared` has the
    opcodes that walkers share where there is enough to do.
    """
    code = np.zeros((sum(len(part.rows) for part in plan.cores) + 1, CODE), np.int64)
    terms: list[tuple[int, ...]] = []
    watches: list[tuple[int, ...]] = []
    for part, start in zip(plan.cores, starts(len(part.rows) for part in plan.cores), strict=True):
        for k, instruction in enumerate(part.core.code):
            row = code[start + k]
            row[KIND], row[WORK], row[STOP] = kinds[instruction.opcode], work(part, k), (part.number, k) in stops
            row[COUNTER : OTHER + 1] = part.loops[k] + (0, 0, start)
            row[BY_ALL] = instruction.opcode in shared and row[WORK] >= LEAST_SHARED
            row[FIRST_TERM], row[FIRST_WATCH] = len(terms), len(watches)
            if instruction.row.engine == "sync":
                row[TOKEN] = instruction.attributes[0][0]
            for slot, operand in enumerate(instruction.operands):
                if operand is not None:
                    address = slot * FIELDS + Field.ADDRESS
                    for t, term in enumerate(operand.terms):
                        terms.append((address, t == 0, term.counter, term.modulus, term.stride))
            watches += [_watch(part, k, slot) for slot in watched(part, k)]
    code[-1, FIRST_TERM], code[-1, FIRST_WATCH] = len(terms), len(watches)
    return code, np.array(terms, np.int64).reshape(-1, TERM), np.array(watches, np.int64).reshape(-1, WATCH)


def watched(part: CorePlan, k: int) -> list[int]:
    """Return the operands of instruction k, by slot, that its result may overlap in some iteration."""
    if not part.overlap[k]:
        return []
    operands = part.core.code[k].operands
    out = operands[RESULT_SLOT]
    assert out is not None
    return [
        slot
        for slot, operand in enumerate(operands)
        if operand is not None
        and part.access[k, slot] == READ
        and (operand.memory, operand.core) == (out.memory, out.core)
    ]


def _watch(part: CorePlan, k: int, slot: int) -> tuple[int, ...]:
    (out_low, out_high), (low, high) = part.spans[k, RESULT_SLOT], part.spans[k, slot]
    return slot * FIELDS + Field.ADDRESS, out_low - high, out_high - low


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


def signature() -> Any:
    """Return the signature of `walk`."""
    table, column = types.int64[:, ::1], types.int64[::1]
    shared = types.uint8[::1], *(table,) * 6, column
    own = *(table,) * 3, *(column,) * 2, types.int64, types.int64
    return types.int64(column, *shared, *own, types.boolean, types.int64)
