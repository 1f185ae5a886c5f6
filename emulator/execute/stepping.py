"""Stepping: run the tasks of a session an instruction at a time, in a given order, and say what runs.

The seam for whoever wants to look at a run from inside: an Observer is told before and after each instruction, with
all bytes as they are then. emulator/execute/saturation.py is one; emulator/execute/interleave.py gives the order.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from emulator.execute.session import Session
from emulator.execute.walkers import Progress
from emulator.plan.plan import Plan
from emulator.plan.row import FIELDS, Call, Field, starts
from emulator.plan.traps import wrong_index
from isa.diagnostic import Place
from isa.errors import InputError, Trap, shown
from isa.operand import MAX_LOOP_DEPTH

# Instructions, at most, between looks at how far a task is.
MOST_TOGETHER = 1000


class Observer:
    """Told of each execution of an instruction, a signal, a wait and an arrival at a barrier, too; does nothing itself.

    `memory` [arena_bytes] uint8 holds all memories, each from its base in the plan.
    """

    def before(self, executed: Place, memory: np.ndarray) -> None:
        """Take notice that an instruction runs next."""

    def after(self, executed: Place, memory: np.ndarray) -> None:
        """Take notice that an instruction has run; what it has written is there."""


class Stepping:
    """Runs tasks of a session, a Runner: `order` gives the executions of each task, in the order in which they run.

    `done` is how many it has run, over all tasks.
    """

    def __init__(
        self, session: Session, order: Callable[[int], Sequence[Place]], observers: Sequence[Observer] = ()
    ) -> None:
        self._plan, self._walkers, self._memory = session.plan, session.walkers, session.memory
        self._order, self._observers = order, observers
        self._ahead: Sequence[Place] = ()
        self._at = self.done = 0

    @property
    def places(self) -> list[int]:
        """The next instruction of each core in the order; its end where none is left."""
        places = [len(part.core.code) - 1 for part in self._plan.cores]
        for executed in reversed(self._ahead[self._at :]):
            places[executed.core] = executed.index
        return places

    def compute(self, task: int, on_stop: Callable[[], None], progress: Progress | None) -> None:
        """Run one task; no dump is taken.

        Raises Trap as a run does, InputError for what is no execution of the plan.
        """
        plan = self._plan
        # An order may take long to draw; meanwhile no core has begun.
        self._ahead, self._at = [Place(part.number, 0) for part in plan.cores], 0
        order = self._order(task)
        _check_order(plan, order)
        self._ahead = order
        begins = starts(len(part.rows) for part in plan.cores)
        at = np.array([begins[executed.core] + executed.index for executed in order], np.int64)
        given = self._walkers.given_rows()
        plan.resize(given, task)
        rows = _with_addresses(plan, given[at], at, order)
        # What orders instructions has been done by giving the order.
        computes = np.array([plan.cores[each.core].core.code[each.index].row.engine != "sync" for each in order], bool)
        # Many at once where nobody looks: a call takes longer than a small instruction.
        together = 1 if self._observers else MOST_TOGETHER
        for first in range(0, len(order), together):
            for observer in self._observers:
                observer.before(order[first], self._memory)
            self._follow(order, at, rows, first + np.flatnonzero(computes[first : first + together]))
            ran = min(together, len(order) - first)
            self._at += ran
            self.done += ran
            for observer in self._observers:
                observer.after(order[first], self._memory)
            if progress:
                progress.look(time.perf_counter())

    def _follow(self, order: Sequence[Place], at: np.ndarray, rows: np.ndarray, some: np.ndarray) -> None:
        """Run some of the executions of an order, on rows with their addresses."""
        rows = rows[some]
        place = self._walkers.follow(at[some], rows) if some.size else None
        if place is not None:
            raise self._trap(order[some[place]], int(rows[place, Call.STATUS]))

    def _trap(self, executed: Place, status: int) -> Trap:
        if status:
            return wrong_index(self._plan, executed.core, executed.index, status - 1, executed.counters, self._memory)
        part = self._plan.cores[executed.core]
        return Trap(
            f"{part.where(executed.index)}: this computer cannot give the memory for it",
            core=executed.core,
            instruction=executed.index,
            line=part.line(executed.index).number,
        )


def _check_order(plan: Plan, order: Sequence[Place]) -> None:
    """Raise InputError where something is no execution of a plan: on its addresses a kernel could leave its memory."""
    trips = [part.core.trips(plan.tasks) for part in plan.cores]
    for executed in order:
        core, index, counters = executed.core, executed.index, executed.counters
        if not (0 <= core < len(trips) and 0 <= index < len(trips[core])):
            raise InputError(
                f"the order has instruction {index} of core {core}, which the program has not",
                "count cores, and the instructions of each core's code, from 0",
            )
        if plan.cores[core].core.code[index].row.engine == "seq":
            raise InputError(
                f"{plan.cores[core].where(index)}: the order has an instruction of the sequencer",
                "leave it out, and give what is in a loop once for each iteration, with its counters",
            )
        counts = trips[core][index]
        if len(counters) != len(counts) or not all(0 <= at < n for at, n in zip(counters, counts, strict=True)):
            raise InputError(
                f"{plan.cores[core].where(index)}: the order has it at counters {shown(counters)}",
                f"give {len(counts)} counters, the task first, then loops from the outermost on, 0 where none is open; "
                f"here they are below {counts}",
            )


def _with_addresses(plan: Plan, rows: np.ndarray, at: np.ndarray, order: Sequence[Place]) -> np.ndarray:
    """Return the rows of executions, in their order, with the addresses that their counters give."""
    counters = np.array([executed.counters for executed in order], np.int64).reshape(-1, MAX_LOOP_DEPTH + 1)
    terms = np.concatenate([part.terms for part in plan.cores])[at]
    values = np.take_along_axis(counters[:, None, None, :], terms[:, :, :, :1], axis=3)[..., 0]
    moduli = terms[..., 1]
    values = np.where(moduli > 0, values % np.maximum(moduli, 1), values)
    slots = np.arange(terms.shape[1]) * FIELDS + Field.ADDRESS
    rows[:, slots] += (values * terms[..., 2]).sum(axis=2)
    return rows
