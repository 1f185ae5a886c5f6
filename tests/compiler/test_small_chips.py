"""Networks on chips smaller than they are: the same bits in tiles, in both orders, and proven free of races."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratel
from compiler import exchange
from compiler.compile import compile
from isa.chip import Chip, load_chip
from isa.errors import InputError
from tests.compiler import oracle
from tests.compiler.oracle import Network, network, wanted


def small(lm: int, cb: int = 4096, **changed: Any) -> Chip:
    """Return a chip of one core with little memory of its own, and device memory behind it."""
    return load_chip("edge").replace(memory__lm_bytes=lm, memory__cb_bytes=cb, **changed)


def scale(rng: np.random.Generator, low: float = 0.01, high: float = 0.05) -> np.ndarray:
    return rng.uniform(low, high, ()).astype(np.float32)


def chain(rng: np.random.Generator, rows: int, columns: int, channels: tuple[int, ...]) -> Network:
    """Return a network of convolutions, a pool, a sum and a product, with noise for weights."""
    x = rng.integers(0, 256, (1, channels[0], rows, columns), dtype=np.uint8)
    zero, s = np.uint8(rng.integers(100, 150)), scale(rng)
    held: dict[str, np.ndarray] = {
        "s": s,
        "z": np.asarray(zero),
        "ws": scale(rng, 0.001, 0.003),
        "wz": np.asarray(np.uint8(128)),
    }
    nodes: list[Any] = []
    last = "x"
    for k, (before, after) in enumerate(pairwise(channels)):
        size = int(rng.choice((1, 3)))
        stride = int(rng.choice((1, 1, 2)))
        held |= {
            f"w{k}": rng.integers(0, 256, (after, before, size, size), dtype=np.uint8),
            f"b{k}": rng.integers(-2000, 2000, after, dtype=np.int32),
        }
        attributes = {"pads": [size // 2] * 4, "strides": [stride, stride]}
        nodes.append(("QLinearConv", f"{last} s z w{k} ws wz s z b{k}", f"c{k}", attributes))
        last = f"c{k}"
    nodes.append(("MaxPool", last, "p", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}))
    nodes.append(("QLinearAdd", f"p s z {last} s z s z", "y"))
    return network(*nodes, given={"x": x}, constants=held)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(3, 20),
    columns=st.integers(3, 20),
    channels=st.lists(st.sampled_from((3, 8, 17, 32)), min_size=2, max_size=4).map(tuple),
    lm=st.sampled_from((6144, 12288, 40960)),
    order=st.sampled_from(("hardware", "compiler")),
)
def test_tiles_keep_the_bits(
    seed: int, rows: int, columns: int, channels: tuple[int, ...], lm: int, order: str
) -> None:
    net = chain(np.random.default_rng(seed), rows, columns, channels)
    chip = small(lm)
    try:
        compiled = compile(net.model, chip, order=order, host=False)
    except InputError as error:
        assert "cannot be cut to fit" in error.message
        return
    (part,) = compiled.parts
    assert part.program is not None
    assert ratel.check(part.program).verdict == "proven"
    outputs = ratel.run(part.program, exchange.given(part.plans, net.given), check=False).outputs
    right = wanted(compiled.graph, net.given)
    for name, array in exchange.made(part.plans, compiled.graph, outputs).items():
        assert np.array_equal(array, right[name])


UPSAMPLED = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
ROUNDED = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "ceil"}


@pytest.mark.parametrize(
    ("node", "shape"),
    [
        ("a Resize by rows", (1, 1, 160, 128)),
        ("a Resize by channels", (1, 16, 30, 40)),
        ("a Gather of rows", (1, 16, 32, 40)),
        ("a Gather of channels", (1, 16, 32, 40)),
    ],
)
def test_what_picks_is_cut_along_what_it_does_not_pick(node: str, shape: tuple[int, ...]) -> None:
    """And rows of an image that stand thrice in the result in threes; what they are picked of does not fit."""
    x = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    places = np.array([3, 3, 0, 7, 1, 15, 9, 9, 2, 12, 14], np.int64)
    written: dict[str, Any] = {
        "a Resize by rows": ("Resize", "x _ n", "y", UPSAMPLED),
        "a Resize by channels": ("Resize", "x _ _ sizes", "y", ROUNDED),
        "a Gather of rows": ("Gather", "x places", "y", {"axis": 2}),
        "a Gather of channels": ("Gather", "x places", "y", {"axis": 1}),
    }
    constants = {"n": np.array([1, 1, 3, 2], np.float32), "sizes": np.array([1, 16, 50, 40]), "places": places}
    net = network(written[node], given={"x": x}, constants=constants)
    compiled = compile(net.model, small(16384), host=False)
    assert ratel.check(compiled.program).verdict == "proven"
    instructions = [one.row.mnemonic for one in compiled.program.cores[0].code]
    assert instructions.count("store") and {"resize", "gather"}.intersection(instructions)
    (found,) = oracle.results(compiled, net.given)
    assert np.array_equal(found, wanted(compiled.graph, net.given)["y"])


def test_tiles_are_loops() -> None:
    """A convolution of 64 rows in tiles takes no more instructions than one of 32."""
    lengths = []
    for rows in (32, 64):
        net = chain(np.random.default_rng(1), rows, 16, (16, 16))
        compiled = compile(net.model, small(8192), host=False)
        lengths.append(len(compiled.program.cores[0].lines))
        assert "loop" in compiled.parts[0].text
    assert lengths[1] <= lengths[0] + 8


def test_tiles_are_larger_where_memory_is_far() -> None:
    """Of tiles that move as much, those whose own chain of load, product and store is hidden by two buffers."""
    net = chain(np.random.default_rng(1), 64, 16, (16, 16))
    loads = []
    for latency in (0, 4000):
        compiled = compile(net.model, small(40960, memory__dev_latency_ns=latency), host=False)
        (core,) = compiled.program.cores
        loads.append(sum(times for one, times in zip(core.code, core.times) if one.row.mnemonic == "load"))
    assert loads[1] < loads[0]


def test_one_element_behind_local_memory() -> None:
    """What makes it cannot be cut, and is one tile."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (1, 16, 64, 16), dtype=np.uint8)
    held = {"s": np.float32(0.02), "z": np.uint8(120), "ws": np.float32(0.01), "w": x[:, :, :1, :1]}
    net = network(
        ("QLinearConv", "x s z w ws z s z", "c"),
        ("QLinearGlobalAveragePool", "c s z s z", "y"),
        given={"x": x},
        constants=held,
    )
    compiled = compile(net.model, small(8192), host=False)
    (part,) = compiled.parts
    outputs = ratel.run(compiled.program, exchange.given(part.plans, net.given)).outputs
    found = exchange.made(part.plans, compiled.graph, outputs)["y"]
    assert np.array_equal(found, wanted(compiled.graph, net.given)["y"])


