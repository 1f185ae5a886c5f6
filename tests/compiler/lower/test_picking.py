"""Elements at places, against onnxruntime."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import arrays, few, scales, shapes, zeros
from tests.compiler.oracle import check, mnemonics, network, noise, refusals


@few
@given(st.data())
def test_gather(data: st.DataObject) -> None:
    """By constant places and by computed ones, from the front and from the end, of any number of dimensions."""
    x = data.draw(arrays(shapes((1, 4))))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    size = x.shape[axis]
    shape = data.draw(st.sampled_from(((), (1,), (4,), (2, 3))))
    places = np.random.default_rng(data.draw(st.integers(0, 999))).integers(-size, size, shape)
    places = places.astype(data.draw(st.sampled_from(("int32", "int64"))))
    is_constant = data.draw(st.booleans())
    net = network(
        ("Transpose", "x", "t", {"perm": [*range(x.ndim)]}),
        ("Gather", "t places", "y", {"axis": axis}),
        given={"x": x} | ({} if is_constant else {"places": places}),
        constants={"places": places} if is_constant else {},
    )
    check(net)


def test_places_evenly_apart_are_a_view() -> None:
    constants = {"places": np.array([5, 3, 1])}
    compiled = check(network(("Gather", "x places", "y"), given={"x": noise(1, "int8", (6, 4))}, constants=constants))
    assert mnemonics(compiled) == ["copy"]


@few
@given(st.data())
def test_where_by_a_constant_mask(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(("uint8", "float32", "int32")))
    ones = [data.draw(st.tuples(*[st.booleans()] * 3)) for _ in range(2)]
    x, y = (
        noise(k, dtype, [1 if one else size for one, size in zip(flags, (2, 3, 4))]) for k, flags in enumerate(ones)
    )
    mask = noise(data.draw(st.integers(0, 99)), "bool", data.draw(st.sampled_from(((2, 3, 4), (3, 1), (1,)))))
    net = network(("Where", "mask x y", "z"), given={"x": x, "y": y}, constants={"mask": mask})
    check(net)


def test_why_picking_is_refused() -> None:
    x = {"x": noise(1, "int32", (2, 3)), "mask": np.array([True, False, True])}
    assert refusals(network(("Where", "mask x x", "y"), given=x)) == ["its mask follows the data, and it takes int32"]


@few
@given(st.data())
def test_where_by_a_mask_that_follows_the_data(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(("uint8", "int8", "float32")))
    ones = [data.draw(st.tuples(*[st.booleans()] * 3)) for _ in range(2)]
    given = {
        name: noise(k, dtype, [1 if one else size for one, size in zip(flags, (2, 3, 4))])
        for k, (name, flags) in enumerate(zip("xy", ones))
    }
    given["mask"] = noise(data.draw(st.integers(0, 99)), "bool", data.draw(st.sampled_from(((2, 3, 4), (3, 1), (1,)))))
    nodes, constants = ("Where", "mask x y", "z"), {}
    if dtype != "float32":
        nodes = ("QLinearWhere", "mask x sx zx y sy zy sz zz", "z")
        constants = {f"s{name}": data.draw(scales()) for name in "xyz"}
        constants |= {f"z{name}": data.draw(zeros(dtype)) for name in "xyz"}
    check(network(nodes, given=given, constants=constants))
