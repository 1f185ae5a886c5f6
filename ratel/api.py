"""The Python API: what `import ratel` offers, apart from types."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.bounds_chip import RooflineChip
from isa.chip import DEFAULT_CHIP, Chip, load_chip, load_description
from isa.diagnostic import Place
from isa.errors import CheckWarning, ChipError, InputError, Trap, shown, warn_outside
from isa.memory import HELP, limited, shortage
from isa.program import Program

# What an element takes at most as a number of Python, in two lists, and in words.
JSON_BYTES = 100

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from compiler.compiled import Compiled
    from emulator.checker.findings import Verdict
    from emulator.execute.expectations import CheckResult
    from emulator.execute.session import Dump
    from emulator.plan.plan import Plan
    from emulator.timing.bounds import Bounds
    from emulator.timing.result import Schedule


def assemble(
    text: str,
    path: str | Path | None = None,
    chip: str | Chip | None = None,
    *,
    strict: bool = False,
    memory: int | None = None,
) -> Program:
    """Assemble the text of a program.

    `path` is where the text came from: data files and includes are looked for beside it (in the current folder where
    it is None), and messages name it. `chip`, a Chip, a name or a file, takes the place of the text's own `.chip`.
    `memory` is how many bytes its data may take of this computer; None is what is free.
    Raises AssemblyError with all that is wrong in `.diagnostics`, and ChipError for a `chip` that cannot be read or has
    no cycles. What is odd, and wrong where it was not meant, is issued as AssemblyWarning; `strict` raises it, too.
    """
    from assembler.assemble import assemble

    with limited(memory):
        return assemble(text, path, None if chip is None else load_chip(chip), strict=strict)


def compile(
    model: Any,
    chip: str | Chip = DEFAULT_CHIP,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    always: Mapping[str, float] | None = None,
    order: str = "hardware",
    cores: int = 1,
    batch: int | None = None,
    host: bool = True,
    round_once: bool = False,
    memory: int | None = None,
) -> Compiled:
    """Compile an ONNX network for a chip: `.program`, `.text`, `.save(path)`, `.summary()`, `.parts`.

    `model` is a path, the bytes of a file, or onnx's ModelProto; `shapes` fix inputs that it leaves open, as in
    {"x": (1, 3, 224, 224)}, or dimensions by their names, {"sequence_length": (1,)}; inputs in `always` are one number,
    {"attention_mask": 1}, and no inputs of what is compiled. Nodes that no engine of the chip computes are the host's,
    in parts of their own; with `host` False they are an error that lists them. `order` is that of the
    program's instructions, "hardware" or "compiler", with wait bits; so many `cores` share one image, or with a `batch`
    compute so many each. With `round_once` a sum takes a product before it is rounded to 8 bits, which is faster, and
    other than onnxruntime's bits. `memory` is how many bytes it may take of this computer, None what is free.

    Raises InputError for what is no network, or none that is compiled, and where the packages of the extra [onnx] are
    missing; ChipError for a chip that cannot be read.
    """
    from compiler.compile import compile
    from compiler.options import Options

    said: dict[str, Any] = {"order": order, "cores": cores, "batch": batch, "host": host, "round_once": round_once}
    options = Options(shapes or {}, always=always or {}, **said)
    with limited(memory):
        return compile(model, load_chip(chip), options)


def disassemble(program: Program | Compiled, *, memory: int | None = None) -> str:
    """Return text that assembles to a program equal in all but its source lines; data stands inline.

    `memory` is how many bytes the data may take in the text; None is what is free. Raises RatelError where it is more.
    """
    from assembler.disassemble import disassemble

    with limited(memory):
        return disassemble(as_program(program))


def format(text: str, path: str | Path | None = None) -> str:
    """Return the text of a program in its standard form.

    Raises AssemblyError where the text is malformed; messages name `path`.
    """
    from assembler.syntax.format import format_text

    return format_text(text, path)


@dataclass(frozen=True, eq=False)
class Run:
    """The results of one run.

    `outputs` are arrays by name, of the declared type, and the declared shape, or [tasks, *shape] where several tasks
    ran or an input was a batch; those with `axes` have their dimensions in that order. `checks` are the program's
    conditions evaluated; `dumps` the tensors asked for, as declared, by what was asked; `instructions` counts what was
    executed, loops included. `schedule` gives the timeline. `task` is the number of one that ran alone.

    A stream of other tasks than the program's own number has no checks: they are not for it.
    """

    plan: Plan
    outputs: dict[str, NDArray[Any]]
    checks: list[CheckResult]
    dumps: dict[str, NDArray[Any]]
    instructions: int
    schedule: Callable[[], Schedule]
    task: int | None = None

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name} {tensor.dtype}{list(tensor.shape)}" for name, tensor in self.outputs.items())
        return f"<Run of {self.plan.program.name!r} on {self.plan.chip.label}: {outputs or 'no outputs'}>"

    @property
    def passed(self) -> bool:
        """Whether every check holds; so it does where there is none."""
        return all(check.passed for check in self.checks)

    @property
    def timeline(self) -> Schedule:
        """When everything happened, in the one task or the stream of tasks; scheduled when first asked for.

        Raises Trap where a run is longer than what a schedule can hold.
        """
        if isinstance(self._scheduled, Trap):
            raise self._scheduled
        return self._scheduled

    @property
    def untimed(self) -> str:
        """Why there is no timeline; "" where there is one."""
        return str(self._scheduled) if isinstance(self._scheduled, Trap) else ""

    @property
    def cycles(self) -> int:
        """Cycles of the chip, from the first byte in to the last byte out; set-up is not in them."""
        return self.timeline.cycles

    def summary(self, differences: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """Return what `run --json` prints, ready for json; where there is no timeline its numbers are None.

        `differences` says of outputs how they differ from what was expected; None where they do not. Raises Trap where
        there is not the memory for the numbers of dumps.
        """
        elements = sum(tensor.size for tensor in self.dumps.values())
        if short := shortage({"the numbers of dumps, in JSON": JSON_BYTES * elements}):
            raise Trap(f"{self.plan.program.name}: {short}", f"dump smaller tensors, {HELP}")
        times = {} if self.untimed else self.timeline.summary(path=False)
        return {
            "chip": self.plan.chip.name,
            "changed": self.plan.chip.changed,
            "tasks": self.plan.tasks if self.task is None else 1,
            **{name: times.get(name) for name in ("cycles", "seconds", "setup")},
            **({"untimed": self.untimed} if self.untimed else {}),
            "instructions": self.instructions,
            "outputs": {
                name: {"shape": list(tensor.shape), "dtype": tensor.dtype.name} for name, tensor in self.outputs.items()
            },
            "checks": [vars(check) for check in self.checks],
            "expect": {name: difference or "equal" for name, difference in (differences or {}).items()},
            "dumps": {name: finite(tensor.tolist()) for name, tensor in self.dumps.items()},
            "engines": times.get("engines", {}),
            **({"stream": times["stream"]} if "stream" in times else {}),
        }

    @cached_property
    def _scheduled(self) -> Schedule | Trap:
        try:
            return self.schedule()
        except Trap as trap:
            return trap


def finite(value: Any) -> Any:
    """Return nested lists of numbers with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, list):
        return [finite(element) for element in value]
    return value if isinstance(value, int) or isfinite(value) else None


