"""The topologies that the onnx wheel brings, with weights: seeded, and such that numbers neither vanish nor explode.

The wheel's own are constants, all alike. Here each is drawn by its name's checksum, so that it depends on nothing else.
Opset 13 and IR 8; what that opset writes otherwise, or what only training needs, is rewritten; the Softmax at the end
is cut off, for it would leave nothing to compare.
"""

from pathlib import Path
from zlib import crc32

import numpy as np
import onnx
from onnx import numpy_helper

OPSET, IR = 13, 8
f32 = np.float32
# Of BatchNormalization's four inputs after its image: mean and deviation, or the bounds of a variance.
NORMALS = {1: (0.9, 0.1), 2: (0.0, 0.1), 3: (0.0, 0.1)}


def weighted(topology: str) -> onnx.ModelProto:
    """Return a network with weights, from `light_{topology}.onnx` of the onnx wheel."""
    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    model = onnx.load(folder / f"light_{topology}.onnx")
    graph = model.graph
    kept, shapes, same = [], _shapes_of_constants(graph), {}
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = same.get(name, name)
        if node.op_type == "Dropout":
            same[node.output[0]] = node.input[0]
        elif node.output[0] not in shapes:
            if node.op_type == "Sum":
                assert len(node.input) == 2
                node.op_type = "Add"
            kept.append(node)
    if kept[-1].op_type == "Softmax":
        cut = kept.pop()
        kept[-1].output[0] = cut.output[0]
    weights = {}
    for node in kept:
        for k, name in enumerate(node.input):
            if name in shapes and name not in weights:
                weights[name] = _draw(name, node.op_type, k, shapes[name])
            elif name in given:
                weights[name] = given[name]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    images = [value for value in graph.input if value.name not in given]
    del graph.input[:]
    graph.input.extend(images)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.ir_version = IR
    onnx.checker.check_model(model, full_check=True)
    return model


def _shapes_of_constants(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights: of constants in float32, and of what is computed of them alone."""
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {name: value.shape for name, value in given.items() if value.dtype == f32}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(int(n) for n in given[node.input[0]])
        elif node.input[0] in shapes:
            stand_in = np.broadcast_to(f32(0), shapes[node.input[0]])
            if node.op_type == "Unsqueeze":
                shapes[node.output[0]] = np.expand_dims(stand_in, tuple(node.attribute[0].ints)).shape
            elif node.op_type == "Reshape":
                shapes[node.output[0]] = stand_in.reshape(given[node.input[1]]).shape
            else:
                raise ValueError(f"{node.op_type} of a constant: {node.output[0]}")
    return shapes


def _draw(name: str, operator: str, place: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return values for a node's input: He's normal weights (fan-in), small biases, normalising that changes little."""
    rng = np.random.default_rng(crc32(name.encode()))
    if operator in ("Conv", "Gemm") and place == 1:
        return (rng.standard_normal(shape, f32) * f32(np.sqrt(2 / np.prod(shape[1:])))).astype(f32)
    if operator == "BatchNormalization":
        if place == 4:
            return rng.uniform(0.8, 1.5, shape).astype(f32)
        mean, deviation = NORMALS[place]
        return rng.normal(mean, deviation, shape).astype(f32)
    return rng.normal(1.0 if operator == "Mul" else 0.0, 0.1, shape).astype(f32)
