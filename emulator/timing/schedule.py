"""When each instruction starts, and which constraint made it start then: a clock over the whole chip. Hot, compiled.

For the k-th instruction issued on a core, on engine e, all in cycles from the end of the task's DMA in:

    issue[k] = max(max(issue[k-1] + cycles of loops in between, fetched[k]) + issue cycles,
                   start of the instruction that is queue_depth places earlier on e)
    fetched[k] = max(fetched[the one before], issue[r] + latency) + cycles of its code    where the code is fetched
    arrived[k] = max(issue[k], end of e's occupancy by its previous instruction, finish of what it depends on,
                     finish of the tickets of its wait bits)
    start[k] = max(arrived[k], token, when each shared resource that it holds is free)
    finish[k] = max(start[k] + latency, finish of the instruction before it on e)

An engine finishes in order, as its tickets count: whoever has waited for a ticket has waited for all before it. An
instruction depends on earlier ones of its own engine that conflict with it, and in hardware order on those of every
engine: two accesses conflict, in either order, where one is a write and their bounding byte intervals meet, which is
what a comparator can see. The term that won is the reason; among equals
the first in the order of Reason. The cause is the instruction behind it.

Starts are committed in time order. Each sequencer fetches as far as it can issue: until a queue is full. Of the heads
of all queues whose terms are known the one with the earliest start is committed; of equals the one that has arrived
first, then that of the least core, then engine. A head whose terms are not known, and what is not fetched yet, needs
the start or the finish of one that is not committed, so it starts no earlier: resources are granted by arrival.

Code that the instruction buffer does not hold is fetched in the order of its execution, through the buffer: r is the
first instruction whose issue makes room for it, for what is issued is not needed any more. A loop that fits is fetched
once, and kept until it is left.

The token of a wait is the finish of its signal plus the latency of synchronisation; that of a barrier the last arrival
plus the same. A signal or an arrival depends on all before it on its engine.

What the clock carries is values and numbers of instructions, and does not grow with the trip counts. Records are
written of those that lie in the window that is asked for: as they are issued, as they arrive and as they start.

Each engine keeps its recent accesses in order. What has finished before the current issue is forgotten, for nothing
starts before it is issued. What is left is searched from the newest, and the first conflict ends the search: nothing
older on that engine finishes later. It is few, unless latencies are far longer than occupancies.
"""

from typing import NamedTuple

import numpy as np

from emulator.jit.arrays import Matrix, Row, Tables, Words
from emulator.jit.compile import hot, inlined, inner
from emulator.jit.intrinsics import borrowed, natural
from emulator.plan.barriers import met
from emulator.plan.row import READ, SEQ, WRITE
from emulator.timing.columns import (
    ENTRY,
    LATE,
    NONE,
    Access,
    ClockStop,
    Code,
    Engine,
    Fetch,
    Held,
    Meeting,
    Queued,
    Reason,
    Recent,
    Record,
    Room,
    Semaphore,
    Sequencer,
    Shared,
    Signal,
    Sync,
    Term,
    Window,
)

# Accesses looked at together; before those, so many one by one.
BLOCK, FEW = 64, 8
# Bits that number a term of an instruction: 0 to 2 its dependence on each engine, 3 to 5 its wait for each; an engine.
TERM_BITS, ENGINE_BITS = 3, 2
TERM_MASK, ENGINE_MASK = (1 << TERM_BITS) - 1, (1 << ENGINE_BITS) - 1
# numba cannot ask a class for its length.
RECORD = len(Record)


class Fixed(NamedTuple):
    """What does not change: the code, the chip's numbers; `users` [cores, barriers] says who meets.

    Rows of code, operands, terms and held have the columns Code, Access, Term and Held.
    """

    code: Matrix
    operands: Matrix
    terms: Matrix
    held: Matrix
    users: Matrix
    depth: int
    issue_cycles: int
    loop_cycles: int
    token_cycles: int
    block_bytes: int
    block_rate: float
    buffer_bytes: int
    fetch_rate: float
    fetch_latency: int
    hardware: bool


