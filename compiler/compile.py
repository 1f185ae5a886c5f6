"""From an ONNX network to programs: the passes in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler import regions, tables
from compiler.emit import emit
from compiler.graph import Graph, Node, Refusal
from compiler.homes import homes
from compiler.lower.elementwise import by_table, quantise_input
from compiler.lower.lowering import Lowering
from compiler.lower.table import LOWER
from compiler.read import read
from compiler.roll import rolled
from compiler.runtime import model_of
from compiler.steps import Plan, Tensor
from compiler.tile import tiled
from isa.chip import Chip, load_chip
from isa.errors import InputError
from isa.program import Program


@dataclass(frozen=True, eq=False)
class Part:
    """What one side computes at once: `inputs` and `outputs` are names of values of the network.

    The chip's parts have a program and its text, and the plan that it was made of; the host's a model.
    """

    side: str
    graph: Graph
    program: Program | None = None
    text: str = ""
    plan: Plan | None = None
    model: bytes = b""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network, compiled: its parts in the order in which they run, and why nodes are the host's."""

    graph: Graph
    chip: Chip
    parts: tuple[Part, ...]
    refused: Mapping[Node, str]

    @property
    def program(self) -> Program:
        """The program of a network that the chip computes alone; raises InputError where the host has a part."""
        if len(self.parts) == 1 and self.parts[0].program is not None:
            return self.parts[0].program
        raise InputError(
            f"{self.graph.name} is not one program: the host computes {len(self.refused)} of its nodes",
            "ratel.onnx.InferenceSession runs all parts; `--no-host` lists why",
        )


def compile(
    model: Any,
    chip: str | Chip = "hanguang800",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    order: str = "hardware",
    host: bool = True,
    keep: bool = False,
) -> Compiled:
    """Compile an ONNX network for a chip.

    `model` is a path, the bytes of a file, or onnx's ModelProto; `shapes` fix inputs that it leaves open; with `host`
    False a node that no engine computes is an error; with `keep` no tensor takes the place of another, so that each can
    be dumped behind a run. Raises InputError and ChipError.
    """
    graph, on = read(model, shapes), load_chip(chip)
    refused = refusals(graph)
    if refused and not host:
        listed = "\n".join(f"  {node.number} {node.label}: {why}" for node, why in refused.items())
        raise InputError(f"the chip does not compute {len(refused)} nodes of {graph.name}:\n{listed}")
    parts = [_part(region, graph, on, order, keep) for region in regions.regions(graph, refused)]
    return Compiled(graph, on, tuple(parts), refused)


def _part(region: regions.Region, whole: Graph, chip: Chip, order: str, keep: bool) -> Part:
    graph = region.graph
    if region.side == regions.CHIP:
        plan = lowered(graph)
        at_home = homes(plan, chip)
        b = emit(plan, rolled(tiled(plan.steps, at_home, chip)), at_home, graph, chip, order, keep)
        return Part(region.side, graph, b.build(), b.text(), plan)
    given = {name: (whole.values[name].dtype, whole.values[name].shape) for name in graph.inputs}
    read = {name for node in graph.nodes for name in node.inputs if name}
    constants = {name: data for name in read if (data := whole.values[name].data) is not None}
    return Part(region.side, graph, model=model_of(graph.nodes, given, constants, graph.outputs, whole.opsets))


def refusals(graph: Graph) -> dict[Node, str]:
    """Return the nodes that no engine of the chip computes, each with the reason."""
    refused: dict[Node, str] = {}
    _lower(graph, refused)
    return refused


def lowered(graph: Graph) -> Plan:
    """Return what the chip does for a part of a network all of whose nodes it computes."""
    low = _lower(graph, None)
    outputs = {name: _output(low, name) for name in graph.outputs}
    return Plan(tuple(low.steps), low.inputs, outputs, low.views, low.inexact)


def _lower(graph: Graph, refused: dict[Node, str] | None) -> Lowering:
    """Lower all nodes; note those that are refused, whose results are then taken as given."""
    low = Lowering(graph)
    by_tables = tables.chosen(graph, found := tables.sources(graph))
    values = tables.filled(graph, by_tables) if refused is None else {}
    users = graph.users()
    # Inputs of floats that are quantised, and nothing else: the host does that as it hands them in.
    by_host = {}
    for name in graph.inputs:
        reader = users[name][0] if len(users[name]) == 1 and name not in graph.outputs else None
        if reader is not None and (scale := quantise_input(low, reader)) is not None:
            by_host[reader] = scale
        else:
            _given(low, name)
    for node in graph.nodes:
        low.begin(node)
        made = [name for name in node.outputs if name]
        try:
            if node in by_host:
                tensor = _input(low, node.inputs[0], made[0])
                tensor.scale, tensor.zero = float(by_host[node].one_scale), by_host[node].zero
            elif all(name in found for name in made) and not _is_direct(node, found, by_tables):
                if made[0] in by_tables:
                    by_table(low, node, found[made[0]], values.get(made[0]))
            elif node.op not in LOWER:
                raise Refusal(f"no engine computes {node.op}")
            else:
                LOWER[node.op](low, node)
        except Refusal as refusal:
            if refused is None:
                raise
            refused[node] = str(refusal)
            for name in made:
                _given(low, name)
    return low


def _is_direct(node: Node, found: Mapping[str, str], by_tables: Mapping[str, str]) -> bool:
    """Return whether a single step makes what a node makes of an 8-bit tensor."""
    name = node.outputs[0]
    return name not in by_tables and node.op in ("DequantizeLinear", "Identity") and node.inputs[0] == found[name]


def _given(low: Lowering, name: str) -> None:
    """Take a value as given, where the chip has its type; who reads it else is refused."""
    try:
        _input(low, name, name)
    except Refusal:
        return


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
