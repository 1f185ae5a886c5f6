"""When each instruction starts, and which constraint made it start then: a clock over the whole chip. Hot, compiled.

For the k-th instruction issued on a core, on engine e, all in cycles from the end of the task's DMA in:

    issue[k] = max(issue[k-1] + issue cycles + cycles of loops in between, start of the instruction that is queue_depth
                   places earlier on e)
    arrived[k] = max(issue[k], end of e's occupancy by its previous instruction, finish of what it depends on,
                     finish of the tickets of its wait bits)
    start[k] = max(arrived[k], token, when each shared resource that it holds is free)
    finish[k] = max(start[k] + latency, finish of the instruction before it on e)

An engine finishes in order, as its tickets count: whoever has waited for a ticket has waited for all before it. An
instruction depends on earlier ones of its own engine whose bytes conflict with its own, and in hardware order on
those of every engine (bounding intervals, as the scoreboard holds them). The term that won is the reason; among equals
the first in the order of REASONS. The cause is the instruction behind it.

Starts are committed in time order. Each sequencer fetches as far as it can issue: until a queue is full. Of the heads
of all queues whose terms are known the one with the earliest start is committed; of equals the one that has arrived
first, then that of the least core, then engine. A head whose terms are not known, and what is not fetched yet, needs
the start or the finish of one that is not committed, so it starts no earlier: resources are granted by arrival.

The token of a wait is the finish of its signal plus the latency of synchronisation; that of a barrier the last arrival
plus the same. A signal or an arrival depends on all before it on its engine.

What the clock carries is values and numbers of instructions, and does not grow with the trip counts. Records are
written of those that lie in the window that is asked for: as they are issued, as they arrive and as they start.

Each engine keeps its recent accesses in order. What has finished before the current issue is forgotten, for nothing
starts before it is issued. What is left is searched from the newest, and the first conflict ends the search: nothing
older on that engine finishes later. It is few, unless latencies are far longer than occupancies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emulator.jit.compile import hot, inlined, inner
from emulator.jit.intrinsics import borrowed, natural
from emulator.plan.barriers import met
from emulator.plan.row import FIELDS, READ, SEQ, WRITE, Field
from emulator.timing.columns import (
    ARRIVED,
    BUSY,
    CAUSE,
    CORE,
    COUNT,
    DEPENDENCE,
    DEPENDS_UNTIL,
    DONE,
    ENGINE,
    FINISH,
    FINISHED_BY,
    FREE,
    FREE_FROM,
    FREED_BY,
    GRANTED,
    GRANTED_BY,
    HELD,
    INDEX,
    ISSUE,
    ISSUED,
    LAST,
    LAST_FINISH,
    LAST_FINISHED_BY,
    NEWEST,
    NONE,
    OLDEST,
    RECORD,
    RESOURCE,
    STALL_DEPENDENCE,
    STALL_RESOURCE,
    STALL_TOKEN,
    STALL_WAIT,
    START,
    TOKEN,
    TOKEN_BY,
    TOKEN_UNTIL,
    WAIT,
    WAITS_UNTIL,
    WHY,
)
from emulator.timing.costs import FIRST_LINK, Cost, holds
from isa.operand import region
from isa.table import MNEMONICS

if TYPE_CHECKING:
    from emulator.plan.plan import Plan

# Columns of `code`, a row for each instruction of each core and one more: engine, wait bits, cycles, its loop, where
# its rows of `operands` and of `held` begin, what it synchronises, and the number of its semaphore or barrier.
RUNS_ON, WAITS, OCCUPANCY, LATENCY, COUNTER, TRIPS, OTHER, FIRST_OPERAND, FIRST_HELD, SYNC, NUMBER, CODE = range(12)
NOTHING, SIGNALS, AWAITS, MEETS = range(4)
SYNCS = {MNEMONICS["signal"].opcode: SIGNALS, MNEMONICS["wait"].opcode: AWAITS, MNEMONICS["barrier"].opcode: MEETS}
# Columns of `operands` and of the recent accesses: the bytes, for an operand those at counters 0; READ or WRITE; where
# an operand's rows of `terms` begin, the resource that is the first block of its local memory (NONE: it holds none),
# where that memory begins, and its bytes of data; of an access the place in its engine's queue, and its finish (LATE
# until it is known) with the record that is due to.
LOW, HIGH, ACCESS, FIRST_TERM, FIRST_BLOCK, MEMORY, BYTES, OPERAND_IN = range(8)
PLACE, UNTIL, BY, OPERAND = range(3, 7)
LATE = np.iinfo(np.int64).max
# Of a record on the critical path: when it was issued, when all of its own core let it start, when it started.
IS_ISSUED, HAS_ARRIVED, STARTED = range(3)
# Accesses looked at together; before those, so many one by one.
BLOCK, FEW = 64, 8
# An instruction in a queue: its record, then where its code is, its number, how many of its terms are not known, the
# engines that its dependence and its wait are due to and the records, where its accesses begin, the first of those that
# need its finish; and for each engine the next that needs what its dependence on it, then its wait for it, needs.
(PC, N, PENDING, DEPENDS_ENGINE, DEPENDS_BY, WAITS_ENGINE, WAITS_BY, OWN, NEEDED_BY, NEXT_NEEDS) = range(
    RECORD, RECORD + 10
)
ENTRY, TERM_BITS = NEXT_NEEDS + 2 * SEQ, 3
# A sequencer: the next instruction, the number of its record, when it can issue again, when the last instruction has
# finished, where its code begins, when it issued last; then the counters of its loops.
AT, NEXT, CLOCK, END, BEGIN, LAST_ISSUED, COUNTERS = range(7)
# A semaphore: signals given, signals waited for. A barrier's two latest meetings, in turn: the last arrival, and who.
GIVEN, TAKEN, SEMAPHORE = range(3)
LAST_ARRIVAL, LAST_BY, MEETING = range(3)
# A shared resource: the cycle from which it is free, the record that held it last, cycles held.
FREE_AT, HELD_BY, HELD_FOR, SHARED_RESOURCE = range(4)
# A window of records: for each core the number of the first, of the one behind the last, the row of the first; and the
# number of the first that the core has at all.
LOWEST, BEYOND, ROW_OF, FROM, WINDOW = range(5)
# Where a walk back along the critical path is: a moment of a record that comes next, and to which cycle the path is
# known from the end; to which instruction the cycles in between belong (core NONE: to that record's) and why; steps.
IN_RECORD, MOMENT, NOW, OWED_CORE, OWED_INDEX, OWED_REASON, STEPS, TRAIL = range(8)
# Reasons of its steps: REASONS up to "resource", which comes in kinds, "last", and none for moments that coincide.
KINDS = ("dev", "pcie in", "pcie out", "ring", "LM block")
FINISHES, COINCIDES, PATH_REASONS = RESOURCE + len(KINDS), -2, RESOURCE + len(KINDS) + 1
# Why `walk` returned: nothing can go on, the budget used up, or no room for more accesses or signals.
STUCK, PAUSED, FULL = range(3)


class Fixed(NamedTuple):
    """What does not change: the code, the chip's numbers; `users` [cores, barriers] says who meets."""

    code: np.ndarray
    operands: np.ndarray
    terms: np.ndarray
    held: np.ndarray
    users: np.ndarray
    depth: int
    issue_cycles: int
    loop_cycles: int
    token_cycles: int
    block_bytes: int
    block_rate: float
    hardware: bool


