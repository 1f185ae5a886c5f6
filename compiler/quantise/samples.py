"""Calibration data: arrays by the names of inputs, a file of them, or a folder; read sample by sample.

An array that has one dimension more than its input holds a sample in each place of the first. One of as many dimensions
holds them along the first, as many rows each as the network fixes, or one where it leaves that open.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.execute.inputs import read_tensor
from isa.errors import InputError, Trap, shown
from isa.files import is_plain, open_given, reason
from isa.memory import HELP, limited, shortage
from isa.npy import Header, NoTensor, read_npy
from isa.suggest import did_you_mean

Feeds = dict[str, NDArray[Any]]
# An array, as what is wrong with it calls it, and what reads it: of files one at a time is in memory.
Source = tuple[str, Callable[[], Any]]
GIVE = "give an .npz file of arrays by the names of inputs, or a folder of .npy files"


@dataclass(frozen=True)
class Input:
    """An input of the network: None stands for a dimension that the file leaves open."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype.name}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def pieces(self, array: NDArray[Any]) -> Iterator[NDArray[Any]] | None:
        """Return the samples in an array; None where its shape has none."""
        shape = self.shape
        if array.ndim == len(shape) + 1 and _fits(array.shape[1:], shape):
            return (np.ascontiguousarray(array[k]) for k in range(len(array)))
        if array.ndim == len(shape) > 0 and _fits(array.shape[1:], shape[1:]):
            rows = shape[0] or 1
            if len(array) % rows == 0:
                return (np.ascontiguousarray(array[k : k + rows]) for k in range(0, len(array), rows))
        return None


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return all(size is None or size == given for given, size in zip(shape, wanted))


class Samples:
    """What a network is calibrated with: `len` says how many, an iteration gives each as arrays by name."""

    def __init__(self, network: str, inputs: Sequence[Input], data: Any) -> None:
        """Check all of it; raise InputError for names, types, shapes and values that are not the network's."""
        if not inputs:
            raise InputError(f"{network} has no inputs: there is nothing to calibrate it with")
        self.inputs = {one.name: one for one in inputs}
        self.sources = _sources(network, self.inputs, data)
        counts = {}
        for name, one in self.inputs.items():
            counts[name] = sum(_counted(one, source) for source in self.sources[name])
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{number} of {name!r}" for name, number in counts.items())
            raise InputError(f"the inputs of {network} have different numbers of samples: {said}", "give as many each")
        (self.count,) = set(counts.values())
        if not self.count:
            raise InputError(f"the calibration data of {network} hold no samples", GIVE)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Feeds]:
        streams = [self._pieces(one) for one in self.inputs.values()]
        for arrays in zip(*streams, strict=True):
            yield dict(zip(self.inputs, arrays))

    def _pieces(self, one: Input) -> Iterator[NDArray[Any]]:
        for label, load in self.sources[one.name]:
            pieces = one.pieces(_array(label, load))
            if pieces is None:
                raise InputError(f"{label} has changed while it was read", "run the command again")
            yield from pieces


