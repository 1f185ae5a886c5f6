"""A network of one node or few on the chip and in onnxruntime: every tensor that the chip makes, bit for bit.

    check(network(("Concat", "a b", "y", {"axis": 1}), given={"a": a, "b": b}))

The chip has vectors of fp32 and as much memory as it takes. Values are compared as they lie at the end, each in a place
of its own, and the network's outputs as the host gets them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import ratel
from compiler import exchange
from compiler.compile import compile
from compiler.compiled import Compiled
from compiler.fit.homes import homes
from compiler.graph import Graph, Node
from compiler.runtime import evaluate, model_of, session
from compiler.steps import Tensor
from isa.chip import Chip, load_chip

OPSET = 21
MICROSOFT = "com.microsoft"
# Of onnxruntime's own operators, which stand in another domain than ONNX's; so do ONNX's with channels last.
CONTRIBUTED = (
    *("QLinear", "QGemm", "Nhwc", "FastGelu", "BiasGelu", "QuickGelu"),
    *("SkipSimplified", "MatMulNBits", "GatherBlockQuantized", "RotaryEmbedding", "GroupQueryAttention"),
)
IN_ONNX = ("QLinearConv", "QLinearMatMul")

Arrays = Mapping[str, np.ndarray]
# Operator, names of inputs and of outputs with spaces between ("_" is one that is left out), and attributes.
Written = tuple[str, str, str] | tuple[str, str, str, Mapping[str, Any]]


@dataclass(frozen=True)
class Network:
    """A model, and what it is given."""

    model: onnx.ModelProto
    given: Arrays


@cache
def chip() -> Chip:
    """Return a chip with vectors of float32, products of float16, and memory for any network of a test."""
    formats = {"te__vector_format": "fp32", "pe__vector_format": "fp32"}
    memory = {"memory__lm_bytes": 2**30, "memory__cb_bytes": 2**26, "memory__ib_bytes": 2**26}
    return load_chip("hanguang800").replace(**formats, **memory, te__f16_cycles=2)


def network(
    *nodes: Written, given: Arrays, constants: Arrays | None = None, outputs: str = "", opset: int = OPSET
) -> Network:
    """Return a network of some nodes; its outputs are those of the last one, where none are said."""
    made = []
    for operator, read, results, *more in nodes:
        attributes = more[0] if more else {}
        is_own = "channels_last" in attributes or operator not in IN_ONNX
        domain = MICROSOFT if operator.startswith(CONTRIBUTED) and is_own else ""
        names = [["" if name == "_" else name for name in part.split()] for part in (read, results)]
        made.append(helper.make_node(operator, *names, domain=domain, **attributes))
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    ends = outputs.split() or [name for name in made[-1].output if name]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(made, "test", inputs, [onnx.ValueInfoProto(name=name) for name in ends], held)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return Network(helper.make_model(graph, opset_imports=imports, ir_version=10), given)


def wanted(graph: Graph, given: Arrays) -> dict[str, np.ndarray]:
    """Return what onnxruntime makes of each value of a graph, its nodes as they are written.

    Between nodes of float16, which it computes in float32, it leaves out roundings: so each is computed alone.
    """
    if any(value.dtype == np.float16 for value in graph.values.values()):
        return one_by_one(graph, given)
    inputs = {name: (graph.values[name].dtype, graph.values[name].shape) for name in graph.inputs}
    read = {name for node in graph.nodes for name in node.inputs if name}
    constants = {name: data for name in read if (data := graph.values[name].data) is not None}
    names = [name for node in graph.nodes for name in node.outputs if name]
    fed = {name: given[name] for name in graph.inputs}
    found = session(model_of(graph.nodes, inputs, constants, names, graph.opsets)).run(names, fed) if names else []
    return {**given, **dict(zip(names, found))}


def one_by_one(graph: Graph, given: Arrays, found: Arrays | None = None) -> dict[str, np.ndarray]:
    """Return what onnxruntime makes of each value of a graph, each node of what was `found`, or of what it made."""
    values = {name: value.data for name, value in graph.values.items() if value.data is not None} | dict(given)
    made = dict(values)
    for node in graph.nodes:
        names = [name for name in node.outputs if name]
        fed = {name: values[name] for name in node.inputs if name}
        right = dict(zip(names, evaluate([node], fed, names, graph.opsets)))
        made |= right
        values |= {name: (found or {}).get(name, array) for name, array in right.items()}
    return {name: array for name, array in made.items() if name not in graph.values or graph.values[name].data is None}


def differences(compiled: Compiled, given: Arrays) -> list[str]:
    """Return, for each value that the chip makes and that is not onnxruntime's, what is wrong with it."""
    return [said for said in compared(compiled, given).values() if said]


