"""One image on several cores: the bits of one core, in both orders, and proven free of races."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ratel
from compiler.compile import compile
from compiler.fit.share import _boxes, shared
from compiler.steps import Plan, Step, Tensor
from isa.chip import Chip
from isa.errors import InputError
from programs.networks.onnx_model import model
from programs.networks.seeded import Layers
from ratel.testing.networks import Network, networks
from tests.compiler import oracle
from tests.compiler.oracle import chip, noise, results, wanted
from tests.compiler.test_small_chips import chain

drawn = settings(deadline=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))


def slow() -> Chip:
    """Return a chip whose engines are so slow, and whose ring is so fast, that all that can be cut is."""
    slow = {"te__multipliers": 1, "te__pixels": 1, "te__channels": 1, "te__vector_lanes": 1, "pe__lanes": 1}
    return chip().replace(**slow, ring__latency=0, me__latency=0, sync__latency=0, ring__bytes_per_cycle=1e6)


def hold(net: Network, cores: int, order: str, on: Chip | None = None) -> list[int]:
    """Hold cores, of the slow chip, against one; return how many instructions each has of the chip's first part."""
    one, several = compile(net.model, chip()), compile(net.model, on or slow(), cores=cores, order=order)
    for name, right, found in zip(one.graph.outputs, results(one, net.inputs), results(several, net.inputs)):
        assert found.tobytes() == right.tobytes(), name
    programs = [part.program for part in several.parts if part.program is not None]
    for program in programs:
        verdict = ratel.check(program)
        assert verdict.verdict == "proven" and {one.severity for one in verdict.findings} <= {"warning"}, verdict
    return [len(core.code) for core in programs[0].cores] if programs else []


@settings(drawn, max_examples=8)
@given(networks(most=12), st.integers(2, 4), st.sampled_from(("hardware", "compiler")))
def test_small_networks(net: Network, cores: int, order: str) -> None:
    hold(net, cores, order)


@pytest.mark.slow
@settings(drawn, max_examples=150)
@given(networks(), st.integers(2, 4), st.sampled_from(("hardware", "compiler")))
def test_networks(net: Network, cores: int, order: str) -> None:
    hold(net, cores, order)


def written(*nodes: oracle.Written, x: np.ndarray, **constants: Any) -> Network:
    """Return a network of some nodes that read x."""
    net = oracle.network(*nodes, given={"x": x}, constants=constants)
    return Network(net.model.SerializeToString(), dict(net.given))


def test_what_is_repeated_is_sent_once() -> None:
    """Rows that cores made, and that core 0, which has the Pad's result alone, reads again and again."""
    nodes = ("Relu", "x", "r"), ("Expand", "r n", "e"), ("Pad", "e p", "y")
    x = noise(1, np.float32, (64, 1))
    assert min(hold(written(*nodes, x=x, n=np.array([64, 9]), p=np.array([1, 1, 1, 1])), 4, "hardware")) > 1


def test_a_wait_is_of_the_node_that_waits() -> None:
    """And of none before it: the first thing that the second core does is to wait for its part of x."""
    net = written(("Transpose", "x", "t"), ("Relu", "t", "y"), x=noise(1, np.float32, (64, 8)))
    program = compile(net.model, slow(), cores=2).program
    assert program is not None
    first = program.cores[1]
    assert first.code[0].row.mnemonic == "wait" and first.lines[0].text.startswith("2 Relu"), first.lines[0]


def test_weights_of_any_operand_are_cut() -> None:
    """A sum with a constant that is too large for one core's memory."""
    net = written(("Add", "x w", "y"), x=noise(1, np.float32, (1, 2**14)), w=noise(2, np.float32, (1, 2**14)))
    assert min(hold(net, 2, "compiler", chip().replace(memory__lm_bytes=180 * 2**10))) > 0


def test_weights_of_which_cores_have_several_parts() -> None:
    """Both dimensions are padded by the same places, of which a part or all make what a core has of a result."""
    nodes = ("Relu", "x", "r"), ("Pad", "r p", "y", {"mode": "reflect"})
    hold(written(*nodes, x=noise(1, np.float32, (2, 2, 2, 2)), p=np.array([1, 0, 0, 1] * 2)), 2, "hardware")


def test_channels_of_flattened_pixels_are_sent_at_once() -> None:
    """An image whose channels two cores made, 64 pixels, of which a third layer reads all in one dimension."""
    made = Layers(seed=1)
    x = made.conv("c1", made.input("x", 1, 8, 8, 8), 128, window=1, activation="relu")
    made.dense("y", made.conv("c2", x, 128, window=3), 32)
    net = Network(model(made.network("flattened")).SerializeToString(), {"x": noise(1, np.int8, (1, 8, 8, 8))})
    lengths = hold(net, 2, "hardware", chip().replace(memory__lm_bytes=288 * 2**10))
    assert 1 < min(lengths) <= max(lengths) < 20


def test_more_semaphores_than_there_are() -> None:
    net = written(("Relu", "x", "y"), x=noise(1, np.float32, (8, 8)))
    with pytest.raises(InputError, match=r"4 cores that share an image of network take 6 semaphores, .* has 5"):
        compile(net.model, slow().replace(sync__semaphores=5), cores=4)


def test_a_stream_of_images_that_cores_share() -> None:
    net = chain(np.random.default_rng(6), 16, 16, (3, 16, 16))
    compiled = compile(net.model, slow(), cores=3, host=False)
    (part,) = compiled.parts
    assert part.program is not None and all(len(core.code) > 2 for core in part.program.cores)
    images = np.random.default_rng(4).integers(0, 256, (5, *net.given["x"].shape), dtype=np.uint8)
    run = ratel.run(compiled, {"x": images}, poison=7)
    for image, found in zip(images, run.outputs["y"]):
        assert np.array_equal(found, wanted(compiled.graph, {"x": image})["y"])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.floats(0.1, 0.9))
def test_boxes_hold_what_a_mask_has_once(seed: int, shape: list[int], share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    counts = np.zeros(shape, int)
    for box in _boxes(mask):
        counts[tuple(slice(first, first + size) for first, size in box)] += 1
    assert np.array_equal(counts, mask)


def test_what_nothing_wrote_is_sent_by_nobody() -> None:
    shape = (8, 8)
    held, y = Tensor("held", "f32", shape), Tensor("y", "f32", shape, "output")
    step = Step("eltwise", {"out": y.view(), "x": held.view()}, {}, None)
    shares = shared(Plan((step,), {}, {"y": y}), slow(), 2, [])
    copies = [item for share in shares for item in share.items if isinstance(item, Step) and item.mnemonic == "copy"]
    assert [copy.out.tensor.name for copy in copies] == ["y"]