class State(NamedTuple):
    """What the clock carries: sequencers [cores, Sequencer and counters], queues [cores, engines, places, ENTRY], heads
    [cores, engines], recents [cores, engines, Recent, room], totals [cores, engines, Engine], resources [resources,
    Shared], semaphores [semaphores, Semaphore], signals [semaphores, room, Signal] that are not waited for yet, how
    often cores have arrived [cores, barriers], meetings [barriers, 2, Meeting], fetches [cores, Fetch], what made room
    for them [cores, room, Room], and [1] the steps taken.

    A queue is a ring: its places are a power of two, no fewer than its depth. Of the head of each, `heads` has when it
    could start but for the resources: LATE until that is known, and constant from then on.
    """

    sequencers: Matrix
    queues: Tables
    heads: Matrix
    recents: Tables
    totals: Tables
    resources: Matrix
    semaphores: Matrix
    signals: Tables
    arrivals: Matrix
    meetings: Tables
    fetches: Matrix
    rooms: Tables
    steps: Words


@hot
def walk(fixed: Fixed, state: State, window: Matrix, records: Matrix, budget: int) -> ClockStop:
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
        fixed.buffer_bytes,
        fixed.fetch_rate,
        fixed.fetch_latency,
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
        borrowed(state.fetches),
        borrowed(state.rooms),
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
            return ClockStop.STUCK
        signals = fixed.code[natural(head(state, core, engine)[Queued.PC]), Code.SYNC] == Sync.SIGNALS
        if not commit(fixed, state, core, engine, start, window, records):
            budget = -budget
            break
        all_cores = signals
        budget = fetch(fixed, state, core, window, records, budget - 1)
    # fetch and commit want room: what was left of the budget is negative, or is LATE where it was 0.
    state.steps[0] += before - abs(budget)
    return ClockStop.FULL if budget < 0 else ClockStop.PAUSED


@inlined
def fetch(fixed: Fixed, state: State, core: int, window: Matrix, records: Matrix, budget: int) -> int:
    """Issue what a core can issue; return what is left of the budget, negative where there is no room for accesses."""
    code, sequencer, mask = fixed.code, state.sequencers[natural(core)], state.queues.shape[2] - 1
    counters = sequencer[Sequencer.COUNTERS :]
    queues, totals = state.queues[natural(core)], state.totals[natural(core)]
    while budget > 0:
        at = sequencer[Sequencer.AT]
        row = code[natural(at)]
        engine = row[Code.RUNS_ON]
        if engine == SEQ:
            if row[Code.TRIPS] == 0:  # end
                break
            sequencer[Sequencer.AT] = jump(row, at, counters)
            sequencer[Sequencer.CLOCK] += fixed.loop_cycles
            if row[Code.FETCHED_BYTES] > 0:
                keep_loop(fixed, state, core, at, sequencer[Sequencer.AT])
            budget -= 1
            continue
        total = totals[natural(engine)]
        if total[Engine.COUNT] - total[Engine.DONE] == fixed.depth:
            break
        most = state.recents.shape[3] - code[natural(at + 1), Code.FIRST_OPERAND] + row[Code.FIRST_OPERAND]
        if total[Engine.NEWEST] > most and not make_room(state, core, engine, most):
            return -budget
        issued, freed_by = sequencer[Sequencer.CLOCK] + fixed.issue_cycles, NONE
        if row[Code.FETCHED_BYTES] > 0:
            fetch_code(fixed, state, core, at)
            issued = max(issued, state.fetches[natural(core), Fetch.THERE] + fixed.issue_cycles)
        if total[Engine.COUNT] >= fixed.depth:
            freed = queues[natural(engine), natural((total[Engine.COUNT] - fixed.depth) & mask)]
            if freed[Record.START] > issued:
                issued, freed_by = freed[Record.START], freed[Queued.NUMBER]
        place = total[Engine.COUNT] & mask
        entry = queues[natural(engine), natural(place)]
        # What is fetched is set of each or of none.
        for k in range(ENTRY):
            entry[k] = NONE
        entry[Record.CORE], entry[Record.INDEX] = core, at - sequencer[Sequencer.BEGIN]
        entry[Record.ISSUED], entry[Record.FREED_BY] = issued, freed_by
        entry[Queued.PC], entry[Queued.NUMBER] = at, sequencer[Sequencer.NEXT]
        entry[Queued.PENDING], entry[Queued.OWN] = 0, total[Engine.NEWEST]
        own = state.recents[natural(core), natural(engine)]
        beyond = note_accesses(fixed, own, counters, at, place, total[Engine.NEWEST])
        find_terms(fixed, state, core, engine, place, beyond)
        total[Engine.NEWEST] = beyond
        total[Engine.COUNT] += 1
        sequencer[Sequencer.CLOCK], sequencer[Sequencer.AT] = issued, at + 1
        sequencer[Sequencer.NEXT] += 1
        sequencer[Sequencer.LAST_ISSUED] = issued
        if row[Code.FETCHED_BYTES] > 0:
            note_fetch(entry, state, core)
        write(entry, window, records)
        budget -= 1
    return budget


