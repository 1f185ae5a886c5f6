"""Instructions that do what several steps did: the same bits for every input, or one rounding less where asked."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratel
from compiler import exchange
from compiler.compile import compile
from compiler.report import differences
from tests.compiler import oracle
from tests.compiler.lower.drawn import BYTES, few, scales, zeros
from tests.compiler.oracle import Network, check, chip, mnemonics, network, noise

FUNCTIONS: dict[str, dict[str, Any]] = {"Relu": {}, "Sigmoid": {}, "HardSwish": {}, "LeakyRelu": {"alpha": 0.2}}


def convolution(dtype: str, of: str, out: str, held: dict[str, np.ndarray], data: st.DataObject, channels: int) -> Any:
    """Return a QLinearConv whose results fill the whole range of their type, and put its constants into `held`."""
    number = len(held)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    held[f"w{number}"] = noise(number, "int8", (channels, channels, 1, 1))
    for name in ("sx", "sy"):
        held[f"{name}{number}"] = data.draw(scales())
    held[f"sw{number}"] = (np.abs(noise(number, "float32", (channels,))) + 1) / np.float32(60 * 128 * channels)
    # Products of full range are about as wide as the result's type.
    held[f"sw{number}"] *= held[f"sy{number}"] / held[f"sx{number}"]
    held[f"zx{number}"], held[f"zy{number}"] = data.draw(zeros(dtype)), data.draw(zeros(dtype))
    held[f"zw{number}"] = np.int8(0)
    held[f"b{number}"] = np.random.default_rng(number).integers(low * 40, high * 40, channels).astype(np.int32)
    names = " ".join(f"{name}{number}" for name in ("sx", "zx", "w", "sw", "zw", "sy", "zy", "b"))
    return ("QLinearConv", f"{of} {names}", out)


@few
@given(st.data())
def test_functions_behind_products_are_tables_of_the_product(data: st.DataObject) -> None:
    """Of all zero points, of results that fill and pass their type."""
    dtype, op = data.draw(st.sampled_from(BYTES)), data.draw(st.sampled_from(sorted(FUNCTIONS)))
    held: dict[str, np.ndarray] = {}
    conv = convolution(dtype, "x", "q", held, data, 5)
    held |= {
        "s": data.draw(scales()),
        "z": data.draw(zeros(dtype)),
        "t": data.draw(scales()),
        "u": data.draw(zeros(dtype)),
    }
    net = network(
        conv,
        ("DequantizeLinear", "q s z", "f"),
        (op, "f", "g", FUNCTIONS[op]),
        ("QuantizeLinear", "g t u", "y"),
        given={"x": noise(1, dtype, (1, 5, 12, 11))},
        constants=held,
    )
    found = check(net)
    assert set(mnemonics(found)) == {"conv"}
    assert [len(plan.fused) for part in found.parts for plan in part.plans] == [1]


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize(("zero", "bound"), [(1, 1), (77, 77), (255, 255), (77, 78)])
def test_a_relu_needs_no_table(dtype: str, zero: int, bound: int) -> None:
    """Where what it keeps begins at the zero point of the convolution, both from the least of their type on."""
    zeros = {name: np.array(np.iinfo(dtype).min + place, dtype) for name, place in (("zy", zero), ("z", bound))}
    held = {"w": noise(1, "int8", (5, 5, 1, 1)), "s": np.float32(0.1), "sy": np.float32(8), "zw": np.int8(0), **zeros}
    net = network(
        ("QLinearConv", "x s z w s zw sy zy", "q"),
        ("DequantizeLinear", "q s z", "f"),
        ("Relu", "f", "g"),
        ("QuantizeLinear", "g s z", "y"),
        given={"x": noise(1, dtype, (1, 5, 12, 11))},
        constants=held,
    )
    step = [step for part in check(net).parts for plan in part.plans for step in plan.steps][-1]
    assert step.mnemonic == "conv"
    assert bool(step.attributes.get("relu")) == ("table" not in step.operands) == (zero == bound)


def test_sums_and_tables_of_tables_and_what_is_concatenated() -> None:
    """A sum looks its function up; a table of a table is one; a convolution writes its part of what is concatenated."""
    s, z = {"s": np.float32(0.05), "t": np.float32(0.031)}, {"z": np.int8(-3), "u": np.int8(9)}
    net = network(
        ("QLinearAdd", "a s z b t u s u", "c"),
        ("QLinearSigmoid", "c s u t z", "d"),
        ("QLinearConcat", "t u d t z e s z", "y", {"axis": 1}),
        given={name: noise(k, "int8", (1, 4, 6, 5)) for k, name in enumerate("abe")},
        constants=s | z,
    )
    found = check(net)
    assert len(mnemonics(found)) == 2


def test_what_is_copied_into_something_filled_stays_there() -> None:
    """A sum writes the middle of what Pad has filled with zeros, behind the fill."""
    net = network(
        ("Add", "a b", "c"),
        ("Pad", "c pads", "y"),
        given={name: noise(k, "float32", (1, 3, 4, 5)) for k, name in enumerate("ab")},
        constants={"pads": np.array([0, 0, 1, 2, 0, 0, 0, 1])},
    )
    assert mnemonics(check(net)) == ["fill", "eltwise"]


def test_branches_that_are_concatenated_do_not_wait_for_each_other() -> None:
    """Of eight convolutions of 32 KB, each pooled to 2 KB, one lives at a time: local memory of 100 KB is enough."""
    branches = range(8)
    constants = {f"w{k}": noise(k, "uint8", (32, 8, 1, 1)) for k in branches} | {
        "s": np.float32(0.05),
        "z": np.uint8(9),
    }
    convolutions = [("QLinearConv", f"x s z w{k} s z s z", f"c{k}") for k in branches]
    pools = [("MaxPool", f"c{k}", f"p{k}", {"kernel_shape": [4, 4], "strides": [4, 4]}) for k in branches]
    net = network(
        *(node for pair in zip(convolutions, pools) for node in pair),
        ("QLinearConcat", f"s z {' '.join(f'p{k} s z' for k in branches)}", "y", {"axis": 1}),
        given={"x": noise(9, "uint8", (1, 8, 32, 32))},
        constants=constants,
    )
    found = check(net)
    small = compile(net.model, chip().replace(memory__lm_bytes=100 * 2**10))
    assert all(symbol.memory in ("lm", "cb") for symbol in small.program.cores[0].symbols)
    assert oracle.results(small, net.given)[0].tolist() == oracle.results(found, net.given)[0].tolist()


def test_what_others_read_is_not_fused_and_said() -> None:
    s = {"s": np.float32(0.05), "z": np.int8(3)}
    net = network(
        ("QLinearAdd", "a s z b s z s z", "c"),
        ("QLinearSigmoid", "c s z s z", "d"),
        given={name: noise(k, "int8", (7, 5)) for k, name in enumerate("ab")},
        constants=s,
        outputs="c d",
    )
    found = check(net)
    assert len(mnemonics(found)) == 2


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max"])
def test_integers_are_widened_where_they_are_read(op: str) -> None:
    """Where each product is rounded on its own: so is x, and a factor, but not a summand."""
    held = {"s": np.float32(0.37), "z": np.uint8(100), "t": np.float32(0.011), "u": np.uint8(7)}
    net = network(
        ("DequantizeLinear", "a s z", "f"),
        ("DequantizeLinear", "b t u", "g"),
        (op, "f g", "y"),
        given={name: noise(k, "uint8", (30, 50)) for k, name in enumerate("ab")},
        constants=held,
    )
    (plan,) = (plan for part in check(net).parts for plan in part.plans)
    assert len(plan.fused) == (1 if op in ("Add", "Sub") else 2)


@pytest.mark.parametrize(
    ("behind", "instructions"),
    [
        ([("Relu", "m", "y")], 1),
        ([("Relu", "m", "a"), ("Neg", "a", "y")], 2),
        # A sum comes before a function, and there is one: these are steps of their own.
        ([("Add", "m b", "y")], 2),
        ([("Relu", "m", "a"), ("Add", "a b", "y")], 2),
        # Read twice, by one and by two.
        ([("Mul", "m m", "y")], 2),
        ([("Relu", "m", "a"), ("Add", "m a", "y")], 3),
    ],
)
def test_floats_go_on_through_later_stages(behind: list[Any], instructions: int) -> None:
    given = {"a0": noise(1, "float32", (6, 40)), "b": noise(2, "float32", (6, 40))}
    net = network(("Add", "a0 b", "m"), *behind, given=given)
    assert len(mnemonics(check(net))) == instructions


def results(net: Network, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    compiled = compile(net.model, chip(), host=False, **options)
    (part,) = compiled.parts
    assert part.program is not None
    run = ratel.run(part.program, exchange.given(part.plans, net.given))
    return compiled, exchange.made(part.plans, compiled.graph, run.outputs)


def test_a_sum_that_is_rounded_once_is_nearer_to_the_numbers() -> None:
    """Elements differ from onnxruntime's by one step, and from the sum in float64 by half of one."""
    rng = np.random.default_rng(3)
    w = rng.integers(-127, 128, (6, 6, 1, 1)).astype(np.int8)
    held = {
        "sx": np.float32(0.02),
        "zx": np.uint8(120),
        "w": w,
        "sw": rng.uniform(0.001, 0.002, 6).astype(np.float32),
        "zw": np.int8(0),
        "sq": np.float32(0.06),
        "zq": np.uint8(131),
        "b": rng.integers(-3000, 3000, 6).astype(np.int32),
        "sr": np.float32(0.03),
        "zr": np.uint8(90),
        "sy": np.float32(0.05),
        "zy": np.uint8(128),
    }
    x, r = rng.integers(60, 180, (1, 6, 9, 9)).astype(np.uint8), rng.integers(0, 256, (1, 6, 9, 9)).astype(np.uint8)
    net = network(
        ("QLinearConv", "x sx zx w sw zw sq zq b", "q"),
        ("QLinearAdd", "q sq zq r sr zr sy zy", "y"),
        given={"x": x, "r": r},
        constants=held,
    )
    compiled, once = results(net, round_once=True)
    _, twice = results(net)
    # The other summand is given with its rows outermost.
    assert set(mnemonics(compiled)) == {"copy", "conv"}
    (found,) = differences(compiled.graph, net.given, once)
    assert 0 < found.unequal < 0.4 * found.elements and found.greatest == 1 and found.steps == {1: found.unequal}
    assert str(differences(compiled.graph, net.given, twice)[0]) == "y: all 486 elements are onnxruntime's"
    acc = np.einsum("oc,nchw->nohw", w[:, :, 0, 0].astype(np.int64), x.astype(np.int64) - 120)
    numbers = (acc + held["b"].reshape(-1, 1, 1)) * (held["sw"].astype(float) * 0.02).reshape(-1, 1, 1)
    exact = np.clip((numbers + (r.astype(float) - 90) * 0.03) / 0.05 + 128, 0, 255)
    assert np.abs(once["y"] - exact).max() < 0.501 < np.abs(twice["y"] - exact).max()


