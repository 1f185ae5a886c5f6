"""Normalising operators against onnxruntime, where they have its bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import BYTES, few
from tests.compiler.oracle import check, mnemonics, network, noise, refusals


@pytest.mark.parametrize("shape", [(2, 7, 5, 6), (3, 5), (2, 4, 9), (1, 1, 4, 4), (1, 3, 2, 3, 4)])
def test_batches(shape: tuple[int, ...]) -> None:
    channels = shape[1]
    held = {name: noise(k, "float32", (channels,)) for k, name in enumerate("gbm")}
    held["v"] = np.abs(noise(9, "float32", (channels,)))
    net = network(
        ("BatchNormalization", "x g b m v", "y", {"epsilon": 2e-5}),
        given={"x": noise(5, "float32", shape)},
        constants=held,
        opset=15,
    )
    assert set(mnemonics(check(net))) <= {"copy", "eltwise"}


@few
@given(st.data())
def test_quantised_softmax(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(BYTES))
    shape = data.draw(st.sampled_from([(3, 40), (2, 3, 4, 9), (1, 6, 5), (2, 100)]))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    if shape[axis] == 1:
        axis = -1
    info = np.iinfo(dtype)
    held = {
        "sx": np.float32(data.draw(st.floats(2**-8, 0.25, width=32))),
        "zx": np.array(data.draw(st.integers(info.min, info.max)), dtype),
        "sy": np.float32(1 / 256),
        "zy": np.array(info.min, dtype),
    }
    opset = data.draw(st.sampled_from([11, 13]))
    attributes = {"axis": axis, "opset": opset}
    net = network(
        ("QLinearSoftmax", "x sx zx sy zy", "y", attributes),
        given={"x": noise(sum(shape), dtype, shape)},
        constants=held,
    )
    check(net)


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -128), ("int8", -100), ("uint8", 0), ("uint8", 9)])
def test_what_passes_eight_bits(dtype: str, zero: int) -> None:
    """A row with one great element makes 256 of 1 / 256, which neither type holds."""
    x = np.array([[0, 100], [3, 3], [90, 2]], dtype)
    held = {"sx": np.float32(0.2), "zx": np.array(0, dtype), "sy": np.float32(1 / 256), "zy": np.array(zero, dtype)}
    check(network(("QLinearSoftmax", "x sx zx sy zy", "y", {"axis": -1, "opset": 13}), given={"x": x}, constants=held))


def test_refused() -> None:
    held = {name: np.float32(0.01) for name in ("sx", "sy")} | {name: np.int8(0) for name in ("zx", "zy")}
    net = network(
        ("QLinearSoftmax", "x sx zx sy zy", "y", {"axis": -1, "opset": 13}),
        given={"x": noise(1, "int8", (3, 1))},
        constants=held,
    )
    assert refusals(net) == ["its rows have one element"]
