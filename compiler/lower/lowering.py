"""What lowering shares: a view for each value, new tensors, constants, steps.

A value has no layout of its own: its view says how it lies, and what an instruction asks of its operands is met by a
copy only where the view does not meet it already.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph, Node, Refusal, Value
from compiler.steps import MAX_RANK, Step, Tensor, View, collapsed, dense, merged, regrouped
from isa.chip import Chip

# The chip's types by NumPy's; what the host has as int64 or bool the chip has in fewer bytes.
DTYPES = {
    "int8": "i8",
    "uint8": "u8",
    "int16": "i16",
    "int32": "i32",
    "float16": "f16",
    "float32": "f32",
    "int64": "i32",
    "bool": "u8",
}
# What `fill` writes at most; it has neither infinities nor NaN.
MOST_FILLED = 3.4e38
# Declared tensors may have one dimension more than operands.
MAX_DECLARED = 5
# Names that mean something else in a text.
RESERVED = frozenset(("task", "none", "inf", "nan"))


class Lowering:
    """The steps of a part of a network as they are made."""

    def __init__(self, graph: Graph, chip: Chip) -> None:
        self.graph = graph
        self.chip = chip
        self.users = graph.users()
        self.steps: list[Step] = []
        self.views: dict[str, View] = {}
        self.inputs: dict[str, Tensor] = {}
        # Why values are not to be had on the chip: whoever reads one is refused.
        self.lost: dict[str, str] = {}
        self._node: Node | None = None
        # With the array, so that its identity stays nobody else's.
        self._constants: dict[tuple[Any, ...], tuple[View, NDArray[Any]]] = {}
        self._copies: dict[tuple[Any, ...], View] = {}
        self._shared: dict[tuple[Any, ...], View] = {}
        self._names: set[str] = set()
        # Nodes whose results are the chip's own, with how far they are from onnxruntime's.
        self.inexact: dict[Node, str] = {}
        # Values that are other values, reshaped in a way that has to move elements: until somebody asks.
        self._postponed: dict[str, tuple[str, tuple[int, ...]]] = {}
        # Results of float16 that the node at work computes in float32.
        self._wide: list[tuple[View, View]] = []

    # What the graph says.

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def constant(self, name: str) -> NDArray[Any] | None:
        return self.graph.constant(name)

    def known(self, node: Node, place: int, what: str) -> NDArray[Any]:
        """Return the elements of an input that has to be constant; refuse the node where it is not."""
        name = node.input(place)
        data = self.constant(name) if name else None
        if data is None:
            raise Refusal(f"its {what} {'is left out' if not name else 'follows the data'}")
        return data

    def dtype(self, name: str) -> str:
        kind = self.value(name).dtype.name
        if kind not in DTYPES:
            raise Refusal(f"{name!r} is {kind}, which the chip does not have")
        return DTYPES[kind]

    # Views.

    def view(self, name: str) -> View:
        """Return how a value lies, its dimensions in the network's order."""
        if name in self._postponed:
            source, shape = self._postponed.pop(name)
            self.views[name] = self.reshaped(self.view(source), shape)
        if name not in self.views:
            data = self.constant(name)
            if data is None:
                raise Refusal(self.lost.get(name, f"{name!r} is made by nothing on the chip"))
            held = np.ascontiguousarray(data, _numpy(self.dtype(name)))
            if data.dtype.kind in "iu" and not np.array_equal(held.reshape(-1), data.reshape(-1)):
                raise Refusal(f"{name!r} has values beyond 32 bits, which the chip does not have")
            self.views[name] = self.weight(held, name)
        return self.views[name]

    def postpone(self, name: str, source: str, shape: Sequence[int]) -> None:
        """Let a value be another, reshaped: elements move only where somebody asks for it as such."""
        self._postponed[name] = (source, tuple(shape))

    def source_of(self, name: str) -> str:
        """Return the value that a postponed one is made of; its own name where it is not."""
        return self._postponed[name][0] if name in self._postponed else name

    def result(
        self, node: Node, order: Sequence[int] | None = None, place: int = 0, shape: Sequence[int] | None = None
    ) -> View:
        """Return a new tensor for an output of a node; `order` says how it lies, outermost dimension first."""
        name = node.outputs[place]
        view = self.local(self.dtype(name), self.value(name).shape if shape is None else shape, order, name)
        self.views[name] = view
        return view

    def computed(self, node: Node, order: Sequence[int] | None = None, place: int = 0) -> View:
        """Return a new result that is computed in float32; where the network has float16, `end` rounds it, once.

        So onnxruntime does it: what it has not in float16 it computes in float32, between two casts.
        """
        out = self.result(node, order, place)
        if out.dtype != "f16":
            return out
        self._wide.append((out, self.local("f32", out.shape, order, f"{node.outputs[place]}_wide")))
        return self._wide[-1][1]

    def images_read(self, node: Node) -> View:
        """Return what a node of images reads as [batch, channels, ...], however its operator has them."""
        view = self.view(node.inputs[0])
        return view.permuted((0, view.rank - 1, *range(1, view.rank - 1))) if has_channels_last(node) else view

    def images_made(self, node: Node) -> tuple[int, ...]:
        """Return the sizes of the images that a node makes."""
        shape = self.value(node.outputs[0]).shape
        return shape[1:-1] if has_channels_last(node) else shape[2:]

    def images_result(self, node: Node) -> View:
        """Return a new result of a node of images as [batch, channels, ...], channels innermost."""
        rank = len(self.value(node.outputs[0]).shape)
        if has_channels_last(node):
            return self.result(node).permuted((0, rank - 1, *range(1, rank - 1)))
        return self.result(node, (0, *range(2, rank), 1))

    def local(
        self, dtype: str, shape: Sequence[int], order: Sequence[int] | None = None, name: str = "scratch"
    ) -> View:
        """Return a new tensor of a shape, its dimensions in memory in this order."""
        order = tuple(order) if order is not None else tuple(range(len(shape)))
        tensor = Tensor(self.name(name), dtype, declared([shape[k] for k in order]))
        return View(tensor, 0, tuple(shape), dense(shape, order))

    def innermost(self, view: View, axis: int) -> View:
        """Return a view whose elements along a dimension lie side by side: itself, or a copy."""
        if view.shape[axis] == 1 or view.strides[axis] == 1:
            return view
        order = [k for k in view.order if k != axis]
        return self.copied(view, [*order, axis])

    def copied(self, view: View, order: Sequence[int]) -> View:
        """Return a dense copy whose dimensions lie in this order; the same for the same view."""
        key = (id(view.tensor), view.offset, view.shape, view.strides, tuple(order))
        if key not in self._copies:
            copy = self.local(view.dtype, view.shape, order, f"{view.tensor.name}_turned")
            self.move(copy, view)
            self._copies[key] = copy
        return self._copies[key]

    def turned(self, view: View, order: Sequence[int]) -> View:
        """Return a whole constant as another one whose dimensions lie in this order."""
        data = view.tensor.data
        assert data is not None, "a constant"
        lies = data.reshape([view.shape[k] for k in view.order]).transpose([view.order.index(k) for k in order])
        return self.weight(lies, f"{view.tensor.name}_turned").permuted(np.argsort(order).tolist())

    def reshaped(self, view: View, shape: Sequence[int]) -> View:
        """Return a view with other dimensions, of a copy where elements have to move.

        In the copy dimensions that become one lie side by side; else they lie as they did.
        """
        found = view.reshaped(shape)
        if found is None:
            groups = [axes for axes, _ in regrouped(view.shape, shape)]
            groups += [[k] for k, size in enumerate(view.shape) if size == 1]
            groups.sort(key=lambda axes: -min(view.strides[k] for k in axes))
            found = self.copied(view, [k for axes in groups for k in axes]).reshaped(shape)
            assert found is not None, "what lies side by side takes any shape"
        return found

    def move(self, out: View, x: View) -> None:
        """Write a copy, or several where there are too many dimensions that do not lie side by side."""
        out, x = collapsed(out, x)
        if out.rank <= MAX_RANK:
            self.emit("copy", out, x=x)
            return
        for k in range(out.shape[0]):
            self.move(_inner(out, k), _inner(x, k))

    def fill(self, out: View, value: Any) -> None:
        """Write one value to all elements; a number that `fill` has not is copied."""
        kind = np.dtype(_numpy(out.dtype))
        if kind.kind != "f" and not np.iinfo(kind).min <= int(value) <= np.iinfo(kind).max:
            raise Refusal(f"it writes {int(value)}, which {out.dtype} does not hold")
        if abs(float(value)) <= (float(np.finfo(kind).max) if out.dtype == "f16" else MOST_FILLED):
            (out,) = collapsed(out)
            assert out.rank <= MAX_RANK, "what is filled is dense"
            self.emit("fill", out, value=float(value) or None)
        else:
            self.move(out, self.weight(np.asarray([value], _numpy(out.dtype)), "value").repeated(out.shape))

    # Constants.

    def once(self, key: tuple[Any, ...], make: Callable[[], View]) -> View:
        """Return what several nodes read alike, made by the first of them."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def weight(self, data: NDArray[Any], name: str = "weight") -> View:
        """Return a constant in local memory."""
        return self._held("weight", data, name)

    def const(self, data: Any, name: str = "constant", dtype: Any = np.float32) -> View:
        """Return a constant in the constant buffer, of one dimension; equal elements are one."""
        array = np.atleast_1d(np.asarray(data, dtype))
        if array.ndim == 1 and array.size > 1 and (array == array[0]).all() and array.dtype != np.int32:
            array = array[:1]
        return self._held("const", array, name)

    def table(self, values: NDArray[Any], name: str = "table") -> View:
        """Return a table of 256 values in the constant buffer."""
        return self._held("const", np.asarray(values, np.float32), name)

    def _held(self, kind: str, data: NDArray[Any], name: str) -> View:
        data = np.ascontiguousarray(data)
        key = (kind, data.dtype.str, data.shape, data.tobytes() if data.nbytes <= 4096 else id(data))
        if key not in self._constants:
            shape = data.shape or (1,)
            while len(shape) > MAX_RANK:
                shape = (shape[0] * shape[1], *shape[2:])
            tensor = Tensor(self.name(name), DTYPES[data.dtype.name], shape, kind, data.reshape(shape))
            self._constants[key] = View(tensor, 0, data.shape, dense(data.shape)), data
        return self._constants[key][0]

    # Steps.

    def emit(self, mnemonic: str, out: View, **given: Any) -> None:
        """Write an instruction: operands are views, all else is an attribute; what is None is left out."""
        views = {name: one for name, one in given.items() if isinstance(one, View)}
        attributes = {name: one for name, one in given.items() if name not in views and one not in (None, False)}
        self.steps.append(Step(mnemonic, {"out": out, **views}, attributes, self._node))

    def begin(self, node: Node) -> None:
        self._node = node
        self._wide.clear()

    def end(self) -> None:
        """Round what the node has computed in float32 to the network's float16."""
        for views in self._wide:
            out, wide = merged(*views)
            self.emit("eltwise", out, x=wide)

    def note(self, error: object) -> None:
        """Note how far the node's result may be from onnxruntime's; None where it has its bits."""
        if error is not None and self._node is not None:
            self.inexact[self._node] = str(error)

    def name(self, wanted: str) -> str:
        """Return a name for a text, made of a name of the network."""
        stem = re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_")[:60] or "tensor"
        stem = stem if stem[0].isalpha() else f"t{stem}"
        name, count = stem, 1
        while name.lower() in self._names or name in RESERVED:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name.lower())
        return name


