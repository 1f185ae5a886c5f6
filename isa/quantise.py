"""From floats to integers and back: scales and zero points from data, and the integers that they give.

A stored integer q means (q - zero) * scale. Weights are symmetric (zero 0) with a scale for each output channel,
activations have one scale, from calibration data: arrays that are like what the program will see. Floats count as
float32, and become integers as ONNX has it in QuantizeLinear: a division in float32, rounded half to even. Whatever has
no answer (no data, NaN, infinity, activations that never leave 0) raises InputError.
"""

from collections.abc import Iterable
from math import ceil, floor, log10
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.dtypes import DTYPES, I32, DType
from isa.errors import InputError, shown
from isa.suggest import did_you_mean

# The least scale: below it float32 has subnormal numbers, and products of scales are 0.
LEAST = 2.0**-126
# Floats become integers so many at a time: what lies between is not made of a whole tensor.
PIECE = 2**16
# Floats that weights become, beside integers.
FLOATS = ("e4m3", "e5m2")


class Quantised(NamedTuple):
    """Stored values, of the shape of the floats, and their float32 scales: one for each channel, or one alone."""

    values: NDArray[Any]
    scale: NDArray[np.float32]


def weights(w: Any, axis: int | None = 0, dtype: str = "i8") -> Quantised:
    """Return symmetric weights: scale = max |w| / 127 for each index of `axis`, q = clamp(rne(w / scale), -127, 127).

    `axis` counts the output channels: 0 for OHWI and for [n, k], 3 for 1HWC, 1 for [k, n]; None takes one scale for
    all. For i16 the bound is 32767. A dead channel, of nothing but 0 or of what is too small for a scale of 2**-126,
    has scale 1 and zeros. For e4m3 and e5m2 the bound is 448 and 57344, the greatest number, and w / scale is rounded
    to the type. Raises InputError for weights that are not finite in float32, none, a type that is not signed, and an
    axis that there is not.
    """
    held = _dtype(dtype, signed=True, others=FLOATS)
    array, bound = _floats(w, "the weights"), held.greatest
    channels = 1 if axis is None else array.shape[_axis(array, axis)]
    rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(channels, -1)
    steps = np.abs(rows).max(axis=1) / bound
    scale = _single(np.where(steps < LEAST, 1.0, steps))
    if held.is_float:
        with np.errstate(under="ignore"):
            values = np.clip(array.astype(np.float32) / _along(scale, array, axis), -bound, bound)
            return Quantised(values.astype(held.numpy), scale)
    values = to_steps(array, _along(scale, array, axis), 0, held)
    return Quantised(np.maximum(values, held.numpy.type(-bound)), scale)


def scale(data: Any, dtype: str = "i8", percentile: float = 100.0, digits: int | None = None) -> np.float32:
    """Return the scale of symmetric activations: max |x| / 127, or / 32767 for i16.

    `data` is an array, or arrays one after the other. A `percentile` below 100 takes that of |x| instead of the
    greatest; what lies beyond is clamped (all the data is then held at once). `digits` rounds up to so many
    significant digits, to be read in a text. Raises InputError for data that is not finite in float32, none, or nothing
    but 0 (or so near that the scale would be below 2**-126), and for arguments out of their range.
    """
    if digits is not None and not (isinstance(digits, int) and 1 <= digits <= 17):
        raise InputError(f"{shown(digits)} is no number of digits", "expected 1 to 17")
    bound = _dtype(dtype, signed=True).high
    largest = _percentiles(data, percentile, magnitude=True)[0]
    step = _step(0.0, largest, bound)
    if digits is not None:
        exponent = floor(log10(largest / bound)) - digits + 1
        step = np.float32(f"{ceil(largest / bound / 10.0**exponent)}e{exponent}")
    return step


def scale_and_zero(data: Any, dtype: str = "u8", percentile: float = 100.0) -> tuple[np.float32, int]:
    """Return scale and zero point of asymmetric activations, whose range reaches from the least to the greatest x.

    The range holds 0, which is exact. `data` as for `scale`; a `percentile` below 100 leaves out as much at each end.
    Raises InputError as `scale` does.
    """
    held = _dtype(dtype)
    low, high = _percentiles(data, percentile, magnitude=False)
    low, high = min(low, 0.0), max(high, 0.0)
    step = _step(low, high, held.high - held.low)
    return step, int(np.clip(np.rint(held.low - low / float(step)), held.low, held.high))


def bias(b: Any, x_scale: Any, w_scale: Any) -> NDArray[np.int32]:
    """Return a bias as the accumulator adds it: i32 in steps of x_scale * w_scale, a product in float32.

    The division is in float64, for float32 does not hold every i32. The bias has an element for each output channel,
    `w_scale` as many or one. Raises InputError where an element does not fit 32 bits, where scales do not fit the bias,
    and for what are no finite numbers.
    """
    array, x_steps, w_steps = _floats(b, "the bias"), _single(x_scale), _single(w_scale)
    for scales in (x_steps, w_steps):
        if scales.size > 1 and scales.shape != array.shape[-1:]:
            raise InputError(f"{scales.size} scales do not fit a bias of shape {list(array.shape)}")
    with np.errstate(all="ignore"):
        product = _single(x_steps * w_steps)
        steps = np.rint(array / product.astype(np.float64))
    if (np.abs(steps) > I32.high).any():
        at = int(np.argmax(np.abs(steps)))
        raise InputError(f"the bias takes {steps.ravel()[at]:.4g} steps at {at}, which 32 bits do not hold")
    return steps.astype(I32.numpy)