class State(NamedTuple):
    """What the clock carries: sequencers [cores, COUNTERS + counters], queues [cores, engines, places, ENTRY], heads
    [cores, engines], recents [cores, engines, OPERAND, room], totals [cores, engines, TOTALS], resources, semaphores,
    the signals [semaphores, room, 2] that are not waited for yet (finish and record), how often cores have arrived
    [cores, barriers], meetings [barriers, 2, MEETING], and [1] the steps taken.

    A queue is a ring: its places are a power of two, no fewer than its depth. Of the head of each, `heads` has when it
    could start but for the resources: LATE until that is known, and constant from then on.
    """

    sequencers: np.ndarray
    queues: np.ndarray
    heads: np.ndarray
    recents: np.ndarray
    totals: np.ndarray
    resources: np.ndarray
    semaphores: np.ndarray
    signals: np.ndarray
    arrivals: np.ndarray
    meetings: np.ndarray
    steps: np.ndarray


@hot
def walk(fixed, state, window, records, budget):
    """Take at most `budget` steps; return why it stopped. Records in the window are written."""
    # Lent, for each view of a counted one costs two atomic instructions.
    window, records = borrowed(window), borrowed(records)
    fixed = Fixed(
        borrowed(fixed.code),
        borrowed(fixed.operands),
        borrowed(fixed.terms),
        borrowed(fixed.held),
        borrowed(fixed.users),
        fixed.depth,
        fixed.issue_cycles,
        fixed.loop_cycles,
        fixed.token_cycles,
        fixed.block_bytes,
        fixed.block_rate,
        fixed.hardware,
    )
    state = State(
        borrowed(state.sequencers),
        borrowed(state.queues),
        borrowed(state.heads),
        borrowed(state.recents),
        borrowed(state.totals),
        borrowed(state.resources),
        borrowed(state.semaphores),
        borrowed(state.signals),
        borrowed(state.arrivals),
        borrowed(state.meetings),
        borrowed(state.steps),
    )
    before = budget
    for core in range(state.sequencers.shape[0]):
        if budget > 0:
            budget = fetch(fixed, state, core, window, records, budget)
    core, all_cores = 0, True
    while budget > 0:
        # Only on its own core does a start tell anybody anything, but for signals and barriers.
        if not all_cores:
            all_cores = find_heads(fixed, state, core, window, records)
        while all_cores:
            all_cores = False
            for each in range(state.sequencers.shape[0]):
                all_cores |= find_heads(fixed, state, each, window, records)
        core, engine, start = earliest(fixed, state)
        if core == NONE:
            state.steps[0] += before - budget
            return STUCK
        signals = fixed.code[head(state, core, engine)[PC], SYNC] == SIGNALS
        if not commit(fixed, state, core, engine, start, window, records):
            budget = -budget
            break
        all_cores = signals
        budget = fetch(fixed, state, core, window, records, budget - 1)
    # fetch and commit want room: what was left of the budget is negative, or is LATE where it was 0.
    state.steps[0] += before - abs(budget)
    return FULL if budget < 0 else PAUSED


