"""Work, what all points have in common and what travels; the Outcome of one point."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from explore.goals import Measured, measure
from explore.space import OF_NETWORKS, OPTIONS, Point
from isa.chip import DEFAULT_CHIP, Chip, load_chip
from isa.errors import InputError, RatelError
from isa.files import MAX_OBJECT_BYTES, hash_of, read_whole
from isa.kept import declared, kept_with
from isa.program import Program
from ratel import __version__, api

if TYPE_CHECKING:
    from compiler.graph import Graph
    from compiler.options import Options

ROOT = Path(__file__).parents[1]
# What goals follow from: of a program, and of a network besides. A room that a goal is computed in belongs here.
ROOMS = "isa", "emulator/plan", "emulator/timing", "explore/goals.py"
ROOMS_OF_NETWORKS = "compiler", "assembler"
# One at a time in a process: a worker may have several threads.
_TURN = Lock()


@dataclass(frozen=True)
class Outcome:
    """What became of a point: the value of each goal's column, or the `error` that says why there is none.

    `took` is the time that it took, in seconds of this computer.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    took: float = 0.0


@dataclass(frozen=True, eq=False)
class Work:
    """What all points have in common: a program, or the bytes of a network with the `options` of its compilation.

    Points begin with `chip`; `numbers` are those that are set whichever it is. `tasks` and `options` hold where a point
    says nothing. `digest` is the hash of the program or the network, `version` that of all sources that decide.
    """

    name: str
    chip: Chip
    numbers: Mapping[str, Any]
    tasks: int | None
    digest: str
    version: str
    program: Program | None = None
    network: bytes = b""
    options: "Options | None" = None

    __getstate__ = declared

    def chip_of(self, point: Point) -> Chip:
        """Return the chip of a point; raise ChipError where its numbers do not go together."""
        chip = load_chip(point["chip"], **self.numbers) if "chip" in point else self.chip
        numbers = {key: value for key, value in point.items() if key not in OPTIONS}
        return chip.replace(**numbers) if numbers else chip

    def options_of(self, point: Point) -> "Options | None":
        """Return how a network is compiled at a point; None of a program."""
        said = {key: point[key] for key in OF_NETWORKS if key in point}
        if "round_once" in said:
            said["round_once"] = bool(said["round_once"])
        return replace(self.options, **said) if self.options else None

    def tasks_of(self, point: Point) -> int | None:
        """Return how many tasks run at a point; None for a program's own number."""
        return point.get("tasks", self.tasks)

    def key(self, point: Point) -> str:
        """Return the key of a point: the same of all that can only have the same outcome."""
        try:
            chip: object = sorted(self.chip_of(point).values.items())
        except RatelError:
            chip = sorted(point.items())
        what = self.version, self.digest, chip, self.tasks_of(point), self.options_of(point)
        return sha256(repr(what).encode()).hexdigest()[:32]


def work_of(
    program: Any,
    chip: str | Chip | None,
    numbers: Mapping[str, Any],
    tasks: int | None,
    said: Mapping[str, Any],
) -> Work:
    """Return the work of a program, or of a network as `ratel.compile` takes it; `said` are options of compilation.

    Raises InputError and ChipError for what cannot be read.
    """
    if isinstance(program, Program) or type(program).__name__ == "Compiled":
        if said:
            raise InputError(f"{next(iter(said))} is of networks (.onnx), and this is a program", "leave it out")
        one = api.as_program(program)
        on = load_chip(one.chip if chip is None else chip, **numbers)
        return Work(one.name, on, numbers, tasks, _digest(one), version(False), program=one)
    from compiler.options import Options
    from compiler.read.model import loaded, serialised

    options = Options(**said)
    options = replace(options, shapes=dict(sorted(options.shapes.items())))
    proto, source = loaded(program)
    why, help = "a sweep gives it to its workers in one piece", "compile it, and sweep the program"
    network = serialised(proto, source, why, help)
    on = load_chip(DEFAULT_CHIP if chip is None else chip, **numbers)
    return Work(*(source.name, on, numbers, tasks, hash_of(network), version(True)), network=network, options=options)


def _digest(program: Program) -> str:
    """Return the hash of what cycles follow from in a program: not its data, its lines, and the chip it is for."""
    from isa.object_file import to_sections

    digest = sha256(repr((program.order, program.tasks, program.semaphores, program.barriers)).encode())
    for name, data in to_sections(program, data=False).items():
        if name not in ("head", "debug", "chck"):
            digest.update(name.encode() + data)
    return digest.hexdigest()


@cache
def version(networks: bool) -> str:
    """Return the version of ratel with the hash of all sources that cycles follow from."""
    digest = sha256()
    for room in ROOMS + (ROOMS_OF_NETWORKS if networks else ()):
        path = ROOT / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(ROOT).as_posix().encode() + read_whole(file, most=MAX_OBJECT_BYTES))
    if networks:
        from compiler.runtime import versions

        digest.update(repr(versions()).encode())
    return f"{__version__}-{digest.hexdigest()[:16]}"


def outcome(work: Work, point: Point) -> Outcome:
    """Return what becomes of a point; whatever it cannot run for is its error."""
    with _TURN:
        began = perf_counter()
        try:
            values, error = measure(_measured(work, point)), ""
        except RatelError as refusal:
            values, error = {}, refusal.message
        except MemoryError:
            values, error = {}, "there is not enough memory"
        except Exception as bug:
            # One of a thousand chips, of which the others are wanted still.
            values, error = {}, f"a bug of ratel: {type(bug).__name__}: {bug}"
        return Outcome(values, " ".join(error.split()), perf_counter() - began)


def _measured(work: Work, point: Point) -> Measured:
    chip, tasks, options = work.chip_of(point), work.tasks_of(point), work.options_of(point)
    programs = [work.program] if work.program else _compiled(work, chip, options)
    return Measured(chip, [api.timed(api.plan_for(one, chip, tasks), None, None) for one in programs])


def _compiled(work: Work, chip: Chip, options: "Options | None") -> list[Program]:
    """Return the programs of a network's parts, compiled for a chip; raise InputError where the chip has none."""
    from compiler.compile import compile

    compiled = compile(kept_with(work, "graph", lambda: _graph(work)), chip, options)
    programs = [part.program for part in compiled.parts if part.program is not None]
    if not programs:
        raise InputError(f"the chip computes no node of {work.name}", "`ratel compile` lists why")
    return programs


def _graph(work: Work) -> "Graph":
    """Return the network as it is read, whichever chip it is compiled for."""
    from compiler.read.model import Model
    from compiler.read.network import read

    assert work.options is not None, "a network has options"
    return read(Model(work.name, work.network), work.options.shapes, work.options.always)
