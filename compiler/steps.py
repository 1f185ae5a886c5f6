"""What the chip does for a network, before any of it has a place: tensors, views of them, and steps.

A view has a network's own dimensions in its own order; its strides say how they lie in memory. So a transpose, a
slice, and most reshapes are views, and cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node

# Operands of the second element-wise stage go by its words.
EW2_WORDS = ("add", "sub", "mul", "div", "max", "min")
# What an operand may have of dimensions.
MAX_RANK = 4
BYTES = {"i8": 1, "u8": 1, "i16": 2, "f16": 2, "i32": 4, "f32": 4}


@dataclass(eq=False)
class Tensor:
    """A tensor that is declared: `kind` is input, output, weight, const or local; weights and constants have `data`.

    What tiles bring of constants is staged, what other cores write is received.

    `shape` is as it lies in memory. `scale` and `zero` are given where the host quantises what it hands in; `axes` says
    in which order the host has the dimensions, () where it is this one; an input or an output of a stream of tasks has
    several `buffers`, in turn.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str = "local"
    data: NDArray[Any] | None = None
    scale: float | None = None
    zero: int = 0
    axes: tuple[int, ...] = ()
    buffers: int = 1

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * BYTES[self.dtype]

    def view(self) -> "View":
        """Return the whole tensor, as it lies."""
        return View(self, 0, self.shape, dense(self.shape))


class Term(NamedTuple):
    """How a view follows a loop: `stride` elements on with each turn, counted modulo `modulus` where that is not 0.

    `height` says which of the loops around it, 1 for one without loops inside, and `turns` how often that comes.
    """

    height: int
    modulus: int
    stride: int
    turns: int


