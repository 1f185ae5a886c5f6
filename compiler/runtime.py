"""onnx and onnxruntime: imported here alone, as they are used, and asked in ways that keep bits.

The host's runtime has three parts in a compilation: it gives networks of QuantizeLinear and DequantizeLinear their
integer form, computes what is constant, and computes what no engine of the chip does. Each runs on one thread, node by
node (no optimisation), so that results are those of the nodes as they are written.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Node
from isa.errors import InputError

EXTRA = "pip install 'ratel-npu[onnx]'"
# Of all files that onnxruntime 1.32 takes: the least version of the format with what is written here.
IR_VERSION = 10


def onnx() -> Any:
    """Return the module onnx; raise InputError, saying what to install, where it is missing."""
    try:
        import onnx
        import onnx.numpy_helper
        import onnx.shape_inference
        import onnx.version_converter
    except ImportError as error:
        raise InputError(f"a network is read with onnx, which is not installed ({error})", EXTRA) from error
    return onnx


def onnxruntime() -> Any:
    """Return the module onnxruntime; raise InputError, saying what to install, where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"a network is compiled with onnxruntime, which is not installed ({error})", EXTRA) from error
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def quantization() -> Any:
    """Return the package onnxruntime.quantization with those of its modules that are used; raise as `onnxruntime`."""
    onnx()
    onnxruntime()
    try:
        import onnxruntime.quantization as package
        from onnxruntime.quantization import (  # noqa: F401
            calibrate,
            onnx_quantizer,
            qdq_quantizer,
            quant_utils,
            registry,
        )
    except ImportError as error:
        # It is part of onnxruntime, and some versions of it need further packages.
        raise InputError(f"onnxruntime's quantiser cannot be used ({error})", EXTRA) from error
    return package


def session(
    model: Any, optimised: Path | None = None, name: str = "this network", level: str = "ORT_ENABLE_EXTENDED"
) -> Any:
    """Return onnxruntime's session of a model, its bytes or its path, and write its form of `level`.

    That goes to `optimised`, where it is given. Raises InputError with what the runtime says where it does not take the
    model.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    levels = runtime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_DISABLE_ALL
    if optimised is not None:
        options.graph_optimization_level = levels.__members__[level]
        options.optimized_model_filepath = str(optimised)
        # Else integers of s8 stay in floats.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    try:
        # Else it prints what is wrong itself, and tries the same again.
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # Of a dozen kinds, which share no base.
        raise InputError(f"onnxruntime does not take {name}: {said(error)}") from error


def said(error: Exception) -> str:
    """Return what the runtime says, in one line, without its own places."""
    text = " ".join(str(error).split())
    text = text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
    return text.rpartition("Status Message: ")[2]


def extended(model: Any, name: str) -> tuple[Any, str]:
    """Return the form that onnxruntime's extended optimisations give a model, and how it is called."""
    return _rewritten(model, name, "ORT_ENABLE_EXTENDED"), f"onnxruntime {onnxruntime().__version__}, extended"


def basic(model: Any, name: str) -> Any:
    """Return the form that onnxruntime's basic optimisations give a model: its operators are ONNX's own."""
    return _rewritten(model, name, "ORT_ENABLE_BASIC")


def _rewritten(model: Any, name: str, level: str) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rewritten.onnx"
        session(model, path, name, level)
        return onnx().load(path)


def versions() -> dict[str, str]:
    """Return which onnx and onnxruntime are installed, without loading them; raise InputError where one is missing.

    Of a distribution with another name, such as onnxruntime-gpu, the version is not known: "".
    """
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    found = {}
    for name in ("onnx", "onnxruntime"):
        if find_spec(name) is None:
            raise InputError(f"a network is read with {name}, which is not installed", EXTRA)
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def model_of(
    nodes: Iterable[Node],
    inputs: Mapping[str, tuple[np.dtype[Any], Sequence[int] | None]],
    constants: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    opsets: Mapping[str, int],
) -> bytes:
    """Return a model of some nodes; `inputs` are types and shapes of what they are given."""
    helper, numpy_helper = onnx().helper, onnx().numpy_helper

    def described(name: str, dtype: np.dtype[Any], shape: Sequence[int] | None) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)

    graph = helper.make_graph(
        [node.proto for node in nodes],
        "part",
        [described(name, *of) for name, of in inputs.items()],
        [onnx().ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(data, name) for name, data in constants.items()],
    )
    versions = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION).SerializeToString()


def evaluate(
    nodes: Sequence[Node], given: Mapping[str, NDArray[Any]], outputs: Sequence[str], opsets: Mapping[str, int]
) -> list[NDArray[Any]]:
    """Return what nodes make of arrays; raise InputError with what the runtime says where they do not."""
    kinds = {name: (array.dtype, array.shape) for name, array in given.items()}
    made = session(model_of(nodes, kinds, {}, outputs, opsets), name=nodes[-1].label)
    try:
        return list(made.run(list(outputs), dict(given)))
    except Exception as error:
        raise InputError(f"onnxruntime cannot compute {nodes[-1].label}: {said(error)}") from error
