"""Write the scales of the activations of programs/networks: from what each node gives for one seeded input.

    python -m programs.training.networks

It needs onnxruntime, which computes the nodes one by one, in floats: a bias is in steps of the scale of what its node
reads, so that one comes after another.
"""

import json
from dataclasses import replace

import onnxruntime

from programs.networks import onnx_model
from programs.networks.catalogue import NETWORKS, SCALES, seeded_input
from programs.networks.graph import RELU6_SCALE, MaxPool, Network, inputs, outputs
from ratel import quantise

# Significant digits of a scale in the file.
DIGITS = 4
FLOAT = onnx_model.FORMS["float"]


def calibrated(network: Network) -> Network:
    """Return the network with scales for which no activation of the seeded input is clamped."""
    scales = dict.fromkeys(network.tensors, 1.0)
    scales[network.input] = float(quantise.scale([3.0], digits=DIGITS))
    values = {network.input: onnx_model.given(network.scaled(scales), FLOAT, seeded_input(network, seed=1))}
    for node in network.nodes:
        part = onnx_model.model(replace(network.scaled(scales), nodes=(node,)), FLOAT, outputs(node))
        session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
        made = session.run(None, {name: values[name] for name in inputs(node)})
        for name, value in zip(outputs(node), made, strict=True):
            values[name] = value
            scales[name] = float(quantise.scale(value, digits=DIGITS))
        if isinstance(node, MaxPool):
            scales[node.out] = scales[node.x]
        if getattr(node, "activation", "") == "relu6":
            scales[node.out] = float(RELU6_SCALE)
    return network.scaled(scales)


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
