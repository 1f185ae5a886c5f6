"""Small instances of the networks of programs/networks equal their integer references, on one core and on several."""

from collections.abc import Callable

import numpy as np
import pytest

import ratel
from programs.networks import catalogue, reference
from programs.networks.bert_layer import bert_layer
from programs.networks.emit import builder
from programs.networks.graph import PRODUCTS, Add, Conv, Dense, Network, fused, inputs, outputs
from programs.networks.mobilenet_v2 import mobilenet_v2
from programs.networks.placement import placed
from programs.networks.resnet50 import resnet50
from programs.networks.vgg16 import vgg16
from programs.training.networks import calibrated

SINGLE = ratel.load_chip("hanguang800", te__vector_format="fp32", pe__vector_format="fp32")
SMALL: dict[str, Callable[[], Network]] = {
    "resnet50": lambda: resnet50(size=37, width=4, classes=10, batch=2),
    "mobilenet_v2": lambda: mobilenet_v2(size=45, width=0.25, classes=10),
    "vgg16": lambda: vgg16(size=160, width=4, classes=10),
    "bert_layer": lambda: bert_layer(steps=16, model=48, heads=3, hidden=96),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Network]:
    found = {name: calibrated(build()) for name, build in SMALL.items()}
    return found | {f"{name}_fused": fused(network) for name, network in found.items() if name != "vgg16"}


@pytest.mark.parametrize("name", [*SMALL, "resnet50_fused", "mobilenet_v2_fused", "bert_layer_fused"])
def test_program_equals_its_integers(networks: dict[str, Network], name: str) -> None:
    network = networks[name]
    given = catalogue.seeded_input(network)
    program, expected = builder(network, given).build(), reference.run(network, given)[network.output]
    assert expected.std() > 10
    # Noise wherever nothing was written: what is read too early, or was overwritten, shows.
    found = ratel.run(program, chip=SINGLE, poison=3).outputs[network.output]
    assert found.tobytes() == expected.tobytes()
    # In the chip's own formats a rounding here and there differs, and all that follows from it.
    own = ratel.run(program).outputs[network.output]
    assert np.abs(own.astype(int) - expected).max() <= 16


@pytest.mark.parametrize("cores", [2, 3, 4])
def test_cores_give_the_bits_of_one(networks: dict[str, Network], cores: int) -> None:
    network = networks["vgg16"]
    given = catalogue.seeded_input(network)
    expected = reference.run(network, given)[network.output]
    run = ratel.run(builder(network, given, cores=cores).build(), chip=SINGLE, poison=3)
    assert run.outputs[network.output].tobytes() == expected.tobytes()


def test_sums_are_fused_with_the_product_before_them(networks: dict[str, Network]) -> None:
    for name, sums in (("resnet50", 16), ("mobilenet_v2", 10), ("bert_layer", 2)):
        plain, one = networks[name], networks[f"{name}_fused"]
        assert sum(isinstance(node, Add) for node in plain.nodes) == sums
        assert sum(isinstance(node, Conv | Dense) and bool(node.add) for node in one.nodes) == sums
        assert len(one.nodes) == len(plain.nodes) - sums and one.macs() == plain.macs()


@pytest.mark.parametrize(
    ("name", "giga_macs", "millions", "nodes"),
    # The literature counts biases and batch norms too: 25.6, 3.5 and 138.4 million parameters.
    [
        ("resnet50", 3.86, 25.5, 72),
        ("mobilenet_v2", 0.30, 3.47, 64),
        ("vgg16", 15.47, 138.3, 21),
        ("bert_layer", 0.93, 7.08, 11),
    ],
)
def test_sizes_are_those_of_the_literature(name: str, giga_macs: float, millions: float, nodes: int) -> None:
    network = catalogue.network(name)
    assert network.macs() / 1e9 == pytest.approx(giga_macs, rel=0.01)
    assert network.weight_bytes() / 1e6 == pytest.approx(millions, rel=0.005)
    assert len(network.nodes) == nodes
    assert network.tensors.keys() == {network.input, *(made for node in network.nodes for made in outputs(node))}


@pytest.mark.parametrize("name", SMALL)
def test_activations_that_live_at_once_lie_apart(networks: dict[str, Network], name: str) -> None:
    network = networks[name]
    sizes = {name: network.tensors[name].bytes for node in network.nodes for name in outputs(node)}
    places, size = placed(network, sizes)
    assert size < 0.7 * sum(sizes.values())
    made = {name: k for k, node in enumerate(network.nodes) for name in outputs(node)}
    used = {name: k for k, node in enumerate(network.nodes) for name in (*inputs(node), *outputs(node))}
    for one in places:
        for other in places:
            if one != other and made[one] <= used[other] and made[other] <= used[one]:
                assert places[one] + sizes[one] <= places[other] or places[other] + sizes[other] <= places[one]


def test_weights_of_vgg16_fit_four_cores_and_not_one() -> None:
    network = catalogue.network("vgg16")
    with pytest.raises(ratel.AssemblyError, match="lm is full"):
        builder(network).build()
    assert sum(isinstance(node, PRODUCTS) for node in network.nodes) == 16


@pytest.mark.parametrize("name", ["resnet50_fused", "mobilenet_v2"])
def test_each_core_computes_images_of_its_own(networks: dict[str, Network], name: str) -> None:
    network = networks[name] if name != "resnet50_fused" else fused(calibrated(resnet50(size=37, width=4, classes=10)))
    program = builder(network, cores=2, images=6, tasks=2).build()
    shape = (2, 6, *network.tensors[network.input].shape[1:])
    given = [np.random.default_rng(core).integers(-128, 128, shape, np.int8) for core in range(2)]
    run = ratel.run(program, {f"images{core}": given[core] for core in range(2)}, chip=SINGLE, poison=3)
    for core in range(2):
        found = run.outputs[f"scores{core}"]
        for task, image in np.ndindex(2, 6):
            expected = reference.run(network, given[core][task, image][None])[network.output]
            assert found[task, image].tobytes() == expected.tobytes(), (core, task, image)
