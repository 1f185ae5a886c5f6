"""Networks at random: each tensor that the chip makes is onnxruntime's, bit for bit."""

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import ratel
from compiler.compile import compile
from compiler.compiled import Compiled
from isa.errors import InputError
from isa.program import ORDERS
from ratel.testing.networks import Network, networks
from tests.compiler.oracle import chip, differences, network, noise, refusals, results
from tests.compiler.test_small_chips import small as small_chip

drawn = settings(deadline=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))


# A chip whose local memory has so many bytes, and an order.
small_chips = st.tuples(st.sampled_from((2048, 8192, 65536)), st.sampled_from(ORDERS))


def hold(net: Network, small: tuple[int, str]) -> Compiled:
    """Hold a network against onnxruntime; on a small chip, where places are shared and steps cut, against itself."""
    compiled = compile(net.model, chip(), keep=True)
    nodes = [node.label for node in compiled.graph.nodes]
    wrong = differences(compiled, net.inputs)
    assert not wrong, "\n".join([*wrong, *nodes])
    lm, order = small
    try:
        cut = compile(net.model, small_chip(lm), order=order)
    except InputError as error:
        assert "cannot be cut to fit" in error.message, "\n".join([error.message, *nodes])
        return compiled
    programs = [part.program for part in cut.parts if part.program is not None]
    assert [ratel.check(program).verdict for program in programs] == ["proven"] * len(programs), nodes
    for name, found, right in zip(
        compiled.graph.outputs, results(cut, net.inputs, check=False), results(compiled, net.inputs, check=False)
    ):
        assert np.array_equal(found, right, equal_nan=found.dtype.kind == "f"), "\n".join([name, *nodes])
    return compiled


@settings(drawn, max_examples=7)
@given(networks(most=12), small_chips)
def test_small_networks(net: Network, small: tuple[int, str]) -> None:
    hold(net, small)


@pytest.mark.slow
@settings(drawn, max_examples=100)
@given(networks(), small_chips)
def test_networks(net: Network, small: tuple[int, str]) -> None:
    hold(net, small)


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
