"""Quantisation: the errors that its rounding allows, the ends of ranges, and what has no answer."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ratel
from isa import quantise
from isa.dtypes import DTYPES, I8
from isa.errors import InputError
from isa.program import Symbol

floats = st.floats(-1e6, 1e6, width=32)
tensors = npst.arrays(np.float32, npst.array_shapes(max_dims=4, max_side=5), elements=floats)


@given(tensors, st.sampled_from(("i8", "i16")), st.data())
def test_weights_of_each_channel(w: np.ndarray, dtype: str, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([None, *range(-w.ndim, w.ndim)]))
    values, scale = quantise.weights(w, axis, dtype)
    bound = DTYPES[dtype].high
    assert values.dtype == DTYPES[dtype].numpy and values.shape == w.shape and scale.dtype == np.float32
    assert scale.shape == (1 if axis is None else w.shape[axis],)
    channels = [(w, values)] if axis is None else zip(np.moveaxis(w, axis, 0), np.moveaxis(values, axis, 0))
    for (real, whole), step in zip(channels, scale):
        if np.abs(real).max() < bound * 2.0**-126:
            assert step == 1 and not whole.any()
            continue
        assert np.abs(whole).max() == bound and whole.min() >= -bound
        assert step == np.float32(np.abs(real).max() / np.float32(bound))
        # Half a step, and half of the quotient's last bit.
        assert (np.abs(whole * np.float64(step) - real) <= step * (0.5 + 2.0**-24 * bound)).all()


def test_weights_by_hand() -> None:
    values, scale = quantise.weights([[1.27, -0.635, 0.004], [254.0, 3.0, -1.0]])
    assert values.tolist() == [[127, -64, 0], [127, 2, 0]] and scale.tolist() == [np.float32(0.01), 2.0]
    assert quantise.weights([[1.0, 2.0], [4.0, 8.0]], axis=1).values.tolist() == [[32, 32], [127, 127]]


def test_weights_of_floats_of_a_byte() -> None:
    values, scale = quantise.weights([[1.0, -0.5, 0.001, 1e-9], [896, 3.0, -1.1, 0]], dtype="e4m3")
    assert values.dtype == DTYPES["e4m3"].numpy and scale.tolist() == [np.float32(1 / 448), 2.0]
    assert values.astype(float).tolist() == [[448, -224, 0.4375, 0], [448, 1.5, -0.5625, 0]]
    values, scale = quantise.weights([[-57344.0, 7.0]], None, "e5m2")
    assert values.astype(float).tolist() == [[-57344, 7]] and scale.tolist() == [1]
    assert quantise.to_floats(values, scale).tolist() == [[-57344, 7]]
    # A quotient may be above the greatest by its last bit, and does not become NaN.
    rng = np.random.default_rng(5)
    values, scale = quantise.weights(np.ldexp(rng.normal(0, 1, (500, 9)), rng.integers(-99, 99, (500, 1))), 0, "e4m3")
    assert (np.abs(values.astype(float)).max(axis=1) == 448).all()


@pytest.mark.parametrize("dead", [0.0, -0.0, 1e-44, 1e-37, 1e-320])
def test_a_dead_channel_has_scale_1_and_zeros(dead: float) -> None:
    values, scale = quantise.weights([[dead, 0], [1, -2]])
    assert values.tolist() == [[0, 0], [64, -127]] and scale.tolist() == [1, np.float32(2 / 127)]
    values, scale = quantise.weights([[dead, 0], [0, -dead]], None, "i16")
    assert values.tolist() == [[0, 0], [0, 0]] and scale.tolist() == [1]
    # The least channel that is not dead has the least scale; all that follows from a scale of 1 works with it, too.
    values, scale = quantise.weights([[127 * 2.0**-126, 2.0**-126]])
    assert values.tolist() == [[127, 1]] and scale.tolist() == [2.0**-126]
    assert quantise.bias([3.0], 1.0, [1.0]).tolist() == [3]


@pytest.mark.parametrize(("x", "scale", "expected"), [(0.35, 0.1, 4), (0.05, 0.02, 2), (-0.35, 0.1, -4)])
def test_quotients_are_those_of_float32(x: float, scale: float, expected: int) -> None:
    """ONNX's QuantizeLinear: 0.35f / 0.1f is 3.5 in float32, though 3.49999998 exactly."""
    symbol = Symbol("x", "input", "lm", 0, I8, (1,), (float(np.float32(scale)),))
    for number in (np.float32(x), x):
        assert quantise.to_integers([number], scale).tolist() == [expected]
        assert symbol.quantise(np.array([number])).tolist() == [expected]


@given(tensors)
def test_activations_of_several_arrays_are_those_of_one(x: np.ndarray) -> None:
    x = np.append(np.float32(3), x.ravel())
    step = quantise.scale(x)
    assert step == np.float32(np.abs(x).max() / np.float32(127))
    assert quantise.scale(iter([x[:1], x[1:]])) == step == quantise.scale([x[:1], x])
    assert np.abs(quantise.to_integers(x, step)).max() == 127


