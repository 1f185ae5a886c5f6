"""An ONNX file as a graph: what it is made with is checked, what it leaves open is fixed.

A network of QuantizeLinear and DequantizeLinear is taken in the integer form that onnxruntime's extended optimisations
give it: that is what onnxruntime computes by default, and its other levels have other bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.graph import Graph, Node
from compiler.runtime import extended, onnx
from compiler.shapes import infer
from isa.errors import InputError
from isa.files import Refused, open_given, open_inside, reason
from isa.memory import HELP, shortage
from isa.suggest import did_you_mean

# Protocol buffers hold no more; a larger model has external data.
MAX_MODEL_BYTES = 2**31
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
SMALL_FLOATS = ("FLOAT16", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1")


@dataclass(frozen=True)
class Source:
    """Where a model comes from: its name for messages, and the folder that its external data lie in."""

    name: str
    folder: Path | None = None


def read(model: Any, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """Return the graph of a model: a path, its bytes, or onnx's ModelProto.

    `shapes` fix inputs whose dimensions the file leaves open. Raises InputError for what is no model, or one that no
    graph is made of: it says where, and how to mend it.
    """
    proto, source = _loaded(model)
    proto = _checked(proto, source)
    reader = f"onnx {onnx().__version__}"
    if _is_of_floats_and_scales(proto):
        proto, reader = extended(proto.SerializeToString())
    opsets = {one.domain: one.version for one in proto.opset_import}
    # Written so, the operators' own domain has another name.
    if "ai.onnx" in opsets:
        opsets[""] = opsets.pop("ai.onnx")
    nodes = tuple(_node(node, number) for number, node in enumerate(proto.graph.node, 1))
    return infer(proto, source.name, nodes, opsets, reader, _fixed(proto, source, shapes or {}))


def _loaded(model: Any) -> tuple[Any, Source]:
    if isinstance(model, str | Path):
        source = Source(Path(model).name, Path(model).parent)
        try:
            with open_given(model) as file:
                data = file.read(MAX_MODEL_BYTES + 1)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {model}: {reason(error)}") from error
    elif isinstance(model, bytes):
        source, data = Source("network"), model
    elif hasattr(model, "graph") and hasattr(model, "opset_import"):
        copied = onnx().ModelProto()
        copied.CopyFrom(model)
        return copied, Source(model.graph.name or "network")
    else:
        raise InputError(
            f"a {type(model).__name__} is no network", "give the path of an ONNX file, or an onnx.ModelProto"
        )
    if len(data) > MAX_MODEL_BYTES:
        raise InputError(f"{source.name} has more than 2 GiB", "keep its weights as external data")
    short = shortage({f"reading {source.name}": 2 * len(data)})
    if short:
        raise InputError(f"cannot read {source.name}: {short}", HELP)
    try:
        proto = onnx().load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, which is not imported by name.
        raise InputError(f"{source.name} is no ONNX model, or is damaged: {error}") from error
    if not proto.opset_import or not proto.graph.node:
        raise InputError(f"{source.name} is no ONNX model, or an empty one: it has no nodes")
    return proto, source


def _checked(proto: Any, source: Source) -> Any:
    """Return a model with its external data read and its functions expanded; raise InputError for what is not taken."""
    package = onnx()
    if proto.ir_version > package.IR_VERSION:
        raise InputError(
            f"{source.name} is of version {proto.ir_version} of the format; onnx {package.__version__} reads up to "
            f"{package.IR_VERSION}",
            "install a newer onnx, or export the model again for an older one",
        )
    known = package.defs.onnx_opset_version()
    for one in proto.opset_import:
        if one.domain in ("", "ai.onnx") and one.version > known:
            raise InputError(
                f"{source.name} needs version {one.version} of ONNX's operators; onnx {package.__version__} has "
                f"{known}",
                "install a newer onnx, or export the model again with a lower opset_version",
            )
    if proto.functions:
        from onnx import inliner

        proto = inliner.inline_local_functions(proto)
    if proto.graph.sparse_initializer:
        first = proto.graph.sparse_initializer[0].values.name
        raise InputError(
            f"{source.name} has a sparse tensor, {first!r}", "store it dense: the chip compresses weights itself"
        )
    names = {value: name for name, value in package.TensorProto.DataType.items()}
    for tensor in proto.graph.initializer:
        _refuse_type(names[tensor.data_type], f"the weight {tensor.name!r}", source)
        if tensor.data_location == package.TensorProto.EXTERNAL:
            _read_external(tensor, source)
    for value in proto.graph.input:
        if not value.type.HasField("tensor_type"):
            raise InputError(
                f"the input {value.name!r} of {source.name} is no tensor", "export the model with tensors alone"
            )
        _refuse_type(names[value.type.tensor_type.elem_type], f"the input {value.name!r}", source)
    for number, node in enumerate(proto.graph.node, 1):
        if node.op_type in CONTROL_FLOW:
            raise InputError(
                f"node {number} of {source.name}, {node.name or node.op_type!r}, is a {node.op_type}: control flow "
                "that follows data",
                "the chip's loops count; export the model for fixed sizes, which unrolls it",
            )
    return proto


def _refuse_type(kind: str, what: str, source: Source) -> None:
    if kind in SMALL_FLOATS:
        raise InputError(
            f"{source.name} computes in {kind.lower()}: {what} is of it",
            "export it in float32, and quantise it: `ratel quantise`",
        )


def _read_external(tensor: Any, source: Source) -> None:
    """Put the external data of a tensor into it."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    name = where.get("location", "")
    if source.folder is None:
        raise InputError(f"the data of {tensor.name!r} are in {name!r}", "give the path of the model, not its bytes")
    try:
        at, size = int(where.get("offset", 0)), int(where.get("length", -1))
        with open_inside(source.folder, name)[0] as file:
            file.seek(at)
            data = file.read(size if size >= 0 else -1)
    except Refused as error:
        raise InputError(
            f"the data of {tensor.name!r} in {source.name} are not read: {name!r} {error.said}", error.help
        ) from error
    except (OSError, ValueError) as error:
        help = f"keep {name!r} in the folder of the model"
        raise InputError(
            f"the data of {tensor.name!r} in {source.name} cannot be read: {reason(error)}", help
        ) from error
    tensor.raw_data = data
    tensor.data_location = onnx().TensorProto.DEFAULT
    del tensor.external_data[:]


