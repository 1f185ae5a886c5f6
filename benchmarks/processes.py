"""Whole processes: how long `ratel` takes to start, and how much memory a network takes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.results import NUMPY, Memory, Wrong
from benchmarks.workloads import Workload
from compiler.compile import compile
from emulator.execute.prepack import constants_of
from emulator.plan.load import load
from programs.networks.onnx_model import model

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "programs/digits/digits.npu"
# Runs a command and prints its seconds and its peak of memory. A small process of its own: the peak that the system
# tells of a child is never below that of the process which started it.
MEASURE = """
import json, os, sys, time
began = time.perf_counter()
child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv[1:]])
_, status, usage = os.wait4(child, 0)
print(json.dumps([time.perf_counter() - began, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)]))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Process:
    """Seconds and peak bytes of a whole process."""

    seconds: float
    peak: int


def ratel(cache: str, *arguments: str) -> Process:
    """Run `ratel`, its compiled kernels in the folder `cache`; raise Wrong where it fails."""
    return python("-m", "ratel", *arguments, RATEL_CACHE=cache, PYTHONPATH=str(ROOT))


def python(*arguments: str, **environment: str) -> Process:
    """Run Python in a process of its own; raise Wrong where it fails."""
    command = [sys.executable, "-S", "-c", MEASURE, *arguments]
    # Python's compiled files are kept, as they are where nobody forbids it.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=False, env={**kept, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"{' '.join(arguments)} failed: {done.stderr.strip()}")
    return Process(*json.loads(done.stdout.splitlines()[-1]))


def start_up(rounds: int) -> dict[str, float]:
    """Return the seconds of whole processes: the first run ever, with an empty cache, and medians of what follows."""
    with tempfile.TemporaryDirectory() as cache:
        commands: dict[str, Sequence[str]] = {
            "ratel run digits": ("run", str(DIGITS)),
            "ratel time digits": ("time", str(DIGITS)),
            "ratel asm digits": ("asm", str(DIGITS), "-o", f"{cache}/digits.npo"),
        }
        found = {"ratel run digits, first ever": ratel(cache, "run", str(DIGITS)).seconds}
        for name, arguments in commands.items():
            ratel(cache, *arguments)
            found[name] = median(ratel(cache, *arguments).seconds for _ in range(rounds))
        found[NUMPY] = median(python("-c", "import numpy").seconds for _ in range(rounds))
        return found


def memory(given: Workload) -> Memory:
    """Return what `ratel run` of a network takes."""
    with tempfile.TemporaryDirectory() as folder:
        program = compile(model(given.network)).program
        program.save(f"{folder}/network.npo")
        np.save(f"{folder}/x.npy", given.x)
        cache = f"{folder}/cache"
        peaks = []
        for arguments in ([str(DIGITS)], [f"{folder}/network.npo", "--input", f"{given.network.input}={folder}/x.npy"]):
            # The first run compiles kernels.
            ratel(cache, "run", *arguments)
            peaks.append(ratel(cache, "run", *arguments).peak)
    kinds = ("input", "output", "local")
    touched = [(s.address, s.end, k, s.memory) for kind in kinds for k, s in program.of_kind(kind)]
    weights = sum(len(segment.data) for core in program.cores for segment in core.segments)
    plan = load(program, program.chip)
    arena_bytes = constants_of(plan).arena_bytes
    return Memory(peaks[1] - peaks[0], weights, covered(touched), arena_bytes - plan.arena_bytes)


def covered(intervals: Sequence[tuple[int, int, int, str]]) -> int:
    """Return how many bytes (begin, end, core, memory) cover together: tensors may share a place."""
    reached: dict[tuple[int, str], int] = {}
    total = 0
    for begin, end, core, memory in sorted(intervals):
        from_here = max(begin, reached.get((core, memory), 0))
        total += max(0, end - from_here)
        reached[core, memory] = max(end, from_here)
    return total