@inlined
def fetch(fixed, state, core, window, records, budget):
    """Issue what a core can issue; return what is left of the budget, negative where there is no room for accesses."""
    code, sequencer, mask = fixed.code, state.sequencers[natural(core)], state.queues.shape[2] - 1
    counters = sequencer[COUNTERS:]
    queues, totals = state.queues[natural(core)], state.totals[natural(core)]
    while budget > 0:
        at = sequencer[AT]
        row = code[natural(at)]
        engine = row[RUNS_ON]
        if engine == SEQ:
            if row[TRIPS] == 0:  # end
                break
            sequencer[AT] = jump(row, at, counters)
            sequencer[CLOCK] += fixed.loop_cycles
            budget -= 1
            continue
        total = totals[natural(engine)]
        if total[COUNT] - total[DONE] == fixed.depth:
            break
        most = state.recents.shape[3] - code[natural(at + 1), FIRST_OPERAND] + row[FIRST_OPERAND]
        if total[NEWEST] > most and not make_room(state, core, engine, most):
            return -budget
        issued, freed_by = sequencer[CLOCK] + fixed.issue_cycles, NONE
        if total[COUNT] >= fixed.depth:
            freed = queues[natural(engine), natural((total[COUNT] - fixed.depth) & mask)]
            if freed[START] > issued:
                issued, freed_by = freed[START], freed[N]
        place = total[COUNT] & mask
        entry = queues[natural(engine), natural(place)]
        for k in range(ENTRY):
            entry[k] = NONE
        entry[CORE], entry[INDEX], entry[PC], entry[N] = core, at - sequencer[BEGIN], at, sequencer[NEXT]
        entry[ISSUED], entry[FREED_BY], entry[PENDING], entry[OWN] = issued, freed_by, 0, total[NEWEST]
        beyond = note_accesses(fixed, state.recents[natural(core), natural(engine)], counters, at, place, total[NEWEST])
        find_terms(fixed, state, core, engine, place, beyond)
        total[NEWEST] = beyond
        total[COUNT] += 1
        sequencer[CLOCK], sequencer[AT] = issued, at + 1
        sequencer[NEXT] += 1
        sequencer[LAST_ISSUED] = issued
        write(entry, window, records)
        budget -= 1
    return budget


@inner
def make_room(state, core, engine, most):
    """Move the accesses of an engine that may still matter to the front; return whether there are few of them."""
    total, own = state.totals[core, engine], state.recents[core, engine]
    oldest, live = total[OLDEST], total[NEWEST] - total[OLDEST]
    # Half the room at most, so that each is moved but once in a while.
    if live > most // 2:
        return False
    for row in range(OPERAND):
        for a in range(live):
            own[row, a] = own[row, oldest + a]
    for place in range(state.queues.shape[2]):
        state.queues[core, engine, place, OWN] -= oldest
    total[OLDEST], total[NEWEST] = 0, live
    return True


@inner
def jump(row, at, counters):
    """Return where the sequencer goes on after a loop or brnz, by its row of code; count."""
    counter, other = natural(row[COUNTER]), row[OTHER]
    if other > at:
        counters[counter] = 0
        return at + 1
    counters[counter] += 1
    if counters[counter] < row[TRIPS]:
        return other + 1
    counters[counter] = 0
    return at + 1