@inner
def fetch_code(fixed: Fixed, state: State, core: int, at: int) -> None:
    """Find when the code of the next instruction is there, if it has to be fetched."""
    mine, rooms, sequencer = state.fetches[core], state.rooms[core], state.sequencers[core]
    if at < mine[Fetch.UP_TO]:
        return
    size, room = fixed.code[at, Code.FETCHED_BYTES], 0
    mine[Fetch.UP_TO] = at + 1
    mine[Fetch.BYTES] += size
    mine[Fetch.ROOM_BY], mine[Fetch.FETCHED_AFTER] = NONE, mine[Fetch.LAST]
    needed = mine[Fetch.BYTES] - fixed.buffer_bytes
    if needed > 0:
        while rooms[mine[Fetch.OLDEST] % len(rooms), Room.BYTES] < needed:
            mine[Fetch.OLDEST] += 1
        first = rooms[mine[Fetch.OLDEST] % len(rooms)]
        room, mine[Fetch.ROOM_BY] = first[Room.ISSUED], first[Room.BY]
    if mine[Fetch.LAST] == NONE or room + fixed.fetch_latency > mine[Fetch.THERE]:
        mine[Fetch.THERE], mine[Fetch.FETCHED_AFTER] = room + fixed.fetch_latency, NONE
    mine[Fetch.THERE] += int(np.ceil(size / fixed.fetch_rate))
    mine[Fetch.LAST] = sequencer[Sequencer.NEXT]


@inner
def note_fetch(entry: Row, state: State, core: int) -> None:
    """Note what was fetched for an instruction as it is issued, and what room that makes."""
    mine = state.fetches[core]
    entry[Record.FETCHED] = entry[Record.ROOM_BY] = entry[Record.FETCHED_AFTER] = NONE
    if mine[Fetch.LAST] == entry[Queued.NUMBER]:
        entry[Record.FETCHED], entry[Record.ROOM_BY] = mine[Fetch.THERE], mine[Fetch.ROOM_BY]
        entry[Record.FETCHED_AFTER] = mine[Fetch.FETCHED_AFTER]
    make_room_for_code(state, core)


@inner
def make_room_for_code(state: State, core: int) -> None:
    """Note that what the last instruction issued leaves behind is not needed any more, but for a loop that is kept."""
    mine, rooms, sequencer = state.fetches[core], state.rooms[core], state.sequencers[core]
    done = mine[Fetch.BYTES] if mine[Fetch.KEPT] == NONE else mine[Fetch.KEPT]
    newest = mine[Fetch.NEWEST]
    if done > (rooms[(newest - 1) % len(rooms), Room.BYTES] if newest > 0 else 0):
        room = rooms[newest % len(rooms)]
        room[Room.BYTES], room[Room.ISSUED] = done, sequencer[Sequencer.LAST_ISSUED]
        room[Room.BY] = sequencer[Sequencer.NEXT] - 1
        mine[Fetch.NEWEST] += 1


@inner
def keep_loop(fixed: Fixed, state: State, core: int, at: int, after: int) -> None:
    """Keep a loop that fits the instruction buffer, until it is left; fetch one again that does not."""
    mine, fits = state.fetches[core], fixed.code[at, Code.FETCHED_BYTES] <= fixed.buffer_bytes
    begins = fixed.code[at, Code.OTHER] > at
    if begins and fits and mine[Fetch.KEPT] == NONE:
        mine[Fetch.KEPT], mine[Fetch.LOOP] = mine[Fetch.BYTES], at
    elif not begins and after <= at and not fits:
        mine[Fetch.UP_TO] = after
    elif not begins and after > at and mine[Fetch.LOOP] == fixed.code[at, Code.OTHER]:
        mine[Fetch.KEPT], mine[Fetch.LOOP] = NONE, NONE
        make_room_for_code(state, core)


