"""Operators of language models, in float16, against onnxruntime, each given what the chip gave it: as near as is said.

    found, right = computed(network(...))

Errors are those that `inexact` states: steps of float16, and parts of sums of |x * w|.
"""

import numpy as np
import pytest

import ratel
from compiler import exchange
from compiler.compile import Compiled, compile
from tests.compiler.oracle import Arrays, Network, check, chip, network, noise, one_by_one, refusals


def halves(seed: int, *shape: int, scale: float = 1 / 8) -> np.ndarray:
    return (noise(seed, "float32", shape) * np.float32(scale)).astype(np.float16)


def computed(net: Network) -> tuple[Compiled, Arrays, Arrays]:
    """Return a network, each value that the chip makes, and what onnxruntime makes of the same inputs of each node."""
    compiled = compile(net.model, chip(), keep=True, host=False)
    (part,), given = compiled.parts, dict(net.given)
    (plan,) = part.plans
    views = {name: view for name, view in plan.views.items() if view.tensor.kind == "local"}
    names = sorted({view.tensor.name for view in views.values()})
    run = ratel.run(part.program, exchange.given(part.plans, given), dumps=names)
    found = {name: exchange.seen(view, run.dumps[view.tensor.name]) for name, view in views.items()}
    found |= exchange.made(part.plans, compiled.graph, run.outputs)
    return compiled, found, one_by_one(compiled.graph, given, found)


def steps(found: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return how many steps of float16 results are apart; the least step is that of the least normal number."""
    step = np.maximum(np.spacing(np.abs(right)).astype(np.float64), 2.0**-24)
    return np.abs(found.astype(np.float64) - right.astype(np.float64)) / step


EXACT = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Neg", "Abs", "Relu", "Sqrt", "Reciprocal", "Clip", "HardSwish")


@pytest.mark.parametrize("op", EXACT)
def test_arithmetic_of_float16_has_onnxruntimes_bits(op: str) -> None:
    x = halves(1, 3, 40, 7)
    given = {"x": np.abs(x) if op == "Sqrt" else x}
    given |= {"y": halves(2, 40, 1)} if op in EXACT[:6] else {}
    check(network((op, " ".join(given), "z"), given=given))


def test_what_moves_float16() -> None:
    """Views, joins and picks; to float32 and back, rounded once."""
    net = network(
        ("Gather", "table places", "a"),
        ("Concat", "a x", "b", {"axis": 1}),
        ("Transpose", "b", "c", {"perm": [0, 2, 1]}),
        ("Cast", "c", "d", {"to": 1}),
        ("Mul", "d d", "e"),
        ("Cast", "e", "f", {"to": 10}),
        ("ReduceMean", "f", "g", {"axes": [2], "keepdims": 1}),
        ("Sub", "f g", "h"),
        given={"x": halves(3, 2, 5, 8), "places": np.array([[1, 2, 4], [4, 0, 0]])},
        constants={"table": halves(4, 6, 8)},
        outputs="c f g h",
        opset=13,
    )
    check(net)


def test_products_of_float16() -> None:
    """Each product is as near as it says, and what follows has the bits of what it was given."""
    net = network(
        ("MatMul", "x w", "m"),
        ("Add", "m b", "a"),
        ("Sigmoid", "a", "s"),
        ("Mul", "a s", "g"),
        ("MatMul", "g v", "p"),
        ("Gemm", "p u c", "y", {"alpha": 0.5, "beta": 2.0, "transB": 1}),
        given={"x": halves(1, 5, 64), "v": halves(5, 32, 9)},
        constants={"w": halves(2, 64, 32), "b": halves(3, 32), "u": halves(6, 7, 9), "c": halves(7, 5, 1)},
    )
    _, found, right = computed(net)
    for name in "ag":
        assert np.array_equal(found[name], right[name])
    assert (steps(found["s"], right["s"]) <= 1).all()
    factors = {"m": ("x", "w"), "p": ("g", "v")}
    given = {**net.given, **found, "w": halves(2, 64, 32)}
    for name, (x, w) in factors.items():
        assert_product(found[name], right[name], given[x], given[w])
    assert_product(found["y"], right["y"], found["p"], halves(6, 7, 9).T)


def assert_product(found: np.ndarray, right: np.ndarray, x: np.ndarray, w: np.ndarray, rounded: bool = False) -> None:
    """Assert the error that a product states; `rounded` with weights that are float16 on the chip alone."""
    size = np.abs(x.astype(np.float64)) @ np.abs(w.astype(np.float64))
    part = 2 * x.shape[-1] * 2.0**-24 + (2.0**-11 if rounded else 0)
    step = np.maximum(np.spacing(np.abs(right)).astype(np.float64), 2.0**-24)
    far = np.abs(found.astype(np.float64) - right.astype(np.float64))
    assert (far <= step + part * size).all(), (far / (step + part * size)).max()


def test_refused() -> None:
    x, w = halves(1, 3, 8), halves(2, 8, 4)
    (why,) = refusals(network(("MatMul", "x w", "y"), given={"x": np.float32(x)}, constants={"w": np.float32(w)}))
    assert why.startswith("it multiplies float32")
    compiled = compile(network(("MatMul", "x w", "y"), given={"x": x}, constants={"w": w}).model, "hanguang800")
    (why,) = compiled.refused.values()
    assert why == "it multiplies float16, and hanguang800 has no multipliers for it: choose another chip"
