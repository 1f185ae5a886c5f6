"""Who runs a network: this emulator, onnxruntime in each form, and numpy's sgemm on the same shapes.

What is done once stays out of the clock: compiling and loading, making a session, packing weights that do not change.
Copying the input in and the output out is inside.
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnxruntime

from benchmarks.timing import Contender
from compiler import exchange
from compiler.compile import compile
from emulator.execute.session import Session
from emulator.plan.load import load
from isa.chip import Chip, load_chip
from programs.networks import onnx_model
from programs.networks.graph import Attention, Conv, Dense, Network

f32 = np.float32
# Vector formats: float32 in both engines, which is what onnxruntime computes in, and the chip's own fp24 and fp19.
CHIPS = {
    "fp32": load_chip("hanguang800", te__vector_format="fp32", pe__vector_format="fp32"),
    "fp24": load_chip("hanguang800"),
}


def emulator(
    network: Network,
    x: np.ndarray,
    chip: Chip,
    count: int,
    cores: int = 1,
    threads: int = 1,
    round_once: bool = False,
) -> Contender:
    """Return the network as described, compiled for a chip, its input NHWC or rows."""
    began = time.perf_counter()
    compiled = compile(onnx_model.model(network), chip, cores=cores, round_once=round_once)
    plan = load(compiled.program, chip)
    prepared = time.perf_counter()
    # Compiles or loads the kernels, too.
    Session(plan, threads=threads).close()
    loaded = time.perf_counter()
    session = Session(plan, threads=threads)
    set_up = time.perf_counter() - loaded
    (part,) = compiled.parts
    inputs = exchange.given(part.plans, {network.input: x})
    result = exchange.made(part.plans, part.graph, session.run(inputs).outputs)[network.output]

    def run() -> None:
        for _ in range(count):
            session.run(inputs)

    return Contender(run, count, result, prepared - began, set_up, is_exact=not compiled.inexact)


def at_once(several: Sequence[Contender]) -> Contender:
    """Return contenders with a thread each, that share nothing and never wait for each other: the host's own limit."""

    def run() -> None:
        with ThreadPoolExecutor(len(several)) as threads:
            for done in [threads.submit(one.run) for one in several]:
                done.result()

    return replace(several[-1], run=run, count=sum(one.count for one in several))


def runtime(network: Network, x: np.ndarray, form: onnx_model.Form, count: int) -> Contender:
    """Return onnxruntime on the network in a form, one thread, all optimisations."""
    began = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = onnx_model.model(network, form).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {network.input: onnx_model.given(network, form, x)}
    (result,) = session.run(None, given)

    def run() -> None:
        for _ in range(count):
            session.run(None, given)

    return Contender(run, count, result, time.perf_counter() - began)


def sgemm(network: Network, count: int) -> Contender | None:
    """Return the network's products alone as float32 matrix multiplies, patches gathered beforehand; None without any.

    Depthwise convolutions are no matrix multiplies: they are left out, of `macs` too.
    """
    shapes = []
    for node in network.nodes:
        match node:
            case Conv() | Dense():
                outputs, summed = len(node.weight), math.prod(node.weight.shape[1:])
                shapes.append((math.prod(network.tensors[node.out].shape) // outputs, summed, outputs))
            case Attention():
                steps, model = network.tensors[node.q].shape
                size = model // node.heads
                shapes += [(steps, size, steps), (steps, steps, size)] * node.heads
    if not shapes:
        return None
    began = time.perf_counter()
    rng = np.random.default_rng(1)
    # Equal shapes share their matrices, which can only help.
    matrices = {
        shape: (rng.random(shape[:2], f32), rng.random(shape[1:], f32), np.empty(shape[::2], f32))
        for shape in set(shapes)
    }

    def run() -> None:
        for shape in shapes * count:
            x, w, out = matrices[shape]
            np.matmul(x, w, out)

    return Contender(run, count, prepared=time.perf_counter() - began, macs=sum(map(math.prod, shapes)))
