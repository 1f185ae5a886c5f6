"""Shapes and types of all values of a model whose inputs are fixed; what is constant is computed on the way.

ONNX's own rules say what an operator makes; onnxruntime's further operators have ours (`rules`), or are tried on zeros.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph, Node, Value
from compiler.read.rules import OWN, RULES
from compiler.runtime import evaluate, onnx
from isa.errors import InputError
from isa.suggest import did_you_mean

# What a node makes anew each time, and what is not to be held as a constant.
NOT_CONSTANT = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
MAX_CONSTANT = 2**28
# What makes much of little.
GROWS = ("ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Resize", "Tile")
# Tried nodes are given so many elements at most.
MAX_TRIED = 2**26

Shape = tuple[int, ...]
Known = Mapping[str, Value]


def infer(
    proto: Any,
    name: str,
    nodes: Sequence[Node],
    weights: Mapping[str, NDArray[Any]],
    opsets: Mapping[str, int],
    reader: str,
    inputs: Mapping[str, Shape],
) -> Graph:
    """Return the graph of a model: constants computed, and the nodes that are left, with their values."""
    package = onnx()
    values = {weight: Value(weight, data.dtype, data.shape, data) for weight, data in weights.items()}
    for value in proto.graph.input:
        if value.name in inputs:
            dtype = package.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            values[value.name] = Value(value.name, dtype, inputs[value.name])
    kept = []
    for node in nodes:
        for read in node.inputs:
            if read and read not in values:
                raise InputError(
                    f"{node.label} of {name} reads {read!r}, which nothing before it makes",
                    "export the model again: its nodes are incomplete, or out of order",
                )
        for made in node.outputs:
            if made and made in values:
                raise InputError(f"{node.label} of {name} makes {made!r}, which is there already", "export it again")
        constants = _constants(node, values, opsets, name)
        if constants is None:
            kept.append(node)
            for made, (dtype, shape) in zip(node.outputs, _made(node, values, opsets, name)):
                if made:
                    values[made] = Value(made, np.dtype(dtype), tuple(shape))
        else:
            for made, data in zip(node.outputs, constants):
                if made:
                    values[made] = Value(made, data.dtype, data.shape, data)
    outputs = tuple(value.name for value in proto.graph.output)
    for output in outputs:
        if output not in values:
            raise InputError(f"the output {output!r} of {name} is made by no node", "export the model again")
    used = {*inputs, *outputs, *(one for node in kept for one in (*node.inputs, *node.outputs))}
    return Graph(
        name, tuple(inputs), outputs, {k: v for k, v in values.items() if k in used}, tuple(kept), opsets, reader
    )


def _constants(node: Node, values: Known, opsets: Mapping[str, int], name: str) -> list[NDArray[Any]] | None:
    """Return what a node makes where that does not follow the inputs; None where it does."""
    if node.op in ("Shape", "Size") and not node.domain:
        shape = values[node.inputs[0]].shape
        if node.op == "Size":
            return [np.array(prod(shape), np.int64)]
        begin, end = node.attributes.get("start", 0), node.attributes.get("end", len(shape))
        return [np.array(shape[begin:end], np.int64)]
    if node.op == "Constant" and not node.domain and not node.inputs:
        return evaluate([node], {}, node.outputs[:1], opsets)
    read = [values[name] for name in node.inputs if name]
    if not read or node.op in NOT_CONSTANT or any(value.data is None for value in read):
        return None
    if sum(value.elements for value in read) > MAX_CONSTANT:
        return None
    if node.op in GROWS and not node.domain:
        most = max((prod(shape) for _, shape in _ruled(node, values, opsets, name) or []), default=0)
        if most > MAX_CONSTANT:
            raise InputError(
                f"{node.label} of {name} makes a constant of {most:,} elements; at most {MAX_CONSTANT:,} are computed",
                "export the model for smaller sizes",
            )
    given = {value.name: value.data for value in read if value.data is not None}
    made = [name for name in node.outputs if name]
    found = dict(zip(made, evaluate([node], given, made, opsets)))
    return [found.get(name, np.empty(0)) for name in node.outputs]


def _made(node: Node, values: Known, opsets: Mapping[str, int], name: str) -> list[tuple[Any, Shape]]:
    """Return types and shapes of what a node makes."""
    found = _ruled(node, values, opsets, name)
    return _tried(node, values, opsets, name) if found is None else found


def _ruled(node: Node, values: Known, opsets: Mapping[str, int], name: str) -> list[tuple[Any, Shape]] | None:
    """Return types and shapes of what a node makes, by a rule; None where there is none."""
    read = [values[one] if one else None for one in node.inputs]
    if node.domain or node.op in OWN:
        if node.op not in RULES:
            return None
        try:
            return RULES[node.op](node, read)
        except InputError as error:
            help = error.help or "export the model again"
            raise InputError(f"{node.label} of {name}: {error.message}", help) from error
        except (ValueError, LookupError, TypeError, ArithmeticError) as error:
            given = ", ".join(str(value) for value in read if value is not None)
            said = f"{node.label} of {name} does not fit its inputs, {given}"
            raise InputError(said, "export the model again") from error
    if node.attributes.get("ceil_mode"):
        # Where the last window would begin behind the tensor, ONNX's rule has one more than onnxruntime computes.
        return None
    package = onnx()
    try:
        schema = package.defs.get_schema(node.op, opsets[""], "")
    except Exception as error:
        raise InputError(
            f"{node.label} of {name}: version {opsets.get('')} of ONNX's operators has no {node.op}", _known_as(node.op)
        ) from error
    types = {value.name: _type(value) for value in read if value is not None}
    small = {
        value.name: package.numpy_helper.from_array(value.data, value.name)
        for value in read
        if value is not None and value.data is not None and value.elements <= 1024
    }
    imports = [package.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        found = package.shape_inference.infer_node_outputs(schema, node.proto, types, small, opset_imports=imports)
    except Exception as error:
        given = ", ".join(str(value) for value in read if value is not None)
        why = " ".join(str(error).split()).rpartition("] ")[2]
        said = f"{node.label} of {name} does not fit its inputs, {given}: {why}"
        raise InputError(said, "export the model again") from error
    made: list[tuple[Any, Shape]] = []
    for output in node.outputs:
        if not output:
            made.append((np.dtype(np.float32), ()))
            continue
        kind = found[output].tensor_type if output in found else None
        dims = list(kind.shape.dim) if kind is not None and kind.HasField("shape") else None
        if kind is None or dims is None or not all(dim.HasField("dim_value") for dim in dims):
            return None
        made.append((package.helper.tensor_dtype_to_np_dtype(kind.elem_type), tuple(dim.dim_value for dim in dims)))
    return made


def _known_as(op: str) -> str:
    """Return how to go on where there is no such operator."""
    since = [schema.since_version for schema in onnx().defs.get_all_schemas_with_history() if schema.name == op]
    if since:
        return f"ONNX has it since version {min(since)}: export the model with that opset_version, or a later one"
    names = sorted({schema.name for schema in onnx().defs.get_all_schemas()})
    return did_you_mean(op, names, "export the model again, with ONNX's operators alone")


def _type(value: Value) -> Any:
    helper = onnx().helper
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _tried(node: Node, values: Known, opsets: Mapping[str, int], name: str) -> list[tuple[Any, Shape]]:
    """Return types and shapes of what onnxruntime makes of zeros and of ones: of operators whose rules nobody states.

    Raises InputError where they have other shapes: these follow the data.
    """
    read = [values[one] for one in node.inputs if one]
    if any(value.data is None and value.elements > MAX_TRIED for value in read):
        raise InputError(f"{node.label} of {name}: the shape of its result is not known")
    made = [one for one in node.outputs if one]
    shapes: list[dict[str, tuple[Any, Shape]]] = []
    failed: InputError | None = None
    for fill in (0, 1):
        given = {
            value.name: np.full(value.shape, fill, value.dtype) if value.data is None else value.data for value in read
        }
        try:
            found = dict(zip(made, evaluate([node], given, made, opsets)))
        except InputError as error:
            failed = error
        else:
            shapes.append({one: (array.dtype, array.shape) for one, array in found.items()})
    if not shapes:
        said = f"cannot be computed: {failed.message if failed else ''}"
        if "not a registered function" in said:
            said = f"is an operator of {node.domain or 'ONNX'!r} that neither the chip nor onnxruntime has"
        help = "export the model with other operators, or for other sizes"
        raise InputError(f"{node.label} of {name} {said}", help) from None
    # ONNX's own operators have rules: those without an answer here say the shape in an input.
    if shapes[0] != shapes[-1] or (failed and not node.domain):
        raise InputError(
            f"{node.label} of {name}: the shape of its result follows the data",
            "the chip's shapes are fixed: make the input that says it a constant, and export the model again",
        )
    nothing: tuple[Any, Shape] = (np.dtype(np.float32), ())
    return [shapes[0][one] if one else nothing for one in node.outputs]