@inlined
def note_accesses(fixed, own, counters, at, place, beyond):
    """Put the accesses of an instruction behind the recent ones of its engine; return where they end."""
    for o in range(fixed.code[natural(at), FIRST_OPERAND], fixed.code[natural(at + 1), FIRST_OPERAND]):
        operand, moved = fixed.operands[natural(o)], 0
        for t in range(operand[FIRST_TERM], fixed.operands[natural(o + 1), FIRST_TERM]):
            term = fixed.terms[natural(t)]
            value = counters[natural(term[0])]
            if term[1] > 0:
                value %= term[1]
            moved += value * term[2]
        own[LOW, natural(beyond)] = operand[LOW] + moved
        own[HIGH, natural(beyond)] = operand[HIGH] + moved
        own[ACCESS, natural(beyond)] = operand[ACCESS]
        own[PLACE, natural(beyond)] = place
        own[UNTIL, natural(beyond)] = LATE
        beyond += 1
    return beyond


@inlined
def find_terms(fixed, state, core, engine, place, beyond):
    """Find what an instruction depends on and waits for: finishes that are known, and instructions that will tell."""
    queues, mask = state.queues[natural(core)], state.queues.shape[2] - 1
    entry, own = queues[natural(engine), natural(place)], state.recents[natural(core), natural(engine)]
    waits = fixed.code[natural(entry[PC]), WAITS]
    for other in range(SEQ):
        their = state.totals[natural(core), natural(other)]
        theirs = state.recents[natural(core), natural(other)]
        while their[OLDEST] < their[NEWEST] and theirs[UNTIL, natural(their[OLDEST])] < entry[ISSUED]:
            their[OLDEST] += 1
        if their[OLDEST] < their[NEWEST] and (fixed.hardware or other == engine):
            j = newest_conflict(own, entry[OWN], beyond, theirs, their[OLDEST], their[NEWEST])
            if j != NONE:
                if theirs[UNTIL, natural(j)] < LATE:
                    depend(entry, other, theirs[UNTIL, natural(j)], theirs[BY, natural(j)])
                else:
                    need(queues, engine, place, other, theirs[PLACE, natural(j)], other)
        if waits >> other & 1 and their[COUNT] > 0:
            if their[DONE] == their[COUNT]:
                wait_for(entry, other, their[LAST_FINISH], their[LAST_FINISHED_BY])
            else:
                need(queues, engine, place, other, (their[COUNT] - 1) & mask, SEQ + other)


@inlined
def need(queues, engine, place, other, their_place, which):
    """Let an instruction be told the finish of another, as its term `which`: 0 to 2 a dependence, 3 to 5 a wait."""
    entry, late = queues[natural(engine), natural(place)], queues[natural(other), natural(their_place)]
    entry[PENDING] += 1
    entry[natural(NEXT_NEEDS + which)] = late[NEEDED_BY]
    late[NEEDED_BY] = (place * SEQ + engine) << TERM_BITS | which


@inlined
def depend(entry, engine, finish, by):
    """Note a finish that an instruction depends on: the latest, of equals that of the first engine."""
    until = entry[DEPENDS_UNTIL]
    if finish >= entry[ISSUED] and (finish > until or (finish == until and engine < entry[DEPENDS_ENGINE])):
        entry[DEPENDS_UNTIL], entry[DEPENDS_ENGINE], entry[DEPENDS_BY] = finish, engine, by


@inlined
def wait_for(entry, engine, finish, by):
    until = entry[WAITS_UNTIL]
    if finish > until or (finish == until and engine < entry[WAITS_ENGINE]):
        entry[WAITS_UNTIL], entry[WAITS_ENGINE], entry[WAITS_BY] = finish, engine, by


@inlined
def find_heads(fixed, state, core, window, records):
    """Find when the heads of a core's queues that were not known could start; return whether that is news to others."""
    news = False
    heads = state.heads[natural(core)]
    for engine in range(SEQ):
        total = state.totals[natural(core), natural(engine)]
        if heads[natural(engine)] < LATE or total[DONE] == total[COUNT]:
            continue
        entry = head(state, core, engine)
        if entry[PENDING] > 0:
            continue
        if entry[ARRIVED] == NONE:
            settle(fixed, state, entry, total)
            write(entry, window, records)
            news |= fixed.code[natural(entry[PC]), SYNC] == MEETS
        if has_token(fixed, state, entry):
            heads[natural(engine)] = max(entry[ARRIVED], entry[TOKEN_UNTIL])
    return news


@inlined
def head(state, core, engine):
    place = state.totals[natural(core), natural(engine), DONE] & (state.queues.shape[2] - 1)
    return state.queues[natural(core), natural(engine), natural(place)]


