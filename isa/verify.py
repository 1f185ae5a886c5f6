"""Whether an instruction, and the code around it, is well formed; and if not, which operand is wrong and why.

Everything here is independent of the chip: sizes of memories are held against a chip when a program is loaded for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import copysign, prod

import numpy as np

from isa.compressed import legal_sizes
from isa.dtypes import I16, I32
from isa.errors import shown
from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH, MAX_TERMS, Operand, packed_strides
from isa.table import ALL_ENGINES, AttributeSpec, OperandSpec, by_opcode

MAX_ELEMENTS = 2**31 - 1
# Of images whose pixels have coordinates: float32 holds each, and products of two are exact in 64 bits.
MAX_SIDE = 2**24


@dataclass(frozen=True)
class Problem:
    """Something wrong with an instruction.

    `field` is the operand or attribute to point at ("" for the whole), `kind` one of missing, memory, type, rank,
    stride, shape, range, align, chain, loop, end; `message` says what is wrong, `help` what was expected or how to
    mend it.
    """

    field: str
    kind: str
    message: str
    help: str = ""


class _View:
    """Operands and attributes of an instruction by name."""

    def __init__(self, instruction: Instruction) -> None:
        row = instruction.row
        self.row = row
        self.operands = {spec.name: op for spec, op in zip(row.operands, instruction.operands, strict=True)}
        self.attributes = {spec.name: v for spec, v in zip(row.attributes, instruction.attributes, strict=True)}

    def shape(self, name: str) -> tuple[int, ...]:
        operand = self.operands[name]
        assert operand is not None
        return operand.shape

    def word(self, name: str) -> str:
        return next(spec.words for spec in self.row.choices if spec.name == name)[self.ints(name)[0]]

    def ints(self, name: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.attributes[name])


def check_instruction(instruction: Instruction) -> list[Problem]:
    """Return what is wrong with an instruction by itself; shapes are looked at only when all else is right."""
    view = _View(instruction)
    problems: list[Problem] = []
    for spec in view.row.operands:
        operand = view.operands[spec.name]
        if operand is not None:
            problems += check_operand(spec, operand)
        elif not spec.optional:
            problems.append(Problem(spec.name, "missing", f"{view.row.mnemonic} needs `{spec.name}`", spec.meaning))
    for attribute in view.row.attributes:
        problems += check_attribute(attribute, view.attributes[attribute.name])
    if instruction.waits and view.row.engine == "seq":
        problems.append(
            Problem("", "range", f"{view.row.mnemonic} cannot wait", "only instructions of an engine have wait bits")
        )
    if not problems:
        problems += [*_choices(view), *_zero_points(view)]
    if not problems:
        problems += SHAPE_RULES[instruction.opcode](view)
    return problems


def check_operand(spec: OperandSpec, operand: Operand) -> Iterator[Problem]:
    """Yield what is wrong with an operand in the slot that `spec` describes."""
    if operand.memory not in spec.memories:
        yield Problem(
            spec.name, "memory", f"`{spec.name}` is in {operand.memory}", f"it must be in {' or '.join(spec.memories)}"
        )
    if operand.core is not None and not (spec.remote and operand.memory == "lm"):
        yield Problem(
            spec.name,
            "memory",
            f"`{spec.name}` is in {operand.memory} of core {operand.core}",
            "only `copy` writes another core's lm: write a tensor of this core, and `copy` it there"
            if spec.access == "write"
            else "nothing reads another core's lm: let that core `copy` it here, and wait for it",
        )
    if operand.dtype not in spec.dtypes:
        expected = " or ".join(map(str, spec.dtypes))
        yield Problem(spec.name, "type", f"`{spec.name}` has type {operand.dtype}", f"expected {expected}")
    low, high = spec.ranks
    if not low <= operand.rank <= high:
        expected = f"{low}" if low == high else f"{low} to {high}"
        yield Problem(
            spec.name,
            "rank",
            f"`{spec.name}` has {operand.rank} dimensions {list(operand.shape)}",
            f"expected {expected}",
        )
    if len(operand.strides) != operand.rank or any(size < 1 for size in operand.shape):
        yield Problem(spec.name, "shape", f"`{spec.name}` has an empty dimension {list(operand.shape)}")
        return
    if operand.elements > MAX_ELEMENTS:
        yield Problem(spec.name, "shape", f"`{spec.name}` has more than {MAX_ELEMENTS} elements")
    if not spec.strided and operand.shape[-1] > 1 and operand.strides[-1] != 1:
        yield Problem(
            spec.name,
            "stride",
            f"`{spec.name}` has an innermost stride of {operand.strides[-1]} elements",
            "the innermost dimension must be contiguous here; make it so with `copy` or `transpose`",
        )
    if any(not -(2**31) <= stride < 2**31 for stride in operand.strides):
        yield Problem(spec.name, "stride", f"`{spec.name}` has a stride beyond 32 bits")
    yield from _terms(spec, operand)
    if operand.stored:
        yield from _compressed(spec, operand)
    if spec.access == "write" and not _distinct(operand):
        yield Problem(
            spec.name,
            "stride",
            f"`{spec.name}` may write the same element twice: it has strides {list(operand.strides)} over the shape "
            f"{list(operand.shape)}",
            "each stride must pass over all that the smaller ones reach",
        )


def _compressed(spec: OperandSpec, operand: Operand) -> Iterator[Problem]:
    legal = legal_sizes(operand.elements, operand.dtype)
    if not spec.compressible:
        help = "only the w of conv, dwconv and matmul may be: declare a dense weight beside it"
        yield Problem(spec.name, "type", f"`{spec.name}` is a compressed weight", help)
    elif operand.strides != packed_strides(operand.shape) or operand.terms:
        yield Problem(spec.name, "stride", f"`{spec.name}` is a compressed weight", "it is used whole, or not at all")
    elif operand.stored not in legal:
        message = f"`{spec.name}` is compressed to {operand.stored} bytes"
        help = f"expected {legal[0]} to {legal[-1]}, and a whole number of elements behind the mask"
        yield Problem(spec.name, "range", message, help)


def _terms(spec: OperandSpec, operand: Operand) -> Iterator[Problem]:
    size = operand.dtype.bytes
    if operand.address < 0 or operand.address >= 2**62:
        yield Problem(spec.name, "range", f"`{spec.name}` has the impossible address {operand.address}")
    if operand.address % size or any(term.stride % size for term in operand.terms):
        yield Problem(
            spec.name, "align", f"`{spec.name}` is not aligned", f"addresses of {operand.dtype} are multiples of {size}"
        )
    keys = [(term.counter, term.modulus) for term in operand.terms]
    if len(keys) > MAX_TERMS:
        message = f"`{spec.name}` has an address of {len(keys)} terms"
        help = f"expected at most {MAX_TERMS}: each counter, each modulus, and the buffers of a task's input or output"
        yield Problem(spec.name, "range", message, help)
    elif keys != sorted(set(keys)):
        yield Problem(spec.name, "range", f"`{spec.name}` has terms out of order")
    for term in operand.terms:
        legal_modulus = term.modulus == 0 or 2 <= term.modulus < 2**32
        if not 0 <= term.counter <= MAX_LOOP_DEPTH or not legal_modulus or not 0 < abs(term.stride) < 2**62:
            yield Problem(
                spec.name, "range", f"`{spec.name}` has an impossible term", "modulus from 2, stride other than 0"
            )


def _distinct(operand: Operand) -> bool:
    """Whether no two indices name the same element; sufficient, and exact for slices of dense tensors."""
    reach = 0
    dimensions = zip(operand.shape, operand.strides, strict=True)
    for stride, size in sorted((abs(stride), size) for size, stride in dimensions):
        if size > 1:
            if stride <= reach:
                return False
            reach += stride * (size - 1)
    return True


def check_attribute(spec: AttributeSpec, value: Sequence[float]) -> Iterator[Problem]:
    """Yield what is wrong with an attribute's elements."""
    if len(value) != spec.count:
        yield Problem(spec.name, "range", f"`{spec.name}` has {len(value)} elements", f"expected {spec.count}")
    legal = f"from {shown(spec.low)} to {shown(spec.high)}"
    for element in value:
        if not spec.low <= element <= spec.high:
            yield Problem(spec.name, "range", f"`{spec.name}` is {shown(element)}", f"it must be {legal}")
        elif not spec.is_float and int(element) != element:
            yield Problem(spec.name, "range", f"`{spec.name}` is {shown(element)}", f"a whole number {legal}")
        elif spec.kind == "f32" and float(np.float32(element)) != element:
            yield Problem(spec.name, "range", f"`{spec.name}` is {element!r}, which is not a float32")
        elif element == 0 and copysign(1, element) < 0:
            # Else two encodings would have one meaning, where the sign does not matter.
            yield Problem(spec.name, "range", f"`{spec.name}` is -0.0", "write 0")


