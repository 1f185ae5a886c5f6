"""The results of a run of the benchmarks, and what was asked of them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.building import CONVS
from benchmarks.building import COPIES as COPIES_BUILT
from benchmarks.loops import COPIES, MATMULS
from benchmarks.timing import Timing

# Contenders: the emulator's are its vector formats, behind ROUNDED_ONCE for networks that are compiled so; in fp32
# THREADS, which share a run, and AT_ONCE, as many runs of one thread each, side by side.
ROUNDED_ONCE, THREADS, AT_ONCE = "rounded once, ", "2 threads", "2 runs at once"


class Wrong(Exception):
    """Raised where a result is not what it must be, or a command fails."""


@dataclass(frozen=True)
class Measured:
    """A workload's timings by contender, of which onnxruntime's have the names of its forms."""

    name: str
    work: int
    unit: str
    timings: dict[str, Timing]

    def rate(self, contender: str) -> float | None:
        """Return how much work a contender does in a second, in 1e9; None where it does not run it."""
        timing = self.timings.get(contender)
        return None if timing is None else (timing.macs or self.work) / timing.median / 1e9

    def ratio(self, contender: str, other: str) -> float | None:
        """Return one's rate over another's, None where one of them is missing."""
        one, two = self.rate(contender), self.rate(other)
        return one / two if one and two else None


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
    their costs, of the tables of numbers made of these, and of the schedule itself. Peak bytes of `ratel time` by the
    count of a loop. The seconds of SCALE-Sim on the same network's products; None where it was not asked for.
    """

    rates: dict[str, float]
    instructions: int
    costs: float
    tables: float
    itself: float
    peaks: dict[int, int]
    scalesim: float | None


@dataclass
class Results:
    """All that was measured; what was not is empty."""

    machine: dict[str, str]
    # GMAC/s of the micro-kernel alone, its operands in the first-level cache.
    limit: float | None = None
    layers: list[Measured] = field(default_factory=list)
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

    def of_limit(network: str) -> float | None:
        measured = results.network(network)
        rate = measured.rate("fp32") if measured else None
        return 100 * rate / results.limit if rate and results.limit else None

    def per_second(name: str) -> float | None:
        return results.instructions[name] / 1e6 if name in results.instructions else None

    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value

    memory, timed = results.memory, results.scheduling
    seconds = results.processes
    return [
        Target("ResNet-50, to onnxruntime u8u8", 1.1, "x", ratio("resnet50", "fp32", "u8u8")),
        Target("ResNet-50, to onnxruntime s8s8", 6, "x", ratio("resnet50", "fp32", "s8s8")),
        Target("ResNet-50, of the micro-kernel in L1", 70, "%", of_limit("resnet50")),
        Target("ResNet-50, fp24 of fp32", 70, "%", percent(ratio("resnet50", "fp24", "fp32"))),
        Target(
            "ResNet-50 rounded once, fp24 of fp32",
            70,
            "%",
            percent(ratio("resnet50", f"{ROUNDED_ONCE}fp24", f"{ROUNDED_ONCE}fp32")),
        ),
        Target("VGG-16, of the micro-kernel in L1", 75, "%", of_limit("vgg16")),
        Target("MobileNetV2, to onnxruntime u8u8", 1, "x", ratio("mobilenet_v2", "fp32", "u8u8")),
        Target("BERT layer, to onnxruntime u8u8", 1, "x", ratio("bert_layer", "fp32", "u8u8")),
        Target("ResNet-50, two threads to one", 1.8, "x", ratio("resnet50", THREADS, "fp32")),
        Target(COPIES, 5, "million/s", per_second(COPIES)),
        Target(MATMULS, 1, "million/s", per_second(MATMULS)),
        Target(
            "memory of a ResNet-50 run, to what it holds",
            2,
            "x",
            memory.above / memory.held if memory else None,
            most=True,
        ),
        Target("first run ever of digits", 20, "s", seconds.get("ratel run digits, first ever"), most=True),
        Target("second process of digits", 1, "s", seconds.get("ratel run digits"), most=True),
        Target("ratel asm of digits", 0.3, "s", seconds.get("ratel asm digits"), most=True),
        Target("Builder, 10,000 convolutions, emitted and built", 6, "s", results.building.get(CONVS), most=True),
        Target("Builder, 100,000 copies, emitted and built", 15, "s", results.building.get(COPIES_BUILT), most=True),
        *(
            Target(f"scheduled {name} of a loop", 10, "million/s", rate / 1e6)
            for name, rate in (timed.rates.items() if timed else ())
        ),
        Target("schedule of ResNet-50 on four cores, itself", 20, "ms", timed and 1e3 * timed.itself, most=True),
    ]
