"""An ONNX file as a graph: what it is made with is checked, what it leaves open is fixed.

A network of QuantizeLinear and DequantizeLinear is taken in the integer form that onnxruntime's extended optimisations
give it: that is what onnxruntime computes by default, and its other levels have other bits.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph, Node
from compiler.read.model import Model, loaded, serialised, weights_of, without_weights
from compiler.read.shapes import infer
from compiler.runtime import extended, onnx
from isa.errors import InputError
from isa.suggest import did_you_mean

# onnxruntime's own: its further operators, and those on images whose channels lie last.
KNOWN_DOMAINS = ("com.microsoft", "com.ms.internal.nhwc")
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
SMALL_FLOATS = ("BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1")


def read(
    model: Any, shapes: Mapping[str, Sequence[int]] | None = None, always: Mapping[str, float] | None = None
) -> Graph:
    """Return the graph of a model: a Model, a path, its bytes, or onnx's ModelProto.

    `shapes` fix inputs whose dimensions the file leaves open, or these dimensions by their names; inputs in
    `always` are constants of one number. Raises InputError for what is no model, or one that no graph is made of: it
    says where, and how to mend it.
    """
    proto, source = loaded(model)
    proto = checked(proto, source)
    reader = f"onnx {onnx().__version__}"
    if _is_of_floats_and_scales(proto):
        data = serialised(proto, source)
        del proto
        proto, reader = extended(data, source.name)
        del data
    weights = weights_of(proto, source)
    proto = without_weights(proto)
    opsets = {one.domain: one.version for one in proto.opset_import}
    # Written so, the operators' own domain has another name.
    if "ai.onnx" in opsets:
        opsets[""] = opsets.pop("ai.onnx")
    nodes = tuple(_node(node, number) for number, node in enumerate(proto.graph.node, 1))
    inputs = _sized(proto, source, weights, shapes or {})
    for name, number in (always or {}).items():
        weights[name] = _filled(proto, source, inputs, name, number)
        del inputs[name]
    return infer(proto, source.name, nodes, weights, opsets, reader, inputs)


def checked(proto: Any, source: Model) -> Any:
    """Return a model with its external data read and its functions expanded; raise InputError for what is not taken."""
    package = onnx()
    if proto.ir_version > package.IR_VERSION:
        raise InputError(
            f"{source.name} is of version {proto.ir_version} of the format; onnx {package.__version__} reads up to "
            f"{package.IR_VERSION}",
            "install a newer onnx, or export the model again for an older one",
        )
    known = package.defs.onnx_opset_version()
    domains = {one.domain for one in proto.opset_import} | {"", "ai.onnx"}
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
        raise InputError(f"{source.name} has a sparse tensor, {first!r}", "store it dense, as an ordinary weight")
    names = {value: name for name, value in package.TensorProto.DataType.items()}
    for tensor in proto.graph.initializer:
        if tensor.data_type not in names:
            raise InputError(
                f"the weight {tensor.name!r} of {source.name} is of a type that onnx {package.__version__} does not "
                f"know, number {tensor.data_type}",
                "install a newer onnx, or export the model again",
            )
        _refuse_type(names[tensor.data_type], f"the weight {tensor.name!r}", source)
    for value in proto.graph.input:
        if not value.type.HasField("tensor_type"):
            raise InputError(
                f"the input {value.name!r} of {source.name} is no tensor", "export the model with tensors alone"
            )
        kind = value.type.tensor_type.elem_type
        if not kind or kind not in names:
            said = f"a type that onnx {package.__version__} does not know" if kind else "no type"
            raise InputError(f"the input {value.name!r} of {source.name} has {said}", "export the model again")
        _refuse_type(names[kind], f"the input {value.name!r}", source)
    for number, node in enumerate(proto.graph.node, 1):
        if not any(node.output):
            raise InputError(
                f"node {number} of {source.name}, {node.op_type} {node.name!r}, makes nothing", "export the model again"
            )
        if node.op_type in CONTROL_FLOW:
            raise InputError(
                f"node {number} of {source.name}, {node.op_type} {node.name or node.output[0]!r}, is control flow that "
                "follows data, which the chip has not",
                "export the model for fixed sizes, and for one case, which unrolls loops and takes branches",
            )
        if node.domain not in domains:
            raise InputError(
                f"node {number} of {source.name}, {node.op_type} {node.name or node.output[0]!r}, is an operator of "
                f"{node.domain!r}, of which the file names no version",
                "export the model again",
            )
    return proto


def _refuse_type(kind: str, what: str, source: Model) -> None:
    if kind in SMALL_FLOATS:
        raise InputError(
            f"{source.name} computes in {kind.lower()}: {what} is of it",
            "export it in float16, or in float32 and quantise it to integers of 8 bits: `ratel quantise`",
        )


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
    # Of domains that nothing here knows, an operator's name says nothing.
    op = proto.op_type if domain in ("", *KNOWN_DOMAINS) else f"{domain}.{proto.op_type}"
    return Node(op, domain, proto.name, tuple(proto.input), tuple(proto.output), attributes, number, proto)


def _filled(proto: Any, source: Model, inputs: Mapping[str, tuple[int, ...]], name: str, number: float) -> NDArray[Any]:
    """Return an input that is one number as an array; raise InputError where it is none, or its type has not that."""
    if name not in inputs:
        help = did_you_mean(name, list(inputs), f"inputs: {', '.join(inputs) or 'none'}")
        raise InputError(f"{source.name} has no input {name!r}, which is always to be {number:g}", help)
    (kind,) = (value.type.tensor_type.elem_type for value in proto.graph.input if value.name == name)
    dtype = onnx().helper.tensor_dtype_to_np_dtype(kind)
    with np.errstate(all="ignore"):
        found = np.full(inputs[name], number).astype(dtype)
    if dtype.kind in "biu" and found.size and found.flat[0] != number:
        said = f"the input {name!r} of {source.name} is {dtype}, and cannot always be {number:g}"
        raise InputError(said, "give a number that this type has")
    return found


def _sized(
    proto: Any, source: Model, held: Mapping[str, NDArray[Any]], shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the inputs: those of the file, with its open dimensions as `shapes` has them."""
    inputs = {value.name: value for value in proto.graph.input if value.name not in held}
    open_ = {dim.dim_param for value in inputs.values() for dim in value.type.tensor_type.shape.dim} - {"", *inputs}
    sizes = {name: _size(name, shapes[name], source) for name in shapes if name in open_}
    shapes = _by_name({name: shape for name, shape in shapes.items() if name not in sizes}, inputs, source, open_)
    fits = _by_name(source.fits, inputs, source, ())
    found = {}
    for name, value in inputs.items():
        dims = value.type.tensor_type.shape.dim
        is_open = any(not dim.HasField("dim_value") and dim.dim_param not in sizes for dim in dims)
        if name not in shapes and name in fits and is_open:
            source.fitted, shapes = True, {**shapes, name: fits[name]}
        found[name] = _shape(value, source, shapes.get(name), sizes)
    return found