def _choices(view: _View) -> Iterator[Problem]:
    """Yield operands and attributes that a choice's word needs, or that belong to a word not chosen."""
    for spec in view.row.choices:
        chosen = spec.words[view.ints(spec.name)[0]]
        needed = spec.takes.get(chosen, ())
        for name in dict.fromkeys(taken for names in spec.takes.values() for taken in names):
            if name in view.operands:
                present = view.operands[name] is not None
                if present != (name in needed):
                    verb = "needs" if name in needed else "does not take"
                    yield Problem(name, "chain", f"{spec.name} {chosen} {verb} `{name}`")
            elif name not in needed:
                default = next(a.default for a in view.row.attributes if a.name == name)
                if view.attributes[name] != default:
                    yield Problem(name, "chain", f"{spec.name} {chosen} does not take `{name}`")


def _zero_points(view: _View) -> Iterator[Problem]:
    """Yield zero points that the type of their tensor does not have or hold."""
    for name, operand in view.operands.items():
        if operand is None or f"{name}_zero" not in view.attributes:
            continue
        zero, dtype = view.ints(f"{name}_zero")[0], operand.dtype
        if zero and not dtype.is_quantised:
            what = "a result" if name == "out" else name
            yield Problem(f"{name}_zero", "chain", f"{what} of type {dtype} has no zero point")
        elif dtype.is_quantised and not dtype.low <= zero <= dtype.high:
            legal = f"a whole number from {dtype.low} to {dtype.high}"
            yield Problem(f"{name}_zero", "range", f"`{name}_zero` is {zero}", f"{dtype} holds {legal}")


