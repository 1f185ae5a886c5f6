"""Operators of language models, in float16, against onnxruntime, each given what the chip gave it: as near as is said.

    found, right = computed(network(...))

Errors are those that `inexact` states: steps of float16, and parts of sums of |x * w|.
"""

from typing import Any

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


CURVES = ("Exp", "Sigmoid", "Tanh", "Erf", "Elu", "Gelu", "FastGelu", "BiasGelu", "Softmax", "LayerNormalization")


@pytest.mark.parametrize("op", CURVES)
def test_functions_of_float16_are_as_near_as_they_say(op: str) -> None:
    gain = {"g": halves(3, 300)} if op in CURVES[6:8] + CURVES[9:] else {}
    net = network((op, " ".join(["x", *gain]), "y"), given={"x": halves(1, 20, 300, scale=1 / 4)}, constants=gain)
    compiled, found, right = computed(net)
    (stated,) = compiled.inexact.values()
    far = np.abs(found["y"].astype(np.float64) - right["y"].astype(np.float64))
    assert stated.startswith("1 ulp or ")
    assert ((steps(found["y"], right["y"]) <= 1) | (far <= float(stated.split()[-1]))).all()


HELD = {"w": np.zeros((8, 2, 16), np.uint8), "s": np.ones(16, np.float16), "g": np.full(64, 9, np.int32)}
OF_GROUPS, OF_HEADS = {"K": 64, "N": 8, "block_size": 32}, {"num_heads": 4, "kv_num_heads": 2}
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "scales": (
        "MatMulNBits x w cos",
        OF_GROUPS,
        "does not fit its inputs, x float16[1, 2, 64]",
    ),
    "bits": ("MatMulNBits x w s", {**OF_GROUPS, "bits": 2}, "does not fit its inputs"),
    "order": ("MatMulNBits x w s _ g", OF_GROUPS, "its order of groups (g_idx)"),
    "heads": ("GroupQueryAttention x k k _ _ n t", {"num_heads": 4, "kv_num_heads": 3}, "does not fit its inputs"),
    "tables": (
        "GroupQueryAttention x k k _ _ n t",
        {**OF_HEADS, "do_rotary": 1},
        "does not fit",
    ),
    "cap": (
        "GroupQueryAttention x k k _ _ n t",
        {**OF_HEADS, "softcap": 30.0},
        "its softcap is 30.0",
    ),
    "lengths": (
        "GroupQueryAttention x k k _ _ t t",
        OF_HEADS,
        "its seqlens_k is 2, with 2 new",
    ),
    "places": ("RotaryEmbedding x at cos sin", {}, "it is turned by place 99, and its tables have 40"),
    "halves": ("RotaryEmbedding x at cos s", {}, "does not fit its inputs"),
    "gain": ("SkipSimplifiedLayerNormalization x x s", {}, "does not fit its inputs"),
}


@pytest.mark.parametrize("form", WRONG)
def test_what_does_not_fit_or_is_not_taken_says_so(form: str) -> None:
    words, attributes, expected = WRONG[form]
    op, *names = words.split()
    held = {**HELD, **turned(16), "n": np.array([1], np.int32), "t": np.array([2], np.int32), "at": np.array([[3, 99]])}
    given = {"x": halves(1, 1, 2, 64), "k": halves(2, 1, 2, 32)}
    given, held = ({name: one for name, one in part.items() if name in names} for part in (given, held))
    made = "y a b" if op == "GroupQueryAttention" else "y"
    net = network((op, " ".join(names), made, attributes), given=given, constants=held)
    with pytest.raises(ratel.InputError) as caught:
        compile(net.model, chip(), host=False)
    assert expected in str(caught.value)


def test_refused() -> None:
    x, w = halves(1, 3, 8), halves(2, 8, 4)
    (why,) = refusals(network(("MatMul", "x w", "y"), given={"x": np.float32(x)}, constants={"w": np.float32(w)}))
    assert why.startswith("it multiplies float32")
    compiled = compile(network(("MatMul", "x w", "y"), given={"x": x}, constants={"w": w}).model, "hanguang800")
    (why,) = compiled.refused.values()
    assert why == "it multiplies float16, and hanguang800 has no multipliers for it: choose another chip"


