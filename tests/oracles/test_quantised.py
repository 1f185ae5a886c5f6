"""Quantised operators other than products: equal to onnxruntime's, or at most 1 away, with the share of equal ones.

Where they may differ is in ties, where multipliers that follow from scales round elsewhere. QLinearMul and
QLinearAveragePool add the zero point before they round, as `zero_first` does. QLinearAdd fuses multiplications with
additions, on hosts with AVX2 or NEON, and so do EW1 and EW2.
"""

from collections.abc import Sequence
from math import log

import numpy as np
import pytest

from isa import quantise
from isa.formats import multiply_add
from tests.oracles.both import MICROSOFT, TYPES, Both, Tensor, f32, nchw, pooled

DTYPES = ("int8", "uint8")
CASES = 20
# The least share of results that equal onnxruntime's, where it is not all of them.
SHARES = {
    "add": 0.9999,
    "sigmoid": 0.9999,
    "leaky_relu": 0.9999,
    "concat": 0.9999,
}


def whole_range(rng: np.random.Generator, dtype: str, shape: Sequence[int], scale: float) -> Tensor:
    info = np.iinfo(dtype)
    zero = int(rng.choice([0, info.min, info.max, *rng.integers(info.min, info.max + 1, 5)]))
    data = rng.integers(info.min, info.max + 1, tuple(shape)).astype(dtype)
    return Tensor(data, np.atleast_1d(f32(scale)), zero)


def scale_of(rng: np.random.Generator, ties: bool) -> f32:
    return f32(2.0 ** rng.integers(-7, -4)) if ties else f32(rng.uniform(0.01, 0.1))


def compare(both: Both, name: str = "") -> None:
    """Hold results against onnxruntime's: equal, or, with a name of SHARES, at most 1 away and mostly equal."""
    equal, elements = 0, 0
    for expected, found in both.run():
        assert expected.shape == found.shape and expected.dtype == found.dtype
        apart = np.abs(expected.astype(int) - found.astype(int))
        assert apart.max() <= (1 if name else 0)
        equal += np.count_nonzero(apart == 0)
        elements += apart.size
    print(f"{name or 'equal'}: {equal} of {elements} are onnxruntime's")
    assert equal >= SHARES.get(name, 1) * elements, equal / elements


def fold(a: Tensor, b: Tensor, out: Tensor) -> tuple[f32, f32, f32]:
    """Return QLinearAdd's two ratios of scales, and what it adds for all three zero points."""
    a_ratio, b_ratio = (f32(tensor.scale[0] / out.scale[0]) for tensor in (a, b))
    zeros = multiply_add(np.float64(a_ratio), np.float64(a.zero), np.float64(f32(b_ratio * f32(b.zero))), "fp32")
    return a_ratio, b_ratio, f32(f32(out.zero) - f32(zeros))


def near_ties(rng: np.random.Generator, scale: f32, count: int) -> np.ndarray:
    """Return floats, many of them beside a tie of their quotients by the scale, and some beyond every range."""
    halves = (rng.integers(-400, 400, count) + 0.5).astype(f32) * scale
    beside = np.nextafter(halves, f32(np.inf) * rng.choice([-1, 1], count).astype(f32))
    x = np.where(rng.random(count) < 0.5, halves, beside)
    return np.where(rng.random(count) < 0.1, rng.choice(np.array([3e38, -3e38, np.inf, 0, 1e-42], f32), count), x)


