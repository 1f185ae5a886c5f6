"""Small networks of integers, as bytes of ONNX files: for the chip alone, and with nodes that are the host's."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import ratel

# As onnxruntime computes.
CHIP = ratel.load_chip("hanguang800").replace(te__vector_format="fp32", pe__vector_format="fp32")
FLOAT, INT64, U8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
SCALES = {"x_s": 0.02, "c": 0.05, "d": 0.08, "w": 0.01}


class _Made:
    def __init__(self, seed: int = 3) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights = {name: np.array(scale, np.float32) for name, scale in SCALES.items()}
        self.weights["z"] = np.array(128, np.uint8)
        self.random = np.random.default_rng(seed)

    def add(self, op: str, read: list[str], made: list[str], **attributes: object) -> None:
        self.nodes.append(helper.make_node(op, read, made, f"{op.lower()}_{made[0]}", **attributes))

    def convolution(self, given: str, scale: str, made: str, to: str, channels: tuple[int, int]) -> None:
        name = f"{made}_w"
        self.weights[name] = self.random.integers(0, 256, (channels[1], channels[0], 3, 3)).astype(np.uint8)
        read = [given, scale, "z", name, "w", "z", to, "z"]
        self.add("QLinearConv", read, [made], kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def model(self, inputs: dict[str, tuple[int, list]], outputs: dict[str, int]) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return made.SerializeToString()


def alone(batch: int | str = 1) -> bytes:
    """Return a network for the chip alone: x f32 [batch, 3, 8, 8] to y u8 [batch, 4, 4, 4]."""
    net = _Made()
    net.add("QuantizeLinear", ["x", "x_s", "z"], ["q"])
    net.convolution("q", "x_s", "conv", "c", (3, 8))
    net.add("MaxPool", ["conv"], ["pool"], kernel_shape=[2, 2], strides=[2, 2])
    net.convolution("pool", "c", "y", "d", (8, 4))
    return net.model({"x": (FLOAT, [batch, 3, 8, 8])}, {"y": U8})


def shared() -> bytes:
    """Return a network whose host sorts between two parts of the chip: x u8 to y u8 [1, 3, 8, 8] and places int64."""
    net = _Made()
    net.convolution("x", "c", "first", "c", (3, 4))
    net.weights["k"] = np.array([3], np.int64)
    net.add("Cast", ["first"], ["wide"], to=TensorProto.INT32)
    net.add("TopK", ["wide", "k"], ["best", "places"], axis=1)
    net.add("Cast", ["best"], ["narrow"], to=U8)
    net.convolution("narrow", "c", "y", "d", (3, 3))
    return net.model({"x": (U8, [1, 3, 8, 8])}, {"y": U8, "places": INT64})


def written(folder: Path, model: bytes, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(model)
    return path


def floats(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def by_onnxruntime(model: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))
