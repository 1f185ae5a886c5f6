"""Reductions, against onnxruntime."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.lower.drawn import TYPES, arrays, axes, few, shapes
from tests.compiler.oracle import check, mnemonics, network, noise, refusals


@few
@given(st.data())
def test_extremes_and_sums(data: st.DataObject) -> None:
    """Of a tensor in any order of its dimensions; the dimensions an input, an attribute, or left out."""
    x = data.draw(arrays(shapes((1, 5), 4), TYPES))
    perm = data.draw(st.permutations(range(x.ndim)))
    chosen = data.draw(axes(x.ndim))
    more: dict[str, int | list[int]] = {"keepdims": data.draw(st.integers(0, 1))}
    opset, read = 20, "t axes" if chosen else "t"
    if data.draw(st.booleans()):
        opset, read = 13, "t"
        more |= {"axes": chosen} if chosen else {}
    nodes = [(f"Reduce{word}", read, f"y{word}", more) for word in ("Max", "Min")]
    if x.dtype == np.int32:
        # Of version 13, which has axes as an input.
        nodes.append(("ReduceSum", "t axes" if chosen else "t", "ySum", {"keepdims": more["keepdims"]}))
    net = network(
        ("Transpose", "x", "t", {"perm": perm}),
        *nodes,
        given={"x": x},
        constants={"axes": np.array(chosen, np.int64)} if chosen else {},
        outputs=" ".join(node[2] for node in nodes),
        opset=opset,
    )
    check(net)


@few
@given(st.data())
def test_places_of_the_greatest(data: st.DataObject) -> None:
    x = data.draw(arrays(shapes((1, 4), 8), TYPES))
    x = (x / 32).astype(x.dtype)  # Equal ones: the first counts.
    attributes = {"axis": data.draw(st.integers(-x.ndim, x.ndim - 1)), "keepdims": data.draw(st.integers(0, 1))}
    net = network(
        ("Transpose", "x", "t", {"perm": data.draw(st.permutations(range(x.ndim)))}),
        ("ArgMax", "t", "y", attributes),
        given={"x": x},
    )
    check(net)


@few
@given(st.data())
def test_floats_are_added_in_onnxruntimes_order(data: st.DataObject) -> None:
    """Where leading dimensions are added, or rows of whole vectors; else it is refused, and not nearly right."""
    x = data.draw(arrays(shapes((1, 4), data.draw(st.sampled_from((4, 9, 40 // 3)))), ["float32"]))
    count = data.draw(st.integers(1, x.ndim))
    chosen = data.draw(st.sampled_from((list(range(count)), list(range(-count, 0)), [x.ndim - 1])))
    more = {"keepdims": data.draw(st.integers(0, 1))}
    net = network(
        ("Transpose", "x", "t", {"perm": data.draw(st.permutations(range(x.ndim)))}),
        ("ReduceSum", "t axes", "s", more),
        ("ReduceMean", "t axes", "m", more),
        given={"x": x},
        constants={"axes": np.array(chosen)},
        outputs="s m",
    )
    assert {*refusals(net)} <= {"onnxruntime adds these floats in an order of its own, and each order has other bits"}


def test_rows_are_added_by_the_chip() -> None:
    constants = {"axes": np.array([0])}
    net = network(("ReduceMean", "x axes", "y"), given={"x": noise(1, "float32", (300, 7))}, constants=constants)
    assert mnemonics(check(net)) == ["reduce", "eltwise"]


def test_why_reductions_are_refused() -> None:
    x = {"x": noise(1, "int8", (2, 3))}
    assert refusals(network(("ArgMax", "x", "y", {"select_last_index": 1}), given=x)) == [
        "it wants the last place of the greatest; the engine has the first"
    ]
    x = {"x": noise(1, "int64", (2, 3)) % 100}
    assert refusals(network(("ReduceSum", "x", "y"), given=x)) == ["its sums of int64 may pass 32 bits"]