def test_a_product_whose_clamp_is_a_relu_keeps_it() -> None:
    held = {
        "s": np.float32(0.02),
        "z": np.uint8(0),
        "w": noise(1, "int8", (4, 4, 1, 1)),
        "zw": np.int8(0),
    }
    net = network(
        ("QLinearConv", "x s z w s zw s z", "q"),
        ("QLinearAdd", "q s z x s z s z", "y"),
        given={"x": noise(3, "uint8", (1, 4, 5, 5))},
        constants=held,
    )
    compiled, found = results(net, round_once=True)
    assert not differences(compiled.graph, net.given, found)[0].unequal
    assert compiled.parts[0].plans[0].unfused == (
        "1 QLinearConv 'q' + 2 QLinearAdd 'y': where the product is clamped is its zero, as behind a Relu",
    )


def test_a_product_added_to_itself_is_not_joined() -> None:
    rng = np.random.default_rng(8)
    held = {"s": np.float32(0.05), "z": np.uint8(100), "w": rng.integers(0, 256, (4, 3, 1, 1), dtype=np.uint8)}
    net = network(
        ("QLinearConv", "x s z w s z s z", "c"),
        ("Identity", "c", "same"),
        ("QLinearAdd", "c s z same s z s z", "y"),
        given={"x": rng.integers(0, 256, (1, 3, 4, 4), dtype=np.uint8)},
        constants={name: np.asarray(array) for name, array in held.items()},
    )
    assert not oracle.differences(compile(net.model, chip(), round_once=True, keep=True), net.given)
