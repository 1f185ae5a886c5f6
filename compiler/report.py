"""How far results are from onnxruntime's, where sums are rounded once or functions are the chip's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph
from compiler.runtime import evaluate
from isa.errors import InputError


@dataclass(frozen=True)
class Difference:
    """What of an output differs: `unequal` of `elements`, by `greatest` at most, in the output's own units.

    `steps` counts how many elements differ by so much, where they are integers.
    """

    name: str
    elements: int
    unequal: int
    greatest: float
    steps: Mapping[int, int]

    def __str__(self) -> str:
        if not self.unequal:
            return f"{self.name}: all {self.elements} elements are onnxruntime's"
        share = f"{self.unequal} of {self.elements} elements ({self.unequal / self.elements:.2%})"
        return f"{self.name}: {share} differ from onnxruntime's, by {self.greatest:g} at most"


def differences(
    graph: Graph, given: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]
) -> tuple[Difference, ...]:
    """Compare a network's outputs, as they were found for some inputs, with what onnxruntime makes of its nodes.

    `given` has each input of the graph by its name, `found` each output. Raises InputError where one is missing.
    """
    for names, arrays, what in ((graph.inputs, given, "input"), (graph.outputs, found, "output")):
        if missing := [name for name in names if name not in arrays]:
            raise InputError(f"{graph.name}: the {what} {missing[0]!r} is missing")
    read = {name for node in graph.nodes for name in node.inputs if name}
    held = {name: data for name in read if (data := graph.values[name].data) is not None}
    right = evaluate(graph.nodes, {**{name: given[name] for name in graph.inputs}, **held}, graph.outputs, graph.opsets)
    return tuple(_difference(name, found[name], array) for name, array in zip(graph.outputs, right))


def _difference(name: str, found: NDArray[Any], right: NDArray[Any]) -> Difference:
    is_equal = (found == right) | ((found != found) & (right != right))
    far = np.abs(found.astype(np.float64) - right.astype(np.float64))[~is_equal]
    counted = dict(zip(*np.unique(far.astype(np.int64), return_counts=True))) if right.dtype.kind in "iu" else {}
    steps = {int(step): int(count) for step, count in counted.items()}
    return Difference(name, right.size, int(far.size), float(far.max(initial=0)), steps)


def listed(found: Sequence[Difference]) -> str:
    """Return differences as lines."""
    return "\n".join(map(str, found))