@inner
def make_room(state: State, core: int, engine: int, most: int) -> bool:
    """Move the accesses of an engine that may still matter to the front; return whether there are few of them."""
    total, own = state.totals[core, engine], state.recents[core, engine]
    oldest, live = total[Engine.OLDEST], total[Engine.NEWEST] - total[Engine.OLDEST]
    # Half the room at most, so that each is moved but once in a while.
    if live > most // 2:
        return False
    for row in range(own.shape[0]):
        for a in range(live):
            own[row, a] = own[row, oldest + a]
    for place in range(state.queues.shape[2]):
        state.queues[core, engine, place, Queued.OWN] -= oldest
    total[Engine.OLDEST], total[Engine.NEWEST] = 0, live
    return True


@inner
def jump(row: Row, at: int, counters: Row) -> int:
    """Return where the sequencer goes on after a loop or brnz, by its row of code; count."""
    counter, other = natural(row[Code.COUNTER]), row[Code.OTHER]
    if other > at:
        counters[counter] = 0
        return at + 1
    counters[counter] += 1
    if counters[counter] < row[Code.TRIPS]:
        return other + 1
    counters[counter] = 0
    return at + 1


@inlined
def note_accesses(fixed: Fixed, own: Matrix, counters: Row, at: int, place: int, beyond: int) -> int:
    """Put the accesses of an instruction behind the recent ones of its engine; return where they end."""
    first, end = fixed.code[natural(at), Code.FIRST_OPERAND], fixed.code[natural(at + 1), Code.FIRST_OPERAND]
    terms_end = fixed.operands[natural(first), Access.FIRST_TERM]
    for o in range(first, end):
        operand, moved = fixed.operands[natural(o)], 0
        terms, terms_end = terms_end, fixed.operands[natural(o + 1), Access.FIRST_TERM]
        for t in range(terms, terms_end):
            term = fixed.terms[natural(t)]
            value = counters[natural(term[Term.COUNTER])]
            if term[Term.MODULUS] > 0:
                value %= term[Term.MODULUS]
            moved += value * term[Term.STRIDE]
        own[Recent.LOW, natural(beyond)] = operand[Access.LOW] + moved
        own[Recent.HIGH, natural(beyond)] = operand[Access.HIGH] + moved
        own[Recent.KIND, natural(beyond)] = operand[Access.KIND]
        own[Recent.PLACE, natural(beyond)] = place
        own[Recent.UNTIL, natural(beyond)] = LATE
        beyond += 1
    return beyond


@inlined
def find_terms(fixed: Fixed, state: State, core: int, engine: int, place: int, beyond: int) -> None:
    """Find what an instruction depends on and waits for: finishes that are known, and instructions that will tell."""
    queues, mask = state.queues[natural(core)], state.queues.shape[2] - 1
    entry, own = queues[natural(engine), natural(place)], state.recents[natural(core), natural(engine)]
    waits = fixed.code[natural(entry[Queued.PC]), Code.WAITS]
    for other in range(SEQ):
        their = state.totals[natural(core), natural(other)]
        theirs = state.recents[natural(core), natural(other)]
        while (
            their[Engine.OLDEST] < their[Engine.NEWEST]
            and theirs[Recent.UNTIL, natural(their[Engine.OLDEST])] < entry[Record.ISSUED]
        ):
            their[Engine.OLDEST] += 1
        if their[Engine.OLDEST] < their[Engine.NEWEST] and (fixed.hardware or other == engine):
            j = newest_conflict(own, entry[Queued.OWN], beyond, theirs, their[Engine.OLDEST], their[Engine.NEWEST])
            if j != NONE:
                if theirs[Recent.UNTIL, natural(j)] < LATE:
                    depend(entry, other, theirs[Recent.UNTIL, natural(j)], theirs[Recent.BY, natural(j)])
                else:
                    need(queues, engine, place, other, theirs[Recent.PLACE, natural(j)], other)
        if waits >> other & 1 and their[Engine.COUNT] > 0:
            if their[Engine.DONE] == their[Engine.COUNT]:
                wait_for(entry, other, their[Engine.LAST_FINISH], their[Engine.LAST_FINISHED_BY])
            else:
                need(queues, engine, place, other, (their[Engine.COUNT] - 1) & mask, SEQ + other)


