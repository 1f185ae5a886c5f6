"""A layer of TensorFlow Lite's, as a model of one operator, and its result by LiteRT."""

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

# The kernels written for meaning alone, in whole numbers; XNNPACK's, which people run, in float32.
REFERENCE, USUAL = OpResolverType.BUILTIN_REF, OpResolverType.AUTO
TYPES = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


@dataclass(frozen=True)
class LiteTensor:
    """A tensor of the model: its type and shape are those of `data`, which it holds if it is constant."""

    data: np.ndarray
    scale: Any
    zero: int = 0
    axis: int = 0
    constant: bool = False


def layer(operator: str, options: Any, x: LiteTensor, w: LiteTensor, bias: LiteTensor, out: LiteTensor) -> bytes:
    """Return the model of one operator, named as the schema does, with the options of its table."""
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
    code.version = 3
    model.version, model.operatorCodes, model.buffers, graph.tensors = 3, [code], [schema.BufferT()], []
    for number, held in enumerate((x, w, bias, out)):
        tensor, steps = schema.TensorT(), schema.QuantizationParametersT()
        tensor.name, tensor.shape, tensor.type = f"t{number}", list(held.data.shape), TYPES[held.data.dtype.name]
        steps.scale = np.atleast_1d(held.scale).astype(np.float32)
        steps.zeroPoint, steps.quantizedDimension = np.full(steps.scale.size, held.zero, np.int64), held.axis
        tensor.quantization, tensor.buffer = steps, 0
        if held.constant:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(held.data.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    operation = schema.OperatorT()
    operation.opcodeIndex, operation.builtinOptions = 0, options
    operation.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    operation.inputs, operation.outputs = np.arange(3, dtype=np.int32), np.array([3], np.int32)
    graph.operators, graph.inputs, graph.outputs = [operation], operation.inputs[:1], operation.outputs
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(model: bytes, x: np.ndarray, kernels: Any) -> np.ndarray:
    """Return what LiteRT makes of a model and its input."""
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
