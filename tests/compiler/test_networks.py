"""Networks at random: each tensor that the chip makes is onnxruntime's, bit for bit."""

import pytest
from hypothesis import HealthCheck, given, settings

from compiler.compile import compile
from ratel.testing.networks import Network, networks
from tests.compiler.oracle import chip, differences, mnemonics

drawn = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def hold(net: Network) -> int:
    """Hold a network against onnxruntime; return how many instructions it has on the chip."""
    compiled = compile(net.model, chip(), keep=True)
    wrong = differences(compiled, net.inputs)
    assert not wrong, "\n".join([*wrong, *(node.label for node in compiled.graph.nodes)])
    return len(mnemonics(compiled))


@settings(drawn, max_examples=8)
@given(networks(most=12))
def test_small_networks(net: Network) -> None:
    hold(net)


@pytest.mark.slow
@settings(drawn, max_examples=100)
@given(networks())
def test_networks(net: Network) -> None:
    hold(net)
