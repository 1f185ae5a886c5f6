"""Layers of i8 equal LiteRT's, bit for bit: its reference kernels, and XNNPACK's, which it runs by default.

The former are `round_twice` and, fully connected, `round_away`; XNNPACK's are the floating EW3. LiteRT's optimised
kernels without XNNPACK round in two steps, half up in both on x86, as nothing here does. No build on the package index
has TFLITE_SINGLE_ROUNDING: `round_once` is held against its formula alone.
"""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

import ratel
from tests.oracles import lite
from tests.oracles.both import CHIP, Tensor, f32
from tests.oracles.lite import LiteTensor, schema

CASES = 24
ACTIVATIONS = {"": schema.ActivationFunctionType.NONE, ", relu": schema.ActivationFunctionType.RELU}


def scale_of(rng: np.random.Generator, ties: bool, low: float, high: float, count: int = 1) -> np.ndarray:
    """Return scales between two bounds; powers of two make ties."""
    drawn = rng.uniform(np.log2(low), np.log2(high), count)
    return f32(2.0 ** (np.round(drawn) if ties else drawn))


@pytest.mark.parametrize(
    ("operator", "kernels", "word"),
    [
        ("CONV_2D", lite.REFERENCE, ", round_twice"),
        ("DEPTHWISE_CONV_2D", lite.REFERENCE, ", round_twice"),
        ("FULLY_CONNECTED", lite.REFERENCE, ", round_away"),
        ("CONV_2D", lite.USUAL, ""),
        ("DEPTHWISE_CONV_2D", lite.USUAL, ""),
        ("FULLY_CONNECTED", lite.USUAL, ""),
    ],
)
def test_layers_are_lites(operator: str, kernels: object, word: str) -> None:
    rng = np.random.default_rng(14)
    equal_without, elements = 0, 0
    for case in range(CASES):
        ties, activation = case % 2 == 0, ("", ", relu")[case // 2 % 2]
        channels, filters = int(rng.integers(1, 20)), int(rng.integers(1, 20))
        size, window, stride = int(rng.integers(5, 12)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
        rows = (size - window) // stride + 1
        shapes = {
            "CONV_2D": ((1, size, size, channels), (filters, window, window, channels), (1, rows, rows, filters)),
            "DEPTHWISE_CONV_2D": ((1, size, size, filters), (1, window, window, filters), (1, rows, rows, filters)),
            "FULLY_CONNECTED": ((size, channels), (filters, channels), (size, filters)),
        }[operator]
        axis = 3 if operator == "DEPTHWISE_CONV_2D" else 0
        x_scale = scale_of(rng, ties, 0.01, 0.1)
        w_scale = scale_of(rng, ties, 0.005, 0.05, 1 if operator == "FULLY_CONNECTED" else filters)
        out_scale = scale_of(rng, ties, 0.05, 1.0)
        x, w = (
            rng.integers(low, high, shape).astype(np.int8) for low, high, shape in zip((-40, -20), (40, 20), shapes)
        )
        bias = rng.integers(-500, 500, filters).astype(np.int32)
        x_zero, out_zero = (int(rng.integers(-20, 20)) for _ in range(2))
        options = {
            "CONV_2D": schema.Conv2DOptionsT,
            "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptionsT,
            "FULLY_CONNECTED": schema.FullyConnectedOptionsT,
        }[operator]()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        if operator != "FULLY_CONNECTED":
            options.padding, options.strideH, options.strideW = schema.Padding.VALID, stride, stride
            options.dilationHFactor = options.dilationWFactor = 1
        if operator == "DEPTHWISE_CONV_2D":
            options.depthMultiplier = 1
        model = lite.layer(
            operator,
            options,
            LiteTensor(x, x_scale, x_zero),
            LiteTensor(w, w_scale, 0, axis, True),
            LiteTensor(bias, x_scale * w_scale, 0, 0, True),
            LiteTensor(np.zeros(shapes[2], np.int8), out_scale, out_zero),
        )
        expected = lite.run(model, x, kernels)
        mnemonic = {"CONV_2D": "conv", "DEPTHWISE_CONV_2D": "dwconv", "FULLY_CONNECTED": "matmul"}[operator]
        more = ", transpose_w" if mnemonic == "matmul" else f", stride={stride}"
        found = {}
        for way in (word, ", round_once"):
            text = f"""{Tensor(x, x_scale, x_zero).declaration("input", "x")}
            {Tensor(w, w_scale).declaration("weight", "w")} = "hex:{w.tobytes().hex()}"
            .const b i32[{filters}] = {bias.tolist()}
            {Tensor(expected, out_scale, out_zero).declaration("output", "y")}
            {mnemonic} y, x, w, bias=b{more}{activation}{way}
            end"""
            found[way] = ratel.run(ratel.assemble(text), {"x": x}, CHIP).outputs["y"]
        np.testing.assert_array_equal(found[word], expected)
        equal_without += np.count_nonzero(found[", round_once"] == expected)
        elements += expected.size
    # The way of rounding is seen.
    assert equal_without < elements


def test_relu6_is_a_clip_behind() -> None:
    """Its bound is in steps of the result: clip=(0, 6) of the sums would be another (docs/compositions.md)."""
    rng = np.random.default_rng(15)
    x, w = rng.integers(-60, 60, (20, 30)).astype(np.int8), rng.integers(-20, 20, (9, 30)).astype(np.int8)
    bias, zero, scale = np.zeros(9, np.int32), -100, f32(0.0611)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    model = lite.layer(
        "FULLY_CONNECTED",
        options,
        LiteTensor(x, 0.07),
        LiteTensor(w, 0.0123, 0, 0, True),
        LiteTensor(bias, f32(0.07) * f32(0.0123), 0, 0, True),
        LiteTensor(np.zeros((20, 9), np.int8), scale, zero),
    )
    expected = lite.run(model, x, lite.REFERENCE)
    bound = int(np.floor(6 / scale + 0.5))
    assert expected.max() == zero + bound and expected.min() == zero
    text = f""".input x i8[20, 30] scale=0.07
    .weight w i8[9, 30] scale=0.0123 = "hex:{w.tobytes().hex()}"
    .output y i8[20, 9] scale={float(scale)!r} zero={zero}
    .local steps i8[20, 9] zero={zero} at y
    matmul y, x, w, transpose_w, round_away
    eltwise steps, steps, clip=(0, {bound})
    end"""
    found = ratel.run(ratel.assemble(text), {"x": x}, CHIP).outputs["y"]
    np.testing.assert_array_equal(found, expected)