def _same(view: _View, name: str, actual: Sequence[int], expected: Sequence[int], why: str) -> Iterator[Problem]:
    if tuple(actual) != tuple(expected):
        yield Problem(name, "shape", f"`{name}` has shape {list(actual)}", f"expected {list(expected)}: {why}")


def _chain(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    channels = out.shape[-1]
    for name in ("bias", "ew1_scale", "ew1_bias", "ew2_scale", "ew3_scale"):
        vector = view.operands.get(name)
        if vector is not None and vector.shape[0] not in (1, channels):
            yield Problem(
                name, "shape", f"`{name}` has {vector.shape[0]} elements", f"expected 1, or {channels}: one a channel"
            )
    table = view.operands["table"]
    if table is not None and table.shape[0] != 256:
        yield Problem("table", "shape", f"`table` has {table.shape[0]} elements", "expected 256")
    ew2 = view.operands["ew2"]
    if ew2 is not None:
        yield from _broadcast(view, "ew2", ew2, out)
    else:
        for name, given in (("ew2_scale", view.operands["ew2_scale"]), ("ew2_zero", view.ints("ew2_zero")[0])):
            if given:
                yield Problem(name, "chain", f"`{name}` is given, but no second tensor", "name one: `add=...`")
    (low,), (high,) = view.attributes["clip_low"], view.attributes["clip_high"]
    if low > high:
        yield Problem("clip_low", "chain", f"clip's lower bound {low:g} is above its upper bound {high:g}")
    if out.dtype == I32:
        stages = [name for name in ("ew1_scale", "ew1_bias", "ew2", "ew3_scale") if view.operands[name] is not None]
        stages += [view.row.attributes[view.row.attribute_index("sf")].words[sf]] if (sf := view.ints("sf")[0]) else []
        if stages:
            yield Problem(
                "out",
                "chain",
                f"a result of type i32 is the accumulator itself, but {', '.join(stages)} follows",
                "write f32 or i8, or leave the stages out",
            )


def _products(view: _View) -> Iterator[Problem]:
    """Yield factors that do not go together, and what is wrong with the chain behind them."""
    out, x, w = view.operands["out"], view.operands["x"], view.operands["w"]
    assert out is not None and x is not None and w is not None
    if (x.dtype == I16) != (w.dtype == I16):
        help = "16 bits multiply with 16 only: store both as i16, or both in 8 bits"
        yield Problem("w", "type", f"x has type {x.dtype} but w {w.dtype}", help)
    elif x.dtype == I16 and out.dtype == I32:
        message = "a result of type i32 is the accumulator itself, but that of i16 products has 64 bits"
        yield Problem("out", "type", message, "write i16, f32 or another type that the chain rounds to")
    else:
        yield from _chain(view)


def _broadcast(view: _View, name: str, operand: Operand, out: Operand) -> Iterator[Problem]:
    padded = (1,) * (out.rank - operand.rank) + operand.shape
    if len(padded) != out.rank or any(a not in (1, b) for a, b in zip(padded, out.shape, strict=True)):
        yield Problem(
            name,
            "shape",
            f"`{name}` has shape {list(operand.shape)}",
            f"expected {list(out.shape)}, or 1 where it is to be repeated",
        )


def _windowed(view: _View, kernel: Sequence[int], dilation: Sequence[int], channels: int) -> Iterator[Problem]:
    batch, height, width, _ = view.shape("x")
    (top, left, bottom, right), stride = view.ints("pad"), view.ints("stride")
    sizes = []
    for axis, size, before, after in ((0, height, top, bottom), (1, width, left, right)):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        if reach > size + before + after:
            side = ("high", "wide")[axis]
            yield Problem(
                "x",
                "shape",
                f"the window reaches over {reach} pixels, but x with its padding is {size + before + after} {side}",
                "make the window smaller or the padding larger",
            )
            return
        sizes.append((size + before + after - reach) // stride[axis] + 1)
    why = "from x, the window, stride and padding"
    yield from _same(view, "out", view.shape("out"), (batch, *sizes, channels), why)


def _conv(view: _View) -> Iterator[Problem]:
    filters, *kernel, _ = view.shape("w")
    (groups,), channels = view.ints("groups"), view.shape("x")[3]
    if channels % groups or filters % groups:
        yield Problem(
            "groups",
            "shape",
            f"{groups} groups divide neither {channels} input nor {filters} output channels evenly"
            if channels % groups and filters % groups
            else f"{groups} groups do not divide {channels if channels % groups else filters} channels evenly",
        )
        return
    yield from _same(
        view,
        "w",
        view.shape("w"),
        (filters, *kernel, channels // groups),
        f"OHWI, x has {channels} channels" + (f" in {groups} groups" if groups > 1 else ""),
    )
    yield from _windowed(view, kernel, view.ints("dilation"), filters)
    yield from _products(view)


def _dwconv(view: _View) -> Iterator[Problem]:
    first, *kernel, filters = view.shape("w")
    channels = view.shape("x")[3]
    yield from _same(view, "w", view.shape("w"), (1, *kernel, channels), f"1HWC, x has {channels} channels")
    if (first, filters) == (1, channels):
        yield from _windowed(view, kernel, view.ints("dilation"), channels)
        yield from _products(view)


def _matmul(view: _View) -> Iterator[Problem]:
    *batch, rows, depth = view.shape("x")
    *stack, inner, columns = view.shape("w")
    if view.ints("transpose_x")[0]:
        rows, depth = depth, rows
    if view.ints("transpose_w")[0]:
        inner, columns = columns, inner
    if inner != depth:
        yield Problem(
            "w",
            "shape",
            f"x is [{rows}, {depth}] but w is [{inner}, {columns}] (m by k times k by n)",
            f"expected {depth} rows in w; is `transpose_w` or `transpose_x` missing?",
        )
        return
    try:
        both = np.broadcast_shapes(batch, stack)
    except ValueError:
        help = "expected sizes that are equal, or 1 where one is repeated, counted from the last"
        yield Problem("w", "shape", f"x has batch {batch} but w {stack}", help)
        return
    yield from _same(view, "out", view.shape("out"), (*both, rows, columns), "the batch, rows of x, columns of w")
    yield from _products(view)


def _eltwise(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    yield from _broadcast(view, "x", x, out)
    yield from _chain(view)


def _pool(view: _View) -> Iterator[Problem]:
    window, pad = view.ints("window"), view.ints("pad")
    for k, side in enumerate(("top", "left", "bottom", "right")):
        if pad[k] >= window[k % 2]:
            yield Problem(
                "pad",
                "shape",
                f"padding of {pad[k]} at the {side}",
                "it must be less than the window, so that no window is empty",
            )
            return
    yield from _windowed(view, window, (1, 1), view.shape("x")[3])
    yield from _one_scale(view)


def _maxpool(view: _View) -> Iterator[Problem]:
    yield from _keeps_type(view, "the greatest value keeps its type")
    yield from _pool(view)


def _keeps_type(view: _View, why: str) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    if out.dtype != x.dtype:
        yield Problem("x", "type", f"x has type {x.dtype} but out {out.dtype}", why)


def _one_scale(view: _View) -> Iterator[Problem]:
    scale = view.operands.get("scale")
    if scale is not None and scale.shape != (1,):
        yield Problem("scale", "shape", f"`scale` has {scale.shape[0]} elements", "expected 1")


def _reduce(view: _View) -> Iterator[Problem]:
    out, x, word = view.operands["out"], view.operands["x"], view.word("op")
    assert out is not None and x is not None
    if x.rank != out.rank or any(size not in (1, of_x) for size, of_x in zip(out.shape, x.shape, strict=True)):
        expected = f"expected {list(x.shape)}, with 1 for each dimension that is to be reduced"
        yield Problem("out", "shape", f"`out` has shape {list(out.shape)}", expected)
    if word == "max":
        yield from _keeps_type(view, "the greatest value keeps its type")
    elif word == "argmax" and out.dtype != I32:
        yield Problem("out", "type", f"out has type {out.dtype}", "argmax gives places: expected i32")
    elif word == "mean" and I32 in (x.dtype, out.dtype):
        field = "x" if x.dtype == I32 else "out"
        yield Problem(field, "type", f"{field} has type i32", "expected any other: i32 has sums of integers alone")
    elif word == "sum" and out.dtype == I32 and x.dtype.is_float:
        yield Problem("out", "type", "out has type i32", f"a sum of {x.dtype} is a float: expected any other type")
    elif word == "sum" and x.dtype == I32 and out.dtype != I32:
        yield Problem("out", "type", f"out has type {out.dtype}", "expected i32, the type of a sum of i32")
    if word in view.row.keeping_words or out.dtype == I32:
        yield from _unscaled(view, f"{view.row.mnemonic} {word}" + (" to i32" if word == "sum" else ""))
    yield from _one_scale(view)


def _resize(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    expected = (x.shape[0], *out.shape[1:3], x.shape[3])
    yield from _same(view, "out", out.shape, expected, "the images and channels of x")
    yield from _sides(view)
    if view.word("mode") == "nearest":
        yield from _keeps_type(view, "the nearest pixel keeps its type")
        yield from _unscaled(view, "resize nearest")
    elif view.ints("rounding")[0]:
        yield Problem("rounding", "chain", f"resize linear does not take `{view.word('rounding')}`")
    yield from _one_scale(view)


def _sides(view: _View) -> Iterator[Problem]:
    """Yield images that are too high or wide for coordinates to be exact."""
    for name in ("out", "x"):
        if max(view.shape(name)[1:3]) > MAX_SIDE:
            message = f"`{name}` has shape {list(view.shape(name))}"
            yield Problem(name, "shape", message, f"expected a height and width of at most {MAX_SIDE}")


def _regions(view: _View) -> Iterator[Problem]:
    out, x, (count, corners) = view.shape("out"), view.shape("x"), view.shape("rois")
    if corners != 4:
        yield Problem("rois", "shape", f"`rois` has shape {[count, corners]}", "expected [n, 4]: four corners a region")
    yield from _same(view, "index", view.shape("index"), (count,), "an image for each of the regions")
    yield from _same(view, "out", out, (count, *out[1:3], x[3]), "the regions, and the channels of x")
    yield from _sides(view)


def _roisample(view: _View) -> Iterator[Problem]:
    yield from _regions(view)
    for samples, ratio, side in zip(view.shape("out")[1:3], view.ints("ratio"), ("down", "across"), strict=True):
        if samples % ratio:
            yield Problem("ratio", "shape", f"{ratio} samples to a bin do not divide {samples} samples {side} evenly")
    yield from _one_scale(view)


def _roipool(view: _View) -> Iterator[Problem]:
    yield from _keeps_type(view, "the greatest value keeps its type")
    yield from _regions(view)


def _unscaled(view: _View, what: str) -> Iterator[Problem]:
    """Yield multipliers and zero points where they have no meaning; a sum takes the zero point of x off."""
    summed = view.attributes.get("op") == (0,)
    for name in ("scale", "x_zero", "out_zero"):
        given = view.operands[name] if name in view.operands else view.ints(name)[0]
        if given and not (summed and name == "x_zero"):
            yield Problem(name, "chain", f"{what} does not take `{name}`")


def _move(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    if out.dtype != x.dtype:
        yield Problem(
            "x", "type", f"x has type {x.dtype} but out {out.dtype}", "a copy does not convert; use `eltwise`"
        )
    yield from _same(view, "x", x.shape, out.shape, "the shape of out")


def _fill(view: _View) -> Iterator[Problem]:
    out, (value,) = view.operands["out"], view.attributes["value"]
    assert out is not None
    if out.dtype.is_float:
        with np.errstate(over="ignore"):
            exact = float(np.float64(value).astype(out.dtype.numpy)) == value
        if not exact:
            yield Problem("value", "range", f"`value` is {value!r}, which is not a {out.dtype.numpy.name}")
    elif value != int(value) or not out.dtype.low <= value <= out.dtype.high:
        legal = f"a whole number from {out.dtype.low} to {out.dtype.high}"
        yield Problem("value", "range", f"`value` is {shown(value)}", f"{out.dtype} holds {legal}")


def _transpose(view: _View) -> Iterator[Problem]:
    out, x, perm = view.operands["out"], view.operands["x"], view.ints("perm")
    assert out is not None and x is not None
    beyond_stay = perm[x.rank :] == tuple(range(x.rank, 4))
    if sorted(perm[: x.rank]) != list(range(x.rank)) or not beyond_stay:
        yield Problem(
            "perm",
            "range",
            f"`perm` is {perm[: x.rank] if beyond_stay else perm} for an x of {x.rank} dimensions",
            f"expected each of {', '.join(map(str, range(x.rank)))} once, then the dimensions beyond in order",
        )
        return
    if out.dtype != x.dtype:
        yield Problem("x", "type", f"x has type {x.dtype} but out {out.dtype}", "a transpose does not convert")
    yield from _same(view, "out", out.shape, [x.shape[k] for k in perm[: x.rank]], "the shape of x, permuted")


def _gather(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    if out.dtype != x.dtype:
        yield Problem("x", "type", f"x has type {x.dtype} but out {out.dtype}", "a gather does not convert")
    rows = (*view.shape("index"), *x.shape[1:])
    yield from _same(view, "out", out.shape, rows, "a row of x for each element of index")


def _flatten(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    if out.dtype != x.dtype:
        yield Problem("x", "type", f"x has type {x.dtype} but out {out.dtype}", "flatten does not convert")
    height, width = view.ints("window")
    yield from _windowed(view, (height, width), view.ints("dilation"), height * width * x.shape[3])


def _toweight(view: _View) -> Iterator[Problem]:
    out, x = view.operands["out"], view.operands["x"]
    assert out is not None and x is not None
    if out.dtype != x.dtype:
        yield Problem("x", "type", f"x has type {x.dtype} but out {out.dtype}", "toweight does not convert")
    filters, *filter_shape = out.shape
    matrix = (prod(filter_shape), filters)
    yield from _same(view, "x", x.shape, matrix, "height, width and channels of out in a row, by its filters")


def _nothing(view: _View) -> Iterator[Problem]:
    yield from ()


SHAPE_RULES: dict[int, Callable[[_View], Iterator[Problem]]] = by_opcode(
    "SHAPE_RULES",
    {
        "conv": _conv,
        "dwconv": _dwconv,
        "matmul": _matmul,
        "eltwise": _eltwise,
        "maxpool": _maxpool,
        "avgpool": _pool,
        "reduce": _reduce,
        "resize": _resize,
        "roisample": _roisample,
        "roipool": _roipool,
        "load": _move,
        "store": _move,
        "copy": _move,
        "fill": _fill,
        "transpose": _transpose,
        "gather": _gather,
        "flatten": _flatten,
        "toweight": _toweight,
        "loop": _nothing,
        "brnz": _nothing,
        "signal": _nothing,
        "wait": _nothing,
        "barrier": _nothing,
        "end": _nothing,
    },
    ALL_ENGINES,
)


def check_code(code: Sequence[Instruction]) -> list[tuple[int, Problem]]:
    """Return what is wrong with one core's code: (index of the instruction, problem)."""
    problems = [(k, problem) for k, instruction in enumerate(code) for problem in check_instruction(instruction)]
    if problems:
        return problems
    open_loops: list[int] = []
    for k, instruction in enumerate(code):
        mnemonic, depth = instruction.row.mnemonic, len(open_loops)
        if mnemonic == "loop":
            open_loops.append(k)
            if len(open_loops) > MAX_LOOP_DEPTH:
                return [(k, Problem("", "loop", f"loops nest deeper than {MAX_LOOP_DEPTH}"))]
            if instruction.attribute("counter") != (len(open_loops),):
                problems.append((k, Problem("counter", "loop", f"the loop's counter must be {len(open_loops)}")))
        elif mnemonic == "brnz":
            if not open_loops:
                return [*problems, (k, Problem("counter", "loop", "brnz closes no open loop"))]
            if instruction.attribute("counter") != (depth,):
                message = f"brnz must close the innermost loop, counter {depth}"
                return [*problems, (k, Problem("counter", "loop", message))]
            open_loops.pop()
        elif mnemonic == "end" and k != len(code) - 1:
            problems.append((k, Problem("", "end", "code follows `end`")))
        for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
            for term in () if operand is None else operand.terms:
                if term.counter > depth:
                    message = f"`{spec.name}` follows counter {term.counter}, but {depth} loops are open here"
                    problems.append((k, Problem(spec.name, "loop", message)))
    problems += [(k, Problem("", "loop", "the loop is never closed", "close it with `brnz`")) for k in open_loops]
    if not code or code[-1].row.mnemonic != "end":
        problems.append((max(len(code) - 1, 0), Problem("", "end", "the code does not end", "finish it with `end`")))
    return problems
