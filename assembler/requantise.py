"""Automatic multipliers: from the scales of tensors to those of the chain. Knows nothing of text.

Tensors have scales (none counts as 1). All arithmetic is float32, each operation rounded. A is the accumulator's scale:
f32(x * w) where products are summed, x for `eltwise`. Then

    no second tensor, sf none, relu or leaky_relu, out i8, u8 or i16, no ew1_bias:  ew3_scale = f32(A / out)
    otherwise:   ew1_scale = A, ew2_scale = ew2, ew3_scale = f32(1 / out)
    with a table that has a scale (the step of its index):  ew1_scale = f32(A / step), ew2_scale = f32(ew2 / step)
    out i32:     none
    round_once, round_twice, round_away:  ew3_scale = A / out in float64, as whole numbers
    those with `scale`, of the pooling engine:  scale = f32(x / out), of sums of squares f32(f32(x * x) / out)

The first form multiplies once and rounds once, as onnxruntime does. Multipliers of exactly 1 are left out; a vector
whose elements are all equal is one element.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isa import quantise
from isa.diagnostic import Diagnostic
from isa.dtypes import I32, DType
from isa.errors import InputError
from isa.table import ROWS

Scale = Sequence[float]
POOLING = tuple(row.mnemonic for row in ROWS if any(spec.name == "scale" for spec in row.operands))
FOLDED = ("none", "relu", "leaky_relu")
# Operands that hold multipliers: naming one of them in an instruction turns the automatic ones off.
MULTIPLIERS = ("ew1_scale", "ew2_scale", "ew3_scale", "scale")
# By how much, of itself, a product of scales may be off where it was rounded to float32, some times over.
ROUNDING = 1e-6


class ScaleProblem(Exception):
    """Raised for scales that do not go together, with a diagnostic at the operand to point at."""

    def __init__(self, field: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic("scale", field, message, help)


@dataclass(frozen=True)
class Scaled:
    """What the multipliers of one instruction depend on: scales by operand, () for none, and the chain's form."""

    mnemonic: str
    scales: Mapping[str, Scale]
    out: DType
    channels: int
    sf: str = "none"
    op: str = ""
    present: frozenset[str] = frozenset()


def multipliers(scaled: Scaled) -> dict[str, tuple[float, ...]]:
    """Return the elements of each multiplier that an instruction needs, by operand name."""
    if scaled.mnemonic in POOLING and scaled.out != I32:
        x = _vector(scaled, "x", 1)
        with np.errstate(all="ignore"):
            return _kept({"scale": (x * x if scaled.op == "sumsq" else x) / _vector(scaled, "out", 1)})
    _check_added(scaled)
    if scaled.out == I32:
        return {}
    out = _vector(scaled, "out", scaled.channels)
    acc = _accumulator(scaled)
    with np.errstate(all="ignore"):
        if scaled.out.is_quantised and scaled.sf in FOLDED and not {"ew2", "ew1_bias"} & scaled.present:
            return _kept({"ew3_scale": acc / out})
        step = _vector(scaled, "table", 1) if scaled.sf == "table" else np.ones(1, np.float32)
        if "ew1_bias" in scaled.present and step[0] != 1:
            help = "ew1_bias would have to be in steps of the table too: give ew1_scale and the others by hand"
            raise ScaleProblem("table", "a table with a scale does not go with ew1_bias", help)
        found = {"ew1_scale": acc / step}
        if "ew2" in scaled.present:
            found["ew2_scale"] = _vector(scaled, "ew2", scaled.channels) / step
        found["ew3_scale"] = np.float32(1) / out
        return _kept(found)


def fixed_point(scaled: Scaled) -> tuple[int, ...]:
    """Return the whole numbers of `round_once` and its like: m of each channel, or one for all, then s of each.

    TensorFlow Lite works the multiplier out in float64, of the float32 scales.
    """
    _check_added(scaled)
    sums_channels = scaled.mnemonic in ("conv", "matmul")
    real = _vector(scaled, "x", 1 if sums_channels else scaled.channels).astype(np.float64)
    if scaled.mnemonic != "eltwise":
        real = real * _vector(scaled, "w", scaled.channels).astype(np.float64)
    real = real / _vector(scaled, "out", scaled.channels).astype(np.float64)
    try:
        m, s = quantise.fixed_point(real)
    except InputError as error:
        raise ScaleProblem("out", f"ew3_scale would be {real.max():g}", error.help) from None
    if len(set(zip(m, s, strict=True))) == 1:
        m, s = m[:1], s[:1]
    return (*m.tolist(), *s.tolist())