def as_program(program: object) -> Program:
    """Return a Program, or that of a network compiled to one.

    Raises TypeError for anything else, such as a text or a path, and InputError where the host computes a part.
    """
    if isinstance(program, Program):
        return program
    # Whoever has a network has loaded the compiler.
    if "compiler.compiled" in sys.modules and isinstance(program, sys.modules["compiler.compiled"].Compiled):
        return as_program(program.program)
    raise TypeError(f"expected a Program, as ratel.assemble or Program.load give, not {type(program).__name__}")


def plan_for(program: Program | Compiled, chip: str | Chip | None, tasks: int | None = None) -> Plan:
    """Return the program loaded for a chip, and for so many tasks: its own of both where None is given."""
    from emulator.execute.inputs import count_tasks
    from emulator.plan.load import load

    program = as_program(program)
    return load(program, load_chip(program.chip if chip is None else chip), count_tasks(program, {}, tasks))


def parse_dump(text: str) -> Dump:
    """Return what "a1" or "a1@3" asks for; raise InputError for anything else."""
    from emulator.execute.session import Dump

    if not isinstance(text, str):
        raise InputError(f"{shown(text)} names no tensor to dump", "write NAME, or NAME@ITERATION as in a1@3")
    name, at, iteration = text.partition("@")
    if at and not (iteration.isdecimal() and len(iteration) < 12):
        raise InputError(
            f"{text!r} does not name a tensor and an iteration", "write NAME, or NAME@ITERATION as in a1@3"
        )
    return Dump(name, int(iteration) if at else None)


