"""What each instruction means, in plain NumPy.

`REFERENCE[opcode](given)` returns the result as a new array, or all results in the order of the row; interpret.py runs
instructions and programs with it. Kernels do the same, fast; tests compare them bit for bit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isa import functions
from isa.dtypes import I8, I32, DType
from isa.errors import index_trap
from isa.formats import multiply_add, round_to
from isa.row import ENGINES
from isa.rows_tensor import FIXED_POINT
from isa.table import by_opcode


@dataclass(frozen=True)
class Given:
    """What a reference sees: the tensors read, by name (None where absent), attributes by name, and the result's form.

    A result of which an index chooses what is written is among the tensors, as it was before.

    Choices are given by their word. `vector_format` is that of the engine, `sum_format` that of what the pooling engine
    adds.
    """

    tensors: Mapping[str, np.ndarray | None]
    attributes: Mapping[str, tuple]
    shape: tuple[int, ...]
    dtype: DType
    vector_format: str
    sum_format: str

    def tensor(self, name: str) -> np.ndarray:
        tensor = self.tensors[name]
        assert tensor is not None
        return tensor

    def zeroed(self, name: str) -> np.ndarray:
        """Return an integer tensor less its zero point, as int64."""
        return self.tensor(name).astype(np.int64) - self.attributes[f"{name}_zero"][0]

    @property
    def of_floats(self) -> bool:
        """Whether what is multiplied are floats."""
        return not np.issubdtype(self.tensor("x").dtype, np.integer)

    def dequantised(self, name: str) -> np.ndarray:
        """Return a tensor of any type less its zero point: floats as float64, integers as int64."""
        with np.errstate(invalid="ignore"):
            whole = np.issubdtype(self.tensor(name).dtype, np.integer)
            return self.zeroed(name) if whole else self.tensor(name).astype(np.float64)

    def rounded(self, value: np.ndarray) -> np.ndarray:
        return round_to(value, self.vector_format)

    def in_sum(self, value: np.ndarray) -> np.ndarray:
        """Return a term of a sum, or a step of it, in the sum format."""
        return round_to(value, self.sum_format)

    def multiply_add(self, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return multiply_add(a, b, c, self.vector_format)

    def constant(self, name: str) -> np.ndarray:
        """Return a float constant, rounded as it is loaded."""
        return self.rounded(self.tensor(name).astype(np.float64))


def saturate(v: np.ndarray, zero: float, dtype: DType) -> np.ndarray:
    """Return clamp(rne(v) + zero) in an integer type; NaN counts as 0."""
    v = np.where(np.isnan(v), 0.0, v)
    return np.clip(np.rint(v) + zero, dtype.low, dtype.high).astype(dtype.numpy)


def stored(given: Given, v: np.ndarray) -> np.ndarray:
    """Return v as it is stored: clamped with out_zero in an integer type, else rounded to the type, with one NaN."""
    if not given.dtype.is_float:
        return saturate(v, given.attributes["out_zero"][0], given.dtype)
    with np.errstate(all="ignore"):
        # From float32, which holds every v, so that fewer bits are rounded to once. Every NaN becomes the quiet one.
        rounded = v.astype(np.float32).astype(given.dtype.numpy)
        return np.where(np.isnan(rounded), np.array(np.nan, given.dtype.numpy), rounded)


def chain(given: Given, acc: np.ndarray) -> np.ndarray:
    """Return EW1 -> EW2 -> SF -> EW3 of the accumulators (integers, or floats where the chain is entered with them)."""
    if given.dtype == I32:
        second = given.tensors["ew2"]
        return (acc if second is None else acc.astype(np.int64) + second).astype(np.int32)
    if given.attributes["ew3_op"][0] in FIXED_POINT:
        return fixed_point(given, np.broadcast_to(acc, given.shape).astype(np.int64))
    with np.errstate(all="ignore"):
        v = given.rounded(np.broadcast_to(acc, given.shape).astype(np.float64))
        v = special_function(given, second_operand(given, first_stage(given, v)))
        if given.tensors["ew3_scale"] is not None:
            v = given.rounded(v * given.constant("ew3_scale"))
        if given.attributes["ew3_op"][0] == "zero_first":
            zero = given.rounded(np.array(float(given.attributes["out_zero"][0])))
            return saturate(given.rounded(v + zero), 0, given.dtype)
        return stored(given, v)


def fixed_point(given: Given, acc: np.ndarray) -> np.ndarray:
    """Return whole accumulators scaled and rounded by whole numbers, as TensorFlow Lite has it, stored."""
    (m, s), one = given.tensor("ew3_scale").astype(np.int64), np.int64(1)
    s = np.clip(s, -31, 30)
    if given.attributes["sf"][0] == "relu":
        acc = np.maximum(acc, 0)
    if given.attributes["ew3_op"][0] == "round_once":
        q = (acc * m + (one << (30 - s))) >> (31 - s)
    elif given.attributes["ew3_op"][0] == "round_away":
        q = np.sign(acc * m) * ((np.abs(acc * m) + (one << (30 - s))) >> (31 - s))
    else:
        a = np.clip(acc << np.maximum(s, 0), I32.low, I32.high)
        a = np.minimum((a * m + (one << 30)) >> 31, I32.high)
        right = np.maximum(-s, 0)
        # Of a number below 0 one less than a half is added: half away from 0.
        half = (one << right) >> 1
        q = (a + half - ((a < 0) & (right > 0))) >> right
    return np.clip(q + given.attributes["out_zero"][0], given.dtype.low, given.dtype.high).astype(given.dtype.numpy)


def first_stage(given: Given, v: np.ndarray) -> np.ndarray:
    """Return EW1: v times its scale plus its bias, each where given."""
    scaled, biased = (given.tensors[name] is not None for name in ("ew1_scale", "ew1_bias"))
    if scaled and biased:
        return given.multiply_add(v, given.constant("ew1_scale"), given.constant("ew1_bias"))
    if scaled:
        return given.rounded(v * given.constant("ew1_scale"))
    return given.rounded(v + given.constant("ew1_bias")) if biased else v


def second_operand(given: Given, v: np.ndarray) -> np.ndarray:
    """Return EW2: v with the de-quantised second tensor."""
    operation = given.attributes["ew2_op"][0]
    if operation == "none":
        return v
    d = given.rounded(given.dequantised("ew2").astype(np.float64))
    if given.tensors["ew2_scale"] is not None:
        if operation in ("add", "sub"):
            return given.multiply_add(d if operation == "add" else -d, given.constant("ew2_scale"), v)
        d = given.rounded(d * given.constant("ew2_scale"))
    if operation == "max":
        return np.where(v > d, v, d)
    if operation == "min":
        return np.where(v < d, v, d)
    return given.rounded({"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[operation](v, d))


def special_function(given: Given, v: np.ndarray) -> np.ndarray:
    """Return SF: v through the chosen function; those of isa.functions are computed in float32, then rounded."""
    word = given.attributes["sf"][0]
    if word == "relu":
        return np.where(v > 0, v, 0.0)
    if word == "clip":
        low, high = (given.rounded(np.array(given.attributes[name][0])) for name in ("clip_low", "clip_high"))
        v = np.where(v < low, low, v)
        return np.where(v > high, high, v)
    if word == "leaky_relu":
        slope = given.rounded(np.array(given.attributes["slope"][0]))
        return np.where(v < 0, given.rounded(v * slope), v)
    if word == "hard_sigmoid":
        slope, offset = (given.rounded(np.array(given.attributes[name][0])) for name in ("slope", "offset"))
        return unit(given.rounded(given.rounded(v * slope) + offset))
    if word == "hard_swish":
        return given.rounded(v * unit(given.rounded(given.rounded(v / 6) + 0.5)))
    if word == "sqrt":
        return given.rounded(np.sqrt(v))
    if word == "table":
        return given.constant("table")[saturate(v, given.attributes["table_offset"][0], I8).astype(np.int64) + 128]
    if word == "none":
        return v
    return given.rounded(getattr(functions, word)(v.astype(np.float32)).astype(np.float64))


def unit(v: np.ndarray) -> np.ndarray:
    """Return v held between 0 and 1; NaN stays."""
    v = np.where(v < 0, 0.0, v)
    return np.where(v > 1, 1.0, v)


def with_bias(given: Given, products: np.ndarray) -> np.ndarray:
    """Return the accumulators: int64 sums of products plus the bias, of 8-bit products wrapped to 32 bits."""
    bias = given.tensors["bias"]
    acc = products + (0 if bias is None else bias.astype(np.int64))
    return acc if given.tensor("x").dtype == np.int16 else acc.astype(np.int32)


def float_products(given: Given, terms: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return sums of products of floats, binary32 as float64: each term (x, w) is added by one operation, in order."""
    bias = given.tensors["bias"]
    with np.errstate(all="ignore"):
        acc = np.broadcast_to(0.0 if bias is None else bias.astype(np.float64), given.shape)
        for x, w in terms:
            acc = multiply_add(x.astype(np.float64), w.astype(np.float64), acc, "fp32")
    return acc


