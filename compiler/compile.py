"""From an ONNX network to programs: the passes in turn."""

from collections.abc import Sequence
from typing import Any

from compiler import regions, tables
from compiler.compiled import Compiled, Part
from compiler.emit import emit
from compiler.fit.fuse import fused, joined
from compiler.fit.sections import sections_of
from compiler.graph import Graph, Node, Refusal
from compiler.lower.elementwise import by_table, quantise_input
from compiler.lower.lowering import MAX_DECLARED, Lowering, has_channels_last
from compiler.lower.table import LOWER, OF_IMAGES, UNABLE
from compiler.options import Options
from compiler.read.network import read
from compiler.runtime import model_of
from compiler.steps import Plan, Tensor
from isa.chip import DEFAULT_CHIP, Chip, load_chip
from isa.errors import InputError


def compile(model: Any, chip: str | Chip = DEFAULT_CHIP, options: Options | None = None, **named: Any) -> Compiled:
    """Compile an ONNX network for a chip.

    `model` is a path, the bytes of a file, onnx's ModelProto, or what was read of one already, with the same shapes;
    what of `Options` is not the default may be `named`. Raises InputError and ChipError.
    """
    options = options or Options(**named)
    on = load_chip(chip)
    if options.cores > on["chip.cores"]:
        raise InputError(
            f"{options.cores} cores are asked for, of which {on.name} has {on['chip.cores']}",
            "ask for fewer, or for another chip: `ratel chips` shows how many each has",
        )
    graph = model if isinstance(model, Graph) else read(model, options.shapes, options.always)
    divided, refused = _divided(graph, on)
    if refused and not options.host:
        listed = "\n".join(f"  {node.number} {node.label}: {why}" for node, why in refused.items())
        nodes = f"{len(refused)} node{'s' if len(refused) > 1 else ''}"
        raise InputError(f"the chip does not compute {nodes} of {graph.name}:\n{listed}", "the host does, where it may")
    if refused and options.images > 1:
        raise InputError(
            f"{graph.name} is not the chip's alone, so a task is of one image",
            "leave the batch out, or see what the host computes: `ratel compile`",
        )
    parts = [_part(region, plan, graph, on, options) for region, plan in divided]
    return Compiled(graph, on, tuple(parts), refused, options.images)


def _divided(graph: Graph, chip: Chip) -> tuple[list[tuple[regions.Region, Plan | None]], dict[Node, str]]:
    """Return the parts of a network, what the chip does for its own, and why nodes are the host's.

    What a host's node reads has to be made, if it was passed over by a table; a node that cannot make it is the host's
    too, and so on.
    """
    refused = refusals(graph, chip)
    while True:
        parts, late = regions.regions(graph, refused), dict[Node, str]()
        plans = [lowered(part.graph, chip, late) if part.side == regions.CHIP else None for part in parts]
        if not late:
            return list(zip(parts, plans)), refused
        refused |= late


def _part(region: regions.Region, plan: Plan | None, whole: Graph, chip: Chip, options: Options) -> Part:
    graph = region.graph
    if plan is not None:
        plan = fused(joined(plan) if options.round_once else plan)
        sections = sections_of(plan, graph, chip, options.cores, options.batch)
        b = emit(sections, graph, chip, options.order, options.keep)
        return Part(region.side, graph, b.build(), b.text(), tuple(section.plan for section in sections), files=b.files)
    given = {name: (whole.values[name].dtype, whole.values[name].shape) for name in graph.inputs}
    read = {name for node in graph.nodes for name in node.inputs if name}
    constants = {name: data for name in read if (data := whole.values[name].data) is not None}
    return Part(region.side, graph, model=model_of(graph.nodes, given, constants, graph.outputs, whole.opsets))


def refusals(graph: Graph, chip: Chip) -> dict[Node, str]:
    """Return the nodes that no engine of the chip computes, each with the reason."""
    refused: dict[Node, str] = {}
    _lower(graph, chip, refused)
    return refused