def test_percentile_leaves_the_tail_out() -> None:
    x = np.append(np.arange(100.0), 1e6)
    assert quantise.scale(x, percentile=99) == quantise.scale([x[:7], x[7:]], percentile=99) == np.float32(99 / 127)
    assert quantise.to_integers(x, quantise.scale(x, percentile=99)).tolist()[-2:] == [127, 127]
    assert quantise.scale_and_zero(np.append(x, -1e6), percentile=98)[0] < 1


@pytest.mark.parametrize(("largest", "digits", "text"), [(1.0, 3, "0.00788"), (1.0, 1, "0.008"), (12.7, 2, "0.1")])
def test_digits_round_up(largest: float, digits: int, text: str) -> None:
    assert str(quantise.scale([largest], digits=digits)) == text


@given(tensors, st.sampled_from(("u8", "i8", "i16")))
def test_asymmetric_ranges_hold_every_value_and_zero(x: np.ndarray, dtype: str) -> None:
    x = np.append(x.ravel(), np.float32(3))
    step, zero = quantise.scale_and_zero(x, dtype)
    held = DTYPES[dtype]
    assert held.low <= zero <= held.high and step > 0
    assert quantise.to_integers([0.0], step, zero, dtype).tolist() == [zero]
    back = quantise.to_floats(quantise.to_integers(x, step, zero, dtype), step, zero)
    # Half a step for the value, half for the zero point.
    assert (np.abs(back - x) <= step * 1.01).all()


def test_unsigned_by_hand() -> None:
    step, zero = quantise.scale_and_zero([-1.0, 4.1])
    assert (float(step), zero) == (pytest.approx(0.02), 50)
    assert quantise.to_integers([-1.0, 0.0, 4.1, 9.0], step, zero, "u8").tolist() == [0, 50, 255, 255]
    assert quantise.to_floats([0, 50, 255], step, zero).tolist() == pytest.approx([-1.0, 0.0, 4.1])


def test_integers_are_those_of_a_run() -> None:
    x = np.random.default_rng(3).normal(0, 3, (50, 4)).astype(np.float32)
    symbol = Symbol("x", "input", "lm", 0, I8, (50, 4), (0.05, 0.1, 0.2, 0.4), -3)
    assert np.array_equal(quantise.to_integers(x, symbol.scale, -3), symbol.quantise(x))
    assert np.array_equal(quantise.to_integers(x.T, symbol.scale, -3, axis=0), symbol.quantise(x).T)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (70_000, 3), (3, 70_000)], ids=str)