def _counted(one: Input, source: Source) -> int:
    """Return how many samples a source has; raise InputError where they are none of this input."""
    label, load = source
    array = _array(label, load)
    if array.dtype != one.dtype:
        raise InputError(
            f"{label} is of type {array.dtype.name}, not {one.dtype.name}",
            f"convert it with .astype(np.{one.dtype.name})",
        )
    pieces = one.pieces(array)
    if pieces is None:
        raise InputError(
            f"{label} is of shape {list(array.shape)}, and the input {one.name!r} is {one}",
            "samples stand along the first dimension, or have one dimension more in front",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        at = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InputError(f"{label} has {array[tuple(at)]} at {at}: no range holds it", "mend the data")
    return sum(1 for _ in pieces)


def _array(label: str, load: Callable[[], Any]) -> NDArray[Any]:
    try:
        with limited(None):
            return np.asarray(load())
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{label} is no array of numbers", "give NumPy's arrays") from error


def _sources(network: str, inputs: Mapping[str, Input], data: Any) -> dict[str, list[Source]]:
    if isinstance(data, str | Path):
        path = Path(data)
        named = _in_folder(path, inputs) if path.is_dir() else _in_archive(path)
    elif isinstance(data, Mapping):
        named = {name: _given(name, array) for name, array in data.items()}
    elif isinstance(data, np.ndarray):
        if len(inputs) != 1:
            raise InputError(f"{network} has {len(inputs)} inputs: {', '.join(inputs)}", "give arrays by name")
        named = {name: _given(name, data) for name in inputs}
    elif isinstance(data, Sequence) and all(isinstance(one, Mapping) for one in data):
        keys = dict.fromkeys(name for one in data for name in one)
        named = {name: [part for one in data if name in one for part in _given(name, one[name])] for name in keys}
    else:
        raise InputError(f"{shown(data)} are no calibration data", "give arrays by the names of inputs, or a path")
    for name in named:
        if name not in inputs:
            known = f"inputs: {', '.join(inputs) or 'none'}"
            raise InputError(f"{network} has no input {shown(name)}", did_you_mean(str(name), inputs, known))
    if missing := [name for name in inputs if name not in named]:
        raise InputError(
            f"the calibration data lack the input {missing[0]!r} of {network}", f"it is {inputs[missing[0]]}; {GIVE}"
        )
    return named


def _given(name: str, value: Any) -> list[Source]:
    """Return the sources of one input: an array, or a list of arrays."""
    if isinstance(value, list | tuple) and all(isinstance(one, np.ndarray) for one in value):
        return [(f"sample {k} of {name!r}", partial(np.asarray, one)) for k, one in enumerate(value)]
    return [(f"the array of {name!r}", lambda: value)]


def _in_archive(path: Path) -> dict[str, list[Source]]:
    """Return the arrays of an .npz file, each read when it is wanted."""
    if path.exists() and not is_plain(path):
        raise InputError(f"{path} is no plain file, and samples are read more than once", GIVE)
    try:
        with open_given(path) as file, zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}", GIVE) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path} is no archive of tensors (.npz), or is damaged", GIVE) from error
    return {name.removesuffix(".npy"): [(f"{name!r} of {path}", _member(path, name))] for name in members}


def _member(path: Path, name: str) -> Callable[[], NDArray[Any]]:
    def look(header: Header) -> None:
        short = shortage({f"the array {name} of {path}": header.nbytes})
        if short:
            raise Trap(f"cannot read {path}: {short}", f"give fewer samples at a time, as files in a folder, {HELP}")

    def load() -> NDArray[Any]:
        try:
            with open_given(path) as file, zipfile.ZipFile(file) as archive, archive.open(name) as member:
                return read_npy(member, look)  # type: ignore[arg-type]  # It has `read`.
        except NoTensor as error:
            raise InputError(f"{name!r} of {path} {error}", "write it with numpy.savez") from error
        except Exception as error:
            if isinstance(error, InputError | Trap):
                raise
            # zipfile and its decompressors raise whatever they meet.
            raise InputError(f"cannot read {name!r} of {path}: {reason(error)}", "write it again") from error

    return load


def _in_folder(path: Path, inputs: Mapping[str, Input]) -> dict[str, list[Source]]:
    """Return the tensors of a folder: NAME.npy of each input; of a sole input without one all files, in their order."""
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == ".npy")
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    if not files:
        raise InputError(f"{path} has no .npy files", GIVE)
    named = {name: file for name in inputs for file in files if file.stem == name}
    if not named and len(inputs) == 1:
        return {name: [_file(file) for file in files] for name in inputs}
    return {file.stem: [_file(file)] for file in files}


def _file(path: Path) -> Source:
    return str(path), lambda: read_tensor(path)