@inlined
def need(queues: Tables, engine: int, place: int, other: int, their_place: int, which: int) -> None:
    """Let an instruction be told the finish of another, as its term `which`: 0 to 2 a dependence, 3 to 5 a wait."""
    entry, late = queues[natural(engine), natural(place)], queues[natural(other), natural(their_place)]
    entry[Queued.PENDING] += 1
    entry[natural(Queued.NEXT_NEEDS + which)] = late[Queued.NEEDED_BY]
    late[Queued.NEEDED_BY] = (place << ENGINE_BITS | engine) << TERM_BITS | which


@inlined
def depend(entry: Row, engine: int, finish: int, by: int) -> None:
    """Note a finish that an instruction depends on: the latest, of equals that of the first engine."""
    until = entry[Record.DEPENDS_UNTIL]
    if finish >= entry[Record.ISSUED] and (
        finish > until or (finish == until and engine < entry[Queued.DEPENDS_ENGINE])
    ):
        entry[Record.DEPENDS_UNTIL], entry[Queued.DEPENDS_ENGINE], entry[Queued.DEPENDS_BY] = finish, engine, by


@inlined
def wait_for(entry: Row, engine: int, finish: int, by: int) -> None:
    until = entry[Record.WAITS_UNTIL]
    if finish > until or (finish == until and engine < entry[Queued.WAITS_ENGINE]):
        entry[Record.WAITS_UNTIL], entry[Queued.WAITS_ENGINE], entry[Queued.WAITS_BY] = finish, engine, by


@inlined
def find_heads(fixed: Fixed, state: State, core: int, window: Matrix, records: Matrix) -> bool:
    """Find when the heads of a core's queues that were not known could start; return whether that is news to others."""
    news = False
    heads = state.heads[natural(core)]
    for engine in range(SEQ):
        total = state.totals[natural(core), natural(engine)]
        if heads[natural(engine)] < LATE or total[Engine.DONE] == total[Engine.COUNT]:
            continue
        entry = head(state, core, engine)
        if entry[Queued.PENDING] > 0:
            continue
        if entry[Record.ARRIVED] == NONE:
            settle(fixed, state, entry, total)
            write(entry, window, records)
            news |= fixed.code[natural(entry[Queued.PC]), Code.SYNC] == Sync.MEETS
        if has_token(fixed, state, entry):
            heads[natural(engine)] = max(entry[Record.ARRIVED], entry[Record.TOKEN_UNTIL])
    return news


@inlined
def head(state: State, core: int, engine: int) -> Row:
    place = state.totals[natural(core), natural(engine), Engine.DONE] & (state.queues.shape[2] - 1)
    return state.queues[natural(core), natural(engine), natural(place)]


@inlined
def earliest(fixed: Fixed, state: State) -> tuple[int, int, int]:
    """Return core, engine and start of the head that starts first; NONE where none is known."""
    best_core, best_engine, best_start, best_arrived = NONE, NONE, LATE, LATE
    for core in range(state.heads.shape[0]):
        for engine in range(SEQ):
            start = state.heads[natural(core), natural(engine)]
            if start > best_start or start == LATE:
                continue
            entry = head(state, core, engine)
            start = max(start, granted(fixed, state, entry, state.recents[natural(core), natural(engine)]))
            if start < best_start or (start == best_start and entry[Record.ARRIVED] < best_arrived):
                best_core, best_engine, best_start, best_arrived = core, engine, start, entry[Record.ARRIVED]
    return best_core, best_engine, best_start


@inlined
def settle(fixed: Fixed, state: State, entry: Row, total: Row) -> None:
    """Find when all of its own core lets the head of a queue start, and why; a barrier is arrived at then."""
    row = fixed.code[natural(entry[Queued.PC])]
    sync = row[Code.SYNC]
    issued, free = entry[Record.ISSUED], total[Engine.FREE_FROM]
    if sync in (Sync.SIGNALS, Sync.MEETS) and free != NONE and total[Engine.LAST_FINISH] >= issued:
        entry[Record.DEPENDS_UNTIL], entry[Queued.DEPENDS_BY] = (
            total[Engine.LAST_FINISH],
            total[Engine.LAST_FINISHED_BY],
        )
    arrived = max(issued, free, entry[Record.DEPENDS_UNTIL], entry[Record.WAITS_UNTIL])
    if arrived == free:
        entry[Record.WHY], entry[Record.CAUSE] = Reason.ENGINE, total[Engine.LAST]
    elif arrived == entry[Record.DEPENDS_UNTIL]:
        entry[Record.WHY], entry[Record.CAUSE] = Reason.DEPENDENCE, entry[Queued.DEPENDS_BY]
    elif arrived == entry[Record.WAITS_UNTIL]:
        entry[Record.WHY], entry[Record.CAUSE] = Reason.WAIT, entry[Queued.WAITS_BY]
    else:
        entry[Record.WHY] = Reason.ISSUE
        if entry[Record.FETCHED] != NONE and entry[Record.FETCHED] + fixed.issue_cycles == issued:
            entry[Record.WHY] = Reason.FETCH
    entry[Record.FREE], entry[Record.ARRIVED] = free, arrived
    if sync == Sync.MEETS:
        arrive(
            state.arrivals,
            fixed.users,
            state.meetings,
            entry[Record.CORE],
            row[Code.NUMBER],
            arrived,
            entry[Queued.NUMBER],
        )