def test_pieces_are_quantised_as_the_whole(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(5)
    x = np.asarray(rng.normal(0, 1, shape) * 10.0 ** rng.integers(-5, 60, shape)).clip(-3e38, 3e38).astype(dtype)
    for values, scale in (
        (x, 0.1),
        (x.T, 0.1),
        (x[..., ::-1] if shape else x, np.linspace(0.1, 1, shape[-1] if shape else 1)),
    ):
        with np.errstate(over="ignore", under="ignore"):
            steps = np.rint(values.astype(np.float32) / np.asarray(scale, np.float32))
        found = quantise.to_steps(values, scale, 7, I8)
        assert found.dtype == np.int8
        assert np.array_equal(found, np.clip(steps.astype(np.float64) + 7, -128, 127).astype(np.int8))


def test_nothing_of_the_size_of_the_floats_is_made_beside_the_integers() -> None:
    x = np.ones((4, 2**20))
    tracemalloc.start()
    assert quantise.first_nan(x) is None
    x[2, 5] = np.nan
    assert quantise.first_nan(x) == [2, 5]
    x[2, 5] = 1
    quantise.to_steps(x, 0.5, 0, I8)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < x.size + 4 * 2**20


def test_ties_round_to_even_and_ends_clamp() -> None:
    assert quantise.to_integers([0.5, 1.5, -0.5, 200.0, -200.0], 1.0).tolist() == [0, 2, 0, 127, -128]


def test_bias_is_in_steps_of_the_product() -> None:
    scales = np.array([0.25, 0.5], np.float32)
    assert quantise.bias([1.0, -3.0], 0.5, scales).tolist() == [8, -12]
    assert quantise.bias([1.0], 0.5, [0.25]).dtype == np.int32


def test_a_network_runs_with_what_it_gives() -> None:
    rng = np.random.default_rng(5)
    x, w, b = rng.normal(size=(16, 32)), rng.normal(size=(8, 32)), rng.normal(size=8)
    real = x @ w.T + b
    weight, w_scale = ratel.quantise.weights(w)
    x_scale, y_scale = ratel.quantise.scale(x), ratel.quantise.scale(real)
    p = ratel.Builder("dense", chip="edge")
    given, y = p.input("x", "i8", x.shape, scale=x_scale), p.output("y", "i8", real.shape, scale=y_scale)
    bias = p.const("b", ratel.quantise.bias(b, x_scale, w_scale))
    p.matmul(y, given, p.weight("w", weight, scale=w_scale), bias=bias, transpose_w=True)
    result = ratel.quantise.to_floats(ratel.run(p.build(), {"x": x}).outputs["y"], y_scale)
    assert np.abs(result - real).max() < 0.2 < np.abs(real).max()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quantise.weights([[1.0, np.nan]]), r"the weights: nan at \[0, 1\] has no quantised value"),
        (lambda: quantise.weights([[1.0, -np.inf]]), r"the weights: -inf at \[0, 1\] has no quantised value"),
        (lambda: quantise.weights([[1.0, 1e39]]), r"the weights: 1e\+39 at \[0, 1\] has no quantised value"),
        (lambda: quantise.weights(np.ones((0, 3))), r"the weights of shape \[0, 3\] holds nothing"),
        (lambda: quantise.weights(np.ones((3, 0))), r"the weights of shape \[3, 0\] holds nothing"),
        (lambda: quantise.weights([1.0], 1), "there is no axis 1"),
        (lambda: quantise.weights([1.0], dtype="u8"), "'u8' is no type to quantise to"),
        (lambda: quantise.weights([1.0], dtype="f32"), "'f32' is no type to quantise to"),
        (lambda: quantise.weights(["a"]), "the weights cannot be read as numbers"),
        (lambda: quantise.weights([]), "the weights of shape"),
        (lambda: quantise.scale(np.zeros(3)), "the data reaches from 0 to 0"),
        (lambda: quantise.scale([np.ones(3), [1.0, np.inf]]), r"calibration array 1: inf at \[1\]"),
        (lambda: quantise.scale([]), "there is no calibration data"),
        (lambda: quantise.scale([1.0], percentile=101), "the percentile is 101"),
        (lambda: quantise.scale_and_zero(np.zeros(3)), "the data reaches from 0 to 0"),
        (lambda: quantise.scale_and_zero([-1e-44, 1e-44]), "the data reaches from -1e-44 to 1e-44"),
        (lambda: quantise.scale(np.full(3, 1e-44)), "the data reaches from 0 to 1e-44"),
        (lambda: quantise.scale_and_zero([1.0], dtype="int8"), "'int8' is no type to quantise to"),
        (lambda: quantise.bias([1.0], 1e-6, 1e-6), "the bias takes 1e.12 steps"),
        (lambda: quantise.bias([1.0], 0.0, 1.0), "a scale is 0"),
        (lambda: quantise.to_integers([1.0], -1.0), "a scale is -1"),
        (lambda: quantise.to_integers([np.nan], 1.0), "nan at"),
        (lambda: quantise.to_integers(np.ones((2, 3)), [1.0, 2.0]), r"2 scales do not fit axis -1 of \[2, 3\]"),
        (lambda: quantise.weights([1j]), "the weights cannot be read as numbers: they are complex"),
        (lambda: quantise.weights([[1.0]], 0.0), "there is no axis 0"),
        (lambda: quantise.scale(np.full(3, 1e-320), digits=2), "the data reaches from 0 to 9.99989e-321"),
        (lambda: quantise.scale(np.full(3, 1e308), digits=2), r"array 0: 1e\+308 at \[0\]"),
        (lambda: quantise.scale([1.0], digits=1.5), "1.5 is no number of digits"),
        (lambda: quantise.scale([1.0], percentile="all"), "the percentile is 'all'"),
        (lambda: quantise.scale_and_zero([1.0], percentile=None), "the percentile is None"),
        (lambda: quantise.bias([1.0], 1e-30, 1e-30), "a scale is "),
        (lambda: quantise.bias([1e308], 0.1, 0.1), r"the bias: 1e\+308 at"),
        (lambda: quantise.bias([1.0, 2.0, 3.0], 0.1, [0.1, 0.2]), r"2 scales do not fit a bias of shape \[3\]"),
        (lambda: quantise.to_integers([1.0], "a"), "the scale cannot be read as numbers"),
        (lambda: quantise.to_integers([1.0], 1.0, 1.5), "the zero point is 1.5"),
        (lambda: quantise.to_integers([1.0], 1.0, 128), "the zero point is 128"),
        (lambda: quantise.to_integers([1.0, 2.0], [1.0, 2.0], axis=None), "there is no axis None"),
        (lambda: quantise.to_floats("abc", 1.0), "the tensor cannot be read as numbers"),
    ],
)
def test_what_has_no_answer(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_fixed_point_is_the_multiplier_to_31_bits():
    found = quantise.fixed_point([0.5, 1, 0.3, 2.0**-31, 2.0**-33, 1 - 2.0**-40, 2.0**30 - 1])
    assert found.dtype == np.int32
    assert found.T.tolist() == [
        [2**30, 0],
        [2**30, 1],
        [round(0.6 * 2**31), -1],
        [2**30, -30],
        [0, 0],
        [2**30, 1],
        [2**31 - 2, 30],
    ]
    assert quantise.fixed_point(0.25).tolist() == [[2**30], [-1]]


@pytest.mark.parametrize("multiplier", [0, -1, 2.0**30, np.nan, np.inf, [[1]], "x", [1, 0]])
def test_what_is_no_multiplier(multiplier):
    with pytest.raises(InputError):
        quantise.fixed_point(multiplier)
