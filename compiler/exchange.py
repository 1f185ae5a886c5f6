"""Values of a network as its programs have them, and back: types that the chip has not, a share for each core."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph
from compiler.steps import Plan, Tensor, View
from isa.errors import InputError


def given(plans: Sequence[Plan], values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a program, by its own names, from values of the network; each core has its own images."""
    found = {}
    for name in plans[0].inputs:
        tensors = [plan.inputs[name] for plan in plans if name in plan.inputs]
        value = _typed(name, values[name])
        shares = np.split(value, len(tensors)) if len(tensors) > 1 else [value]
        for tensor, share in zip(tensors, shares):
            found[tensor.name] = np.ascontiguousarray(share).reshape(hosted(tensor))
    return found


def _typed(name: str, value: NDArray[Any]) -> NDArray[Any]:
    if value.dtype == np.int64:
        if value.size and not -(2**31) <= value.min() <= value.max() < 2**31:
            raise InputError(f"{name} has values beyond 32 bits, which the chip does not have")
        return value.astype(np.int32)
    return value.astype(np.uint8) if value.dtype == np.bool_ else value


def hosted(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape in which the host has an input or an output."""
    return tuple(tensor.shape[k] for k in tensor.axes) if tensor.axes else tensor.shape


def made(plans: Sequence[Plan], graph: Graph, outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the values of the network that a program has made; images of several cores one behind the other."""
    found = {}
    for name in plans[0].outputs:
        value = graph.values[name]
        shares = [outputs[plan.outputs[name].name] for plan in plans if name in plan.outputs]
        images = sum(share.size for share in shares) // max(value.elements, 1)
        shape = (images * value.shape[0], *value.shape[1:]) if images > 1 else value.shape
        found[name] = np.concatenate([share.reshape(-1) for share in shares]).reshape(shape).astype(value.dtype)
    return found


def seen(view: View, dump: NDArray[Any]) -> NDArray[Any]:
    """Return what a view sees of its tensor, as it was dumped."""
    flat = np.ascontiguousarray(dump).reshape(-1)
    strides = [stride * flat.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False).copy()
