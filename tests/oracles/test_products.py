"""Convolution, matrix multiply and fully connected layers equal onnxruntime's, bit for bit.

QLinearConv, QLinearMatMul and com.microsoft's QGemm multiply once and round once, as a layer without a second tensor
does here: q = clamp(rne(f32(acc) * m) + zero), m = f32(f32(x.scale * w.scale) / y.scale). u8 x i8 is not among the
types: without VNNI onnxruntime's sums saturate there, so that mix is held against isa.reference alone.
"""

from collections.abc import Callable

import numpy as np
import pytest

from tests.oracles.both import MICROSOFT, Both, Tensor, f32, nchw, oihw

DTYPES = ("int8", "uint8")
BATCHES, CASES = 3, 30
# The standard deviation of what is drawn.
SPREAD = 50


def quantised(rng: np.random.Generator, dtype: str, shape: tuple[int, ...], scale: np.ndarray) -> Tensor:
    """Return a tensor of integers on both sides of a zero point, which may be an end of the type; or of ends alone."""
    info = np.iinfo(dtype)
    zero = int(rng.choice([0, info.min, info.max, *rng.integers(info.min, info.max + 1, 3)]))
    data = np.clip(np.rint(rng.normal(zero, SPREAD, shape)), info.min, info.max)
    if rng.random() < 0.1:
        data = rng.choice([info.min, info.max], shape)
    return Tensor(data.astype(dtype), scale, zero)


def scales(rng: np.random.Generator, ties: bool, channels: int, spread: float) -> tuple[f32, np.ndarray, f32]:
    """Return the scales of x, of w (one, or one a channel) and of y; sums are about `spread` in size.

    Powers of two make ties: sums halfway between two results.
    """
    count = channels if rng.random() < 0.5 else 1
    if ties:
        w = 2.0 ** rng.integers(-7, -4, count)
        x = 2.0 ** rng.integers(-7, -4)
        y = x * 2.0 ** (rng.integers(-7, -4) + np.round(np.log2(spread / SPREAD)))
    else:
        w, x = rng.uniform(0.001, 0.02, count), rng.uniform(0.001, 0.1)
        y = x * rng.uniform(0.01, 0.02) * spread / SPREAD
    return f32(x), w.astype(f32), f32(y)


def bias_for(rng: np.random.Generator, channels: int, spread: float) -> np.ndarray | None:
    return rng.integers(-int(spread), int(spread) + 1, channels).astype(np.int32) if rng.random() < 0.7 else None


