"""SHAPE_RULES: what must hold between the operands and attributes of each instruction, by opcode.

A rule is asked once each operand and attribute is right by itself, and yields what is wrong. Nothing depends on the
chip.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np

from isa.diagnostic import Diagnostic
from isa.dtypes import F32, I16, I32
from isa.errors import shown
from isa.operand import Operand
from isa.row import ALL_ENGINES
from isa.rows_tensor import FIXED_POINT, NARROW_FACTORS
from isa.table import by_opcode
from isa.view import View

# Of images whose pixels have coordinates: float32 holds each, and products of two are exact in 64 bits.
MAX_SIDE = 2**24


def same(name: str, actual: Sequence[int], expected: Sequence[int], why: str) -> Iterator[Diagnostic[str]]:
    if tuple(actual) != tuple(expected):
        yield Diagnostic("shape", name, f"`{name}` has shape {list(actual)}", f"expected {list(expected)}: {why}")


def chain(view: View) -> Iterator[Diagnostic[str]]:
    out = view.tensor("out")
    channels = out.shape[-1]
    fixed = view.word("ew3_op") in FIXED_POINT
    for name in ("bias", "ew1_scale", "ew1_bias", "ew2_scale", *(() if fixed else ("ew3_scale",))):
        vector = view.operands.get(name)
        if vector is not None and vector.shape[0] not in (1, channels):
            yield Diagnostic(
                "shape", name, f"`{name}` has {vector.shape[0]} elements", f"expected 1, or {channels}: one a channel"
            )
    yield from fixed_point(view) if fixed else floating(view)
    table = view.operands["table"]
    if table is not None and table.shape[0] != 256:
        yield Diagnostic("shape", "table", f"`table` has {table.shape[0]} elements", "expected 256")
    if table is None and view.ints("table_offset")[0]:
        yield Diagnostic("chain", "table_offset", "`table_offset` is given, but no table", "name one: `table=...`")
    ew2 = view.operands["ew2"]
    if ew2 is not None:
        yield from broadcast("ew2", ew2, out)
    else:
        for name, given in (("ew2_scale", view.operands["ew2_scale"]), ("ew2_zero", view.ints("ew2_zero")[0])):
            if given:
                yield Diagnostic("chain", name, f"`{name}` is given, but no second tensor", "name one: `add=...`")
    (low,), (high,) = view.attributes["clip_low"], view.attributes["clip_high"]
    if low > high:
        yield Diagnostic("chain", "clip_low", f"clip's lower bound {low:g} is above its upper bound {high:g}")
    if out.dtype == I32:
        added = ew2 is not None and ew2.dtype == I32 and view.word("ew2_op") == "add"
        names = ("ew1_scale", "ew1_bias", *(() if added else ("ew2",)), "ew2_scale", "ew3_scale")
        stages = [name for name in names if view.operands[name] is not None]
        stages += [word] if (word := view.word("sf")) != "none" else []
        if stages:
            yield Diagnostic(
                "chain",
                "out",
                f"a result of type i32 is the accumulator itself, but {', '.join(stages)} follows",
                "write another type, or leave the stages out; only `add=` of an i32 tensor may follow",
            )


def floating(view: View) -> Iterator[Diagnostic[str]]:
    """Yield what is wrong with EW3 where its multiplier is a float."""
    if view.word("ew3_op") == "zero_first" and not (dtype := view.tensor("out").dtype).is_quantised:
        yield Diagnostic("type", "out", f"out has type {dtype}", "zero_first rounds to i8, u8 or i16")
    scale = view.operands["ew3_scale"]
    if scale is not None and scale.dtype == I32:
        help = "expected f32; whole numbers go with `round_once` and its like"
        yield Diagnostic("type", "ew3_scale", "`ew3_scale` has type i32", help)
    elif scale is not None and scale.rank != 1:
        message = f"`ew3_scale` has {scale.rank} dimensions {list(scale.shape)}"
        yield Diagnostic("rank", "ew3_scale", message, "expected 1")


def fixed_point(view: View) -> Iterator[Diagnostic[str]]:
    """Yield what does not go with whole multipliers in EW3, and what is wrong with them."""
    word, out, x, scale = view.word("ew3_op"), view.tensor("out"), view.tensor("x"), view.operands["ew3_scale"]
    stages = [name for name in ("ew1_scale", "ew1_bias", "ew2", "ew2_scale") if view.operands[name] is not None]
    stages += [sf] if (sf := view.word("sf")) not in ("none", "relu") else []
    if stages:
        help = "leave the stages out: only `relu` may stand before"
        yield Diagnostic("chain", "ew3_op", f"{word} takes the accumulator itself, but there is {stages[0]}", help)
    if not out.dtype.is_quantised:
        yield Diagnostic("type", "out", f"out has type {out.dtype}", f"{word} rounds to i8, u8 or i16")
    if x.dtype.is_float or (x.dtype == I16 and "w" in view.operands):
        help = "it has to have 32 bits: that of 8-bit products, or an integer x of `eltwise`"
        yield Diagnostic("type", "x", f"x has type {x.dtype}, which {word} does not take the accumulator of", help)
    channels = out.shape[-1]
    expected = f"expected i32[2, 1], or [2, {channels}]: m, then s, of each channel"
    if scale is None:
        yield Diagnostic("missing", "ew3_scale", f"{word} needs `ew3_scale`", expected)
    elif scale.dtype != I32:
        yield Diagnostic("type", "ew3_scale", f"`ew3_scale` has type {scale.dtype}", expected)
    elif scale.shape not in ((2, 1), (2, channels)):
        yield Diagnostic("shape", "ew3_scale", f"`ew3_scale` has shape {list(scale.shape)}", expected)


def products(view: View) -> Iterator[Diagnostic[str]]:
    """Yield factors that do not go together, and what is wrong with the chain behind them."""
    out, x, w = (view.tensor(name) for name in ("out", "x", "w"))
    if x.dtype.is_float or w.dtype.is_float:
        yield from float_products(view)
    elif (x.dtype == I16) != (w.dtype == I16):
        help = "16 bits multiply with 16 only: store both as i16, or both in 8 bits"
        yield Diagnostic("type", "w", f"x has type {x.dtype} but w {w.dtype}", help)
    elif (bias := view.operands["bias"]) is not None and bias.dtype != I32:
        help = "expected i32: it is added to whole numbers; a float goes as `ew1_bias`"
        yield Diagnostic("type", "bias", f"`bias` has type {bias.dtype}", help)
    elif x.dtype == I16 and out.dtype == I32:
        message = "a result of type i32 is the accumulator itself, but that of i16 products has 64 bits"
        yield Diagnostic("type", "out", message, "write i16, f32 or another type that the chain rounds to")
    else:
        yield from chain(view)


def float_products(view: View) -> Iterator[Diagnostic[str]]:
    """Yield what does not go with products of floats, and what is wrong with the chain behind them."""
    out, x, w, bias = view.tensor("out"), view.tensor("x"), view.tensor("w"), view.operands["bias"]
    if not x.dtype.is_float or w.dtype not in (x.dtype, *NARROW_FACTORS):
        help = "store x as f16 or bf16, and w alike, or as i8, e4m3 or e5m2"
        yield Diagnostic("type", "w", f"x has type {x.dtype} but w {w.dtype}", help)
    elif out.dtype == I32:
        message = "a result of type i32 is the accumulator itself, but that of floats is a float"
        yield Diagnostic("type", "out", message, "write f32, f16, bf16 or another type that the chain rounds to")
    elif bias is not None and bias.dtype != F32:
        yield Diagnostic("type", "bias", f"`bias` has type {bias.dtype}", "expected f32: it is added to floats")
    elif w.stored and not w.form:
        help = "only integers multiply from there: store it dense, or in groups"
        yield Diagnostic("type", "w", "`w` is compressed", help)
    elif w.form and (view.row.mnemonic != "matmul" or w.dtype != x.dtype):
        help = "they are the w of matmul, of the type of x: store it dense for others"
        yield Diagnostic("type", "w", f"`w` is in groups ({w.form})", help)
    else:
        for name in ("x_zero", "w_zero"):
            if zero := view.ints(name)[0]:
                help = "zero points go with integers alone: store w so that 0 stands for 0"
                yield Diagnostic("type", name, f"`{name}` is {zero}, but x is a float", help)
        yield from chain(view)


def broadcast(name: str, operand: Operand, out: Operand) -> Iterator[Diagnostic[str]]:
    padded = (1,) * (out.rank - operand.rank) + operand.shape
    if len(padded) != out.rank or any(a not in (1, b) for a, b in zip(padded, out.shape, strict=True)):
        yield Diagnostic(
            "shape",
            name,
            f"`{name}` has shape {list(operand.shape)}",
            f"expected {list(out.shape)}, or 1 where it is to be repeated",
        )


def windowed(view: View, kernel: Sequence[int], dilation: Sequence[int], channels: int) -> Iterator[Diagnostic[str]]:
    batch, height, width, _ = view.shape("x")
    (top, left, bottom, right), stride = view.ints("pad"), view.ints("stride")
    up = view.attributes.get("ceil") == (1,)
    sizes = []
    for axis, size, before, after in ((0, height, top, bottom), (1, width, left, right)):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        beyond = size + before + after - reach
        if beyond < 0 and not (up and beyond + stride[axis] > 0):
            side = ("high", "wide")[axis]
            yield Diagnostic(
                "shape",
                "x",
                f"the window reaches over {reach} pixels, but x with its padding is {size + before + after} {side}",
                "make the window smaller or the padding larger",
            )
            return
        count = beyond // stride[axis] + 1
        if up:
            # The windows that begin inside x, of those that begin no further than the padding allows.
            count = min(-(-beyond // stride[axis]), (size + before - 1) // stride[axis]) + 1
        sizes.append(count)
    why = "from x, the window, stride and padding" + (", rounded up" if up else "")
    yield from same("out", view.shape("out"), (batch, *sizes, channels), why)


def conv(view: View) -> Iterator[Diagnostic[str]]:
    filters, *kernel, _ = view.shape("w")
    (groups,), channels = view.ints("groups"), view.shape("x")[3]
    if channels % groups or filters % groups:
        yield Diagnostic(
            "shape",
            "groups",
            f"{groups} groups divide neither {channels} input nor {filters} output channels evenly"
            if channels % groups and filters % groups
            else f"{groups} groups do not divide {channels if channels % groups else filters} channels evenly",
        )
        return
    yield from same(
        "w",
        view.shape("w"),
        (filters, *kernel, channels // groups),
        f"OHWI, x has {channels} channels" + (f" in {groups} groups" if groups > 1 else ""),
    )
    yield from windowed(view, kernel, view.ints("dilation"), filters)
    yield from products(view)


def dwconv(view: View) -> Iterator[Diagnostic[str]]:
    first, *kernel, filters = view.shape("w")
    channels = view.shape("x")[3]
    yield from same("w", view.shape("w"), (1, *kernel, channels), f"1HWC, x has {channels} channels")
    if (first, filters) == (1, channels):
        yield from windowed(view, kernel, view.ints("dilation"), channels)
        yield from products(view)


def matmul(view: View) -> Iterator[Diagnostic[str]]:
    *batch, rows, depth = view.shape("x")
    *stack, inner, columns = view.shape("w")
    if view.ints("transpose_x")[0]:
        rows, depth = depth, rows
    if view.ints("transpose_w")[0]:
        inner, columns = columns, inner
    if inner != depth:
        yield Diagnostic(
            "shape",
            "w",
            f"x is [{rows}, {depth}] but w is [{inner}, {columns}] (m by k times k by n)",
            f"expected {depth} rows in w; is `transpose_w` or `transpose_x` missing?",
        )
        return
    try:
        both = np.broadcast_shapes(batch, stack)
    except ValueError:
        help = "expected sizes that are equal, or 1 where one is repeated, counted from the last"
        yield Diagnostic("shape", "w", f"x has batch {batch} but w {stack}", help)
        return
    yield from same("out", view.shape("out"), (*both, rows, columns), "the batch, rows of x, columns of w")
    yield from products(view)


def eltwise(view: View) -> Iterator[Diagnostic[str]]:
    out, x = view.tensor("out"), view.tensor("x")
    yield from broadcast("x", x, out)
    yield from chain(view)


def rotate(view: View) -> Iterator[Diagnostic[str]]:
    out = view.shape("out")
    yield from same("x", view.shape("x"), out, "the shape of out")
    if out[-1] % 2:
        yield Diagnostic("shape", "out", f"`out` has shape {list(out)}", "expected an even last dimension: pairs")
        return
    pairs = (*out[:-1], out[-1] // 2)
    for name in ("cos", "sin"):
        shape = view.shape(name)
        behind = zip(shape[::-1], pairs[::-1], strict=False)
        if len(shape) > len(out) or shape[-1] != pairs[-1] or any(a not in (1, b) for a, b in behind):
            help = f"expected {list(pairs)}, an angle for each pair, or 1 where they are repeated for rows"
            yield Diagnostic("shape", name, f"`{name}` has shape {list(shape)}", help)


def pool(view: View) -> Iterator[Diagnostic[str]]:
    window, pad = view.ints("window"), view.ints("pad")
    for k, side in enumerate(("top", "left", "bottom", "right")):
        if pad[k] >= window[k % 2]:
            yield Diagnostic(
                "shape",
                "pad",
                f"padding of {pad[k]} at the {side}",
                "it must be less than the window, so that no window is empty",
            )
            return
    yield from windowed(view, window, (1, 1), view.shape("x")[3])
    yield from one_scale(view)


def maxpool(view: View) -> Iterator[Diagnostic[str]]:
    yield from keeps_type(view, "the greatest value keeps its type")
    yield from pool(view)


def keeps_type(view: View, why: str) -> Iterator[Diagnostic[str]]:
    out, x = view.tensor("out"), view.tensor("x")
    if out.dtype != x.dtype:
        yield Diagnostic("type", "x", f"x has type {x.dtype} but out {out.dtype}", why)


def one_scale(view: View) -> Iterator[Diagnostic[str]]:
    scale = view.operands.get("scale")
    if scale is not None and scale.shape != (1,):
        yield Diagnostic("shape", "scale", f"`scale` has {scale.shape[0]} elements", "expected 1")


def reduce(view: View) -> Iterator[Diagnostic[str]]:
    out, x, word = view.tensor("out"), view.tensor("x"), view.word("op")
    if x.rank != out.rank or any(size not in (1, of_x) for size, of_x in zip(out.shape, x.shape, strict=True)):
        expected = f"expected {list(x.shape)}, with 1 for each dimension that is to be reduced"
        yield Diagnostic("shape", "out", f"`out` has shape {list(out.shape)}", expected)
    if word in ("max", "min"):
        yield from keeps_type(view, f"the {'greatest' if word == 'max' else 'least'} value keeps its type")
    elif word == "argmax" and out.dtype != I32:
        yield Diagnostic("type", "out", f"out has type {out.dtype}", "argmax gives places: expected i32")
    elif word in ("mean", "absmax", "sumsq") and I32 in (x.dtype, out.dtype):
        field = "x" if x.dtype == I32 else "out"
        yield Diagnostic("type", field, f"{field} has type i32", "expected any other: i32 has sums of integers alone")
    elif word == "sum" and out.dtype == I32 and x.dtype.is_float:
        yield Diagnostic("type", "out", "out has type i32", f"a sum of {x.dtype} is a float: expected any other type")
    elif word == "sum" and x.dtype == I32 and out.dtype != I32:
        yield Diagnostic("type", "out", f"out has type {out.dtype}", "expected i32, the type of a sum of i32")
    if word in view.row.keeping_words or out.dtype == I32:
        yield from unscaled(view, f"{view.row.mnemonic} {word}" + (" to i32" if word == "sum" else ""))
    yield from one_scale(view)


def topk(view: View) -> Iterator[Diagnostic[str]]:
    out, x = view.shape("out"), view.shape("x")
    yield from keeps_type(view, "what is found keeps its type")
    if len(out) != len(x) or out[:-1] != x[:-1] or out[-1] > x[-1]:
        expected = f"expected [{', '.join(map(str, (*x[:-1], 'k')))}]: k of each row, at most {x[-1]}"
        yield Diagnostic("shape", "out", f"`out` has shape {list(out)}", expected)
    yield from same("places", view.shape("places"), out, "the shape of out")


def resize(view: View) -> Iterator[Diagnostic[str]]:
    out, x = view.tensor("out"), view.tensor("x")
    expected = (x.shape[0], *out.shape[1:3], x.shape[3])
    yield from same("out", out.shape, expected, "the images and channels of x")
    yield from sides(view)
    if any(view.attributes["factor"]) and view.word("coordinates") == "align_corners":
        yield Diagnostic("chain", "factor", "align_corners does not take `factor`", "it goes by the sizes alone")
    if view.word("mode") == "nearest":
        yield from keeps_type(view, "the nearest pixel keeps its type")
        yield from unscaled(view, "resize nearest")
    elif view.ints("rounding")[0]:
        yield Diagnostic("chain", "rounding", f"resize linear does not take `{view.word('rounding')}`")
    yield from one_scale(view)


def sides(view: View) -> Iterator[Diagnostic[str]]:
    """Yield images that are too high or wide for coordinates to be exact."""
    for name in ("out", "x"):
        if max(view.shape(name)[1:3]) > MAX_SIDE:
            message = f"`{name}` has shape {list(view.shape(name))}"
            yield Diagnostic("shape", name, message, f"expected a height and width of at most {MAX_SIDE}")


def regions(view: View) -> Iterator[Diagnostic[str]]:
    out, x, (count, corners) = view.shape("out"), view.shape("x"), view.shape("rois")
    if corners != 4:
        yield Diagnostic(
            "shape", "rois", f"`rois` has shape {[count, corners]}", "expected [n, 4]: four corners a region"
        )
    yield from same("index", view.shape("index"), (count,), "an image for each of the regions")
    yield from same("out", out, (count, *out[1:3], x[3]), "the regions, and the channels of x")
    yield from sides(view)


def roisample(view: View) -> Iterator[Diagnostic[str]]:
    yield from regions(view)
    for samples, ratio, side in zip(view.shape("out")[1:3], view.ints("ratio"), ("down", "across"), strict=True):
        if samples % ratio:
            yield Diagnostic(
                "shape", "ratio", f"{ratio} samples to a bin do not divide {samples} samples {side} evenly"
            )
    yield from one_scale(view)


def roipool(view: View) -> Iterator[Diagnostic[str]]:
    yield from keeps_type(view, "the greatest value keeps its type")
    yield from regions(view)


def unscaled(view: View, what: str) -> Iterator[Diagnostic[str]]:
    """Yield multipliers and zero points where they have no meaning; a sum takes the zero point of x off."""
    summed = view.attributes.get("op") == (0,)
    for name in ("scale", "x_zero", "out_zero"):
        given = view.operands[name] if name in view.operands else view.ints(name)[0]
        if given and not (summed and name == "x_zero"):
            yield Diagnostic("chain", name, f"{what} does not take `{name}`")


def move(view: View) -> Iterator[Diagnostic[str]]:
    yield from keeps_type(view, "a copy does not convert; use `eltwise`")
    yield from same("x", view.shape("x"), view.shape("out"), "the shape of out")


def fill(view: View) -> Iterator[Diagnostic[str]]:
    out, (value,) = view.tensor("out"), view.attributes["value"]
    if out.dtype.is_float:
        with np.errstate(over="ignore"):
            exact = float(np.float64(value).astype(out.dtype.numpy)) == value
        if not exact:
            yield Diagnostic("range", "value", f"`value` is {value!r}, which is not a {out.dtype.numpy.name}")
    elif value != int(value) or not out.dtype.low <= value <= out.dtype.high:
        legal = f"a whole number from {out.dtype.low} to {out.dtype.high}"
        yield Diagnostic("range", "value", f"`value` is {shown(value)}", f"{out.dtype} holds {legal}")


def transpose(view: View) -> Iterator[Diagnostic[str]]:
    out, x, perm = view.tensor("out"), view.tensor("x"), view.ints("perm")
    beyond_stay = perm[x.rank :] == tuple(range(x.rank, 4))
    if sorted(perm[: x.rank]) != list(range(x.rank)) or not beyond_stay:
        yield Diagnostic(
            "range",
            "perm",
            f"`perm` is {perm[: x.rank] if beyond_stay else perm} for an x of {x.rank} dimensions",
            f"expected each of {', '.join(map(str, range(x.rank)))} once, then the dimensions beyond in order",
        )
        return
    yield from keeps_type(view, "a transpose does not convert")
    yield from same("out", out.shape, [x.shape[k] for k in perm[: x.rank]], "the shape of x, permuted")


def gather(view: View) -> Iterator[Diagnostic[str]]:
    out, x = view.tensor("out"), view.tensor("x")
    (axis,) = view.ints("axis")
    yield from keeps_type(view, "a gather does not convert")
    if axis >= x.rank:
        message = f"`axis` is {axis} for an x of {x.rank} dimension{'s' if x.rank > 1 else ''}"
        yield Diagnostic("range", "axis", message, f"expected 0 to {x.rank - 1}")
        return
    rows = (*x.shape[:axis], *view.shape("index"), *x.shape[axis + 1 :])
    what = f"dimension {axis} of x counts" if axis else "a row of x for"
    yield from same("out", out.shape, rows, f"{what} each element of index")


def scatter(view: View) -> Iterator[Diagnostic[str]]:
    out, x = view.tensor("out"), view.tensor("x")
    (axis,) = view.ints("axis")
    yield from keeps_type(view, "a scatter does not convert")
    if axis >= out.rank:
        message = f"`axis` is {axis} for an out of {out.rank} dimension{'s' if out.rank > 1 else ''}"
        yield Diagnostic("range", "axis", message, f"expected 0 to {out.rank - 1}")
        return
    rows = (*out.shape[:axis], *view.shape("index"), *out.shape[axis + 1 :])
    what = f"what dimension {axis} of out counts" if axis else "a row of out"
    yield from same("x", x.shape, rows, f"{what} for each element of index")


def flatten(view: View) -> Iterator[Diagnostic[str]]:
    yield from keeps_type(view, "flatten does not convert")
    height, width = view.ints("window")
    yield from windowed(view, (height, width), view.ints("dilation"), height * width * view.shape("x")[3])


def toweight(view: View) -> Iterator[Diagnostic[str]]:
    out, x = view.tensor("out"), view.tensor("x")
    yield from keeps_type(view, "toweight does not convert")
    filters, *filter_shape = out.shape
    matrix = (prod(filter_shape), filters)
    yield from same("x", x.shape, matrix, "height, width and channels of out in a row, by its filters")


def nothing(view: View) -> Iterator[Diagnostic[str]]:
    yield from ()


SHAPE_RULES: dict[int, Callable[[View], Iterator[Diagnostic[str]]]] = by_opcode(
    "SHAPE_RULES",
    {
        "conv": conv,
        "dwconv": dwconv,
        "matmul": matmul,
        "eltwise": eltwise,
        "rotate": rotate,
        "maxpool": maxpool,
        "avgpool": pool,
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
        "loop": nothing,
        "brnz": nothing,
        "signal": nothing,
        "wait": nothing,
        "barrier": nothing,
        "end": nothing,
    },
    ALL_ENGINES,
)