def declared(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape that a text may declare: outer dimensions are put together where there are too many."""
    lies = tuple(shape)
    while len(lies) > MAX_DECLARED or (len(lies) > MAX_RANK and lies[0] == 1):
        lies = (lies[0] * lies[1], *lies[2:])
    return lies or (1,)


def _inner(view: View, k: int) -> View:
    return View(view.tensor, view.offset + k * view.strides[0], view.shape[1:], view.strides[1:])


def _numpy(dtype: str) -> Any:
    kinds: dict[str, Any] = {"i8": np.int8, "u8": np.uint8, "i16": np.int16, "i32": np.int32}
    return (kinds | {"f16": np.float16, "f32": np.float32})[dtype]


def has_channels_last(node: Node) -> bool:
    """Return whether a node's operator has images as [batch, ..., channels]."""
    return node.op.startswith("Nhwc") or bool(node.attributes.get("channels_last"))


def channels_last(view: View) -> tuple[int, ...]:
    """Return the dimensions of [batch, channels, ...] in the order in which the engines want them in memory."""
    return (0, *range(2, view.rank), 1)


def images(view: View) -> View:
    """Return [batch, channels, (height,) width] as [batch, height, width, channels]."""
    view = view.permuted(channels_last(view))
    return view.expanded(1) if view.rank == 3 else view
