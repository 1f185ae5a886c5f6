"""Models that are wrong, or that are not compiled, each with what it is for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

FLOAT = TensorProto.FLOAT
Made = Callable[[Path], bytes]


@dataclass(frozen=True)
class Wrong:
    """A model, made in a folder, and how it is compiled."""

    made: Made
    options: dict[str, Any] = field(default_factory=dict)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    ir: int = 8,
    **more: Any,
) -> onnx.ModelProto:
    """Return a model; without inputs and outputs it is x float[1, 4] to y."""
    graph = helper.make_graph(
        nodes,
        "wrong",
        inputs or [helper.make_tensor_value_info("x", FLOAT, [1, 4])],
        outputs or [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    for name, value in more.items():
        getattr(graph, name).extend(value)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def node(op: str, *read: str, made: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, list(read), [made], f"{op.lower()}_1", **attributes)


def value(name: str, kind: int, shape: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def plain(made: onnx.ModelProto) -> Made:
    return lambda _: made.SerializeToString()


def raw(data: bytes) -> Made:
    return lambda _: data


RELU = model([node("Relu", "x")])


def truncated(folder: Path) -> bytes:
    weights = {"w": np.ones((4, 400), np.float32)}
    data = model([node("MatMul", "x", "w")], weights=weights).SerializeToString()
    return data[: len(data) // 2]


def short_weight(folder: Path) -> bytes:
    made = model([node("MatMul", "x", "w")], weights={"w": np.ones((4, 4), np.float32)})
    made.graph.initializer[0].raw_data = b"1234"
    return made.SerializeToString()


def unknown_type(folder: Path) -> bytes:
    made = model([node("MatMul", "x", "w")], weights={"w": np.ones((4, 4), np.float32)})
    made.graph.initializer[0].data_type = 99
    return made.SerializeToString()


def external(location: str, data: bytes | None = None, **where: int) -> Made:
    """Return what makes a model whose weight lies elsewhere; `data` is written beside it."""

    def make(folder: Path) -> bytes:
        made = model([node("MatMul", "x", "w")], weights={"w": np.ones((4, 4), np.float32)})
        set_external_data(made.graph.initializer[0], location, **where)
        made.graph.initializer[0].ClearField("raw_data")
        if data is not None:
            (folder / location).write_bytes(data)
        return made.SerializeToString()

    return make


def linked(folder: Path) -> bytes:
    (folder / "w.bin").symlink_to("/etc/hostname")
    return external("w.bin")(folder)


def sparse(folder: Path) -> bytes:
    values = numpy_helper.from_array(np.array([1.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([3], np.int64), "at")
    tensor = helper.make_sparse_tensor(values, indices, [4, 4])
    return model([node("MatMul", "x", "w")], sparse_initializer=[tensor]).SerializeToString()


def branch(folder: Path) -> bytes:
    then = helper.make_graph([node("Relu", "x", made="t")], "then", [], [value("t", FLOAT, [1, 4])])
    otherwise = helper.make_graph([node("Neg", "x", made="e")], "else", [], [value("e", FLOAT, [1, 4])])
    nodes = [node("If", "c", then_branch=then, else_branch=otherwise)]
    inputs = [value("x", FLOAT, [1, 4]), value("c", TensorProto.BOOL, [])]
    return model(nodes, inputs).SerializeToString()


def sequence(folder: Path) -> bytes:
    given = helper.make_tensor_sequence_value_info("x", FLOAT, [1, 4])
    return model([node("ConcatFromSequence", "x", axis=0)], [given]).SerializeToString()


def strange(op: str, domain: str, imported: bool = True) -> Made:
    def make(folder: Path) -> bytes:
        made = model([helper.make_node(op, ["x"], ["y"], "strange", domain=domain)])
        if imported and domain:
            made.opset_import.append(helper.make_opsetid(domain, 1))
        return made.SerializeToString()

    return make


def dequantised() -> onnx.ModelProto:
    """Return a network of QuantizeLinear and DequantizeLinear, whose weights do not fit."""
    weights = {"s": np.array(0.1, np.float32), "z": np.array(128, np.uint8), "w": np.ones((3, 4), np.float32)}
    nodes = [
        node("QuantizeLinear", "x", "s", "z", made="q"),
        node("DequantizeLinear", "q", "s", "z", made="d"),
        node("MatMul", "d", "w"),
    ]
    return model(nodes, weights=weights)


def halves() -> onnx.ModelProto:
    half = TensorProto.BFLOAT16
    return model([node("Relu", "x")], [value("x", half, [1, 4])], [value("y", half, [1, 4])])


def counted() -> onnx.ModelProto:
    return model([node("Relu", "x")], [value("x", TensorProto.INT32, [1, 4])], [value("y", TensorProto.INT32, [1, 4])])


def attention() -> onnx.ModelProto:
    """Return attention whose length is an input."""
    half, sizes = TensorProto.FLOAT16, {"num_heads": 2, "kv_num_heads": 1}
    inputs = [value("x", half, [1, 2, 64]), *(value(name, TensorProto.INT32, [1]) for name in ("lengths", "total"))]
    made = node("GroupQueryAttention", "x", "", "", "", "", "lengths", "total", domain="com.microsoft", **sizes)
    made.output.extend(["k", "v"])
    return own(model([made], inputs, [value("y", half, None)]))


def of_groups() -> onnx.ModelProto:
    sizes = {"K": 32, "N": 2, "bits": 4, "block_size": 32}
    weights = {"w": np.zeros((2, 1, 16), np.uint8), "s": np.ones(2, np.float32)}
    return own(model([node("MatMulNBits", "x", "w", "s", domain="com.microsoft", **sizes)], weights=weights))


def own(made: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model that has onnxruntime's own operators."""
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