@inlined
def has_token(fixed: Fixed, state: State, entry: Row) -> bool:
    """Return whether it is known when the token of a head that has arrived is there, or it needs none."""
    row = fixed.code[natural(entry[Queued.PC])]
    sync, number = row[Code.SYNC], row[Code.NUMBER]
    if sync == Sync.NOTHING or entry[Record.TOKEN_UNTIL] != NONE:
        return True
    if sync == Sync.AWAITS:
        semaphore = state.semaphores[number]
        if semaphore[Semaphore.TAKEN] == semaphore[Semaphore.GIVEN]:
            return False
        signal = state.signals[number, semaphore[Semaphore.TAKEN] % state.signals.shape[1]]
        entry[Record.TOKEN_UNTIL], entry[Record.TOKEN_BY] = (
            signal[Signal.FINISH] + fixed.token_cycles,
            signal[Signal.BY],
        )
        semaphore[Semaphore.TAKEN] += 1
    elif sync == Sync.MEETS:
        if not met(state.arrivals, fixed.users, entry[Record.CORE], number):
            return False
        meeting = state.meetings[number, state.arrivals[entry[Record.CORE], number] % 2]
        entry[Record.TOKEN_UNTIL], entry[Record.TOKEN_BY] = (
            meeting[Meeting.LAST_ARRIVAL] + fixed.token_cycles,
            meeting[Meeting.LAST_BY],
        )
    return True


@inlined
def granted(fixed: Fixed, state: State, entry: Row, own: Matrix) -> int:
    """Return when all shared resources that an instruction holds are free, NONE where nobody held them; note which."""
    resources, at = state.resources, entry[Queued.PC]
    row, below = fixed.code[natural(at)], fixed.code[natural(at + 1)]
    until, last = NONE, NONE
    for h in range(row[Code.FIRST_HELD], below[Code.FIRST_HELD]):
        resource = fixed.held[natural(h), Held.RESOURCE]
        if resources[natural(resource), Shared.FREE_AT] > until:
            until, last = resources[natural(resource), Shared.FREE_AT], resource
    if fixed.block_bytes:
        for o in range(row[Code.FIRST_OPERAND], below[Code.FIRST_OPERAND]):
            first, beyond = blocks(fixed, own, o, entry[Queued.OWN] + o - row[Code.FIRST_OPERAND])
            for block in range(first, beyond):
                if resources[natural(block), Shared.FREE_AT] > until:
                    until, last = resources[natural(block), Shared.FREE_AT], block
    entry[Record.GRANTED], entry[Record.HELD] = until, last
    return until


@inlined
def blocks(fixed: Fixed, own: Matrix, operand: int, access: int) -> tuple[int, int]:
    """Return the blocks of local memory that an access touches, as resources: the first, and behind the last."""
    row = fixed.operands[natural(operand)]
    first, memory = row[Access.FIRST_BLOCK], row[Access.MEMORY]
    if first == NONE:
        return 0, 0
    low, high = own[Recent.LOW, natural(access)] - memory, own[Recent.HIGH, natural(access)] - memory
    return first + low // fixed.block_bytes, first + (high - 1) // fixed.block_bytes + 1


