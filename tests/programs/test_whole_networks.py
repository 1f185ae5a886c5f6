"""Small instances of the networks of programs/networks, compiled, have onnxruntime's bits, on one core and on more."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ratel
from compiler import exchange
from compiler.compiled import Compiled
from compiler.runtime import session
from programs import networks as networks_of_literature
from programs.networks import __main__ as command
from programs.networks import catalogue, onnx_model
from programs.networks.bert_layer import bert_layer
from programs.networks.graph import PRODUCTS, Add, LayerNorm, Network, outputs
from programs.networks.mobilenet_v2 import mobilenet_v2
from programs.networks.resnet50 import resnet50
from programs.networks.vgg16 import vgg16
from programs.training.networks import calibrated

SINGLE = ratel.load_chip("hanguang800", te__vector_format="fp32", pe__vector_format="fp32")
# Sending costs little, so that small images, too, are cut.
NEAR = SINGLE.replace(ring__latency=0, me__latency=0, sync__latency=0)
SMALL: dict[str, Callable[[], Network]] = {
    "resnet50": lambda: resnet50(size=37, width=4, classes=10),
    "mobilenet_v2": lambda: mobilenet_v2(size=45, width=0.25, classes=10),
    "vgg16": lambda: vgg16(size=160, width=4, classes=10),
    "bert_layer": lambda: bert_layer(steps=16, model=48, heads=3, hidden=96),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    return {name: calibrated(build()) for name, build in SMALL.items()}


def compiled(network: Network, form: str = "s8s8", chip: ratel.Chip = SINGLE, **options: object) -> Compiled:
    return ratel.compile(onnx_model.model(network, onnx_model.FORMS[form]), chip, host=False, **options)


def by_onnxruntime(network: Network, given: np.ndarray, form: str = "s8s8") -> np.ndarray:
    """Return what onnxruntime makes of images, one by one."""
    runs = session(onnx_model.model(network, onnx_model.FORMS[form]).SerializeToString())
    batch = network.tensors[network.input].shape[0]
    images = np.split(given, len(given) // batch)
    return np.concatenate([runs.run(None, {network.input: image})[0] for image in images])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("form", ["s8s8", "u8u8"])
def test_networks_have_the_bits_of_onnxruntime(networks: dict[str, Network], name: str, form: str) -> None:
    network = networks[name]
    given = onnx_model.given(network, onnx_model.FORMS[form], catalogue.seeded_input(network))
    made, expected = compiled(network, form), by_onnxruntime(network, given, form)
    # Softmax, layer norm and gelu are the chip's own, which is to be near.
    assert bool(made.inexact) == any(isinstance(node, LayerNorm) for node in network.nodes)
    assert expected.std() > 10
    # Noise wherever nothing was written: what is read too early, or was overwritten, shows.
    found = ratel.run(made, {network.input: given}, poison=3).outputs[network.output]
    apart = np.abs(found.astype(int) - expected)
    assert apart.max() <= (1 if made.inexact else 0)
    # In the chip's own formats a rounding here and there differs, and all that follows from it.
    own = ratel.run(made, {network.input: given}, chip="hanguang800").outputs[network.output]
    assert np.abs(own.astype(int) - expected).max() <= 16


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_each_core_computes_images_of_its_own(networks: dict[str, Network], name: str) -> None:
    network = networks[name]
    shape = (2 * 3, *network.tensors[network.input].shape[1:])
    given = np.random.default_rng(5).integers(-128, 128, shape, np.int8)
    expected = by_onnxruntime(network, given)
    with ratel.onnx.InferenceSession(compiled(network, cores=2, batch=3)) as cores:
        (found,) = cores.run(None, {network.input: given})
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("name", "cores"), [("vgg16", 2), ("vgg16", 3), ("vgg16", 4), ("resnet50", 4)])
def test_cores_that_share_an_image_give_the_bits_of_one(networks: dict[str, Network], name: str, cores: int) -> None:
    network = networks[name]
    given = catalogue.seeded_input(network)
    (part,) = compiled(network, chip=NEAR, cores=cores).parts
    assert min(len(core.code) for core in part.program.cores) > len(network.nodes) / 2
    run = ratel.run(part.program, exchange.given(part.plans, {network.input: given}), poison=3)
    found = exchange.made(part.plans, part.graph, run.outputs)[network.output]
    assert found.tobytes() == by_onnxruntime(network, given).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.NETWORKS)
def test_whole_networks_have_the_bits_of_onnxruntime(name: str) -> None:
    network = catalogue.network(name)
    given = catalogue.seeded_input(network)
    made = compiled(network, cores=catalogue.CORES.get(name, 1))
    with ratel.onnx.InferenceSession(made) as runs:
        (found,) = runs.run(None, {network.input: given})
    assert np.abs(found.astype(int) - by_onnxruntime(network, given)).max() <= (1 if made.inexact else 0)


@pytest.mark.slow
def test_weights_of_vgg16_fit_four_cores_and_neither_one_nor_two() -> None:
    network = catalogue.network("vgg16")

    def memories(**options: object) -> set[str]:
        return {symbol.memory for _, symbol in compiled(network, **options).program.of_kind("weight")}

    assert memories() == {"host"} and memories(cores=4) == {"lm"}
    with pytest.raises(ratel.InputError, match="does not fit the local memories of 2 cores"):
        memories(cores=2)


@pytest.mark.parametrize(("name", "sums"), [("resnet50", 16), ("mobilenet_v2", 10)])
def test_sums_are_rounded_once_where_asked(networks: dict[str, Network], name: str, sums: int) -> None:
    network = networks[name]
    made = compiled(network, round_once=True)
    assert sum(isinstance(node, Add) for node in network.nodes) == sums
    assert sum(one.endswith("rounded once") for one in made.summary()["fused"]) == sums
    given = catalogue.seeded_input(network)
    found = ratel.run(made, {network.input: given}).outputs[network.output]
    assert np.abs(found.astype(int) - by_onnxruntime(network, given)).max() <= 16
    assert ratel.time(made).cycles < ratel.time(compiled(network)).cycles


@pytest.mark.parametrize(
    ("name", "giga_macs", "millions", "nodes", "products"),
    # The literature counts biases and batch norms too: 25.6, 3.5 and 138.4 million parameters.
    [
        ("resnet50", 3.86, 25.5, 72, 54),
        ("mobilenet_v2", 0.30, 3.47, 64, 53),
        ("vgg16", 15.47, 138.3, 21, 16),
        ("bert_layer", 0.93, 7.08, 11, 6),
    ],
)
def test_sizes_are_those_of_the_literature(
    name: str, giga_macs: float, millions: float, nodes: int, products: int
) -> None:
    network = catalogue.network(name)
    assert network.macs() / 1e9 == pytest.approx(giga_macs, rel=0.01)
    assert network.weight_bytes() / 1e6 == pytest.approx(millions, rel=0.005)
    assert len(network.nodes) == nodes
    assert sum(isinstance(node, PRODUCTS) for node in network.nodes) == products
    assert network.tensors.keys() == {network.input, *(made for node in network.nodes for made in outputs(node))}
    # VGG-16 alone is for several cores: its weights do not fit the local memory of one.
    memory = SINGLE["memory.lm_bytes"]
    assert network.weight_bytes() < memory * catalogue.CORES.get(name, 1)
    assert (network.weight_bytes() > memory) == (name in catalogue.CORES)


def test_the_command_writes_a_network_and_an_input_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, image = tmp_path / "net.onnx", tmp_path / "image.npy"
    monkeypatch.setattr(
        "sys.argv", ["networks", "bert_layer", "--form", "u8u8", "-o", str(path), "--input", str(image)]
    )
    assert command.main() == command.DONE
    assert capsys.readouterr().out == f"{path}: u8u8, 11 nodes, 0.93 GMAC, 7.1 million weights\n"
    given = np.load(image)
    assert given.dtype == np.uint8 and ratel.compile(path).shape("x") == given.shape
    monkeypatch.setattr("sys.argv", ["networks", "bert_layer", "-o", str(tmp_path / "no" / "net.onnx")])
    assert command.main() == command.FAILED
    assert "net.onnx: No such file" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "programs.networks.onnx_model")
    monkeypatch.delattr(networks_of_literature, "onnx_model")
    assert command.main() == command.FAILED
    assert "onnx is not installed" in capsys.readouterr().err