@pytest.mark.parametrize("dtype", (*DTYPES, "int16"))
def test_floats_become_integers_as_quantize_linear_has_it(dtype: str) -> None:
    """Inputs of a run, and quantise.to_integers: the same division in float32."""
    rng, both, given = np.random.default_rng(9), Both(), []
    for case in range(2 * CASES):
        scale = f32(10.0 ** rng.uniform(-6, 2)) if case % 2 else f32(round(rng.uniform(0.01, 0.5), 2))
        x, out = near_ties(rng, scale, 999), whole_range(rng, dtype, (999,), scale)
        both.node("QuantizeLinear", [x, *out.quantised()], out.data.dtype)
        both.program("copy {out}, {x}", out, {"x": out})
        both.inputs[f"x{case}"] = x
        given.append((x, scale, out.zero, TYPES[dtype]))
    compare(both)
    for (x, *how), (expected, _) in zip(given, both.run(), strict=True):
        finite = np.isfinite(x)
        assert np.array_equal(quantise.to_integers(x[finite], *how), expected[finite])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_chip_quantises_as_quantize_linear_does(dtype: str) -> None:
    """By `div`, one true division; EW3's multiplier 1 / scale, rounded to float32, is away by 1 near ties."""
    rng, both = np.random.default_rng(10), Both()
    for _ in range(CASES):
        out = whole_range(rng, dtype, (2000,), scale_of(rng, ties=False))
        x = near_ties(rng, out.scale[0], 2000)
        both.node("QuantizeLinear", [x, *out.quantised()], out.data.dtype)
        code = f"eltwise {{out}}, {{x}}, div={{s}}, out_zero={out.zero}"
        both.program(code, Tensor(out.data), {"x": Tensor(x)}, {"s": Tensor(out.scale)})
    compare(both)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add(dtype: str) -> None:
    """QLinearAdd is rne(a * ra + (b * rb + zeros)): all zero points are one constant, each product and sum one step.

    It is the chain with that constant as ew1_bias and no zero point elsewhere.
    """
    rng, both = np.random.default_rng(1), Both()
    for case in range(2 * CASES):
        shape, scale = rng.integers(1, 12, 4), scale_of(rng, ties=case % 2 == 1)
        ratios = 2.0 ** rng.integers(-3, 2, 2) if case % 2 else rng.uniform(0.05, 4, 2)
        a, b = (whole_range(rng, dtype, shape, scale * ratio) for ratio in ratios)
        out = whole_range(rng, dtype, shape, scale)
        a_ratio, b_ratio, zeros = fold(a, b, out)
        both.node(
            "QLinearAdd", [a.data, *a.quantised(), b.data, *b.quantised(), *out.quantised()], a.data.dtype, MICROSOFT
        )
        both.program(
            "eltwise {out}, {b}, ew1_scale={rb}, ew1_bias={zeros}, add={a}, ew2_scale={ra}",
            Tensor(out.data),
            {"a": Tensor(a.data), "b": Tensor(b.data)},
            constants={"rb": np.array([b_ratio]), "ra": np.array([a_ratio]), "zeros": np.array([zeros])},
        )
    compare(both)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_in_real_units(dtype: str) -> None:
    """The chain that scales and zero points give by themselves: it rounds elsewhere, so it is away by 1 near ties."""
    rng, both = np.random.default_rng(2), Both()
    for _ in range(CASES):
        shape = rng.integers(1, 12, 4)
        a, b, out = (whole_range(rng, dtype, shape, scale_of(rng, ties=False)) for _ in range(3))
        both.node(
            "QLinearAdd", [a.data, *a.quantised(), b.data, *b.quantised(), *out.quantised()], a.data.dtype, MICROSOFT
        )
        both.program("eltwise {out}, {a}, add={b}", out, {"a": a, "b": b})
    compare(both, "add")


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiply(dtype: str) -> None:
    """QLinearMul is rne(a * b * m + zero), the product by m and the sum a step each.

    200.5 is what some products become, less 128: as one operation what the first step rounds off would tell.
    """
    rng, both = np.random.default_rng(3), Both()
    for case in range(CASES):
        shape = rng.integers(1, 12, 4)
        a, b = (whole_range(rng, dtype, shape, scale_of(rng, ties=False)) for _ in range(2))
        out = whole_range(rng, dtype, shape, 10 * scale_of(rng, ties=False))
        if dtype == "int8" and case % 2:
            left, right = (rng.integers(3, 120, tuple(shape)).astype(np.int8) for _ in range(2))
            product = int(left.flat[0]) * int(right.flat[0])
            a, b = Tensor(left, np.atleast_1d(f32(200.5 / product))), Tensor(right, np.ones(1, f32))
            out = Tensor(out.data, np.ones(1, f32), -128)
        both.node(
            "QLinearMul", [a.data, *a.quantised(), b.data, *b.quantised(), *out.quantised()], a.data.dtype, MICROSOFT
        )
        m = f32(f32(a.scale[0] * b.scale[0]) / out.scale[0])
        code = f"eltwise {{out}}, {{a}}, mul={{b}}, ew3_scale={{m}}, zero_first, out_zero={out.zero}"
        inputs = {"a": Tensor(a.data, None, a.zero), "b": Tensor(b.data, None, b.zero)}
        both.program(code, Tensor(out.data), inputs, constants={"m": np.array([m])})
    compare(both)


