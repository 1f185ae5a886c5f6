"""Rates: how long a card of a kind takes for batches of a work, and what that is known from.

Of a chip with cycles a batch takes the time of one task, and in a stream holds the card for the interval between tasks.
A network is compiled for it: one sample on one core, and in batches, which are those that all cores have in common, so
many samples each: 1, 2, 4, ... Of a chip of bounds a batch takes at least the bound of the same program, as another
chip has it: networks for the default one, tokens for `DECODES`, programs for their own.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import ratel
from explore.fleet.file import Cards, Work
from isa.bounds_chip import RooflineChip
from isa.chip import DEFAULT_CHIP, Chip, load_chip
from isa.errors import InputError, RatelError
from isa.files import read_whole
from isa.suggest import did_you_mean

if TYPE_CHECKING:
    from compiler.read.model import Model

CYCLES, BOUNDS, NOTHING = "cycles", "bounds", "nothing"
# The chip whose program of a token bounds others, and the chip of networks that do.
DECODES = "zhenwu810e"
# Tasks of a stream whose second half tells the interval.
TASKS = 8
MEMORY = "device memory"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Batch:
    """A batch of so many samples: how long it holds the card, and until when its results are there, in seconds."""

    samples: int
    hold: float
    latency: float


@dataclass(frozen=True)
class Rates:
    """What cards of a kind do of a work: batches by size, known from CYCLES, BOUNDS or NOTHING.

    `limit` is what bounds a sample, `left_out` what is not in the bound for its rate is not public, `why` says why
    there is nothing.
    """

    known: str
    batches: tuple[Batch, ...] = ()
    limit: str = ""
    left_out: tuple[str, ...] = ()
    why: str = ""

    def fitting(self, samples: int) -> Batch:
        """Return the smallest batch that holds so many samples."""
        return next(batch for batch in self.batches if batch.samples >= samples)

    @property
    def best(self) -> Batch:
        """The batch that takes least for each of its samples."""
        return min(self.batches, key=lambda batch: batch.hold / batch.samples)

    @property
    def seconds(self) -> float:
        """The least that a sample holds a card."""
        return self.best.hold / self.best.samples


@dataclass
class Programs:
    """Programs of works, made once; `tell` is called with what is compiled or timed, before it is."""

    tell: Tell
    models: dict[str, "Model"] = field(default_factory=dict)
    made: dict[tuple[Work, Chip | None, int], ratel.Program] = field(default_factory=dict)

    def program(self, work: Work, chip: Chip | None, samples: int) -> ratel.Program:
        """Return the program of a batch for a chip, or for the one that bounds others; raise RatelError for none."""
        key = work, chip, samples
        if key not in self.made:
            self.made[key] = {"network": self._network, "decode": self._decode, "program": self._read}[work.kind](*key)
        return self.made[key]

    def _network(self, work: Work, chip: Chip | None, samples: int) -> ratel.Program:
        from compiler.options import Options
        from ratel import kept

        chip = chip or load_chip(DEFAULT_CHIP)
        cores = 1 if samples == 1 else chip["chip.cores"]
        batch = None if samples == 1 else samples // cores
        options = Options(cores=cores, batch=batch, host=False, round_once=work.round_once)
        self.tell(f"{work.name}: {samples} on {chip.name}")
        return kept.compiled(self._model(work), chip, options).program

    def _model(self, work: Work) -> "Model":
        """Return a network's file, or one of programs/networks as a file; whoever reads a Model empties it."""
        if work.what not in self.models:
            from compiler.read.model import Model, opened
            from compiler.runtime import onnx

            onnx()  # Where it is missing, this says so.
            if work.what.endswith(".onnx"):
                self.models[work.what] = opened(work.folder / work.what)
            else:
                networks = of_programs("networks.catalogue")
                known = f"networks: {', '.join(networks.NETWORKS)}; or give an .onnx file"
                must_be(work, "network", networks.NETWORKS, known)
                data = of_programs("networks.onnx_model").model(networks.network(work.what)).SerializeToString()
                self.models[work.what] = Model(work.what, data)
        return replace(self.models[work.what])

    def _decode(self, work: Work, chip: Chip | None, _: int) -> ratel.Program:
        shape = of_programs("qwen.shapes").SHAPES[work.what]
        program: ratel.Program = of_programs("qwen.decoder").decoder(shape, chip or load_chip(DECODES), work.context)
        return program

    def _read(self, work: Work, chip: Chip | None, _: int) -> ratel.Program:
        path = work.folder / work.what
        if path.suffix == ".npo":
            return ratel.Program.load(path)
        try:
            text = read_whole(path, InputError).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not text in UTF-8 (byte {error.start})") from error
        return ratel.assemble(text, path, chip)

    def check(self, work: Work) -> None:
        """Raise RatelError, before anything is compiled, for a work of which there is no program on any chip."""
        if work.kind == "network":
            self._model(work)
        elif work.kind == "decode":
            shapes = of_programs("qwen.shapes").SHAPES
            must_be(work, "model", shapes, f"models of programs/qwen: {', '.join(shapes)}")
        else:
            self.program(work, None, 1)