def test_too_small() -> None:
    net = chain(np.random.default_rng(1), 64, 64, (256, 256))
    with pytest.raises(InputError, match=r"QLinearConv 'c0' cannot be cut to fit .* its least part needs"):
        compile(net.model, small(1024), host=False)


@pytest.mark.parametrize("order", ["hardware", "compiler"])
def test_cores_have_images_of_their_own(order: str) -> None:
    net = chain(np.random.default_rng(3), 12, 12, (3, 16, 16))
    chip = load_chip("hanguang800").replace(te__vector_format="fp32", pe__vector_format="fp32")
    compiled = compile(net.model, chip, cores=2, batch=2, order=order, host=False)
    (part,) = compiled.parts
    assert part.program is not None and len(part.program.cores) == 2
    images = np.random.default_rng(4).integers(0, 256, (4, *net.given["x"].shape[1:]), dtype=np.uint8)
    outputs = ratel.run(part.program, exchange.given(part.plans, {"x": images})).outputs
    found = exchange.made(part.plans, compiled.graph, outputs)["y"]
    right = np.concatenate([wanted(compiled.graph, {"x": image[None]})["y"] for image in images])
    assert np.array_equal(found, right)


@pytest.mark.parametrize("cores", [1, 2])
def test_names_that_images_would_have_are_taken(cores: int) -> None:
    """`a_1` would be that of the second image's `a`, and `x_0` that of the first core's `x`."""
    held = {"s": np.float32(0.1), "z": np.uint8(100), "w": np.arange(90, 99, dtype=np.uint8).reshape(1, 1, 3, 3)}
    ends = ["x", "a", "a_1", "x_0", "y"]
    nodes = [("QLinearConv", f"{x} s z w s z s z", y, {"pads": [1] * 4}) for x, y in pairwise(ends)]
    images = np.random.default_rng(1).integers(0, 256, (2 * cores, 1, 5, 4), dtype=np.uint8)
    net = network(*nodes, given={"x": images[:1]}, constants=held)
    compiled = compile(net.model, oracle.chip(), cores=cores, batch=2, host=False)
    (part,) = compiled.parts
    outputs = ratel.run(part.program, exchange.given(part.plans, {"x": images})).outputs
    right = np.concatenate([wanted(compiled.graph, {"x": image[None]})["y"] for image in images])
    assert np.array_equal(exchange.made(part.plans, compiled.graph, outputs)["y"], right)


def test_a_batch_of_what_is_no_image() -> None:
    net = network(("Relu", "x", "y"), given={"x": np.ones((2, 4), np.float32)})
    with pytest.raises(InputError, match="is not of one image"):
        compile(net.model, batch=2)


WRONG = [
    ({"cores": 5}, "5 cores are asked for"),
    ({"batch": 0}, "batch is 0"),
    ({"batch": 10**9}, "1,000,000,000 images of test are .* steps"),
    ({"cores": True}, "cores is True"),
    ({"host": "no"}, "host is 'no'"),
    ({"shapes": {3: (1,)}}, "3 is no name of an input"),
    ({"shapes": {"x": 4}}, "4 is no shape for the input 'x'"),
    ({"order": "compilers"}, "did you mean `compiler`"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    net = network(("Relu", "x", "y"), given={"x": np.ones((1, 4), np.float32)})
    with pytest.raises(InputError, match=said):
        compile(net.model, **options)


def test_cores_in_tiles_have_memory_of_their_own() -> None:
    """Behind local memory all cores have one memory, and each a place in it."""
    net = chain(np.random.default_rng(5), 16, 16, (3, 16, 16))
    chip = small(12288).replace(chip__cores=2, ring__bytes_per_cycle=16.0)
    compiled = compile(net.model, chip, cores=2, batch=1, host=False)
    (part,) = compiled.parts
    assert part.program is not None and ratel.check(part.program).verdict == "proven"
    images = np.random.default_rng(6).integers(0, 256, (2, *net.given["x"].shape[1:]), dtype=np.uint8)
    outputs = ratel.run(part.program, exchange.given(part.plans, {"x": images})).outputs
    right = np.concatenate([wanted(compiled.graph, {"x": image[None]})["y"] for image in images])
    assert np.array_equal(exchange.made(part.plans, compiled.graph, outputs)["y"], right)
