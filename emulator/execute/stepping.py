"""Stepping: run the tasks of a session an instruction at a time, in a given order, and say what runs.

The seam for whoever wants to look at a run from inside: an Observer is told before and after each instruction, with
all bytes as they are then. emulator/execute/saturation.py is one; emulator/execute/interleave.py gives the order.
"""

from collections.abc import Callable, Sequence

import numpy as np

from emulator.execute.session import Session
from emulator.execute.walkers import Progress
from emulator.plan.plan import Plan
from emulator.plan.row import FIELDS, Call, Field, starts
from emulator.plan.traps import wrong_index
from isa.diagnostic import Place
from isa.errors import Trap
from isa.operand import MAX_LOOP_DEPTH


class Observer:
    """Told of each execution of an instruction, a signal, a wait and an arrival at a barrier, too; does nothing itself.

    `memory` [arena_bytes] uint8 holds all memories, each from its base in the plan.
    """

    def before(self, executed: Place, memory: np.ndarray) -> None:
        """Take notice that an instruction runs next."""

    def after(self, executed: Place, memory: np.ndarray) -> None:
        """Take notice that an instruction has run; what it has written is there."""


class Stepping:
    """Runs tasks of a session, a Runner: `order` gives the executions of each task, in the order in which they run."""

    def __init__(
        self, plan: Plan, session: Session, order: Callable[[int], Sequence[Place]], observers: Sequence[Observer] = ()
    ) -> None:
        self._plan, self._walkers, self._memory = plan, session.walkers, session.memory
        self._order, self._observers = order, observers

    def compute(self, task: int, on_stop: Callable[[], None], progress: Progress | None) -> None:
        """Run one task; no dump is taken. Raises Trap as a run does."""
        plan, order = self._plan, self._order(task)
        begins = starts(len(part.rows) for part in plan.cores)
        at = np.array([begins[executed.core] + executed.index for executed in order], np.int64)
        rows = _with_addresses(plan, self._walkers.given_rows()[at], at, order)
        # What orders instructions has been done by giving the order.
        computes = [plan.cores[each.core].core.code[each.index].row.engine != "sync" for each in order]
        if not self._observers:
            # All at once where nobody looks: a call takes longer than a small instruction.
            self._follow([each for each, one in zip(order, computes, strict=True) if one], at[computes], rows[computes])
            return
        for k, executed in enumerate(order):
            for observer in self._observers:
                observer.before(executed, self._memory)
            if computes[k]:
                self._follow([executed], at[k : k + 1], rows[k : k + 1])
            for observer in self._observers:
                observer.after(executed, self._memory)

    def _follow(self, order: Sequence[Place], at: np.ndarray, rows: np.ndarray) -> None:
        """Run executions in their order, on rows with their addresses."""
        place = self._walkers.follow(at, rows)
        if place is not None:
            raise self._trap(order[place], int(rows[place, Call.STATUS]))

    def _trap(self, executed: Place, status: int) -> Trap:
        if status:
            return wrong_index(self._plan, executed.core, executed.index, status - 1, executed.counters, self._memory)
        where = self._plan.cores[executed.core].where(executed.index)
        return Trap(f"{where}: this computer cannot give the memory for it")


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
