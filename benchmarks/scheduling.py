"""Scheduling, which needs no data: how fast, how much memory, and SCALE-Sim on the same network where it is installed.

SCALE-Sim 3.0.0 needs numpy below 2.3, so it has an environment of its own, whose Python is given by `--scalesim`:

    python3 -m venv scalesim && scalesim/bin/pip install scalesim==3.0.0 'numpy<2.3'
"""

import os
import subprocess
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from statistics import median

import ratel
from benchmarks import processes
from benchmarks.results import Scheduling, Wrong
from compiler.compile import compile
from emulator.plan.load import load
from emulator.timing.flatten import costs_of, flat
from emulator.timing.replay import clock_of, run
from emulator.timing.timeline import executed, schedule
from isa.chip import load_chip
from programs.networks.catalogue import network
from programs.networks.graph import Conv, Dense, Network
from programs.networks.onnx_model import model

CHIP, CORES, IMAGES = "hanguang800", 4, 16
LOOP = """.chip hanguang800
{declarations}
loop i, {count}
    {instruction}
brnz i
end"""
# The declarations of a loop, and its instruction.
LOOPS = {
    "copies": (".input x i8[64]\n.output y i8[64]", "copy y, x"),
    "matmuls": (
        """.input x i8[16, 16] scale=0.1
.input r i8[16, 16] scale=0.2
.weight w i8[16, 16] scale=0.01 = 5
.const b i32[16] = 7
.output y i8[16, 16] scale=0.5""",
        "matmul y, x, w, bias=b, add=r, relu",
    ),
}
COUNT, MANY, FEW = 4_000_000, 10_000_000, 10_000
# An array like TPU v1's, half as wide; what it is does not change the time that SCALE-Sim takes by much.
CONFIGURATION = """[general]
run_name = run
[architecture_presets]
ArrayHeight : 128
ArrayWidth : 128
IfmapSramSzkB : 16384
FilterSramSzkB : 16384
OfmapSramSzkB : 16384
IfmapOffset : 0
FilterOffset : 10000000
OfmapOffset : 20000000
Bandwidth : 100
Dataflow : ws
ReadRequestBuffer : 32
WriteRequestBuffer : 32
[layout]
IfmapCustomLayout : False
IfmapSRAMBankBandwidth : 10
IfmapSRAMBankNum : 10
IfmapSRAMBankPort : 2
FilterCustomLayout : False
FilterSRAMBankBandwidth : 10
FilterSRAMBankNum : 10
FilterSRAMBankPort : 2
[sparsity]
SparsitySupport : false
SparseRep : ellpack_block
OptimizedMapping : false
BlockSize : 8
RandomNumberGeneratorSeed : 40
[run_presets]
InterfaceBandwidth : CALC
UseRamulatorTrace : False
"""


def scheduling(rounds: int, scalesim: Path | None) -> Scheduling:
    """Return what scheduling takes; with `scalesim`, the Python that has it, also what that takes: minutes."""
    net = network("resnet50")
    return replace(
        of_network(net, rounds),
        rates={name: _rate(name, rounds) for name in LOOPS},
        peaks={count: _peak(count) for count in (FEW, MANY)},
        scalesim=_scalesim(net, scalesim) if scalesim else None,
    )


def of_network(net: Network, rounds: int) -> Scheduling:
    """Return what the schedule of a network takes, each of four cores computing images of its own."""
    compiled = compile(model(net), CHIP, cores=CORES, batch=IMAGES, round_once=True)
    plan = load(compiled.program, compiled.chip)
    parts, sweep = [], []
    schedule(plan)
    for k in range(rounds):
        times = [time.perf_counter()]
        costs = costs_of(plan)
        times.append(time.perf_counter())
        tables = flat(plan, costs)
        times.append(time.perf_counter())
        run(plan, clock_of(plan, tables), 0, executed(plan), None)
        times.append(time.perf_counter())
        parts.append([after - before for before, after in pairwise(times)])
        began = time.perf_counter()
        # The port's rate is a part of most costs.
        rate = compiled.chip["te.read_bytes_per_cycle"] + 1 + k
        assert ratel.time(compiled.program, compiled.chip.replace(te__read_bytes_per_cycle=rate)).cycles
        sweep.append(time.perf_counter() - began)
    costs_seconds, tables_seconds, itself = map(median, zip(*parts, strict=True))
    return Scheduling({}, executed(plan), costs_seconds, tables_seconds, itself, median(sweep), {}, None)


def _loop(name: str, count: int) -> str:
    declarations, instruction = LOOPS[name]
    return LOOP.format(declarations=declarations, count=count, instruction=instruction)


def _rate(name: str, rounds: int) -> float:
    plan = load(ratel.assemble(_loop(name, COUNT)), load_chip(CHIP))
    schedule(plan)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        schedule(plan)
        seconds.append(time.perf_counter() - began)
    return COUNT / median(seconds)


def _peak(count: int) -> int:
    """Return the peak bytes of `ratel time` of a loop, path included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "loop.npu")
        path.write_text(_loop("copies", count))
        processes.ratel(f"{folder}/cache", "time", str(path))
        return processes.ratel(f"{folder}/cache", "time", str(path)).peak


def _scalesim(net: Network, python: Path) -> float:
    """Return the seconds that SCALE-Sim takes for the products of a network, as matrices, traces not written."""
    layers = [
        (prod(net.tensors[node.out].shape[:-1]), node.weight.shape[0], prod(node.weight.shape[1:]))
        for node in net.nodes
        if isinstance(node, Conv | Dense)
    ]
    rows = [f"L{k}, {m}, {n}, {length}," for k, (m, n, length) in enumerate(layers)]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "layers.csv").write_text("\n".join(["Layer, M, N, K,", *rows, ""]))
        Path(folder, "array.cfg").write_text(CONFIGURATION)
        command = [str(python), "-m", "scalesim.scale", "-c", "array.cfg", "-t", "layers.csv", "-l", os.devnull]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "-i", "gemm", "-s", "N", "-p", "out"], check=False, cwd=folder, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        report = Path(folder, "out", "run", "COMPUTE_REPORT.csv")
        if done.returncode or not report.exists() or len(report.read_text().splitlines()) != len(layers) + 1:
            raise Wrong(f"SCALE-Sim did not finish: {done.stderr.strip()[-300:]}")
        return seconds
