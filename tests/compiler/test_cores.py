"""One image on several cores: the bits of one core, in both orders, and proven free of races."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ratel
from compiler.compile import compile
from compiler.fit.share import _boxes
from isa.chip import Chip
from ratel.testing.networks import Network, networks
from tests.compiler.oracle import chip, results

drawn = settings(deadline=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))


def slow() -> Chip:
    """Return a chip whose engines are so slow, and whose ring is so fast, that all that can be cut is."""
    slow = {"te__multipliers": 1, "te__pixels": 1, "te__channels": 1, "te__vector_lanes": 1, "pe__lanes": 1}
    return chip().replace(**slow, ring__latency=0, me__latency=0, sync__latency=0, ring__bytes_per_cycle=1e6)


def hold(net: Network, cores: int, order: str) -> list[int]:
    """Hold cores against one; return how many instructions each has of the first part that the chip computes."""
    one, several = compile(net.model, slow()), compile(net.model, slow(), cores=cores, order=order)
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


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.floats(0.1, 0.9))
def test_boxes_hold_what_a_mask_has_once(seed: int, shape: list[int], share: float) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    counts = np.zeros(shape, int)
    for box in _boxes(mask):
        counts[tuple(slice(first, first + size) for first, size in box)] += 1
    assert np.array_equal(counts, mask)
