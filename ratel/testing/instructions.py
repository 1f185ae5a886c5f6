"""Drawn instructions: hypothesis strategies for valid ones, with one builder for each row of the table.

`instructions(mnemonic)` draws one outside any loop, its operands side by side from address 0 of each memory. Values are
built valid, not filtered. Tensors are small; every type, stage word and attribute of the table is reached.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from isa.compressed import legal_sizes
from isa.dtypes import BF16, E4M3, E5M2, F16, F32, I8, I16, I32, U8, DType
from isa.grouped import FORMS
from isa.instruction import Instruction, build, counted
from isa.operand import MAX_TERMS, Operand, Term, packed_strides
from isa.row import ALL_ENGINES, ANY, ENGINES, VALUES
from isa.rows_tensor import FIXED_POINT, FLOAT_FACTORS, NARROW_FACTORS
from isa.table import MNEMONICS, ROWS, by_opcode
from isa.verify import check_instruction

Draw = Callable[[st.SearchStrategy[Any]], Any]
Fields = dict[str, Any]

small = st.integers(1, 4)
f32 = st.floats(-64, 64, width=32)
# Zero, hypothesis's favourite, says nothing of an attribute whose default it is.
set_f32 = st.one_of(st.floats(2.0**-6, 64, width=32), f32)
positive_f32 = st.floats(2.0**-10, 4, width=32)
DTYPE = (I8, I32, F32)
FACTORS = (
    *((I8, I8), (I8, U8), (U8, I8), (U8, U8), (I16, I16)),
    *((x, w) for x in FLOAT_FACTORS for w in (x, *NARROW_FACTORS)),
)

# Where programs keep each type in lm, host and dev, so that no float is read from an integer's bytes.
AREAS = {
    I8: 0,
    U8: 32 * 1024,
    I16: 64 * 1024,
    E4M3: 96 * 1024,
    E5M2: 104 * 1024,
    F16: 112 * 1024,
    BF16: 128 * 1024,
    I32: 144 * 1024,
    F32: 192 * 1024,
}
AREA_END = 256 * 1024
# Where they keep what `gather` takes for an index: 0 and 1, at the end of lm.
INDEX_AREA, INDICES = 248 * 1024, 2048
# Compressed weights, which nothing may write, lie in local memory behind the integers.
COMPRESSED_AREA = 184 * 1024


# Bytes of a constant buffer that one instruction writes at most.
MOST_WRITTEN = 1024


@dataclass
class Constants:
    """A constant buffer as it fills: where it ends, where vectors lie that need data, and what instructions write.

    Of what is written: first byte, byte behind the last, type; it has no data, and may be read as vectors.
    """

    end: int = 0
    held: set[int] = field(default_factory=set)
    written: list[tuple[int, int, DType]] = field(default_factory=list)

    def take(self, draw: Draw, dtype: DType, size: int) -> int:
        """Return where so many bytes begin that nobody has had."""
        start = self.end + -self.end % dtype.bytes + draw(st.sampled_from((0, 0, 4)))
        self.end = start + size
        return start


@dataclass
class Place:
    """Gives each operand of one instruction bytes of its own; `trips` are the counts of the open loops, task first.

    With `areas` each type is kept apart and starts at a drawn offset. `pins` fixes what `pick` would draw. Without
    `floats` none are multiplied.
    """

    trips: tuple[int, ...] = (1,)
    areas: bool = False
    constants: Constants = field(default_factory=Constants)
    pins: Fields = field(default_factory=dict)
    floats: bool = True
    cursors: dict[tuple[str, int | None], int] = field(default_factory=dict)

    def pick(self, draw: Draw, name: str, values: Sequence[Any]) -> Any:
        """Return the pinned or a drawn value of a choice, or the type of an operand."""
        return self.pins.get(name) or draw(st.sampled_from(values))

    def tensor(
        self,
        draw: Draw,
        memory: str,
        dtype: DType,
        shape: Sequence[int],
        write: bool = False,
        free: bool = False,
        index: bool = False,
    ) -> Operand:
        """Return an operand of drawn strides, terms and address; `free` allows any innermost stride."""
        strides = draw(_strides(tuple(shape), write, free))
        operand = Operand(memory, 0, dtype, tuple(shape), strides, draw(_terms(self.trips, dtype.bytes)))
        low, high = operand.extent(self.trips)
        if memory == "cb" and high - low > MOST_WRITTEN:
            memory = "lm"
        if memory == "cb":
            start = self.constants.take(draw, dtype, high - low)
            self.constants.written.append((start, start + high - low, dtype))
            return replace(operand, address=start - low)
        area = INDEX_AREA if index else AREAS[dtype]
        start = self._take(draw, memory, dtype, area, high - low)
        return replace(operand, memory=memory, address=start - low)

    def weight(self, draw: Draw, dtype: DType, shape: Sequence[int], of_floats: bool) -> Operand:
        """Return a dense or a compressed weight; of the latter the data need not hold what its mask tells of."""
        if of_floats or draw(st.integers(0, 2)):
            return self.tensor(draw, "lm", dtype, shape)
        sizes = legal_sizes(prod(shape), dtype)
        stored = sizes[draw(st.integers(0, len(sizes) - 1))]
        if self.areas:
            start = COMPRESSED_AREA + 64 * draw(st.integers(0, 8))
        else:
            start = self._take(draw, "lm", dtype, AREAS[dtype], stored)
        return Operand("lm", start, dtype, tuple(shape), packed_strides(shape), (), stored=stored)

    def grouped(self, draw: Draw, dtype: DType, shape: Sequence[int]) -> Operand:
        """Return a weight in groups, of a form that divides the shape."""
        form = draw(st.sampled_from([form for form in FORMS.values() if form.stored_bytes(tuple(shape))]))
        terms, stored = draw(_terms(self.trips, dtype.bytes)), form.stored_bytes(tuple(shape))
        operand = Operand("lm", 0, dtype, tuple(shape), packed_strides(shape), terms, None, stored, form.name)
        low, high = operand.extent(self.trips)
        return replace(operand, address=self._take(draw, "lm", dtype, AREAS[dtype], high - low) - low)

    def vector(self, draw: Draw, dtype: DType, length: int) -> Operand:
        """Return a dense vector in the constant buffer."""
        size = length * dtype.bytes
        written = [low for low, high, held in self.constants.written if held == dtype and high - low >= size]
        if written and draw(st.integers(0, 3)):
            start = draw(st.sampled_from(written))
        else:
            start = self.constants.take(draw, dtype, size)
            self.constants.held.add(start)
        return Operand("cb", start, dtype, (length,), (1,))

    def _take(self, draw: Draw, memory: str, dtype: DType, area: int, size: int) -> int:
        key = (memory, area if self.areas else None)
        if key not in self.cursors:
            self.cursors[key] = area + draw(st.integers(0, 8)) * 64 if self.areas else 0
        start = self.cursors[key]
        start += -start % dtype.bytes + dtype.bytes * draw(st.sampled_from((0, 0, 1, 3)))
        self.cursors[key] = start + size
        ends = sorted((*AREAS.values(), INDEX_AREA, AREA_END))
        assert not self.areas or start + size <= next(end for end in ends if end > area)
        return start


@st.composite
def _strides(draw: Draw, shape: tuple[int, ...], write: bool, free: bool) -> tuple[int, ...]:
    if draw(st.integers(0, 2)) == 0:
        return packed_strides(shape)
    last = len(shape) - 1
    outer = draw(st.permutations(range(last))) if draw(st.booleans()) else list(reversed(range(last)))
    order = [last, *outer]
    if free and draw(st.booleans()):
        order = draw(st.permutations(order))
    strides, reach = [0] * len(shape), 0
    for dimension in order:
        size = shape[dimension]
        contiguous = dimension == last and not free
        step = 1 if contiguous else reach + 1 + draw(st.sampled_from((0, 0, 1, 5)))
        if not contiguous and draw(st.integers(0, 7)) == 0:
            step = -step
        if not contiguous and not write and draw(st.integers(0, 9)) == 0:
            step = 0
        if size == 1:
            step = draw(st.sampled_from((step, 0, 1, 7, -3)))
        strides[dimension] = step
        reach += abs(step) * (size - 1)
    return tuple(strides)


@st.composite
def _terms(draw: Draw, trips: tuple[int, ...], size: int) -> tuple[Term, ...]:
    if len(trips) == 1 or draw(st.integers(0, 2)) == 0:
        return ()
    # Inner counters first: they are the usual ones; counter 0 is the task.
    counters = st.sampled_from([*range(1, len(trips)), *range(1, len(trips)), 0])
    moduli = st.sampled_from((0, 0, 2, 3, 5))
    keys = draw(st.sets(st.tuples(counters, moduli), min_size=1, max_size=MAX_TERMS))
    steps = st.sampled_from((1, 2, 3, 8, 16, 40, -1, -16))
    return tuple(Term(counter, modulus, draw(steps) * size) for counter, modulus in sorted(keys))


@st.composite
def _broadcast(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape that broadcasts to `shape`."""
    kept = shape[draw(st.integers(0, len(shape) - 1)) :] if draw(st.booleans()) else shape
    if draw(st.booleans()):
        return kept
    return tuple(draw(st.sampled_from((1, size))) for size in kept)


