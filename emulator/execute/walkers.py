"""Walkers: a plan bound to its compiled kernels and to an arena, walked by one thread or by several that agree.

Every walker has a thread, and a copy of all that a walk changes. They start together at one instruction with one
budget, and return at the same instruction for the same reason; in between only the arena is changed, so whoever looks
then sees what a single walker would have left. The first one walks in the caller's thread, but for long instructions:
Python hears of an interrupt in no other thread than its main one, so the caller waits there while a thread walks, and
where the wait is interrupted, by whatever is raised, ends the kernels by a word in the arena that they look at.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from emulator.execute.arena import END_WORD_BYTES, SCRATCH_BYTES, enough_memory
from emulator.execute.loop import (
    KNOWN,
    NO_DISTANCE,
    SIGNATURE,
    CoreState,
    Decoded,
    Kind,
    Stop,
    Walk,
    WalkStop,
    Watch,
    walk,
)
from emulator.execute.predecode import flat, watched
from emulator.execute.prepack import Constants, pack_chains, pack_weights
from emulator.execute.spin_barrier import SPIN_BARRIER_WORDS, SpinBarrier
from emulator.jit.compile import KERNEL
from emulator.jit.jobs import Job, addresses_of, compile_all
from emulator.jit.objects import Entry, words_of
from emulator.kernels.stripes import in_stripes
from emulator.kernels.table import ALL_KERNELS, BY_STAGES, CHAINS, SHARED, kernel_jobs, key_of, link, takes_stages
from emulator.plan.deadlock import deadlock_trap
from emulator.plan.layout import shares_bytes
from emulator.plan.pace import PAUSE_SECONDS, next_budget
from emulator.plan.plan import Plan
from emulator.plan.row import Call, starts
from emulator.plan.scratch import cuts, stripe, width_of
from emulator.plan.traps import in_task, overlap_trap, wrong_index
from isa.errors import InputError, Trap, shown
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER
from isa.table import MNEMONICS

# The first instruction may be a long one.
FIRST_BUDGET, MOST_BUDGET = 1, 10**9
MOST_THREADS = 256
STRIPES = Job("stripes of wide results", in_stripes, KERNEL)
KINDS = {key: index for index, key in enumerate(ALL_KERNELS)} | {
    MNEMONICS["loop"].opcode: Kind.OPENS,
    MNEMONICS["brnz"].opcode: Kind.CLOSES,
    MNEMONICS["end"].opcode: Kind.ENDS,
    MNEMONICS["signal"].opcode: Kind.SIGNALS,
    MNEMONICS["wait"].opcode: Kind.WAITS,
    MNEMONICS["barrier"].opcode: Kind.MEETS,
}


def count_threads(threads: object) -> int:
    """Return a number of threads; raise InputError where it is none from 1 to MOST_THREADS."""
    if not (isinstance(threads, Integral) and 1 <= int(threads) <= MOST_THREADS):
        raise InputError(
            f"{shown(threads)} is no number of threads",
            f"give a whole number from 1 to {MOST_THREADS}; this computer has {os.cpu_count() or 1} processors",
        )
    return int(threads)


def run_jobs(keys: Iterable[int], stages: bool = True) -> list[Job]:
    """Return what a run needs compiled: the kernels of these keys, then the loop over instructions.

    `stages` is as `kernel_jobs` has it.
    """
    return [*kernel_jobs(keys, stages), Job("the loop over instructions", walk, SIGNATURE)]


def jobs_of(plan: Plan, threads: int) -> list[Job]:
    """Return what a run of a plan needs compiled; the stages of chains only where it seems so and they are not there.

    Where a chain turns out to need them they are compiled then. Several walkers might find that of a share of an
    instruction alone, when others have written theirs.
    """
    several = threads > 1 or BY_STAGES.is_kept
    stages = several or any(takes_stages(part.opcodes, part.rows) for part in plan.cores)
    return run_jobs(keys_of(plan), stages)


def keys_of(plan: Plan) -> list[int]:
    """Return the keys of the kernels that a plan needs, each once."""
    return sorted({key_of(instruction) for part in plan.cores for instruction in part.core.code})


class Progress:
    """Calls `report` some times a second, however often it is asked."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report, self._reported = report, 0.0

    def look(self, now: float) -> None:
        if now - self._reported >= PAUSE_SECONDS:
            self._report()
            self._reported = now


class _Given(NamedTuple):
    """What all walkers share, in the order in which the compiled walk takes it."""

    kernels: np.ndarray
    arena: np.ndarray
    rows: np.ndarray
    code: np.ndarray
    terms: np.ndarray
    watches: np.ndarray
    known: np.ndarray
    users: np.ndarray
    meeting: np.ndarray