@pytest.mark.parametrize("dtype", DTYPES)
def test_global_average(dtype: str) -> None:
    """QLinearGlobalAveragePool has one multiplier, x.scale / (out.scale * pixels): a scaled sum."""
    rng, both = np.random.default_rng(4), Both()
    for case in range(2 * CASES):
        batch, height, width, channels = rng.integers(1, [3, 15, 15, 80]).tolist()
        if case % 2:
            height, width = 2 ** int(rng.integers(0, 4)), 4
        x = whole_range(rng, dtype, (batch, height, width, channels), scale_of(rng, ties=bool(case % 2)))
        out = whole_range(rng, dtype, (batch, 1, 1, channels), scale_of(rng, ties=bool(case % 2)) / 8)
        given = [nchw(x.data), *x.quantised(), *out.quantised()]
        both.node("QLinearGlobalAveragePool", given, x.data.dtype, MICROSOFT, channels_last=True)
        multiplier = f32(x.scale[0] / f32(out.scale[0] * f32(height * width)))
        both.program("reduce {out}, {x}, sum, scale={m}", out, {"x": x}, constants={"m": np.array([multiplier])})
    compare(both)


def counts(size: int, before: int, window: int, stride: int, windows: int, counted: int) -> np.ndarray:
    """Return by how many pixels of one side QLinearAveragePool divides, for each window: with padding always all."""
    begin = np.arange(windows) * stride - before
    inside = np.minimum(begin + window, size) - np.maximum(begin, 0)
    return np.full(windows, window) if counted else inside