def _optional(draw: Draw, build_it: Callable[[], Any]) -> Any:
    return build_it() if draw(st.booleans()) else None


def _chain(draw: Draw, place: Place, out_dtype: DType, shape: tuple[int, ...], whole: bool) -> Fields:
    """Return the operands and attributes of EW1 to EW3 for a result of this type and shape.

    `whole` says that accumulators are integers of 32 bits.
    """
    if out_dtype == I32:
        if place.pick(draw, "ew2_op", ("none", "add")) != "add" or place.pins.get("ew2", I32) != I32:
            return {}
        return {"ew2_op": "add", "ew2": place.tensor(draw, "lm", I32, draw(_broadcast(shape)))}

    def vector(dtype: DType = F32) -> Operand:
        return place.vector(draw, dtype, draw(st.sampled_from((1, shape[-1]))))

    if whole and out_dtype.is_quantised and (fixed := _fixed_point(draw, place, shape[-1])):
        return fixed | _zeros(draw, out=out_dtype)
    fields: Fields = {
        "ew1_scale": _optional(draw, vector),
        "ew1_bias": _optional(draw, vector),
        "ew3_scale": _optional(draw, vector),
        "ew2_op": place.pick(draw, "ew2_op", _words("ew2_op")[::-1]),
        "sf": place.pick(draw, "sf", (*_words("sf")[1:], "none")),
    }
    if fields["ew2_op"] != "none":
        dtype = place.pick(draw, "ew2", ANY)
        fields["ew2"] = place.tensor(draw, "lm", dtype, draw(_broadcast(shape)))
        fields["ew2_scale"] = _optional(draw, vector)
        fields |= _zeros(draw, ew2=dtype)
    if fields["sf"] == "clip":
        fields["clip_low"], fields["clip_high"] = sorted((draw(set_f32), draw(set_f32)))
    elif fields["sf"] == "leaky_relu":
        fields["slope"] = draw(set_f32)
    elif fields["sf"] == "hard_sigmoid":
        fields["slope"], fields["offset"] = draw(set_f32), draw(set_f32)
    elif fields["sf"] == "table":
        fields["table"] = place.vector(draw, F32, 256)
        fields["table_offset"] = draw(st.integers(-128, 127))
    if out_dtype.is_quantised and place.pins.get("ew3_scale", F32) == F32:
        fields["ew3_op"] = place.pick(draw, "ew3_op", ("none", "none", "zero_first"))
    return fields | _zeros(draw, out=out_dtype)