def conv(rng: np.random.Generator, both: Both, dtype: str, function: str = "") -> None:
    """Add a convolution; with a function another one too, with the function's table, held against both nodes."""
    depthwise = rng.random() < 0.35
    groups = int(rng.integers(2, 9)) if depthwise else int(rng.choice([1, 1, 2, 3]))
    depth, per_group = (1, 1) if depthwise else (int(rng.integers(1, 10)), int(rng.integers(1, 8)))
    kernel, stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    pad = rng.integers(0, 3, 4)
    reach = (kernel - 1) * dilation + 1
    size = np.maximum(reach - pad[:2] - pad[2:], 1) + rng.integers(0, 8, 2)
    rows, columns = ((size + pad[:2] + pad[2:] - reach) // stride + 1).tolist()
    batch, filters, channels = int(rng.integers(1, 3)), groups * per_group, groups * depth
    spread = SPREAD**2 * (np.prod(kernel) * depth) ** 0.5
    x_scale, w_scale, y_scale = scales(rng, rng.random() < 0.4, filters, spread)
    x = quantised(rng, dtype, (batch, *size, channels), x_scale)
    w = quantised(rng, dtype, (filters, *kernel, depth), w_scale)
    out = quantised(rng, dtype, (batch, rows, columns, filters), y_scale)
    bias = bias_for(rng, filters, spread)
    spatial = {"strides": stride, "dilations": dilation, "pads": pad}
    both.node(
        "QLinearConv",
        [nchw(x.data), *x.quantised(), oihw(w.data), *w.quantised(), *out.quantised(), bias],
        x.data.dtype,
        channels_last=True,
        group=groups,
        kernel_shape=kernel.tolist(),
        **{name: value.tolist() for name, value in spatial.items()},
    )
    mnemonic, more = ("conv", f", groups={groups}")
    if depthwise and rng.random() < 0.7:
        mnemonic, more = "dwconv", ""
        w = Tensor(np.moveaxis(w.data[..., 0], 0, -1)[None], w.scale, w.zero)
    text = f"{mnemonic} {{out}}, {{x}}, {{w}}, stride={tuple(stride.tolist())}, dilation={tuple(dilation.tolist())}"
    text += f", pad={tuple(pad.tolist())}{more}" + (", bias={b}" if bias is not None else "")
    constants = {} if bias is None else {"b": bias}
    both.program(text, out, {"x": x}, {"w": w}, constants)
    if function:
        behind = quantised(rng, dtype, out.data.shape, f32(rng.uniform(0.5, 1) / 128))
        more = {"alpha": 0.1} if function == "QLinearLeakyRelu" else {}
        given = [*out.quantised(), *behind.quantised()]
        both.node(function, [both.result(), *given], x.data.dtype, MICROSOFT, channels_last=True, **more)
        alone, low = Both(), np.iinfo(dtype).min
        alone.node(function, [np.arange(low, low + 256).astype(dtype), *given], x.data.dtype, MICROSOFT, **more)
        table = Tensor(alone.expected()[0].astype(f32), out.scale)
        text += f", table={{t}}, table_offset={out.zero - low - 128}"
        both.program(text, Tensor(out.data, f32(1)), {"x": x}, {"w": w}, constants, tables={"t": table})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_a_convolution_and_a_function_are_one_instruction(function: str, dtype: str) -> None:
    """The table's index has the scale and the zero point of what the convolution would give, whatever they are."""
    rng, both = np.random.default_rng(17), Both()
    for _ in range(CASES):
        conv(rng, both, dtype, function)
    for k, (expected, found) in enumerate(both.run()):
        assert expected.dtype == found.dtype and expected.tobytes() == found.tobytes(), k


def matmul(rng: np.random.Generator, both: Both, dtype: str) -> None:
    rows, inner, columns = (int(size) for size in rng.integers(1, 24, 3))
    batch = tuple(rng.integers(1, 4, rng.integers(0, 3)).tolist())
    x_scale, w_scale, y_scale = scales(rng, rng.random() < 0.4, columns, SPREAD**2 * inner**0.5)
    x = quantised(rng, dtype, (*batch, rows, inner), x_scale)
    w = quantised(rng, dtype, (inner, columns), w_scale)
    out = quantised(rng, dtype, (*batch, rows, columns), y_scale)
    zeros = np.full(w.scale.shape if w.scale.size > 1 else (), w.zero, dtype)
    given = [x.data, *x.quantised(), w.data, w.quantised()[0], zeros, *out.quantised()]
    both.node("QLinearMatMul", given, x.data.dtype)
    both.program("matmul {out}, {x}, {w}", out, {"x": x}, {"w": w})


def matmul_of_many_zeros(rng: np.random.Generator, both: Both, dtype: str) -> None:
    """A zero point for each column of w: i16, the zero points taken off (docs/compositions.md)."""
    rows, inner, columns = (int(size) for size in rng.integers(1, 24, 3))
    x_scale, w_scale, y_scale = scales(rng, rng.random() < 0.4, columns, SPREAD**2 * inner**0.5)
    x = quantised(rng, dtype, (rows, inner), x_scale)
    parts = [quantised(rng, dtype, (inner, 1), w_scale) for _ in range(columns)]
    w, zeros = np.concatenate([part.data for part in parts], 1), np.array([part.zero for part in parts])
    out = quantised(rng, dtype, (rows, columns), y_scale)
    scale = np.broadcast_to(w_scale, columns)
    both.node(
        "QLinearMatMul",
        [x.data, *x.quantised(), w, scale, zeros.astype(dtype), *out.quantised()],
        x.data.dtype,
    )
    both.program(
        "eltwise {wide}, {x}\n    matmul {out}, {wide}, {w}",
        out,
        {"x": x},
        {"w": Tensor((w - zeros).astype(np.int16), scale)},
        locals={"wide": Tensor(np.zeros(x.data.shape, np.int16), x.scale)},
    )


def dense(rng: np.random.Generator, both: Both, dtype: str) -> None:
    rows, inner, columns = (int(size) for size in rng.integers(1, 24, 3))
    turned = {"transA": int(rng.integers(0, 2)), "transB": int(rng.integers(0, 2))}
    spread = SPREAD**2 * inner**0.5
    x_scale, w_scale, y_scale = scales(rng, rng.random() < 0.4, columns, spread)
    left, right = (inner, rows) if turned["transA"] else (rows, inner), (inner, columns)
    x = quantised(rng, dtype, left, x_scale)
    w = quantised(rng, dtype, right[::-1] if turned["transB"] else right, w_scale)
    out, bias = quantised(rng, dtype, (rows, columns), y_scale), bias_for(rng, columns, spread)
    zeros = np.full(w.scale.shape if w.scale.size > 1 else (), w.zero, dtype)
    given = [x.data, *x.quantised(), w.data, w.quantised()[0], zeros, bias, *out.quantised()]
    both.node("QGemm", given, x.data.dtype, MICROSOFT, **turned)
    flags = ", transpose_x" * turned["transA"] + ", transpose_w" * turned["transB"]
    text = "matmul {out}, {x}, {w}" + flags + (", bias={b}" if bias is not None else "")
    both.program(text, out, {"x": x}, {"w": w}, {} if bias is None else {"b": bias})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [conv, matmul, matmul_of_many_zeros, dense], ids=lambda layer: layer.__name__)
def test_layers_are_onnxruntimes(layer: Callable[[np.random.Generator, Both, str], None], dtype: str) -> None:
    """BATCHES times CASES random layers of each kind and type: 720 in all."""
    rng = np.random.default_rng(800)
    for _ in range(BATCHES):
        both = Both()
        for _ in range(CASES):
            layer(rng, both, dtype)
        inside, elements = 0, 0
        for k, (expected, found) in enumerate(both.run()):
            assert expected.shape == found.shape and expected.dtype == found.dtype
            assert expected.tobytes() == found.tobytes(), (k, both.text)
            info = np.iinfo(dtype)
            inside += np.count_nonzero((info.min < expected) & (expected < info.max))
            elements += expected.size
        # Saturated results would say little.
        assert inside > 0.4 * elements, inside / elements
