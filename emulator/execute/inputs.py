"""Inputs: the tensors that a program is given, checked and, where they have a scale, quantised."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from isa.dtypes import OF_ML_DTYPES, dtype_of
from isa.errors import InputError, Trap, shown
from isa.files import open_given, reason
from isa.memory import HELP, hold, limited, shortage
from isa.npy import Header, NoTensor, read_npy
from isa.program import MAX_TASKS, Program, Symbol
from isa.quantise import first_nan, is_floats
from isa.suggest import did_you_mean


def count_tasks(program: Program, given: Mapping[str, Any], asked: int | None, otherwise: int | None = None) -> int:
    """Return how many tasks a run has: as many as asked for, or as the batches have.

    Where neither says, there are as many as `otherwise` says, or the program's own number. A batch has one
    dimension more than its input. Raises InputError where the numbers disagree.
    """
    if asked is not None and not (isinstance(asked, Integral) and 1 <= asked <= MAX_TASKS):
        raise InputError(f"{shown(asked)} is no number of tasks", f"give a whole number, 1 to {MAX_TASKS}")
    if not isinstance(given, Mapping):
        raise InputError(f"the inputs are {shown(given)}", "give arrays by name, as in {'x': array}")
    batches: dict[str, int] = {}
    for _, symbol in program.of_kind("input"):
        # Whatever is wrong otherwise, `prepare` says.
        with suppress(ValueError, TypeError, OverflowError):
            if symbol.name in given and np.ndim(given[symbol.name]) == len(symbol.shape) + 1:
                batches[symbol.name] = len(given[symbol.name])
    counts = {*batches.values(), *(() if asked is None else (int(asked),))}
    if len(counts) > 1:
        lengths = ", ".join(f"{name} is a batch of {length}" for name, length in batches.items())
        wanted = "" if asked is None else f"the run has {asked} tasks, "
        help = "give every batch the same length; an input without that dimension is the same for each task"
        raise InputError(f"the inputs disagree on the number of tasks: {wanted}{lengths}", help)
    (count,) = counts or {otherwise or program.tasks}
    if not 1 <= count <= MAX_TASKS:
        raise InputError(f"{', '.join(batches)}: a batch of {count}", f"a stream has 1 to {MAX_TASKS} tasks")
    return count


def prepare(
    program: Program, given: Mapping[str, Any], tasks: int = 1, alone: int | None = None
) -> dict[str, np.ndarray]:
    """Return every input of a program, by name, in its symbol's type and shape; where none is given, its default.

    A batch keeps its dimension in front, of length `tasks`. Of a task that is run `alone`, by its number, the default
    is its own. An input with a scale also takes floats, which are quantised. Raises one InputError that names all that
    is wrong, and Trap where there is not the memory.
    """
    with limited(None):
        return _prepared(program, given, tasks, alone)


def _prepared(program: Program, given: Mapping[str, Any], tasks: int, alone: int | None) -> dict[str, np.ndarray]:
    symbols = {symbol.name: symbol for _, symbol in program.of_kind("input")}
    wrong = [_unknown(name, symbols) for name in given if name not in symbols]
    prepared = {}
    for name, symbol in symbols.items():
        try:
            if name in given:
                prepared[name] = convert(symbol, given[name], tasks)
            elif symbol.default is not None:
                prepared[name] = _default(symbol, symbol.default, tasks, alone)
            else:
                option = f"--input {shlex.quote(name)}=FILE.npy"
                help = f'give {_form(symbol)}: {option}, or a default in the program: = "FILE.npy"'
                raise InputError(f"input {name} is missing", help)
        except InputError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        helps = [error.help for error in wrong if error.help]
        found = [diagnostic for error in wrong for diagnostic in error.diagnostics]
        raise InputError("\n".join(error.message for error in wrong), "\n".join(helps), found)
    return prepared


def _default(symbol: Symbol, data: bytes, tasks: int, alone: int | None) -> np.ndarray:
    if len(data) == symbol.bytes:
        return symbol.array(data)
    held = len(data) // symbol.bytes
    if alone is not None and alone < held:
        return symbol.array(data[alone * symbol.bytes : (alone + 1) * symbol.bytes])
    if held != tasks:
        raise InputError(
            f"the default of input {symbol.name} is for {held} tasks, but the run has {tasks}",
            f"give {_form(symbol)}, or a batch of {tasks} of them",
        )
    return np.frombuffer(data, symbol.dtype.numpy).reshape(tasks, *symbol.shape)


def convert(symbol: Symbol, value: Any, tasks: int = 1) -> np.ndarray:
    """Return a value in the type and shape of an input, or a batch; raise InputError where that would need a guess.

    The value is in the host's order, and what is returned in that of the declaration.
    Raises Trap where there is not the memory for what is made of it.
    """
    is_array = isinstance(value, np.ndarray) and value.shape == symbol.shape and not symbol.axes
    if is_array and value.dtype == symbol.dtype.numpy and value.flags.c_contiguous:
        return value
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"input {symbol.name} is not an array: {error}", f"give {_form(symbol)}") from error
    shape = symbol.host_shape
    if array.shape not in (shape, (tasks, *shape)):
        help = f"give {_form(symbol)}; a batch has one dimension more in front"
        if array.shape in (symbol.shape, (tasks, *symbol.shape)):
            help = f"that is the program's order, from which axes={list(symbol.axes)} make the host's; {help}"
        raise InputError(f"input {symbol.name} has shape {list(array.shape)}", help)
    array = symbol.from_host(array)
    if not isinstance(value, np.ndarray | np.generic) and array.dtype.kind == "i" and fits(symbol, array):
        # Python's own numbers have no width to disagree.
        _make_room(symbol, array)
        return array.astype(symbol.dtype.numpy)
    if dtype_of(array.dtype) == symbol.dtype:
        if array.dtype != symbol.dtype.numpy or not array.flags.c_contiguous:
            _make_room(symbol, array)
        return np.ascontiguousarray(array, symbol.dtype.numpy)
    if is_floats(array.dtype) and symbol.scale and not symbol.dtype.is_float:
        return quantise(symbol, array)
    return _refuse(symbol, array)


def _make_room(symbol: Symbol, array: np.ndarray) -> None:
    """Raise Trap where there is not the memory for an array of this size in a symbol's type; hold it where there is."""
    size = array.size * symbol.dtype.bytes
    short = shortage({f"what the run takes of input {symbol.name}, of shape {list(array.shape)}": size})
    if short:
        raise Trap(f"input {symbol.name}: {short}", f"give smaller batches, {HELP}")
    hold(size, taken=False)


