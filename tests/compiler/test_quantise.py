"""Networks of floats, quantised: exact on the chip, what is bad in them is named, and what cannot be is said."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ratel.onnx
from isa.errors import InputError
from ratel.cli.main import main
from tests.compiler.oracle import Network, check
from tests.compiler.small_networks import alone, by_onnxruntime
from tests.ratel.cli.commands import run_json

Weights = dict[str, np.ndarray]


def same(weights: Weights) -> None:
    """Change nothing."""


def one_channel(weights: Weights) -> None:
    """Make the weights of one channel of conv2 1000 times larger; what it reads is smaller by as much."""
    weights["w2"][:, 3] *= 1000
    weights["w1"][3] /= 1000
    weights["b1"][3] /= 1000


def outlier(weights: Weights) -> None:
    """Give one channel of what conv3 reads values that are far larger than the others; conv3 makes nothing of it."""
    weights["b2"][2] += 300
    weights["w3"][:, 2] = 0


def network(change: Callable[[Weights], None] = same, batch: int | str = "N", opset: int = 17) -> onnx.ModelProto:
    """Return a network of floats x [batch, 3, 8, 8] to y [batch, 5]; one bias is [1, n], one has two readers."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 3, 3), "w4": (8, 5)}
    weights = {name: rng.normal(0, 0.15, shape) for name, shape in shapes.items()}
    weights |= {"b1": rng.normal(0, 0.1, 8), "b2": rng.normal(0, 0.1, 8), "b4": rng.normal(0, 0.1, (1, 5))}
    change(weights)
    same_size = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", **same_size),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", **same_size),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w3", "b1"], ["c3"], "conv3", **same_size),
        helper.make_node("Sigmoid", ["c3"], ["s"]),
        helper.make_node("Add", ["s", "p"], ["a"], "add"),
        helper.make_node("GlobalAveragePool", ["a"], ["g"], "mean"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], "dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def samples(number: int = 8) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (number, 3, 8, 8)).astype(np.float32)


def quantise(model: Any, data: Any = None, **options: Any) -> Any:
    return ratel.onnx.quantise(model, {"x": samples()} if data is None else data, **{"trials": 0, **options})


@pytest.mark.parametrize(
    "options",
    [{}, {"form": "qoperator"}, {"symmetric": True, "method": "entropy"}, {"method": "percentile"}],
    ids=lambda options: "-".join(map(str, options.values())) or "default",
)
def test_what_is_quantised_is_exact_on_the_chip(options: dict) -> None:
    made = quantise(network(batch=1, opset=11), **options)
    model = onnx.load_model_from_string(made.data)
    onnx.checker.check_model(model)
    check(Network(model, {"x": samples(1)}))
    # The error that is told is that of the network which is written.
    right, found = (
        np.concatenate([by_onnxruntime(data, {"x": one[None]})[0] for one in samples()])
        for data in (network(batch=1).SerializeToString(), made.data)
    )
    error = np.sqrt(np.square(found - right, dtype=np.float64).sum() / np.square(right, dtype=np.float64).sum())
    assert made.error == pytest.approx(error, rel=1e-6) and 0 < error < 0.05
    assert {layer.name for layer in made.layers} >= {"conv1", "conv2", "conv3", "dense"}
    assert [layer.own for layer in made.layers] == sorted((layer.own for layer in made.layers), reverse=True)
    (dense,) = (layer for layer in made.layers if layer.name == "dense")
    assert dense.error == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize(("change", "bad"), [(one_channel, "conv2"), (outlier, "conv3")])
def test_a_bad_layer_is_the_worst(change: Callable[[Weights], None], bad: str, form: str) -> None:
    made = quantise(network(change), form=form, trials=1)
    worst, second = made.layers[:2]
    assert worst.name == bad and worst.own > 10 * second.own
    assert all(bad in trial.keep for trial in made.trials) and len(made.trials) == 2
    assert (made.advised is None) == (bad == "conv3")
    if bad == "conv2":
        best = made.trials[0]
        assert best.error < made.error / 10 and "conv1" in best.keep
        kept = quantise(network(change), form=form, keep=best.keep)
        assert kept.error == pytest.approx(best.error)
        assert {layer.name for layer in kept.layers if layer.kept} >= {"conv1", "conv2"}
        host = ratel.compile(onnx.load_model_from_string(kept.data)).summary()["host"]
        assert [node["operator"].removeprefix("Fused") for node in host] == ["Conv", "Conv"]


