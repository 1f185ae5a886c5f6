"""The results of a run of the benchmarks, and what was asked of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.building import CONVS
from benchmarks.building import COPIES as COPIES_BUILT
from benchmarks.loops import COPIES, MATMULS
from benchmarks.timing import Timing

# A process that does nothing else.
# Products of floats: a prompt and a step of a small decoder, and a matrix that no cache holds.
FLOAT32, FLOAT16 = "onnxruntime float32", "onnxruntime float16"
# Weights in groups of 4 bits, ours and theirs.
GROUPS, FLOAT_GROUPS = "q4_32", "onnxruntime MatMulNBits"
PROMPT, STEP, LARGE = "128 x 576 x 1536", "1 x 576 x 1536", "1 x 4096 x 4096"
NUMPY = 'python -c "import numpy"'
# Contenders: the emulator's are its vector formats, behind ROUNDED_ONCE for networks that are compiled so; in fp32
# THREADS, which share a run, and AT_ONCE, as many runs of one thread each, side by side.
ROUNDED_ONCE, THREADS, AT_ONCE = "rounded once, ", "2 threads", "2 runs at once"


class Wrong(Exception):
    """Raised where a result is not what it must be, or a command fails."""


@dataclass(frozen=True)
class Host:
    """The limits of the host: multiply-adds a second of the micro-kernel alone, in 1e9, and copies by where they are.

    Those have the bytes that one reads and writes, and how many that is a second, in 1e9.
    """

    products: float
    copies: dict[str, tuple[int, float]]

    def bound(self, macs: int, moved: int) -> tuple[float, str]:
        """Return the least seconds of so many multiply-adds on so many bytes, and which of both decides."""
        # Where more is moved than any of them, it is in memory, the last.
        fitting = [name for name, (size, _) in self.copies.items() if moved <= size]
        name = (fitting or list(self.copies)[-1:])[0]
        rate = self.copies[name][1]
        return max((macs / self.products / 1e9, "products"), (moved / rate / 1e9, f"bytes, {name}"))


@dataclass(frozen=True)
class Measured:
    """A workload's timings by contender, of which onnxruntime's have the names of its forms.

    A layer has a kind, the multiply-adds that it sums, and the bytes that it reads and writes. `exact` are those forms
    that are exact on this host.
    """

    name: str
    work: int
    unit: str
    timings: dict[str, Timing]
    exact: tuple[str, ...] = ()
    kind: str = ""
    macs: int = 0
    moved: int = 0

    @property
    def peer(self) -> str | None:
        """The fastest exact form of onnxruntime."""
        known = [(rate, form) for form in self.exact if (rate := self.rate(form))]
        return max(known)[1] if known else None

    def of_peer(self, contender: str = "fp32") -> float | None:
        """Return a contender's rate over the fastest exact peer's."""
        return self.ratio(contender, self.peer) if self.peer else None

    def rate(self, contender: str) -> float | None:
        """Return how much work a contender does in a second, in 1e9; None where it does not run it."""
        timing = self.timings.get(contender)
        return None if timing is None else (timing.macs or self.work) / timing.median / 1e9

    def ratio(self, contender: str, other: str) -> float | None:
        """Return one's rate over another's, None where one of them is missing."""
        one, two = self.rate(contender), self.rate(other)
        return one / two if one and two else None


@dataclass(frozen=True)
class Moved:
    """An instruction that reads and writes so many bytes: a second, in 1e9; and NumPy's where it has the same."""

    name: str
    moved: int
    rate: float
    numpy: float | None


@dataclass(frozen=True)
class FloatProducts:
    """Products of floats, and bytes a second of reading memory, in the same run."""

    products: list[Measured]
    read: float

    def product(self, name: str) -> Measured:
        return next(measured for measured in self.products if measured.name == name)

    def of_memory(self, measured: Measured, contender: str) -> float:
        """Return how fast a contender reads its weights, of 16 bits, over how fast memory is read."""
        return measured.moved / measured.timings[contender].median / self.read


@dataclass(frozen=True)
class Memory:
    """Bytes that a network's run takes above one of digits, and what it holds."""

    above: int
    weights: int
    activations: int
    packed: int

    @property
    def held(self) -> int:
        return self.weights + self.activations + self.packed


@dataclass(frozen=True)
class Scheduling:
    """What scheduling takes.

    Instructions a second of long loops, by name. Of ResNet-50 on four cores, so many `instructions`, the seconds of
    their costs, of the tables of numbers made of these, and of the schedule itself; and of the whole `ratel.time` of
    that program for another number of the chip. Peak bytes of `ratel time` by the count of a loop. The seconds of
    SCALE-Sim on the same network's products; None where it was not asked for.
    """

    rates: dict[str, float]
    instructions: int
    costs: float
    tables: float
    itself: float
    sweep: float
    peaks: dict[int, int]
    scalesim: float | None