def must_be(work: Work, what: str, names: Iterable[str], known: str) -> None:
    """Raise InputError where what a work names is none of these."""
    if work.what not in names:
        raise InputError(f"{work.name}: there is no {what} {work.what!r}", did_you_mean(work.what, names, known))


def of_programs(name: str) -> Any:
    """Return a module of programs, which are above the house, and are found by their names as files are."""
    return import_module(f"programs.{name}")


def sizes(work: Work, chip: Chip) -> Iterator[int]:
    """Yield how many samples batches have: 1, then what all cores have in common."""
    yield 1
    cores = chip["chip.cores"]
    each = 1 if cores > 1 else 2
    while cores * each <= work.largest:
        yield cores * each
        each *= 2


def rates(cards: Cards, work: Work, programs: Programs) -> Rates:
    """Return what cards of a kind do of a work; what keeps them from it is said in `why`."""
    if cards.chip is None:
        return Rates(NOTHING, why="nothing of the chip is public")
    try:
        found = (
            _cycles(cards.chip, work, programs) if isinstance(cards.chip, Chip) else _bounds(cards.chip, work, programs)
        )
    except RatelError as error:
        return Rates(NOTHING, why=error.message)
    batches = [
        Batch(one.samples, work.steps * one.hold + cards.host, work.steps * one.latency + cards.host)
        for one in found.batches
    ]
    return Rates(found.known, tuple(batches), found.limit, found.left_out, found.why)


def _cycles(chip: Chip, work: Work, programs: Programs) -> Rates:
    from emulator.timing.stream import task_of

    batches = []
    for samples in sizes(work, chip):
        program = programs.program(work, chip, samples)
        programs.tell(f"{work.name}: {samples} on {chip.name}")
        stream = ratel.time(program, chip, tasks=TASKS)
        assert isinstance(stream, ratel.Stream)
        latency = task_of(stream).seconds
        batches.append(Batch(samples, min(stream.interval / chip.cycles_per_second, latency), latency))
    return Rates(CYCLES, tuple(batches))


def _bounds(chip: RooflineChip, work: Work, programs: Programs) -> Rates:
    batches = []
    for samples in sizes(work, load_chip(DEFAULT_CHIP)):
        found = ratel.bounds(programs.program(work, None, samples), chip, tasks=1)
        if found.seconds is None or MEMORY in found.unknown:
            what = "how fast its memory is" if MEMORY in found.unknown else "no rate that it needs"
            return Rates(NOTHING, left_out=tuple(found.unknown), why=f"{what}, is not public")
        batches.append(Batch(samples, found.seconds, found.seconds))
    return Rates(BOUNDS, tuple(batches), found.limit or "", tuple(found.unknown))
