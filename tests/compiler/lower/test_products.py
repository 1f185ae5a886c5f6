"""Products of integers against onnxruntime: every bit, of all forms in which scales and zero points come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import BYTES, few, scales, zeros
from tests.compiler.oracle import check, mnemonics, network, noise, refusals


def near(dtype: str, size: int, seed: int) -> np.ndarray:
    """Return zero points near each other, near the middle of their type."""
    middle = 128 if dtype == "uint8" else 0
    return np.random.default_rng(seed).integers(middle - 3, middle + 4, size).astype(dtype)


def around(zero: np.ndarray, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return weights that are no more than 100 from any of these zero points."""
    middle = int(zero.astype(int).mean())
    return np.random.default_rng(seed).integers(middle - 100, middle + 101, shape).astype(zero.dtype)


@few
@given(st.data())
def test_gemm(data: st.DataObject) -> None:
    """QGemm: alpha, both transposed, a scale or none for the result, scales and zero points by column."""
    a_type, b_type = data.draw(st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]))
    m, k, n = (data.draw(st.integers(1, 7)) for _ in range(3))
    a_turned, b_turned = data.draw(st.booleans()), data.draw(st.booleans())
    size = (n,) if data.draw(st.booleans()) else ()
    zero = near(b_type, n, 5) if size and data.draw(st.booleans()) else near(b_type, 1, 6).reshape(())
    held = {
        "b": around(zero, (n, k) if b_turned else (k, n), 2),
        "sa": data.draw(scales()),
        "za": data.draw(zeros(a_type)),
        "sb": np.random.default_rng(3).uniform(0.01, 0.1, size).astype(np.float32),
        "zb": np.broadcast_to(zero, size).copy(),
        "c": np.random.default_rng(4).integers(-1000, 1000, n).astype(np.int32),
    }
    names = "a sa za b sb zb c"
    if data.draw(st.booleans()):
        held |= {"sy": np.float32(0.7), "zy": data.draw(zeros(a_type))}
        names += " sy zy"
    attributes = {
        "transA": int(a_turned),
        "transB": int(b_turned),
        "alpha": data.draw(st.sampled_from([1.0, 0.37])),
    }
    x = noise(1, a_type, (k, m) if a_turned else (m, k))
    check(network(("QGemm", names, "y", attributes), given={"a": x}, constants=held))


@few
@given(st.data())
def test_matrices(data: st.DataObject) -> None:
    """QLinearMatMul and MatMulInteger, by constants with scales and zero points by column, in batches."""
    a_type, b_type = data.draw(st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]))
    m, k, n = (data.draw(st.integers(1, 6)) for _ in range(3))
    batch = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    is_constant = data.draw(st.booleans())
    size = (n,) if is_constant and data.draw(st.booleans()) else ()
    zero = near(b_type, n if size else 1, 5).reshape(size)
    held = {
        "sa": data.draw(scales()),
        "za": data.draw(zeros(a_type)),
        "sb": np.random.default_rng(3).uniform(0.01, 0.1, size).astype(np.float32),
        "zb": zero,
        "sy": np.float32(0.7),
        "zy": data.draw(zeros(a_type)),
    }
    b = around(zero, (k, n) if is_constant else (*batch, k, n), 2)
    fed = {"a": noise(1, a_type, (*batch, m, k))} | ({} if is_constant else {"b": b})
    held |= {"b": b} if is_constant else {}
    nodes = ("QLinearMatMul", "a sa za b sb zb sy zy", "y")
    if data.draw(st.booleans()):
        nodes = ("MatMulInteger", "a b za zb", "y")
    held = {name: array for name, array in held.items() if name in nodes[1].split()}
    check(network(nodes, given=fed, constants=held))


@few
@given(st.data())
def test_convolutions(data: st.DataObject) -> None:
    """QLinearConv with scales and zero points by channel, in groups and by channel alone, channels last or not."""
    dtype, w_type = data.draw(st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]))
    groups, each, filters = data.draw(st.sampled_from([(1, 3, 4), (2, 2, 3), (4, 1, 1)]))
    size = (groups * filters,) if data.draw(st.booleans()) else ()
    # onnxruntime takes u8 weights with one zero point alone.
    zero = near(w_type, size[0] if size and w_type == "int8" else 1, 7)
    zero = np.zeros_like(zero) if w_type == "int8" and not size else zero
    held = {
        "sx": data.draw(scales()),
        "zx": data.draw(zeros(dtype)),
        "w": around(zero, (groups * filters, each, 3, 2), 2),
        "sw": np.random.default_rng(3).uniform(0.001, 0.02, size).astype(np.float32),
        "zw": np.broadcast_to(zero[0], size).copy(),
        "sy": np.float32(0.3),
        "zy": data.draw(zeros(dtype)),
        "b": np.random.default_rng(4).integers(-1000, 1000, groups * filters).astype(np.int32),
    }
    attributes, shape = {"group": groups, "pads": [1, 0, 1, 1], "strides": [1, 2]}, (2, groups * each, 6, 7)
    if data.draw(st.booleans()):
        attributes, shape = {**attributes, "channels_last": 1}, (2, 6, 7, groups * each)
    net = network(
        ("QLinearConv", "x sx zx w sw zw sy zy b", "y", attributes),
        given={"x": noise(1, dtype, shape)},
        constants=held,
    )
    assert mnemonics(check(net))[-1] in ("conv", "dwconv")


@pytest.mark.parametrize("dtype", BYTES)
def test_refused(dtype: str) -> None:
    """Zero points that are far apart, where weights are, too."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    held = {
        "b": np.array([[low, high], [high, low]], dtype),
        "za": np.array(0, dtype),
        "zb": np.array([low, high], dtype),
    }
    net = network(("MatMulInteger", "a b za zb", "y"), given={"a": noise(1, dtype, (3, 2))}, constants=held)
    assert refusals(net) == ["its weights, less the zero point of each channel, take more than 8 bits"]
