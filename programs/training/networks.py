"""Write the scales of the activations of programs/networks: from what each node gives for one seeded input.

    python -m programs.training.networks

Nodes are computed in order, in the integers that the scales found so far give.
"""

import json

import numpy as np

from programs.networks import reference
from programs.networks.catalogue import NETWORKS, SCALES, seeded_input
from programs.networks.graph import (
    EPSILON,
    RELU6_SCALE,
    Add,
    Attention,
    Conv,
    Dense,
    Depthwise,
    GlobalAverage,
    LayerNorm,
    MaxPool,
    Network,
    Node,
    inputs,
)
from ratel import quantise

# Significant digits of a scale in the file.
DIGITS = 4


def calibrated(network: Network) -> Network:
    """Return the network with scales for which no activation of the seeded input is clamped."""
    scales = dict.fromkeys(network.tensors, 1.0)
    scales[network.input] = float(quantise.scale([3.0], digits=DIGITS))
    values = {network.input: seeded_input(network, seed=1)}
    for node in network.nodes:
        for name, real in floats(node, network.scaled(scales), values).items():
            scales[name] = float(quantise.scale(real, network.tensors[name].dtype, digits=DIGITS))
        if isinstance(node, MaxPool):
            scales[node.out] = scales[node.x]
        if getattr(node, "activation", "") == "relu6":
            scales[node.out] = float(RELU6_SCALE)
        values |= reference.compute(network.scaled(scales), node, values)
    return network.scaled(scales)


def floats(node: Node, network: Network, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return in real numbers what a node makes of stored integers, by name."""
    real = {name: values[name] * float(network.tensors[name].scale) for name in inputs(node)}
    match node:
        case MaxPool():
            return {}
        case Add():
            v = real[node.a] + real[node.b]
            return {node.out: np.maximum(v, 0) if node.activation else v}
        case GlobalAverage():
            return {node.out: real[node.x].mean(axis=(1, 2))}
        case Attention():
            q, k, v = (
                x.reshape(len(x), node.heads, -1).swapaxes(0, 1) for x in (real[node.q], real[node.k], real[node.v])
            )
            scores = q @ k.swapaxes(1, 2)
            weight = np.exp(scores - scores.max(-1, keepdims=True))
            return {node.scores: scores, node.out: weight / weight.sum(-1, keepdims=True) @ v}
        case LayerNorm():
            centred = real[node.x] - real[node.x].mean(1, keepdims=True)
            normal = centred / np.sqrt((centred**2).mean(1, keepdims=True) + EPSILON)
            return {node.centred: centred, node.normal: normal, node.out: normal * node.gain + node.offset}
        case Conv() | Depthwise() | Dense():
            steps = float(network.tensors[node.x].scale) * node.weight_scale.astype(float)
            v = reference.sums(node, values[node.x]) * steps
            # The greatest value of gelu is that of relu, nearly.
            return {node.out: np.maximum(v, 0) if node.activation else v}


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