def _fixed_point(draw: Draw, place: Place, channels: int) -> Fields:
    """Return what scales and rounds by whole numbers, or nothing: then EW3 is a floating one."""
    pins, words = place.pins, FIXED_POINT
    if pins.get("ew2_op", "none") != "none" or pins.get("sf", "none") not in ("none", "relu") or "ew2" in pins:
        return {}
    usual = words if pins.get("ew3_scale") == I32 else ("none", "none", "none", *words)
    word = pins.get("ew3_op") or draw(st.sampled_from(usual))
    if word not in words or pins.get("ew3_scale", I32) != I32:
        return {}
    count = draw(st.sampled_from((1, channels)))
    scale = replace(place.vector(draw, I32, 2 * count), shape=(2, count), strides=(count, 1))
    return {"ew3_op": word, "ew3_scale": scale, "sf": place.pick(draw, "sf", ("none", "relu"))}


def _words(choice: str) -> tuple[str, ...]:
    return next(spec.words for row in ROWS for spec in row.choices if spec.name == choice)


@dataclass(frozen=True)
class _Window:
    """A drawn window: sizes of the input and of the output, and the attributes that lead from one to the other."""

    kernel: tuple[int, int]
    sizes: tuple[int, int]
    out: tuple[int, int]
    attributes: Fields


