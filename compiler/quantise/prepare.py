"""A network of floats as onnxruntime's quantiser wants it: one that no option of its own need mend."""

from typing import Any

from compiler.runtime import basic, onnx
from isa.errors import InputError

# Scales by channel came with it.
LEAST_OPSET = 13
# Of the format, before which weights are inputs too, whose values no optimisation may use.
LEAST_IR = 8
WITH_BIAS = ("Conv", "Gemm", "ConvTranspose")


def prepared(model: bytes, name: str) -> Any:
    """Return onnx's ModelProto of a network: of opset 13 at least, constants computed, normalising folded.

    A bias of [1, n] becomes one of [n], for the quantiser cannot take the former by channel. Each bias has one reader:
    the quantiser gives copies for more of them names that others may have, or the first reader's scale. Each node has a
    name of its own, where it has none that of its result. Raises InputError where onnx or onnxruntime do not take it.
    """
    package = onnx()
    proto = package.load_model_from_string(model)
    version = next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), LEAST_OPSET)
    if version < LEAST_OPSET:
        try:
            proto = package.version_converter.convert_version(proto, LEAST_OPSET)
        except Exception as error:  # Of many kinds.
            why = " ".join(str(error).split())
            raise InputError(
                f"{name} is of version {version} of ONNX's operators, and cannot be converted: {why}",
                f"export it with opset_version={LEAST_OPSET} or more",
            ) from error
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [one for one in proto.graph.input if one.name not in weights]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    # onnxruntime refuses two of one name.
    _names(proto)
    proto.ir_version = max(proto.ir_version, LEAST_IR)
    proto = basic(proto.SerializeToString(), name)
    # It has those of all operators that onnxruntime knows.
    used = {"", "ai.onnx", *(node.domain for node in proto.graph.node)}
    versions = [one for one in proto.opset_import if one.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(versions)
    _own_biases(proto)
    _names(proto)
    return proto


def _own_biases(proto: Any) -> None:
    tensors, read = {tensor.name: tensor for tensor in proto.graph.initializer}, set()
    for node in proto.graph.node:
        if node.op_type not in WITH_BIAS or len(node.input) != 3 or node.input[2] not in tensors:
            continue
        bias = tensors[node.input[2]]
        if bias.name in read:
            bias = proto.graph.initializer.add()
            bias.CopyFrom(tensors[node.input[2]])
            node.input[2] = bias.name = f"{bias.name}_of_{node.output[0]}"
        read.add(bias.name)
        if len(bias.dims) == 2 and bias.dims[0] == 1:
            del bias.dims[0]


def _names(proto: Any) -> None:
    taken = set[str]()
    for node in proto.graph.node:
        if not node.name or node.name in taken:
            node.name = next(filter(None, node.output), node.op_type)
        while node.name in taken:
            node.name += "_"
        taken.add(node.name)