def opens(*shape: Any) -> onnx.ModelProto:
    return model([node("Relu", "x")], [value("x", FLOAT, list(shape))])


def grown(number: int, version: int) -> onnx.ModelProto:
    return model([node("Relu", "x")], opset=version, ir=number)


def doubled() -> onnx.ModelProto:
    return model([node("Relu", "x"), node("Neg", "x")])


def silent() -> onnx.ModelProto:
    made = model([node("Relu", "x")])
    del made.graph.node[0].output[:]
    return made


WRONG: dict[str, Wrong] = {
    "empty": Wrong(raw(b"")),
    "text": Wrong(raw(b"this is no model, but a text that somebody wrote\n")),
    "picture": Wrong(raw(b"\x89PNG\r\n\x1a\n" + bytes(64))),
    "zeros": Wrong(raw(bytes(512))),
    "truncated": Wrong(truncated),
    "no_nodes": Wrong(plain(model([]))),
    "short_weight": Wrong(short_weight),
    "unknown_type": Wrong(unknown_type),
    "external_missing": Wrong(external("w.bin")),
    "external_outside": Wrong(external("../w.bin", b"x" * 64)),
    "external_absolute": Wrong(external("/etc/passwd")),
    "external_linked": Wrong(linked),
    "external_short": Wrong(external("w.bin", b"123", length=64)),
    "external_folder": Wrong(external(".")),
    "external_odd": Wrong(external("w.bin", bytes(64), offset=-8)),
    "ir_new": Wrong(plain(grown(99, 17))),
    "opset_new": Wrong(plain(grown(8, 999))),
    "opset_none": Wrong(plain(model([node("Relu", "x")], opset=0))),
    "bfloat16_input": Wrong(plain(halves())),
    "bfloat16_weight": Wrong(
        plain(
            model(
                [node("Cast", "w", made="f", to=1), node("MatMul", "x", "f")],
                weights={"w": np.ones((4, 4), ml_dtypes.bfloat16)},
            )
        ),
    ),
    "always_unknown": Wrong(plain(RELU), {"always": {"mask": 1}}),
    "always_of_another_type": Wrong(plain(opens("N", 4)), {"always": {"x": "1"}}),
    "always_no_integer": Wrong(plain(counted()), {"always": {"x": 0.5}}),
    "attention_of_any_length": Wrong(plain(attention())),
    "weights_of_another_width": Wrong(plain(of_groups())),
    "dimension": Wrong(plain(opens("N", 4)), {"shapes": {"N": (1, 4)}}),
    "sparse": Wrong(sparse),
    "sequence": Wrong(sequence),
    "control_flow": Wrong(branch),
    "open": Wrong(plain(opens("N", 3, "height", None))),
    "open_rank": Wrong(plain(model([node("Relu", "x")], [value("x", FLOAT, None)]))),
    "shape_wrong": Wrong(plain(opens("N", 4)), {"shapes": {"x": (1, 5)}}),
    "shape_rank": Wrong(plain(opens("N", 4)), {"shapes": {"x": (1, 4, 1)}}),
    "shape_zero": Wrong(plain(opens("N", 4)), {"shapes": {"x": (0, 4)}}),
    "shape_unknown": Wrong(plain(opens("N", 4)), {"shapes": {"images": (1, 4)}}),
    "shape_words": Wrong(plain(opens("N", 4)), {"shapes": {"x": ("one", 4)}}),
    "shape_huge": Wrong(plain(opens("N", 4)), {"shapes": {"x": (10**12, 4)}}),
    "operator_unknown": Wrong(strange("Relux", "")),
    "operator_foreign": Wrong(strange("Attention", "my.company")),
    "operator_not_imported": Wrong(strange("QuickGelu", "com.microsoft", imported=False)),
    "operator_old": Wrong(plain(model([node("Gelu", "x")], opset=13))),
    "training": Wrong(strange("Adam", "ai.onnx.preview.training")),
    "reads_nothing": Wrong(plain(model([node("Relu", "missing")]))),
    "order": Wrong(plain(model([node("Relu", "t"), node("Neg", "x", made="t")]))),
    "makes_nothing": Wrong(plain(silent())),
    "input_untyped": Wrong(plain(model([node("Relu", "x")], [value("x", 0, [1, 4])]))),
    "input_strange": Wrong(plain(model([node("Relu", "x")], [value("x", 127, [1, 4])]))),
    "output_missing": Wrong(plain(model([node("Relu", "x", made="t")]))),
    "made_twice": Wrong(plain(doubled())),
    "shapes_clash": Wrong(plain(model([node("MatMul", "x", "w")], weights={"w": np.ones((3, 4), np.float32)}))),
    "quantised_clash": Wrong(plain(dequantised())),
    "attribute_missing": Wrong(plain(model([node("Transpose", "x", perm=[0, 5])]))),
    "no_host": Wrong(plain(model([node("Hardmax", "x")])), {"host": False}),
    "chip_unknown": Wrong(plain(RELU), {"chip": "hangguang"}),
    "order_unknown": Wrong(plain(RELU), {"order": "random"}),
    "constant_huge": Wrong(
        plain(
            model(
                [node("ConstantOfShape", "to", made="c"), node("Add", "x", "c")],
                weights={"to": np.array([10**6, 10**6], np.int64)},
            )
        ),
    ),
    "git_lfs": Wrong(raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")),
    "archive": Wrong(raw(b"PK\x03\x04" + bytes(64))),
    "no_opset": Wrong(raw(helper.make_model(RELU.graph, opset_imports=[]).SerializeToString())),
}