def _size(name: str, given: Sequence[int], source: Model) -> int:
    if len(given) != 1 or given[0] < 0:
        said = f"{name!r} is a dimension of inputs of {source.name}, and cannot be {list(given)}"
        raise InputError(said, f"give one size, 0 or more: --shape {name}=N")
    return int(given[0])


def _by_name(
    shapes: Mapping[str, Sequence[int]], inputs: Mapping[str, Any], source: Model, dimensions: Collection[str]
) -> dict[str, Sequence[int]]:
    """Return shapes by names of inputs; that without a name, "", is of the only one."""
    named = {next(iter(inputs)) if name == "" and len(inputs) == 1 else name: shape for name, shape in shapes.items()}
    for name in named:
        if name == "":
            help = f"inputs: {', '.join(inputs)}"
            raise InputError(f"{source.name} has {len(inputs)} inputs: say which one is meant", help)
        if name not in inputs:
            help = f"inputs: {', '.join(inputs) or 'none'}"
            if dimensions:
                help += f"; dimensions: {', '.join(sorted(dimensions))}"
            help = did_you_mean(name, [*inputs, *dimensions], help)
            raise InputError(f"{source.name} has no input {name!r}", help)
    return named


def _shape(value: Any, source: Model, given: Sequence[int] | None, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the shape of an input; an open first dimension, the batch, is 1 where nothing is given.

    `sizes` are those of dimensions, by their names.
    """
    kind, what = value.type.tensor_type, f"the input {value.name!r} of {source.name}"
    dims = kind.shape.dim if kind.HasField("shape") else None
    written = None
    if dims is not None:
        written = [dim.dim_value if dim.dim_value > 0 else sizes.get(dim.dim_param) for dim in dims]
    if given is None:
        one = [1 if k == 0 and size is None else size for k, size in enumerate(written or [])]
        if written is not None and None not in one:
            return tuple(size for size in one if size is not None)
        example = "N,N" if written is None else ",".join("N" if size is None else str(size) for size in one)
        open_ = "no shape in the file" if written is None else f"dimensions that are open: {_spelled(dims)}"
        help = f"fix them: --shape {value.name}={example} (in Python: shapes={{{value.name!r}: (...)}})"
        if names := [dim.dim_param for dim in dims or () if dim.dim_param and dim.dim_param not in sizes]:
            help += f", or by their names, in all inputs: --shape {names[-1]}=N"
        raise InputError(f"{what} has {open_}", help)
    chosen = tuple(given)
    if min(chosen, default=1) < 1:
        raise InputError(f"{what} cannot be {list(chosen)}", "sizes are 1 or more")
    if written is not None and (
        len(chosen) != len(written) or any(fixed not in (None, size) for size, fixed in zip(chosen, written))
    ):
        raise InputError(f"{what} is {_spelled(dims)}, not {list(chosen)}", "only dimensions that are open are chosen")
    return chosen


def _spelled(dims: Any) -> str:
    sizes = (str(dim.dim_value if dim.dim_value > 0 else dim.dim_param or "?") for dim in dims)
    return f"[{', '.join(sizes)}]"
