"""The compiled loop over a plan: loops, affine addresses, overlaps, calls of kernels, cores in turn.

The code of all cores lies in one array, core after core; an index here counts through it. A core runs until it has to
wait, for a signal or at a barrier, or ends; then the next one goes on.

Several walkers, each in a thread and with all state of its own, walk the same instructions in the same order. One that
is BY_ALL is computed by all of them, each a share, and they meet before and after; all other instructions are left to
walker 0, and the others pass on. So all of them use up a budget, stop and ask about overlaps at the same instruction.

Kernels are called by their addresses, all of one type, KERNEL: the loop never changes as the table grows, and each
kernel is compiled and cached by itself. It costs about 20 ns an instruction, and 2 ns for each
address that follows a counter or pair of tensors that may overlap.
"""

from enum import IntEnum, auto

import numpy as np

from emulator.execute.spin_barrier import SpinBarrier, meet
from emulator.jit.arrays import Bytes, Columns, Matrix, Row, Words
from emulator.jit.compile import hot, inner
from emulator.jit.intrinsics import borrowed, call_kernel
from emulator.plan.barriers import met
from emulator.plan.row import Call

# How many of a watch's distances are known to be free of overlap at a time; and none of them.
KNOWN, NO_DISTANCE = 1024, np.iinfo(np.int64).max


class Decoded(Columns):
    """An instruction of a core; the row behind the last only says where rows of other tables end."""

    # The index of its kernel, or what it is to the sequencer: a Kind.
    KIND = auto()
    # What it weighs in the budget; whether to stop before it, and why: a Stop.
    WORK = auto()
    STOP = auto()
    # Of a loop or brnz: its counter, its count, the index of the other end.
    COUNTER = auto()
    TRIPS = auto()
    OTHER = auto()
    # Where its rows of `terms` and of `watches` begin.
    FIRST_TERM = auto()
    FIRST_WATCH = auto()
    # Its semaphore or barrier; whether walkers share it.
    TOKEN = auto()
    BY_ALL = auto()


class Stop(IntEnum):
    """Why to stop before an instruction: a dump, or that it takes long; may be both."""

    DUMPED = 1
    LONG = 2


class Kind(IntEnum):
    """What an instruction of the sequencer, or one that synchronises, is."""

    OPENS = -1
    CLOSES = -2
    ENDS = -3
    SIGNALS = -4
    WAITS = -5
    MEETS = -6


class AddressTerm(Columns):
    """A term of an operand's address; modulus 0 is none, the stride is in bytes."""

    # Where in the row the address is, and 1 for its first term.
    SLOT = auto()
    FIRST = auto()
    COUNTER = auto()
    MODULUS = auto()
    STRIDE = auto()


class Watch(Columns):
    """A tensor that an instruction reads or writes, and that a result of it may overlap."""

    # Where in the row the address of the result is, and that of the other.
    RESULT = auto()
    OTHER = auto()
    # Between which distances from the result the bounds of the two intersect.
    ABOVE = auto()
    BELOW = auto()


class CoreState(Columns):
    """What `walk` keeps of a core between calls; the counters of its loops from COUNTERS on."""

    # The next instruction; whether it has arrived at that barrier.
    AT = auto()
    ARRIVED = auto()
    COUNTERS = auto()


class Walk(Columns):
    """What `walk` keeps of all cores between calls."""

    # Whose turn it is; meetings of the walkers; whether walker 0 has done anything alone since the last.
    TURN = auto()
    MEETINGS = auto()
    ALONE = auto()
    # Instructions done, over all tasks.
    DONE = auto()


class WalkStop(Columns):
    """Why `walk` returned."""

    # No core can go on, an instruction to stop at, the budget used up, a result that may overlap what is read.
    STUCK = auto()
    STOPPED = auto()
    PAUSED = auto()
    MAY_OVERLAP = auto()
    # A kernel that set the status of its row; that another walker has failed; not told by `walk`: no memory to be had,
    # a chain whose stages are not compiled.
    TRAPPED = auto()
    LEFT = auto()
    NO_MEMORY = auto()
    NO_STAGES = auto()


