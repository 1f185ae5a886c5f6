"""Scales and zero points of quantised values, and the multipliers that go from one to another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node, Refusal
from compiler.lower.lowering import Lowering

f32 = np.float32


@dataclass(frozen=True)
class Quantised:
    """How integers stand for numbers: q means (q - zero) * scale. Scales may be one for each channel."""

    scale: NDArray[Any]
    zero: int

    @property
    def one_scale(self) -> Any:
        if self.scale.size != 1:
            raise Refusal("a value has a scale for each channel or row, for which the engine has one")
        return self.scale.reshape(-1)[0]


def quantised(low: Lowering, node: Node, scale: int, zero: int) -> Quantised:
    """Return the scale and the zero point that two inputs of a node give; refuse what follows the data."""
    scales = low.known(node, scale, "scale").astype(f32)
    if not node.input(zero):
        return Quantised(scales.reshape(-1), 0)
    zeros = low.known(node, zero, "zero point").astype(np.int64).reshape(-1)
    if zeros.size == 0 or (zeros != zeros[0]).any():
        raise Refusal("a value has a zero point for each channel or row, for which the engine has one")
    return Quantised(scales.reshape(-1), int(zeros[0]))


def multiplier(x: Quantised, w: Quantised, y: Quantised) -> NDArray[Any]:
    """Return f32(f32(x.scale * w.scale) / y.scale), for each output channel or one for all, as onnxruntime has it."""
    return (x.one_scale * w.scale).astype(f32) / y.one_scale