@inlined
def earliest(fixed, state):
    """Return core, engine and start of the head that starts first; NONE where none is known."""
    best_core, best_engine, best_start, best_arrived = NONE, NONE, LATE, LATE
    for core in range(state.heads.shape[0]):
        for engine in range(SEQ):
            start = state.heads[natural(core), natural(engine)]
            if start > best_start or start == LATE:
                continue
            entry = head(state, core, engine)
            start = max(start, granted(fixed, state, entry, state.recents[natural(core), natural(engine)]))
            if start < best_start or (start == best_start and entry[ARRIVED] < best_arrived):
                best_core, best_engine, best_start, best_arrived = core, engine, start, entry[ARRIVED]
    return best_core, best_engine, best_start


@inlined
def settle(fixed, state, entry, total):
    """Find when all of its own core lets the head of a queue start, and why; a barrier is arrived at then."""
    row = fixed.code[natural(entry[PC])]
    sync = row[SYNC]
    issued, free = entry[ISSUED], total[FREE_FROM]
    if sync in (SIGNALS, MEETS) and free != NONE and total[LAST_FINISH] >= issued:
        entry[DEPENDS_UNTIL], entry[DEPENDS_BY] = total[LAST_FINISH], total[LAST_FINISHED_BY]
    arrived = max(issued, free, entry[DEPENDS_UNTIL], entry[WAITS_UNTIL])
    if arrived == free:
        entry[WHY], entry[CAUSE] = ENGINE, total[LAST]
    elif arrived == entry[DEPENDS_UNTIL]:
        entry[WHY], entry[CAUSE] = DEPENDENCE, entry[DEPENDS_BY]
    elif arrived == entry[WAITS_UNTIL]:
        entry[WHY], entry[CAUSE] = WAIT, entry[WAITS_BY]
    else:
        entry[WHY] = ISSUE
    entry[FREE], entry[ARRIVED] = free, arrived
    if sync == MEETS:
        arrive(state.arrivals, fixed.users, state.meetings, entry[CORE], row[NUMBER], arrived, entry[N])


@inlined
def has_token(fixed, state, entry):
    """Return whether it is known when the token of a head that has arrived is there, or it needs none."""
    row = fixed.code[natural(entry[PC])]
    sync, number = row[SYNC], row[NUMBER]
    if sync == NOTHING or entry[TOKEN_UNTIL] != NONE:
        return True
    if sync == AWAITS:
        semaphore = state.semaphores[number]
        if semaphore[TAKEN] == semaphore[GIVEN]:
            return False
        signal = state.signals[number, semaphore[TAKEN] % state.signals.shape[1]]
        entry[TOKEN_UNTIL], entry[TOKEN_BY] = signal[0] + fixed.token_cycles, signal[1]
        semaphore[TAKEN] += 1
    elif sync == MEETS:
        if not met(state.arrivals, fixed.users, entry[CORE], number):
            return False
        meeting = state.meetings[number, state.arrivals[entry[CORE], number] % 2]
        entry[TOKEN_UNTIL], entry[TOKEN_BY] = meeting[LAST_ARRIVAL] + fixed.token_cycles, meeting[LAST_BY]
    return True


@inlined
def granted(fixed, state, entry, own):
    """Return when all shared resources that an instruction holds are free, NONE where nobody held them; note which."""
    resources, at = state.resources, entry[PC]
    row, below = fixed.code[natural(at)], fixed.code[natural(at + 1)]
    until, last = NONE, NONE
    for h in range(row[FIRST_HELD], below[FIRST_HELD]):
        resource = fixed.held[natural(h), 0]
        if resources[natural(resource), FREE_AT] > until:
            until, last = resources[natural(resource), FREE_AT], resource
    if fixed.block_bytes:
        for o in range(row[FIRST_OPERAND], below[FIRST_OPERAND]):
            first, beyond = blocks(fixed, own, o, entry[OWN] + o - row[FIRST_OPERAND])
            for block in range(first, beyond):
                if resources[natural(block), FREE_AT] > until:
                    until, last = resources[natural(block), FREE_AT], block
    entry[GRANTED], entry[HELD] = until, last
    return until


@inlined
def blocks(fixed, own, operand, access):
    """Return the blocks of local memory that an access touches, as resources: the first, and behind the last."""
    row = fixed.operands[natural(operand)]
    first, memory = row[FIRST_BLOCK], row[MEMORY]
    if first == NONE:
        return 0, 0
    low, high = own[LOW, natural(access)] - memory, own[HIGH, natural(access)] - memory
    return first + low // fixed.block_bytes, first + (high - 1) // fixed.block_bytes + 1