@inlined
def hold(fixed: Fixed, state: State, entry: Row, own: Matrix, start: int) -> None:
    """Hold the resources of an instruction from its start; one that it needs twice, for the sum."""
    row, below = fixed.code[natural(entry[Queued.PC])], fixed.code[natural(entry[Queued.PC] + 1)]
    for h in range(row[Code.FIRST_HELD], below[Code.FIRST_HELD]):
        held = fixed.held[natural(h)]
        take(state.resources[natural(held[Held.RESOURCE])], start, held[Held.CYCLES], entry[Queued.NUMBER])
    if fixed.block_bytes:
        for o in range(row[Code.FIRST_OPERAND], below[Code.FIRST_OPERAND]):
            access = entry[Queued.OWN] + o - row[Code.FIRST_OPERAND]
            first, beyond = blocks(fixed, own, o, access)
            operand = fixed.operands[natural(o)]
            for block in range(first, beyond):
                # Of the bytes of data no more than fit between its bounds in this block.
                low = operand[Access.MEMORY] + (block - operand[Access.FIRST_BLOCK]) * fixed.block_bytes
                here = min(own[Recent.HIGH, natural(access)], low + fixed.block_bytes) - max(
                    own[Recent.LOW, natural(access)], low
                )
                cycles = int(np.ceil(min(here, operand[Access.BYTES]) / fixed.block_rate))
                take(state.resources[natural(block)], start, cycles, entry[Queued.NUMBER])


@inlined
def take(resource: Row, start: int, cycles: int, by: int) -> None:
    resource[Shared.FREE_AT] = max(resource[Shared.FREE_AT], start) + cycles
    resource[Shared.HELD_BY] = by
    resource[Shared.HELD_FOR] += cycles


@inlined
def commit(fixed: Fixed, state: State, core: int, engine: int, start: int, window: Matrix, records: Matrix) -> bool:
    """Start the head of a queue; tell whoever needs its finish. Return False, and do nothing, without room for it."""
    total, own = state.totals[natural(core), natural(engine)], state.recents[natural(core), natural(engine)]
    entry = head(state, core, engine)
    row, below = fixed.code[natural(entry[Queued.PC])], fixed.code[natural(entry[Queued.PC] + 1)]
    kept = False
    if row[Code.SYNC] == Sync.SIGNALS:
        semaphore = state.semaphores[natural(row[Code.NUMBER])]
        kept = semaphore[Semaphore.GIVEN] < semaphore[Semaphore.WAITED]
        if kept and semaphore[Semaphore.GIVEN] - semaphore[Semaphore.TAKEN] == state.signals.shape[1]:
            return False
    finish, finished_by = start + row[Code.LATENCY], entry[Queued.NUMBER]
    if entry[Record.FREE] != NONE and total[Engine.LAST_FINISH] >= finish:
        finish, finished_by = total[Engine.LAST_FINISH], total[Engine.LAST_FINISHED_BY]
    entry[Record.START], entry[Record.FINISH], entry[Record.FINISHED_BY] = start, finish, finished_by
    if entry[Record.GRANTED] != NONE:
        entry[Record.GRANTED_BY] = state.resources[natural(entry[Record.HELD]), Shared.HELD_BY]
    hold(fixed, state, entry, own, start)
    stalled = start - max(entry[Record.ISSUED], entry[Record.FREE])
    if start > max(entry[Record.ARRIVED], entry[Record.TOKEN_UNTIL]):
        total[Engine.STALL_RESOURCE] += stalled
    elif start > entry[Record.ARRIVED]:
        total[Engine.STALL_TOKEN] += stalled
    elif entry[Record.WHY] == Reason.DEPENDENCE:
        total[Engine.STALL_DEPENDENCE] += stalled
    elif entry[Record.WHY] == Reason.WAIT:
        total[Engine.STALL_WAIT] += stalled
    write(entry, window, records)

    if row[Code.SYNC] == Sync.SIGNALS:
        if kept:
            signal = state.signals[row[Code.NUMBER], semaphore[Semaphore.GIVEN] % state.signals.shape[1]]
            signal[Signal.FINISH], signal[Signal.BY] = finish, entry[Queued.NUMBER]
        semaphore[Semaphore.GIVEN] += 1
    for a in range(entry[Queued.OWN], entry[Queued.OWN] + below[Code.FIRST_OPERAND] - row[Code.FIRST_OPERAND]):
        own[Recent.UNTIL, natural(a)], own[Recent.BY, natural(a)] = finish, finished_by
    tell(state.queues[natural(core)], entry, engine)
    total[Engine.BUSY] += row[Code.OCCUPANCY]
    total[Engine.FREE_FROM] = start + row[Code.OCCUPANCY]
    total[Engine.LAST], total[Engine.LAST_FINISH], total[Engine.LAST_FINISHED_BY] = (
        entry[Queued.NUMBER],
        finish,
        finished_by,
    )
    total[Engine.DONE] += 1
    state.heads[natural(core), natural(engine)] = LATE
    sequencer = state.sequencers[natural(core)]
    sequencer[Sequencer.END] = max(sequencer[Sequencer.END], finish)
    return True


