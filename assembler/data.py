"""Initial data: numbers in the text, one value for all, or a .npy file; checked for shape, type and range."""

from collections.abc import Callable, Mapping
from json import dumps
from math import prod
from typing import Any

import numpy as np

from assembler.expressions import Evaluator
from assembler.files import FileProblem, Folder
from assembler.syntax import nodes
from isa.dtypes import DTYPES, OF_ML_DTYPES, U8, DType, dtype_of
from isa.memory import HELP, shortage
from isa.program import Symbol
from isa.quantise import first_nan, is_floats

MAX_BYTES = 2**30
# A text that begins so holds the bytes themselves: for what numbers cannot say, such as the payload of a NaN.
HEX = "hex:"


class Reader:
    """Reads the data of one statement; problems are reported at the data, or at the element."""

    def __init__(self, evaluator: Evaluator, folder: Folder) -> None:
        self.evaluator = evaluator
        self.folder = folder

    def tensor(self, node: nodes.Value, dtype: DType, shape: tuple[int, ...], splat: bool = True) -> bytes:
        """Return the bytes of a tensor of this type and shape."""
        size = self._size(node, dtype, shape)
        count = size // dtype.bytes
        self.check_room(node, {"these data": size})
        node, evaluator = self._follow(node)
        if isinstance(node, nodes.Text):
            return self._file(node, dtype, shape)
        if isinstance(node, nodes.List):
            elements = self._flat(node, shape, evaluator)
            values = [self._element(element, dtype, evaluator) for element in elements]
            with np.errstate(over="ignore"):
                return np.array(values, dtype.numpy).tobytes()
        if isinstance(node, nodes.Tuple):
            raise evaluator.error("E503", node, "this is no list of numbers", "expected `[...]`")
        if not splat:
            message = "this is no list of numbers"
            raise evaluator.error("E503", node, message, f'expected a list {list(shape)} or a file "NAME.npy"')
        return np.array(self._element(node, dtype, evaluator), dtype.numpy).tobytes() * count

    def _size(self, node: nodes.Node, dtype: DType, shape: tuple[int, ...]) -> int:
        """Return the bytes of a tensor; report where they are too many."""
        size = int(np.prod(shape, dtype=object)) * dtype.bytes
        if size > MAX_BYTES:
            message = f"{size:,} bytes of data"
            raise self.evaluator.error("E506", node, message, f"expected at most {MAX_BYTES:,}", "load it in parts")
        return size

    def check_room(self, node: nodes.Node, needs: Mapping[str, int]) -> None:
        """Report at a node that there is not the memory for what it means; `needs` are as `shortage` takes them."""
        short = shortage(needs)
        if short:
            raise self.evaluator.error("E506", node, short, "", f"make tensors smaller, {HELP}")

    def initial(self, node: nodes.Value, symbol: Symbol, tasks: int) -> bytes:
        """Return what a tensor holds at first, an input of each task where the data have a dimension for that.

        Like a run, an input with a scale takes floats too, from a file; and its data are in the host's order.
        """
        file, evaluator = self._follow(node)
        shape = symbol.host_shape
        if symbol.kind == "input" and self._is_batch(file, symbol, tasks):
            self._check_length(file, symbol, tasks)
            shape = (tasks, *shape)
        if isinstance(file, nodes.Text) and symbol.kind == "input" and symbol.scale and not symbol.dtype.is_float:
            header = None if file.value.startswith(HEX) else self.header(file)
            if header is not None and is_floats(header.dtype):
                self._check_shape(file, header, shape)
                # As they are made, and as the program holds them.
                array = self.array(file, header, {"their integers": 2 * self._size(file, symbol.dtype, shape)})
                place = first_nan(array)
                if place is not None:
                    message = f'"{file.value}" has NaN at {place}'
                    raise evaluator.error("E504", file, message, "it has no quantised value", "mend the data")
                return symbol.quantise(symbol.from_host(array)).tobytes()
        if symbol.form:
            # Blocks as they are stored: quantising loses something, and is for ratel.quantise to do.
            return self.tensor(node, U8, (symbol.stored,))
        data = self.tensor(node, symbol.dtype, shape)
        if not symbol.axes:
            return data
        self.check_room(node, {"these data in the order of the chip": len(data)})
        return symbol.from_host(np.frombuffer(data, symbol.dtype.numpy).reshape(shape)).tobytes()

    def _check_length(self, node: nodes.Value, symbol: Symbol, tasks: int) -> None:
        """Refuse a file that is a batch of inputs for another number of tasks."""
        if not isinstance(node, nodes.Text) or node.value.startswith(HEX):
            return
        shape = self.header(node).shape
        if shape[1:] == symbol.host_shape and shape[0] != tasks:
            each, held = list(symbol.host_shape), f'"{node.value}" has shape {list(shape)}'
            label = f"expected {each}"
            if tasks > 1:
                label = f"expected {[tasks, *each]}, one for each task, or {each}, the same for all"
            help = f"`.tasks {shape[0]}` makes these the inputs of {shape[0]} tasks" if shape[0] else ""
            raise self.evaluator.error("E503", node, held, label, help)

    def _is_batch(self, node: nodes.Value, symbol: Symbol, tasks: int) -> bool:
        """Return whether data have a dimension more than their tensor, or enough elements without dimensions."""
        if isinstance(node, nodes.Text) and node.value.startswith(HEX):
            return tasks > 1 and len(node.value) - len(HEX) == 2 * tasks * symbol.bytes
        if isinstance(node, nodes.Text):
            return int(self.header(node).ndim) == len(symbol.shape) + 1
        depth = 0
        inner: nodes.Value = node
        while isinstance(inner, nodes.List) and inner.items:
            depth, inner = depth + 1, inner.items[0]
        if isinstance(node, nodes.List) and depth == 1 < tasks:
            return len(node.items) == tasks * symbol.bytes // symbol.dtype.bytes
        return depth == len(symbol.shape) + 1

    def scale(self, node: nodes.Value) -> tuple[float, ...]:
        """Return the scale of a tensor: positive float32 numbers from a number, a list or a file."""
        node, evaluator = self._follow(node)
        if isinstance(node, nodes.Text):
            header = self.header(node)
            if header.dtype.kind != "f" or header.ndim > 1 or not 1 <= prod(header.shape) <= 2**20:
                label = f"it holds {header.dtype} {list(header.shape)}"
                raise evaluator.error(
                    "E601", node, f'"{node.value}" is no scale', label, "expected a vector of float32"
                )
            values = [float(value) for value in self.array(node, header, {}).reshape(-1)]
            places: list[nodes.Value] = [node] * len(values)
        else:
            places = list(node.items) if isinstance(node, nodes.List | nodes.Tuple) else [node]
            values = [float(evaluator.constant(place)) for place in places]
        if not values:
            raise evaluator.error("E601", node, "the scale is empty", "expected one number, or one for each channel")
        with np.errstate(over="ignore", under="ignore"):
            rounded = np.asarray(values, np.float32)
        wrong = np.flatnonzero(~((rounded > 0) & (rounded < np.inf)))
        if len(wrong):
            label = "expected a positive number that float32 holds"
            help = "a stored integer q means (q - zero) * scale; leave scale out for plain numbers"
            first = int(wrong[0])
            raise evaluator.error("E601", places[first], f"the scale is {values[first]:g}", label, help)
        return tuple(rounded.tolist())

    def header(self, node: nodes.Text) -> Any:
        """Return what has the dtype, shape and nbytes of the tensor in a file, which is not read."""
        return self._of_file(node, self.folder.header)

    def array(self, node: nodes.Text, header: Any, needs: Mapping[str, int]) -> Any:
        """Return the tensor of a file with this header.

        Reports, before it is read, where there is not the memory for it and `needs`, or another header by now.
        """

        def look(found: Any) -> None:
            if found != header:
                raise self.evaluator.error("E501", node, f'"{node.value}" was changed while it was read')
            self.check_room(node, {f'the tensor in "{node.value}"': header.nbytes, **needs})

        return self._of_file(node, lambda inside, name: self.folder.array(inside, name, look))

    def _of_file(self, node: nodes.Text, read: Callable[[str, str], Any]) -> Any:
        try:
            return read(self.folder.locate(node.span.file, node.value), node.value)
        except FileProblem as error:
            problem = error.diagnostic
            raise self.evaluator.error(problem.code, node, problem.message, "", problem.help) from None

    def labels(self, node: nodes.Value, rows: int, shape: tuple[int, ...]) -> bytes:
        """Return labels as i32: one for each row, of any integer type in a file."""
        node, evaluator = self._follow(node)
        i32 = DTYPES["i32"]
        if not isinstance(node, nodes.Text) or node.value.startswith(HEX):
            return self.tensor(node, i32, (rows,), splat=False)
        header = self.header(node)
        if header.dtype.kind not in "iu":
            label = "expected whole numbers: the index of the right class"
            raise evaluator.error("E504", node, f'"{node.value}" holds {header.dtype}', label)
        if header.shape not in ((rows,), shape):
            label = f"expected [{rows}]: one label for each row of the output"
            raise evaluator.error("E503", node, f'"{node.value}" has shape {list(header.shape)}', label)
        array = self.array(node, header, {"these data": rows * i32.bytes})
        if array.size and (array.min() < i32.low or array.max() > i32.high):
            raise evaluator.error("E504", node, f'"{node.value}" holds labels beyond 32 bits')
        return np.ascontiguousarray(array, i32.numpy).tobytes()

    def _follow(self, node: nodes.Value) -> tuple[nodes.Value, Evaluator]:
        names = self.evaluator.names
        node, scope = names.follow(node, self.evaluator.scope)
        return node, Evaluator(names, scope)

    def _file(self, node: nodes.Text, dtype: DType, shape: tuple[int, ...]) -> bytes:
        if node.value.startswith(HEX):
            return self._hexadecimal(node, int(np.prod(shape, dtype=object)) * dtype.bytes)
        header = self.header(node)
        if dtype_of(header.dtype) != dtype:
            label = f"expected {dtype} ({dtype.numpy.name})"
            help = _conversion(self.array(node, header, {}), dtype)
            raise self.evaluator.error("E504", node, f'"{node.value}" holds {header.dtype}', label, help)
        self._check_shape(node, header, shape)
        array = self.array(node, header, {"these data": header.nbytes})
        return np.ascontiguousarray(array, dtype.numpy).tobytes()

    def _check_shape(self, node: nodes.Text, header: Any, shape: tuple[int, ...]) -> None:
        if header.shape != shape:
            label = f"expected {list(shape)}"
            raise self.evaluator.error("E503", node, f'"{node.value}" has shape {list(header.shape)}', label)

    def _hexadecimal(self, node: nodes.Text, count: int) -> bytes:
        digits = node.value.removeprefix(HEX)
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            label = f'expected "{HEX}" and two digits for each byte'
            raise self.evaluator.error("E504", node, "these are no hexadecimal bytes", label) from None
        if len(data) != count:
            raise self.evaluator.error("E503", node, f"{len(data)} bytes are given", f"expected {count}")
        return data

    def _flat(self, node: nodes.List, shape: tuple[int, ...], evaluator: Evaluator) -> list[nodes.Value]:
        """Return the elements of a list that is nested as `shape`, or flat."""
        if not any(isinstance(item, nodes.List) for item in node.items):
            count = int(np.prod(shape, dtype=object))
            if len(node.items) != count:
                help = "one value for all is written without brackets" if len(node.items) == 1 else ""
                message, label = f"the list has {_elements(len(node.items))}", f"expected {count}: shape {list(shape)}"
                raise evaluator.error("E503", node, message, label, help)
            return list(node.items)
        level: list[nodes.Value] = [node]
        for depth, size in enumerate(shape):
            below: list[nodes.Value] = []
            for item in level:
                if not isinstance(item, nodes.List):
                    label = f"expected a list: shape {list(shape)} has {len(shape)} levels"
                    raise evaluator.error("E503", item, "the list is nested less here", label)
                if len(item.items) != size:
                    label = f"expected {size}: dimension {depth} of {list(shape)}"
                    raise evaluator.error("E503", item, f"this list has {_elements(len(item.items))}", label)
                below += item.items
            level = below
        return level

    def _element(self, node: nodes.Value, dtype: DType, evaluator: Evaluator) -> int | float:
        if isinstance(node, nodes.List):
            raise evaluator.error("E503", node, "the list is nested deeper than the shape", "expected a number")
        value = evaluator.constant(node)
        if dtype.is_float:
            if (rounded := dtype.nearest(value)) is None:
                raise evaluator.error("E504", node, f"{value:g} is beyond {dtype}")
            return rounded
        if isinstance(value, float):
            raise evaluator.error("E504", node, f"{value:g} is no whole number", f"expected {dtype}")
        if not dtype.low <= value <= dtype.high:
            label = f"expected {dtype}: {dtype.low} to {dtype.high}"
            raise evaluator.error("E504", node, f"{value} is out of range", label)
        return value


