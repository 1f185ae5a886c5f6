"""From an ONNX network to a program: the passes in turn."""

from collections.abc import Mapping, Sequence
from typing import Any

from assembler.builder.builder import Builder
from compiler.emit import emit
from compiler.graph import Graph, Node
from compiler.lower import elementwise
from compiler.lower.lowering import Lowering
from compiler.lower.table import LOWER
from compiler.read import read
from compiler.steps import Plan, Tensor, View
from isa.chip import Chip, load_chip


def compile(
    model: Any, chip: str | Chip = "hanguang800", *, shapes: Mapping[str, Sequence[int]] | None = None
) -> Builder:
    graph = read(model, shapes)
    return emit(lowered(graph), graph, load_chip(chip))


def lowered(graph: Graph) -> Plan:
    """Return what the chip does for a network."""
    low = Lowering(graph)
    users = graph.users()
    for name in graph.inputs:
        readers = users[name]
        if len(readers) == 1 and readers[0].op == "QuantizeLinear" and name not in graph.outputs:
            continue
        _input(low, name, name)
    for node in graph.nodes:
        low.begin(node)
        if node.op == "QuantizeLinear" and node.inputs[0] in graph.inputs:
            q = elementwise.quantise_input(low, node)
            assert q is not None
            tensor = _input(low, node.inputs[0], node.outputs[0])
            tensor.scale, tensor.zero = float(q.one_scale), q.zero
            continue
        LOWER[node.op](low, node)
    outputs = {name: _output(low, name) for name in graph.outputs}
    return Plan(tuple(low.steps), low.inputs, outputs, low.views)


def _input(low: Lowering, name: str, value: str) -> Tensor:
    """Declare an input, which lies as its first reader wants it."""
    shape = low.value(name).shape
    order = (0, *range(2, len(shape)), 1) if len(shape) in (3, 4) else tuple(range(len(shape)))
    view = low.local(low.dtype(value), shape, order, name)
    view.tensor.kind = "input"
    view.tensor.axes = tuple(order.index(k) for k in range(len(shape)))
    low.inputs[name] = view.tensor
    low.views[value] = view
    return view.tensor


def _output(low: Lowering, name: str) -> Tensor:
    view = low.view(name)
    if view.tensor.kind != "local" or not view.is_whole:
        view = low.copied(view, range(view.rank))
    tensor = view.tensor
    tensor.kind = "output"
    order = view.order
    tensor.shape = tuple(view.shape[k] for k in order) or (1,)
    tensor.axes = tuple(order.index(k) for k in range(view.rank))
    return tensor


def node_of(node: Node) -> View | None:
    del node
    return None