class _Walker:
    """Walker `number` of some: what it alone changes, beside the arena. `given` is what all of them share."""

    def __init__(self, number: int, walkers: int, compiled: Entry, plan: Plan, given: _Given) -> None:
        self._compiled, self._given, self._plan = compiled, given, plan
        self.rows = given.rows.copy()
        self.rows[:, [Call.SCRATCH, Call.SCRATCH_END]] += number * SCRATCH_BYTES
        by_all = given.code[:-1, Decoded.BY_ALL] == 1
        self.rows[by_all, Call.SHARE], self.rows[by_all, Call.SHARES] = number, walkers
        self.states = np.zeros((len(plan.cores), CoreState.COUNTERS + MAX_LOOP_DEPTH + 1), np.int64)
        self.arrivals = np.zeros_like(given.users)
        self.signals = np.zeros(len(plan.program.semaphores), np.int64)
        self.progress = np.zeros(len(Walk), np.int64)
        own = self.rows, self.states, self.arrivals, self.signals, self.progress, number, walkers
        # The last two, which change, are `passing` and the budget.
        self._words = words_of([*given, *own, False, 0])
        # What a task begins with as 0: all but how many instructions are done.
        self._cleared = self.states, self.arrivals, self.signals, self.progress[: Walk.DONE], self.rows[:, Call.STATUS]
        self._done = self.progress[Walk.DONE :]
        self._places, self._tasks = self.states[:, CoreState.AT], self.states[:, CoreState.COUNTERS + TASK_COUNTER]

    def begin(self, task: int, starts: Sequence[int]) -> None:
        """Set out on a task, whatever ran before, to its end or not."""
        for left in self._cleared:
            left.fill(0)
        self._places[:], self._tasks[:] = starts, task
        self._plan.resize(self.rows, task)

    def go(self, budget: int, passing: bool) -> int:
        """Use up a budget and return why it stopped; `passing` goes on from where it stopped before."""
        self._words[-2:] = passing, budget
        try:
            return self._compiled.at(self._words)
        except MemoryError:
            why = WalkStop.NO_MEMORY
        except NotImplementedError:
            why = WalkStop.NO_STAGES
        self._given.meeting[SpinBarrier.FAILED] = 1
        return why

    def follow(self, code: np.ndarray, rows: np.ndarray) -> int | None:
        """Run code without loops on one core; return where it traps, or None."""
        given, none = self._given, np.zeros((0, 0), np.int64)
        states, progress = np.zeros_like(self.states[:1]), np.zeros_like(self.progress)
        one = given._replace(rows=rows, code=code, terms=none, watches=none, known=none, users=none)
        own = rows, states, np.zeros_like(none), np.zeros(0, np.int64), progress, 0, 1
        why: int = WalkStop.PAUSED
        while why == WalkStop.PAUSED:
            try:
                why = self._compiled(*one, *own, False, MOST_BUDGET)
            except MemoryError:
                why = WalkStop.NO_MEMORY
        return None if why == WalkStop.STUCK else int(states[0, CoreState.AT])

    @property
    def places(self) -> list[int]:
        """The next instruction of each core, counted through all cores."""
        return self._places.tolist()

    @property
    def done(self) -> int:
        """How many instructions of engines it has run, over all tasks."""
        return self._done.item()

    @property
    def turn(self) -> int:
        """The core whose turn it is."""
        return int(self.progress[Walk.TURN])

    @property
    def at(self) -> int:
        """The next instruction of that core, counted through all cores."""
        return int(self.states[self.turn, CoreState.AT])

    @property
    def counters(self) -> list[int]:
        return [int(counter) for counter in self.states[self.turn, CoreState.COUNTERS :]]


