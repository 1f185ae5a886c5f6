"""The same computations by onnxruntime and by ratel, many in one session and one program.

Tensors are NHWC here; `nchw` and `oihw` turn them for ONNX. onnxruntime runs one thread, and no graph optimisation, so
that each node is the kernel of that name. ratel assembles text and runs it on a chip whose engines compute in fp32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

import ratel

CHIP = ratel.load_chip("hanguang800", te__vector_format="fp32", pe__vector_format="fp32")
TYPES = {"int8": "i8", "uint8": "u8", "int16": "i16", "int32": "i32", "float16": "f16", "float32": "f32"}
MICROSOFT = "com.microsoft"
NOTHING: Mapping[str, Any] = {}
f32 = np.float32


def nchw(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


# OHWI to OIHW is the same step.
oihw = nchw


def pooled(size: np.ndarray, pad: np.ndarray, window: np.ndarray, stride: np.ndarray, up: int) -> list[int]:
    """Return the sizes of what a pooling makes; with ceil_mode no window begins behind the image (ONNX, opset 19)."""
    beyond = size + pad[:2] + pad[2:] - window
    if not up:
        return (beyond // stride + 1).tolist()
    return (np.minimum(-(-beyond // stride), (size + pad[:2] - 1) // stride) + 1).tolist()


@dataclass(frozen=True)
class Tensor:
    """A tensor of ratel with its meaning: (stored - zero) * scale; no scale, no multipliers."""

    data: np.ndarray
    scale: Any = None
    zero: int = 0

    def declaration(self, kind: str, name: str) -> str:
        text = f".{kind} {name} {TYPES[self.data.dtype.name]}{list(self.data.shape)}"
        if self.scale is not None:
            text += f" scale={np.asarray(self.scale, f32).tolist()!r}"
        return text + (f" zero={self.zero}" if self.zero else "")

    def quantised(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scale and the zero point as onnxruntime takes them."""
        scale = np.asarray(self.scale, f32)
        return (scale if scale.size > 1 else scale.reshape(())), np.array(self.zero, self.data.dtype)

    def triple(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.data, *self.quantised()


@dataclass
class Both:
    """Cases for both, each a node of one graph and some lines of one program."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    initialisers: list[onnx.TensorProto] = field(default_factory=list)
    results: list[onnx.ValueInfoProto] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    channels_last: list[bool] = field(default_factory=list)
    opset: int = 21

    def node(
        self,
        operator: str,
        inputs: Sequence[np.ndarray | str | None],
        dtype: np.dtype,
        domain: str = "",
        channels_last: bool = False,
        nth: tuple[int, int] = (0, 1),
        **attributes: Any,
    ) -> None:
        """Add a case to the graph: the first input is fed, the others are initialisers; None leaves one out.

        Text names the result of another case, as `result()` says it. `channels_last` turns its own, NCHW, before it is
        compared. It is the `nth` of so many that the node has.
        """
        case, names = len(self.nodes), []
        for k, value in enumerate(inputs):
            names.append("" if value is None else f"i{case}_{k}")
            if isinstance(value, str):
                names[-1] = value
            elif value is not None and k:
                self.initialisers.append(numpy_helper.from_array(np.asarray(value), names[-1]))
            elif value is not None:
                self.values[names[-1]] = value
        results = [f"o{case}" if k == nth[0] else f"o{case}_{k}" for k in range(nth[1])]
        self.nodes.append(helper.make_node(operator, names, results, domain=domain, **attributes))
        self.results.append(helper.make_tensor_value_info(f"o{case}", helper.np_dtype_to_tensor_dtype(dtype), None))
        self.channels_last.append(channels_last)

    def result(self) -> str:
        """Return what the result of the last case is called."""
        return self.results[-1].name

    def program(
        self,
        code: str,
        out: Tensor,
        inputs: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] = NOTHING,
        constants: Mapping[str, np.ndarray] = NOTHING,
        locals: Mapping[str, Tensor] = NOTHING,
        tables: Mapping[str, Tensor] = NOTHING,
    ) -> None:
        """Add the same case to the program: in `code`, `{x}` stands for the name of its own tensor x.

        Tables are constants too, with the scale of their index.
        """
        case = len(self.nodes) - 1
        names = {name: f"{name}{case}" for name in (*inputs, *weights, *constants, *locals, *tables, "out")}
        for name, tensor in inputs.items():
            self.text.append(tensor.declaration("input", names[name]))
            self.inputs[names[name]] = tensor.data
        for name, tensor in weights.items():
            self.text.append(f'{tensor.declaration("weight", names[name])} = "hex:{tensor.data.tobytes().hex()}"')
        for name, table in {**{name: Tensor(values) for name, values in constants.items()}, **tables}.items():
            self.text.append(f'{table.declaration("const", names[name])} = "hex:{table.data.tobytes().hex()}"')
        for name, tensor in locals.items():
            self.text.append(tensor.declaration("local", names[name]))
        self.text += [out.declaration("output", names["out"]), code.format(**names)]

    def expected(self) -> list[np.ndarray]:
        """Return onnxruntime's result of each case."""
        feeds = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in self.values.items()
        ]
        graph = helper.make_graph(self.nodes, "both", feeds, self.results, self.initialisers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run([result.name for result in self.results], self.values)
        return [nhwc(value) if last else value for value, last in zip(found, self.channels_last, strict=True)]

    def run(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (onnxruntime's result, ratel's) of each case."""
        expected = self.expected()
        outputs = ratel.run(ratel.assemble("\n".join([*self.text, "end"])), self.inputs, CHIP).outputs
        return [(value, outputs[f"out{case}"]) for case, value in enumerate(expected)]