def fixed_point(multipliers: Any) -> NDArray[np.int32]:
    """Return multipliers as `round_once` and its like take them, [2, n]: each is m * 2**(s - 31), m, then s.

    m is rounded to 31 bits, half up, as TensorFlow Lite's QuantizeMultiplier rounds it (so the multiplier of a layer is
    x.scale * w.scale / y.scale in float64); below 2**-32 it is 0. Raises InputError for what are not positive numbers
    below 2**30, in one dimension.
    """
    real = np.atleast_1d(_numbers(multipliers, "the multiplier"))
    if real.ndim != 1 or not ((real > 0) & (real < 2.0**30)).all():
        raise InputError(f"a multiplier is {shown(multipliers)}", "expected positive numbers below 2**30")
    fraction, power = np.frexp(real)
    m = np.floor(np.ldexp(fraction, 31) + 0.5).astype(np.int64)
    power, m = power + (m == 2**31), np.where(m == 2**31, 2**30, m)
    return np.where(power < -31, 0, np.stack([m, power])).astype(np.int32)


def to_integers(x: Any, scale: Any, zero: int = 0, dtype: str = "i8", axis: int = -1) -> NDArray[Any]:
    """Return clamp(rne(x / scale) + zero), x / scale in float32, as a run quantises inputs.

    It is ONNX's QuantizeLinear; several scales run along `axis`. The result has the shape of x and the type `dtype`:
    i8, u8 or i16. Raises InputError for what is not finite in float32, scales that are not positive or do not fit, a
    zero point that the type does not hold, and another type.
    """
    array, held = _floats(x, "the tensor"), _dtype(dtype)
    return to_steps(array, _along(_single(scale), array, axis), _zero(zero, held), held)


def to_floats(q: Any, scale: Any, zero: int = 0, axis: int = -1) -> NDArray[np.float32]:
    """Return (q - zero) * scale, rounded once to float32, of the shape of q; several scales run along `axis`.

    Raises InputError for what are no numbers, and scales that are not positive or do not fit.
    """
    array = _numbers(q, "the tensor")
    steps = _along(_single(scale), array, axis).astype(np.float64)
    with np.errstate(over="ignore"):
        return ((array - _zero(zero)) * steps).astype(np.float32)


