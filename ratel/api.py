"""The Python API: what `import ratel` offers, apart from types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.chip import Chip, load_chip
from isa.errors import InputError
from isa.program import Program

if TYPE_CHECKING:
    import numpy as np

    from emulator.checks import CheckResult
    from emulator.execute import Dump
    from emulator.plan import Plan
    from emulator.timeline import Timeline


def assemble(text: str, path: str | Path | None = None, chip: str | Chip | None = None) -> Program:
    """Assemble the text of a program.

    `path` is where the text came from: data files and includes are looked for beside it (in the current folder where
    it is None), and messages name it. `chip` takes the place of the text's own `.chip`.
    Raises AssemblyError with all that is wrong in `.diagnostics`.
    """
    from assembler.assemble import assemble

    return assemble(text, path, load_chip(chip) if isinstance(chip, str) else chip)


def disassemble(program: Program) -> str:
    """Return text that assembles to a program equal in all but its source lines; data stands inline."""
    from assembler.disassemble import disassemble

    return disassemble(program)


def format(text: str, path: str | Path | None = None) -> str:
    """Return the text of a program in its standard form; raise AssemblyError, naming `path`, where it has none."""
    from assembler.format import format_text

    return format_text(text, path)


@dataclass(frozen=True, eq=False)
class Run:
    """The results of one run.

    `outputs` are arrays by name, `checks` the program's conditions evaluated, `dumps` the tensors asked for;
    `instructions` counts what was executed, loops included. `schedule` gives the timeline.
    """

    plan: Plan
    outputs: dict[str, np.ndarray]
    checks: list[CheckResult]
    dumps: dict[str, np.ndarray]
    instructions: int
    schedule: Callable[[], Timeline]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @cached_property
    def timeline(self) -> Timeline:
        """When everything happened; scheduled when first asked for."""
        return self.schedule()

    @property
    def cycles(self) -> int:
        return self.timeline.cycles


def plan_for(program: Program, chip: str | Chip | None) -> Plan:
    """Return the program loaded for a chip: its own where None is given."""
    from emulator.plan import load

    if not isinstance(program, Program):
        raise TypeError(f"expected a Program, as ratel.assemble or Program.load give, not {type(program).__name__}")
    return load(program, chip if isinstance(chip, Chip) else load_chip(chip or program.chip))


def parse_dump(text: str) -> Dump:
    """Return what "a1" or "a1@3" asks for; raise InputError for anything else."""
    from emulator.execute import Dump

    name, at, iteration = text.partition("@")
    if at and not (iteration.isdecimal() and len(iteration) < 12):
        raise InputError(
            f"{text!r} does not name a tensor and an iteration", "write NAME, or NAME@ITERATION as in a1@3"
        )
    return Dump(name, int(iteration) if at else None)


def run(
    program: Program,
    inputs: Mapping[str, Any] | None = None,
    chip: str | Chip | None = None,
    *,
    poison: int | None = None,
    dumps: Sequence[str] = (),
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Run a program bit for bit.

    `inputs` are arrays by name, of the declared shape and type; an input with a scale also takes floats, which are
    quantised; an input with a default may be left out. `chip` is a Chip, a name or a file; None is the program's own.
    `poison` fills unwritten bytes with noise of that seed instead of 0. `dumps` names local tensors to keep, as in
    "a1" or "a1@3" (as iteration 3 of its outermost loop ends); "core1.a1" where several cores have one.
    Raises InputError, ChipError, or Trap when the program cannot run on the chip.
    """
    from emulator.checks import evaluate
    from emulator.execute import execute
    from emulator.timeline import schedule

    plan = plan_for(program, chip)
    wanted = [parse_dump(text) for text in dumps]
    execution = execute(plan, inputs or {}, poison=poison, dumps=wanted, on_compile=on_compile, on_progress=on_progress)
    return Run(
        plan=plan,
        outputs=execution.outputs,
        checks=evaluate(program, execution.outputs),
        dumps=dict(zip(dumps, execution.dumps)),
        instructions=execution.instructions,
        schedule=partial(schedule, plan, on_compile, on_progress),
    )


def time(
    program: Program,
    chip: str | Chip | None = None,
    *,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Timeline:
    """Schedule one task of a program: cycles, engines, critical path. Needs no data.

    Raises ChipError, or Trap when the program cannot run on the chip.
    """
    from emulator.timeline import schedule

    return schedule(plan_for(program, chip), on_compile, on_progress)
