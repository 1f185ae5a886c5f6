"""What onnxruntime computes on the way: every tensor, the form it runs, and the sums that a host gets wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.longer.networks import examples, forms, light
from tests.oracles import onnx_nodes
from tests.oracles.onnx_tensors import doubtful, optimised, options, saturating, session, tensors

f32 = np.float32
SATURATING = frozenset({("uint8", "int8"), ("int8", "int8")})


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions and what goes between them, with a name for each tensor."""
    rng = np.random.default_rng(3)
    weights = {"w1": rng.normal(0, 0.3, (8, 3, 3, 3)), "w2": rng.normal(0, 0.3, (4, 8, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2"], ["y"]),
    ]
    images = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 16, 16])]
    results = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 8, 8])]
    initialisers = [numpy_helper.from_array(value.astype(f32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "two", images, results, initialisers)
    path = tmp_path_factory.mktemp("network") / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def feeds(seed: int) -> forms.Feeds:
    return {"x": examples.image(np.random.default_rng(seed), (1, 3, 16, 16))}


@pytest.fixture(scope="module")
def quantised(network: Path) -> dict[str, Path]:
    made = {form: network.with_name(f"{form}.onnx") for form in (*forms.FORMS, "extended")}
    for form in forms.FORMS:
        forms.quantised(network, form, [feeds(seed) for seed in range(3)], made[form])
    optimised(made["qdq"], made["extended"])
    return made


def test_every_tensor_is_there_and_none_is_changed_by_being_shown(quantised: dict[str, Path]) -> None:
    for form in ("u8u8", "s8s8", "extended"):
        model, given = onnx.load(quantised[form]), feeds(9)
        found = tensors(model, given)
        assert {name for node in model.graph.node for name in node.output} <= found.keys()
        (alone,) = session(model, options()).run(["y"], given)
        np.testing.assert_array_equal(found["y"], alone)


def test_the_extended_form_has_the_bits_that_onnxruntime_gives(quantised: dict[str, Path]) -> None:
    model = onnx.load(quantised["extended"])
    assert [n.op_type for n in model.graph.node].count("QLinearConv") == 2
    told = {prop.key: prop.value for prop in model.metadata_props}
    assert told["level"] == "ORT_ENABLE_EXTENDED" and told["session.qdqisint8allowed"] == "1" and told["onnxruntime"]
    level = options(type(options().graph_optimization_level).ORT_ENABLE_ALL)
    level.add_session_config_entry("session.qdqisint8allowed", "1")
    (expected,) = session(quantised["qdq"], level).run(["y"], feeds(9))
    np.testing.assert_array_equal(tensors(model, feeds(9))["y"], expected)


def test_quantised_is_near_float(network: Path, quantised: dict[str, Path]) -> None:
    """Of an example that the ranges were taken of, so that nothing is clamped."""
    real = tensors(network, feeds(1))["y"]
    for form in ("u8u8", "s8s8", "extended"):
        assert np.abs(tensors(quantised[form], feeds(1))["y"] - real).max() < 0.05 * np.ptp(real), form


def test_sums_that_saturate_are_left_out(quantised: dict[str, Path]) -> None:
    """Of a host with such pairs: all that comes behind the first product of signed weights, and none of unsigned."""
    assert ("uint8", "uint8") not in saturating()
    model = onnx.load(quantised["s8s8"])
    behind = doubtful(model, SATURATING)
    firsts = [name for node in model.graph.node[:1] for name in node.output]
    assert "y" in behind and not behind.intersection(firsts)
    assert doubtful(onnx.load(quantised["u8u8"]), SATURATING) == set()
    for tensor in model.graph.initializer:
        if tensor.name.startswith("w") and tensor.data_type == onnx.TensorProto.INT8 and tensor.dims:
            halved = numpy_helper.to_array(tensor) // 2
            tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    assert doubtful(model, SATURATING) == set()


def test_a_topology_has_seeded_weights_that_neither_vanish_nor_explode() -> None:
    model = light.weighted("squeezenet")
    assert model == light.weighted("squeezenet")
    assert "Softmax" not in {node.op_type for node in model.graph.node}
    found = tensors(model, {"data_0": examples.image(np.random.default_rng(1), (1, 3, 224, 224))})
    spread = {name: float(value.std()) for name, value in found.items()}
    assert all(1e-2 < deviation < 1e2 for deviation in spread.values()), spread


@pytest.mark.slow
def test_the_standards_cases_are_there_and_onnxruntime_passes_those_of_conv() -> None:
    found = onnx_nodes.by_operator()
    assert len(found) > 150 and all(case.inputs or case.outputs for cases in found.values() for case in cases)
    for operator in ("Conv", "QLinearConv", "QLinearMatMul", "MaxPool"):
        assert [case.name for case in found[operator] if not onnx_nodes.passes(case)] == []
