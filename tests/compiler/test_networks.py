"""Networks at random: each tensor that the chip makes is onnxruntime's, bit for bit."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto

from compiler.compile import compile
from ratel.testing.networks import Network, networks
from tests.compiler.oracle import chip, differences, mnemonics, network, noise, refusals

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


def test_what_a_table_passes_over_is_made_where_the_host_reads_it() -> None:
    """Whole numbers of 32 bits are no table's; the second cast cannot have its table, and so not the first."""
    x = {"x": noise(1, "int8", (2, 3))}
    net = network(
        ("QLinearSigmoid", "x s z s z", "y"),
        ("Cast", "y", "u", {"to": TensorProto.INT32}),
        ("Cast", "u", "v", {"to": TensorProto.INT64}),
        ("Gather", "w v", "g"),
        given=x,
        constants={"s": np.float32(0.1), "z": np.int8(3), "w": noise(2, "int8", (256, 2))},
    )
    assert refusals(net) == ["its result is i32, which no table has"] * 2
