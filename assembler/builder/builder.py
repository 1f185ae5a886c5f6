"""Builder: a program from Python, statement by statement, each with the meaning, checks and messages of the text."""

import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assembler import spelling
from assembler.arguments import is_flag
from assembler.assemble import assemble_for
from assembler.builder.values import (
    Counter,
    Expression,
    Origin,
    Slice,
    Tensor,
    caller,
    constant,
    kind_of,
    plain_number,
    refuse,
)
from assembler.declarations import DEFAULT_CHIP
from assembler.syntax.diagnostics import AssemblyError, Diagnostic, Note, Span, listed
from isa.chip import Chip, load_chip
from isa.dtypes import DTYPES, dtype_of_array
from isa.files import write_whole
from isa.program import CHECK_KINDS, Line, Program
from isa.row import AttributeSpec, OperandSpec, Row
from isa.table import ROWS
from isa.verify_program import NAME
from isa.words import WORD_FORMULAS

if TYPE_CHECKING:
    from assembler.builder.instructions import Instructions
else:
    # Methods that are made of the table, below; instructions.pyi has their types.
    Instructions = object

INDENT = "    "
# What a declaration without data has: None is the text's `none`.
NOTHING = object()
# No attribute has more elements.
MAX_ELEMENTS = 8
# A memory of another core.
REMOTE = re.compile(r"core[0-9]+\.[a-z]+")
# Counters that are given no name take one of these.
COUNTERS = ("i", "j", "k", "l", "m", "n", "o")


