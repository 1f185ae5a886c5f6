"""ratel.testing: property-based tests of your own kernels, compilers and chips, with hypothesis.

Strategies draw tensors, chips, instructions and whole programs; the assertions hold a program against what it should
compute, against races and against the laws of time. What an assertion raises carries the program: under pytest it is
saved as text, with its tensors, and the command that shows the failure again is printed (ratel/pytest_plugin.py).

Strategies need hypothesis; importing `ratel` does not import this.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from isa.chip import Chip, load_chip
from isa.dtypes import DTYPES, DType
from isa.errors import InputError
from isa.files import free_name
from isa.program import Program
from isa.visible import escaped
from ratel import api
from ratel.testing.instructions import instructions, random_data
from ratel.testing.networks import Network, networks
from ratel.testing.programs import looped_programs, programs, programs_of_cores, race_free_programs, racy_programs

if TYPE_CHECKING:
    from emulator.execute.interleave import Interleaver

__all__ = [
    "Network",
    "ProgramFailure",
    "assert_equivalent",
    "assert_laws_of_time",
    "assert_race_free",
    "chips",
    "inputs",
    "instructions",
    "looped_programs",
    "networks",
    "programs",
    "programs_of_cores",
    "quantisations",
    "race_free_programs",
    "racy_programs",
    "run_interleaved",
    "tensors",
]

# Numbers of a chip that `chips` draws, each from these: none changes what a program computes or where it fits.
VARIED: dict[str, Sequence[Any]] = {
    "seq.issue_cycles": (1, 2, 8),
    "seq.loop_cycles": (0, 1, 4),
    "seq.launch_cycles": (0, 0, 1, 30),
    "seq.queue_depth": (1, 2, 4, 16),
    "te.latency": (0, 1, 20, 100),
    "pe.latency": (0, 1, 20, 100),
    "me.latency": (0, 1, 20, 100),
    "sync.latency": (0, 1, 30),
    "memory.pcie_gb_per_second": (0.5, 8, 16),
    "memory.pcie_latency_ns": (0, 200, 2000),
}


class ProgramFailure(AssertionError):
    """Raised when a program is not what it should be.

    `program` is the program, `tensors` files to save with it by name, `command` the command that shows the failure,
    with FILE, its third word, for the program's text.
    """

    def __init__(
        self, message: str, program: Program, command: str, tensors: Mapping[str, np.ndarray] | None = None
    ) -> None:
        super().__init__(message)
        self.program, self.command, self.tensors = program, command, dict(tensors or {})


@st.composite
def tensors(draw: st.DrawFn, dtype: str, shape: Sequence[int] | st.SearchStrategy[Sequence[int]]) -> np.ndarray:
    """Draw an array of a type of the ISA ("i8", "bf16", ...) and of a shape: all zeros, all of one value, or noise.

    It shrinks to zeros. Integers are of the type's whole range, i32 of 16 bits; floats are normal, of deviation 8.
    """
    of_type = DTYPES[dtype]
    sizes = tuple(draw(shape) if isinstance(shape, st.SearchStrategy) else shape)
    count = int(np.prod(sizes, dtype=int))
    kind = draw(st.sampled_from(("zeros", "extreme", "noise", "noise")))
    if kind == "zeros":
        data = np.zeros(count, of_type.numpy)
    elif kind == "extreme":
        ends = (-8, 8) if of_type.is_float else (of_type.low, of_type.high)
        data = np.full(count, draw(st.sampled_from(ends)), of_type.numpy)
    else:
        data = np.frombuffer(random_data(draw(st.integers(0, 2**32 - 1)), of_type, count), of_type.numpy)
    return data.reshape(sizes).copy()


def inputs(program: Program) -> st.SearchStrategy[dict[str, np.ndarray]]:
    """Draw a tensor for each input of a program, by name; for a stream of tasks, one for all of them."""
    symbols = [symbol for _, symbol in program.of_kind("input")]
    return st.fixed_dictionaries({symbol.name: tensors(str(symbol.dtype), symbol.host_shape) for symbol in symbols})


@st.composite
def quantisations(draw: st.DrawFn, dtype: str) -> tuple[float, int]:
    """Draw a scale, a power of two or any float32 from 2^-10 to 4, and a zero point that the type can have."""
    of_type: DType = DTYPES[dtype]
    powers = st.integers(-10, 2).map(lambda power: 2.0**power)
    scale = draw(st.one_of(powers, st.floats(2.0**-10, 4, width=32)))
    whole = st.just(0) | st.integers(int(of_type.low), int(of_type.high))
    return scale, draw(whole) if of_type.is_quantised else 0


@st.composite
def chips(draw: st.DrawFn, name: str = "edge") -> Chip:
    """Draw a chip like the one named, of other latencies, rates and queues; what programs compute stays the same."""
    changed = draw(st.sets(st.sampled_from(sorted(VARIED))))
    return load_chip(name).replace(**{key: draw(st.sampled_from(VARIED[key])) for key in sorted(changed)})


def run_interleaved(
    program: Program, seed: int, inputs: Mapping[str, Any] | None = None, chip: str | Chip | None = None
) -> dict[str, np.ndarray]:
    """Run a program in an order that its queues, waits and semaphores allow, drawn by a seed; return its outputs.

    Unwritten memory is noise, the same for every seed. Of a program free of races all seeds give the same bits.
    Raises what `ratel.run` does, and Trap where a task executes more than 10,000 instructions.
    """
    given = inputs or {}
    with _interleaver(program, given, chip) as interleaver:
        return interleaver.interleaved(seed, given).outputs


def _interleaver(program: Program, given: Mapping[str, Any], chip: str | Chip | None) -> Interleaver:
    from emulator.execute.inputs import count_tasks
    from emulator.execute.interleave import Interleaver
    from emulator.precompile import compile_run

    plan = api.plan_for(program, chip, count_tasks(program, given, None))
    compile_run(plan, 1, None)
    return Interleaver(plan)


def assert_equivalent(
    program: Program,
    reference: Program | Callable[..., Any],
    inputs: Mapping[str, Any] | None = None,
    *,
    chip: str | Chip | None = None,
    seeds: Iterable[int] = (),
) -> None:
    """Hold a program's outputs against a reference's, bit for bit; raise ProgramFailure with the first difference.

    `reference` is another program with outputs of the same names, or a function that takes the inputs by name and
    returns the output, or all of several by name. With `seeds` the program also runs interleaved, once for each; races
    are not looked for otherwise (`assert_race_free` does).
    Raises InputError where the names differ, and what `ratel.run` and `run_interleaved` do.
    """
    from emulator.execute.expectations import first_difference

    given = dict(inputs or {})
    found = api.run(program, given, chip, check=False).outputs
    if isinstance(reference, Program):
        wanted: Mapping[str, Any] = api.run(reference, given, chip, check=False).outputs
    else:
        result = reference(**given)
        wanted = result if isinstance(result, Mapping) else dict.fromkeys(found, result)
    if set(wanted) != set(found):
        names = (", ".join(sorted(of)) or "none" for of in (found, wanted))
        raise InputError("the program's outputs are {}, the reference's {}".format(*names), "give each of them")
    for name, tensor in wanted.items():
        difference = first_difference(np.asarray(tensor), found[name])
        if difference:
            raise _unequal(f"output {escaped(name)}: {difference}", program, given, {name: np.asarray(tensor)}, chip)
    if seeds := tuple(seeds):
        _hold_interleaved(program, found, given, chip, seeds)


def _hold_interleaved(
    program: Program,
    outputs: Mapping[str, np.ndarray],
    given: Mapping[str, Any],
    chip: str | Chip | None,
    seeds: Iterable[int],
) -> None:
    from emulator.execute.expectations import first_difference

    with _interleaver(program, given, chip) as interleaver:
        for seed in seeds:
            for name, tensor in interleaver.interleaved(seed, given).outputs.items():
                difference = first_difference(outputs[name], tensor)
                if difference:
                    message = f"output {escaped(name)}, interleaved by seed {seed}: {difference}"
                    raise ProgramFailure(message, program, _command("check", chip))


def _unequal(
    message: str,
    program: Program,
    given: Mapping[str, Any],
    expected: Mapping[str, np.ndarray],
    chip: str | Chip | None,
) -> ProgramFailure:
    files: dict[str, np.ndarray] = {}
    words: list[str] = []
    taken: set[str] = set()
    for option, held, suffix in (("--input", given, ".npy"), ("--expect", expected, "_expected.npy")):
        for name, value in held.items():
            # Names of a program that is not trusted may lead anywhere as a file's, and say anything to a shell.
            file = free_name(name, taken, suffix)
            files[file] = np.asarray(value)
            words += [option, f"{name}={file}"]
    return ProgramFailure(message, program, _command("run", chip, *words), files)


def _command(verb: str, chip: str | Chip | None, *words: str) -> str:
    """Return a command on FILE and a chip; a chip read from a file is taken for the one of its name."""
    if isinstance(chip, Chip):
        changed = (word for key, value in chip.changed.items() for word in ("--set", f"{key}={value}"))
        words = (*words, "--chip", chip.name, *changed)
    elif chip is not None:
        words = (*words, "--chip", chip)
    return shlex.join(["ratel", verb, "FILE", *words])


def assert_race_free(program: Program, chip: str | Chip | None = None) -> None:
    """Raise ProgramFailure unless a program is proven free of races."""
    from emulator.checker.check import check
    from ratel.show.findings import rendered

    plan = api.plan_for(program, chip)
    verdict = check(plan)
    if verdict.verdict != "proven":
        said = "\n\n".join(rendered(plan, finding) for finding in verdict.errors) or f"not proven: {verdict.why}"
        raise ProgramFailure(said, program, _command("check", chip))


def assert_laws_of_time(program: Program, chip: str | Chip | None = None) -> None:
    """Raise ProgramFailure where the schedule of one task breaks a law of time, of a chip or of its model.

    The critical path is as long as the run; every engine is busy, stalled or idle in each cycle; no resource takes
    longer than the run.
    """
    from emulator.explain.roofline import roofline

    timeline = api.time(program, chip, tasks=1)

    def law(holds: bool, message: str) -> None:
        if not holds:
            raise ProgramFailure(message, program, "ratel time FILE --explain")

    path = sum(entry.cycles for entry in timeline.critical_path)
    law(path == timeline.cycles, f"the critical path has {path:,} cycles, the run {timeline.cycles:,}")
    for name, engine in timeline.engines.items():
        whole = engine.busy + engine.stall + engine.idle
        law(whole == timeline.cycles, f"{name}: busy, stall and idle are {whole:,} cycles, the run {timeline.cycles:,}")
        law(engine.idle >= 0, f"{name}: idle for {engine.idle:,} cycles")
    bound = roofline(timeline)
    law(bound.bound <= bound.cycles, f"{bound.limit} needs {bound.bound:,.0f} cycles, the run has {bound.cycles:,}")
