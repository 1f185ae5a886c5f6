"""Arithmetic and functions of floats, against onnxruntime: bit for bit, or as near as is stated."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratel
from compiler import exchange
from compiler.compile import Compiled, compile
from compiler.lower.floats import INEXACT
from compiler.steps import Step
from tests.compiler.lower.drawn import few, shapes
from tests.compiler.oracle import Network, check, chip, mnemonics, network, noise, refusals, wanted


def steps(compiled: Compiled) -> list[Step]:
    return [step for part in compiled.parts for plan in part.plans for step in plan.steps]


UNARY: dict[str, dict[str, Any]] = {
    "Neg": {},
    "Abs": {},
    "Relu": {},
    "Sqrt": {},
    "Reciprocal": {},
    "LeakyRelu": {"alpha": 0.3},
    "HardSigmoid": {"alpha": 0.21, "beta": 0.47},
    "HardSwish": {},
}


@pytest.mark.parametrize("op", UNARY)
def test_of_one_tensor(op: str) -> None:
    x = noise(1, "float32", (2, 3, 40, 7))
    check(network((op, "x", "y", UNARY[op]), given={"x": np.abs(x) if op == "Sqrt" else x}))


@few
@given(st.data())
def test_of_two_tensors_and_more(data: st.DataObject) -> None:
    """Broadcast in every way, constants on either side, behind a transpose."""
    shape = data.draw(shapes((1, 4), 5))
    op = data.draw(st.sampled_from(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")))
    count = data.draw(st.integers(1, 3)) if op in ("Max", "Min", "Sum") else 2
    axes = data.draw(st.permutations(range(len(shape))))
    dtype = data.draw(st.sampled_from(["float32", "uint8", "int8"])) if op in ("Max", "Min") else "float32"
    held: dict[str, dict[str, np.ndarray]] = {"given": {}, "constants": {}}
    for k in range(count):
        kept = [size if data.draw(st.booleans()) or k == 0 else 1 for size in shape]
        kept = kept[data.draw(st.integers(0, len(shape))) if k else 0 :]
        if k == 0:
            kept = [shape[axis] for axis in np.argsort(axes)]
        side = "constants" if k and data.draw(st.booleans()) else "given"
        held[side][f"x{k}"] = noise(k + sum(shape), dtype, kept)
    names = ["t", *(f"x{k}" for k in range(1, count))]
    if op != "Sum" and data.draw(st.booleans()):
        names.reverse()
    check(network(("Transpose", "x0", "t", {"perm": axes}), (op, " ".join(names), "y"), **held))


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((-1, 2), "clip"), ((None, 3), "min"), ((-2, None), "max"), ((2, -1), "clip"), ((None, None), "")],
)
def test_clip(bounds: tuple[float | None, float | None], expected: str) -> None:
    held = {f"b{k}": np.float32(one) for k, one in enumerate(bounds) if one is not None}
    names = " ".join(name if name in held else "_" for name in ("b0", "b1"))
    found = check(network(("Clip", f"x {names}", "y"), given={"x": noise(2, "float32", (3, 50))}, constants=held))
    words = [
        word for step in steps(found) for word in ("clip", "min", "max") if word in {**step.attributes, **step.operands}
    ]
    assert words == ([expected] if expected else [])


@pytest.mark.parametrize("op", ["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
def test_comparisons(op: str) -> None:
    """Of numbers that are equal, next to each other, or the least that there are; and And, Or, Not of the results."""
    x = noise(1, "float32", (4, 50))
    y = x.copy()
    y[1], y[2], y[3] = (
        np.nextafter(x[1], np.float32(np.inf)),
        np.nextafter(x[2], np.float32(-np.inf)),
        noise(2, "float32", 50),
    )
    x[0, :4], y[0, :4] = (0, 0, 1e-45, -3e38), (1e-45, -1e-45, 0, 3e38)
    net = network(
        (op, "x y", "a"),
        ("Equal", "u v", "b"),
        ("Not", "a", "c"),
        ("And", "c b", "d"),
        ("Or", "d a", "e"),
        given={"x": x, "y": y, "u": noise(3, "uint8", (50,)) & 3, "v": noise(4, "uint8", (4, 1)) & 3},
        outputs="a b c d e",
    )
    check(net)


@pytest.mark.parametrize("op", ["Equal", "Less", "GreaterOrEqual"])
@pytest.mark.parametrize("turned", [False, True])
def test_comparisons_of_whole_numbers_with_one(op: str, turned: bool) -> None:
    """Of 32 bits, also where a float does not hold them."""
    x = np.array([-(2**31), -257, -256, -255, 0, 2**24, 2**24 + 1, 2**31 - 1], np.int32)
    for number in (-256, 0, 256):
        names = "c x" if turned else "x c"
        check(network((op, names, "y"), given={"x": x}, constants={"c": np.int32(number)}))


@few
@given(st.data())
def test_prelu(data: st.DataObject) -> None:
    channels = data.draw(st.integers(1, 5))
    shape = data.draw(st.sampled_from([(channels, 1, 1), (1,), (channels, 3, 4), (4,)]))
    slope = noise(data.draw(st.integers(0, 99)), "float32", shape)
    slope = np.minimum(slope, 1) if data.draw(st.booleans()) else slope
    side = data.draw(st.sampled_from(["given", "constants"]))
    held: dict[str, dict[str, np.ndarray]] = {"given": {"x": noise(1, "float32", (2, channels, 3, 4))}, "constants": {}}
    held[side]["slope"] = slope
    check(network(("PRelu", "x slope", "y"), **held))


@pytest.mark.parametrize("exponent", [1, 2, 3])
def test_powers(exponent: int) -> None:
    kind = np.float32 if exponent == 2 else np.int64
    x = {"x": noise(3, "float32", (5, 60))}
    check(network(("Pow", "x e", "y"), given=x, constants={"e": kind(exponent)}))


def test_refused() -> None:
    x, two = {"x": noise(3, "float32", (5,))}, {"e": np.float32(4)}
    assert refusals(network(("Pow", "x e", "y"), given=x, constants=two)) == [
        "no engine takes powers of 4; 0.5, 1, 2 and 3 it does"
    ]
    whole = {"a": noise(1, "int32", (4,)), "b": noise(2, "int32", (4,))}
    assert refusals(network(("Add", "a b", "y"), given=whole)) == [
        "it is of int32; element by element the chip computes float32 and float16"
    ]


def distance(net: Network) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a network's result is from onnxruntime's: absolute, and in its units in the last place."""
    compiled = compile(net.model, chip(), host=False)
    (part,) = compiled.parts
    (plan,) = part.plans
    assert part.program is not None
    assert [node.op for node in plan.inexact] == [compiled.graph.nodes[-1].op]
    right = wanted(compiled.graph, net.given)
    run = ratel.run(part.program, exchange.given(part.plans, right))
    (name,) = compiled.graph.outputs
    found = exchange.made(part.plans, compiled.graph, run.outputs)[name]
    far = np.abs(found.astype(np.float64) - right[name])
    return far, far / np.spacing(np.abs(right[name]))