def _window(draw: Draw, dilated: bool, pooling: bool) -> _Window:
    kernel, stride, sizes, outs, pads, dilation = [], [], [], [], [], []
    for _ in range(2):
        taps, step = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        spread = draw(st.integers(1, 2)) if dilated else 1
        most = taps - 1 if pooling else 2
        before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
        reach = (taps - 1) * spread + 1
        size = max(1, (draw(small) - 1) * step + reach - before - after + draw(st.integers(0, step - 1)))
        kernel.append(taps)
        stride.append(step)
        dilation.append(spread)
        sizes.append(size)
        pads.append((before, after))
        outs.append((size + before + after - reach) // step + 1)
    (top, bottom), (left, right) = pads
    attributes: Fields = {"stride": tuple(stride), "pad": (top, left, bottom, right)}
    if dilated:
        attributes["dilation"] = tuple(dilation)
    if pooling:
        attributes |= {"window": tuple(kernel), "ceil": draw(st.integers(0, 1))}
        if attributes["ceil"]:
            outs = [_rounded_up(*side) for side in zip(sizes, pads, kernel, stride, strict=True)]
    return _Window((kernel[0], kernel[1]), (sizes[0], sizes[1]), (outs[0], outs[1]), attributes)


def _rounded_up(size: int, pads: tuple[int, int], taps: int, step: int) -> int:
    """Return how many windows begin inside an input, or in the padding before it, until they reach its end."""
    starts = range(0, size + pads[0], step)
    return 1 + sum(start + taps < size + sum(pads) for start in starts[:-1])


def zero_points(dtype: DType) -> st.SearchStrategy[int]:
    """Return zero points that a type can have."""
    if not dtype.is_quantised:
        return st.just(0)
    return st.one_of(st.just(0), st.integers(int(dtype.low), int(dtype.high)))


def _zeros(draw: Draw, **dtypes: DType) -> Fields:
    """Return zero points of the operands of these types."""
    return {f"{name}_zero": draw(zero_points(dtype)) for name, dtype in dtypes.items()}


def _types(draw: Draw, place: Place) -> tuple[DType, DType, DType]:
    """Return types of a product's result and factors."""
    out = place.pick(draw, "out", ANY)
    pinned = [pair for pair in FACTORS if (place.pins.get("x", pair[0]), place.pins.get("w", pair[1])) == pair]
    pinned = [pair for pair in pinned if place.floats or not pair[0].is_float]
    x, w = draw(st.sampled_from([pair for pair in pinned if out != I32 or pair[0] not in (I16, *FLOAT_FACTORS)]))
    return out, x, w


def _zeros_of_factors(draw: Draw, x: DType, w: DType) -> Fields:
    """Return zero points of factors; with floats there are none."""
    return {} if x.is_float else _zeros(draw, x=x, w=w)


def _is_whole(x: DType) -> bool:
    """Return whether products of x have accumulators of 32 bits."""
    return x != I16 and not x.is_float


def _bias(draw: Draw, place: Place, x: DType, channels: int) -> Operand | None:
    """Return what sums begin with, if anything."""
    dtype = F32 if x.is_float else I32
    return _optional(draw, lambda: place.vector(draw, dtype, draw(st.sampled_from((1, channels)))))


def _conv(draw: Draw, place: Place) -> Fields:
    window = _window(draw, dilated=True, pooling=False)
    batch, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    depth, filters = draw(small), groups * draw(st.integers(1, 5))
    out_dtype, x_dtype, w_dtype = _types(draw, place)
    shape = (batch, *window.out, filters)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", x_dtype, (batch, *window.sizes, depth * groups)),
        "w": place.weight(draw, w_dtype, (filters, *window.kernel, depth), x_dtype.is_float),
        "bias": _bias(draw, place, x_dtype, filters),
        "groups": groups,
        **window.attributes,
        **_zeros_of_factors(draw, x_dtype, w_dtype),
        **_chain(draw, place, out_dtype, shape, whole=_is_whole(x_dtype)),
    }


