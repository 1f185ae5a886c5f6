"""When each instruction starts, and which constraint made it start then: one pass in program order. Hot, compiled.

For the k-th instruction issued, on engine e, all in cycles from the end of the task's DMA in:

    issue[k] = max(issue[k-1] + issue cycles + cycles of loops in between, start of the instruction that is queue_depth
                   places earlier on e)
    start[k] = max(issue[k], end of e's occupancy by its previous instruction, finish of what it depends on,
                   finish of the tickets of its wait bits)
    finish[k] = max(start[k] + latency, finish of the instruction before it on e)

An engine finishes in order, as its tickets count: whoever has waited for a ticket has waited for all before it. An
instruction depends on earlier ones of its own engine whose bytes conflict with its own, and in hardware order on
those of every engine (bounding intervals, as the scoreboard holds them). Every term looks back in program order only,
so one pass in that order is exact: no resource is shared between engines but what the terms name. The term that won
is the reason; among equals the first in the order of REASONS. The cause is the instruction behind it.

Each engine keeps its recent accesses in order. What has finished before the current issue is forgotten, for nothing
starts before it is issued. What is left is searched from the newest, and the first conflict ends the search: nothing
older on that engine finishes later. It is few, unless latencies are far longer than occupancies.
"""

import numpy as np

from emulator.jit import hot, inner
from emulator.plan import ADDRESS, FIELDS, READ, SEQ, WRITE, Plan
from emulator.record import (
    BUSY,
    CAUSE,
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
    STALL_WAIT,
    START,
    WAIT,
    WAITS_UNTIL,
    WHY,
)

# Columns of `code`, a row for each instruction and one more: engine, wait bits, cycles, its loop, where its rows of
# `operands` begin.
RUNS_ON, WAITS, OCCUPANCY, LATENCY, COUNTER, TRIPS, OTHER, FIRST_OPERAND, CODE = range(9)
# Columns of `operands` and of the recent accesses: the bytes, for an operand those at counters 0; READ or WRITE; and
# where an operand's rows of `terms` begin, or the record that an access belongs to.
LOW, HIGH, ACCESS, FIRST_TERM, OPERAND = range(5)
BY = FIRST_TERM
# Accesses looked at together.
BLOCK = 64
# What `walk` keeps between calls: the next instruction, records made, when the sequencer can issue again, when the
# last instruction has finished; then the counters of the loops.
AT, DONE, CLOCK, END, COUNTERS = range(5)
# Why `walk` returned: the code's end, the budget used up, or no room for more accesses.
ENDED, PAUSED, FULL = range(3)


@hot
def walk(code, operands, terms, issue_cycles, loop_cycles, hardware, state, queue, recent, totals, records, budget):
    """Take at most `budget` steps from state[AT]; return why it stopped.

    `hardware` is whether the scoreboard orders engines; queue [engines, depth]: the last records of each engine, a
    ring; recent [engines, OPERAND, room]: accesses in order, of which `totals` says which may still matter.
    """
    at, n, clock, end = state[AT], state[DONE], state[CLOCK], state[END]
    counters = state[COUNTERS:]
    depth = queue.shape[1]
    why_stopped = PAUSED
    for _ in range(budget):
        engine = code[at, RUNS_ON]
        if engine == SEQ:
            if code[at, TRIPS] == 0:  # end
                clock += issue_cycles
                why_stopped = ENDED
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
            continue

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
        clock = issued

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
        start = max(issued, free, depends_until, waits_until)
        stall = start - max(issued, free)
        if start == free:
            why = ENGINE
            cause = before
        elif start == depends_until:
            why = DEPENDENCE
            cause = records[depends_on, FINISHED_BY]
            total[STALL_DEPENDENCE] += stall
        elif start == waits_until:
            why = WAIT
            cause = records[waits_for, FINISHED_BY]
            total[STALL_WAIT] += stall
        else:
            why = ISSUE
            cause = NONE
        finish = start + code[at, LATENCY]
        finished_by = n
        if free != NONE and records[before, FINISH] >= finish:
            finish = records[before, FINISH]
            finished_by = records[before, FINISHED_BY]

        record = records[n]
        record[INDEX] = at
        record[ISSUED] = issued
        record[FREE] = free
        record[DEPENDS_UNTIL] = depends_until
        record[WAITS_UNTIL] = waits_until
        record[START] = start
        record[WHY] = why
        record[CAUSE] = cause
        record[FREED_BY] = freed_by
        record[FINISH] = finish
        record[FINISHED_BY] = finished_by
        total[BUSY] += code[at, OCCUPANCY]
        total[FREE_FROM] = start + code[at, OCCUPANCY]
        total[COUNT] += 1
        total[NEWEST] = beyond
        queue[engine, place] = n
        end = max(end, finish)
        n += 1
        at += 1
    state[AT], state[DONE], state[CLOCK], state[END] = at, n, clock, end
    return why_stopped


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
def walk_back(records, at, now, issuing, path):
    """Add the critical path before cycle `now` to path [n, reasons, 2]: times and cycles by instruction and reason.

    It goes on from record `at`, from its start or, where `issuing`, its issue. Timeline.steps does the same.
    """
    while at >= 0:
        if issuing or records[at, WHY] == ISSUE:
            index, reason = records[at, INDEX], ISSUE
            if records[at, FREED_BY] != NONE:
                at, issuing = records[at, FREED_BY], False
                continue
            at, issuing = at - 1, True
            since = records[at, ISSUED] if at >= 0 else 0
        else:
            reason = records[at, WHY]
            at = records[at, CAUSE]
            index, since = records[at, INDEX], records[at, START]
        path[index, reason, 0] += 1
        path[index, reason, 1] += now - since
        now = since


def flat(plan: Plan, occupancy: np.ndarray, latency: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `walk` reads of a plan: code, operands and terms, without what is absent.

    Constants are left out: no instruction writes them.
    """
    n = len(plan.opcodes)
    code = np.zeros((n + 1, CODE), np.int64)
    code[:n, RUNS_ON], code[:n, WAITS], code[:n, COUNTER : OTHER + 1] = plan.engines, plan.waits, plan.loops
    code[:n, OCCUPANCY], code[:n, LATENCY] = occupancy, latency
    operands: list[tuple[int, int, int, int]] = []
    terms: list[tuple[int, int, int]] = []
    for k, instruction in enumerate(plan.core.code):
        code[k, FIRST_OPERAND] = len(operands)
        for slot, operand in enumerate(instruction.operands):
            if operand is not None and operand.memory != "cb":
                low, high = plan.rows[k, slot * FIELDS + ADDRESS] + plan.spans[k, slot]
                operands.append((low, high, plan.access[k, slot], len(terms)))
                terms += [(term.counter, term.modulus, term.stride) for term in operand.terms]
    code[n, FIRST_OPERAND] = len(operands)
    operands.append((0, 0, 0, len(terms)))
    return code, np.array(operands, np.int64), np.array(terms, np.int64).reshape(-1, 3)
