"""Resizing to the nearest, against onnxruntime."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import TYPES, arrays, few, shapes
from tests.compiler.oracle import check, network, noise, refusals

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@few
@given(st.data())
def test_nearest(data: st.DataObject) -> None:
    """By scales and by sizes, up and down, of any dimensions, with all coordinates and roundings."""
    x = data.draw(arrays(shapes((2, 4), 7), TYPES))
    free = data.draw(st.integers(0, x.ndim - 1))
    attributes = {
        "coordinate_transformation_mode": data.draw(st.sampled_from(COORDINATES)),
        "nearest_mode": data.draw(st.sampled_from(ROUNDINGS)),
    }
    if data.draw(st.booleans()):
        sizes = [size if k < free else data.draw(st.integers(1, 12)) for k, size in enumerate(x.shape)]
        net = network(("Resize", "x _ _ sizes", "y", attributes), given={"x": x}, constants={"sizes": np.array(sizes)})
    else:
        some = [1 if k < free else data.draw(st.sampled_from((1, 2, 3, 1.5, 2.7))) for k in range(x.ndim)]
        constants = {"scales": np.array(some, np.float32)}
        net = network(("Resize", "x _ scales", "y", attributes), given={"x": x}, constants=constants)
    check(net)


def test_older_versions() -> None:
    x, constants = {"x": noise(1, "float32", (2, 3, 4, 5))}, {"scales": np.array([1, 1, 0.5, 2.4], np.float32)}
    check(network(("Upsample", "x", "y", {"scales": [1.0, 1.0, 2.0, 3.0]}), given=x, opset=7))
    check(network(("Resize", "x scales", "y"), given=x, constants=constants, opset=10))


@few
@given(st.data())
def test_bilinearly(data: st.DataObject) -> None:
    """Floats and bytes, which lose their fractions; with all borders."""
    x = data.draw(arrays(shapes((4, 4), 6), ("float32", "uint8", "int8")))
    attributes = {
        "coordinate_transformation_mode": data.draw(st.sampled_from(COORDINATES[:4])),
        "mode": "linear",
    }
    if data.draw(st.booleans()):
        sizes = [*x.shape[:2], *(data.draw(st.integers(1, 12)) for _ in range(2))]
        net = network(("Resize", "x _ _ sizes", "y", attributes), given={"x": x}, constants={"sizes": np.array(sizes)})
    else:
        constants = {
            "scales": np.array([1, 1, *(data.draw(st.sampled_from((1, 2, 1.5, 2.7))) for _ in range(2))], "f4")
        }
        net = network(("Resize", "x _ scales", "y", attributes), given={"x": x}, constants=constants)
    check(net)


def test_bilinearly_in_older_versions() -> None:
    x, constants = {"x": noise(1, "float32", (2, 3, 4, 5))}, {"scales": np.array([1, 1, 2, 2.4], np.float32)}
    check(network(("Upsample", "x scales", "y", {"mode": "linear"}), given=x, constants=constants, opset=9))
    check(network(("Resize", "x scales", "y", {"mode": "linear"}), given=x, constants=constants, opset=10))


def test_why_resizing_is_refused() -> None:
    x, constants = {"x": noise(1, "float32", (1, 1, 4, 5))}, {"scales": np.array([1, 1, 2, 2], np.float32)}
    (why,) = refusals(network(("Resize", "x _ scales", "y", {"mode": "cubic"}), given=x, constants=constants))
    assert why == "it is cubic; the engine resizes to the nearest and bilinearly"