def _dwconv(draw: Draw, place: Place) -> Fields:
    window = _window(draw, dilated=True, pooling=False)
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 8))
    out_dtype, x_dtype, w_dtype = _types(draw, place)
    shape = (batch, *window.out, channels)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", x_dtype, (batch, *window.sizes, channels)),
        "w": place.weight(draw, w_dtype, (1, *window.kernel, channels), x_dtype.is_float),
        "bias": _bias(draw, place, x_dtype, channels),
        **window.attributes,
        **_zeros_of_factors(draw, x_dtype, w_dtype),
        **_chain(draw, place, out_dtype, shape, whole=_is_whole(x_dtype)),
    }


@st.composite
def _batches(draw: Draw, batch: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return two shapes that broadcast to `batch` together."""
    pairs = [draw(st.sampled_from(((size, size), (size, 1), (1, size)))) for size in batch]
    x, w = tuple(size for size, _ in pairs), tuple(size for _, size in pairs)
    # Dimensions of 1 in front may be left out on one side; the other says how many there are.
    short, long = (x, w) if draw(st.booleans()) else (w, x)
    while short and short[0] == 1 and draw(st.booleans()):
        short = short[1:]
    return (short, long) if long is w else (long, short)


def _matmul(draw: Draw, place: Place) -> Fields:
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    x_batch, w_batch = draw(_batches(batch))
    rows, inner, columns = draw(st.integers(1, 7)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    transpose_x, transpose_w = draw(st.booleans()), draw(st.booleans())
    out_dtype, x_dtype, w_dtype = _types(draw, place)
    in_groups = x_dtype.is_float and w_dtype == x_dtype and not draw(st.integers(0, 2))
    if in_groups and transpose_w:
        inner = draw(st.sampled_from((32, 64)))
    elif in_groups:
        columns = draw(st.sampled_from((32, 64)))
    shape = (*batch, rows, columns)
    left = (inner, rows) if transpose_x else (rows, inner)
    right = (columns, inner) if transpose_w else (inner, columns)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", x_dtype, (*x_batch, *left)),
        "w": place.grouped(draw, w_dtype, (*w_batch, *right))
        if in_groups
        else place.weight(draw, w_dtype, (*w_batch, *right), x_dtype.is_float),
        "bias": _bias(draw, place, x_dtype, columns),
        "transpose_x": int(transpose_x),
        "transpose_w": int(transpose_w),
        **_zeros_of_factors(draw, x_dtype, w_dtype),
        **_chain(draw, place, out_dtype, shape, whole=_is_whole(x_dtype)),
    }


def _shape(draw: Draw) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))


def _eltwise(draw: Draw, place: Place) -> Fields:
    shape = _shape(draw)
    out_dtype = place.pick(draw, "out", [dtype for dtype in ANY if dtype != I32])
    dtype = place.pick(draw, "x", ANY)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", dtype, draw(_broadcast(shape))),
        **_zeros(draw, x=dtype),
        **_chain(draw, place, out_dtype, shape, whole=not dtype.is_float),
    }


def _rotate(draw: Draw, place: Place) -> Fields:
    *rows, pairs = _shape(draw)
    out, x, cos, sin = (place.pick(draw, name, (F16, BF16, F32)) for name in ("out", "x", "cos", "sin"))

    def angles(dtype: DType) -> Operand:
        kept = rows[draw(st.integers(0, len(rows))) :]
        return place.tensor(draw, "lm", dtype, (*(draw(st.sampled_from((1, size))) for size in kept), pairs))

    return {
        "out": place.tensor(draw, "lm", out, (*rows, 2 * pairs), write=True),
        "x": place.tensor(draw, "lm", x, (*rows, 2 * pairs)),
        "cos": angles(cos),
        "sin": angles(sin),
        "pairs": place.pick(draw, "pairs", _words("pairs")),
    }


def _maxpool(draw: Draw, place: Place) -> Fields:
    return _pool(draw, place, *(place.pick(draw, "x", VALUES),) * 2)


def _pool(draw: Draw, place: Place, dtype: DType, out_dtype: DType) -> Fields:
    window, batch, channels = _window(draw, dilated=False, pooling=True), draw(st.integers(1, 2)), draw(small)
    return {
        "out": place.tensor(draw, "lm", out_dtype, (batch, *window.out, channels), write=True),
        "x": place.tensor(draw, "lm", dtype, (batch, *window.sizes, channels)),
        **window.attributes,
    }


def _avgpool(draw: Draw, place: Place) -> Fields:
    dtype, out_dtype = place.pick(draw, "x", VALUES), place.pick(draw, "out", VALUES)
    return {
        **_pool(draw, place, dtype, out_dtype),
        "count_pad": draw(st.integers(0, 1)),
        **_scaled(draw, place, dtype, out_dtype),
    }


def _reduce(draw: Draw, place: Place) -> Fields:
    op = place.pick(draw, "op", _words("op"))
    # An i32 is summed to i32 alone.
    to_i32 = op == "sum" and place.pins.get("out", I32) == I32
    dtype = place.pick(draw, "x", ANY if op in ("max", "argmax", "min") or to_i32 else VALUES)
    out_dtype = dtype if op in ("max", "min") else I32
    adds = op in ("sum", "mean", "absmax", "sumsq")
    if adds and dtype != I32:
        sums = ANY if op == "sum" else VALUES
        out_dtype = place.pick(draw, "out", [t for t in sums if t != I32 or not dtype.is_float])
    shape = _shape(draw)
    fields: Fields = {
        "out": place.tensor(draw, "lm", out_dtype, [draw(st.sampled_from((1, size))) for size in shape], write=True),
        "x": place.tensor(draw, "lm", dtype, shape),
        "op": op,
    }
    if adds:
        scaled = _scaled(draw, place, dtype, out_dtype)
        fields |= {"x_zero": scaled["x_zero"]} if out_dtype == I32 else scaled
    return fields


def _topk(draw: Draw, place: Place) -> Fields:
    *rows, columns = _shape(draw)
    dtype, shape = place.pick(draw, "x", ANY), (*rows, draw(st.integers(1, columns)))
    return {
        "out": place.tensor(draw, "lm", dtype, shape, write=True),
        "places": place.tensor(draw, "lm", I32, shape, write=True),
        "x": place.tensor(draw, "lm", dtype, (*rows, columns)),
    }


def _resize(draw: Draw, place: Place) -> Fields:
    mode = place.pick(draw, "mode", _words("mode"))
    dtype, out_dtype = place.pick(draw, "x", VALUES), place.pick(draw, "out", VALUES)
    batch, channels = draw(st.integers(1, 2)), draw(small)
    sizes, outs = (draw(st.tuples(st.integers(1, 6), st.integers(1, 6))) for _ in range(2))
    fields: Fields = {
        "out": place.tensor(
            draw, "lm", dtype if mode == "nearest" else out_dtype, (batch, *outs, channels), write=True
        ),
        "x": place.tensor(draw, "lm", dtype, (batch, *sizes, channels)),
        "mode": mode,
        "coordinates": place.pick(draw, "coordinates", _words("coordinates")),
    }
    if fields["coordinates"] != "align_corners":
        factors = st.one_of(st.just(0.0), st.sampled_from((0.5, 1.5, 2.0)), st.floats(2.0**-149, 64, width=32))
        fields["factor"] = draw(st.tuples(factors, factors))
    if mode == "nearest":
        return fields | {"rounding": place.pick(draw, "rounding", _words("rounding"))}
    return fields | _scaled(draw, place, dtype, out_dtype)


def _regions(draw: Draw, place: Place, ratio: tuple[int, int], dtype: DType, out_dtype: DType) -> Fields:
    # Programs have 0 and 1 for an index.
    batch, channels, count = 2 if place.areas else draw(st.integers(1, 3)), draw(small), draw(st.integers(1, 3))
    sizes, bins = (draw(st.tuples(st.integers(1, 6), st.integers(1, 3))) for _ in range(2))
    out = (count, bins[0] * ratio[0], bins[1] * ratio[1], channels)
    return {
        "out": place.tensor(draw, "lm", out_dtype, out, write=True),
        "x": place.tensor(draw, "lm", dtype, (batch, *sizes, channels)),
        "rois": place.tensor(draw, "lm", F32, (count, 4)),
        "index": place.tensor(draw, "lm", I32, (count,), index=True),
        "spatial_scale": draw(st.sampled_from((1.0, 0.125, 0.5, 3.0, 0.0))),
    }


def _roisample(draw: Draw, place: Place) -> Fields:
    dtype, out_dtype = place.pick(draw, "x", VALUES), place.pick(draw, "out", VALUES)
    ratio = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return {
        **_regions(draw, place, ratio, dtype, out_dtype),
        "ratio": ratio,
        "half_pixel": draw(st.integers(0, 1)),
        **_scaled(draw, place, dtype, out_dtype),
    }


def _roipool(draw: Draw, place: Place) -> Fields:
    dtype = place.pick(draw, "x", VALUES)
    return {**_regions(draw, place, (1, 1), dtype, dtype), **_zeros(draw, x=dtype)}


def _scaled(draw: Draw, place: Place, dtype: DType, out_dtype: DType) -> Fields:
    """Return the multiplier and the zero points of an instruction of the pooling engine."""
    return {
        "scale": _optional(draw, lambda: place.vector(draw, F32, 1)),
        **_zeros(draw, x=dtype, out=out_dtype),
    }


def _moved(out_memories: tuple[str, ...], x_memories: tuple[str, ...]) -> Callable[[Draw, Place], Fields]:
    def build_fields(draw: Draw, place: Place) -> Fields:
        shape, memory = _shape(draw), draw(st.sampled_from(out_memories))
        # Of these types vectors are read.
        dtype = place.pick(draw, "out", (F32, F32, F32, I32, I32, *ANY) if memory == "cb" else ANY)
        return {
            "out": place.tensor(draw, memory, dtype, shape, write=True, free=True),
            "x": place.tensor(draw, draw(st.sampled_from(x_memories)), dtype, shape, free=True),
        }

    return build_fields


def _fill(draw: Draw, place: Place) -> Fields:
    dtype = place.pick(draw, "out", ANY)
    value = (
        float(np.float64(draw(f32)).astype(dtype.numpy))
        if dtype.is_float
        else draw(st.integers(int(dtype.low), int(dtype.high)))
    )
    memory = draw(st.sampled_from(("lm", "lm", "dev")))
    return {"out": place.tensor(draw, memory, dtype, _shape(draw), write=True, free=True), "value": value}


def _transpose(draw: Draw, place: Place) -> Fields:
    shape, dtype = _shape(draw), place.pick(draw, "out", ANY)
    perm = draw(st.permutations(range(len(shape))))
    return {
        "out": place.tensor(draw, "lm", dtype, [shape[k] for k in perm], write=True, free=True),
        "x": place.tensor(draw, "lm", dtype, shape, free=True),
        "perm": (*perm, *range(len(shape), 4)),
    }


def _gather(draw: Draw, place: Place) -> Fields:
    shape, dtype = _shape(draw), place.pick(draw, "out", ANY)
    rows, axis = draw(st.integers(1, 6)), draw(st.integers(0, len(shape) - 1))
    return {
        "axis": axis,
        "from_end": draw(st.integers(0, 1)),
        "out": place.tensor(draw, "lm", dtype, (*shape[:axis], rows, *shape[axis + 1 :]), write=True, free=True),
        "x": _in_either(draw, place.tensor(draw, "lm", dtype, shape, free=True)),
        "index": place.tensor(draw, "lm", I32, (rows,), free=True, index=True),
    }


def _scatter(draw: Draw, place: Place) -> Fields:
    shape, dtype = _shape(draw), place.pick(draw, "out", ANY)
    rows, axis = draw(st.integers(1, 6)), draw(st.integers(0, len(shape) - 1))
    return {
        "axis": axis,
        "from_end": draw(st.integers(0, 1)),
        "out": _in_either(draw, place.tensor(draw, "lm", dtype, shape, write=True, free=True)),
        "x": place.tensor(draw, "lm", dtype, (*shape[:axis], rows, *shape[axis + 1 :]), free=True),
        "index": place.tensor(draw, "lm", I32, (rows,), free=True, index=True),
    }


def _in_either(draw: Draw, operand: Operand) -> Operand:
    """Return an operand of local memory, or one at the same address of device memory."""
    return replace(operand, memory=draw(st.sampled_from(("lm", "lm", "dev"))))


def _flatten(draw: Draw, place: Place) -> Fields:
    window, dtype = _window(draw, dilated=True, pooling=False), place.pick(draw, "out", ANY)
    batch, channels = draw(st.integers(1, 2)), draw(small)
    shape = (batch, *window.out, prod(window.kernel) * channels)
    return {
        "out": place.tensor(draw, "lm", dtype, shape, write=True, free=True),
        "x": place.tensor(draw, "lm", dtype, (batch, *window.sizes, channels), free=True),
        "window": window.kernel,
        **window.attributes,
        **_zeros(draw, x=dtype),
    }


def _toweight(draw: Draw, place: Place) -> Fields:
    shape, dtype = tuple(draw(st.integers(1, 4)) for _ in range(4)), place.pick(draw, "out", ANY)
    return {
        "out": place.tensor(draw, "lm", dtype, shape, write=True, free=True),
        "x": place.tensor(draw, "lm", dtype, (prod(shape[1:]), shape[0]), free=True),
    }


def _loop(draw: Draw, place: Place) -> Fields:
    return {"counter": len(place.trips), "count": draw(small)}


def _brnz(draw: Draw, place: Place) -> Fields:
    return {"counter": len(place.trips)}


def _synchroniser(kind: str) -> Callable[[Draw, Place], Fields]:
    return lambda draw, place: {kind: draw(st.integers(0, 65535)), "queue": place.pick(draw, "queue", ENGINES)}


def _end(draw: Draw, place: Place) -> Fields:
    return {}


BUILDERS: dict[int, Callable[[Draw, Place], Fields]] = by_opcode(
    "strategies",
    {
        "conv": _conv,
        "dwconv": _dwconv,
        "matmul": _matmul,
        "eltwise": _eltwise,
        "rotate": _rotate,
        "maxpool": _maxpool,
        "avgpool": _avgpool,
        "reduce": _reduce,
        "topk": _topk,
        "resize": _resize,
        "roisample": _roisample,
        "roipool": _roipool,
        "load": _moved(("lm", "lm", "cb"), ("host", "dev")),
        "store": _moved(("host", "dev"), ("lm",)),
        "copy": _moved(("lm", "lm", "cb"), ("lm",)),
        "fill": _fill,
        "transpose": _transpose,
        "gather": _gather,
        "scatter": _scatter,
        "flatten": _flatten,
        "toweight": _toweight,
        "signal": _synchroniser("semaphore"),
        "wait": _synchroniser("semaphore"),
        "barrier": _synchroniser("barrier"),
        "loop": _loop,
        "brnz": _brnz,
        "end": _end,
    },
    ALL_ENGINES,
)
ENGINE_MNEMONICS = tuple(row.mnemonic for row in ROWS if row.engine in ENGINES)


def instruction_at(draw: Draw, mnemonic: str, place: Place, waits: Sequence[str] = ()) -> Instruction:
    return build(mnemonic, waits, **BUILDERS[MNEMONICS[mnemonic].opcode](draw, place))


@st.composite
def instructions(draw: Draw, mnemonic: str, **pins: Any) -> Instruction:
    """Draw a valid instruction outside any loop; no operand shares bytes with another.

    `pins` fixes choices by their word and types by operand: `instructions("conv", sf="tanh", out=I8)`. A pinned stage
    needs a result that has stages: i8 or f32.
    """
    row = MNEMONICS[mnemonic]
    waits = draw(st.sets(st.sampled_from(ENGINES))) if row.engine != "seq" and draw(st.booleans()) else ()
    instruction = instruction_at(draw, mnemonic, Place(pins=pins), sorted(waits))
    problems = check_instruction(instruction)
    # Pins may contradict what is drawn beside them.
    assert pins or not problems, problems
    assume(not problems)
    return instruction


def random_data(seed: int, dtype: DType, count: int) -> bytes:
    """Return `count` elements: integers of the whole range, of 16 bits for i32; normal numbers for floats."""
    generator = np.random.default_rng(seed)
    if dtype.is_float:
        return generator.normal(0, 8, count).astype(dtype.numpy).tobytes()
    low, high = (dtype.low, dtype.high) if dtype.is_quantised else (-(2**15), 2**15)
    return generator.integers(low, high, count, endpoint=True).astype(dtype.numpy).tobytes()


def random_index(generator: np.random.Generator, instruction: Instruction, count: int) -> np.ndarray:
    """Return `count` elements for the index of an instruction, in range but for one in four times."""
    of, axis, from_end = counted(instruction)
    chosen = instruction.operand(of)
    assert chosen is not None
    size = chosen.shape[axis]
    low = -size if from_end else 0
    values = generator.integers(low, size, count).astype(np.int32)
    if generator.random() < 0.25:
        values[generator.integers(count)] = generator.choice([low - 1, size, -(2**31), 2**31 - 1])
    return values
