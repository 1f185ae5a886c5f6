"""Write the 28x28 digit classifier as an ONNX file, quantised.

Run as `python -m programs.training.mnist_onnx`; it needs onnx, and the weights that `programs.training.mnist` trained.
All is as in `programs.training.digits_onnx`, but that scales are those of the int8 network, in twice as many
steps behind each ReLU, and that scores are floats straight from the sums: nothing had to be calibrated anew.
"""

import numpy as np
import onnx

from programs.training.digits_onnx import MICROSOFT, PROGRAMS, Graph, f32, load

MODEL = PROGRAMS / "onnx/mnist.onnx"

# Of the int8 network, whose weights these are (programs/mnist/mnist.npu): what each layer reads, and its result.
TRAINED_SCALES = {"image": 0.00788, "conv1": 0.0247, "conv2": 0.0466, "conv3": 0.141}
SCALES = {name: f32(scale if name == "image" else scale * 127 / 255) for name, scale in TRAINED_SCALES.items()}


def pixels():
    """Return the test images as the network takes them: f32 [n, 1, 28, 28], from 0 to 1."""
    return np.moveaxis(load("images", "mnist").astype(f32) * SCALES["image"], -1, 1)


def network():
    """Return the model: float `image` [1, 1, 28, 28] to float `scores` [1, 10]."""
    before, graph = "image", Graph("mnist", SCALES, dict.fromkeys(SCALES, 0))
    x = graph.node("QuantizeLinear", ["image", *graph.quantisation("image")], "quantised")
    for layer in ("conv1", "conv2", "conv3"):
        strides = [2, 2] if layer == "conv1" else [1, 1]
        x = graph.convolution(x, before, layer, TRAINED_SCALES[before], strides=strides)
        if layer != "conv1":
            x = graph.node("MaxPool", [x], f"{layer}_pool", kernel_shape=[2, 2], strides=[2, 2])
        before = layer
    x = graph.node("Flatten", [x], "flat")
    # The features of [outputs, 3, 3, 32] come channel by channel here.
    dense = np.moveaxis(graph.load("dense_weight").reshape(10, 3, 3, 32), -1, 1).reshape(10, 288).T
    bias = graph.constant("dense_bias", graph.bias("dense", before, TRAINED_SCALES[before]))
    inputs = [x, *graph.quantisation(before), *graph.weights("dense", dense), bias]
    graph.node("QGemm", inputs, "scores", domain=MICROSOFT)
    return graph.model(28, "28x28 handwritten digits; see programs/onnx/README.md", (MICROSOFT, 1))


def main():
    """Write the file."""
    onnx.save(network(), MODEL)
    print(f"{MODEL.name} {MODEL.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
