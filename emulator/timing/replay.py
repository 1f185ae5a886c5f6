"""Clock: a plan's schedule run once with nothing kept but a few states, and run again from those for its records.

States are kept at some steps of the run, a bounded number of them. What happened between two is found by running again
from the first; where that is long, with states kept in between. So memory does not grow with the length of the run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emulator.plan.deadlock import deadlock_trap
from emulator.plan.pace import PAUSE_SECONDS, next_budget
from emulator.plan.plan import Plan
from emulator.plan.row import SEQ, starts
from emulator.plan.traps import standing
from emulator.timing.columns import (
    ENTRY,
    LATE,
    NONE,
    ClockStop,
    Engine,
    Fetch,
    Meeting,
    Queued,
    Recent,
    Record,
    Resource,
    Room,
    Semaphore,
    Sequencer,
    Shared,
    Signal,
    Window,
)
from emulator.timing.program_order import goes_on
from emulator.timing.schedule import Fixed, State, walk
from isa.encoding import WORD_BYTES
from isa.errors import Trap
from isa.memory import HELP, shortage
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER
from isa.table import MAX_OPERANDS

# Steps of the run before its first pause, and before any; and between states kept at most, where records are wanted.
FIRST_STEPS, MOST_STEPS, MOST_REPLAYED = 10_000, 10_000_000, 200_000
# States kept of a run: at this many every other is given up.
MOST_STATES = 32
# Accesses of one engine that there is room for at first, and signals of one semaphore.
FIRST_ROOM, FIRST_SIGNALS = 1032, 16


@dataclass(frozen=True, eq=False)
class Clock:
    """A plan made ready to be scheduled: what does not change, and the number of each core's first record."""

    fixed: Fixed
    first: np.ndarray

    def begin(self, plan: Plan, task: int) -> State:
        """Return the state before a task's first instruction."""
        cores, barriers, semaphores = len(plan.cores), len(plan.program.barriers), len(plan.program.semaphores)
        chip = plan.chip
        sequencers = np.zeros((cores, Sequencer.COUNTERS + MAX_LOOP_DEPTH + 1), np.int64)
        sequencers[:, Sequencer.AT] = sequencers[:, Sequencer.BEGIN] = starts(len(part.rows) for part in plan.cores)
        sequencers[:, Sequencer.COUNTERS + TASK_COUNTER] = task
        sequencers[:, Sequencer.NEXT] = self.first
        totals = np.zeros((cores, SEQ, len(Engine)), np.int64)
        totals[:, :, Engine.FREE_FROM] = NONE
        resources = np.zeros(
            (len(Resource) + chip["chip.cores"] * (2 + chip["memory.lm_blocks"]), len(Shared)), np.int64
        )
        resources[:, [Shared.FREE_AT, Shared.HELD_BY]] = NONE
        fetches = np.zeros((cores, len(Fetch)), np.int64)
        fetches[:, [Fetch.LAST, Fetch.LOOP, Fetch.KEPT]] = NONE
        fetches[:, Fetch.UP_TO] = sequencers[:, Sequencer.BEGIN]
        # Each that makes room leaves a word behind at least.
        rooms = chip["memory.ib_bytes"] // WORD_BYTES + 4 if any(part.fetched.any() for part in plan.cores) else 1
        counts = np.zeros((semaphores, len(Semaphore)), np.int64)
        for (mnemonic, number), found in plan.program.uses.items():
            if mnemonic == "wait":
                counts[number, Semaphore.WAITED] = sum(use.times for use in found)
        return State(
            sequencers=sequencers,
            queues=np.full((cores, SEQ, _places(chip["seq.queue_depth"]), ENTRY), NONE, np.int64),
            heads=np.full((cores, SEQ), LATE, np.int64),
            recents=np.zeros((cores, SEQ, len(Recent), FIRST_ROOM), np.int64),
            totals=totals,
            resources=resources,
            semaphores=counts,
            signals=np.zeros((semaphores, FIRST_SIGNALS, len(Signal)), np.int64),
            arrivals=np.zeros((cores, barriers), np.int64),
            meetings=np.zeros((barriers, 2, len(Meeting)), np.int64),
            fetches=fetches,
            rooms=np.zeros((cores, rooms, len(Room)), np.int64),
            steps=np.zeros(1, np.int64),
        )

    def run(self, state: State, steps: int, window: np.ndarray, records: np.ndarray) -> tuple[State, ClockStop]:
        """Take some steps; return the state after them, which may be a new one, and why they ended."""
        why, last = ClockStop.FULL, state.steps[0] + steps
        while why == ClockStop.FULL:
            why = walk(self.fixed, state, window, records, last - state.steps[0])
            if why == ClockStop.FULL:
                state = _with_room(state)
        return state, why

    def no_window(self) -> np.ndarray:
        window = np.zeros((len(self.first), len(Window)), np.int64)
        window[:, Window.FROM] = self.first
        return window

    def replay(self, start: State, end: State) -> tuple[np.ndarray, np.ndarray]:
        """Return a window with the records of all that happened to any instruction between two states."""
        window = self.no_window()
        waiting = [
            [
                queue[total[Engine.DONE] % len(queue), Queued.NUMBER]
                for queue, total in zip(*of_core, strict=True)
                if total[Engine.DONE] < total[Engine.COUNT]
            ]
            for of_core in zip(start.queues, start.totals, strict=True)
        ]
        following = start.sequencers[:, Sequencer.NEXT]
        window[:, Window.LOWEST] = [min([n, *those]) for n, those in zip(following, waiting, strict=True)]
        window[:, Window.BEYOND] = end.sequencers[:, Sequencer.NEXT]
        lengths = window[:, Window.BEYOND] - window[:, Window.LOWEST]
        window[:, Window.ROW_OF] = starts(lengths.tolist())
        records = np.full((int(lengths.sum()), len(Record)), NONE, np.int64)
        self.run(_kept(start), int(end.steps[0] - start.steps[0]), window, records)
        return window, records

    def segments(self, states: Sequence[State]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the records between states, from the last two to the first two, in pieces that are not too long."""
        for start, end in zip(states[-2::-1], states[:0:-1], strict=True):
            steps = int(end.steps[0] - start.steps[0])
            if steps <= MOST_REPLAYED:
                yield self.replay(start, end)
                continue
            each = max(MOST_REPLAYED, -(-steps // MOST_STATES))
            between, state = [start], _kept(start)
            while state.steps[0] + each < end.steps[0]:
                state, _ = self.run(state, each, self.no_window(), np.empty((0, len(Record)), np.int64))
                between.append(_kept(state))
            yield from self.segments([*between, end])


def clock_of(plan: Plan, flat: tuple[np.ndarray, ...]) -> Clock:
    """Return the clock of a plan, whose code and costs are flat."""
    chip, (code, operands, terms, held) = plan.chip, flat
    users = np.zeros((len(plan.cores), len(plan.program.barriers)), np.int64)
    for (mnemonic, k), found in plan.program.uses.items():
        if mnemonic == "barrier":
            users[[use.core for use in found], k] = 1
    fetches = any(part.fetched.any() for part in plan.cores)
    fixed = Fixed(
        code,
        operands,
        terms,
        held,
        users,
        chip["seq.queue_depth"],
        chip["seq.issue_cycles"],
        chip["seq.loop_cycles"],
        chip["sync.latency"],
        -(-chip["memory.lm_bytes"] // chip["memory.lm_blocks"]) if chip["memory.lm_blocks"] else 0,
        float(chip["memory.lm_block_bytes_per_cycle"]) if chip["memory.lm_blocks"] else 0.0,
        chip["memory.ib_bytes"] if fetches else 0,
        float(chip["seq.fetch_bytes_per_cycle"]) if fetches else 0.0,
        chip.latency("dev") if fetches else 0,
        plan.program.order == "hardware",
    )
    return Clock(fixed, np.array(starts(part.core.executions for part in plan.cores), np.int64))


def run(
    plan: Plan,
    clock: Clock,
    task: int,
    total: int,
    on_progress: Callable[[int, int], None] | None,
    max_cycles: int | None = None,
) -> list[State]:
    """Return states of the run of a task, the first before and the last behind it.

    `on_progress` is called as `schedule` says. Raises Trap where no core can go on, and soon after an instruction is
    issued later than `max_cycles`. An interrupt is told how far it came.
    """
    state = clock.begin(plan, task)
    if plan.program.semaphores or plan.program.barriers:
        _check_deadlock(plan, clock, state)
    states, every = [_kept(state)], 0
    steps, why, reported = FIRST_STEPS, ClockStop.PAUSED, time.perf_counter()
    window, records = clock.no_window(), np.empty((0, len(Record)), np.int64)
    most = MOST_STEPS if max_cycles is None else FIRST_STEPS
    try:
        while why != ClockStop.STUCK:
            began = time.perf_counter()
            state, why = clock.run(state, steps, window, records)
            now = time.perf_counter()
            if max_cycles is not None and int(state.sequencers[:, Sequencer.CLOCK].max()) > max_cycles:
                so_far = _so_far(plan, clock, state, total)
                raise Trap(f"{plan.program.name}: more than {max_cycles:,} cycles: {so_far}")
            if why == ClockStop.PAUSED:
                steps = next_budget(steps, now - began, most)
                if state.steps[0] - states[-1].steps[0] >= every:
                    states.append(_kept(state))
                if len(states) == MOST_STATES:
                    every = 2 * int(state.steps[0]) // MOST_STATES
                    states = states[::2]
                if on_progress and now - reported >= PAUSE_SECONDS:
                    on_progress(int((state.sequencers[:, Sequencer.NEXT] - clock.first).sum()), total)
                    reported = now
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(_so_far(plan, clock, state, total))
        raise
    done, count = state.totals[:, :, Engine.DONE], state.totals[:, :, Engine.COUNT]
    assert (done == count).all(), "what meets in program order goes on"
    return [*states, state]


def _so_far(plan: Plan, clock: Clock, state: State, total: int) -> str:
    """Return how far a schedule is: cycles, instructions, and where each core stands."""
    issued = int((state.sequencers[:, Sequencer.NEXT] - clock.first).sum())
    cycles = int(state.sequencers[:, Sequencer.CLOCK].max())
    places = (state.sequencers[:, Sequencer.AT] - state.sequencers[:, Sequencer.BEGIN]).tolist()
    return f"at cycle {cycles:,}, {issued:,} of {total:,} instructions are issued; {standing(plan, places)}"


def _places(depth: int) -> int:
    """Return the least power of two that is no less than the depth of a queue."""
    return 1 << (depth - 1).bit_length()


def _check_deadlock(plan: Plan, clock: Clock, state: State) -> None:
    sequencers, arrivals = state.sequencers.copy(), state.arrivals.copy()
    # Those that are no semaphores count nothing.
    signals = np.zeros(1 + len(plan.program.semaphores) + len(plan.program.barriers), np.int64)
    while goes_on(clock.fixed.code, sequencers, clock.fixed.users, arrivals, signals, MOST_STEPS) == ClockStop.PAUSED:
        pass
    places = (sequencers[:, Sequencer.AT] - sequencers[:, Sequencer.BEGIN]).tolist()
    if any(at < len(part.rows) - 1 for at, part in zip(places, plan.cores, strict=True)):
        raise deadlock_trap(plan, places)


def _kept(state: State) -> State:
    """Return a copy of a state, with no more room for accesses than it needs."""
    live = int((state.totals[:, :, Engine.NEWEST] - state.totals[:, :, Engine.OLDEST]).max())
    copy = State(*(state.recents if field is state.recents else field.copy() for field in state))
    return copy._replace(recents=_moved(copy, live + MAX_OPERANDS))


def _with_room(state: State) -> State:
    """Return a state with room for more accesses and signals."""
    live = int((state.totals[:, :, Engine.NEWEST] - state.totals[:, :, Engine.OLDEST]).max())
    recents = _moved(state, max(FIRST_ROOM, state.recents.shape[3], 2 * (live + MAX_OPERANDS)))
    signals, room = state.signals, state.signals.shape[1]
    held = np.minimum(state.semaphores[:, Semaphore.GIVEN], state.semaphores[:, Semaphore.WAITED])
    if (held - state.semaphores[:, Semaphore.TAKEN] == room).any():
        # Twice the room, in each of the states that may be kept.
        short = shortage({"signals that are waited for much later": (MOST_STATES + 1) * 2 * signals.nbytes})
        if short:
            raise Trap(f"the schedule: {short}", f"wait for signals sooner, {HELP}")
        signals = np.zeros((len(signals), 2 * room, len(Signal)), np.int64)
        for k, (given, taken) in enumerate(zip(held, state.semaphores[:, Semaphore.TAKEN], strict=True)):
            those = np.arange(taken, given)
            signals[k, those % (2 * room)] = state.signals[k, those % room]
    return state._replace(recents=recents, signals=signals)


def _moved(state: State, room: int) -> np.ndarray:
    """Return the recent accesses that may still matter, moved to the front of so much room."""
    totals = state.totals
    recents = np.zeros((*state.recents.shape[:3], room), np.int64)
    live = totals[:, :, Engine.NEWEST] - totals[:, :, Engine.OLDEST]
    for core, engine in np.ndindex(live.shape):
        total = totals[core, engine]
        oldest, newest = total[Engine.OLDEST], total[Engine.NEWEST]
        recents[core, engine, :, : live[core, engine]] = state.recents[core, engine, :, oldest:newest]
        state.queues[core, engine, :, Queued.OWN] -= oldest
    totals[:, :, Engine.OLDEST], totals[:, :, Engine.NEWEST] = 0, live
    return recents