@pytest.mark.parametrize("op", ["SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_rows_by_the_root_of_their_mean_square(op: str) -> None:
    x, skip, gain = halves(1, 2, 3, 300), halves(2, 2, 3, 300), {"g": halves(3, 300)}
    if op == "SimplifiedLayerNormalization":
        net = network((op, "x g", "y", {"axis": -1, "epsilon": 1e-5, "stash_type": 1}), given={"x": x}, constants=gain)
    else:
        constants = {**gain, "b": halves(4, 300)}
        net = network((op, "x s g b", "y _ _ z", {"epsilon": 1e-5}), given={"x": x, "s": skip}, constants=constants)
    _, found, right = computed(net)
    assert (steps(found["y"], right["y"]) <= 1).all()
    if "z" in found:
        assert np.array_equal(found["z"], right["z"])


def grouped(seed: int, n: int, k: int, block: int, bits: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return random weights in groups, with zero points, as MatMulNBits has them, and what they are."""
    rng, count = np.random.default_rng(seed), -(-k // block)
    numbers = rng.integers(0, 2**bits, (n, count, block), dtype=np.uint8)
    zeros = rng.integers(0, 2**bits, (n, count), dtype=np.uint8)
    scales = (rng.uniform(0.5, 1.5, (n, count)) / 2**bits).astype(np.float16)
    dense = (numbers - zeros[..., None].astype(np.float32)) * scales[..., None].astype(np.float32)
    if bits == 4:
        numbers = numbers[..., ::2] | numbers[..., 1::2] << 4
        zeros = np.pad(zeros, ((0, 0), (0, count % 2)))
        zeros = zeros[:, ::2] | zeros[:, 1::2] << 4
    return {"b": numbers, "s": scales.reshape(-1), "z": zeros.reshape(-1)}, dense.reshape(n, -1)[:, :k].T


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32, 64, 128])
def test_weights_in_groups(bits: int, block: int) -> None:
    constants, dense = grouped(bits + block, 24, 160, block, bits)
    constants["bias"] = halves(9, 24)
    given = {"x": halves(1, 2, 3, 160)}
    attributes = {"K": 160, "N": 24, "bits": bits, "block_size": block}
    net = network(("MatMulNBits", "x b s z _ bias", "y", attributes), given=given, constants=constants)
    _, found, right = computed(net)
    assert_product(found["y"], right["y"], given["x"], dense, rounded=True)


def test_weights_whose_groups_are_in_an_order_of_their_own() -> None:
    """And without zero points, which are the middle of the numbers then."""
    rng, given = np.random.default_rng(1), {"x": halves(1, 3, 128)}
    numbers = rng.integers(0, 16, (8, 128), dtype=np.uint8)
    scales, order = np.abs(halves(2, 8, 4)), rng.integers(0, 4, 128).astype(np.int32)
    blocks = (numbers[:, ::2] | numbers[:, 1::2] << 4).reshape(8, 4, -1)
    constants = {"b": blocks, "s": scales.reshape(-1), "order": order}
    attributes = {"K": 128, "N": 8, "bits": 4, "block_size": 32}
    net = network(("MatMulNBits", "x b s _ order", "y", attributes), given=given, constants=constants)
    _, found, right = computed(net)
    dense = (numbers - np.float32(8)) * scales.astype(np.float32)[:, order]
    assert_product(found["y"], right["y"], given["x"], dense.T, rounded=True)


@pytest.mark.parametrize("bits", [4, 8])
def test_rows_of_a_table_in_groups_have_onnxruntimes_bits(bits: int) -> None:
    table = np.random.default_rng(2).integers(0, 256, (20, 64 * bits // 8), dtype=np.uint8)
    attributes = {"bits": bits, "block_size": 32, "gather_axis": 0, "quantize_axis": 1}
    given, constants = {"at": np.array([[1, 19, 3]])}, {"table": table, "s": np.abs(halves(3, 20, 2))}
    check(network(("GatherBlockQuantized", "table at s", "y", attributes), given=given, constants=constants))


def turned(size: int, places: int = 40) -> dict[str, np.ndarray]:
    """Return the tables of cosines and sines of a model."""
    angles = np.arange(places)[:, None] * 10000.0 ** -(np.arange(0, size, 2) / size)
    return {"cos": np.cos(angles).astype(np.float16), "sin": np.sin(angles).astype(np.float16)}


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", ["places", "first", "constant", "by_heads", "in_part"])
def test_rotary_embedding_has_onnxruntimes_bits(interleaved: int, form: str) -> None:
    x, at = halves(1, 2, 3, 4 * 16), np.array([[5, 6, 7], [0, 1, 39]])
    given, constants, attributes = {"x": x, "at": at}, turned(16), {"interleaved": interleaved}
    if form == "first":
        given, constants["at"] = {"x": x}, np.array([5])
    elif form == "constant":
        given, constants["at"] = {"x": x}, at
    elif form == "by_heads":
        given["x"] = x.reshape(2, 4, 3, 16)
    elif form == "in_part":
        constants = turned(8)
        attributes |= {"num_heads": 4, "rotary_embedding_dim": 8}
    check(network(("RotaryEmbedding", "x at cos sin", "y", attributes), given=given, constants=constants))


ATTENTIONS = {
    "prefill": {"past": None},
    "behind": {"past": 4},
    "decode": {"past": 6, "places": 1},
    "turned": {"past": None, "do_rotary": 1},
    "turned behind": {"past": 5, "do_rotary": 1, "rotary_interleaved": 1, "packed": True},
    "packed": {"past": 5, "places": 1, "do_rotary": 1, "packed": True},
    "window": {"past": 4, "local_window_size": 3, "scale": 0.3},
    "batch": {"past": None, "batch": 2, "do_rotary": 1},
    "room": {"past": 9, "before": 4},
}


@pytest.mark.parametrize("form", ATTENTIONS)
def test_attention_of_groups(form: str) -> None:
    """Present keys and values have onnxruntime's bits; what they mix is as near as is stated."""
    named = dict(ATTENTIONS[form])
    past, places, batch = named.pop("past"), named.pop("places", 3), named.pop("batch", 1)
    before, packed = named.pop("before", past or 0), named.pop("packed", False)
    heads, groups, size = 4, 2, 16
    total = before + places
    q, k, v = (halves(n, batch, places, count * size) for n, count in enumerate((heads, groups, groups)))
    given = {"q": np.concatenate([q, k, v], -1)} if packed else {"q": q, "k": k, "v": v}
    if past:
        given |= {name: halves(n, batch, groups, past, size) for n, name in enumerate(("pk", "pv"), 5)}
    constants = {"lengths": np.full(batch, total - 1, np.int32), "total": np.array(total, np.int32), **turned(size)}
    read = ["q", *(["_", "_"] if packed else ["k", "v"]), *(["pk", "pv"] if past else ["_", "_"]), "lengths", "total"]
    read += ["cos", "sin"] if "do_rotary" in named else []
    attributes = {"num_heads": heads, "kv_num_heads": groups, **named}
    net = network(("GroupQueryAttention", " ".join(read), "y ok ov", attributes), given=given, constants=constants)
    _, found, right = computed(net)
    assert np.array_equal(found["ok"], right["ok"]) and np.array_equal(found["ov"], right["ov"])
    most = np.abs(found["ov"].astype(np.float64)).max((2, 3)).repeat(heads // groups, 1).repeat(size, 1)[:, None]
    step = np.maximum(np.spacing(np.abs(right["y"])).astype(np.float64), 2.0**-24)
    far = np.abs(found["y"].astype(np.float64) - right["y"].astype(np.float64))
    assert (far <= step + (2.0**-10 + total * 2.0**-24) * most).all()