def lowered(graph: Graph, chip: Chip, refused: dict[Node, str]) -> Plan | None:
    """Return what the chip does for a part of a network; None where it does not compute all of it, which is noted."""
    low = _lower(graph, chip, refused, with_tables=True)
    if refused:
        return None
    outputs = {name: _output(low, name) for name in graph.outputs}
    read = {view.tensor for step in low.steps for view in step.operands.values()}
    inputs = {name: tensor for name, tensor in low.inputs.items() if tensor in read}
    return Plan(tuple(low.steps), inputs, outputs, low.views, low.inexact)


def _lower(graph: Graph, chip: Chip, refused: dict[Node, str], with_tables: bool = False) -> Lowering:
    """Lower all nodes; note those that are refused, whose results are then taken as given."""
    low = Lowering(graph, chip)
    by_tables = tables.chosen(graph, found := tables.sources(graph))
    values = tables.filled(graph, by_tables) if with_tables else {}
    # Inputs of floats that are quantised, and nothing else: the host does that as it hands them in.
    by_host = {}
    for name in graph.inputs:
        reader = low.users[name][0] if len(low.users[name]) == 1 and name not in graph.outputs else None
        if reader is not None and (scale := quantise_input(low, reader)) is not None:
            by_host[reader] = scale
        elif why := _given(low, name):
            low.lost[name] = why
    for node in graph.nodes:
        low.begin(node)
        made = [name for name in node.outputs if name]
        try:
            if not all(low.value(name).elements for name in made):
                raise Refusal("its result has no elements")
            if node in by_host:
                tensor = _input(low, node.inputs[0], made[0])
                tensor.scale, tensor.zero = float(by_host[node].one_scale), by_host[node].zero
            elif all(name in found for name in made) and not (
                made[0] not in by_tables and tables.is_direct(graph, node, found[made[0]])
            ):
                if made[0] in by_tables:
                    by_table(low, node, found[made[0]], values.get(made[0]))
            elif node.op not in LOWER:
                raise Refusal(UNABLE.get(node.op, f"no engine computes {node.op}"))
            else:
                LOWER[node.op](low, node)
                low.end()
        except Refusal as refusal:
            refused[node] = str(refusal)
            low.lost |= {name: why for name in made if (why := _given(low, name))}
    return low


def _given(low: Lowering, name: str) -> str:
    """Take a value as given, where the chip has its type; return why not, for whoever reads it is refused then."""
    if not low.value(name).elements:
        return f"{name!r} has no elements"
    try:
        _input(low, name, name)
    except Refusal as refusal:
        return str(refusal)
    return ""


def _input(low: Lowering, name: str, value: str) -> Tensor:
    """Declare an input, which lies as its first reader wants it."""
    shape = low.value(name).shape
    order = (0, *range(2, len(shape)), 1) if _holds_images(low, value) else tuple(range(len(shape)))
    view = low.local(low.dtype(value), shape, order, name)
    view.tensor.kind = "input"
    if len(view.tensor.shape) == len(order):
        view.tensor.axes = _axes(order)
    low.inputs[name] = view.tensor
    low.views[value] = view
    return view.tensor


def _holds_images(low: Lowering, value: str) -> bool:
    """Return whether the first reader of a value that cares how it lies wants channels innermost."""
    readers = low.users[value]
    while readers and readers[0].op in tables.ELEMENT_WISE:
        readers = low.users[readers[0].outputs[0]]
    if not readers or has_channels_last(readers[0]):
        return False
    return readers[0].op in OF_IMAGES and len(low.value(value).shape) in (3, 4)


def _output(low: Lowering, name: str) -> Tensor:
    view = low.view(name)
    # A dimension of 1 lies wherever one says: the batch in front.
    order = view.order if view.shape[:1] != (1,) else (0, *(k for k in view.order if k))
    if view.tensor.kind != "local" or not view.is_whole or view.rank > MAX_DECLARED:
        order = tuple(range(view.rank))
        view = low.copied(view, order)
    tensor = view.tensor
    tensor.kind, tensor.axes = "output", _axes(order)
    if tensor.axes:
        tensor.shape = tuple(view.shape[k] for k in order)
    return tensor


def _axes(order: Sequence[int]) -> tuple[int, ...]:
    """Return where each of the network's dimensions lies; () for more of them than are declared."""
    return tuple(order.index(k) for k in range(len(order))) if len(order) <= MAX_DECLARED else ()