@hot
def walk(
    kernels: Words,
    arena: Bytes,
    plan_rows: Matrix,
    code: Matrix,
    terms: Matrix,
    watches: Matrix,
    known: Matrix,
    users: Matrix,
    meeting: Words,
    rows: Matrix,
    states: Matrix,
    arrivals: Matrix,
    signals: Words,
    progress: Row,
    walker: int,
    walkers: int,
    passing: bool,
    budget: int,
) -> int:
    """Go on with the core whose turn it is until the budget is used up; return why it stopped, a WalkStop.

    `rows` is a copy of `plan_rows` whose addresses follow the counters. The walk stops before an instruction whose
    STOP is set, but for the first one if `passing`, and before one whose watch has a distance that is not `known`.
    signals [semaphores] are those that no wait has used up; arrivals and users [cores, barriers]: how often a core has
    arrived, and whether it uses the barrier. Walkers share what comes before `rows`; the rest is of this one.
    """
    lent, lent_rows = borrowed(arena), borrowed(rows)
    core = progress[Walk.TURN]
    state = states[core]
    counters = state[CoreState.COUNTERS :]
    at = state[CoreState.AT]
    why = WalkStop.PAUSED
    held = 0  # cores in a row that could not go on
    while budget > 0:
        if code[at, Decoded.STOP] and not passing:
            why = WalkStop.STOPPED
            break
        passing = False
        kind, work_done = code[at, Decoded.KIND], code[at, Decoded.WORK]
        if kind >= 0:
            for t in range(code[at, Decoded.FIRST_TERM], code[at + 1, Decoded.FIRST_TERM]):
                slot = terms[t, AddressTerm.SLOT]
                if terms[t, AddressTerm.FIRST]:
                    rows[at, slot] = plan_rows[at, slot]
                counter = counters[terms[t, AddressTerm.COUNTER]]
                if terms[t, AddressTerm.MODULUS] != 0:
                    counter %= terms[t, AddressTerm.MODULUS]
                rows[at, slot] += counter * terms[t, AddressTerm.STRIDE]
            for w in range(code[at, Decoded.FIRST_WATCH], code[at + 1, Decoded.FIRST_WATCH]):
                distance = rows[at, watches[w, Watch.OTHER]] - rows[at, watches[w, Watch.RESULT]]
                if watches[w, Watch.ABOVE] < distance < watches[w, Watch.BELOW] and not holds(known[w], distance):
                    why = WalkStop.MAY_OVERLAP
            if why == WalkStop.MAY_OVERLAP:
                break
            shared = code[at, Decoded.BY_ALL]
            if shared and progress[Walk.ALONE]:
                progress[Walk.ALONE] = 0
                progress[Walk.MEETINGS] += 1
                if not meet(meeting, progress[Walk.MEETINGS], walkers):
                    why = WalkStop.LEFT
                    break
            if shared or walker == 0:
                # Before the kernel, which may find no memory.
                state[CoreState.AT] = at
                call_kernel(kernels, kind, lent, lent_rows[at])
                if rows[at, Call.STATUS] != 0:
                    meeting[SpinBarrier.FAILED] = 1
                    why = WalkStop.TRAPPED
                    break
            if shared:
                progress[Walk.MEETINGS] += 1
                if not meet(meeting, progress[Walk.MEETINGS], walkers):
                    why = WalkStop.LEFT
                    break
            else:
                progress[Walk.ALONE] = 1
            progress[Walk.DONE] += 1
            at += 1
        elif kind == Kind.OPENS:
            counters[code[at, Decoded.COUNTER]] = 0
            at += 1
        elif kind == Kind.CLOSES:
            depth = code[at, Decoded.COUNTER]
            counters[depth] += 1
            if counters[depth] < code[at, Decoded.TRIPS]:
                at = code[at, Decoded.OTHER] + 1
            else:
                counters[depth] = 0
                at += 1
        elif kind == Kind.SIGNALS:
            signals[code[at, Decoded.TOKEN]] += 1
            progress[Walk.DONE] += 1
            at += 1
        elif kind == Kind.WAITS and signals[code[at, Decoded.TOKEN]] > 0:
            signals[code[at, Decoded.TOKEN]] -= 1
            progress[Walk.DONE] += 1
            at += 1
        elif kind == Kind.MEETS and all_met(arrivals, users, state, core, code[at, Decoded.TOKEN]):
            progress[Walk.DONE] += 1
            at += 1
        else:
            held += 1
            if held == states.shape[0]:
                why = WalkStop.STUCK
                break
            state[CoreState.AT] = at
            core = (core + 1) % states.shape[0]
            progress[Walk.TURN] = core
            state = states[core]
            counters = state[CoreState.COUNTERS :]
            at = state[CoreState.AT]
            continue
        budget -= work_done
        held = 0
    state[CoreState.AT] = at
    progress[Walk.TURN] = core
    return why


@inner
def all_met(arrivals: Matrix, users: Matrix, state: Row, core: int, barrier: int) -> bool:
    """Arrive at a barrier, once; return whether every core that uses it has arrived as often."""
    if not state[CoreState.ARRIVED]:
        state[CoreState.ARRIVED] = 1
        arrivals[core, barrier] += 1
    if not met(arrivals, users, core, barrier):
        return False
    state[CoreState.ARRIVED] = 0
    return True


@inner
def holds(values: Row, value: int) -> bool:
    for k in range(values.size):  # noqa: SIM110, numba knows no generators
        if values[k] == value:
            return True
    return False


# Its types; a number is returned, for to make a member of it takes Python a microsecond.
SIGNATURE = (
    "int64(int64[::1], uint8[::1], {table}, {table}, {table}, {table}, {table}, {table}, int64[::1], "
    "{table}, {table}, {table}, int64[::1], int64[::1], int64, int64, boolean, int64)"
).format(table="int64[:,::1]")
