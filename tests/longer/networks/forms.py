"""The forms of one network: quantised by onnxruntime's static quantiser, and as onnxruntime rewrites the QDQ one.

`u8u8` and `s8s8` are of QLinear operators, u8 with zero points and one scale for each tensor, and s8 symmetric with a
scale for each output channel. `qdq` has QuantizeLinear and DequantizeLinear around float operators, s8 activations with
zero points, s8 weights symmetric by channel. `extended` is what onnxruntime makes of that on its way to run it.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from tests.oracles.onnx_tensors import optimised

Feeds = dict[str, np.ndarray]
FORMS = ("u8u8", "s8s8", "qdq")
# Scales by channel came with it.
LEAST_OPSET = 13
SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True}
OPTIONS = {
    "u8u8": (QuantFormat.QOperator, QuantType.QUInt8, False, {}),
    "s8s8": (QuantFormat.QOperator, QuantType.QInt8, True, SYMMETRIC),
    "qdq": (QuantFormat.QDQ, QuantType.QInt8, True, {"WeightSymmetric": True}),
}


class Reader(CalibrationDataReader):
    """Feeds, one after another."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self.left: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:  # type: ignore[override]
        return next(self.left, None)


def folded(path: Path, to: Path) -> None:
    """Write a float network as the quantiser wants it: of opset 13 at least, constants computed, normalising folded.

    A bias of [1, n] is written as one of [n], for the quantiser cannot take the former by channel. Each bias has one
    reader: the quantiser gives copies for more of them names that others may have, or the first reader's scale.
    """
    model = onnx.load(path)
    with TemporaryDirectory() as folder:
        if next(o.version for o in model.opset_import if not o.domain) < LEAST_OPSET:
            path = Path(folder) / "newer.onnx"
            onnx.save(onnx.version_converter.convert_version(model, LEAST_OPSET), path)
        optimised(path, to, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
    model = onnx.load(to)
    tensors, read = {tensor.name: tensor for tensor in model.graph.initializer}, set()
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "ConvTranspose") and len(node.input) == 3 and node.input[2] in tensors:
            bias = tensors[node.input[2]]
            if bias.name in read:
                bias = model.graph.initializer.add()
                bias.CopyFrom(tensors[node.input[2]])
                node.input[2] = bias.name = f"{bias.name}_of_{node.output[0]}"
            read.add(bias.name)
            if len(bias.dims) == 2 and bias.dims[0] == 1:
                del bias.dims[0]
    onnx.save(model, to)


def quantised(path: Path, form: str, feeds: Sequence[Feeds], to: Path) -> None:
    """Write the network in a form of FORMS, ranges taken (MinMax) over the feeds."""
    layout, dtype, per_channel, options = OPTIONS[form]
    logging.disable(logging.WARNING)  # Advice to do what `folded` has done.
    try:
        quantize_static(
            path,
            to,
            Reader(feeds),
            quant_format=layout,
            activation_type=dtype,
            weight_type=dtype,
            per_channel=per_channel,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=dict(options),
        )
    finally:
        logging.disable(logging.NOTSET)
