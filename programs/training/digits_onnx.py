"""Write the 8x8 digit classifier as an ONNX file, quantised, and an image to show it.

Run as `python -m programs.training.digits_onnx`; it needs onnx, and the weights
that `programs.training.digits` trained. Activations and weights are u8 with zero
points, weights with a scale for each output channel: sums of such products are
exact on all hosts in onnxruntime, which those of signed bytes are not.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PROGRAMS = Path(__file__).parents[1]
MODEL, IMAGE = PROGRAMS / "onnx/digits.onnx", PROGRAMS / "onnx/digits_image.npy"
OPSET, IR = 13, 8
f32 = np.float32

# Of the int8 network, whose weights these are (programs/digits/digits.npu).
TRAINED_SCALES = {"conv1": 0.00788, "conv2": 0.0378, "dense": 0.0872}
# Pixels are 0 to 1. The others cover what the 1437 training images give: up to 4.80 and 11.07 behind the ReLU, which is
# what the zero point 0 makes of the clamp to u8, and from -23.91 to 17.96 before the last bias.
SCALES = {"image": f32(1 / 255), "conv1": f32(0.0189), "conv2": f32(0.0435), "dense": f32(0.165)}
ZEROS = {"image": 0, "conv1": 0, "conv2": 0, "dense": 145}
WEIGHT_ZERO = 128


def load(name):
    """Return an array of programs/digits."""
    return np.load(PROGRAMS / "digits" / f"{name}.npy")


def pixels():
    """Return the test images as the network takes them: f32 [n, 1, 8, 8], sixteenths from 0 to 1."""
    sixteenths = np.rint(load("images").astype(f32) * f32(TRAINED_SCALES["conv1"]) * 16)
    return np.moveaxis(sixteenths / f32(16), -1, 1)


class Graph:
    """Nodes and initialisers, as they come."""

    def __init__(self):
        self.nodes, self.initialisers = [], []

    def constant(self, name, value):
        self.initialisers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator, inputs, name, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def quantisation(self, name):
        """Return the names of an activation's scale and zero point."""
        scale, zero = f"{name}_scale", f"{name}_zero_point"
        if scale not in {tensor.name for tensor in self.initialisers}:
            self.constant(scale, SCALES[name])
            self.constant(zero, np.uint8(ZEROS[name]))
        return scale, zero

    def weights(self, layer, weights):
        """Return the names of a layer's weights, their scales and their zero points."""
        zeros = np.full(len(load(f"{layer}_scale")), WEIGHT_ZERO, np.uint8)
        unsigned = np.ascontiguousarray(weights.astype(np.int16) + WEIGHT_ZERO).astype(np.uint8)
        return (
            self.constant(f"{layer}_weight", unsigned),
            self.constant(f"{layer}_weight_scale", load(f"{layer}_scale")),
            self.constant(f"{layer}_weight_zero_point", zeros),
        )


def network():
    """Return the model: float `image` [1, 1, 8, 8] to float `scores` [1, 10]."""
    graph, x = Graph(), "image"
    x = graph.node("QuantizeLinear", ["image", *graph.quantisation("image")], "quantised")
    before = "image"
    for k, layer in enumerate(("conv1", "conv2"), 1):
        # OHWI to OIHW.
        weights = graph.weights(layer, np.moveaxis(load(f"{layer}_weight"), -1, 1))
        bias = load(f"{layer}_bias") * (TRAINED_SCALES[layer] / SCALES[before])
        bias = graph.constant(f"{layer}_bias", np.rint(bias).astype(np.int32))
        inputs = [x, *graph.quantisation(before), *weights, *graph.quantisation(layer), bias]
        x = graph.node("QLinearConv", inputs, layer, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        x = graph.node("MaxPool", [x], f"pool{k}", kernel_shape=[2, 2], strides=[2, 2])
        before = layer
    x = graph.node("Flatten", [x], "flat")
    # The features of [outputs, 2, 2, 32] come channel by channel here.
    dense = np.moveaxis(load("dense_weight").reshape(10, 2, 2, 32), -1, 1).reshape(10, 128).T
    inputs = [x, *graph.quantisation(before), *graph.weights("dense", dense), *graph.quantisation("dense")]
    x = graph.node("QLinearMatMul", inputs, "dense")
    x = graph.node("DequantizeLinear", [x, *graph.quantisation("dense")], "products")
    bias = load("dense_bias") * (load("dense_scale") * f32(TRAINED_SCALES["dense"]))
    graph.node("Add", [x, graph.constant("dense_bias", bias.astype(f32))], "scores")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
            graph.initialisers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        doc_string="8x8 handwritten digits; see programs/onnx/README.md",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    """Write the file and the first test image."""
    MODEL.parent.mkdir(exist_ok=True)
    onnx.save(network(), MODEL)
    np.save(IMAGE, pixels()[:1])
    print(f"{MODEL.name} {MODEL.stat().st_size:,} bytes, {IMAGE.name} of a {load('labels')[0]}")


if __name__ == "__main__":
    main()