def _elements(count: int) -> str:
    return f"{count} element{'' if count == 1 else 's'}"


def _all_whole(array: np.ndarray) -> bool:
    """Return whether all floats are whole numbers; looks at a piece at a time."""
    pieces = np.nditer([array], ["buffered", "external_loop", "zerosize_ok"], buffersize=2**16)
    return all(np.array_equal(piece, np.rint(piece)) for piece in pieces)


def _conversion(array: np.ndarray, dtype: DType) -> str:
    """Return how to bring a file to a type; a conversion that spoils values is not one."""
    if array.dtype.name in OF_ML_DTYPES:
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        return "expected numbers"
    name = dtype.numpy.name
    convert = f"numpy.save(file, array.astype({f'ml_dtypes.{name}' if name in OF_ML_DTYPES else dumps(name)}))"
    if dtype.is_float:
        return f"convert it when it is written: {convert}"
    if is_floats(array.dtype) and not _all_whole(array):
        return (
            "an input with a scale has floats quantised; "
            f"else save numpy.clip(numpy.rint(x / scale) + zero, {dtype.low}, {dtype.high}), as {dtype.numpy.name}"
        )
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not dtype.low <= low <= high <= dtype.high:
        return f"its values, {low:g} to {high:g}, do not fit {dtype}: {dtype.low} to {dtype.high}"
    return f"convert it when it is written: {convert}"
