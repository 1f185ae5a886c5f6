"""Operators that move elements, against onnxruntime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from isa.errors import InputError
from tests.compiler.lower.drawn import BYTES, TYPES, arrays, few, scales, shapes, zeros
from tests.compiler.oracle import check, mnemonics, network, noise, refusals


@few
@given(st.data())
def test_views_cost_nothing_but_the_copy_that_the_host_gets(data: st.DataObject) -> None:
    """Transpose, Slice by steps of either sign, Split, Identity and Unsqueeze, behind each other."""
    x = data.draw(arrays(shapes((2, 4)), TYPES))
    axis = data.draw(st.integers(0, x.ndim - 1))
    size = x.shape[axis]
    start, end = (data.draw(st.integers(-size - 2, size + 2)) for _ in range(2))
    step = data.draw(st.sampled_from((1, 2, -1, -3)))
    constants = {"starts": [start], "ends": [end], "axes": [axis - x.ndim], "steps": [step]}
    net = network(
        ("Transpose", "x", "t", {"perm": data.draw(st.permutations(range(x.ndim)))}),
        ("Transpose", "t", "u"),
        ("Identity", "u", "v"),
        ("Slice", "x starts ends axes steps", "s"),
        ("Unsqueeze", "v axes", "w"),
        given={"x": x},
        constants={name: np.array(value) for name, value in constants.items()},
        outputs="s w",
    )
    at = start + size if start < 0 else start
    to = end + size if end < 0 else end
    taken = (
        range(min(max(at, 0), size), min(max(to, 0), size), step)
        if step > 0
        else range(min(max(at, 0), size - 1), min(max(to, -1), size - 1), step)
    )
    if taken:
        assert set(mnemonics(check(net))) <= {"copy"}
    else:
        assert refusals(net) == ["its result has no elements"]


def test_what_version_1_of_slice_says_in_attributes() -> None:
    attributes = {"starts": [1, -3], "ends": [100, -1], "axes": [1, 2]}
    check(network(("Slice", "x", "y", attributes), given={"x": noise(1, "int8", (2, 6, 4, 4))}, opset=9))


@few
@given(st.data())
def test_reshape_moves_elements_only_where_it_has_to(data: st.DataObject) -> None:
    x = data.draw(arrays((2, 3, 4, 6)))
    shape = data.draw(st.sampled_from(((6, 24), (2, 12, 6), (144,), (4, 36), (2, 3, 2, 2, 3, 2), (3, 2, 6, 4))))
    perm = data.draw(st.permutations(range(4)))
    net = network(
        ("Transpose", "x", "t", {"perm": perm}),
        ("Reshape", "t shape", "r"),
        ("Flatten", "r", "f", {"axis": data.draw(st.integers(0, len(shape)))}),
        given={"x": x},
        constants={"shape": np.array(shape)},
        outputs="r f",
    )
    check(net)


@few
@given(st.data())
def test_concatenation_and_split(data: st.DataObject) -> None:
    shape = list(data.draw(shapes((2, 4))))
    axis = data.draw(st.integers(0, len(shape) - 1))
    dtype, sizes = data.draw(st.sampled_from(TYPES)), data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    parts = {f"x{k}": noise(k, dtype, [*shape[:axis], size, *shape[axis + 1 :]]) for k, size in enumerate(sizes)}
    net = network(
        ("Concat", " ".join([*parts, "x0"]), "c", {"axis": axis - len(shape)}),
        ("Split", "c sizes", " ".join(f"y{k}" for k in range(len(sizes))), {"axis": axis}),
        given=parts,
        constants={"sizes": np.array([sizes[0] + sizes[-1], *sizes[1:-1], sizes[0]]) if len(sizes) > 1 else []},
        outputs="c y0 y1",
    )
    check(net)


@few
@given(st.data())
def test_parts_of_other_scales_are_tables(data: st.DataObject) -> None:
    dtype, shape = data.draw(st.sampled_from(BYTES)), list(data.draw(shapes((2, 4))))
    axis = data.draw(st.integers(0, len(shape) - 1))
    constants = {name: data.draw(scales()) for name in ("s", "t", "u")}
    constants |= {name: data.draw(zeros(dtype)) for name in ("y", "z")}
    parts = {"a": noise(1, dtype, shape), "b": noise(2, dtype, [*shape[:axis], 2, *shape[axis + 1 :]])}
    # One part twice, with two scales.
    net = network(("QLinearConcat", "s y a t z b s y a u z", "c", {"axis": axis}), given=parts, constants=constants)
    check(net)


@few
@given(st.data())
def test_padding(data: st.DataObject) -> None:
    x = data.draw(arrays(shapes((1, 4)), TYPES))
    mode = data.draw(st.sampled_from(("constant", "reflect", "edge", "wrap")))
    least = -1 if mode == "constant" else 0
    pads = [
        [data.draw(st.integers(least if size > 2 else 0, min(size - (mode == "reflect"), 3))) for size in x.shape]
        for _ in range(2)
    ]
    constants = {"pads": np.array(pads).reshape(-1)}
    value = ""
    if data.draw(st.booleans()):
        value, constants["value"] = "value", np.array(data.draw(st.sampled_from((7, 0, 101))), x.dtype)
    check(network(("Pad", f"x pads {value}", "y", {"mode": mode}), given={"x": x}, constants=constants))


@pytest.mark.parametrize("value", [-np.inf, np.nan, np.finfo(np.float32).min, -0.0])
def test_padding_by_any_float(value: float) -> None:
    constants = {"pads": np.array([1, 2]), "value": np.array(value, np.float32), "axes": np.array([-1])}
    check(network(("Pad", "x pads value axes", "y"), given={"x": noise(1, "float32", (2, 3))}, constants=constants))


def test_padding_of_version_2_says_it_in_attributes() -> None:
    attributes = {"pads": [0, 1, 2, 0], "value": 1.5, "mode": "constant"}
    check(network(("Pad", "x", "y", attributes), given={"x": noise(1, "float32", (2, 3))}, opset=9))


@few
@given(st.data())
def test_what_is_repeated(data: st.DataObject) -> None:
    x = data.draw(arrays(shapes((1, 3), 4)))
    repeats = [data.draw(st.integers(1, 3)) for _ in x.shape]
    to = [data.draw(st.integers(1, 3)), *(size if size > 1 else data.draw(st.integers(1, 4)) for size in x.shape)]
    net = network(
        ("Tile", "x repeats", "y"),
        ("Expand", "x shape", "z"),
        given={"x": x},
        constants={"repeats": np.array(repeats), "shape": np.array(to)},
        outputs="y z",
    )
    check(net)


@few
@given(st.sampled_from(("DCR", "CRD")), st.integers(1, 3), arrays((2, 36, 3, 2), ("float32", "uint8")), st.booleans())
def test_depth_and_space(mode: str, block: int, x: np.ndarray, last: bool) -> None:
    """Of floats or u8, from images of either layout."""
    net = network(
        ("DepthToSpace", "x", "y", {"blocksize": block, "mode": mode}),
        ("SpaceToDepth", "y", "z", {"blocksize": block}),
        given={"x": x.astype(np.float32)},
        outputs="y z",
    )
    check(net)


KINDS = ("bool", "int8", "uint8", "int32", "int64", "float32")


@pytest.mark.parametrize("held", KINDS)
def test_casts_that_keep_each_value(held: str) -> None:
    for to in KINDS:
        cast = ("Cast", "t", "y", {"to": helper.np_dtype_to_tensor_dtype(np.dtype(to))})
        net = network(("Transpose", "x", "t"), cast, given={"x": noise(1, held, (3, 4))})
        whys = refusals(net)
        if (
            held in ("bool", *BYTES)
            or to == held
            or (held, to) in (("int32", "int64"), ("int64", "int32"))
            or to == "float32"
        ):
            assert whys == []
        else:
            assert len(whys) == 1 and ("cuts the fractions" in whys[0] or "may not hold" in whys[0])


def test_why_movement_is_refused() -> None:
    x = {"x": noise(1, "float32", (2, 3))}
    constants = {"pads": np.array([0, -1, 0, 2])}
    (why,) = refusals(network(("Pad", "x pads", "y", {"mode": "edge"}), given=x, constants=constants))
    assert why == "its padding of mode edge is negative, or wider than the tensor"
    (why,) = refusals(network(("Dropout", "x", "y mask"), given=x))
    assert why == "its mask is wanted"


def test_a_shape_that_follows_the_data_is_an_error() -> None:
    net = network(("Reshape", "x shape", "y"), given={"x": noise(1, "int8", (2, 3)), "shape": np.array([3, 2])})
    with pytest.raises(InputError, match="the shape of its result follows the data"):
        check(net)
