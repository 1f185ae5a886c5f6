"""Steps as calls of the Builder: names of the network, a comment and an origin for each node."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from assembler.builder.builder import Builder
from compiler.fit.place import Place, placed, taken
from compiler.fit.roll import Item, Loop, Sync, flat
from compiler.fit.sections import Section
from compiler.fit.waits import waits
from compiler.graph import Graph, Node
from compiler.steps import BYTES, EW2_WORDS, Step, Tensor, View, dense
from isa.chip import Chip
from isa.row import WAIT_LETTERS
from isa.table import MNEMONICS
from isa.visible import escaped


def emit(sections: Sequence[Section], graph: Graph, chip: Chip, order: str, keep: bool) -> Builder:
    """Return the program of one core, or of several; with `keep` no tensor takes the place of another."""
    b = Builder(escaped(graph.name), chip, order, scales="explicit")
    b.comment(f"{graph.name}, read with {graph.reader}")
    places: list[dict[Tensor, Place]] = []
    handles: list[dict[Tensor, Any]] = []
    for number, section in enumerate(sections):
        with _core(b, number, sections):
            ends = [*section.plan.inputs.values(), *section.plan.outputs.values()]
            places.append(placed(section.items, ends, section.homes, chip, keep, taken(places)))
            handles.append({tensor: _declare(b, tensor, place) for tensor, place in places[-1].items()})
    names = dict.fromkeys(item.semaphore for section in sections for item in section.items if isinstance(item, Sync))
    semaphores = {name: b.declare("semaphore", name) for name in names}
    for number, section in enumerate(sections):
        seen, held = dict(places[number]), dict(handles[number])
        for tensor, core in section.remote.items():
            memory, at = places[core][tensor]
            seen[tensor], held[tensor] = Place(f"core{core}.{memory}", at), handles[core][tensor]
        bits = dict(section.waits)
        for step, letters in (waits(section.items, seen) if order == "compiler" else {}).items():
            bits[step] = "".join(letter for letter in WAIT_LETTERS if letter in bits.get(step, "") + letters)
        with _core(b, number, sections):
            _Writer(b, graph, seen, held, semaphores, bits).write(section.items, {})
    return b


def _core(b: Builder, number: int, sections: Sequence[Section]) -> AbstractContextManager[Any]:
    return b.core(number) if len(sections) > 1 else nullcontext()


@dataclass
class _Writer:
    """Writes items, each node's under a comment."""

    b: Builder
    graph: Graph
    places: Mapping[Tensor, Place]
    handles: Mapping[Tensor, Any]
    semaphores: Mapping[str, Any]
    waits: Mapping[Step, str]
    node: Node | None = None

    def write(self, items: Sequence[Item], counters: Mapping[int, Any]) -> None:
        """Write items within loops, whose counters are given by their heights."""
        for k, item in enumerate(items):
            # A wait is for what comes behind it.
            of = items[k:] if isinstance(item, Sync) and item.mnemonic == "wait" else [item]
            node = next((step.node for step in flat(of)), self.node)
            if node is not self.node and node is not None:
                self.node = node
                self.b.comment(described(node, self.graph))
            text = described(node, self.graph) if node else ""
            with self.b.origin(escaped(self.graph.name), node.number if node else 1, text):
                if isinstance(item, Sync):
                    getattr(self.b, item.mnemonic)(self.semaphores[item.semaphore], **{item.engine: True})
                elif isinstance(item, Loop):
                    with self.b.loop(item.count) as counter:
                        self.write(item.body, {**counters, item.height: counter})
                else:
                    operands = {name: self.operand(view, counters) for name, view in item.operands.items()}
                    getattr(self.b, item.mnemonic)(**operands, **_attributes(item), wait=self.waits.get(item))

    def operand(self, view: View, counters: Mapping[int, Any]) -> Any:
        """Return a view as the Builder has it: a tensor, a slice of it, or where that says it, a place with strides."""
        tensor, handle = view.tensor, self.handles[view.tensor]
        places = _slices(view, counters)
        if places is not None:
            return handle[places] if places else handle
        memory, at = self.places[tensor]
        size = BYTES[view.dtype]
        address: Any = at + view.offset * size
        if tensor.buffers > 1:
            address = self.b.task % tensor.buffers * tensor.bytes + address
        for height, modulus, stride, _ in view.terms:
            turn = counters[height] % modulus if modulus else counters[height]
            address = turn * (stride * size) + address
        is_dense = all(s == d for s, d, size in zip(view.strides, dense(view.shape), view.shape) if size != 1)
        return self.b.operand(view.dtype, view.shape, memory, address, None if is_dense else _strides(view))


