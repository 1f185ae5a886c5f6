"""Quantising, and sums and products of quantised values, against onnxruntime: every bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import BYTES, few, scales, shapes, zeros
from tests.compiler.oracle import check, network, noise, refusals


@few
@given(st.data(), st.sampled_from(["QLinearAdd", "QLinearMul"]))
def test_quantised_sums_and_products(data: st.DataObject, op: str) -> None:
    """Of all zero points; broadcast, by scalars too, constants on either side."""
    dtype = data.draw(st.sampled_from(BYTES))
    shape = data.draw(shapes((1, 4), 6))
    held: dict[str, dict[str, np.ndarray]] = {"given": {}, "constants": {}}
    whole = data.draw(st.integers(0, 1))
    for k, name in enumerate("ab"):
        kept = [size if k == whole or data.draw(st.booleans()) else 1 for size in shape]
        kept = kept if k == whole else kept[data.draw(st.integers(0, len(kept))) :]
        side = "constants" if k != whole and data.draw(st.booleans()) else "given"
        held[side][name] = noise(k + sum(shape), dtype, kept)
    for name in "abc":
        held["constants"] |= {f"s{name}": data.draw(scales()), f"z{name}": data.draw(zeros(dtype))}
    check(network((op, "a sa za b sb zb sc zc", "c"), **held))


@few
@given(st.data())
def test_quantise(data: st.DataObject) -> None:
    """By one scale, and by one for each index of a dimension, with zero points; of much that lies between two."""
    dtype = data.draw(st.sampled_from((*BYTES, "int16")))
    shape = data.draw(shapes((1, 4), 6))
    rank = len(shape)
    axis = data.draw(st.integers(-rank, rank - 1))
    by_axis = data.draw(st.booleans())
    rng = np.random.default_rng(sum(shape))
    size = (shape[axis],) if by_axis else ()
    scale = rng.uniform(0.01, 1, size).astype(np.float32)
    zero = noise(3, dtype, size) if dtype != "int16" else np.zeros(size, dtype)
    broadcast = [1] * rank
    broadcast[axis] = -1
    steps = scale.reshape(broadcast) if by_axis else scale
    x = (rng.integers(-300, 300, shape) / 2).astype(np.float32) * steps
    net = network(
        ("QuantizeLinear", "t s z", "y", {"axis": axis}),
        given={"t": x},
        constants={"s": scale, "z": zero},
    )
    # Behind a sum: else the host quantises what it hands in.
    behind = network(
        ("Add", "x zero", "t"),
        ("QuantizeLinear", "t s z", "y", {"axis": axis}),
        given={"x": x},
        constants={"s": scale, "z": zero, "zero": np.float32(0)},
    )
    check(net)
    check(behind)


@few
@given(st.data())
def test_dequantise(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from((*BYTES, "int16", "int32")))
    shape = data.draw(shapes((1, 4), 6))
    axis = data.draw(st.integers(0, len(shape) - 1))
    size = (shape[axis],) if data.draw(st.booleans()) else ()
    held = {"s": noise(2, "float32", size)}
    if dtype != "int32":
        held["z"] = noise(3, dtype, size) if data.draw(st.booleans()) else np.full(size, 5, dtype)
    names = "x s z" if "z" in held else "x s"
    x = noise(4, dtype, shape)
    check(network(("DequantizeLinear", names, "y", {"axis": axis}), given={"x": x}, constants=held))


@pytest.mark.parametrize(("op", "attributes"), [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2})])
@pytest.mark.parametrize("dtype", BYTES)
def test_quantised_functions_are_tables(op: str, attributes: dict[str, float], dtype: str) -> None:
    x = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, dtype=dtype).reshape(2, 128)
    held = {"sx": np.float32(0.031), "zx": np.array(7, dtype), "sy": np.float32(0.004), "zy": np.array(3, dtype)}
    check(network((op, "x sx zx sy zy", "y", attributes), given={"x": x}, constants=held))


def test_refused() -> None:
    s = {"s": np.float32(0.1)}
    held = {"z": np.uint16(3), **s}
    net = network(
        ("Neg", "x", "t"), ("QuantizeLinear", "t s z", "y"), given={"x": noise(1, "float32", (4,))}, constants=held
    )
    assert refusals(net) == ["'y' is uint16, which the chip does not have"]
