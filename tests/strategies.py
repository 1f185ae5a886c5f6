"""Hypothesis strategies for valid instructions and programs, one builder for each row of the table.

`instructions(mnemonic)` draws one instruction outside any loop, its operands side by side from address 0 of each
memory. `programs()` draws whole programs: nested loops, affine terms, wait bits, both orders, data and symbols. Values
are built valid, not filtered. Tensors are small; every type, stage word and attribute of the table is reached.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from isa.compressed import compress, legal_sizes
from isa.dtypes import BF16, F16, F32, I8, I16, I32, U8, DType
from isa.instruction import Instruction, build
from isa.operand import MAX_TERMS, Operand, Term, packed_strides
from isa.program import Check, Core, Line, Program, Segment, Symbol
from isa.row import ALL_ENGINES, ANY, ENGINES, VALUES
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
FACTORS = ((I8, I8), (I8, U8), (U8, I8), (U8, U8), (I16, I16))

# Where programs keep each type in lm, host and dev, so that no float is read from an integer's bytes.
AREAS = {
    I8: 0,
    U8: 32 * 1024,
    I16: 64 * 1024,
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


@dataclass
class Place:
    """Gives each operand of one instruction bytes of its own; `trips` are the counts of the open loops, task first.

    With `areas` each type is kept apart and starts at a drawn offset. `pins` fixes what `pick` would draw.
    """

    trips: tuple[int, ...] = (1,)
    areas: bool = False
    constants: int = 0
    pins: Fields = field(default_factory=dict)
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
        area = INDEX_AREA if index else AREAS[dtype]
        start = self._take(draw, memory, dtype, area, high - low)
        return Operand(memory, start - low, dtype, operand.shape, strides, operand.terms)

    def weight(self, draw: Draw, dtype: DType, shape: Sequence[int]) -> Operand:
        """Return a dense or a compressed weight; of the latter the data need not hold what its mask tells of."""
        if draw(st.integers(0, 2)):
            return self.tensor(draw, "lm", dtype, shape)
        sizes = legal_sizes(prod(shape), dtype)
        stored = sizes[draw(st.integers(0, len(sizes) - 1))]
        if self.areas:
            start = COMPRESSED_AREA + 64 * draw(st.integers(0, 8))
        else:
            start = self._take(draw, "lm", dtype, AREAS[dtype], stored)
        return Operand("lm", start, dtype, tuple(shape), packed_strides(shape), (), stored=stored)

    def vector(self, draw: Draw, dtype: DType, length: int) -> Operand:
        """Return a dense vector in the constant buffer."""
        self.constants += -self.constants % dtype.bytes + draw(st.sampled_from((0, 0, 4)))
        operand = Operand("cb", self.constants, dtype, (length,), (1,))
        self.constants += operand.bytes
        return operand

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


def _chain(draw: Draw, place: Place, out_dtype: DType, shape: tuple[int, ...]) -> Fields:
    """Return the operands and attributes of EW1 to EW3 for a result of this type and shape."""
    if out_dtype == I32:
        return {}

    def vector(dtype: DType = F32) -> Operand:
        return place.vector(draw, dtype, draw(st.sampled_from((1, shape[-1]))))

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
    return fields | _zeros(draw, out=out_dtype)


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
        attributes["window"] = tuple(kernel)
    return _Window((kernel[0], kernel[1]), (sizes[0], sizes[1]), (outs[0], outs[1]), attributes)


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
    x, w = draw(st.sampled_from([pair for pair in pinned if (out, *pair) != (I32, I16, I16)]))
    return out, x, w


def _conv(draw: Draw, place: Place) -> Fields:
    window = _window(draw, dilated=True, pooling=False)
    batch, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    depth, filters = draw(small), groups * draw(st.integers(1, 5))
    out_dtype, x_dtype, w_dtype = _types(draw, place)
    shape = (batch, *window.out, filters)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", x_dtype, (batch, *window.sizes, depth * groups)),
        "w": place.weight(draw, w_dtype, (filters, *window.kernel, depth)),
        "bias": _optional(draw, lambda: place.vector(draw, I32, draw(st.sampled_from((1, filters))))),
        "groups": groups,
        **window.attributes,
        **_zeros(draw, x=x_dtype, w=w_dtype),
        **_chain(draw, place, out_dtype, shape),
    }


def _dwconv(draw: Draw, place: Place) -> Fields:
    window = _window(draw, dilated=True, pooling=False)
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 8))
    out_dtype, x_dtype, w_dtype = _types(draw, place)
    shape = (batch, *window.out, channels)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", x_dtype, (batch, *window.sizes, channels)),
        "w": place.weight(draw, w_dtype, (1, *window.kernel, channels)),
        "bias": _optional(draw, lambda: place.vector(draw, I32, draw(st.sampled_from((1, channels))))),
        **window.attributes,
        **_zeros(draw, x=x_dtype, w=w_dtype),
        **_chain(draw, place, out_dtype, shape),
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
    shape = (*batch, rows, columns)
    left = (inner, rows) if transpose_x else (rows, inner)
    right = (columns, inner) if transpose_w else (inner, columns)
    return {
        "out": place.tensor(draw, "lm", out_dtype, shape, write=True),
        "x": place.tensor(draw, "lm", x_dtype, (*x_batch, *left)),
        "w": place.weight(draw, w_dtype, (*w_batch, *right)),
        "bias": _optional(draw, lambda: place.vector(draw, I32, draw(st.sampled_from((1, columns))))),
        "transpose_x": int(transpose_x),
        "transpose_w": int(transpose_w),
        **_zeros(draw, x=x_dtype, w=w_dtype),
        **_chain(draw, place, out_dtype, shape),
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
        **_chain(draw, place, out_dtype, shape),
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
    dtype = place.pick(draw, "x", ANY if op in ("max", "argmax") or to_i32 else VALUES)
    out_dtype = dtype if op == "max" else I32
    if op in ("sum", "mean") and dtype != I32:
        sums = {"sum": ANY, "mean": VALUES}[op]
        out_dtype = place.pick(draw, "out", [t for t in sums if t != I32 or not dtype.is_float])
    shape = _shape(draw)
    fields: Fields = {
        "out": place.tensor(draw, "lm", out_dtype, [draw(st.sampled_from((1, size))) for size in shape], write=True),
        "x": place.tensor(draw, "lm", dtype, shape),
        "op": op,
    }
    if op in ("sum", "mean"):
        scaled = _scaled(draw, place, dtype, out_dtype)
        fields |= {"x_zero": scaled["x_zero"]} if out_dtype == I32 else scaled
    return fields


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
        shape, dtype = _shape(draw), place.pick(draw, "out", ANY)
        return {
            "out": place.tensor(draw, draw(st.sampled_from(out_memories)), dtype, shape, write=True, free=True),
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
    rows = draw(st.integers(1, 6))
    return {
        "out": place.tensor(draw, "lm", dtype, (rows, *shape[1:]), write=True, free=True),
        "x": place.tensor(draw, "lm", dtype, shape, free=True),
        "index": place.tensor(draw, "lm", I32, (rows,), free=True, index=True),
    }


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
        "maxpool": _maxpool,
        "avgpool": _avgpool,
        "reduce": _reduce,
        "resize": _resize,
        "roisample": _roisample,
        "roipool": _roipool,
        "load": _moved(("lm",), ("host", "dev")),
        "store": _moved(("host", "dev"), ("lm",)),
        "copy": _moved(("lm",), ("lm",)),
        "fill": _fill,
        "transpose": _transpose,
        "gather": _gather,
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


def _instruction(draw: Draw, mnemonic: str, place: Place, waits: Sequence[str] = ()) -> Instruction:
    return build(mnemonic, waits, **BUILDERS[MNEMONICS[mnemonic].opcode](draw, place))


@st.composite
def instructions(draw: Draw, mnemonic: str, **pins: Any) -> Instruction:
    """Draw a valid instruction outside any loop; no operand shares bytes with another.

    `pins` fixes choices by their word and types by operand: `instructions("conv", sf="tanh", out=I8)`. A pinned stage
    needs a result that has stages: i8 or f32.
    """
    row = MNEMONICS[mnemonic]
    waits = draw(st.sets(st.sampled_from(ENGINES))) if row.engine != "seq" and draw(st.booleans()) else ()
    instruction = _instruction(draw, mnemonic, Place(pins=pins), sorted(waits))
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
    x = instruction.operand("x")
    assert x is not None
    values = generator.integers(0, x.shape[0], count).astype(np.int32)
    if generator.random() < 0.25:
        values[generator.integers(count)] = generator.choice([-1, x.shape[0], -(2**31), 2**31 - 1])
    return values


def _body(draw: Draw, place: Place, code: list[Instruction], budget: list[int], mnemonics: tuple[str, ...]) -> None:
    for _ in range(draw(st.integers(0, 5))):
        budget[0] -= 1
        if budget[0] < 0:
            return
        if len(place.trips) < 4 and draw(st.integers(0, 3)) == 0:
            count = draw(small)
            code.append(build("loop", counter=len(place.trips), count=count))
            inner = Place((*place.trips, count), True, place.constants)
            _body(draw, inner, code, budget, mnemonics)
            place.constants = inner.constants
            code.append(build("brnz", counter=len(place.trips)))
        else:
            waits = draw(st.sets(st.sampled_from(ENGINES))) if draw(st.integers(0, 2)) == 0 else ()
            own = Place(place.trips, True, place.constants)
            code.append(_instruction(draw, draw(st.sampled_from(mnemonics)), own, sorted(waits)))
            place.constants = own.constants


@st.composite
def programs(draw: Draw, dev: bool = True, chip: str = "edge", max_instructions: int = 8) -> Program:
    """Draw a valid one-core program that fits `chip`; with `dev` False nothing lies in device memory.

    In lm, host and dev each type keeps to its own area (AREAS), so floats are never read from integers' bytes.
    Every constant that the code reads has data; symbols lie over parts of the areas and may overlap.
    """
    code: list[Instruction] = []
    tasks = draw(st.sampled_from((1, 1, 2, 3)))
    _body(draw, Place((tasks,), areas=True), code, [max_instructions], ENGINE_MNEMONICS)
    code.append(build("end"))
    if not dev:
        code = [_without_dev(instruction) for instruction in code]
    seed = draw(st.integers(0, 2**32 - 1))
    symbols: list[Symbol] = []
    segments: list[Segment] = []
    for k, operand in enumerate(
        dict.fromkeys(op for instruction in code for _, op in instruction.accesses() if op.memory == "cb")
    ):
        data = random_data(seed + k, operand.dtype, operand.elements)
        symbols.append(Symbol(f"c{k}", "const", "cb", operand.address, operand.dtype, operand.shape))
        segments.append(Segment("cb", operand.address, data))
    if any(spec.name == "index" for instruction in code for spec in instruction.row.operands):
        data = np.random.default_rng(seed).integers(0, 2, INDICES).astype("<i4").tobytes()
        symbols.append(Symbol("indices", "weight", "lm", INDEX_AREA, I32, (INDICES,)))
        segments.append(Segment("lm", INDEX_AREA, data))
    weights = {"lm": AREAS, "dev": AREAS, "host": AREAS} if dev else {"lm": AREAS, "host": AREAS}
    for memory, areas in weights.items():
        for dtype, start in areas.items():
            if draw(st.booleans()):
                count = draw(st.integers(1, 600))
                name, kind = f"{memory}_{dtype}", "weight"
                symbols.append(Symbol(name, kind, memory, start, dtype, (count,), *draw(_meaning(dtype, count))))
                segments.append(Segment(memory, start, random_data(seed + start, dtype, count)))
    if draw(st.booleans()):
        dtype, count = draw(st.sampled_from((I8, U8, I16))), draw(st.integers(1, 600))
        # Every other element 0; or only bytes of the legal size, whose mask may lie.
        data = random_data(seed, dtype, count)
        data = compress(
            (np.frombuffer(data, dtype.numpy) * (np.arange(count) % 2)).astype(dtype.numpy).tobytes(), dtype
        )
        data = draw(st.sampled_from((data, random_data(seed, dtype, len(data) // dtype.bytes))))
        meaning = draw(_meaning(dtype, count))
        symbols.append(
            Symbol("compressed", "weight", "lm", COMPRESSED_AREA, dtype, (count,), *meaning, stored=len(data))
        )
        segments.append(Segment("lm", COMPRESSED_AREA, data))
    checks = []
    for k in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(("input", "output", "local")))
        dtype = draw(st.sampled_from(DTYPE))
        shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
        memory = draw(st.sampled_from(("lm", "dev", "host") if dev else ("lm", "host")))
        # The place beyond the weights, which are set up once; inputs and outputs move with every task.
        address = AREAS[dtype] + 4096 + k * 2048 + dtype.bytes * draw(st.integers(0, 9))
        scale, zero = draw(_meaning(dtype, shape[-1]))
        symbol = Symbol(f"{kind}{k}", kind, memory, address, dtype, shape, scale, zero)
        if kind != "local":
            # Buffers of no more bytes than the place between two symbols.
            most = max(1, 1536 // symbol.bytes)
            symbol = replace(symbol, buffers=draw(st.sampled_from([n for n in (1, 2, 3, 16) if n <= most])))
        if kind == "input" and draw(st.booleans()):
            count = draw(st.sampled_from((1, tasks))) * symbol.bytes // dtype.bytes
            symbol = replace(symbol, default=random_data(seed + k, dtype, count))
        symbols.append(symbol)
        if kind == "output":
            checks.append(draw(_check(symbol, tasks, seed)))
    lines = tuple(Line("drawn.npu", 1 + k, str(instruction.row.mnemonic)) for k, instruction in enumerate(code))
    return Program(
        draw(st.sampled_from(("drawn", "program", "a b", 'q"\\'))),
        chip,
        draw(st.sampled_from(("hardware", "compiler"))),
        (Core(tuple(code), lines, tuple(segments), tuple(symbols)),),
        tuple(checks[: draw(st.integers(0, 2))]),
        tasks,
    )


# Where other cores write, and where what they wrote is copied to: beyond the areas, a slot for each remote copy.
SLOTS, TAKEN, SLOT = AREA_END, AREA_END + 64 * 1024, 1024


@dataclass
class _Team:
    """Draws the code of several cores together: in one order of events, in which every wait is met."""

    draw: Draw
    codes: list[list[Instruction]]
    places: list[Place]
    semaphores: list[tuple[tuple[int, str], tuple[int, str]]]
    barriers: list[dict[int, str]]
    slots: int = 0

    def body(self, depth: int) -> None:
        kinds = ["token", "token", "code", *["loop"] * (depth < 2), *["barrier"] * bool(self.barriers)]
        for _ in range(self.draw(st.integers(1, 5))):
            kind = self.draw(st.sampled_from(kinds))
            if kind == "code":
                core = self.draw(st.integers(0, len(self.codes) - 1))
                _body(self.draw, self.places[core], self.codes[core], [2], ENGINE_MNEMONICS)
            elif kind == "loop":
                self.loop(depth)
            elif kind == "token":
                self.token()
            else:
                number = self.draw(st.integers(0, len(self.barriers) - 1))
                for core, queue in self.barriers[number].items():
                    self.add(core, "barrier", barrier=number, queue=queue)

    def add(self, core: int, mnemonic: str, **fields: Any) -> None:
        waits = self.draw(st.sets(st.sampled_from(ENGINES))) if self.draw(st.integers(0, 2)) == 0 else ()
        self.codes[core].append(build(mnemonic, sorted(waits), **fields))

    def loop(self, depth: int) -> None:
        """Loop as often on each core that does something in the loop."""
        count, before, codes = self.draw(small), self.places, self.codes
        self.places = [Place((*place.trips, count), True, place.constants) for place in before]
        self.codes = [[] for _ in codes]
        self.body(depth + 1)
        for place, inner, code, looped in zip(before, self.places, codes, self.codes, strict=True):
            place.constants = inner.constants
            if looped:
                counter = len(place.trips)
                code += [build("loop", counter=counter, count=count), *looped, build("brnz", counter=counter)]
        self.places, self.codes = before, codes

    def token(self) -> None:
        """Signal and wait; perhaps with a remote copy before, and a copy of what it brought behind."""
        number = self.draw(st.integers(0, len(self.semaphores) - 1))
        (source, queue), (target, other_queue) = self.semaphores[number]
        trips = self.places[source].trips
        bring = source != target and self.slots < 48 and self.draw(st.integers(0, 3)) > 0
        # A place of its own for each iteration: nobody says when the last one has been read.
        steps = [8 * int(np.prod(trips[k + 1 :], dtype=int)) for k in range(len(trips))]
        terms = tuple(Term(k, 0, steps[k]) for k in range(1, len(trips)))
        slot, self.slots = self.slots * SLOT, self.slots + bring
        brought = Operand("lm", SLOTS + slot, I8, (8,), (1,), terms)
        if bring:
            held = Operand("lm", 8 * self.draw(st.integers(0, 99)), I8, (8,), (1,))
            self.codes[source].append(build("copy", out=replace(brought, core=target), x=held))
        self.add(source, "signal", semaphore=number, queue=queue)
        self.add(target, "wait", semaphore=number, queue=other_queue)
        if bring:
            taken = replace(brought, address=TAKEN + slot)
            self.codes[target].append(build("copy", out=taken, x=brought))


@st.composite
def programs_of_cores(draw: Draw, least: int = 1) -> Program:
    """Draw a valid program of one to three cores, without deadlock or race between them, that fits `hanguang800`.

    Cores share what remote copies bring; in host each keeps to areas of its own.
    """
    cores = draw(st.integers(least, 3))
    numbers, queues = st.integers(0, cores - 1), st.sampled_from(ENGINES)
    # Mostly from one core to another.
    ends = st.one_of(st.permutations(range(cores)), st.just([0, 0])).map(lambda order: (order[0], order[-1]))
    streams = st.tuples(ends, queues, queues).map(lambda drawn: ((drawn[0][0], drawn[1]), (drawn[0][1], drawn[2])))
    team = _Team(
        draw,
        [[] for _ in range(cores)],
        [Place(areas=True) for _ in range(cores)],
        draw(st.lists(streams, min_size=1, max_size=3)),
        draw(st.lists(st.dictionaries(numbers, queues, min_size=1), max_size=2)),
    )
    team.body(0)
    made = []
    for number, code in enumerate(team.codes):
        code = [_moved_in_host(_without_dev(instruction), number * AREA_END) for instruction in code]
        code.append(build("end"))
        lines = tuple(Line("drawn.npu", 1 + k, str(instruction.row.mnemonic)) for k, instruction in enumerate(code))
        constants = dict.fromkeys(op for instruction in code for _, op in instruction.accesses() if op.memory == "cb")
        segments = [Segment("cb", op.address, random_data(number, op.dtype, op.elements)) for op in constants]
        symbols = [
            Symbol("slots", "local", "lm", SLOTS, I8, (TAKEN - SLOTS,)),
            Symbol(f"taken{number}", "output", "lm", TAKEN, I8, (TAKEN - SLOTS,)),
            Symbol("low", "local", "lm", 0, I8, (AREAS[U8],)),
        ]
        made.append(Core(tuple(code), lines, tuple(segments), tuple(symbols)))
    return Program(
        "drawn",
        "hanguang800",
        draw(st.sampled_from(("hardware", "compiler"))),
        tuple(made),
        (),
        1,
        tuple(f"s{k}" for k in range(len(team.semaphores))),
        tuple(f"b{k}" for k in range(len(team.barriers))),
    )


def _moved_in_host(instruction: Instruction, by: int) -> Instruction:
    """Return the instruction with its operands in host memory so many bytes further."""
    operands = tuple(
        replace(operand, address=operand.address + by) if operand is not None and operand.memory == "host" else operand
        for operand in instruction.operands
    )
    return replace(instruction, operands=operands)


@st.composite
def _meaning(draw: Draw, dtype: DType, channels: int) -> tuple[tuple[float, ...], int]:
    """Return (scale, zero) of a symbol: no scale, one, or one for each channel where those are few."""
    counts = (0, 1, channels) if channels <= 4 else (0, 1)
    scale = tuple(draw(positive_f32) for _ in range(draw(st.sampled_from(counts))))
    return scale, draw(zero_points(dtype))


@st.composite
def _check(draw: Draw, output: Symbol, tasks: int, seed: int) -> Check:
    kind = draw(st.sampled_from(("top1", "exact", "within")))
    if kind == "top1":
        rows = tasks * output.bytes // output.dtype.bytes // output.shape[-1]
        labels = np.random.default_rng(seed).integers(0, output.shape[-1], rows).astype("<i4")
        return Check(output.name, kind, draw(st.floats(0, 1)), "labels.npy", labels.tobytes())
    data = random_data(seed, output.dtype, tasks * output.bytes // output.dtype.bytes)
    return Check(output.name, kind, 0.0 if kind == "exact" else draw(st.floats(0, 10)), "expected.npy", data)


def _without_dev(instruction: Instruction) -> Instruction:
    """Return the instruction with operands in dev moved to host, or to lm where it may not use host."""
    operands = []
    for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
        if operand is not None and operand.memory == "dev":
            memory = "host" if "host" in spec.memories else "lm"
            operand = replace(operand, memory=memory)
        operands.append(operand)
    return Instruction(instruction.opcode, tuple(operands), instruction.attributes, instruction.waits)