@inlined
def tell(queues: Tables, entry: Row, engine: int) -> None:
    """Tell those that need the finish of an instruction of an engine."""
    who = entry[Queued.NEEDED_BY]
    while who != NONE:
        which, its, place = who & TERM_MASK, who >> TERM_BITS & ENGINE_MASK, who >> TERM_BITS + ENGINE_BITS
        needs = queues[natural(its), natural(place)]
        needs[Queued.PENDING] -= 1
        if which < SEQ:
            depend(needs, engine, entry[Record.FINISH], entry[Record.FINISHED_BY])
        else:
            wait_for(needs, engine, entry[Record.FINISH], entry[Record.FINISHED_BY])
        who = needs[natural(Queued.NEXT_NEEDS + which)]


@inlined
def write(entry: Row, window: Matrix, records: Matrix) -> None:
    """Write what is known of an instruction, where its record lies in the window."""
    mine = window[natural(entry[Record.CORE])]
    if mine[Window.LOWEST] <= entry[Queued.NUMBER] < mine[Window.BEYOND]:
        row = records[mine[Window.ROW_OF] + entry[Queued.NUMBER] - mine[Window.LOWEST]]
        for k in range(RECORD):
            row[k] = entry[k]


@inner
def arrive(arrivals: Matrix, users: Matrix, meetings: Tables, core: int, barrier: int, cycle: int, record: int) -> None:
    """Note that a core arrives at a barrier; its k-th meeting keeps the last to arrive, of equals the least core."""
    arrivals[core, barrier] += 1
    meeting = meetings[barrier, arrivals[core, barrier] % 2]
    is_first = True
    for other in range(users.shape[0]):
        if users[other, barrier] and other != core and arrivals[other, barrier] >= arrivals[core, barrier]:
            is_first = False
    # Records of lower cores come first.
    last = meeting[Meeting.LAST_ARRIVAL]
    if is_first or cycle > last or (cycle == last and record < meeting[Meeting.LAST_BY]):
        meeting[Meeting.LAST_ARRIVAL], meeting[Meeting.LAST_BY] = cycle, record


@inner
def newest_conflict(mine: Matrix, first: int, beyond: int, theirs: Matrix, oldest: int, newest: int) -> int:
    """Return the newest access, `oldest` to before `newest`, that conflicts with one of mine; or NONE."""
    few = max(newest - FEW, oldest)
    a = conflict_between(mine, first, beyond, theirs, few, newest)
    newest = few
    while a == NONE and newest > oldest and beyond > first:
        # A block that shares no byte with any of mine is passed over by a loop without branches: 0.2 ns an access.
        begin = max(newest - BLOCK, oldest)
        lows, highs = theirs[Recent.LOW, begin:newest], theirs[Recent.HIGH, begin:newest]
        near = 0
        for m in range(first, beyond):
            low, high = mine[Recent.LOW, natural(m)], mine[Recent.HIGH, natural(m)]
            for k in range(lows.shape[0]):
                near |= (low < highs[k]) & (lows[k] < high)
        if near:
            a = conflict_between(mine, first, beyond, theirs, begin, newest)
        newest = begin
    return a


@inlined
def conflict_between(mine: Matrix, first: int, beyond: int, theirs: Matrix, begin: int, end: int) -> int:
    """Return the newest access, `begin` to before `end`, that conflicts with one of mine; or NONE."""
    for a in range(end - 1, begin - 1, -1):
        low, high, access = (
            theirs[Recent.LOW, natural(a)],
            theirs[Recent.HIGH, natural(a)],
            theirs[Recent.KIND, natural(a)],
        )
        for m in range(first, beyond):
            if (
                (mine[Recent.KIND, natural(m)] | access) & WRITE
                and mine[Recent.LOW, natural(m)] < high
                and low < mine[Recent.HIGH, natural(m)]
            ):
                return a
    return NONE


assert READ and WRITE and not READ & WRITE, "conflict is tested by bits"