@dataclass
class Results:
    """All that was measured; what was not is empty."""

    machine: dict[str, str]
    host: Host | None = None
    layers: list[Measured] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)
    floats: FloatProducts | None = None
    networks: list[Measured] = field(default_factory=list)
    instructions: dict[str, float] = field(default_factory=dict)
    # Seconds of emitting and building a program, by what it is made of.
    building: dict[str, float] = field(default_factory=dict)
    # Seconds of whole processes.
    processes: dict[str, float] = field(default_factory=dict)
    memory: Memory | None = None
    scheduling: Scheduling | None = None

    def network(self, name: str) -> Measured | None:
        return next((measured for measured in self.networks if measured.name == name), None)

    def summary(self) -> dict[str, Any]:
        """Return everything as JSON takes it, targets included."""
        return {**asdict(self), "asked": [asdict(target) | {"held": target.held} for target in targets(self)]}


@dataclass(frozen=True)
class Target:
    """A figure that is asked for: at least `asked`, or at most where `most` is set; `measured` None is unknown."""

    what: str
    asked: float
    unit: str
    measured: float | None
    most: bool = False

    @property
    def held(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.asked if self.most else self.measured >= self.asked


def targets(results: Results) -> list[Target]:
    """Return what is asked of the emulator, in order, with what was measured."""

    def ratio(network: str, contender: str, other: str) -> float | None:
        measured = results.network(network)
        return measured.ratio(contender, other) if measured else None

    def of_peer(network: str) -> float | None:
        measured = results.network(network)
        return measured.of_peer() if measured else None

    def shared(network: str) -> float | None:
        return percent(ratio(network, THREADS, AT_ONCE))

    def slowest(kind: str, unit: str) -> float | None:
        rates = [measured.rate("fp32") for measured in results.layers if (measured.kind, measured.unit) == (kind, unit)]
        return min((rate for rate in rates if rate), default=None)

    def per_second(name: str) -> float | None:
        return results.instructions[name] / 1e6 if name in results.instructions else None

    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value

    memory, timed = results.memory, results.scheduling
    seconds = results.processes
    return [
        *(
            Target(f"{name}, to the fastest exact onnxruntime", asked, "x", of_peer(name))
            for name, asked in (("resnet50", 1.15), ("vgg16", 1.05), ("mobilenet_v2", 1.1), ("bert_layer", 1.1))
        ),
        *(
            Target(f"{name}, fp24 of fp32", 85, "%", percent(ratio(name, "fp24", "fp32")))
            for name in ("resnet50", "vgg16", "mobilenet_v2", "bert_layer")
        ),
        *(
            Target(f"{name}, two threads to two runs at once", 95, "%", shared(name))
            for name in ("resnet50", "vgg16", "mobilenet_v2", "bert_layer")
        ),
        Target("the slowest depthwise layer", 24, "GMAC/s", slowest("depthwise", "GMAC/s")),
        Target("the slowest pooling layer", 6, "G elements/s", slowest("pooling", "G elements/s")),
        Target("the slowest element-wise layer", 6, "G elements/s", slowest("element-wise", "G elements/s")),
        *(
            Target(f"{PROMPT} of {kind}", asked, "GMAC/s", results.floats and results.floats.product(PROMPT).rate(kind))
            for kind, asked in (("f16", 40), ("bf16", 75))
        ),
        Target(
            f"{LARGE} of f16, its weights as memory is read",
            60,
            "%",
            percent(results.floats and results.floats.of_memory(results.floats.product(LARGE), "f16")),
        ),
        *(
            Target(f"{name} of f16, to {peer}", 1.2, "x", one and one.ratio("f16", peer))
            for name in (PROMPT, STEP, LARGE)
            for one in [results.floats and results.floats.product(name)]
            for peer in (FLOAT32, FLOAT16)
        ),
        *(
            Target(f"{name} of {GROUPS}, to {FLOAT_GROUPS}", 1.2, "x", one and one.ratio(GROUPS, FLOAT_GROUPS))
            for name in (PROMPT, STEP, LARGE)
            for one in [results.floats and results.floats.product(name)]
        ),
        Target(COPIES, 12, "million/s", per_second(COPIES)),
        Target(MATMULS, 2.5, "million/s", per_second(MATMULS)),
        Target(
            "memory of a ResNet-50 run, to what it holds",
            2,
            "x",
            memory.above / memory.held if memory else None,
            most=True,
        ),
        Target("first run ever of digits", 7, "s", seconds.get("ratel run digits, first ever"), most=True),
        Target("second process of digits", 0.5, "s", seconds.get("ratel run digits"), most=True),
        Target(
            f"ratel asm of digits, to {NUMPY}",
            2,
            "x",
            seconds["ratel asm digits"] / seconds[NUMPY] if NUMPY in seconds else None,
            most=True,
        ),
        Target("Builder, 10,000 convolutions, emitted and built", 6, "s", results.building.get(CONVS), most=True),
        Target("Builder, 100,000 copies, emitted and built", 15, "s", results.building.get(COPIES_BUILT), most=True),
        *(
            Target(f"scheduled {name} of a loop", 12, "million/s", rate / 1e6)
            for name, rate in (timed.rates.items() if timed else ())
        ),
        Target("schedule of ResNet-50 on four cores, itself", 20, "ms", timed and 1e3 * timed.itself, most=True),
        Target("ResNet-50 on four cores, another chip number", 40, "ms", timed and 1e3 * timed.sweep, most=True),
    ]
