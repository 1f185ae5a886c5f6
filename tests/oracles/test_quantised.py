"""Quantised operators other than products: equal to onnxruntime's, or at most 1 away, with the share of equal ones.

Where they may differ is in ties: onnxruntime's QLinearMul adds the zero point before it rounds, and EW3 behind. Its
QLinearAdd fuses multiplications with additions, on hosts with AVX2 or NEON, and so do EW1 and EW2.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from isa import quantise
from isa.formats import multiply_add
from tests.oracles.both import MICROSOFT, TYPES, Both, Tensor, f32, nchw, pooled

DTYPES = ("int8", "uint8")
CASES = 20
# The least share of results that equal onnxruntime's, where it is not all of them. The averages are ties for a third;
# what the chip quantises are ties, or stand beside them.
SHARES = {
    "add": 0.9999,
    "mul": 0.9999,
    "average": 0.98,
    "sigmoid": 0.9999,
    "leaky_relu": 0.9999,
    "concat": 0.9999,
    "softmax": 0.999,
    "quantise on the chip": 0.96,
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
def test_the_chip_multiplies_where_quantize_linear_divides(dtype: str) -> None:
    """`eltwise` from f32 has EW3's one multiplier, 1 / scale in float32: it is away by 1 near ties."""
    rng, both = np.random.default_rng(10), Both()
    for _ in range(CASES):
        out = whole_range(rng, dtype, (2000,), scale_of(rng, ties=False))
        x = near_ties(rng, out.scale[0], 2000)
        both.node("QuantizeLinear", [x, *out.quantised()], out.data.dtype)
        both.program("eltwise {out}, {x}", out, {"x": Tensor(x)})
    compare(both, "quantise on the chip")


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
    rng, both = np.random.default_rng(3), Both()
    for _ in range(CASES):
        shape = rng.integers(1, 12, 4)
        a, b = (whole_range(rng, dtype, shape, scale_of(rng, ties=False)) for _ in range(2))
        out = whole_range(rng, dtype, shape, 10 * scale_of(rng, ties=False))
        both.node(
            "QLinearMul", [a.data, *a.quantised(), b.data, *b.quantised(), *out.quantised()], a.data.dtype, MICROSOFT
        )
        both.program("eltwise {out}, {a}, mul={b}", out, {"a": a, "b": b})
    compare(both, "mul")


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_average(dtype: str) -> None:
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
        if up and counted:
            # QLinearAveragePool counts what ceil_mode adds as padding, against ONNX: it is written as padding.
            pad[2:] = np.maximum((np.array([rows, columns]) - 1) * stride + window - size - pad[:2], 0)
        text = f"window={tuple(window.tolist())}, stride={tuple(stride.tolist())}, pad={tuple(pad.tolist())}"
        text += ", count_pad" * counted + ", ceil" * (up and not counted)
        both.program(f"avgpool {{out}}, {{x}}, {text}", out, {"x": x})
    compare(both, "average")


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
    """The greatest of a row, exponentials of the distances from it by a table, their sum, its reciprocal, the product.

    The table stands for -128 ... 127, so 127 is added to distances of -255 ... 0.
    """
    rng, both = np.random.default_rng(8), Both()
    for _ in range(CASES):
        rows, columns = rng.integers(1, [9, 40]).tolist()
        x = whole_range(rng, dtype, (rows, columns), scale_of(rng, ties=False))
        low = np.iinfo(dtype).min
        out = Tensor(np.zeros((rows, columns), dtype), f32(1 / 256), low)
        both.node("QLinearSoftmax", [*x.triple(), *out.quantised()], x.data.dtype, MICROSOFT, axis=-1, opset=13)
        exponentials = np.exp(np.arange(-255, 1) * float(x.scale[0])).astype(f32)
        row = np.zeros((rows, 1))
        both.program(
            """reduce {top}, {x}, max
            eltwise {e}, {x}, ew1_bias={shift}, sub={top}, table={exp}
            reduce {sum}, {e}, sum
            eltwise {part}, {sum}, reciprocal
            eltwise {out}, {e}, mul={part}""",
            out,
            {"x": Tensor(x.data)},
            constants={"shift": np.array([127], f32), "exp": exponentials},
            locals={
                "top": Tensor(row.astype(dtype)),
                "e": Tensor(np.zeros((rows, columns), f32)),
                "sum": Tensor(row.astype(f32)),
                "part": Tensor(row.astype(f32)),
            },
        )
    compare(both, "softmax")
