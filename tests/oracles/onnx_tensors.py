"""Every tensor of an ONNX network, as onnxruntime computes it: on the CPU, one thread, each node by itself.

A file of QLinear operators is run as it is, with no graph optimisation. One with QuantizeLinear and DequantizeLinear
around float operators has no bits of its own: BASIC and EXTENDED give different ones. What counts is `optimised` at
EXTENDED, a file of QLinear operators again.

On x86 hosts without VNNI instructions onnxruntime adds two products of an unsigned and a signed byte in 16 bits, which
saturate. `saturating` finds that out by products whose sums are known, and `doubtful` says which tensors of a network
come of such sums; `tensors` leaves them out.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Level = onnxruntime.GraphOptimizationLevel
Feeds = Mapping[str, np.ndarray]
SETTINGS = {"session.qdqisint8allowed": "1"}
BYTES = (np.uint8, np.int8)
# Of operators that multiply bytes: which input is the second operand.
PRODUCTS = {
    "QLinearConv": 3,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
}


def options(level: Level = Level.ORT_DISABLE_ALL) -> onnxruntime.SessionOptions:
    """Return a session's options: one thread, and the level of graph optimisation."""
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = made.inter_op_num_threads = 1
    made.graph_optimization_level = level
    made.log_severity_level = 4  # What is wrong is raised.
    return made


def session(model: onnx.ModelProto | Path, made: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(given, made, providers=["CPUExecutionProvider"])


def optimised(path: Path, to: Path, level: Level = Level.ORT_ENABLE_EXTENDED) -> None:
    """Write the file that onnxruntime makes of a network at a level; its metadata say which level and version it was.

    EXTENDED keeps ONNX's layout of images; ALL would not.
    """
    made = options(level)
    for key, value in SETTINGS.items():
        made.add_session_config_entry(key, value)
    made.optimized_model_filepath = str(to)
    session(path, made)
    model = onnx.load(to)
    told = {"onnxruntime": onnxruntime.__version__, "level": level.name, **SETTINGS}
    helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | told)
    onnx.save(model, to)


def tensors(model: onnx.ModelProto | Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return what each node of the graph computes, by name, and what is fed; without those that are `doubtful`."""
    if isinstance(model, Path):
        model = onnx.load(model)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    doubted = doubtful(model)
    names = [name for node in model.graph.node for name in node.output if name and name not in doubted]
    results = {value.name for value in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in results)
    return dict(feeds) | dict(zip(names, session(shown, options()).run(names, dict(feeds))))


@cache
def saturating() -> frozenset[tuple[str, str]]:
    """Return the pairs of types (first operand, second) whose products this host adds up wrongly."""
    return frozenset((np.dtype(a).name, np.dtype(b).name) for a in BYTES for b in BYTES if not _exact(a, b))


def _exact(a: type, b: type) -> bool:
    """Say whether sums of the greatest products come out: of matrices, and of a 1x1 convolution of the same numbers."""
    x = np.full((4, 64), np.iinfo(a).max, a)
    for most in (np.iinfo(b).min, np.iinfo(b).max):
        w = np.full((64, 16), most, b)
        feeds = {"x": x, "image": np.ascontiguousarray(x.T).reshape(1, 64, 2, 2)}
        weights = {"w": w, "kernel": np.ascontiguousarray(w.T).reshape(16, 64, 1, 1)}
        nodes = [
            helper.make_node("MatMulInteger", ["x", "w"], ["product"]),
            helper.make_node("ConvInteger", ["image", "kernel"], ["convolved"]),
        ]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(a))
        inputs = [helper.make_tensor_value_info(name, kind, value.shape) for name, value in feeds.items()]
        results = [onnx.ValueInfoProto(name=name) for name in ("product", "convolved")]
        initialisers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
        graph = helper.make_graph(nodes, "probe", inputs, results, initialisers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        product, convolved = session(model, options()).run(None, feeds)
        expected = x.astype(np.int32) @ w.astype(np.int32)
        if not (np.array_equal(product, expected) and np.array_equal(convolved.reshape(16, 4).T, expected)):
            return False
    return True


def doubtful(model: onnx.ModelProto, pairs: frozenset[tuple[str, str]] | None = None) -> set[str]:
    """Return the tensors that come of sums which may be wrong on this host, or on one with these `saturating` pairs.

    Where the second operand is known, a sum of two products of 255 and it that fits 16 bits is never wrong.
    """
    pairs = saturating() if pairs is None else pairs
    if not pairs:
        return set()
    known = {t.name: t for t in model.graph.initializer}
    signed = {b for _, b in pairs}
    found: set[str] = set()
    for node in model.graph.node:
        wrong = any(name in found for name in node.input)
        if not wrong and node.op_type in PRODUCTS:
            second = known.get(node.input[PRODUCTS[node.op_type]])
            if second is None:
                wrong = True
            elif TensorProto.DataType.Name(second.data_type).lower() in signed:
                values = np.abs(numpy_helper.to_array(second).astype(int))
                wrong = values.size > 0 and 2 * 255 * int(values.max()) > 32767
        if wrong:
            found.update(name for name in node.output if name)
    return found