class Walkers:
    """A plan bound to its compiled kernels, to an arena and to threads, and how far its run has come."""

    def __init__(
        self,
        plan: Plan,
        arena: np.ndarray,
        constants: Constants,
        stops: Sequence[tuple[int, int]],
        threads: int,
        on_compile: Callable[[str], None] | None,
    ) -> None:
        """Take an arena that ends in scratch memory for `threads` walkers; one is enough where nothing is shared."""
        used = set(keys_of(plan))
        compile_all(jobs_of(plan, threads), on_compile)
        self._plan, self._arena, self._on_compile = plan, arena, on_compile
        self._code, terms, self._watches = flat(plan, KINDS, stops, SHARED if threads > 1 else ())
        self._ends = frozenset(np.flatnonzero(self._code[:, Decoded.KIND] == Kind.ENDS).tolist())
        self._known = np.full((len(self._watches), KNOWN), NO_DISTANCE)
        self._starts = starts(len(part.rows) for part in plan.cores)
        self._budget = FIRST_BUDGET
        rows = np.concatenate([part.rows for part in plan.cores])
        link(rows)
        scratch, word = len(arena) - threads * SCRATCH_BYTES - END_WORD_BYTES, len(arena) - END_WORD_BYTES
        self._end_word = arena[word:].view(np.int64)
        rows[self._code[:-1, Decoded.STOP] & Stop.LONG != 0, Call.END_WORD] = word
        with enough_memory(plan):
            pack_weights(constants.weights, arena, lambda core, k: rows[self._starts[core] + k], on_compile)
            pack_chains(plan, constants.chains, arena, lambda core, k: rows[self._starts[core] + k])
        rows[:, Call.SCRATCH], rows[:, Call.SCRATCH_END] = scratch, scratch + SCRATCH_BYTES
        users = np.zeros((len(plan.cores), len(plan.program.barriers)), np.int64)
        for (mnemonic, number), found in plan.program.uses.items():
            if mnemonic == "barrier":
                users[[use.core for use in found], number] = 1
        kernels = np.array(addresses_of(kernel if key in used else None for key, kernel in ALL_KERNELS.items()))
        packed = {user for weight in constants.weights for user in weight.users}
        kernels = self._with_stripes(kernels, rows, packed, on_compile)
        self._meeting = np.zeros(SPIN_BARRIER_WORDS, np.int64)
        self._rows = rows
        given = _Given(kernels, arena, rows, self._code, terms, self._watches, self._known, users, self._meeting)
        walkers = threads if self._code[:, Decoded.BY_ALL].any() else 1
        self.walkers = [_Walker(number, walkers, walk.loaded, plan, given) for number in range(walkers)]
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def _with_stripes(
        self,
        kernels: np.ndarray,
        rows: np.ndarray,
        packed: Collection[tuple[int, int]],
        on_compile: Callable[[str], None] | None,
    ) -> np.ndarray:
        """Have instructions with too wide a result computed in stripes; return the kernels, with the one that does."""
        jobs = set()
        for part, start in zip(self._plan.cores, self._starts, strict=True):
            for k, instruction in enumerate(part.core.code):
                width = stripe(instruction, (part.number, k) in packed)
                if width < width_of(instruction):
                    row, code = rows[start + k], self._code[start + k]
                    row[[Call.STRIPE, Call.CUT, Call.INNER]] = width, cuts(instruction), kernels[code[Decoded.KIND]]
                    code[Decoded.KIND] = len(kernels)
                    # Of a chain that lacks its stages some stripes, which may be in place, would have been written.
                    jobs |= {STRIPES, BY_STAGES} if instruction.opcode in CHAINS else {STRIPES}
        if not jobs:
            return kernels
        compile_all(jobs, on_compile)
        link(rows)
        return np.append(kernels, addresses_of([in_stripes]))

    def close(self) -> None:
        """End the threads."""
        if self._pool and self._process == os.getpid():
            self._pool.shutdown()

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads of this process, started where they are first needed; a fork has none of its parent's."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = ThreadPoolExecutor(len(self.walkers), "ratel walker"), os.getpid()
        return self._pool

    def compute(self, task: int, on_stop: Callable[[], None], progress: Progress | None) -> None:
        """Run the code of one task to its end on every core; `on_stop` is called at each stop."""
        self._meeting.fill(0)
        self._end_word.fill(0)
        for walker in self.walkers:
            walker.begin(task, self._starts)
        why: int = WalkStop.PAUSED
        while why != WalkStop.STUCK:
            began = time.perf_counter()
            passing = why == WalkStop.STOPPED
            takes_long = passing and bool(self._code[self.walkers[0].at, Decoded.STOP] & Stop.LONG)
            why = self.go(1 if takes_long else self._budget, passing, apart=takes_long)
            now = time.perf_counter()
            if why == WalkStop.STOPPED:
                on_stop()
            elif why == WalkStop.MAY_OVERLAP:
                self._decide()
            elif why == WalkStop.NO_STAGES:
                self._fetch_stages()
            elif why == WalkStop.PAUSED and not takes_long:
                self._budget = next_budget(self._budget, now - began, MOST_BUDGET)
            if progress:
                progress.look(now)
        self._check_ended()

    def follow(self, at: np.ndarray, rows: np.ndarray) -> int | None:
        """Run single executions one after the other, in one thread; return the place of the one that traps, or None.

        at [n] are their instructions, counted through all cores; rows [n, ROW] those of the plan, with the addresses of
        each. What a kernel found wrong is left in its STATUS.
        """
        code = np.concatenate([self._code[at], self._code[-1:]])
        code[:, [Decoded.STOP, Decoded.FIRST_TERM, Decoded.FIRST_WATCH, Decoded.BY_ALL]] = 0
        code[-1, Decoded.KIND] = Kind.ENDS
        self._meeting[...] = self._end_word[...] = 0
        if rows[:, Call.END_WORD].any():
            pending = [self._threads().submit(self.walkers[0].follow, code, rows)]
            try:
                return pending[0].result()
            except BaseException:
                self._end(pending)
                raise
        return self.walkers[0].follow(code, rows)

    def _fetch_stages(self) -> None:
        """Compile the stages of chains, and have them where they were missed."""
        compile_all([BY_STAGES], self._on_compile)
        self._meeting.fill(0)
        for rows in (self._rows, *(walker.rows for walker in self.walkers)):
            link(rows)

    def given_rows(self) -> np.ndarray:
        """Return the rows of all cores, as kernels take them, whatever these compute: with counters 0, and unshared."""
        if not CHAINS.keys().isdisjoint(self._plan.opcodes):
            self._fetch_stages()
        return self._rows.copy()

    def go(self, budget: int, passing: bool, apart: bool = False) -> int:
        """Let all walkers use up a budget and return why they stopped; raise Trap where one has failed.

        Where what they walk takes long, the first one does so `apart` from the caller's thread, too.
        """
        pending: list[Future[int]] = []
        others = self.walkers if apart else self.walkers[1:]
        first = self.walkers[0]
        before = (first.at, self.done) if apart else None
        try:
            for walker in others:
                pending.append(self._threads().submit(walker.go, budget, passing))
            own = [] if apart else [first.go(budget, passing)]
            whys = own + [other.result() for other in pending]
        except BaseException as error:
            self._end(pending)
            if before:
                # It counts itself as done, and is not.
                first.states[first.turn, CoreState.AT], first.progress[Walk.DONE] = before
            if isinstance(error, RuntimeError) and len(pending) < len(others):
                what = f"this computer cannot start {len(others)} threads"
                raise InputError(what, "run with fewer") from error
            raise
        for walker, why in zip(self.walkers, whys, strict=True):
            if why in (WalkStop.TRAPPED, WalkStop.NO_MEMORY):
                raise self._trap(walker, why)
        if WalkStop.NO_STAGES in whys:
            return WalkStop.NO_STAGES
        assert WalkStop.LEFT not in whys, "a walker left a meeting, and none has failed"
        return whys[0]

    def _end(self, pending: Iterable[Future[Any]]) -> None:
        """End what walkers do, wherever they are: one that waits for another would wait for ever."""
        self._meeting[SpinBarrier.FAILED] = self._end_word[0] = 1
        wait(pending)

    def _trap(self, walker: _Walker, why: int) -> Trap:
        """Return what is wrong with the present instruction of a walker."""
        core, at = walker.turn, walker.at - self._starts[walker.turn]
        part = self._plan.cores[core]
        if why == WalkStop.TRAPPED:
            place = int(walker.rows[walker.at, Call.STATUS]) - 1
            return wrong_index(self._plan, core, at, place, walker.counters, self._arena)
        line = part.line(at)
        return Trap(
            f"{line.file}:{line.number}: {part.core.code[at].row.mnemonic}: this computer cannot give the memory to "
            f"rearrange the instruction's tensors; the program holds {self._plan.arena_bytes} bytes",
            "split the instruction",
            core=core,
            instruction=at,
            line=line.number,
        )

    def _check_ended(self) -> None:
        """Raise Trap if the cores that cannot go on have not all ended."""
        if not self._ends.issuperset(self.walkers[0].places):
            raise deadlock_trap(self._plan, self.places)

    def _decide(self) -> None:
        """Raise Trap if the next instruction's result overlaps what it reads; else keep in mind that it does not.

        Whether two tensors overlap depends on their distance only.
        """
        (core, k), counters = self.at, self.counters
        part = self._plan.cores[core]
        instruction = self._plan.program.at(counters[TASK_COUNTER]).cores[core].code[k]
        for w, pair in enumerate(watched(part, k), self._code[self._starts[core] + k, Decoded.FIRST_WATCH]):
            out, operand = (instruction.operands[slot] for slot in pair)
            assert out is not None and operand is not None
            to, address = out.address_at(counters), operand.address_at(counters)
            if shares_bytes(instruction, pair, to, address):
                raise overlap_trap(core, part.core, k, pair, to, in_task(self._plan, counters))
            if self._watches[w, Watch.ABOVE] < address - to < self._watches[w, Watch.BELOW]:
                self._known[w] = [address - to, *self._known[w, :-1]]

    @property
    def places(self) -> list[int]:
        """The next instruction of each core."""
        return [at - start for at, start in zip(self.walkers[0].places, self._starts, strict=True)]

    @property
    def at(self) -> tuple[int, int]:
        """The core whose turn it is, and the index of its next instruction."""
        first = self.walkers[0]
        return first.turn, first.at - self._starts[first.turn]

    @property
    def counters(self) -> list[int]:
        return self.walkers[0].counters

    @property
    def done(self) -> int:
        return self.walkers[0].done