def is_floats(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a type are floats that a scale makes integers of: float16, float32 or float64."""
    return dtype.newbyteorder("=") in (np.float16, np.float32, np.float64)


def to_steps(x: NDArray[Any], scale: Any, zero: int, dtype: DType) -> NDArray[Any]:
    """Return clamp(rne(x / scale) + zero), x / scale in float32; scales broadcast, and NaN must have been seen to."""
    with np.errstate(over="ignore", under="ignore"):
        pieces = np.nditer(
            [x, np.asarray(scale, np.float32), None],
            ["buffered", "external_loop", "zerosize_ok"],
            [["readonly"], ["readonly"], ["writeonly", "allocate"]],
            [np.dtype(np.float32), np.dtype(np.float32), dtype.numpy],
            casting="same_kind",
            buffersize=PIECE,
        )
        with pieces:
            for floats, scales, out in pieces:
                steps = np.rint(floats / scales)
                # float64 holds the ends of every type, and sums with zero points.
                out[...] = np.clip(steps.astype(np.float64) + zero, dtype.low, dtype.high)
            return pieces.operands[2]


def first_nan(x: NDArray[Any]) -> list[int] | None:
    """Return the place of the first NaN, in the order of the dimensions, or None; makes nothing of the size of x."""
    with np.errstate(invalid="ignore"):
        # NaN is the least of all, and the greatest.
        if not x.size or not np.isnan(x.min()):
            return None
    return [int(k) for k in np.unravel_index(int(x.argmax()), x.shape)]


def _dtype(name: str, signed: bool = False, others: tuple[str, ...] = ()) -> DType:
    """Return an integer type by its name, or one of `others`; raise InputError for another."""
    legal = [held.name for held in DTYPES.values() if held.is_quantised and (held.low < 0 or not signed)]
    legal += others
    if name not in legal:
        raise InputError(f"{shown(name)} is no type to quantise to", did_you_mean(str(name), legal, f"{legal}"))
    return DTYPES[name]


def _step(low: float, high: float, steps: int) -> np.float32:
    """Return the scale of a range in so many steps; raise InputError for one that is too small to have any."""
    step = (high - low) / steps
    if step < LEAST:
        message = f"the data reaches from {low:g} to {high:g}, so there is no scale"
        raise InputError(message, "calibrate with data as a run will see it")
    return np.float32(step)


def _numbers(x: Any, what: str) -> np.ndarray:
    """Return numbers as an array of float64; raise InputError for anything else."""
    try:
        array = np.asarray(x)
        if array.dtype.kind != "c":
            return array.astype(np.float64)
        error: object = "they are complex"
    except (TypeError, ValueError, OverflowError) as failed:
        error = failed
    raise InputError(f"{what} cannot be read as numbers: {error}") from None


def _floats(x: Any, what: str) -> np.ndarray:
    """Return numbers as `_numbers` does; raise InputError where one is not finite in float32 too, or there is none."""
    array = _numbers(x, what)
    if not array.size:
        raise InputError(f"{what} of shape {list(array.shape)} holds nothing")
    with np.errstate(over="ignore", under="ignore"):
        finite = np.isfinite(array.astype(np.float32))
    if not finite.all():
        place = [int(k) for k in np.argwhere(~finite)[0]]
        raise InputError(f"{what}: {array[tuple(place)]} at {place} has no quantised value", "mend the data")
    return array


def _single(scale: Any) -> np.ndarray:
    """Return scales in float32; raise InputError where one is not positive and finite there."""
    with np.errstate(over="ignore", under="ignore"):
        found = _numbers(scale, "the scale").astype(np.float32)
    if found.ndim > 1 or not ((found > 0) & np.isfinite(found)).all():
        raise InputError(f"a scale is {shown(scale)}", "expected positive numbers that float32 holds, in one dimension")
    return found


def _zero(zero: Any, dtype: DType = I32) -> int:
    if not isinstance(zero, Integral) or not dtype.low <= int(zero) <= dtype.high:
        raise InputError(f"the zero point is {shown(zero)}", f"expected a whole number, {dtype.low} to {dtype.high}")
    return int(zero)


def _axis(array: np.ndarray, axis: int | None) -> int:
    if not isinstance(axis, Integral) or not -array.ndim <= axis < array.ndim:
        raise InputError(f"there is no axis {shown(axis)}", f"the tensor has {array.ndim}: {list(array.shape)}")
    return int(axis) % array.ndim


def _along(scale: np.ndarray, array: np.ndarray, axis: int | None) -> np.ndarray:
    """Return scales in a shape that runs along an axis of an array."""
    if scale.size == 1:
        return scale.reshape(())
    place = _axis(array, axis)
    if array.shape[place] != scale.size:
        raise InputError(f"{scale.size} scales do not fit axis {axis} of {list(array.shape)}")
    return scale.reshape([-1 if k == place else 1 for k in range(array.ndim)])


def _percentiles(data: Any, percentile: float, magnitude: bool) -> list[float]:
    """Return the percentile of the magnitudes of all arrays, or both ends of their values; 100 is the greatest."""
    if not (isinstance(percentile, Real) and 50.0 <= percentile <= 100.0):
        raise InputError(f"the percentile is {shown(percentile)}", "expected 50 to 100, which is the greatest value")
    percentiles = (percentile,) if magnitude else (100.0 - percentile, percentile)
    arrays = data if isinstance(data, Iterable) and not isinstance(data, np.ndarray) else (data,)
    parts: list[np.ndarray] = []
    for k, item in enumerate(arrays):
        array = _floats(item, f"calibration array {k}").ravel()
        array = np.abs(array) if magnitude else array
        ends = all(percentile in (0.0, 100.0) for percentile in percentiles)
        parts.append(np.array([array.min(), array.max()]) if ends else array)
    if not parts:
        raise InputError("there is no calibration data")
    return [float(np.percentile(np.concatenate(parts), percentile)) for percentile in percentiles]


def groups(values: Any, form: str) -> NDArray[np.uint8]:
    """Return the blocks of a weight in groups (`stored=FORM`), as bytes: see isa/grouped.py, whose `group` it is."""
    from isa.grouped import group

    return group(values, form)


def ungrouped(blocks: Any, form: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the tensor of type "f16" or "bf16" that blocks mean; raise InputError where they are not of that shape."""
    from isa.grouped import ungroup

    raw = np.ascontiguousarray(blocks, np.uint8)
    if raw.size != group_bytes(form, shape):
        what = f"{raw.size} bytes are no blocks of {form} for the shape {list(shape)}"
        raise InputError(what, f"expected {group_bytes(form, shape)}")
    if dtype not in ("f16", "bf16"):
        raise InputError(f"{shown(dtype)} is no type that groups expand to", "expected f16 or bf16")
    return ungroup(raw, form, dtype, shape)


def group_bytes(form: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a weight in groups; raise InputError where groups do not divide its innermost dimension."""
    from isa.grouped import form_named

    held = form_named(form)
    if not (shape and held.stored_bytes(tuple(shape))):
        what = f"groups of {held.group} do not divide the innermost dimension of {list(shape)}"
        raise InputError(what, "choose smaller groups, or fill it up with zeros")
    return held.stored_bytes(tuple(shape))
