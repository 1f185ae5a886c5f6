"""onnxruntime's static quantiser: the ranges of a network's tensors, and the network that is made with them.

Ranges are taken once; networks with other layers left in floats are made of the same ones.
"""

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from compiler.quantise.samples import Feeds, Samples
from compiler.runtime import onnx, quantization, said
from isa.errors import InputError, RatelError

METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
FORMS = ("qdq", "qoperator")
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QGemm")
# Bytes of tensors that the histograms of entropy and percentile are made of at a time.
HELD_BYTES = 2**28


@dataclass(frozen=True)
class Held:
    """Where a quantised network has a tensor of the one of floats: the value that its producer, or it itself, makes.

    `scale` and `zero` name its scale and zero point, "" where it stays in floats; `integer` says whether `value` is
    integers, which the producer has rounded, or floats that are rounded behind it.
    """

    value: str
    scale: str = ""
    zero: str = ""
    integer: bool = False


@dataclass(frozen=True)
class Made:
    """A quantised network: onnx's ModelProto, and its tensors by their names in the network of floats."""

    proto: Any
    held: Mapping[str, Held]

    @property
    def quantises(self) -> bool:
        return any(node.op_type in QUANTISED or node.op_type.startswith("QLinear") for node in self.proto.graph.node)


def ranges(
    proto: Any, name: str, samples: Samples, method: str, sample_bytes: int, advance: Callable[[int], None]
) -> dict[str, tuple[Any, Any]]:
    """Return the lowest and the highest value of each tensor, by a method of METHODS, over all samples.

    `sample_bytes` is what the tensors of a sample take, `advance` is told how many samples are done. Raises InputError
    where the quantiser does not take the network or a tensor has no finite range.
    """
    package = quantization()
    chosen = package.calibrate.CalibrationMethod[METHODS[method]]
    with TemporaryDirectory() as folder, _quiet(), _declared(name):
        path = Path(folder) / "net.onnx"
        onnx().save(proto, path)
        calibrator = package.calibrate.create_calibrator(
            path, _operators(), augmented_model_path=str(Path(folder) / "more.onnx"), calibrate_method=chosen
        )
        at_once = max(1, HELD_BYTES // max(sample_bytes, 1))
        if method == "minmax":
            at_once = min(at_once, 16)  # Of each tensor two numbers are held: it is for those who watch.
        feeds, done = iter(samples), 0
        while some := list(islice(feeds, at_once)):
            calibrator.collect_data(_Reader(some))
            done += len(some)
            advance(done)
        found = {tensor: data.range_value for tensor, data in calibrator.compute_data().data.items()}
    for tensor, ends in found.items():
        if not np.isfinite(ends).all():
            raise InputError(
                f"{name} makes of the calibration data what no 8 bits hold: {tensor!r} is not finite",
                "mend the data, or the network",
            )
    return found


def made(
    proto: Any, name: str, found: Mapping[str, tuple[Any, Any]], form: str, keep: Sequence[str], symmetric: bool
) -> Made:
    """Return a network quantised in a form of FORMS; nodes named in `keep` stay in floats.

    Weights are s8, symmetric, with a scale for each output channel; other tensors s8 with a zero point, 0 where
    `symmetric`. Raises InputError where the quantiser does not take it.
    """
    package = quantization()
    calibrate, s8 = package.calibrate, package.quant_utils.QuantType.QInt8
    options = {"WeightSymmetric": True, "ActivationSymmetric": symmetric}
    with _quiet(), _declared(name, form):
        # The quantiser changes what it is given, ranges too.
        data = {tensor: calibrate.TensorData(lowest=ends[0], highest=ends[1]) for tensor, ends in found.items()}
        held_ranges = calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data)
        model = package.quant_utils.save_and_reload_model_with_shape_infer(copy.deepcopy(proto))
        behind: tuple[Any, ...] = (s8, s8, held_ranges, [], list(keep), _operators(), options)
        if form == "qoperator":
            mode = package.quant_utils.QuantizationMode.QLinearOps
            quantiser = package.onnx_quantizer.ONNXQuantizer(model, True, False, mode, True, *behind)
        else:
            quantiser = package.qdq_quantizer.QDQQuantizer(model, True, False, *behind)
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        result = quantiser.model.model
        integers = quantiser.quantized_value_map if form == "qoperator" else {}
    return Made(result, _held(proto, result, integers))


def _operators() -> list[str]:
    """Return the operators that the quantiser knows in either form, as quantize_static takes them by default."""
    registry = quantization().registry
    return sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})


def _held(proto: Any, result: Any, integers: Mapping[str, Any]) -> dict[str, Held]:
    """Return where a quantised network has each value that a node of the network of floats makes."""
    suffix = quantization().quant_utils.QUANT_INPUT_SUFFIX
    produced = {name for node in result.graph.node for name in node.output}
    names = [name for node in proto.graph.node for name in node.output if name]
    known = set(names)
    found = {name: Held(name) for name in names if name in produced}
    for node in result.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in produced:
            continue
        name = node.input[0].removesuffix(suffix) if node.input[0] not in known else node.input[0]
        if name in known:
            found[name] = Held(node.input[0], node.input[1], node.input[2])
    owners: dict[str, str] = {}
    rounded = {node.output[0] for node in result.graph.node if node.op_type == "QuantizeLinear"}
    for name in names:
        value = integers.get(name)
        if value is None or value.q_name not in produced or value.q_name in rounded:
            continue
        if owner := owners.get(value.q_name):
            # What a node is followed by was folded into it: it makes the latter's values.
            found.pop(owner, None)
        owners[value.q_name] = name
        found[name] = Held(value.q_name, value.scale_name, value.zp_name, True)
    return found


class _Reader:
    """Samples as the calibrator takes them: one after another, then None."""

    def __init__(self, samples: Sequence[Feeds]) -> None:
        self.left: Iterator[Feeds] = iter(samples)

    def get_next(self) -> Feeds | None:
        return next(self.left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what the quantiser prints and logs: progress, and advice to do what is done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _declared(name: str, form: str = "") -> Iterator[None]:
    """Raise InputError for whatever the quantiser raises."""
    try:
        yield
    except (RatelError, MemoryError):
        raise
    except Exception as error:  # Of any kind, failed assertions among them.
        other = f"try --form {'qdq' if form == 'qoperator' else 'qoperator'}, or --keep" if form else ""
        what = said(error) or type(error).__name__
        raise InputError(f"onnxruntime's quantiser does not take {name}: {what}", other) from error