def window(padded: np.ndarray, given: Given, tap: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """Return, for every output pixel, the input pixel under one tap: [n, oh, ow, c] of the padded input."""
    _, rows, columns, _ = given.shape
    stride = given.attributes["stride"]
    top, left = tap[0] * dilation[0], tap[1] * dilation[1]
    return padded[
        :,
        top : top + (rows - 1) * stride[0] + 1 : stride[0],
        left : left + (columns - 1) * stride[1] + 1 : stride[1],
        :,
    ]


def pad(x: np.ndarray, given: Given, value: float) -> np.ndarray:
    top, left, bottom, right = given.attributes["pad"]
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def reached(padded: np.ndarray, given: Given, value: float) -> np.ndarray:
    """Return a padded input with `value` behind it, as far as the last windows of a pooling reach."""
    more = [(0, 0)] * 4
    for axis, (step, size) in enumerate(zip(given.attributes["stride"], given.attributes["window"], strict=True), 1):
        more[axis] = (0, max((given.shape[axis] - 1) * step + size - padded.shape[axis], 0))
    return np.pad(padded, more, constant_values=value)


def float_conv(given: Given) -> np.ndarray:
    x, w = pad(given.tensor("x"), given, 0), given.tensor("w")
    filters, height, width, depth = w.shape
    # The group of each filter, and where its channels begin.
    first = np.arange(filters) // (filters // given.attributes["groups"][0]) * depth
    terms = (
        (window(x, given, (kh, kw), given.attributes["dilation"])[..., first + c], w[:, kh, kw, c])
        for kh, kw, c in np.ndindex(height, width, depth)
    )
    return chain(given, float_products(given, terms))


def conv(given: Given) -> np.ndarray:
    if given.of_floats:
        return float_conv(given)
    x, w = pad(given.zeroed("x"), given, 0), given.zeroed("w")
    filters, height, width, depth = w.shape
    groups = given.attributes["groups"][0]
    of_group = filters // groups
    products = np.zeros(given.shape, np.int64)
    for kh, kw in np.ndindex(height, width):
        pixels = window(x, given, (kh, kw), given.attributes["dilation"])
        for g in range(groups):
            outputs = slice(g * of_group, (g + 1) * of_group)
            products[..., outputs] += pixels[..., g * depth : (g + 1) * depth] @ w[outputs, kh, kw, :].T
    return chain(given, with_bias(given, products))


def dwconv(given: Given) -> np.ndarray:
    if given.of_floats:
        x, w = pad(given.tensor("x"), given, 0), given.tensor("w")
        taps = (
            (window(x, given, (kh, kw), given.attributes["dilation"]), w[0, kh, kw])
            for kh, kw in np.ndindex(w.shape[1:3])
        )
        return chain(given, float_products(given, taps))
    x, w = pad(given.zeroed("x"), given, 0), given.zeroed("w")
    products = np.zeros(given.shape, np.int64)
    for kh, kw in np.ndindex(w.shape[1:3]):
        products += window(x, given, (kh, kw), given.attributes["dilation"]) * w[0, kh, kw]
    return chain(given, with_bias(given, products))


def matmul(given: Given) -> np.ndarray:
    x, w = (given.tensor(name) if given.of_floats else given.zeroed(name) for name in ("x", "w"))
    if given.attributes["transpose_x"][0]:
        x = x.swapaxes(-1, -2)
    if given.attributes["transpose_w"][0]:
        w = w.swapaxes(-1, -2)
    if given.of_floats:
        steps = ((x[..., k, None], w[..., k, None, :]) for k in range(x.shape[-1]))
        return chain(given, float_products(given, steps))
    return chain(given, with_bias(given, x @ w))


def eltwise(given: Given) -> np.ndarray:
    return chain(given, given.dequantised("x"))


def rotate(given: Given) -> np.ndarray:
    x, cos, sin = (given.rounded(given.dequantised(name)) for name in ("x", "cos", "sin"))
    half = x.shape[-1] // 2
    places = [slice(half), slice(half, None)]
    if given.attributes["pairs"][0] == "interleaved":
        places = [slice(0, None, 2), slice(1, None, 2)]
    a, b = (x[..., place] for place in places)
    v = np.empty(x.shape)
    with np.errstate(all="ignore"):
        v[..., places[0]] = given.rounded(given.rounded(a * cos) - given.rounded(b * sin))
        v[..., places[1]] = given.rounded(given.rounded(b * cos) + given.rounded(a * sin))
    return stored(given, v)


def greater(given: Given, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the greater of two, a of equals; a NaN is greater than any number, and stored as the one quiet NaN."""
    if not given.dtype.is_float:
        return np.maximum(a, b)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(b), np.nan, np.where(b > a, b, a)).astype(a.dtype)


def maxpool(given: Given) -> np.ndarray:
    least = given.dtype.least
    x = reached(pad(given.tensor("x"), given, least), given, least)
    out = np.full(given.shape, least, given.dtype.numpy)
    for tap in np.ndindex(*given.attributes["window"]):
        out = greater(given, out, window(x, given, tap, (1, 1)))
    return out


def summands(given: Given) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return what x contributes to sums, and how each sum is rounded: integers not at all, floats to the sum format."""
    x = given.dequantised("x")
    if x.dtype == np.int64:
        return x, lambda sums: sums
    return given.in_sum(x), given.in_sum


def avgpool(given: Given) -> np.ndarray:
    x, step = summands(given)
    inside = np.ones(x.shape, np.int64)
    sums, count = np.zeros(given.shape, x.dtype), np.zeros(given.shape, np.int64)
    padded, counted, within = (
        reached(pad(tensor, given, value), given, 0)
        for tensor, value in ((x, 0), (inside, given.attributes["count_pad"][0]), (inside, 0))
    )
    for tap in np.ndindex(*given.attributes["window"]):
        with np.errstate(all="ignore"):
            more = step(sums + window(padded, given, tap, (1, 1)))
        sums = np.where(window(within, given, tap, (1, 1)), more, sums)
        count += window(counted, given, tap, (1, 1))
    return scaled(given, sums, count)


def scaled(given: Given, v: np.ndarray, count: np.ndarray | int = 1) -> np.ndarray:
    """Return v times scale / count, stored."""
    scale = np.ones(1) if given.tensors["scale"] is None else given.constant("scale")
    with np.errstate(all="ignore"):
        return stored(given, given.rounded(given.rounded(v.astype(np.float64)) * given.rounded(scale / count)))


def reduce(given: Given) -> np.ndarray:
    op, x = given.attributes["op"][0], given.tensor("x")
    folded = [d for d in range(x.ndim) if given.shape[d] != x.shape[d]]
    last = [d for d in range(x.ndim) if d not in folded] + folded

    def lines(tensor: np.ndarray) -> np.ndarray:
        """Return what becomes one element as lines of the last dimension, in row-major order."""
        return tensor.transpose(last).reshape(*given.shape, -1)

    if op in ("max", "argmax", "min"):
        # NaN counts as the greatest here too, and as the least.
        with np.errstate(invalid="ignore"):
            place = (np.argmin if op == "min" else np.argmax)(lines(x).astype(np.float64), axis=-1)
        if op == "argmax":
            return place.astype(np.int32)
        found = np.take_along_axis(lines(x), place[..., None], axis=-1)[..., 0]
        with np.errstate(invalid="ignore"):
            return np.where(np.isnan(found), np.nan, found).astype(x.dtype) if given.dtype.is_float else found
    if op == "absmax":
        # NaN passes through, whatever stands beside it.
        with np.errstate(invalid="ignore"):
            return scaled(given, np.abs(lines(given.dequantised("x"))).max(-1))
    parts, step = summands(given)
    parts = lines(parts)
    sums = np.zeros(given.shape, parts.dtype)
    for k in range(parts.shape[-1]):
        with np.errstate(all="ignore"):
            part = parts[..., k]
            if op == "sumsq":
                whole = part.dtype == np.int64
                sums = sums + part**2 if whole else multiply_add(part, part, sums, given.sum_format)
            else:
                sums = step(sums + part)
    if given.dtype == I32:
        return sums.astype(np.int32)
    return scaled(given, sums, parts.shape[-1] if op == "mean" else 1)


def topk(given: Given) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore"):
        x = given.tensor("x").astype(np.float64)
    no_number = np.isnan(x)
    # By the last key first, and stable: equals stay in their order.
    order = np.lexsort((-np.where(no_number, 0, x), no_number), axis=-1)[..., : given.shape[-1]]
    return np.take_along_axis(given.tensor("x"), order, axis=-1), order.astype(np.int32)


def move(given: Given) -> np.ndarray:
    return given.tensor("x").copy()


def fill(given: Given) -> np.ndarray:
    return np.full(given.shape, given.attributes["value"][0], given.dtype.numpy)


def transpose(given: Given) -> np.ndarray:
    x = given.tensor("x")
    return x.transpose([int(k) for k in given.attributes["perm"][: x.ndim]]).copy()


def checked_index(given: Given, axis: int = 0, from_end: bool = False, of: str = "x") -> np.ndarray:
    """Return the index tensor; raise Trap for its first element that is no place along a dimension of x, or out.

    With `from_end` those below 0 count back from the end.
    """
    index, rows = given.tensor("index"), given.tensor(of).shape[axis]
    for place in np.flatnonzero((index < (-rows if from_end else 0)) | (index >= rows)):
        raise index_trap(int(place), int(index[place]), rows, "", axis, from_end, of)
    return index % rows


def gather(given: Given) -> np.ndarray:
    axis, from_end = int(given.attributes["axis"][0]), bool(given.attributes["from_end"][0])
    return np.take(given.tensor("x"), checked_index(given, axis, from_end), axis)


def scatter(given: Given) -> np.ndarray:
    axis, from_end = int(given.attributes["axis"][0]), bool(given.attributes["from_end"][0])
    index, out = checked_index(given, axis, from_end, "out"), given.tensor("out").copy()
    rows, of_x = np.moveaxis(out, axis, 0), np.moveaxis(given.tensor("x"), axis, 0)
    for i, place in enumerate(index):
        rows[place] = of_x[i]
    return out


def flatten(given: Given) -> np.ndarray:
    x = pad(given.tensor("x"), given, given.attributes["x_zero"][0])
    taps = np.ndindex(*given.attributes["window"])
    return np.concatenate([window(x, given, tap, given.attributes["dilation"]) for tap in taps], axis=-1)


def toweight(given: Given) -> np.ndarray:
    return given.tensor("x").T.reshape(given.shape)


@dataclass(frozen=True)
class Between:
    """Places between the pixels of one side of x: the pixels before and after, and the weight of each."""

    before: np.ndarray
    after: np.ndarray
    weight_before: np.ndarray
    weight_after: np.ndarray


def coordinates(word: str, size: int, of_x: int) -> tuple[np.ndarray, int]:
    """Return where the indices of a side of the result lie in x: numerators, and their denominator."""
    i = np.arange(size, dtype=np.int64)
    if word == "half_pixel":
        return (2 * i + 1) * of_x - size, 2 * size
    if word == "align_corners":
        return i * (of_x - 1), max(size - 1, 1)
    return i * of_x, size


def scaled_coordinates(word: str, size: int, factor: float) -> np.ndarray:
    """Return where the indices of a side of the result lie in x by a factor: float32, each operation rounded."""
    i, half = np.arange(size).astype(np.float32), np.float32(0.5)
    with np.errstate(over="ignore"):
        return (i + half) / np.float32(factor) - half if word == "half_pixel" else i / np.float32(factor)


def nearest_scaled(word: str, places: np.ndarray, of_x: int) -> np.ndarray:
    """Return the pixels that float32 coordinates are rounded to."""
    s = np.clip(places.astype(np.float64), -1, of_x)
    rounded = {"prefer_floor": np.ceil(s - 0.5), "prefer_ceil": np.floor(s + 0.5)}
    places = {**rounded, "floor": np.floor(s), "ceil": np.ceil(s)}[word]
    return np.clip(places.astype(np.int64), 0, of_x - 1)


def nearest(word: str, numerators: np.ndarray, denominator: int, of_x: int) -> np.ndarray:
    """Return the pixels that coordinates are rounded to."""
    twice, unit = 2 * numerators, 2 * denominator
    places = {
        "prefer_floor": -((denominator - twice) // unit),
        "prefer_ceil": (twice + denominator) // unit,
        "floor": numerators // denominator,
        "ceil": -(-numerators // denominator),
    }[word]
    return np.clip(places, 0, of_x - 1)


def interpolated(given: Given, images: np.ndarray, y: Between, x: Between) -> np.ndarray:
    """Return [n, oh, ow, c]: at each crossing of places y and x of images, four pixels weighted and added in order."""
    v = np.zeros(())
    with np.errstate(all="ignore"):
        for k, (rows, columns) in enumerate(np.ndindex(2, 2)):
            row, high = ((y.before, y.weight_before), (y.after, y.weight_after))[rows]
            column, wide = ((x.before, x.weight_before), (x.after, x.weight_after))[columns]
            weight = given.in_sum(high[:, None] * wide)[..., None]
            part = given.in_sum(images[:, row][:, :, column] * weight)
            v = given.in_sum(v + part) if k else part
    return v


def resize(given: Given) -> np.ndarray:
    word, rounding = given.attributes["coordinates"][0], given.attributes["rounding"][0]
    sides = list(zip(given.shape[1:3], given.tensor("x").shape[1:3], given.attributes["factor"], strict=True))
    if given.attributes["mode"][0] == "nearest":
        rows, columns = (
            nearest_scaled(rounding, scaled_coordinates(word, size, factor), of_x)
            if factor
            else nearest(rounding, *coordinates(word, size, of_x), of_x)
            for size, of_x, factor in sides
        )
        return given.tensor("x")[:, rows][:, :, columns]
    places = []
    for size, of_x, factor in sides:
        if factor:
            inside = np.clip(scaled_coordinates(word, size, factor), np.float32(0), np.float32(of_x - 1))
            places.append(between_samples(given, inside, of_x)[0])
            continue
        numerators, denominator = coordinates(word, size, of_x)
        numerators = np.clip(numerators, 0, (of_x - 1) * denominator)
        low, after = numerators // denominator, numerators % denominator
        weights = given.in_sum((denominator - after) / denominator), given.in_sum(after / denominator)
        places.append(Between(low, np.minimum(low + 1, of_x - 1), *weights))
    x = given.in_sum(given.dequantised("x").astype(np.float64))
    return scaled(given, interpolated(given, x, *places))


def sample_places(given: Given, begin: np.float32, end: np.float32, axis: int) -> np.ndarray:
    """Return the float32 coordinates of a region's samples along one side of x."""
    f32, half_pixel = np.float32, given.attributes["half_pixel"][0]
    scale, offset = f32(given.attributes["spatial_scale"][0]), f32(0.5 if half_pixel else 0)
    ratio = int(given.attributes["ratio"][axis])
    samples = np.arange(given.shape[1 + axis])
    start = begin * scale - offset
    length = end * scale - offset - start
    if not half_pixel and length < 1:
        length = f32(1)
    size = length / f32(samples.size // ratio)
    within = ((samples % ratio).astype(f32) + f32(0.5)) * size / f32(ratio)
    return start + (samples // ratio).astype(f32) * size + within


def between_samples(given: Given, places: np.ndarray, of_x: int) -> tuple[Between, np.ndarray]:
    """Return what lies around float32 places, and which of them are at most one pixel outside x."""
    inside = (places >= -1) & (places <= of_x)
    places = np.where(inside & (places > 0), places, np.float32(0))
    low = np.minimum(places.astype(np.int64), of_x - 1)
    after = np.where(low < of_x - 1, places - low.astype(np.float32), np.float32(0))
    weights = (given.in_sum(weight.astype(np.float64)) for weight in (np.float32(1) - after, after))
    return Between(low, np.minimum(low + 1, of_x - 1), *weights), inside


def roisample(given: Given) -> np.ndarray:
    x = given.in_sum(given.dequantised("x").astype(np.float64))
    v, inside = np.zeros(given.shape), np.zeros(given.shape, bool)
    with np.errstate(all="ignore"):
        for r, (image, roi) in enumerate(zip(checked_index(given), given.tensor("rois"), strict=True)):
            (rows, high), (columns, wide) = (
                between_samples(given, sample_places(given, roi[1 - axis], roi[3 - axis], axis), x.shape[1 + axis])
                for axis in (0, 1)
            )
            v[r] = interpolated(given, x[[image]], rows, columns)[0]
            inside[r] = (high[:, None] & wide)[..., None]
    return np.where(inside, scaled(given, v), stored(given, np.zeros(given.shape)))


def bins(given: Given, begin: np.float32, end: np.float32, axis: int) -> list[slice]:
    """Return the bins of a region along one side of x, as slices of it."""
    scale, size = np.float32(given.attributes["spatial_scale"][0]), given.tensor("x").shape[1 + axis]
    ends = []
    for corner in (begin, end):
        place = float(np.clip(np.nan_to_num(corner * scale, nan=0, posinf=2**30, neginf=-(2**30)), -(2**30), 2**30))
        ends.append(int(np.copysign(np.floor(abs(place) + 0.5), place)))
    length, count = max(ends[1] - ends[0] + 1, 1), given.shape[1 + axis]
    firsts = [ends[0] + i * length // count for i in range(count)]
    lasts = [ends[0] - (-(i + 1) * length // count) for i in range(count)]
    return [slice(*np.clip((first, last), 0, size)) for first, last in zip(firsts, lasts, strict=True)]


def roipool(given: Given) -> np.ndarray:
    zero = given.attributes["x_zero"][0]
    out = np.full(given.shape, zero, given.dtype.numpy)
    least = given.dtype.least
    with np.errstate(all="ignore"):
        for r, (image, roi) in enumerate(zip(checked_index(given), given.tensor("rois"), strict=True)):
            rows, columns = (bins(given, roi[1 - axis], roi[3 - axis], axis) for axis in (0, 1))
            for i, j in np.ndindex(len(rows), len(columns)):
                pixels = given.tensor("x")[image, rows[i], columns[j]].reshape(-1, given.shape[3])
                if len(pixels):
                    out[r, i, j] = least
                for pixel in pixels:
                    out[r, i, j] = greater(given, out[r, i, j], pixel)
    return out


REFERENCE: dict[int, Callable[[Given], np.ndarray | tuple[np.ndarray, ...]]] = by_opcode(
    "REFERENCE",
    {
        "conv": conv,
        "dwconv": dwconv,
        "matmul": matmul,
        "eltwise": eltwise,
        "rotate": rotate,
        "maxpool": maxpool,
        "avgpool": avgpool,
        "reduce": reduce,
        "topk": topk,
        "resize": resize,
        "roisample": roisample,
        "roipool": roipool,
        "load": move,
        "store": move,
        "copy": move,
        "fill": fill,
        "transpose": transpose,
        "gather": gather,
        "scatter": scatter,
        "flatten": flatten,
        "toweight": toweight,
    },
    ENGINES,
)