def _accumulator(scaled: Scaled) -> np.ndarray:
    """Return A, the scale of the accumulator."""
    if scaled.mnemonic == "eltwise":
        return _vector(scaled, "x", scaled.channels)
    sums_channels = scaled.mnemonic != "dwconv"
    x = _vector(scaled, "x", 1 if sums_channels else scaled.channels)
    with np.errstate(all="ignore"):
        return x * _vector(scaled, "w", scaled.channels)


def _check_added(scaled: Scaled) -> None:
    """Raise ScaleProblem where what is added to the accumulator itself is in other steps than the products.

    A second tensor of an i32 result may be in the result's, too: as part of the mean that the whole is declared to be.
    """
    steps_of_sum = [("the products", _accumulator(scaled))]
    _check_steps(scaled, "bias", steps_of_sum, "expected x.scale * w.scale, or no scale: it is added in their steps")
    if scaled.out == I32 and "ew2" in scaled.present:
        if scaled.scales.get("out"):
            steps_of_sum.append(("the result", _vector(scaled, "out", scaled.channels)))
        help = "expected x.scale * w.scale, that of the result, or no scale: an i32 result adds it as it is"
        _check_steps(scaled, "ew2", steps_of_sum, help)


def _check_steps(scaled: Scaled, name: str, allowed: Sequence[tuple[str, np.ndarray]], help: str) -> None:
    """Raise ScaleProblem where an operand has a scale that is none of those allowed, each with whose it is."""
    if not scaled.scales.get(name):
        return
    steps = _vector(scaled, name, scaled.channels)
    if not any(np.allclose(steps, one, rtol=ROUNDING, atol=0) for _, one in allowed):
        others = " and ".join(f"{whose} {_short(one.tolist())}" for whose, one in allowed)
        raise ScaleProblem(name, f"`{name}` has scale {_short(steps.tolist())}, but {others}", help)


def _vector(scaled: Scaled, name: str, channels: int) -> np.ndarray:
    scale = scaled.scales.get(name, ())
    if len(scale) not in (0, 1, channels):
        message = f"`{name}` has {len(scale)} scales"
        needed = "expected 1" if channels == 1 else f"expected 1, or {channels}: one for each channel of out"
        raise ScaleProblem(name, message, needed)
    return np.asarray(scale or (1.0,), np.float32)


def _kept(found: Mapping[str, np.ndarray]) -> dict[str, tuple[float, ...]]:
    kept = {}
    for name, vector in found.items():
        if not np.isfinite(vector).all() or not vector.all():
            message = f"{name} would be {vector[~np.isfinite(vector) | (vector == 0)][0]:g}"
            raise ScaleProblem("out", message, "the scales of the tensors are too far apart for float32")
        elements = tuple(vector.tolist())
        if len(set(elements)) == 1:
            elements = elements[:1]
        if elements != (1.0,):
            kept[name] = elements
    return kept


def check_unscaled(x: tuple[Scale, int], out: tuple[Scale, int], mnemonic: str) -> None:
    """Raise ScaleProblem when x and out, each (scale, zero point), differ though the instruction does not rescale."""
    help = f"{mnemonic} does not rescale; declare both alike, or use `eltwise`"
    (x_scale, x_zero), (out_scale, out_zero) = x, out
    both = bool(x_scale and out_scale)
    if both and (len(x_scale) == len(out_scale) or 1 in (len(x_scale), len(out_scale))):
        pairs = np.broadcast_arrays(np.asarray(x_scale), np.asarray(out_scale))
        if (pairs[0] != pairs[1]).any():
            message = f"x has scale {_short(x_scale)}, but out {_short(out_scale)}"
            raise ScaleProblem("out", message, help)
    if x_zero != out_zero and (both or (x_zero and out_zero)):
        raise ScaleProblem("out", f"x has zero point {x_zero}, but out {out_zero}", help)


def _short(scale: Scale) -> str:
    return f"{scale[0]:g}" if len(scale) == 1 else f"[{scale[0]:g}, ...]"
