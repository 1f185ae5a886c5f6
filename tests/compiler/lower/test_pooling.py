"""Windows and averages, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import BYTES, few, scales, zeros
from tests.compiler.oracle import check, network, noise, refusals


def windows(data: st.DataObject, rank: int) -> tuple[dict[str, Any], list[int]]:
    """Draw a window, and a size of images into which it fits."""
    sides = [st.integers(1, 4)] * rank
    kernel, strides = (list(data.draw(st.tuples(*sides))) for _ in range(2))
    size = [side + data.draw(st.integers(0, 6)) for side in kernel]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    padding = data.draw(st.sampled_from(("none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID")))
    if padding == "pads":
        attributes["pads"] = [data.draw(st.integers(0, side - 1)) for side in (*kernel, *kernel)]
    elif padding != "none":
        attributes["auto_pad"] = padding
        # Else onnxruntime has negative padding, which it takes or not.
        attributes["strides"] = [min(pair) for pair in zip(kernel, strides)]
    if padding in ("none", "pads") and data.draw(st.booleans()):
        attributes["ceil_mode"] = 1
    return attributes, size


@few
@given(st.data())
def test_greatest(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from((1, 2, 2, 3)))
    attributes, size = windows(data, rank)
    if data.draw(st.booleans()) and "auto_pad" not in attributes:
        attributes["dilations"] = [
            2 if side > 1 and room >= 2 * side else 1 for side, room in zip(attributes["kernel_shape"], size)
        ]
    x = noise(1, data.draw(st.sampled_from((*BYTES, "float32"))), (2, data.draw(st.integers(1, 5)), *size))
    check(network(("MaxPool", "x", "y", attributes), given={"x": x}))


def test_greatest_of_channels_last() -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    check(network(("NhwcMaxPool", "x", "y", attributes), given={"x": noise(1, "int8", (2, 7, 5, 4))}))


@few
@given(st.data())
def test_averages_of_floats(data: st.DataObject) -> None:
    """Their sums have another order since version 19."""
    attributes, size = windows(data, data.draw(st.sampled_from((1, 2, 2))))
    attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    x = noise(1, "float32", (2, data.draw(st.integers(1, 5)), *size))
    check(network(("AveragePool", "x", "y", attributes), given={"x": x}, opset=data.draw(st.sampled_from((13, 21)))))


@few
@given(st.data())
def test_averages_of_bytes(data: st.DataObject) -> None:
    attributes, size = windows(data, data.draw(st.integers(1, 2)))
    attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    dtype = data.draw(st.sampled_from(BYTES))
    shape = [2, data.draw(st.integers(1, 5)), *size]
    if data.draw(st.booleans()) and len(size) == 2:
        attributes["channels_last"], shape = 1, [2, *size, shape[1]]
    constants = {"s": data.draw(scales()), "z": data.draw(zeros(dtype))}
    constants |= {"t": data.draw(scales()), "w": data.draw(zeros(dtype))}
    net = network(
        ("QLinearAveragePool", "x s z t w", "y", attributes), given={"x": noise(1, dtype, shape)}, constants=constants
    )
    check(net)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [3, 2], "ceil_mode": 1},
        {"strides": [1, 1], "auto_pad": "SAME_UPPER"},
        {"strides": [1, 2], "auto_pad": "SAME_UPPER"},
        {"pads": [0, 0, 0, 1]},
        {"channels_last": 1},
        {"kernel_shape": [1, 1]},
    ],
    ids=str,
)
def test_averages_halfway_between_two_bytes(attributes: dict[str, Any]) -> None:
    """Of a window that is the whole image they are rounded before the zero point, of others behind it."""
    shape = (3, 1, 2, 50) if "channels_last" in attributes else (3, 50, 1, 2)
    constants = {"s": np.float32(0.25), "z": np.int8(-128), "t": np.float32(0.5), "w": np.int8(-83)}
    for scale in "st":
        net = network(
            ("QLinearAveragePool", f"x s z {scale} w", "y", {"kernel_shape": [1, 2], **attributes}),
            given={"x": noise(1, "int8", shape)},
            constants=constants,
        )
        check(net)


@few
@given(st.data())
def test_averages_of_whole_images(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(BYTES))
    shape = (2, data.draw(st.integers(1, 9)), *data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=2)))
    constants = {"s": data.draw(scales()), "z": data.draw(zeros(dtype))}
    constants |= {"t": data.draw(scales()), "w": data.draw(zeros(dtype))}
    net = network(
        ("GlobalAveragePool", "f", "a"),
        ("GlobalMaxPool", "f", "b"),
        ("QLinearGlobalAveragePool", "x s z t w", "c"),
        given={"f": noise(1, "float32", shape), "x": noise(2, dtype, shape)},
        constants=constants,
        outputs="a b c",
    )
    check(net)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_averages_of_images_of_either_layout(order: tuple[int, ...]) -> None:
    net = network(
        ("Transpose", "x", "t", {"perm": order}),
        ("GlobalAveragePool", "t", "y"),
        given={"x": noise(3, "float32", (1, 7, 7, 9))},
    )
    check(net)


def test_no_window_begins_behind_the_tensor() -> None:
    """Where ceil_mode would have one begin there, ONNX's rule of shapes says one more than onnxruntime computes."""
    attributes = {"kernel_shape": [1, 1], "strides": [1, 2], "ceil_mode": 1}
    check(network(("MaxPool", "x", "y", attributes), given={"x": noise(1, "int8", (2, 1, 2, 2))}))


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("strides", [[1, 1], [3, 3]])
def test_a_window_that_is_the_whole_image(opset: int, strides: list[int]) -> None:
    attributes = {"kernel_shape": [5, 3], "strides": strides}
    check(network(("AveragePool", "x", "y", attributes), given={"x": noise(1, "float32", (2, 9, 5, 3))}, opset=opset))


@pytest.mark.parametrize("kernel", [[3, 4], [9, 6]])
@pytest.mark.parametrize("attributes", [{"ceil_mode": 1}, {"count_include_pad": 1}], ids=str)
def test_windows_of_which_all_counts_are_added_by_rows(kernel: list[int], attributes: dict[str, int]) -> None:
    """By version 13, too; where only ceil_mode is set, or only padding counts, still by columns."""
    x = noise(1, "float32", (2, 4, 9, 6))
    for more in (attributes, {"ceil_mode": 1, "count_include_pad": 1}):
        for strides in ([1, 2], [1, 1]):
            node = ("AveragePool", "x", "y", {"kernel_shape": kernel, "strides": strides, **more})
            check(network(node, given={"x": x}, opset=13))


def test_why_pooling_is_refused() -> None:
    x = {"x": noise(1, "float32", (1, 2, 4, 4))}
    window = {"kernel_shape": [2, 2]}
    net = network(("MaxPool", "x", "y at", window), given=x)
    assert refusals(net) == ["the places of the greatest elements are wanted"]
    assert refusals(network(("AveragePool", "x", "y", {**window, "dilations": [2, 2]}), given=x)) == [
        "its window has gaps"
    ]
    x = {"x": noise(1, "float32", (1, 2, 4, 4, 4))}
    (why,) = refusals(network(("AveragePool", "x", "y", {"kernel_shape": [2, 2, 2]}), given=x))
    assert why == "its window has 3 dimensions; the engine's have 1 or 2"
    wide = {"x": np.zeros((1, 1, 900), np.float32)}
    (why,) = refusals(network(("MaxPool", "x", "y", {"kernel_shape": [800], "pads": [400, 400]}), given=wide))
    assert why == "its padding or dilation is more than 255"