@pytest.mark.parametrize("dtype", DTYPES)
def test_average(dtype: str) -> None:
    """QLinearAveragePool is rne(sum / count / scale + zero), the sum one of floats, in the order of the window.

    With a multiplier of as many as a window has, and `count_pad`, `avgpool` gives sums.
    """
    rng, both = np.random.default_rng(5), Both()
    for case in range(CASES):
        window, stride = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
        pad = rng.integers(0, [*window, *window])
        size = window + rng.integers(0, 8, 2)
        up, counted = case // 2 % 2, case % 2
        rows, columns = pooled(size, pad, window, stride, up)
        batch, channels = int(rng.integers(1, 3)), int(rng.integers(1, 12))
        x = whole_range(rng, dtype, (batch, *size, channels), scale_of(rng, ties=case % 3 == 0))
        out = whole_range(rng, dtype, (batch, rows, columns, channels), scale_of(rng, ties=case % 3 == 0))
        both.node(
            "QLinearAveragePool",
            [nchw(x.data), *x.quantised(), *out.quantised()],
            x.data.dtype,
            MICROSOFT,
            channels_last=True,
            kernel_shape=window.tolist(),
            strides=stride.tolist(),
            pads=pad.tolist(),
            count_include_pad=counted,
            ceil_mode=up,
        )
        # What ceil_mode adds is written as padding: all windows are whole, and EW3 can take the count off.
        pad[2:] = np.maximum((np.array([rows, columns]) - 1) * stride + window - size - pad[:2], 0)
        text = f"window={tuple(window.tolist())}, stride={tuple(stride.tolist())}, pad={tuple(pad.tolist())}"
        rows_in, columns_in = (
            counts(*side, counted) for side in zip(size, pad[:2], window, stride, (rows, columns), strict=True)
        )
        count = np.outer(rows_in, columns_in).astype(f32)[..., None]
        floats = np.zeros((batch, rows, columns, channels), f32)
        both.program(
            f"""eltwise {{values}}, {{x}}
            avgpool {{sum}}, {{values}}, {text}, count_pad, scale={{area}}
            eltwise {{mean}}, {{sum}}, div={{count}}
            eltwise {{out}}, {{mean}}, div={{s}}, zero_first, out_zero={out.zero}""",
            Tensor(out.data),
            {"x": x},
            {"count": Tensor(count), "s": Tensor(out.scale)},
            {"area": np.array([window.prod()], f32)},
            {"values": Tensor(np.zeros(x.data.shape, f32)), "sum": Tensor(floats), "mean": Tensor(floats)},
        )
    compare(both)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "operator", "code", "attributes"),
    [
        ("sigmoid", "QLinearSigmoid", "sigmoid", {}),
        ("leaky_relu", "QLinearLeakyRelu", "leaky_relu=0.125", {"alpha": 0.125}),
        ("leaky_relu", "QLinearLeakyRelu", "leaky_relu=0.01", {"alpha": 0.01}),
    ],
)
def test_functions(dtype: str, name: str, operator: str, code: str, attributes: dict[str, float]) -> None:
    """Every value of the type, under many scales."""
    rng, both = np.random.default_rng(6), Both()
    for case in range(CASES):
        x = whole_range(rng, dtype, (256,), scale_of(rng, ties=case % 2 == 0))
        x = Tensor(np.arange(256).astype("uint8").view(dtype), x.scale, x.zero)
        scale = f32(1 / 256) if name == "sigmoid" else scale_of(rng, ties=case % 2 == 0)
        out = whole_range(rng, dtype, (256,), scale)
        both.node(operator, [*x.triple(), *out.quantised()], x.data.dtype, MICROSOFT, **attributes)
        both.program(f"eltwise {{out}}, {{x}}, {code}", out, {"x": x})
    compare(both, name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_concatenation(dtype: str) -> None:
    """Tensors of differing scales side by side: an `eltwise` each, into a slice of the result."""
    rng, both = np.random.default_rng(7), Both()
    for case in range(CASES):
        shape, first = rng.integers(1, 12, 3).tolist(), int(rng.integers(1, 9))
        widths = (first, int(rng.integers(1, 9)))
        a, b = (whole_range(rng, dtype, (*shape, width), scale_of(rng, ties=case % 2 == 0)) for width in widths)
        out = whole_range(rng, dtype, (*shape, sum(widths)), scale_of(rng, ties=case % 2 == 0))
        given = [*out.quantised(), *a.triple(), *b.triple()]
        both.node("QLinearConcat", given, a.data.dtype, MICROSOFT, axis=3)
        both.program(
            f"eltwise {{out}}[:, :, :, :{first}], {{a}}\n    eltwise {{out}}[:, :, :, {first}:], {{b}}",
            out,
            {"a": a, "b": b},
        )
    compare(both, "concat")


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype: str) -> None:
    """The greatest of a row, exponentials of the distances from it by a table, their sum, a product and a quotient.

    QLinearSoftmax has exponentials as great as their sum may be: float32's greatest over the number of them, over e**5;
    and takes only whole steps of 1 / scale.
    """
    rng, both = np.random.default_rng(8), Both()
    for _ in range(CASES):
        rows, columns = rng.integers([1, 2], [9, 40]).tolist()
        x = whole_range(rng, dtype, (rows, columns), scale_of(rng, ties=False))
        low = np.iinfo(dtype).min
        out = Tensor(np.zeros((rows, columns), dtype), f32(1 / rng.uniform(200, 257)), low)
        both.node("QLinearSoftmax", [*x.triple(), *out.quantised()], x.data.dtype, MICROSOFT, axis=-1, opset=13)
        shift = float(f32(log(np.finfo(f32).max / f32(columns)))) - 5
        exponentials = np.exp(np.arange(-255, 1) * float(x.scale[0]) + shift).astype(f32)
        row = np.zeros((rows, 1))
        both.program(
            """reduce {top}, {x}, max
            eltwise {e}, {x}, sub={top}, table={exp}, table_offset=127
            reduce {sum}, {e}, sum
            eltwise {out}, {e}, ew1_scale={steps}, div={sum}, out_zero="""
            + str(low),
            Tensor(out.data),
            {"x": Tensor(x.data)},
            constants={"steps": np.array([np.floor(1 / out.scale)], f32), "exp": exponentials},
            locals={
                "top": Tensor(row.astype(dtype)),
                "e": Tensor(np.zeros((rows, columns), f32)),
                "sum": Tensor(row.astype(f32)),
            },
        )
    compare(both)