@inlined
def hold(fixed, state, entry, own, start):
    """Hold the resources of an instruction from its start; one that it needs twice, for the sum."""
    row, below = fixed.code[natural(entry[PC])], fixed.code[natural(entry[PC] + 1)]
    for h in range(row[FIRST_HELD], below[FIRST_HELD]):
        held = fixed.held[natural(h)]
        take(state.resources[natural(held[0])], start, held[1], entry[N])
    if fixed.block_bytes:
        for o in range(row[FIRST_OPERAND], below[FIRST_OPERAND]):
            access = entry[OWN] + o - row[FIRST_OPERAND]
            first, beyond = blocks(fixed, own, o, access)
            operand = fixed.operands[natural(o)]
            for block in range(first, beyond):
                # Of the bytes of data no more than fit between its bounds in this block.
                low = operand[MEMORY] + (block - operand[FIRST_BLOCK]) * fixed.block_bytes
                here = min(own[HIGH, natural(access)], low + fixed.block_bytes) - max(own[LOW, natural(access)], low)
                cycles = int(np.ceil(min(here, operand[BYTES]) / fixed.block_rate))
                take(state.resources[natural(block)], start, cycles, entry[N])


@inlined
def take(resource, start, cycles, by):
    resource[FREE_AT] = max(resource[FREE_AT], start) + cycles
    resource[HELD_BY] = by
    resource[HELD_FOR] += cycles


@inlined
def commit(fixed, state, core, engine, start, window, records):
    """Start the head of a queue; tell whoever needs its finish. Return False, and do nothing, without room for it."""
    total, own = state.totals[natural(core), natural(engine)], state.recents[natural(core), natural(engine)]
    entry = head(state, core, engine)
    row, below = fixed.code[natural(entry[PC])], fixed.code[natural(entry[PC] + 1)]
    if row[SYNC] == SIGNALS:
        semaphore = state.semaphores[natural(row[NUMBER])]
        if semaphore[GIVEN] - semaphore[TAKEN] == state.signals.shape[1]:
            return False
    finish, finished_by = start + row[LATENCY], entry[N]
    if entry[FREE] != NONE and total[LAST_FINISH] >= finish:
        finish, finished_by = total[LAST_FINISH], total[LAST_FINISHED_BY]
    entry[START], entry[FINISH], entry[FINISHED_BY] = start, finish, finished_by
    if entry[GRANTED] != NONE:
        entry[GRANTED_BY] = state.resources[natural(entry[HELD]), HELD_BY]
    hold(fixed, state, entry, own, start)
    stalled = start - max(entry[ISSUED], entry[FREE])
    if start > max(entry[ARRIVED], entry[TOKEN_UNTIL]):
        total[STALL_RESOURCE] += stalled
    elif start > entry[ARRIVED]:
        total[STALL_TOKEN] += stalled
    elif entry[WHY] == DEPENDENCE:
        total[STALL_DEPENDENCE] += stalled
    elif entry[WHY] == WAIT:
        total[STALL_WAIT] += stalled
    write(entry, window, records)

    if row[SYNC] == SIGNALS:
        signal = state.signals[row[NUMBER], semaphore[GIVEN] % state.signals.shape[1]]
        signal[0], signal[1] = finish, entry[N]
        semaphore[GIVEN] += 1
    for a in range(entry[OWN], entry[OWN] + below[FIRST_OPERAND] - row[FIRST_OPERAND]):
        own[UNTIL, natural(a)], own[BY, natural(a)] = finish, finished_by
    tell(state.queues[natural(core)], entry, engine)
    total[BUSY] += row[OCCUPANCY]
    total[FREE_FROM] = start + row[OCCUPANCY]
    total[LAST], total[LAST_FINISH], total[LAST_FINISHED_BY] = entry[N], finish, finished_by
    total[DONE] += 1
    state.heads[natural(core), natural(engine)] = LATE
    sequencer = state.sequencers[natural(core)]
    sequencer[END] = max(sequencer[END], finish)
    return True