class Session:
    """A program ready to run again and again: memories set up, kernels compiled, constant weights packed once.

    Each run takes the memories as the one before left them, as the tasks of a stream do. A context manager; `close`
    ends its threads. Raises ChipError, InputError and Trap as `run` does.
    """

    def __init__(
        self,
        program: Program | Compiled,
        chip: str | Chip | None = None,
        *,
        tasks: int | None = None,
        poison: int | None = None,
        dumps: Iterable[str] = (),
        threads: int = 1,
        check: bool = True,
        memory: int | None = None,
        on_compile: Callable[[str], None] | None = None,
    ) -> None:
        """Set up a program; a run without a batch has `tasks`, or its own number; the rest is as `run` has it.

        It is checked once for each number of tasks.
        """
        from emulator.execute import session as execute
        from emulator.execute.walkers import count_threads
        from emulator.precompile import compile_run

        self._plan = plan_for(program, chip, tasks)
        # By number of tasks; the addresses of each were looked at.
        self._plans = {self._plan.tasks: self._plan}
        self._dumps, self._on_compile, self._memory = tuple(dumps), on_compile, memory
        wanted = [parse_dump(text) for text in self._dumps]
        self._check = check
        if check:
            must_not_race(self._plan, bool(self._dumps))
        compile_run(self._plan, count_threads(threads), on_compile)
        with limited(memory):
            self._session = execute.Session(
                self._plan, poison=poison, dumps=wanted, threads=threads, on_compile=on_compile
            )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *of_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session's threads; it can run no more."""
        self._session.close()

    def run(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        task: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """Run as many tasks as the inputs have, else the session's, and return the results, as `ratel.run` does.

        With `task` it is one task of the session's, by its number from 0, on inputs that are no batch: so a stream is
        run task by task, each when its inputs are known. It has no checks, and the cycles of that task alone.
        `on_progress` is called with the instructions done and those of the whole run, some times a second.
        Raises InputError for wrong inputs, and where the session is closed or runs already;
        Trap when an instruction may not run with its operands' values. The session can go on after either.
        """
        from emulator.execute.expectations import evaluate
        from emulator.execute.inputs import count_tasks

        own = self._plan
        if task is not None:
            return self._run_alone(inputs or {}, task, on_progress)
        tasks = count_tasks(own.program, inputs or {}, None, own.tasks)
        if tasks not in self._plans:
            plan = plan_for(own.program, own.chip, tasks)
            if self._check:
                must_not_race(plan, bool(self._dumps))
            self._plans[tasks] = plan
        plan = self._plans[tasks]
        with limited(self._memory):
            execution = self._session.run(inputs or {}, on_progress, plan=plan)
        return Run(
            plan=plan,
            outputs=execution.outputs,
            checks=evaluate(plan.program, execution.outputs, plan.tasks),
            dumps=dict(zip(self._dumps, execution.dumps)),
            instructions=execution.instructions,
            schedule=partial(timed, plan, self._on_compile, on_progress, memory=self._memory),
        )

    def _run_alone(self, inputs: Mapping[str, Any], task: int, on_progress: Callable[[int, int], None] | None) -> Run:
        from emulator.execute.inputs import count_tasks

        plan = self._plan
        if not (isinstance(task, Integral) and 0 <= task < plan.tasks):
            help = f"it has tasks 0 to {plan.tasks - 1}: open it with more, `tasks=...`"
            raise InputError(f"{shown(task)} is no task of the session", help)
        number = int(task)
        if (count := count_tasks(plan.program, inputs, None, 1)) != 1:
            raise InputError(f"task {number} is one, and the inputs are batches of {count}", "give those of one task")
        with limited(self._memory):
            execution = self._session.run(inputs, on_progress, task=number)
        return Run(
            plan=plan,
            outputs=execution.outputs,
            checks=[],
            dumps=dict(zip(self._dumps, execution.dumps)),
            instructions=execution.instructions,
            schedule=partial(timed, plan, self._on_compile, on_progress, memory=self._memory, task=number),
            task=number,
        )


def run(
    program: Program | Compiled,
    inputs: Mapping[str, Any] | None = None,
    chip: str | Chip | None = None,
    *,
    tasks: int | None = None,
    poison: int | None = None,
    dumps: Iterable[str] = (),
    threads: int = 1,
    check: bool = True,
    memory: int | None = None,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Run a program bit for bit, once: one task, or a stream of them.

    `inputs` are arrays by name, of the declared shape and type, their dimensions in the order of `axes` where the input
    has these; an input with a scale also takes floats, which are quantised; an input with a default may be left out. An
    array with one dimension more in front is a batch: a tensor for each task; outputs then are batches too. There are
    as many tasks as batches say, else `tasks`, else the program's own number. `chip` is a Chip, a name or a file; None
    is the program's own.
    `poison` fills unwritten bytes with noise of that seed instead of 0. `dumps` names local tensors to keep, as in
    "a1" or "a1@3" (as iteration 3 of its outermost loop ends); "core1.a1" where several cores have one.
    `threads` of this computer share large instructions; results are the same, bit for bit, for any number.
    `memory` is how many bytes the run may take of it, None what is free; what takes more is refused before it begins.
    Execution is in program order, which hides a race, so one is looked for first, where a program has several cores or
    is in compiler order; what cannot be proven soon, and outputs that are not written, are told as CheckWarning.
    With `check` False nothing is looked for. A Session does so once for each number of tasks.
    `on_compile` is called with what is compiled, as in "the kernel of conv", before it is; `on_progress` with the
    instructions done and those of the whole run, some times a second.
    Raises InputError for wrong inputs, dumps, seeds and numbers; ChipError for a chip that cannot be read or has no
    cycles; Trap when the program cannot run on the chip, or has a race: its diagnostics are those of `ratel.check`.
    """
    from emulator.execute.inputs import count_tasks

    program = as_program(program)
    tasks = count_tasks(program, inputs or {}, tasks)
    with Session(
        program,
        chip,
        tasks=tasks,
        poison=poison,
        dumps=dumps,
        threads=threads,
        check=check,
        memory=memory,
        on_compile=on_compile,
    ) as session:
        return session.run(inputs, on_progress=on_progress)


def not_proven(verdict: Verdict) -> str:
    """Return what is said of a program that may have races; "" of one that is proven to have none."""
    if verdict.verdict == "proven":
        return ""
    return f"{verdict.plan.program.name} is not proven free of races (`ratel check` looks further): {verdict.why}"


def must_not_race(plan: Plan, dumps: bool = False) -> None:
    """Raise Trap where a plan has a race, or is a deadlock; issue as CheckWarning what else a run would hide."""
    from emulator.checker.check import judge_run

    verdict, stops = judge_run(plan, dumps)
    if stops:
        # A race stands at an instruction.
        finding = verdict.errors[0]
        at = finding.place or Place(0, 0)
        raise Trap(
            f"{plan.program.name} is not run: {finding.message}, at {plan.cores[at.core].where(at.index)}",
            f"{finding.help}\n`check=False` runs it in program order, which hides a race",
            core=at.core,
            instruction=at.index,
            line=plan.cores[at.core].line(at.index).number,
            diagnostics=verdict.errors,
        )
    if unproven := not_proven(verdict):
        warn_outside(CheckWarning(unproven))
    for finding in verdict.findings:
        warn_outside(CheckWarning(f"{finding.message} [{finding.code}]\nhelp: {finding.help}"))


def time(
    program: Program | Compiled,
    chip: str | Chip | None = None,
    *,
    tasks: int | None = None,
    max_cycles: int | None = None,
    memory: int | None = None,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Schedule:
    """Schedule a program: cycles, engines, critical path. Needs no data.

    The Schedule of one task is a Timeline, that of several a Stream; there are `tasks`, or the program's own number.
    `memory` is how many bytes it may take of this computer; None is what is free.
    Raises InputError for a wrong number, ChipError, or Trap when the program cannot run on the chip, or takes more than
    `max_cycles`.
    """
    return timed(plan_for(program, chip, tasks), on_compile, on_progress, max_cycles, memory)


def check(
    program: Program | Compiled, chip: str | Chip | None = None, *, tasks: int | None = None, memory: int | None = None
) -> Verdict:
    """Prove that a program is free of races and deadlocks, whatever the cycles, or say where it is not, or why neither.

    What races or deadlocks, and what else is wrong or odd, is in the verdict's findings. Needs no data. `memory` is how
    many bytes a look at sums may take of this computer, None what is free; what takes more is told as not looked at.
    Raises Trap when it cannot run on the chip, ChipError, and InputError for a wrong number of tasks.
    """
    from emulator.checker.check import check

    with limited(memory):
        return check(plan_for(program, chip, tasks))


def bounds(program: Program | Compiled, chip: str | RooflineChip, *, tasks: int | None = None) -> Bounds:
    """Return the least time of a program, in seconds, on a chip that is described by bounds alone.

    `time` gives cycles, on all other chips. There are `tasks`, or the program's own number.
    Raises InputError for a wrong number, ChipError for a chip that has cycles, and Trap where the program cannot run.
    """
    from emulator.execute.inputs import count_tasks
    from emulator.timing.bounds import bounds

    program = as_program(program)
    given = load_description(chip)
    if isinstance(given, Chip):
        raise ChipError(f"{given.name} is not described by bounds alone", "ratel.time gives its cycles")
    return bounds(program, given, count_tasks(program, {}, tasks))


def timed(
    plan: Plan,
    on_compile: Callable[[str], None] | None,
    on_progress: Callable[[int, int], None] | None,
    max_cycles: int | None = None,
    memory: int | None = None,
    task: int | None = None,
) -> Schedule:
    """Return the schedule of a plan: a Timeline of one task, a Stream of several; arguments are as in `time`.

    With `task` it is that of one task by its number. Raises Trap where it cannot finish, or takes more than
    `max_cycles`.
    """
    from emulator.timing.stream import stream
    from emulator.timing.timeline import schedule

    with limited(memory):
        if plan.tasks == 1 or task is not None:
            return schedule(plan, on_compile, on_progress, task or 0, max_cycles)
        return stream(plan, on_compile, on_progress, max_cycles)
