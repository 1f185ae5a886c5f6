"""Schedule: what the schedule of one task and that of a stream of them have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emulator.plan.plan import Plan
from emulator.timing.costs import Cost

TRANSFER_IN, TRANSFER_OUT = "transfer in", "transfer out"


@dataclass(frozen=True)
class Step:
    """A piece of the critical path: cycles that the run would be shorter without, for this reason.

    `core` and `index` say which instruction it is (-1 for the task's transfers).
    `reason`: "engine busy": it occupies its engine, which the next needs; "dependence" and "wait": the next needs its
    result, or waits for its engine; "resource": it holds the shared `resource` that the next needs; "token": the next,
    on another queue, waits for its signal, or for its arrival at a barrier; "last": it finishes last; "issue": the
    sequencer issues it; "fetch": its code comes from device memory; or a transfer.
    """

    core: int
    index: int
    engine: str
    reason: str
    cycles: int
    resource: str = ""


@dataclass(frozen=True)
class PathEntry:
    """Steps of the critical path that share core, source line, instruction, engine and reason.

    For the task's transfers `core` is None and `line` 0; `limit` is what decides the instruction's time (see costs),
    or where the reason is "resource", which one it held.
    """

    core: int | None
    file: str
    line: int
    instruction: str
    engine: str
    reason: str
    limit: str
    count: int
    cycles: int


@dataclass(frozen=True)
class EngineTime:
    """Cycles of one engine of a core, or of a link (core None): busy + stall + idle is the makespan.

    stall: an instruction had been issued and the engine was free, but it had to wait, for the reasons in `stalls`.
    """

    core: int | None
    busy: int
    stall: int
    idle: int
    stalls: dict[str, int]
    instructions: int


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(ABC):
    """When everything happens, in one task (Timeline) or a stream of several (Stream).

    `costs` are those of each core's instructions, by index; `instructions` counts what is executed, loops included;
    `setup` is the cycles that loading weights and constants takes before the first task, not in `cycles`.
    """

    plan: Plan
    costs: tuple[dict[int, Cost], ...]
    instructions: int
    setup: int

    @property
    @abstractmethod
    def tasks(self) -> int:
        """How many tasks it is of."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Cycles from the first byte in to the last byte out: the makespan."""

    @property
    def seconds(self) -> float:
        """The cycles at the chip's clock."""
        return self.cycles / self.plan.chip.cycles_per_second

    @property
    @abstractmethod
    def engines(self) -> Mapping[str, EngineTime]:
        """Times of each engine, by name as in "core0.te"."""

    @cached_property
    def critical_path(self) -> list[PathEntry]:
        """The critical path by line, instruction, engine and reason, most cycles first; they add up to `cycles`."""
        return self.entries(self.path_steps())

    @abstractmethod
    def path_steps(self) -> list[tuple[Step, int]]:
        """Return the critical path, steps that are alike as one: with their cycles in all, and how many they are."""

    def __repr__(self) -> str:
        chip, tasks = self.plan.chip.label, f"{self.tasks} tasks, " if self.tasks > 1 else ""
        return f"<{type(self).__name__} of {self.plan.program.name!r} on {chip}: {tasks}{self.cycles:,} cycles>"

    def summary(self, path: bool = True) -> dict[str, Any]:
        """Return what `time --json` prints, ready for json; without `path` it leaves out the critical path."""
        return {
            "chip": self.plan.chip.name,
            "changed": self.plan.chip.changed,
            "tasks": self.tasks,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "setup": self.setup,
            "instructions": self.instructions,
            "engines": {
                name: {key: value for key, value in vars(times).items() if key != "stalls"}
                for name, times in self.engines.items()
            },
            **({"critical_path": [vars(entry) for entry in self.critical_path]} if path else {}),
        }

    def entries(self, steps: Iterable[tuple[Step, int]]) -> list[PathEntry]:
        """Return steps, with their times, by line, instruction, engine and reason, most cycles first."""
        merged: dict[tuple[int | None, str, int, str, str, str, str], tuple[int, int]] = {}
        for step, count in steps:
            name = self._name(step)
            count_before, cycles_before = merged.get(name, (0, 0))
            merged[name] = (count_before + count, cycles_before + step.cycles)
        entries = [PathEntry(*name, count, cycles) for name, (count, cycles) in merged.items()]
        return sorted(entries, key=lambda e: (-e.cycles, e.line, e.reason, e.core or 0))

    def _name(self, step: Step) -> tuple[int | None, str, int, str, str, str, str]:
        """Return core, file, line, instruction, engine, reason and limit of a step."""
        if step.index < 0:
            return None, "", 0, "input" if step.reason == TRANSFER_IN else "output", step.engine, step.reason, "PCIe"
        part = self.plan.cores[step.core]
        line, mnemonic = part.line(step.index), part.core.code[step.index].row.mnemonic
        limit = "sequencer" if step.engine == "seq" else self.costs[step.core][step.index].limit
        if step.resource:
            limit = step.resource
        return step.core, line.file, line.number, mnemonic, step.engine, step.reason, limit