def compared(compiled: Compiled, given: Arrays) -> dict[str, str]:
    """Return, for each value that the chip makes and that has a place of its own, what is wrong with it, or "".

    Of a network in tiles these are the ones behind local memory. What the host gets is compared as well. Of functions
    of the chip's own, and of what the same part makes of them, the bits are no matter.
    """
    graph = compiled.graph
    right = wanted(graph, given)
    said = {}
    for part in compiled.parts:
        if part.program is None:
            continue
        (plan,) = part.plans
        fed = exchange.given(part.plans, {name: right[name] for name in plan.inputs})
        memories = homes(plan, compiled.chip)
        kept = {tensor for tensor, memory in memories.items() if memory in ("dev", "host")} or set(memories)
        views = {
            name: view
            for name, view in plan.views.items()
            if view.tensor.kind == "output" or (view.tensor.kind == "local" and view.tensor in kept)
        }
        local = sorted({view.tensor.name for view in views.values() if view.tensor.kind == "local"})
        run = ratel.run(part.program, fed, dumps=local)
        arrays = run.dumps | {tensor.name: _lying(tensor, run.outputs[tensor.name]) for tensor in plan.outputs.values()}
        found = {name: exchange.seen(view, arrays[view.tensor.name]) for name, view in views.items() if name in right}
        own = of_its_own(part.graph, plan.inexact)
        # What lies as it is, and what the host gets.
        for values in (found, exchange.made(part.plans, graph, run.outputs)):
            for name in values.keys() - own:
                said[name] = said.get(name) or _difference(graph, name, right[name], values[name])
    return said


def of_its_own(graph: Graph, inexact: Collection[Node]) -> set[str]:
    """Return the values that follow what the chip computes in its own way."""
    found: set[str] = set()
    for node in graph.nodes:
        if node in inexact or found.intersection(node.inputs):
            found |= set(node.outputs)
    return found


def results(compiled: Compiled, given: Arrays, check: bool = True) -> list[np.ndarray]:
    """Return the outputs of a network: its parts in turn, on the chip (checked for races first) and in onnxruntime."""
    graph = compiled.graph
    values = {name: value.data for name, value in graph.values.items() if value.data is not None} | dict(given)
    for part in compiled.parts:
        if part.program is None:
            fed = {name: values[name] for name in part.graph.inputs}
            values |= dict(zip(part.graph.outputs, session(part.model).run(list(part.graph.outputs), fed)))
        else:
            fed = exchange.given(part.plans, {name: values[name] for name in part.plans[0].inputs})
            values |= exchange.made(part.plans, graph, ratel.run(part.program, fed, check=check).outputs)
    return [np.asarray(values[name]) for name in graph.outputs]


def _lying(tensor: Tensor, output: np.ndarray) -> np.ndarray:
    """Return an output as it lies in memory."""
    return np.transpose(output.reshape(exchange.hosted(tensor)), np.argsort(tensor.axes)) if tensor.axes else output


def _difference(graph: Graph, name: str, right: np.ndarray, found: np.ndarray) -> str:
    node = next((node for node in graph.nodes if name in node.outputs), None)
    label = f"{name} of {node.label if node else 'the inputs'}"
    if found.shape != right.shape:
        return f"{label} is {found.shape}, not {right.shape}"
    unequal = ~((found == right) | ((found != found) & (right != right)))
    if not unequal.any():
        return ""
    at = tuple(np.argwhere(unequal)[0].tolist())
    return (
        f"{label}: {int(unequal.sum())} of {right.size} differ, the first at {list(at)}: {found[at]}, not {right[at]}"
    )


def check(net: Network, *, host: bool = False) -> Compiled:
    """Hold a network against onnxruntime; without `host` the chip has to compute all of it."""
    compiled = compile(net.model, chip(), keep=True, host=host)
    wrong = differences(compiled, net.given)
    assert not wrong, "\n".join(wrong)
    return compiled


def refusals(net: Network) -> list[str]:
    """Return why nodes of a network are the host's, whose results are compared all the same."""
    return list(check(net, host=True).refused.values())


def mnemonics(compiled: Compiled) -> list[str]:
    """Return the instructions of a network that the chip computes alone."""
    return [step.mnemonic for part in compiled.parts for plan in part.plans for step in plan.steps]


def noise(seed: int, dtype: Any, shape: Sequence[int]) -> np.ndarray:
    """Return numbers of a type, of its whole range if it has 8 bits, else small ones."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "f":
        return (rng.normal(0, 8, shape)).astype(kind)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    info = np.iinfo(kind)
    low, high = max(info.min, -(2**20)), min(info.max, 2**20)
    return rng.integers(low, high, tuple(shape), endpoint=True).astype(kind)