def _is_of_floats_and_scales(proto: Any) -> bool:
    """Return whether what a model computes stands between DequantizeLinear and QuantizeLinear."""
    dequantised = {node.output[0] for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    ends = {value.name for value in proto.graph.output}
    return (
        any(
            name in dequantised and node.op_type != "QuantizeLinear" for node in proto.graph.node for name in node.input
        )
        and not dequantised <= ends
    )


def _node(proto: Any, number: int) -> Node:
    attributes = {one.name: onnx().helper.get_attribute_value(one) for one in proto.attribute}
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return Node(proto.op_type, domain, proto.name, tuple(proto.input), tuple(proto.output), attributes, number, proto)


def _fixed(proto: Any, source: Source, shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs: those of the file, with its open dimensions as `shapes` has them."""
    held = {tensor.name for tensor in proto.graph.initializer}
    inputs = {value.name: value for value in proto.graph.input if value.name not in held}
    for name in shapes:
        if name not in inputs:
            help = did_you_mean(name, list(inputs), f"inputs: {', '.join(inputs) or 'none'}")
            raise InputError(f"{source.name} has no input {name!r}", help)
    return {name: _shape(value, source, shapes.get(name)) for name, value in inputs.items()}


def _shape(value: Any, source: Source, given: Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of an input; an open first dimension, the batch, is 1 where nothing is given."""
    dims = value.type.tensor_type.shape.dim
    written = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
    text = f"[{', '.join(str(size or dim.dim_param or '?') for dim, size in zip(dims, written))}]"
    what = f"the input {value.name!r} of {source.name}"
    if given is None:
        one = [1 if k == 0 and size is None else size for k, size in enumerate(written)]
        if None in one:
            example = ",".join("N" if size is None else str(size) for size in one)
            help = f"fix them: --shape {value.name}={example} (in Python: shapes={{{value.name!r}: (...)}})"
            raise InputError(f"{what} has dimensions that are open: {text}", help)
        given = [size for size in one if size is not None]
    chosen = tuple(int(size) for size in given)
    if len(chosen) != len(written) or any(
        size < 1 or fixed not in (None, size) for size, fixed in zip(chosen, written)
    ):
        raise InputError(f"{what} is {text}, not {list(chosen)}", "fix what is open, with sizes of 1 or more")
    return chosen
