"""When each instruction starts, and which constraint made it start then: one pass in program order. Hot, compiled.

For the k-th instruction issued, on engine e, all in cycles from the end of the task's DMA in:

    issue[k] = max(issue[k-1] + issue cycles + cycles of loops in between, start of the instruction that is queue_depth
                   places earlier on e)
    start[k] = max(issue[k], end of e's occupancy by its previous instruction, finish of what it depends on,
                   finish of the tickets of its wait bits, token)
    finish[k] = max(start[k] + latency, finish of the instruction before it on e)

An engine finishes in order, as its tickets count: whoever has waited for a ticket has waited for all before it. An
instruction depends on earlier ones of its own engine whose bytes conflict with its own, and in hardware order on
those of every engine (bounding intervals, as the scoreboard holds them). Every term looks back in program order only,
so one pass in that order is exact: no resource is shared between engines but what the terms name. The term that won
is the reason; among equals the first in the order of REASONS. The cause is the instruction behind it.

Cores are scheduled in turn, each in program order until it meets a wait whose signal, or a barrier whose last arrival,
has no time yet. The token of a wait is the finish of its signal plus the latency of synchronisation; that of a barrier
the last arrival plus the same. A signal or an arrival depends on all before it on its engine.

Each engine keeps its recent accesses in order. What has finished before the current issue is forgotten, for nothing
starts before it is issued. What is left is searched from the newest, and the first conflict ends the search: nothing
older on that engine finishes later. It is few, unless latencies are far longer than occupancies.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from emulator.costs import Cost
from emulator.jit import hot, inner
from emulator.plan import ADDRESS, FIELDS, READ, SEQ, WRITE, Plan
from emulator.record import (
    ARRIVED,
    BUSY,
    CAUSE,
    CORE,
    COUNT,
    DEPENDENCE,
    DEPENDS_UNTIL,
    ENGINE,
    FINISH,
    FINISHED_BY,
    FREE,
    FREE_FROM,
    FREED_BY,
    INDEX,
    ISSUE,
    ISSUED,
    NEWEST,
    NONE,
    OLDEST,
    STALL_DEPENDENCE,
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
from isa.table import MNEMONICS

# Columns of `code`, a row for each instruction of each core and one more: engine, wait bits, cycles, its loop, where
# its rows of `operands` begin, what it synchronises, and the number of its semaphore or barrier.
RUNS_ON, WAITS, OCCUPANCY, LATENCY, COUNTER, TRIPS, OTHER, FIRST_OPERAND, SYNC, NUMBER, CODE = range(11)
NOTHING, SIGNALS, AWAITS, MEETS = range(4)
SYNCS = {MNEMONICS["signal"].opcode: SIGNALS, MNEMONICS["wait"].opcode: AWAITS, MNEMONICS["barrier"].opcode: MEETS}
# Columns of `operands` and of the recent accesses: the bytes, for an operand those at counters 0; READ or WRITE; and
# where an operand's rows of `terms` begin, or the record that an access belongs to.
LOW, HIGH, ACCESS, FIRST_TERM, OPERAND = range(5)
BY = FIRST_TERM
# Of a record on the critical path: when it was issued, when all of its own core let it start, when it started.
IS_ISSUED, HAS_ARRIVED, STARTED = range(3)
# Accesses looked at together.
BLOCK = 64
# What `walk` keeps of a core between calls: the next instruction, its next record, when the sequencer can issue again,
# when the last instruction has finished, whether it has arrived at that barrier, where its code begins; then the
# counters of its loops.
AT, NEXT, CLOCK, END, AT_BARRIER, BEGIN, COUNTERS = range(7)
# A semaphore: where its signals begin among those of all, signals given, signals waited for.
FIRST_SIGNAL, GIVEN, TAKEN, SEMAPHORE = range(4)
# A barrier's two latest meetings, in turn: the last arrival, and its record.
LAST_ARRIVAL, LAST_BY, MEETING = range(3)
# Why `walk` returned: nothing can go on, the budget used up, or no room for more accesses.
STUCK, PAUSED, FULL = range(3)


@hot
def walk(
    code,
    operands,
    terms,
    issue_cycles,
    loop_cycles,
    token_cycles,
    hardware,
    states,
    queues,
    recents,
    all_totals,
    semaphores,
    signals,
    arrivals,
    users,
    meetings,
    records,
    budget,
):
    """Take at most `budget` steps, core after core as each comes to wait; return why it stopped.

    `hardware` is whether the scoreboard orders engines; queues [cores, engines, depth]: the last records of each
    engine, a ring; recents [cores, engines, OPERAND, room]: accesses in order, of which `all_totals` says which may
    still matter; signals: the records of the signals of all semaphores; arrivals and users [cores, barriers]: how often
    a core has arrived, and whether it uses the barrier; meetings [barriers, 2, MEETING].
    """
    depth = queues.shape[2]
    # Those from here on, in turn, can go no further.
    core, held = 0, 0
    while held < states.shape[0]:
        state, counters = states[core], states[core, COUNTERS:]
        queue, recent, totals = queues[core], recents[core], all_totals[core]
        at, n, clock, end = state[AT], state[NEXT], state[CLOCK], state[END]
        why_stopped = STUCK
        while why_stopped == STUCK:
            if budget == 0:
                why_stopped = PAUSED
                break
            engine = code[at, RUNS_ON]
            if engine == SEQ:
                if code[at, TRIPS] == 0:  # end
                    break
                clock += loop_cycles
                counter, other = code[at, COUNTER], code[at, OTHER]
                if other > at:
                    counters[counter] = 0
                else:
                    counters[counter] += 1
                    if counters[counter] < code[at, TRIPS]:
                        at = other
                    else:
                        counters[counter] = 0
                at += 1
                budget -= 1
                held = 0
                continue

            sync, number = code[at, SYNC], code[at, NUMBER]
            if sync == AWAITS and semaphores[number, TAKEN] == semaphores[number, GIVEN]:
                break

            # Its own accesses stand behind the recent ones of its engine.
            total = totals[engine]
            first, beyond = total[NEWEST], total[NEWEST]
            own = recent[engine]
            if first + code[at + 1, FIRST_OPERAND] - code[at, FIRST_OPERAND] > own.shape[1]:
                why_stopped = FULL
                break
            for o in range(code[at, FIRST_OPERAND], code[at + 1, FIRST_OPERAND]):
                moved = 0
                for t in range(operands[o, FIRST_TERM], operands[o + 1, FIRST_TERM]):
                    value = counters[terms[t, 0]]
                    if terms[t, 1] > 0:
                        value %= terms[t, 1]
                    moved += value * terms[t, 2]
                own[LOW, beyond] = operands[o, LOW] + moved
                own[HIGH, beyond] = operands[o, HIGH] + moved
                own[ACCESS, beyond] = operands[o, ACCESS]
                own[BY, beyond] = n
                beyond += 1

            issued = clock + issue_cycles
            freed_by = NONE
            place = total[COUNT] % depth
            if total[COUNT] >= depth and records[queue[engine, place], START] > issued:
                freed_by = queue[engine, place]
                issued = records[freed_by, START]

            depends_until = depends_on = waits_until = waits_for = NONE
            for other in range(SEQ):
                theirs, their = recent[other], totals[other]
                while their[OLDEST] < their[NEWEST] and records[theirs[BY, their[OLDEST]], FINISH] < issued:
                    their[OLDEST] += 1
                if hardware or other == engine:
                    j = newest_conflict(own, first, beyond, theirs, their[OLDEST], their[NEWEST])
                    if j != NONE and records[j, FINISH] > depends_until:
                        depends_until = records[j, FINISH]
                        depends_on = j
                if code[at, WAITS] >> other & 1 and their[COUNT] > 0:
                    j = queue[other, (their[COUNT] - 1) % depth]
                    if records[j, FINISH] > waits_until:
                        waits_until = records[j, FINISH]
                        waits_for = j

            before = queue[engine, (total[COUNT] - 1) % depth]  # of no use where free is NONE
            free = total[FREE_FROM]
            if sync in (SIGNALS, MEETS) and free != NONE and records[before, FINISH] >= issued:
                depends_until = records[before, FINISH]
                depends_on = before
            arrived = max(issued, free, depends_until, waits_until)
            if arrived == free:
                why = ENGINE
                cause = before
            elif arrived == depends_until:
                why = DEPENDENCE
                cause = records[depends_on, FINISHED_BY]
            elif arrived == waits_until:
                why = WAIT
                cause = records[waits_for, FINISHED_BY]
            else:
                why = ISSUE
                cause = NONE

            token_until = token_by = NONE
            if sync == AWAITS:
                token_by = signals[semaphores[number, FIRST_SIGNAL] + semaphores[number, TAKEN]]
                token_until = records[token_by, FINISH] + token_cycles
                semaphores[number, TAKEN] += 1
            elif sync == MEETS:
                if state[AT_BARRIER] == 0:
                    state[AT_BARRIER] = 1
                    held = 0
                    arrive(arrivals, users, meetings, core, number, arrived, n)
                if not met(arrivals, users, core, number):
                    break
                state[AT_BARRIER] = 0
                meeting = meetings[number, arrivals[core, number] % 2]
                token_by, token_until = meeting[LAST_BY], meeting[LAST_ARRIVAL] + token_cycles

            start = max(arrived, token_until)
            if start > arrived:
                total[STALL_TOKEN] += start - max(issued, free)
            elif why == DEPENDENCE:
                total[STALL_DEPENDENCE] += start - max(issued, free)
            elif why == WAIT:
                total[STALL_WAIT] += start - max(issued, free)
            finish = start + code[at, LATENCY]
            finished_by = n
            if free != NONE and records[before, FINISH] >= finish:
                finish = records[before, FINISH]
                finished_by = records[before, FINISHED_BY]

            record = records[n]
            record[CORE] = core
            record[INDEX] = at - state[BEGIN]
            record[ISSUED] = issued
            record[FREE] = free
            record[DEPENDS_UNTIL] = depends_until
            record[WAITS_UNTIL] = waits_until
            record[ARRIVED] = arrived
            record[WHY] = why
            record[CAUSE] = cause
            record[TOKEN_UNTIL] = token_until
            record[TOKEN_BY] = token_by
            record[START] = start
            record[FREED_BY] = freed_by
            record[FINISH] = finish
            record[FINISHED_BY] = finished_by
            if sync == SIGNALS:
                signals[semaphores[number, FIRST_SIGNAL] + semaphores[number, GIVEN]] = n
                semaphores[number, GIVEN] += 1
            clock = issued
            total[BUSY] += code[at, OCCUPANCY]
            total[FREE_FROM] = start + code[at, OCCUPANCY]
            total[COUNT] += 1
            total[NEWEST] = beyond
            queue[engine, place] = n
            end = max(end, finish)
            n += 1
            at += 1
            budget -= 1
            held = 0
        state[AT], state[NEXT], state[CLOCK], state[END] = at, n, clock, end
        if why_stopped != STUCK:
            return why_stopped
        held += 1
        core = (core + 1) % states.shape[0]
    return STUCK


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
def met(arrivals, users, core, barrier):
    """Return whether every core that uses a barrier has arrived as often as this one."""
    for other in range(users.shape[0]):
        if users[other, barrier] and arrivals[other, barrier] < arrivals[core, barrier]:
            return False
    return True


@inner
def newest_conflict(mine, first, beyond, theirs, oldest, newest):
    """Return the newest record of which an access, `oldest` to before `newest`, conflicts with one of mine; or NONE."""
    while newest > oldest and beyond > first:
        # A block that shares no byte with any of mine is passed over by a loop without branches: 0.2 ns an access.
        begin = max(newest - BLOCK, oldest)
        lows, highs = theirs[LOW, begin:newest], theirs[HIGH, begin:newest]
        near = 0
        for m in range(first, beyond):
            low, high = mine[LOW, m], mine[HIGH, m]
            for a in range(lows.shape[0]):
                near |= (low < highs[a]) & (lows[a] < high)
        if near:
            for a in range(newest - 1, begin - 1, -1):
                for m in range(first, beyond):
                    if (
                        (mine[ACCESS, m] | theirs[ACCESS, a]) & WRITE
                        and mine[LOW, m] < theirs[HIGH, a]
                        and theirs[LOW, a] < mine[HIGH, m]
                    ):
                        return theirs[BY, a]
        newest = begin
    return NONE


assert READ and WRITE and not READ & WRITE, "conflict is tested by bits"


@hot
def walk_back(records, at, now, moment, path):
    """Add the critical path before cycle `now` to path [cores, n, reasons, 2]: times and cycles by instruction, reason.

    It goes on from a moment of record `at`. Timeline.steps does the same.
    """
    while at != NONE:
        record = records[at]
        core, index, since = record[CORE], record[INDEX], 0
        if moment == STARTED and record[START] > record[ARRIVED]:
            reason, moment = TOKEN, HAS_ARRIVED
            at = record[TOKEN_BY]
            core, index, since = records[at, CORE], records[at, INDEX], records[at, ARRIVED]
        elif moment != IS_ISSUED and record[WHY] != ISSUE:
            reason, moment = record[WHY], STARTED
            at = record[CAUSE]
            index, since = records[at, INDEX], records[at, START]
        elif record[FREED_BY] != NONE:
            at, moment = record[FREED_BY], STARTED
            continue
        else:
            reason, moment = ISSUE, IS_ISSUED
            at = at - 1 if at > 0 and records[at - 1, CORE] == core else NONE
            if at != NONE:
                since = records[at, ISSUED]
        path[core, index, reason, 0] += 1
        path[core, index, reason, 1] += now - since
        now = since


def flat(plan: Plan, costs: Sequence[Mapping[int, Cost]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `walk` reads of a plan and the costs of its cores: code, operands and terms, without what is absent.

    An index counts through the code of all cores. Constants are left out: no instruction writes them.
    """
    code = np.zeros((sum(len(part.rows) for part in plan.cores) + 1, CODE), np.int64)
    operands: list[tuple[int, int, int, int]] = []
    terms: list[tuple[int, int, int]] = []
    start = 0
    for part, of_core in zip(plan.cores, costs, strict=True):
        n = len(part.rows)
        mine = code[start : start + n]
        mine[:, RUNS_ON], mine[:, WAITS], mine[:, COUNTER : OTHER + 1] = part.engines, part.waits, part.loops
        mine[:, OTHER] += start
        for k, instruction in enumerate(part.core.code):
            if k in of_core:
                mine[k, OCCUPANCY], mine[k, LATENCY] = of_core[k].occupancy, of_core[k].latency
            mine[k, FIRST_OPERAND] = len(operands)
            if instruction.opcode in SYNCS:
                mine[k, SYNC], mine[k, NUMBER] = SYNCS[instruction.opcode], instruction.attributes[0][0]
            for slot, operand in enumerate(instruction.operands):
                if operand is not None and operand.memory != "cb":
                    low, high = part.rows[k, slot * FIELDS + ADDRESS] + part.spans[k, slot]
                    operands.append((low, high, part.access[k, slot], len(terms)))
                    terms += [(term.counter, term.modulus, term.stride) for term in operand.terms]
        start += n
    code[start, FIRST_OPERAND] = len(operands)
    operands.append((0, 0, 0, len(terms)))
    return code, np.array(operands, np.int64), np.array(terms, np.int64).reshape(-1, 3)