def _slices(view: View, counters: Mapping[int, Any]) -> tuple[Any, ...] | None:
    """Return what of each dimension of its tensor a view sees, () for all of it; None where slices do not say it.

    The first dimension of a tensor that has one more, which counts buffers, is an index.
    """
    whole = view.tensor.view()
    more = whole.rank - view.rank
    if more not in (0, 1) or view.offset < 0:
        return None
    sizes, strides = (1, *view.shape)[1 - more :], (whole.strides[0], *view.strides)[1 - more :]
    starts: list[Any] = []
    left = view.offset
    for stride in whole.strides:
        starts.append(left // stride)
        left %= stride
    steps = []
    for size, stride, unit, start, most in zip(sizes, strides, whole.strides, starts, whole.shape):
        step = 1 if size == 1 else stride // unit
        if step < 1 or (size > 1 and stride % unit) or start + (size - 1) * step >= most:
            return None
        steps.append(step)
    fixed = list(starts)
    for height, modulus, stride, turns in view.terms:
        axis = next((k for k, unit in enumerate(whole.strides) if stride % unit == 0), None)
        last = (min(turns, modulus or turns) - 1) * stride // whole.strides[axis] if axis is not None else 0
        if axis is None or not 0 <= fixed[axis] + last <= whole.shape[axis] - sizes[axis]:
            return None
        turn = counters[height] % modulus if modulus else counters[height]
        starts[axis] = turn * (stride // whole.strides[axis]) + starts[axis]
    is_all = [isinstance(start, int) and size == most for start, size, most in zip(starts, sizes, whole.shape)]
    places = [
        start if axis < more else slice(start, start + (size - 1) * step + 1, step if step > 1 else None)
        for axis, (start, size, step) in enumerate(zip(starts, sizes, steps))
    ]
    for axis in range(more, whole.rank):
        if is_all[axis]:
            places[axis] = slice(None)
    # Dimensions that are left out behind are whole.
    while places and is_all[len(places) - 1] and len(places) > more:
        places.pop()
    return tuple(places)


def _attributes(step: Step) -> dict[str, Any]:
    """Return the attributes of a step: zero points too, of 0 where an input is declared with one for the host."""
    names = {"x": "x_zero", "w": "w_zero", **dict.fromkeys(EW2_WORDS, "ew2_zero")}
    declared = {names[name]: 0 for name, view in step.operands.items() if name in names and view.tensor.zero}
    has = {spec.name for spec in MNEMONICS[step.mnemonic].attributes}
    return {name: zero for name, zero in declared.items() if name in has} | step.attributes


def described(node: Node, graph: Graph) -> str:
    """Return a node in a line: its number, its operator, what it reads and makes."""
    made = ", ".join(str(graph.values[name]) for name in node.outputs if name)
    read = ", ".join(name for name in node.inputs if name and graph.values[name].data is None)
    name = f" {node.name}" if node.name else ""
    return escaped(f"{node.number} {node.op}{name}: {read} -> {made}")


def _declare(b: Builder, tensor: Tensor, place: Place) -> Any:
    memory, at = place
    named = None if memory == "lm" else memory
    buffers = tensor.buffers if tensor.buffers > 1 else None
    axes = tensor.axes if tensor.axes != tuple(range(len(tensor.axes))) else None
    match tensor.kind:
        case "const" if memory == "cb":
            return b.const(tensor.name, tensor.data, at=at)
        case "const" | "weight":
            return b.weight(tensor.name, tensor.data, memory=named, at=at)
        case "input":
            zero = tensor.zero or None
            ends: dict[str, Any] = {"scale": tensor.scale, "zero": zero, "buffers": buffers, "axes": axes}
            return b.input(tensor.name, tensor.dtype, tensor.shape, memory=named, at=at, **ends)
        case "output":
            return b.output(tensor.name, tensor.dtype, tensor.shape, buffers=buffers, axes=axes, memory=named, at=at)
    return b.local(tensor.name, tensor.dtype, tensor.shape, memory=named, at=at)


def _strides(view: View) -> tuple[int, ...]:
    """Return strides in which those of dimensions of 1, which nobody reads, are as if they lay side by side."""
    strides, inner = list(view.strides), 1
    for axis in reversed(range(view.rank)):
        if view.shape[axis] == 1:
            strides[axis] = inner
        inner = strides[axis] * view.shape[axis]
    return tuple(strides)