def fits(symbol: Symbol, array: np.ndarray) -> bool:
    """Return whether an integer type of a symbol holds every value of an array of integers."""
    if symbol.dtype.is_float or not array.size:
        return False
    return symbol.dtype.low <= int(array.min()) and int(array.max()) <= symbol.dtype.high


def quantise(symbol: Symbol, values: np.ndarray) -> np.ndarray:
    """Return floats of the declared shape in the symbol's type.

    Raises InputError for NaN, and for scales that are not one a channel.
    """
    at = first_nan(symbol.to_host(values))
    if at is not None:
        raise InputError(f"input {symbol.name} has NaN at {at}, which has no quantised value", "mend the data")
    if len(symbol.scale) not in (1, symbol.shape[-1]):
        raise InputError(
            f"input {symbol.name} has {len(symbol.scale)} scales but {symbol.shape[-1]} channels, "
            "for floats to quantise",
            f"give integers of type {symbol.dtype.numpy.name}, or one scale in the program",
        )
    _make_room(symbol, values)
    return symbol.quantise(values)


def read_tensor(path: str | Path) -> np.ndarray:
    """Return the tensor in a .npy file, and hold its bytes; raise InputError when there is none.

    Raises Trap, before it is read, where there is not the memory.
    """

    def look(header: Header) -> None:
        short = shortage({f"the tensor in {path}, {header.dtype} {list(header.shape)}": header.nbytes})
        if short:
            raise Trap(f"cannot read {path}: {short}", f"give a smaller tensor, {HELP}")

    try:
        file = open_given(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    try:
        with file:
            array = read_npy(file, look)
    except NoTensor as error:
        raise InputError(f"{path} {error}", "write it with numpy.save") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from error
    hold(array.nbytes)
    return array


def _form(symbol: Symbol) -> str:
    """Return what an input should look like."""
    floats = ", or floats, which are quantised" if symbol.scale and not symbol.dtype.is_float else ""
    return f"a tensor of shape {list(symbol.host_shape)} and type {symbol.dtype.numpy.name}{floats}"


def _unknown(name: object, symbols: Mapping[str, Symbol]) -> InputError:
    known = f"inputs: {', '.join(symbols)}" if symbols else "it has no inputs"
    return InputError(f"the program has no input {shown(name)}", did_you_mean(str(name), symbols, known))


def _refuse(symbol: Symbol, array: np.ndarray) -> np.ndarray:
    """Raise InputError for an array of another type, saying how to convert it."""
    wanted = symbol.dtype.numpy.name
    home = "ml_dtypes" if wanted in OF_ML_DTYPES else "np"
    help = f"convert it with .astype({home}.{wanted})"
    if array.dtype.kind in "iu" and not symbol.dtype.is_float and array.size:
        low, high = int(array.min()), int(array.max())
        if low < symbol.dtype.low or high > symbol.dtype.high:
            help = f"its values, {low} to {high}, do not fit {wanted} ({symbol.dtype.low} to {symbol.dtype.high})"
    elif is_floats(array.dtype) and not symbol.dtype.is_float:
        help = f"give the input a scale in the program to have floats quantised, or {help}"
    elif array.dtype.type is np.void and array.dtype.itemsize == symbol.dtype.bytes and home == "ml_dtypes":
        help = f"NumPy does not know the type of what it loads: add .view(ml_dtypes.{wanted})"
    elif array.dtype.kind not in "iufb":
        help = f"give {_form(symbol)}"
    raise InputError(f"input {symbol.name} has type {array.dtype}, expected {wanted}", help)