@dataclass(frozen=True)
class View:
    """Elements of a tensor: the first, and for each dimension its size and its stride, in elements."""

    tensor: Tensor
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    terms: tuple[Term, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def dtype(self) -> str:
        return self.tensor.dtype

    @property
    def bytes(self) -> int:
        return self.elements * BYTES[self.dtype]

    @property
    def reach(self) -> tuple[int, int]:
        """The first element of its tensor that it sees, and the one behind its last."""
        spans = [(size - 1) * stride for size, stride in zip(self.shape, self.strides)]
        return self.offset + sum(min(span, 0) for span in spans), self.offset + sum(max(span, 0) for span in spans) + 1

    @property
    def is_whole(self) -> bool:
        """Whether it has each element of its tensor once."""
        return self.elements == self.tensor.elements and self.is_dense

    @property
    def is_dense(self) -> bool:
        """Whether its elements lie side by side, in whatever order of the dimensions."""
        expected = 1
        for size, stride in sorted(self._sized(), key=lambda pair: pair[1]):
            if stride != expected:
                return False
            expected *= size
        return True

    def _sized(self) -> list[tuple[int, int]]:
        return [(size, stride) for size, stride in zip(self.shape, self.strides) if size != 1]

    @property
    def order(self) -> tuple[int, ...]:
        """The dimensions from the outermost in memory to the innermost; those of one element stay behind their left."""
        strides = list(self.strides)
        for k, size in enumerate(self.shape):
            if size == 1:
                strides[k] = strides[k - 1] if k else max(self.strides, default=1)
        return tuple(sorted(range(self.rank), key=lambda k: (-strides[k], k)))

    def permuted(self, axes: Sequence[int]) -> "View":
        """Return the dimensions in another order, as numpy.transpose has them."""
        return replace(self, shape=tuple(self.shape[k] for k in axes), strides=tuple(self.strides[k] for k in axes))

    def sliced(self, axis: int, start: int, size: int, step: int = 1) -> "View":
        """Return `size` elements of a dimension from `start` on; a step may be negative."""
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = size, self.strides[axis] * step
        return replace(
            self, offset=self.offset + start * self.strides[axis], shape=tuple(shape), strides=tuple(strides)
        )

    def inner(self) -> "View":
        """Return what lies at the first index of the first dimension, without that."""
        return replace(self, shape=self.shape[1:], strides=self.strides[1:])

    def expanded(self, axis: int) -> "View":
        """Return it with a dimension of 1 before `axis`."""
        inner = self.strides[axis] * self.shape[axis] if axis < self.rank else 1
        return replace(
            self,
            shape=(*self.shape[:axis], 1, *self.shape[axis:]),
            strides=(*self.strides[:axis], inner, *self.strides[axis:]),
        )

    def reshaped(self, shape: Sequence[int]) -> "View | None":
        """Return it with other dimensions, in row-major order; None where that has to move elements."""
        shape = tuple(shape)
        if prod(shape) != self.elements:
            raise ValueError(f"{self.shape} is no {shape}")
        strides = [0] * len(shape)
        for held, made in regrouped(self.shape, shape):
            if any(self.strides[a] != self.shape[b] * self.strides[b] for a, b in pairwise(held)):
                return None
            inner = self.strides[held[-1]]
            for axis in reversed(made):
                strides[axis] = inner
                inner *= shape[axis]
        behind = 1
        for axis in reversed(range(len(shape))):
            if shape[axis] == 1:
                strides[axis] = behind
            behind = strides[axis] * shape[axis]
        return replace(self, shape=shape, strides=tuple(strides))

    def broadcast(self, shape: Sequence[int]) -> "View":
        """Return it with dimensions of 1 in front, as many as `shape` has; sizes stay."""
        view = self
        while view.rank < len(shape):
            view = view.expanded(0)
        return view

    def repeated(self, shape: Sequence[int]) -> "View":
        """Return it broadcast to a shape, or its own elements where that has 1: those repeated are at stride 0."""
        view = self.broadcast(shape)
        shape = np.broadcast_shapes(view.shape, tuple(shape))
        strides = (stride if own == size else 0 for stride, own, size in zip(view.strides, view.shape, shape))
        return replace(view, shape=shape, strides=tuple(strides))


def free(wanted: str, names: set[str]) -> str:
    """Return a name that none of these is, in whatever case, made of another, and add it to them."""
    while wanted.lower() in names:
        wanted += "_"
    names.add(wanted.lower())
    return wanted


def dense(shape: Sequence[int], order: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the strides of a tensor without gaps, its dimensions in memory in this order, outermost first."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(order if order is not None else range(len(shape))):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def regrouped(held: Sequence[int], made: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return, for a reshape, which dimensions become which: the least sets of them with as many elements each."""
    froms, tos = ([k for k, size in enumerate(shape) if size != 1] for shape in (held, made))
    groups = []
    while froms:
        group = [froms.pop(0)], [tos.pop(0)]
        while (counts := [prod(shape[k] for k in part) for shape, part in zip((held, made), group)]) and (
            counts[0] != counts[1]
        ):
            (group[0] if counts[0] < counts[1] else group[1]).append((froms if counts[0] < counts[1] else tos).pop(0))
        groups.append(group)
    return groups


def collapsed(*views: View, keep_last: bool = False) -> tuple[View, ...]:
    """Return views of one shape, or broadcast to the first's, as instructions take them: of 4 dimensions at most.

    The outermost in the memory of the first comes first. Where there are more, those that each view has side by side
    become one; there may be too many still.
    """
    first = views[0]
    if not 0 < first.rank <= MAX_RANK:
        return merged(*views, keep_last=keep_last)
    order = first.order
    if first.shape[order[-1]] == 1:
        # The innermost is one of several elements.
        order = tuple(sorted(order, key=lambda axis: first.shape[axis] != 1))
    return tuple(view.permuted(order) for view in views)


def merged(*views: View, keep_last: bool = False) -> tuple[View, ...]:
    """Return views of one shape, or broadcast to the first's, with as few dimensions as they have together.

    The outermost in the memory of the first comes first. Dimensions that each view has side by side become one, but
    with the innermost one where it is kept.
    """
    first = views[0]
    axes = [axis for axis in first.order if first.shape[axis] != 1]
    dims: list[list[tuple[int, int]]] = []
    for axis in axes:
        here = [(view.shape[axis], view.strides[axis]) for view in views]
        is_kept = keep_last and axis == axes[-1]
        if dims and not is_kept and all(_joins(before, now) for before, now in zip(dims[-1], here)):
            dims[-1] = [(before[0] * now[0], now[1]) for before, now in zip(dims[-1], here)]
        else:
            dims.append(here)
    if not dims:
        dims = [[(1, 1)] * len(views)]
    return tuple(
        replace(view, shape=tuple(dim[k][0] for dim in dims), strides=tuple(dim[k][1] for dim in dims))
        for k, view in enumerate(views)
    )


def _joins(outer: tuple[int, int], inner: tuple[int, int]) -> bool:
    if outer[0] == 1 and inner[0] == 1:
        return True
    return outer[0] != 1 and inner[0] != 1 and outer[1] == inner[0] * inner[1]


@dataclass(eq=False)
class Step:
    """One instruction: its operands by name, the result first, and its attributes; the node that it is for."""

    mnemonic: str
    operands: dict[str, View]
    attributes: dict[str, Any]
    node: Node | None

    @property
    def out(self) -> View:
        return self.operands["out"]

    def reads(self) -> list[View]:
        return [view for name, view in self.operands.items() if name != "out"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What the chip does for a part of a network: its steps in order, its inputs and outputs by the network's names.

    `inexact` are the nodes that the chip computes in its own way, each with how far it may be from onnxruntime's.
    `fused` says which nodes share an instruction, `unfused` which could not and why.
    """

    steps: tuple[Step, ...]
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    views: Mapping[str, View] = field(default_factory=dict)
    inexact: Mapping[Node, str] = field(default_factory=dict)
    fused: tuple[str, ...] = ()
    unfused: tuple[str, ...] = ()
