"""Write the scales of the activations of programs/networks: from what each node gives for one seeded input.

    python -m programs.training.networks

Nodes are computed in order, in the integers that the scales found so far give.
"""

import json

import numpy as np

from programs.networks import reference
from programs.networks.catalogue import NETWORKS, SCALES, seeded_input
from programs.networks.graph import PRODUCTS, RELU6_SCALE, Add, GlobalAverage, MaxPool, Network, Node
from ratel import quantise

f32 = np.float32
# Significant digits of a scale in the file.
DIGITS = 4


def calibrated(network: Network) -> Network:
    """Return the network with scales for which no activation of the seeded input is clamped."""
    scales = {name: float(tensor.scale) for name, tensor in network.tensors.items()}
    scales[network.input] = float(quantise.scale([3.0], digits=DIGITS))
    values = {network.input: seeded_input(network, seed=1)}
    for node in network.nodes:
        scales[node.out] = found(node, scales, values)
        values[node.out] = reference.compute(network.scaled(scales), node, values)
    return network.scaled(scales)


def found(node: Node, scales: dict[str, float], values: dict[str, np.ndarray]) -> float:
    """Return the scale of a node's result."""
    match node:
        case MaxPool():
            return scales[node.x]
        case Add():
            real = values[node.a] * scales[node.a] + values[node.b] * scales[node.b]
        case GlobalAverage():
            return float(quantise.scale(values[node.x].mean(axis=(1, 2)) * scales[node.x], digits=DIGITS))
        case _:
            assert isinstance(node, PRODUCTS)
            real = reference.sums(node, values[node.x]) * (scales[node.x] * node.weight_scale.astype(float))
    if node.activation == "relu6":
        return float(RELU6_SCALE)
    return float(quantise.scale(np.maximum(real, 0) if node.activation else real, digits=DIGITS))


def main() -> None:
    """Write the scales of all networks at their full size."""
    scales = {}
    for name, build in NETWORKS.items():
        network = calibrated(build())
        scales[name] = {tensor: float(str(held.scale)) for tensor, held in network.tensors.items()}
        print(f"{name}: {len(scales[name])} activations, scales up to {max(scales[name].values()):g}")
    SCALES.write_text(json.dumps(scales, indent=1) + "\n")


if __name__ == "__main__":
    main()
