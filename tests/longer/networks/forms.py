"""The forms of one network: quantised by onnxruntime's static quantiser, and as onnxruntime rewrites the QDQ one.

`u8u8` and `s8s8` are of QLinear operators, u8 with zero points and one scale for each tensor, and s8 symmetric with a
scale for each output channel. `qdq` has QuantizeLinear and DequantizeLinear around float operators, s8 activations with
zero points, s8 weights symmetric by channel. `extended` is what onnxruntime makes of that on its way to run it.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from compiler.quantise.prepare import prepared

Feeds = dict[str, np.ndarray]
FORMS = ("u8u8", "s8s8", "qdq")
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
    """Write a float network as the quantiser wants it."""
    onnx.save(prepared(path.read_bytes(), path.name), to)


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
