"""A network as it is read: values by name, and nodes in the order in which they are computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Refusal(Exception):
    """Raised with the reason for which no engine of the chip computes a node; the host does, where it may."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a network: its type and shape, and its elements where they are constant."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: NDArray[Any] | None = None

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False)
class Node:
    """A node: its operator and domain ("" is ONNX's own), the names of its values ("" where one is left out).

    The operator of a domain that nobody here knows has it in front of its name, which alone says nothing.

    `number` counts the nodes of the file from 1; `proto` is ONNX's own form, for the host's runtime.
    """

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    number: int
    proto: Any = field(repr=False)

    def input(self, place: int) -> str:
        """Return the name of an input; "" where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def reading(self, *inputs: str) -> "Node":
        """Return the node with other inputs."""
        proto = type(self.proto)()
        proto.CopyFrom(self.proto)
        del proto.input[:]
        proto.input.extend(inputs)
        return replace(self, inputs=inputs, proto=proto)

    @property
    def label(self) -> str:
        """What a message calls the node."""
        op = self.op.removeprefix(f"{self.domain}.")
        return f"{op} {self.name or next(filter(None, self.outputs), '')!r}"


@dataclass(frozen=True, eq=False)
class Graph:
    """A network whose shapes are all known.

    `opsets` are the versions of the operators by domain; `reader` says with what the file was read, and, of a network
    of QuantizeLinear and DequantizeLinear, which form of it this is.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]
    reader: str

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the elements of a constant; None of any other value, and of one that is left out."""
        return self.values[name].data if name else None

    def users(self) -> dict[str, list[Node]]:
        """Return the nodes that read each value."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found[name].append(node)
        return found
