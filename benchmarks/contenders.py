"""Who runs a network: this emulator, onnxruntime in each form, and numpy's sgemm on the same shapes.

What stays out of the clock is what a user does once: assembling and loading, making a session, packing weights that
do not change. Copying the input in and the output out is inside. A turn of the emulator is a stream of tasks, each
with its own input and output, one after another: a run sets the weights down in memory once, as a session does.
"""

import math
from collections.abc import Callable

import numpy as np
import onnxruntime

from benchmarks import graphs
from benchmarks.timing import Contender, prepared
from emulator.execute import execute
from emulator.plan import load
from isa.chip import Chip, load_chip
from programs.networks.emit import builder
from programs.networks.graph import Conv, Dense, Network

f32 = np.float32
# Vector formats: float32 in both engines, which is what onnxruntime computes in, and the chip's own fp24 and fp19.
CHIPS = {
    "fp32": load_chip("hanguang800", te__vector_format="fp32", pe__vector_format="fp32"),
    "fp24": load_chip("hanguang800"),
}


def emulator(network: Network, x: np.ndarray, chip: Chip, count: int, cores: int = 1) -> Contender:
    """Return the network on a chip, its input NHWC; a turn is a stream of `count` tasks, and gives the last output."""

    def make() -> Callable[[], np.ndarray]:
        plan = load(builder(network, cores=cores).build(chip), chip, count)
        inputs = {network.input: np.broadcast_to(x, (count, *x.shape))}
        return lambda: execute(plan, inputs).outputs[network.output][-1]

    return prepared(make, count)


def runtime(network: Network, x: np.ndarray, form: graphs.Form, count: int) -> Contender:
    """Return onnxruntime on the network in a form, one thread, all optimisations; it gives the output."""

    def make() -> Callable[[], np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = graphs.model(network, form).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        given = {network.input: graphs.given(network, form, x)}
        return lambda: [session.run(None, given)[0] for _ in range(count)][-1]

    return prepared(make, count)


def sgemm(network: Network, count: int) -> Contender | None:
    """Return the network's products alone as float32 matrix multiplies, patches gathered beforehand; None without any.

    Depthwise convolutions are no matrix multiplies: they are left out, of `macs` too.
    """
    shapes = []
    for node in network.nodes:
        if isinstance(node, Conv | Dense):
            outputs, summed = len(node.weight), math.prod(node.weight.shape[1:])
            shapes.append((math.prod(network.tensors[node.out].shape) // outputs, summed, outputs))
    if not shapes:
        return None

    def make() -> Callable[[], None]:
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

        return run

    return prepared(make, count, sum(map(math.prod, shapes)))
