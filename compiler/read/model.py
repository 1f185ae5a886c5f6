"""The file of a model: its bytes, its weights, and what of its data lies beside it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from compiler.runtime import onnx
from isa.errors import InputError
from isa.file_kinds import ENDINGS, MOST, ZIP, foreign
from isa.files import Refused, hash_of_file, is_plain, name_of, open_given, open_inside, read_at_most, reason
from isa.memory import HELP, shortage

# Protocol buffers hold no more; a larger model has external data.
MAX_MODEL_BYTES = 2**31


@dataclass
class Model:
    """An ONNX file: its name for messages, its bytes, and the folder that its external data lie in.

    `fits` are shapes of inputs that there are, for what the file leaves open. The bytes are let go as they are read:
    they may be many. Then `external` has the hashes of files beside it, `fitted` says whether `fits` were used.
    """

    name: str
    data: bytes = b""
    folder: Path | None = None
    fits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fitted: bool = False
    external: dict[str, str] = field(default_factory=dict)


def opened(path: str | Path, file: BinaryIO | None = None, beginning: bytes = b"") -> Model:
    """Return the file of a model, as it is; raise InputError where it cannot be read, or is larger than any can be.

    `file` is the same, open, where its `beginning` was read already.
    """
    name = name_of(Path(path))
    try:
        with file or open_given(path) as given:
            must_fit(name, os.fstat(given.fileno()).st_size)
            data = beginning + read_at_most(given, MAX_MODEL_BYTES)
    except Refused:
        raise InputError(f"{name} has more than 2 GiB", "keep its weights as external data") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    return Model(name, data, Path(path).parent if is_plain(path) else Path())


def must_fit(name: str, size: int) -> None:
    """Raise InputError where there is not the memory for a model of so many bytes, and for its arrays."""
    short = shortage({f"reading {name}": 2 * size})
    if short:
        raise InputError(f"cannot read {name}: {short}", HELP)


def loaded(model: Any) -> tuple[Any, Model]:
    if isinstance(model, str | Path):
        model = opened(model)
    elif isinstance(model, bytes | bytearray | memoryview):
        model = Model("network", bytes(model))
    elif hasattr(model, "graph") and hasattr(model, "opset_import"):
        copied = onnx().ModelProto()
        copied.CopyFrom(model)
        return copied, Model(str(model.graph.name) or "network")
    elif not isinstance(model, Model):
        raise InputError(
            f"a {type(model).__name__} is no network", "give the path of an ONNX file, or an onnx.ModelProto"
        )
    package = onnx()
    data, model.data = model.data, b""
    what, help = foreign(model.name, data[:MOST])
    if data.startswith(ZIP):
        what, help = "an archive (zip)", "unpack it, or export the model to ONNX"
    if what and (what, help) != ENDINGS[".onnx"]:
        raise InputError(f"{model.name} is {what}, and no ONNX model", help)
    try:
        proto = package.load_model_from_string(data)
    except Exception:  # protobuf's DecodeError, which is not imported by name, and says no more.
        raise InputError(f"{model.name} is no ONNX model, or is damaged", "export or copy it again") from None
    if not proto.graph.node:
        raise InputError(f"{model.name} is no ONNX model, or an empty one: it has no nodes", "export it again")
    if not proto.opset_import:
        raise InputError(
            f"{model.name} does not say which version of ONNX's operators its nodes are of", "export it again"
        )
    return proto, model


def in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def serialised(
    proto: Any,
    source: Model,
    why: str = "it is one of QuantizeLinear and DequantizeLinear",
    help: str = "quantise it to operators of integers (QOperator)",
) -> bytes:
    """Return a model in one piece, its external data inside; raise InputError where that is too large.

    That says `why` onnxruntime takes it so, and what helps.
    """
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx().TensorProto.EXTERNAL:
            tensor.CopyFrom(_with_data(tensor, source))
    try:
        return bytes(proto.SerializeToString())
    except Exception as error:  # Of protobuf, which has no more than 2 GiB in one piece.
        raise InputError(
            f"{source.name} has more than 2 GiB with its external data, and onnxruntime would have to take it as one "
            f"file: {why}",
            help,
        ) from error


def weights_of(proto: Any, source: Model) -> dict[str, NDArray[Any]]:
    """Return the weights of a model as arrays, by name."""
    package, found = onnx(), {}
    for tensor in proto.graph.initializer:
        if tensor.data_location == package.TensorProto.EXTERNAL:
            tensor = _with_data(tensor, source)
        try:
            found[tensor.name] = package.numpy_helper.to_array(tensor)
        except Exception as error:  # Of many kinds: the bytes do not fit the shape, the type is unknown.
            raise InputError(
                f"the weight {tensor.name!r} of {source.name} is damaged: {in_words(error)}", "export the model again"
            ) from error
    return found


def without_weights(proto: Any) -> Any:
    """Return a copy of a model without its weights: nodes hold all of the model that they are of in memory."""
    del proto.graph.initializer[:]
    copied = onnx().ModelProto()
    copied.CopyFrom(proto)
    return copied


def _with_data(tensor: Any, source: Model) -> Any:
    """Return a copy of a tensor with its external data in it; raise InputError where they are not to be had."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    name, what = where.get("location", ""), f"the data of the weight {tensor.name!r} of {source.name}"
    if source.folder is None:
        raise InputError(f"{what} are in {name!r}", "give the path of the model, not its bytes")
    begin, size = where.get("offset", "0"), where.get("length", "")
    if not (begin.isdecimal() and (size.isdecimal() or not size)):
        raise InputError(f"{what} are at no place: offset {begin!r}, length {size!r}", "export the model again")
    try:
        with open_inside(source.folder, name)[0] as file:
            if name not in source.external:
                must_fit(name, os.fstat(file.fileno()).st_size)
                source.external[name] = hash_of_file(file)
            file.seek(int(begin))
            data = file.read(int(size) if size else -1)
    except Refused as error:
        # Of a help, it is one that speaks of programs: the file lies elsewhere, or a link leads there.
        said = "lies outside of the model's folder" if error.help else error.said
        help = "keep them in a file beside the model, or below it, and save the model anew"
        raise InputError(f"{what} are not read: {name!r} {said}", help) from None
    except (OSError, ValueError) as error:
        help = f"keep {name!r} beside the model, as it was exported"
        raise InputError(f"{what} cannot be read from {name!r}: {reason(error)}", help) from error
    if size and len(data) < int(size):
        raise InputError(
            f"{what} are cut off: {name!r} has {len(data)} of {size} bytes from {begin} on", "copy or export it again"
        )
    copied = onnx().TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    copied.raw_data = data
    return copied
