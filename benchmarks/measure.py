"""The benchmarks in order: each workload's results checked, then its contenders timed in turns."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from benchmarks import building, floats, host, loops, moves, processes
from benchmarks.contenders import CHIPS, at_once, emulator, runtime, sgemm
from benchmarks.results import AT_ONCE, ROUNDED_ONCE, THREADS, Measured, Results, Wrong
from benchmarks.scheduling import scheduling
from benchmarks.timing import Contender, interleaved
from benchmarks.workloads import Workload, layers, networks, resnet50
from emulator.jit.forms import possible_forms
from programs.networks import onnx_model

# onnxruntime's s8s8 is slow: so many times fewer computations in its turns.
SLOWER = 6
# The least correlation of real numbers computed in other steps with those that the integers stand for.
CORRELATION = 0.99
AS_DESCRIBED = onnx_model.AS_DESCRIBED.name
Say = Callable[[str], None]


def everything(
    machine: dict[str, str], parts: Collection[str], rounds: int, say: Say, scalesim: Path | None = None
) -> Results:
    """Return what was measured of the parts named; raise Wrong where a result is wrong.

    `scalesim` is a Python that has SCALE-Sim, to be measured beside the schedule.
    """
    results = Results(machine)
    if "layers" in parts or "networks" in parts:
        say("the host: the micro-kernel alone, and copies")
        results.host = host.host(rounds)
    if "layers" in parts:
        results.layers = [workload(layer, rounds, say) for layer in layers()]
    if "networks" in parts:
        results.networks = [workload(network, rounds, say) for network in networks()]
    if "moves" in parts:
        say("instructions that move bytes")
        results.moves = moves.moves(rounds)
    if "floats" in parts:
        say("products of floats")
        results.floats = floats.floats(rounds)
    if "instructions" in parts:
        say("small instructions")
        results.instructions = loops.rates(rounds)
    if "building" in parts:
        say("programs from Python")
        results.building = building.building(rounds)
    if "scheduling" in parts:
        say("scheduling" + (", and SCALE-Sim: some minutes" if scalesim else ""))
        results.scheduling = scheduling(rounds, scalesim)
    if "memory" in parts:
        say("memory of a run of ResNet-50: processes of their own")
        results.memory = processes.memory(resnet50())
    if "processes" in parts:
        say("start-up: processes of their own, with an empty cache at first")
        results.processes = processes.start_up(rounds)
    return results


def workload(given: Workload, rounds: int, say: Say) -> Measured:
    """Check and time one workload."""
    say(f"{given.name}: preparing")
    contenders = contenders_of(given)
    say("\n         ".join(["right, now timed:", *check(given, contenders)]))
    timings, macs = interleaved(contenders, rounds), given.network.macs()
    return Measured(given.name, given.work, given.unit, timings, exact_forms(), given.kind, macs, given.moved)


def exact_forms() -> tuple[str, ...]:
    """Return onnxruntime's forms that are exact on this host: u8 x s8 where the host adds its products in 32 bits."""
    return "u8u8", "s8s8", *(("u8s8",) if {"vnni", "avxvnni"}.intersection(possible_forms()) else ())


def contenders_of(given: Workload) -> dict[str, Contender]:
    """Return who runs a workload, in the order of their turns."""
    network, x, count = given.network, given.x, given.count
    found: dict[str, Contender | None] = {
        name: emulator(network, x, chip, count, given.cores) for name, chip in CHIPS.items()
    }
    if given.sums:
        for name, chip in CHIPS.items():
            found[ROUNDED_ONCE + name] = emulator(network, x, chip, count, given.cores, round_once=True)
    if given.threads > 1:
        found[THREADS] = emulator(network, x, CHIPS["fp32"], count, given.cores, given.threads)
        runs = [emulator(network, x, CHIPS["fp32"], count, given.cores) for _ in range(given.threads)]
        found[AT_ONCE] = at_once(runs)
    for name, form in onnx_model.FORMS.items():
        found[name] = runtime(network, x, form, max(1, count // SLOWER) if name == AS_DESCRIBED else count)
    found["sgemm"] = sgemm(network, count)
    return {name: contender for name, contender in found.items() if contender is not None}


def check(given: Workload, contenders: Mapping[str, Contender]) -> list[str]:
    """Return what agrees, in words; raise Wrong where something does not."""
    network = given.network
    result = {name: contender.result for name, contender in contenders.items()}
    expected = result[AS_DESCRIBED]
    to_onnxruntime = same if contenders["fp32"].is_exact else close
    lines = [to_onnxruntime(f"fp32 and onnxruntime {AS_DESCRIBED}", result["fp32"], expected)]
    lines += [same(f"fp32 and {name}", result[name], result["fp32"]) for name in (THREADS, AT_ONCE) if name in result]
    others = ("fp24", *(f"{ROUNDED_ONCE}{name}" for name in CHIPS))
    lines += [close(name, result[name], expected) for name in others if name in result]
    real = onnx_model.real(network, onnx_model.AS_DESCRIBED, expected)
    for name, form in onnx_model.FORMS.items():
        if name != AS_DESCRIBED:
            lines.append(close(f"onnxruntime {name}", onnx_model.real(network, form, result[name]), real))
    return lines


def same(what: str, found: np.ndarray, expected: np.ndarray) -> str:
    """Return that two results are equal to the last bit, in words; raise Wrong where they are not."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise Wrong(f"{what}: {found.dtype}{list(found.shape)}, expected {expected.dtype}{list(expected.shape)}")
    different = np.argwhere(found != expected)
    if len(different):
        at = [int(k) for k in different[0]]
        raise Wrong(
            f"{what}: {len(different):,} of {found.size:,} results differ; the first, at {at}, is "
            f"{found[tuple(at)]}, not {expected[tuple(at)]}"
        )
    return f"{what}: all {found.size:,} results equal"


def close(what: str, found: np.ndarray, expected: np.ndarray) -> str:
    """Return how real numbers in other steps follow those expected; raise Wrong where they are something else."""
    if found.shape != expected.shape:
        raise Wrong(f"{what}: shape {list(found.shape)}, expected {list(expected.shape)}")
    correlation = float(np.corrcoef(found.ravel(), expected.ravel())[0, 1])
    if not correlation >= CORRELATION:
        raise Wrong(f"{what}: correlation {correlation:.4f} with the integers' results, expected {CORRELATION}")
    return f"{what}: correlation {correlation:.4f} with the integers' results"
