"""Functions of one 8-bit tensor: whatever nodes make of it, element by element, is a table of 256 values.

onnxruntime fills the tables, by computing the nodes for each of the 256 values: so they have its bits, whatever the
operators are.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph, Node
from compiler.runtime import evaluate

# Operators that make of each element one, whatever stands beside it. Sin, Cos and Tan are not among them: onnxruntime
# computes the last elements of a row in another way.
ELEMENT_WISE = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "And",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BiasGelu",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Cosh",
        "DequantizeLinear",
        "Div",
        "Elu",
        "Equal",
        "Erf",
        "Exp",
        "FastGelu",
        "Floor",
        "Gelu",
        "Greater",
        "GreaterOrEqual",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "Max",
        "Min",
        "Mish",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "PRelu",
        "Pow",
        "QLinearAdd",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QuantizeLinear",
        "QuickGelu",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
        "Where",
        "Xor",
    ]
)
EIGHT_BITS = ("uint8", "int8")
# What a table's values may become.
TABLED = (*EIGHT_BITS, "bool", "float32")


def sources(graph: Graph) -> dict[str, str]:
    """Return, for each value that is a function of one 8-bit tensor, element by element, the name of that tensor."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op not in ELEMENT_WISE:
            continue
        roots = {found.get(name, name) for name in node.inputs if name and graph.values[name].data is None}
        constants = [graph.values[name] for name in node.inputs if name and graph.values[name].data is not None]
        if len(roots) != 1 or any(value.elements != 1 for value in constants):
            continue
        (root,) = roots
        source = graph.values[root]
        if source.dtype.name in EIGHT_BITS and all(
            graph.values[name].shape == source.shape for name in node.outputs if name
        ):
            found |= dict.fromkeys(filter(None, node.outputs), root)
    return found


def chosen(graph: Graph, found: Mapping[str, str]) -> dict[str, str]:
    """Return of these values those that the chip makes by a table: what others read, and no single step makes.

    The values between, which nobody else reads, are not made at all.
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    inside = {name for name, source in found.items() if not is_direct(graph, makers[name], source)}
    return {name: source for name, source in found.items() if name in inside and _is_read(graph, name, inside)}


def is_direct(graph: Graph, node: Node, source: str) -> bool:
    """Return whether a single step makes what a node makes of an 8-bit tensor, other than by a table."""
    is_cast = node.op == "Cast" and graph.values[node.outputs[0]].dtype.name not in TABLED
    return (is_cast or node.op in ("DequantizeLinear", "Identity")) and node.inputs[0] == source


def _is_read(graph: Graph, name: str, inside: Iterable[str]) -> bool:
    if name in graph.outputs:
        return True
    return any(name in node.inputs and not any(made in inside for made in node.outputs if made) for node in graph.nodes)


def filled(graph: Graph, names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Return the table of each of these values, in float32, from the least of its source to the greatest."""
    tables: dict[str, NDArray[Any]] = {}
    for root in dict.fromkeys(names.values()):
        wanted = [name for name, source in names.items() if source == root]
        nodes = _between(graph, root, wanted)
        info = np.iinfo(graph.values[root].dtype)
        given = {root: np.arange(info.min, info.max + 1, dtype=graph.values[root].dtype)}
        for node in nodes:
            for name in node.inputs:
                if name and (data := graph.values[name].data) is not None:
                    given[name] = data.reshape(-1)[:1] if data.ndim > 1 else data
        for name, table in zip(wanted, evaluate(nodes, given, wanted, graph.opsets)):
            tables[name] = table.reshape(-1).astype(np.float32)
    return tables


def _between(graph: Graph, root: str, wanted: Sequence[str]) -> list[Node]:
    """Return the nodes that make these values of the root."""
    needed, nodes = set(wanted), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed |= {name for name in node.inputs if name and name != root and graph.values[name].data is None}
    return nodes[::-1]