def test_samples_are_the_same_however_they_are_given(tmp_path: Path) -> None:
    x, model = samples(6), network()
    np.savez(tmp_path / "x.npz", x=x)
    for folder in ("one", "each"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "one/x.npy", x)
    for k in range(6):
        np.save(tmp_path / f"each/{k}.npy", x[k : k + 1])
    forms = [
        x,
        {"x": x[:, None]},
        {"x": [x[:2], x[2:]]},
        [{"x": x[k : k + 1]} for k in range(6)],
        tmp_path / "x.npz",
        tmp_path / "one",
        str(tmp_path / "each"),
    ]
    first, *others = [quantise(model, form) for form in forms]
    assert first.samples == 6 and all(one.data == first.data and one.error == first.error for one in others)
    assert quantise(network(batch=2), x).samples == 3


WRONG = [
    ({"z": samples()}, "has no input 'z'"),
    ({}, "lack the input 'x'"),
    ({"x": samples().astype(np.float64)}, "is of type float64, not float32"),
    ({"x": samples()[:, :2]}, "is of shape [8, 2, 8, 8]"),
    ({"x": samples()[:0]}, "hold no samples"),
    ([], "lack the input 'x'"),
    ({"x": np.where(samples() > 3, np.nan, samples()).astype(np.float32)}, "has nan at ["),
    ({"x": "nothing"}, "is of type str"),
    (7, "7 are no calibration data"),
    ("there/is/none.npz", "cannot read there/is/none.npz"),
]


@pytest.mark.parametrize(("data", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_data_are_told(data: object, said: str) -> None:
    with pytest.raises(InputError) as refused:
        quantise(network(), data)
    assert said in refused.value.message and (refused.value.help or "cannot read" in said)


def test_wrong_files_are_told(tmp_path: Path) -> None:
    damaged, torn, strange = (tmp_path / name for name in ("damaged.npz", "torn.npz", "strange.npz"))
    damaged.write_bytes(b"no archive")
    np.savez(torn, x=samples())
    torn.write_bytes(torn.read_bytes()[:-200])
    with zipfile.ZipFile(strange, "w") as archive:
        archive.writestr("x.npy", "no tensor")
    for path in (damaged, torn, strange, tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError) as refused:
            quantise(network(), path)
        assert path.name in refused.value.message and refused.value.help


def plain(kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """Return a network in which there is nothing to quantise."""
    value, out = (helper.make_tensor_value_info(name, kind, [3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "plain", [value], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_wrong_networks_and_options_are_told() -> None:
    nothing = {"x": np.ones((2, 3), np.float32)}
    overflowing = network(lambda weights: weights["w1"].fill(3e38))
    everything = [node.name or node.output[0] for node in network().graph.node]
    cases: list[tuple[Any, Any, dict, str]] = [
        (alone(), {"x": samples()}, {}, "is quantised already: QuantizeLinear"),
        (plain(), nothing, {}, "nothing of plain is quantised"),
        (plain(TensorProto.DOUBLE), {"x": np.ones((2, 3))}, {}, "nothing of float32"),
        (network(), None, {"keep": everything}, "all that would be is kept in floats"),
        (network(), None, {"keep": ["conv4"]}, "has no layer 'conv4' to keep"),
        (network(), None, {"form": "qd"}, "there is no form 'qd'"),
        (network(), None, {"method": "median"}, "there is no method 'median'"),
        (network(), None, {"keep": "conv1"}, "keep is 'conv1'"),
        (network(), None, {"trials": "x"}, "trials is 'x'"),
        (network(), None, {"seconds": -1}, "seconds is -1"),
        (overflowing, None, {}, "what no 8 bits hold"),
    ]
    for model, data, options, said in cases:
        with pytest.raises(InputError) as refused:
            quantise(model, data, **options)
        assert said in refused.value.message


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, data, target = tmp_path / "net.onnx", tmp_path / "x.npz", tmp_path / "net.int8.onnx"
    onnx.save(network(one_channel), net)
    np.savez(data, x=samples())
    found = run_json(capsys, "quantise", net, "--calibrate", data, "-o", target, "--json", "--trials", 1)
    assert found["layers"][0]["name"] == "conv2" and found["bytes"] == target.stat().st_size
    assert main(["quantise", str(net), "--calibrate", str(data), "--trials", "1"]) == 0
    shown = capsys.readouterr().out
    assert f"--keep {','.join(found['advised'])} leaves" in shown and "the worst first" in shown
    assert shown.index("conv2") < shown.index("conv3")
    before = net.read_bytes()
    assert main(["quantise", str(net), "--calibrate", str(data), "-o", str(net)]) == 2
    assert "name another file" in capsys.readouterr().err and net.read_bytes() == before
    assert main(["quantise", str(target), "--calibrate", str(data)]) == 1
    assert "is quantised already" in capsys.readouterr().err
    assert main(["quantise", str(data), "--calibrate", str(data)]) == 1
