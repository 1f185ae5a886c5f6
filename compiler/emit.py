"""Steps as calls of the Builder: names of the network, a comment and an origin for each node."""

from collections.abc import Mapping
from typing import Any

from assembler.builder.builder import Builder
from compiler.graph import Graph, Node
from compiler.place import aligned, greedy, lives
from compiler.steps import BYTES, Plan, Tensor, View, dense
from isa.chip import Chip
from isa.errors import InputError
from isa.memory import spelled


def emit(plan: Plan, graph: Graph, chip: Chip, order: str = "hardware", keep: bool = False) -> Builder:
    """Return the program of a plan whose tensors all fit the local memory of one core.

    With `keep` each tensor has a place of its own, so that it can be dumped behind a run.
    """
    b = Builder(graph.name, chip, order, scales="explicit")
    b.comment(f"{graph.name}, read with {graph.reader}")
    places = _places(plan, chip, keep)
    handles = {tensor: _declare(b, tensor, at) for tensor, at in places.items()}
    node: Node | None = None
    for step in plan.steps:
        if step.node is not node and step.node is not None:
            node = step.node
            b.comment(described(node, graph))
        operands = {name: operand(b, view, handles, places) for name, view in step.operands.items()}
        with b.origin(graph.name, max(node.number if node else 1, 1), described(node, graph) if node else ""):
            getattr(b, step.mnemonic)(**operands, **step.attributes)
    return b


def described(node: Node, graph: Graph) -> str:
    """Return a node in a line: its number, its operator, what it reads and makes."""
    made = ", ".join(str(graph.values[name]) for name in node.outputs if name)
    read = ", ".join(name for name in node.inputs if name and graph.values[name].data is None)
    name = f" {node.name}" if node.name else ""
    return f"{node.number} {node.op}{name}: {read} -> {made}"


def _places(plan: Plan, chip: Chip, keep: bool) -> dict[Tensor, int | None]:
    """Return the address of each tensor in local memory; None for constants, which the assembler places."""
    tensors = dict.fromkeys(view.tensor for step in plan.steps for view in step.operands.values())
    ends = [*plan.inputs.values(), *plan.outputs.values()]
    places: dict[Tensor, int | None] = {tensor: None for tensor in tensors if tensor.kind == "const"}
    at = 0
    for tensor in [*ends, *(tensor for tensor in tensors if tensor.kind == "weight")]:
        places[tensor] = at
        at += aligned(tensor.bytes)
    living = {tensor: life for tensor, life in lives(plan.steps).items() if tensor not in places}
    if keep:
        living = dict.fromkeys(living, (0, len(plan.steps)))
    shared, size = greedy(living)
    if at + size > chip["memory.lm_bytes"]:
        raise InputError(
            f"the network needs {spelled(at + size)} of local memory, of which {chip.name} has "
            f"{spelled(chip['memory.lm_bytes'])}"
        )
    places |= {tensor: at + place for tensor, place in shared.items()}
    return places


def _declare(b: Builder, tensor: Tensor, at: int | None) -> Any:
    match tensor.kind:
        case "const":
            return b.const(tensor.name, tensor.data)
        case "weight":
            return b.weight(tensor.name, tensor.data, at=at)
        case "input":
            zero = tensor.zero or None
            return b.input(tensor.name, tensor.dtype, tensor.shape, scale=tensor.scale, zero=zero, at=at)
        case "output":
            return b.output(tensor.name, tensor.dtype, tensor.shape, at=at)
    return b.local(tensor.name, tensor.dtype, tensor.shape, at=at)


def operand(b: Builder, view: View, handles: Mapping[Tensor, Any], places: Mapping[Tensor, int | None]) -> Any:
    """Return a view as the Builder has it: a tensor, a slice of one, or a place with strides."""
    tensor = view.tensor
    if view.offset == 0 and view.shape == tensor.shape and _same_strides(view):
        return handles[tensor]
    at = places[tensor]
    if at is None:
        return handles[tensor]
    is_dense = all(s == d for s, d, size in zip(view.strides, dense(view.shape), view.shape) if size != 1)
    return b.operand(
        view.dtype,
        view.shape,
        "lm",
        at + view.offset * BYTES[view.dtype],
        None if is_dense else _strides(view),
    )


def _same_strides(view: View) -> bool:
    return all(a == b for a, b, size in zip(view.strides, dense(view.shape), view.shape) if size != 1)


def _strides(view: View) -> tuple[int, ...]:
    """Return strides in which those of dimensions of 1, which nobody reads, are as if they lay side by side."""
    strides, inner = list(view.strides), 1
    for axis in reversed(range(view.rank)):
        if view.shape[axis] == 1:
            strides[axis] = inner
        inner = strides[axis] * view.shape[axis]
    return tuple(strides)
