"""Values of a network as a program has them, and back: types that the chip has not, dimensions in another order."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph
from compiler.steps import Plan, Tensor, View
from isa.errors import InputError


def given(plan: Plan, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a part's program, by its own names, from values of the network."""
    return {tensor.name: _given(tensor, name, values[name]) for name, tensor in plan.inputs.items()}


def _given(tensor: Tensor, name: str, value: NDArray[Any]) -> NDArray[Any]:
    lies = np.transpose(value, np.argsort(tensor.axes)) if tensor.axes else value
    if value.dtype == np.int64:
        if value.size and not -(2**31) <= value.min() <= value.max() < 2**31:
            raise InputError(f"{name} has values beyond 32 bits, which the chip does not have")
        lies = lies.astype(np.int32)
    if value.dtype == np.bool_:
        lies = lies.astype(np.uint8)
    return np.ascontiguousarray(lies).reshape(tensor.shape)


def made(plan: Plan, graph: Graph, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the values of the network that a part has made, from the outputs of its program."""
    found = {}
    for name, tensor in plan.outputs.items():
        value = graph.values[name]
        lies = outputs[tensor.name].reshape(tensor.shape)
        found[name] = np.ascontiguousarray(np.transpose(lies, tensor.axes) if tensor.axes else lies)
        found[name] = found[name].reshape(value.shape).astype(value.dtype)
    return found


def seen(view: View, dump: NDArray[Any]) -> NDArray[Any]:
    """Return what a view sees of its tensor, as it was dumped."""
    flat = np.ascontiguousarray(dump).reshape(-1)
    size = flat.itemsize
    strides = [stride * size for stride in view.strides]
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False).copy()
