"""Measure start-up and kernel rates on the machine at hand: python benchmarks/run.py [--rounds N].

Start-up: whole processes, wall-clock seconds, median and least of N rounds; the first run ever has an empty cache.
Kernels: one instruction in a hardware loop, billions of multiply-adds (or bytes) a second, median of N runs, one
thread, loading and compilation outside the clock.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from emulator.execute import execute
from emulator.inputs import prepare
from emulator.plan import load
from isa.chip import load_chip
from ratel import assemble

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "programs/digits/digits.npu"

# name: (work of one iteration in 1e9, unit, iterations, text)
KERNELS = {
    "conv 3x3, 64 -> 64, 56x56": (
        56 * 56 * 64 * 576 / 1e9,
        "GMAC/s",
        4,
        """.input x i8[1, 56, 56, 64] = 3
.weight w i8[64, 3, 3, 64] scale=0.001 = 5
.output y i8[1, 56, 56, 64] scale=0.5
loop i, 4
    conv y, x, w, pad=1, relu
brnz i
end""",
    ),
    "conv 1x1, 256 -> 256, 28x28": (
        28 * 28 * 256 * 256 / 1e9,
        "GMAC/s",
        8,
        """.input x i8[1, 28, 28, 256] = 3
.weight w i8[256, 1, 1, 256] scale=0.001 = 5
.output y i8[1, 28, 28, 256] scale=0.5
loop i, 8
    conv y, x, w, relu
brnz i
end""",
    ),
    "matmul 512 x 512 x 512": (
        512**3 / 1e9,
        "GMAC/s",
        4,
        """.input x i8[512, 512] = 3
.weight w i8[512, 512] scale=0.001 = 5
.output y i8[512, 512] scale=0.5
loop i, 4
    matmul y, x, w
brnz i
end""",
    ),
    "dwconv 3x3, 128, 56x56": (
        56 * 56 * 128 * 9 / 1e9,
        "GMAC/s",
        16,
        """.input x i8[1, 56, 56, 128] = 3
.weight w i8[1, 3, 3, 128] scale=0.001 = 5
.output y i8[1, 56, 56, 128] scale=0.5
loop i, 16
    dwconv y, x, w, pad=1, relu
brnz i
end""",
    ),
    "maxpool 3x3, 64, 112x112": (
        112 * 112 * 64 / 1e9,
        "GB/s read",
        16,
        """.input x i8[1, 112, 112, 64] = 3
.output y i8[1, 56, 56, 64]
loop i, 16
    maxpool y, x, window=3, stride=2, pad=(0, 0, 1, 1)
brnz i
end""",
    ),
    "eltwise add, 1 MB": (
        2**20 / 1e9,
        "G elements/s",
        8,
        """.input x i8[1024, 1024] scale=0.1 = 3
.output y i8[1024, 1024] scale=0.1
loop i, 8
    eltwise y, x, add=x
brnz i
end""",
    ),
    "copy, 1 MB": (
        2**20 / 1e9,
        "GB/s",
        64,
        """.input x i8[1024, 1024] = 3
.output y i8[1024, 1024]
loop i, 64
    copy y, x
brnz i
end""",
    ),
    "copy, 64 bytes": (
        1e-9,
        "G instructions/s",
        1_000_000,
        """.input x i8[64] = 3
.output y i8[64]
loop i, 1000000
    copy y, x
brnz i
end""",
    ),
}


def rates(rounds: int) -> None:
    print(f"\n{'kernel':32} {'rate':>10} unit")
    for name, (work, unit, iterations, text) in KERNELS.items():
        plan = load(assemble(text), load_chip("hanguang800", te__vector_format="fp32"))
        inputs = prepare(plan.program, {})
        execute(plan, inputs)
        spent = []
        for _ in range(rounds):
            began = time.perf_counter()
            execute(plan, inputs)
            spent.append(time.perf_counter() - began)
        print(f"{name:32} {work * iterations / statistics.median(spent):10.3f} {unit}")


def start_up(rounds: int) -> None:
    print(f"{'command':32} {'median s':>10} {'least s':>10}")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "RATEL_CACHE": folder, "PYTHONPATH": str(ROOT)}

        def measure(label: str, times: int, *arguments: str) -> None:
            spent = []
            for _ in range(times):
                began = time.perf_counter()
                command = [sys.executable, "-m", "ratel", *arguments]
                subprocess.run(command, check=True, env=environment, capture_output=True)
                spent.append(time.perf_counter() - began)
            print(f"{label:32} {statistics.median(spent):10.2f} {min(spent):10.2f}")

        measure("run digits, first ever", 1, "run", str(DIGITS))
        measure("run digits", rounds, "run", str(DIGITS))
        measure("time digits", rounds, "time", str(DIGITS))
        measure("asm digits", rounds, "asm", str(DIGITS), "-o", f"{folder}/digits.npo")


def machine() -> str:
    """Return the name of the processor, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    rounds = options.parse_args().rounds
    print(f"{machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"NumPy {np.__version__}\n")
    start_up(rounds)
    rates(rounds)


if __name__ == "__main__":
    main()