@inlined
def tell(queues, entry, engine):
    """Tell those that need the finish of an instruction of an engine."""
    who = entry[NEEDED_BY]
    while who != NONE:
        place, which = who >> TERM_BITS, who & ((1 << TERM_BITS) - 1)
        needs = queues[natural(place % SEQ), natural(place // SEQ)]
        needs[PENDING] -= 1
        if which < SEQ:
            depend(needs, engine, entry[FINISH], entry[FINISHED_BY])
        else:
            wait_for(needs, engine, entry[FINISH], entry[FINISHED_BY])
        who = needs[natural(NEXT_NEEDS + which)]


@inlined
def write(entry, window, records):
    """Write what is known of an instruction, where its record lies in the window."""
    mine = window[natural(entry[CORE])]
    if mine[LOWEST] <= entry[N] < mine[BEYOND]:
        row = records[mine[ROW_OF] + entry[N] - mine[LOWEST]]
        for k in range(RECORD):
            row[k] = entry[k]


@inner
def arrive(arrivals, users, meetings, core, barrier, cycle, record):
    """Note that a core arrives at a barrier; its k-th meeting keeps the last to arrive, of equals the least core."""
    arrivals[core, barrier] += 1
    meeting = meetings[barrier, arrivals[core, barrier] % 2]
    is_first = True
    for other in range(users.shape[0]):
        if users[other, barrier] and other != core and arrivals[other, barrier] >= arrivals[core, barrier]:
            is_first = False
    # Records of lower cores come first.
    last = meeting[LAST_ARRIVAL]
    if is_first or cycle > last or (cycle == last and record < meeting[LAST_BY]):
        meeting[LAST_ARRIVAL], meeting[LAST_BY] = cycle, record


@inner
def newest_conflict(mine, first, beyond, theirs, oldest, newest):
    """Return the newest access, `oldest` to before `newest`, that conflicts with one of mine; or NONE."""
    few = max(newest - FEW, oldest)
    a = conflict_between(mine, first, beyond, theirs, few, newest)
    newest = few
    while a == NONE and newest > oldest and beyond > first:
        # A block that shares no byte with any of mine is passed over by a loop without branches: 0.2 ns an access.
        begin = max(newest - BLOCK, oldest)
        lows, highs = theirs[LOW, begin:newest], theirs[HIGH, begin:newest]
        near = 0
        for m in range(first, beyond):
            low, high = mine[LOW, natural(m)], mine[HIGH, natural(m)]
            for k in range(lows.shape[0]):
                near |= (low < highs[k]) & (lows[k] < high)
        if near:
            a = conflict_between(mine, first, beyond, theirs, begin, newest)
        newest = begin
    return a


@inlined
def conflict_between(mine, first, beyond, theirs, begin, end):
    """Return the newest access, `begin` to before `end`, that conflicts with one of mine; or NONE."""
    for a in range(end - 1, begin - 1, -1):
        low, high, access = theirs[LOW, natural(a)], theirs[HIGH, natural(a)], theirs[ACCESS, natural(a)]
        for m in range(first, beyond):
            if (
                (mine[ACCESS, natural(m)] | access) & WRITE
                and mine[LOW, natural(m)] < high
                and low < mine[HIGH, natural(m)]
            ):
                return a
    return NONE


assert READ and WRITE and not READ & WRITE, "conflict is tested by bits"


@hot
def walk_back(records, window, first_block, trail, path, steps):
    """Go back along the critical path as far as records tell; add it to `path`.

    path [cores, n, PATH_REASONS, 2] has times and cycles; steps [room, 4] takes each step as well, where it has room:
    core, index, reason, cycles.
    """
    trail[STEPS] = 0
    while trail[MOMENT] != NONE:
        at, since, core, index = trail[IN_RECORD], 0, NONE, NONE
        if at != NONE:
            of = window.shape[0] - 1
            while window[of, FROM] > at:
                of -= 1
            if not window[of, LOWEST] <= at < window[of, BEYOND]:
                return
            record = records[window[of, ROW_OF] + at - window[of, LOWEST]]
            since = record[START] if trail[MOMENT] == STARTED else record[ISSUED]
            if trail[MOMENT] == HAS_ARRIVED:
                since = record[ARRIVED]
            if since == NONE:
                return
            core, index = record[CORE], record[INDEX]
        if trail[OWED_REASON] != COINCIDES:
            if trail[OWED_CORE] != NONE:
                core, index = trail[OWED_CORE], trail[OWED_INDEX]
            path[core, index, trail[OWED_REASON], 0] += 1
            path[core, index, trail[OWED_REASON], 1] += trail[NOW] - since
            if steps.shape[0] > 0:
                step = steps[trail[STEPS]]
                step[0], step[1], step[2], step[3] = core, index, trail[OWED_REASON], trail[NOW] - since
                trail[STEPS] += 1
        trail[NOW] = since
        trail[OWED_CORE] = NONE
        if at == NONE:
            trail[MOMENT] = NONE
        else:
            step_back(record, at == window[of, FROM], first_block, trail)


@inner
def step_back(record, is_first, first_block, trail):
    """Turn a trail from a moment of a record to what that moment is due to."""
    if trail[MOMENT] == STARTED and record[START] > max(record[ARRIVED], record[TOKEN_UNTIL]):
        kind = min(record[HELD], FIRST_LINK) + (record[HELD] >= first_block)
        trail[IN_RECORD], trail[OWED_REASON] = record[GRANTED_BY], RESOURCE + kind
    elif trail[MOMENT] == STARTED and record[START] > record[ARRIVED]:
        trail[IN_RECORD], trail[OWED_REASON], trail[MOMENT] = record[TOKEN_BY], TOKEN, HAS_ARRIVED
    elif trail[MOMENT] != IS_ISSUED and record[WHY] != ISSUE:
        trail[IN_RECORD], trail[OWED_REASON], trail[MOMENT] = record[CAUSE], record[WHY], STARTED
    elif record[FREED_BY] != NONE:
        # The queue was full: issued in the cycle in which that instruction started.
        trail[IN_RECORD], trail[OWED_REASON], trail[MOMENT] = record[FREED_BY], COINCIDES, STARTED
    else:
        trail[OWED_CORE], trail[OWED_INDEX], trail[OWED_REASON] = record[CORE], record[INDEX], ISSUE
        trail[IN_RECORD], trail[MOMENT] = NONE if is_first else trail[IN_RECORD] - 1, IS_ISSUED


@hot
def goes_on(code, sequencers, users, arrivals, signals, budget):
    """Go on with the cores' synchronisation in program order, untimed; return PAUSED at the budget's end, or STUCK.

    So deadlocks are decided: each wait and barrier is met before its core goes on, in whichever queue it is. Of the
    columns of `sequencers`, which are as in State, LAST_ISSUED says whether a core has arrived.
    """
    core, held = 0, 0
    while held < sequencers.shape[0]:
        sequencer = sequencers[core]
        while True:
            if budget == 0:
                return PAUSED
            at = sequencer[AT]
            sync, number = code[at, SYNC], code[at, NUMBER]
            if code[at, RUNS_ON] == SEQ:
                if code[at, TRIPS] == 0:
                    break
                sequencer[AT] = jump(code[at], at, sequencer[COUNTERS:])
            else:
                if sync == AWAITS and signals[number] == 0:
                    break
                if sync == MEETS:
                    if sequencer[LAST_ISSUED] == 0:
                        sequencer[LAST_ISSUED], held = 1, 0
                        arrivals[core, number] += 1
                    if not met(arrivals, users, core, number):
                        break
                    sequencer[LAST_ISSUED] = 0
                signals[number] += (sync == SIGNALS) - (sync == AWAITS)
                sequencer[AT] += 1
            budget -= 1
            held = 0
        held += 1
        core = (core + 1) % sequencers.shape[0]
    return STUCK


def flat(plan: Plan, costs: Sequence[Mapping[int, Cost]]) -> tuple[np.ndarray, ...]:
    """Return what `walk` reads of a plan and the costs of its cores: code, operands, terms and what is held.

    What is absent is left out, and constants: no instruction writes them. An index counts through all cores' code.
    """
    code = np.zeros((sum(len(part.rows) for part in plan.cores) + 1, CODE), np.int64)
    chip, blocks_each = plan.chip, plan.chip["memory.lm_blocks"]
    operands: list[tuple[int, ...]] = []
    held: list[tuple[int, int]] = []
    terms: list[tuple[int, int, int]] = []
    start = 0
    for part, of_core in zip(plan.cores, costs, strict=True):
        n = len(part.rows)
        mine = code[start : start + n]
        mine[:, RUNS_ON], mine[:, WAITS], mine[:, COUNTER : OTHER + 1] = part.engines, part.waits, part.loops
        mine[:, OTHER] += start
        # Numbers of Python from here on: those of numpy take ten times as long, one by one.
        slots = part.spans.shape[1]
        bounds = (part.rows[:, Field.ADDRESS : slots * FIELDS : FIELDS, None] + part.spans).tolist()
        access, firsts = part.access.tolist(), []
        for k, instruction in enumerate(part.core.code):
            if k in of_core:
                mine[k, OCCUPANCY], mine[k, LATENCY] = of_core[k].occupancy, of_core[k].latency
            firsts.append((len(operands), len(held)))
            held += holds(chip, part.number, instruction)
            if instruction.opcode in SYNCS:
                mine[k, SYNC], mine[k, NUMBER] = SYNCS[instruction.opcode], instruction.attributes[0][0]
            for slot, operand in enumerate(instruction.operands):
                if operand is not None and operand.memory != "cb":
                    owner, block = part.number if operand.core is None else operand.core, NONE
                    if blocks_each and operand.memory == "lm":
                        block = FIRST_LINK + 2 * chip["chip.cores"] + owner * blocks_each
                    memory = plan.bases[region(owner, operand.memory)]
                    operands.append((*bounds[k][slot], access[k][slot], len(terms), block, memory, operand.bytes))
                    terms += [(term.counter, term.modulus, term.stride) for term in operand.terms]
        mine[:, FIRST_OPERAND : FIRST_HELD + 1] = firsts
        start += n
    code[start, FIRST_OPERAND], code[start, FIRST_HELD] = len(operands), len(held)
    operands.append((0, 0, 0, len(terms), NONE, 0, 0))
    tables = [
        np.array(rows, np.int64).reshape(-1, width) for rows, width in ((operands, OPERAND_IN), (terms, 3), (held, 2))
    ]
    return code, *tables