class Builder(Instructions):
    """Builds a program: `Builder("net", chip="edge")`, then declarations and instructions in order, then `build()`.

    Every call writes one statement of the assembly language; `text()` shows them. Each instruction has a method of
    its name, whose operands are tensors or slices of them; attributes and words go by name, as in the text:
    `b.conv(y, x, w, bias=c, stride=2, relu=True, add=r, clip=(0, 6))`. `wait="tm"` is the text's `(w.tm)`; what is None
    or False is left out. An instruction's method returns its result, the first operand.

    What a text could not say is refused at once; all else that is wrong is found by `build()`, with the text's
    diagnostics and the lines of Python that they come from: either raises AssemblyError. Arrays are not copied:
    `build()` and `save()` read them.
    """

    def __init__(
        self,
        name: str = "program",
        chip: str = DEFAULT_CHIP,
        order: str = "hardware",
        scales: str = "automatic",
        tasks: int | None = None,
    ) -> None:
        self.name = str(name)
        self.files: dict[str, np.ndarray] = {}
        # What all cores share, or all there is where no core is named; then the cores; and which is written to.
        self._shared = Section(None)
        self._cores: list[Section] = []
        self._section = self._shared
        # Names of files in lower case, and how many names were made from each stem.
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}
        self._task = Counter(self, "task")
        self._write(f".name {spelling.text(self.name)}")
        self._write(f".chip {_word(chip)}")
        self._write(f".order {_word(order)}")
        if scales != "automatic":
            self._write(f".scales {_word(scales)}")
        if tasks is not None:
            self._write(f".tasks {self._value('tasks', tasks)}")

    def input(
        self,
        name: str | None,
        dtype: str,
        shape: Sequence[int] | int,
        *,
        scale: Any = None,
        zero: int | None = None,
        buffers: int | None = None,
        memory: str | None = None,
        at: Any = None,
        default: Any = None,
    ) -> Tensor:
        """Declare an input, which the task's DMA fills.

        `name` None makes one. `scale` is a number, or one for each channel; `buffers` says in how many places the
        tensors of tasks take turns; `memory` is lm, dev or host; `at` an address, a tensor, or (tensor, bytes behind
        it). `default` is what it holds where a run gives nothing: a number for all elements, a list, or an array (of
        floats, where it has a scale), which may have a dimension in front for the tasks.
        """
        data = NOTHING if default is None else default
        clauses = {"scale": scale, "zero": zero, "buffers": buffers, "memory": memory, "at": at}
        return self._declare("input", name, dtype, shape, data, **clauses)

    def output(
        self,
        name: str | None,
        dtype: str,
        shape: Sequence[int] | int,
        *,
        scale: Any = None,
        zero: int | None = None,
        buffers: int | None = None,
        memory: str | None = None,
        at: Any = None,
    ) -> Tensor:
        """Declare an output, which the task's DMA drains; see `input`."""
        clauses = {"scale": scale, "zero": zero, "buffers": buffers, "memory": memory, "at": at}
        return self._declare("output", name, dtype, shape, **clauses)

    def local(
        self,
        name: str | None,
        dtype: str,
        shape: Sequence[int] | int,
        *,
        scale: Any = None,
        zero: int | None = None,
        memory: str | None = None,
        at: Any = None,
    ) -> Tensor:
        """Declare a tensor that the program writes and reads; see `input`."""
        return self._declare("local", name, dtype, shape, scale=scale, zero=zero, memory=memory, at=at)

    def weight(
        self,
        name: str | None,
        data: Any,
        dtype: str | None = None,
        shape: Sequence[int] | int | None = None,
        *,
        scale: Any = None,
        zero: int | None = None,
        memory: str | None = None,
        at: Any = None,
        compressed: bool = False,
        stored: int | None = None,
    ) -> Tensor:
        """Declare a weight, set up before the first task; see `input`.

        `data` is an array, which gives type and shape; a list with its `dtype`; one number for all elements of a
        `dtype` and `shape`; or None, which leaves the bytes to `data()`. With `compressed` its mask and its values
        other than 0 are stored; `stored` is the size in bytes of a compressed weight whose bytes `data()` brings.
        """
        clauses = {"scale": scale, "zero": zero, "memory": memory, "at": at}
        clauses |= {"compressed": compressed or None, "stored": stored}
        return self._declare_data("weight", name, data, dtype, shape, **clauses)

    def const(
        self,
        name: str | None,
        data: Any,
        dtype: str | None = None,
        shape: Sequence[int] | int | None = None,
        *,
        scale: Any = None,
        zero: int | None = None,
        at: Any = None,
    ) -> Tensor:
        """Declare a constant (bias, multipliers, table) in the constant buffer; `data` as for `weight`."""
        return self._declare_data("const", name, data, dtype, shape, scale=scale, zero=zero, memory=None, at=at)

    def data(self, data: Any, memory: str, at: int, dtype: str | None = None) -> None:
        """Give initial bytes to a place of a memory: an array, or a list with its `dtype`."""
        dtype, shape = self._described(data, dtype, None)
        contents = self._contents(data, f"data_{memory}_{at}")
        self._write(f".data {dtype}{_list(shape)} in {_word(memory)} at {self._value('at', at)} = {contents}")

    def check(self, output: Tensor, *, min: float | None = None, atol: float | None = None, **expected: Any) -> None:
        """Demand something of an output, which every run then reports.

        One of `exact=`, `within=` (with `atol=`, the greatest difference) and `top1=` (labels, with `min=`, the least
        share of rows whose greatest element is the labelled one); each an array, a list, or one number for all.
        """
        if not isinstance(output, Tensor):
            refuse("E205", f"{kind_of(output)} cannot be checked", "expected an output, as `output()` returns it")
        if output.builder is not self:
            refuse("E205", f"`{output.text}` belongs to another Builder", "expected an output of this one")
        if len(expected) != 1:
            label = f"expected one of {listed(f'{kind}=' for kind in CHECK_KINDS)}"
            refuse("E603", f"{len(expected)} expectations are given", label)
        ((kind, data),) = expected.items()
        bounds = {"min": min, "atol": atol}
        settings = [f" {name}={self._value(name, value)}" for name, value in bounds.items() if value is not None]
        contents = self._contents(data, f"{output.name}_{kind}")
        section = self._shared if output.core is None else self._cores[output.core]
        self._write(f".check {output.text} {kind} {contents}{''.join(settings)}", section)

    def loop(self, count: int, name: str | None = None) -> "LoopContext":
        """Open a hardware loop: `with b.loop(4) as i:`; the counter i runs from 0 as the chip repeats the body."""
        names, loops = self._section.names | self._shared.names, self._section.loops
        free = (word for word in COUNTERS if word not in names and all(word != c.name for c in loops))
        counter = Counter(self, _name(name) if name is not None else next(free, f"i{len(loops)}"))
        self._write(f"loop {counter.name}, {self._value('count', count)}")
        loops.append(counter)
        return LoopContext(self, counter)

    def core(self, number: int) -> "CoreContext":
        """Write for one core: `with b.core(1):`; what is declared and done in there is that core's.

        Cores are opened in turn, from 0, and any of them again. The handle of another core's tensor stands for that
        tensor: `b.copy(inbox_of_core_1, x)`.
        """
        found = plain_number(number)
        if not isinstance(found, int) or not 0 <= found <= len(self._cores):
            label = f"expected 0 to {len(self._cores)}: cores are opened in turn"
            refuse("E801", f"{kind_of(number)} is no core that can be opened here", label)
        if self._section.loops:
            refuse("E801", f"core {found} is opened inside a loop", "expected the loop to be closed: it is one core's")
        if found == len(self._cores):
            self._cores.append(Section(found))
            self._write(f".core {found}", self._cores[found])
        return CoreContext(self, self._cores[found])

    def declare(self, kind: str, name: str | None = None) -> "Synchroniser":
        """Declare a "semaphore" or a "barrier", for `signal` and `wait`, or `barrier`; `name` None makes one."""
        own = _name(name) if name is not None else self._free_name(_word(kind))
        self._shared.names.add(own)
        self._write(f".{_word(kind)} {own}", self._shared)
        return Synchroniser(self, own)

    @property
    def task(self) -> Expression:
        """The number of the task, for slices: `x[b.task % 2]`."""
        return Expression({"task": 1}, 0, frozenset((self._task,)))

    def operand(
        self,
        dtype: str,
        shape: Sequence[int],
        memory: str,
        address: Any,
        strides: Sequence[int] | None = None,
        stored: int | None = None,
    ) -> Slice:
        """Return an operand that lies in no declared tensor; `address` in bytes, `strides` in elements.

        `memory` may be another core's, as in "core1.lm"; `stored` is the size in bytes of a compressed weight.
        """
        place, sizes = address if isinstance(address, Expression) else constant(address), _shape(shape)
        where = memory if isinstance(memory, str) and REMOTE.fullmatch(memory) else _word(memory)
        text = f"{_word(dtype)}{_list(sizes)} in {where} at {place}"
        text += "" if strides is None else f" strides {_list(_shape(strides))}"
        text += "" if stored is None else f" stored={self._value('stored', stored)}"
        return Slice(Tensor(self, None, "operand", text, dtype, sizes, None, 0), text, place.counters)

    def comment(self, text: str) -> None:
        """Write a comment, for who reads the text."""
        for line in str(text).splitlines():
            self._write(f"; {''.join(c if c.isprintable() else ' ' for c in line)}".rstrip())

    def text(self) -> str:
        """Return the program as text; its data is in `files`, by the names that the text calls them."""
        return "\n".join([*(line for line, _ in self._statements()), ""])

    def build(self, chip: str | Path | Chip | None = None) -> Program:
        """Assemble the program; `chip` takes the place of its own. Its lines are those of the Python code.

        Raises AssemblyError with all that is wrong in `.diagnostics`, and ChipError for a `chip` that cannot be read.
        """
        origins = [origin for _, origin in self._statements()]
        given = chip if chip is None or isinstance(chip, Chip) else load_chip(chip)
        try:
            program, _ = assemble_for(self.text(), chip=given, held=self.files)
        except AssemblyError as error:
            raise AssemblyError(_located(found, origins) for found in error.diagnostics) from None
        lines = {origin: origin.line() for origin in set(origins)}

        def of_python(line: Line) -> Line:
            return lines[origins[line.number - 1]]

        cores = (replace(core, lines=tuple(map(of_python, core.lines))) for core in program.cores)
        return replace(program, cores=tuple(cores))

    def save(self, path: str | Path) -> None:
        """Write the text, and beside it the .npy files that it names, so that `ratel run` takes it.

        Raises RatelError where one cannot be written.
        """
        for name, array in self.files.items():
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            write_whole(Path(path).parent / name, content.getvalue())
        write_whole(path, self.text().encode())

    def _write(self, statement: str, section: "Section | None" = None) -> None:
        """Write a statement to a section: the open one where None is given."""
        section = section or self._section
        section.statements.append((INDENT * len(section.loops) + statement, caller()))

    def _statements(self) -> Iterator[tuple[str, Origin]]:
        """Yield the statements in the order of the text, each with where it was written."""
        ended = "end", caller()
        yield from self._shared.statements
        for section in self._cores:
            yield from section.statements
            yield ended
        if not self._cores:
            yield ended

    def _close(self, counter: Counter) -> None:
        counter.is_open = False
        if counter in self._section.loops:
            self._section.loops.remove(counter)
        self._write(f"brnz {counter.name}")

    def _declare(
        self, kind: str, name: str | None, dtype: Any, shape: Any, data: Any = NOTHING, **clauses: Any
    ) -> Tensor:
        """Write a declaration; `clauses` are what may follow its shape."""
        own = _name(name) if name is not None else self._free_name(kind)
        if not isinstance(dtype, str):
            refuse("E207", f"{kind_of(dtype)} is no type", f"expected {listed(map(repr, DTYPES))}")
        sizes = _shape(shape)
        self._section.names.add(own)
        spelled = {
            "scale": lambda value: f"scale={self._contents(value, f'{own}_scale')}",
            "zero": lambda value: f"zero={self._value('zero', value)}",
            "buffers": lambda value: f"buffers={self._value('buffers', value)}",
            "memory": lambda value: f"in {_word(value)}",
            "at": lambda value: f"at {self._place(value)}",
            "compressed": lambda _: "compressed",
            "stored": lambda value: f"stored={self._value('stored', value)}",
        }
        parts = [f".{kind} {own} {_word(dtype)}{_list(sizes)}"]
        parts += [spelled[clause](value) for clause, value in clauses.items() if value is not None]
        if data is not NOTHING:
            parts.append(f"= {self._contents(data, own)}")
        self._write(" ".join(parts))
        return Tensor(self, self._section.core, kind, own, dtype, sizes, clauses["scale"], clauses["zero"] or 0)

    def _declare_data(self, kind: str, name: str | None, data: Any, dtype: Any, shape: Any, **clauses: Any) -> Tensor:
        dtype, shape = self._described(data, dtype, shape)
        return self._declare(kind, name, dtype, shape, data, **clauses)

    def _described(self, data: Any, dtype: Any, shape: Any) -> tuple[Any, Any]:
        """Return type and shape of data: as given, else its own."""
        array = _as_array(data)
        if array is not None:
            found = dtype_of_array(array)
            if found is None and dtype is None:
                label = f"expected {listed(held.numpy.name for held in DTYPES.values())}"
                help = 'convert it: array.astype("float32"), or quantise.weights(array) for integers'
                refuse("E504", f"the array is of type {array.dtype}", label, help)
            dtype = found.name if dtype is None and found is not None else dtype
            return dtype, array.shape if shape is None else shape
        if isinstance(data, list | tuple):
            shape = _shape_of_list(data) if shape is None else shape
        if dtype is None or shape is None:
            help = "an array has both; a list needs its `dtype`, a number its `dtype` and `shape`"
            refuse("E505", f"{kind_of(data)} has no type or shape of its own", "expected `dtype` and `shape`", help)
        return dtype, shape

    def _free_name(self, stem: str) -> str:
        """Return a name that no tensor has yet: the stem and a number."""
        while True:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}{self._counts[stem]}"
            if all(name not in section.names for section in (self._shared, *self._cores)):
                return name

    def _contents(self, data: Any, name: str = "") -> str:
        """Return data as text: a number, a list, or the name of a file for an array."""
        if data is None:
            return "none"
        found = plain_number(data)
        if found is not None:
            return spelling.number(found)
        if isinstance(data, list | tuple):
            return f"[{', '.join(self._contents(item) for item in data)}]"
        array = _as_array(data)
        if array is None or not name:
            help = "numbers, lists of numbers and NumPy arrays are data; numpy.load reads a file"
            refuse("E504", f"{kind_of(data)} is no data", "expected a number, a list or an array", help)
        return spelling.text(self._file(array, name))

    def _file(self, array: np.ndarray, name: str) -> str:
        """Keep an array under the name of a file, and return that; names differ by more than the case of letters.

        An array that is given again, as by each core, keeps its name.
        """
        for known, other in self.files.items():
            if other is array:
                return known
        stem = f"{re.sub(r'[^A-Za-z0-9_-]', '_', self.name)[:80] or 'program'}_{name}"
        choice, count = f"{stem}.npy", 1
        while choice.lower() in self._taken:
            count += 1
            choice = f"{stem}_{count}.npy"
        self._taken.add(choice.lower())
        self.files[choice] = array
        return choice

    def _place(self, at: Any) -> str:
        if isinstance(at, tuple) and len(at) == 2 and isinstance(at[0], Tensor):
            return f"{self._operand(at[0])} + {self._value('at', at[1])}"
        return self._operand(at) if isinstance(at, Tensor) else self._value("at", at)

    def _instruction(self, row: Row, operands: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Write an instruction, and return its result."""
        required = _required_names(row)
        given = dict(zip(required, operands, strict=False))
        for name in required:
            if name in given and name in named:
                refuse("E302", f"`{name}` is given twice", "once is enough")
            value = given.get(name, named.get(name))
            if value is None:
                label = f"expected {listed(required, 'and')}, in this order"
                refuse("E301", f"{row.mnemonic} needs `{name}`", label, f"for example: {_call(row)}")
            given[name] = value
        arguments = [self._required(row, name, given[name]) for name in required]
        arguments += [self._value(row.mnemonic, value) for value in operands[len(required) :]]
        optional = {name: value for name, value in named.items() if name not in (*required, "wait")}
        arguments += [self._named(row, name, value) for name, value in optional.items() if _is_given(value)]
        self._write(f"{_waits(named.get('wait'))}{row.mnemonic} {', '.join(arguments)}".rstrip())
        return given[required[0]] if row.operands else None

    def _required(self, row: Row, name: str, value: Any) -> str:
        """Return what stands without its name as text: an operand, a semaphore or a barrier."""
        if name not in {spec.name for spec in row.attributes}:
            return self._tensor(row, name, value)
        if not isinstance(value, Synchroniser):
            help = f'declare it first: b.declare("{name}")'
            refuse("E205", f"`{name}` of {row.mnemonic} is {kind_of(value)}", f"expected a declared {name}", help)
        if value.builder is not self:
            refuse("E802", f"`{value.name}` belongs to another Builder", f"expected a {name} of this one")
        return value.name

    def _named(self, row: Row, name: str, value: Any) -> str:
        """Return a word, a flag, or what is given with `=`, as text."""
        if not NAME.fullmatch(name):
            refuse("E204", f"{row.mnemonic} has no `{name}`", "", f"for example: {_call(row)}")
        if value is True or isinstance(value, np.bool_):
            return name
        is_tensor = name in _tensor_names(row)
        return f"{name}={self._tensor(row, name, value) if is_tensor else self._value(name, value)}"

    def _tensor(self, row: Row, name: str, value: Any) -> str:
        """Return an operand as text."""
        if isinstance(value, Tensor | Slice):
            return self._operand(value)
        help = ""
        if _as_array(value) is not None or isinstance(value, list):
            spec = next((spec for spec in row.operands if spec.name == name), None)
            method = "const" if spec is not None and spec.memories == ("cb",) else "weight"
            help = f"declare it first: b.{method}(None, array)"
        refuse("E205", f"`{name}` of {row.mnemonic} is {kind_of(value)}", "expected a declared tensor or a slice", help)

    def _operand(self, value: Tensor | Slice) -> str:
        tensor = value.tensor if isinstance(value, Slice) else value
        if tensor.builder is not self:
            refuse("E201", f"`{value.text}` belongs to another Builder", "expected a tensor of this one")
        self._check_open(value.counters, value.text)
        is_elsewhere = tensor.core is not None and tensor.core != self._section.core
        return f"core{tensor.core}.{value.text}" if is_elsewhere else value.text

    def _check_open(self, counters: frozenset[Counter], text: str) -> None:
        for counter in counters:
            if counter.builder is not self or not counter.is_open:
                message = f"`{text}` follows `{counter.name}`, whose loop is closed"
                refuse("E312", message, "expected the counter of an open loop", "use it inside its `with`")

    def _value(self, name: str, value: Any) -> str:
        """Return the value of an attribute as text."""
        if isinstance(value, Tensor | Slice):
            return self._operand(value)
        if isinstance(value, Expression):
            self._check_open(value.counters, str(value))
            return str(value)
        if isinstance(value, str):
            return value if NAME.fullmatch(value) else spelling.text(value)
        found = plain_number(value)
        if found is not None:
            return spelling.number(found)
        array = _as_array(value)
        if array is not None and array.ndim == 1 and array.size <= MAX_ELEMENTS:
            value = list(array)
        if isinstance(value, list | tuple):
            spelled = ", ".join(self._value(name, item) for item in value)
            return f"({spelled})" if len(value) > 1 else f"[{spelled}]"
        refuse("E309", f"`{name}` is {kind_of(value)}", "expected a number, a word or a few numbers")


class Section:
    """The statements of a core, each with where it was written; or, where `core` is None, of all cores."""

    def __init__(self, core: int | None) -> None:
        self.core = core
        self.statements: list[tuple[str, Origin]] = []
        self.names: set[str] = set()
        self.loops: list[Counter] = []


class Synchroniser:
    """A declared semaphore or barrier."""

    def __init__(self, builder: Builder, name: str) -> None:
        self.builder, self.name = builder, name


class CoreContext:
    """A core that is written for: the body of `with` is what it does."""

    def __init__(self, builder: Builder, section: Section) -> None:
        self._builder, self._section = builder, section

    def __enter__(self) -> None:
        self._before, self._builder._section = self._builder._section, self._section

    def __exit__(self, *_: object) -> None:
        self._builder._section = self._before


class LoopContext:
    """An open hardware loop: the body of `with` is what it repeats, `as` gives its counter."""

    def __init__(self, builder: Builder, counter: Counter) -> None:
        self._builder, self._counter = builder, counter

    def __enter__(self) -> Expression:
        return Expression({self._counter.name: 1}, 0, frozenset((self._counter,)))

    def __exit__(self, *_: object) -> None:
        self._builder._close(self._counter)


def _located(found: Diagnostic[Span], origins: Sequence[Origin]) -> Diagnostic[Span]:
    """Return a diagnostic of the text that also names the lines of Python which it comes from."""

    def of_python(span: Span) -> Span:
        return origins[min(span.line, len(origins)) - 1].span()

    notes = (note._replace(place=of_python(note.place)) for note in found.notes)
    help = "write `with b.loop(...):`, which closes it" if found.help.startswith("close it with `brnz") else found.help
    return replace(found, help=help, notes=(Note("it was written here", of_python(found.place)), *notes))


def _as_array(data: Any) -> np.ndarray | None:
    """Return what is, or offers itself as, a NumPy array of one dimension or more."""
    if isinstance(data, Tensor | Slice | Expression) or not hasattr(data, "__array__"):
        return None
    array = np.asarray(data)
    return array if array.ndim else None


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    found = [plain_number(size) for size in sizes]
    if not all(isinstance(size, int) for size in found):
        refuse("E305", f"{kind_of(shape)} holds no sizes", "expected whole numbers, as in (1, 28, 28, 3)")
    return tuple(size for size in found if isinstance(size, int))


def _shape_of_list(data: Any) -> tuple[int, ...]:
    """Return the shape of nested lists, by their first elements; the assembler compares the others."""
    return (len(data), *_shape_of_list(data[0])) if isinstance(data, list | tuple) and data else ()


def _list(sizes: Sequence[int]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _word(value: Any) -> str:
    """Return a word of the language, or the name of a file."""
    if not isinstance(value, str):
        refuse("E207", f"{kind_of(value)} stands where a name is needed", "expected a text")
    return value if NAME.fullmatch(value) else spelling.text(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        label = "expected letters, digits and _, a letter first; or None for a name that is made"
        refuse("E205", f"{kind_of(value)} is no name", label)
    return value


def _is_given(value: Any) -> bool:
    """Whether a value says something: None, and False of a flag, are as if left out."""
    return value is not None and not (isinstance(value, bool | np.bool_) and not value)


def _waits(wait: Any) -> str:
    """Return the waits of an instruction as text; which letters there are the assembler knows."""
    if wait is not None and not (isinstance(wait, str) and re.fullmatch(r"\w*", wait)):
        refuse("E107", f"{kind_of(wait)} names no engines", 'expected letters as in wait="tm"')
    return f"(w.{wait}) " if wait else ""


def _tensor_names(row: Row) -> set[str]:
    """Return what an instruction takes a tensor for: operands, and words that bring one along."""
    operands = {spec.name for spec in row.operands}
    words = {word for choice in row.choices for word, taken in choice.takes.items() if set(taken) <= operands}
    return operands | words


def _call(row: Row) -> str:
    """Return how a call of an instruction's method begins."""
    return f"b.{row.mnemonic}({', '.join(_required_names(row))}, ...)"


def _required_names(row: Row) -> list[str]:
    """Return what stands without its name, in order: operands, then the semaphore or barrier."""
    operands = [spec.name for spec in row.operands if not spec.optional]
    return operands + [spec.name for spec in row.attributes if spec.declared]


def _parameters(row: Row) -> list[tuple[str, Any, str]]:
    """Return (name, default, meaning) of what an instruction takes by name, in the order of the table."""
    taken = {name for choice in row.choices for names in choice.takes.values() for name in names}
    meanings = {spec.name: spec.meaning for spec in row.attributes}
    meanings |= {spec.name: f"{spec.meaning}; {_types(spec)}" for spec in row.operands}
    optional = [spec.name for spec in row.operands if spec.optional and spec.name not in taken]
    found: list[tuple[str, Any, str]] = [(name, None, meanings[name]) for name in optional]
    for spec in row.attributes:
        if spec.words:
            for word in spec.words:
                names = spec.takes.get(word, ())
                needs = ", ".join(meanings[name] for name in names)
                takes = f"; takes {needs if len(names) == 1 else f'({needs})'}" if names else ""
                if word != "none":
                    formula = WORD_FORMULAS.get(spec.name, {}).get(word, f"`{word}`")
                    found.append((word, None if names else False, f"{spec.meaning}, {formula}{takes}"))
        elif spec.name not in taken and not spec.declared:
            meaning = f"{spec.meaning}: one value, or ({', '.join(spec.names)})" if spec.names else spec.meaning
            found.append((spec.name, _default(row, spec), meaning))
    return [*found, ("wait", "", "engines to wait for: letters of t (TE), p (PE) and m (ME)")]


def _default(row: Row, spec: AttributeSpec) -> Any:
    """Return what an attribute is where it is not given; None where that follows from a tensor, or it is needed."""
    implied = spec.name.removesuffix("_zero") in {operand.name for operand in row.operands}
    if spec.default is None or implied:
        return None
    if is_flag(spec):
        return bool(spec.default[0])
    return spec.default[0] if len(set(spec.default)) == 1 else spec.default


def _types(operand: OperandSpec) -> str:
    low, high = operand.ranks
    rank = f"rank {low}" if low == high else f"rank {low} to {high}"
    return f"{listed(map(str, operand.dtypes))}, {rank}, in {listed(operand.memories)}"


def _described_row(row: Row) -> str:
    """Return an instruction's meaning, formula, operands and attributes, for `help()`."""
    lines = [row.meaning, "", *(f"    {line}" for line in row.formula.splitlines()), ""]
    lines += [f"{spec.name}: {spec.meaning}; {_types(spec)}" for spec in row.operands if not spec.optional]
    lines += [f"{spec.name}: {spec.meaning}" for spec in row.attributes if spec.declared]
    lines += [f"{name}: {meaning}" for name, _, meaning in _parameters(row)]
    return "\n".join([*lines, "", f"In the text: {row.example}"])


def _method(row: Row) -> Callable[..., Any]:
    """Return the Builder's method for one instruction."""

    def method(self: Builder, *operands: Any, **named: Any) -> Any:
        return self._instruction(row, operands, named)

    kinds = inspect.Parameter
    parameters = [kinds("self", kinds.POSITIONAL_ONLY)]
    parameters += [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in _required_names(row)]
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=default) for name, default, _ in _parameters(row)]
    method.__name__, method.__qualname__ = row.mnemonic, f"Builder.{row.mnemonic}"
    method.__doc__, method.__signature__ = _described_row(row), inspect.Signature(parameters)  # type: ignore[attr-defined]
    return method


# Loops are opened by `loop` and closed by their `with`; `build` and `text` end the program.
for _row in ROWS:
    if _row.engine != "seq":
        assert not hasattr(Builder, _row.mnemonic), f"the Builder has another method {_row.mnemonic}"
        setattr(Builder, _row.mnemonic, _method(_row))
