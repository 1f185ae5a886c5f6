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
MICROSOFT = "com.microsoft"
f32 = np.float32

# Of the int8 network, whose weights these are (programs/digits/digits.npu).
TRAINED_SCALES = {"conv1": 0.00788, "conv2": 0.0378, "dense": 0.0872}
# Pixels are 0 to 1. The others cover what the 1437 training images give: up to 4.80 and 11.07 behind the ReLU, which is
# what the zero point 0 makes of the clamp to u8, and from -23.91 to 17.96 before the last bias.
SCALES = {"image": f32(1 / 255), "conv1": f32(0.0189), "conv2": f32(0.0435), "dense": f32(0.165)}
ZEROS = {"image": 0, "conv1": 0, "conv2": 0, "dense": 145}
WEIGHT_ZERO = 128


def load(name, program="digits"):
    """Return an array of a program's folder."""
    return np.load(PROGRAMS / program / f"{name}.npy")


def pixels():
    """Return the test images as the network takes them: f32 [n, 1, 8, 8], sixteenths from 0 to 1."""
    sixteenths = np.rint(load("images").astype(f32) * f32(TRAINED_SCALES["conv1"]) * 16)
    return np.moveaxis(sixteenths / f32(16), -1, 1)


class Graph:
    """Nodes and initialisers, as they come; weights are those of a program, activations have scales and zero points."""

    def __init__(self, program="digits", scales=SCALES, zeros=ZEROS):
        self.program, self.scales, self.zeros = program, scales, zeros
        self.nodes, self.initialisers = [], []

    def load(self, name):
        return load(name, self.program)

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
            self.constant(scale, self.scales[name])
            self.constant(zero, np.uint8(self.zeros[name]))
        return scale, zero

    def weights(self, layer, weights):
        """Return the names of a layer's weights, their scales and their zero points."""
        scales = self.load(f"{layer}_scale")
        unsigned = np.ascontiguousarray(weights.astype(np.int16) + WEIGHT_ZERO).astype(np.uint8)
        return (
            self.constant(f"{layer}_weight", unsigned),
            self.constant(f"{layer}_weight_scale", scales),
            self.constant(f"{layer}_weight_zero_point", np.full(len(scales), WEIGHT_ZERO, np.uint8)),
        )

    def bias(self, layer, before, trained):
        """Return a layer's bias, i32, which was trained with another scale of what it reads."""
        return np.rint(self.load(f"{layer}_bias") * (trained / self.scales[before])).astype(np.int32)

    def convolution(self, x, before, layer, trained, **attributes):
        """Return the name of a 3x3 convolution's result; `trained` is what its bias was trained with."""
        # OHWI to OIHW.
        weights = self.weights(layer, np.moveaxis(self.load(f"{layer}_weight"), -1, 1))
        bias = self.constant(f"{layer}_bias", self.bias(layer, before, trained))
        inputs = [x, *self.quantisation(before), *weights, *self.quantisation(layer), bias]
        return self.node("QLinearConv", inputs, layer, kernel_shape=[3, 3], pads=[1, 1, 1, 1], **attributes)

    def model(self, size, doc, *domains):
        """Return the model, checked: f32 `image` [1, 1, size, size] to f32 `scores` [1, 10]."""
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                self.program,
                [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, size, size])],
                [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
                self.initialisers,
            ),
            opset_imports=[helper.make_opsetid(*one) for one in (("", OPSET), *domains)],
            ir_version=IR,
            doc_string=doc,
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def network():
    """Return the model: float `image` [1, 1, 8, 8] to float `scores` [1, 10]."""
    graph, x = Graph(), "image"
    x = graph.node("QuantizeLinear", ["image", *graph.quantisation("image")], "quantised")
    before = "image"
    for k, layer in enumerate(("conv1", "conv2"), 1):
        x = graph.convolution(x, before, layer, TRAINED_SCALES[layer])
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
    return graph.model(8, "8x8 handwritten digits; see programs/onnx/README.md")


def main():
    """Write the file and the first test image."""
    MODEL.parent.mkdir(exist_ok=True)
    onnx.save(network(), MODEL)
    np.save(IMAGE, pixels()[:1])
    print(f"{MODEL.name} {MODEL.stat().st_size:,} bytes, {IMAGE.name} of a {load('labels')[0]}")


if __name__ == "__main__":
    main()