CURVES: dict[str, tuple[str, dict[str, Any]]] = {
    "Pow": ("x e", {}),
    "Exp": ("x", {}),
    "Sigmoid": ("x", {}),
    "Tanh": ("x", {}),
    "Erf": ("x", {}),
    "Elu": ("x", {"alpha": 1.5}),
    "Gelu": ("x", {}),
    "Gelu tanh": ("x", {"approximate": "tanh"}),
    "FastGelu": ("x b", {}),
    "BiasGelu": ("x b", {}),
    "QuickGelu": ("x", {}),
    "Softmax": ("x", {"axis": 1}),
    "LayerNormalization": ("x g b", {"axis": 1}),
    "SimplifiedLayerNormalization": ("x g", {"axis": 1}),
}


@pytest.mark.parametrize("form", CURVES)
def test_inexact(form: str) -> None:
    """Each function of the chip's own is as near as its entry says; and the entry is not idle."""
    names, attributes = CURVES[form]
    op = form.split()[0]
    x = noise(5, "float32", (64, 300)) * np.float32(3 / 8)
    x[0, :3] = 0, 1e-30, -1e-30
    if op == "Pow":
        x = np.abs(x)
    held = {"e": np.float32(0.5), "g": noise(6, "float32", (300,)) / 8, "b": noise(7, "float32", (300,)) / 8}
    held = {name: array for name, array in held.items() if name in names.split()}
    absolute, ulp = distance(network((op, names, "y", attributes), given={"x": x}, constants=held))
    error = INEXACT[op]
    beyond = (ulp > error.ulp) & (absolute > error.absolute)
    assert not beyond.any(), f"{ulp[beyond].max()} ulp, {absolute[beyond].max()}"


@pytest.mark.parametrize("op", ["LayerNorm"])
def test_what_consists_of_parts_needs_no_case_of_its_own(op: str) -> None:
    """The decomposed form of a layer's normalisation, its mean given: Sub, Mul, Add, Sqrt, Div, bit for bit."""
    x, mean = noise(1, "float32", (4, 30)), noise(2, "float32", (4, 1))
    variance = np.abs(noise(3, "float32", (4, 1)))
    net = network(
        ("Sub", "x mean", "c"),
        ("Add", "variance eps", "v"),
        ("Sqrt", "v", "d"),
        ("Div", "c d", "n"),
        ("Mul", "n g", "s"),
        ("Add", "s b", "y"),
        given={"x": x, "mean": mean, "variance": variance},
        constants={"eps": np.float32(1e-5), "g": noise(4, "float32", (30,)), "b": noise(5, "float32", (30,))},
    )
    assert set(mnemonics(check(net))) == {"eltwise"}
