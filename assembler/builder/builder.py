"""Builder: a program from Python, statement by statement, each with the meaning, checks and messages of the text."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assembler import spelling
from assembler.assemble import assemble_nodes
from assembler.builder.macros import Macros
from assembler.builder.methods import method_of
from assembler.builder.sections import CoreContext, LoopContext, OriginContext, Section, Synchroniser, Written
from assembler.builder.values import (
    NOWHERE,
    Counter,
    Expression,
    Origin,
    Slice,
    Tensor,
    as_array,
    caller,
    constant,
    kind_of,
    numeral,
    plain_number,
    refuse,
)
from assembler.files import FileProblem, Folder
from assembler.syntax import nodes, printer
from assembler.syntax.diagnostics import AssemblyError, Diagnostic, Note, Report, Span, issue, listed
from assembler.syntax.parser import parse, parse_line
from assembler.syntax.source import SourceFile, logical_lines
from isa.chip import DEFAULT_CHIP, Chip, differences, load_chip
from isa.dtypes import DTYPES, dtype_of
from isa.errors import InputError, RatelError
from isa.file_kinds import other_kind
from isa.files import free_name, write_whole
from isa.memory import limited
from isa.npy import npy
from isa.program import CHECK_KINDS, Assembly, Line, Program
from isa.table import ROWS
from isa.verify_program import NAME

if TYPE_CHECKING:
    from assembler.builder.instructions import Instructions
else:
    # Methods that are made of the table, below; instructions.pyi has their types.
    Instructions = object

INDENT = "    "
# What messages call the text.
TEXT = "<text>"
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

    Every call writes one statement of the assembly language, as a node of its syntax; `text()` shows them. Each
    instruction has a method of its name, whose operands are tensors or slices of them; attributes and words go by name,
    as in the text: `b.conv(y, x, w, bias=c, stride=2, relu=True, add=r, clip=(0, 6))`. `wait="tm"` is the text's
    `(w.tm)`; what is None or False is left out. An instruction's method returns its result, the first operand.

    What a text could not say is refused at once; all else that is wrong is found by `build()`, with the text's
    diagnostics and the lines of Python that they come from: either raises AssemblyError. Arrays are not copied:
    `build()` and `save()` read them.
    """

    def __init__(
        self,
        name: str = "program",
        chip: str | Path | Chip = DEFAULT_CHIP,
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
        # Arrays that files stand for, by identity; names of files in lower case; how many names each stem gave.
        self._names_of_arrays: dict[int, str] = {}
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}
        # Where statements come from: that of number n, which its nodes have for a line, is element n - 1.
        self._origins: list[Origin] = []
        self._origin: Origin | None = None
        self._included: dict[str, Macros] = {}
        self._set(".name", name, True)
        self._set_chip(chip)
        self._set(".order", order)
        if scales != "automatic":
            self._set(".scales", scales)
        if tasks is not None:
            span = self._here()
            self._write(nodes.Tasks(span, self._value(span, "tasks", tasks)))

    def _set(self, keyword: str, value: Any, quoted: bool = False) -> None:
        """Write a setting of the whole program."""
        span = self._here()
        word = nodes.Word(span, str(value), True) if quoted else _word(span, value)
        self._write(nodes.Setting(span, keyword, word))

    def _set_chip(self, chip: str | Path | Chip) -> None:
        """Write the setting of the chip: a name or a file, or by what a Chip differs from one of the package."""
        name, changes = differences(chip) if isinstance(chip, Chip) else (chip, {})
        span = self._here()
        clauses = (nodes.Clause(span, nodes.Word(span, k), self._value(span, k, v)) for k, v in changes.items())
        self._write(nodes.Setting(span, ".chip", _word(span, name), tuple(clauses)))

    def input(
        self,
        name: str | None,
        dtype: str,
        shape: Sequence[int] | int,
        *,
        scale: Any = None,
        zero: int | None = None,
        axes: Sequence[int] | None = None,
        buffers: int | None = None,
        memory: str | None = None,
        at: Any = None,
        default: Any = None,
    ) -> Tensor:
        """Declare an input, which the task's DMA fills.

        `name` None makes one. `scale` is a number, or one for each channel; `axes` is the order in which the host has
        the dimensions, as numpy.transpose(declared, axes) has them; `buffers` says in how many places the tensors of
        tasks take turns; `memory` is lm, dev or host; `at` an address, a tensor, or (tensor, bytes behind it).
        `default` is what it holds where a run gives nothing: a number for all elements, a list, or an array (of floats,
        where it has a scale), which may have a dimension in front for the tasks; it is in the host's order.
        """
        data = NOTHING if default is None else default
        clauses = {"scale": scale, "zero": zero, "axes": axes, "buffers": buffers, "memory": memory, "at": at}
        return self._declare("input", name, dtype, shape, data, **clauses)

    def output(
        self,
        name: str | None,
        dtype: str,
        shape: Sequence[int] | int,
        *,
        scale: Any = None,
        zero: int | None = None,
        axes: Sequence[int] | None = None,
        buffers: int | None = None,
        memory: str | None = None,
        at: Any = None,
    ) -> Tensor:
        """Declare an output, which the task's DMA drains; see `input`."""
        clauses = {"scale": scale, "zero": zero, "axes": axes, "buffers": buffers, "memory": memory, "at": at}
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
        stored: str | None = None,
    ) -> Tensor:
        """Declare a tensor that the program writes and reads; see `input`. `stored` is the form of one in groups."""
        clauses = {"scale": scale, "zero": zero, "memory": memory, "at": at, "stored": stored}
        return self._declare("local", name, dtype, shape, **clauses)

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
        stored: int | str | None = None,
    ) -> Tensor:
        """Declare a weight, set up before the first task; see `input`.

        `data` is an array, which gives type and shape; a list with its `dtype`; one number for all elements of a
        `dtype` and `shape`; or None, which leaves the bytes to `data()`. With `compressed` its mask and its values
        other than 0 are stored; `stored` is the size in bytes of a compressed weight whose bytes `data()` brings, or a
        form of groups, as in "q4_32": `data` are then their blocks, bytes, as `ratel.quantise.groups` makes them.
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
        span = self._here()
        contents = self._contents(span, data, f"data_{memory}_{at}")
        clauses = (
            nodes.Clause(span, nodes.Word(span, "in"), _word(span, memory)),
            nodes.Clause(span, nodes.Word(span, "at"), self._value(span, "at", at)),
        )
        self._write(
            nodes.Tensor(
                span, "data", nodes.Word(span, ""), nodes.Word(span, dtype), _list(span, shape), clauses, contents
            )
        )

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
        span, bounds = self._here(), {"min": min, "atol": atol}
        settings = tuple(
            nodes.Clause(span, nodes.Word(span, name), self._value(span, name, value))
            for name, value in bounds.items()
            if value is not None
        )
        contents = self._contents(span, data, f"{output.name}_{kind}")
        section = self._shared if output.core is None else self._cores[output.core]
        self._write(
            nodes.Check(span, nodes.Word(span, output.text), nodes.Word(span, kind), contents, settings), section
        )

    def loop(self, count: int, name: str | None = None) -> "LoopContext":
        """Open a hardware loop: `with b.loop(4) as i:`; the counter i runs from 0 as the chip repeats the body."""
        loops, taken = self._section.loops, (self._section.names, self._shared.names)
        free = (word for word in COUNTERS if all(word not in names for names in taken))
        free = (word for word in free if all(word != other.name for other in loops))
        trips = plain_number(count)
        counter = Counter(
            self,
            _name(name) if name is not None else next(free, f"i{len(loops)}"),
            inf if trips is None else max(trips - 1, 0),
        )
        span = self._here()
        opened = nodes.Argument(span, None, nodes.Reference(span, counter.name))
        repeated = nodes.Argument(span, None, self._value(span, "count", count))
        self._write(nodes.Instruction(span, None, nodes.Word(span, "loop"), (opened, repeated)))
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
            span = self._here()
            self._write(nodes.CoreSection(span, nodes.Number(span, str(found))), self._cores[found])
        return CoreContext(self, self._cores[found])

    def declare(self, kind: str, name: str | None = None) -> "Synchroniser":
        """Declare a "semaphore" or a "barrier", for `signal` and `wait`, or `barrier`; `name` None makes one."""
        span = self._here()
        word = _word(span, kind)
        text = spelling.text(word.text) if word.quoted else word.text
        own = _name(name) if name is not None else self._free_name(text)
        self._shared.names.add(own)
        self._write(nodes.Synchroniser(span, text, nodes.Word(span, own)), self._shared)
        return Synchroniser(self, own)

    def include(self, file: str) -> Macros:
        """Include a file that comes with the package, such as "<llm.npu>", and return its macros: `llm.softmax(...)`.

        Lines of its instructions are those of the file.
        """
        if not isinstance(file, str) or file not in self._included:
            span, report = self._here(), Report(TEXT)
            try:
                text = Folder(Path()).shipped(file if isinstance(file, str) else kind_of(file))
            except FileProblem as problem:
                found = problem.diagnostic
                refuse("E501", found.message, 'expected a name in `< >`, as in "<llm.npu>"', found.help)
            heads = (line for line in parse(SourceFile(file, text), report) if isinstance(line, nodes.Macro))
            self._included[file] = Macros(self, file, heads)
            self._write(nodes.Include(span, nodes.Text(span, file), True), self._shared)
        return self._included[file]

    def origin(self, file: str, number: int, text: str = "") -> OriginContext:
        """Name the place that statements come from: `with b.origin("net.onnx", 7, "Conv_7"):`.

        What is written in there has this line, instead of that of the Python code, wherever a program's lines are
        shown: in diagnostics of `build()`, annotated sources, reports and traces. A call that is refused at once
        still names its line of Python.
        """
        line = plain_number(number)
        is_text = isinstance(file, str) and file and isinstance(text, str) and len(text.splitlines()) <= 1
        if not is_text or not isinstance(line, int) or line < 1:
            label = "expected the name of a file, the number of a line, from 1, and its text, which is one line"
            refuse("E309", "this is no place that statements come from", label)
        return OriginContext(self, Origin(file, line, text))

    @property
    def task(self) -> Expression:
        """The number of the task, for slices: `x[b.task % 2]`."""
        return Expression({"task": 1}, 0, frozenset((Counter(self, "task"),)))

    def operand(
        self,
        dtype: str,
        shape: Sequence[int],
        memory: str,
        address: Any,
        strides: Sequence[int] | None = None,
        stored: int | str | None = None,
    ) -> Slice:
        """Return an operand that lies in no declared tensor; `address` in bytes, `strides` in elements.

        `memory` may be another core's, as in "core1.lm"; `stored` is the size in bytes of a compressed weight, or the
        form of one in groups.
        """
        place, sizes = address if isinstance(address, Expression) else constant(address), _shape(shape)
        given = None if strides is None else _shape(strides)
        is_remote = isinstance(memory, str) and REMOTE.fullmatch(memory) is not None

        def node(span: Span, _: str) -> nodes.Raw:
            return nodes.Raw(
                span,
                _word(span, dtype),
                _list(span, sizes).items,
                nodes.Word(span, memory) if is_remote else _word(span, memory),
                place.node(span),
                None if given is None else _list(span, given),
                None if stored is None else self._value(span, "stored", stored),
            )

        name = printer.value(node(NOWHERE, ""))
        return Slice(Tensor(self, None, "operand", name, dtype, sizes, None, 0), node, place.counters)

    def comment(self, text: str) -> None:
        """Write a comment, for who reads the text."""
        for line in str(text).splitlines():
            said = "".join(c if c.isprintable() else " " for c in line)
            self._section.written.append(Written(len(self._section.loops), f"; {said}".rstrip()))

    def text(self) -> str:
        """Return the program as text; its data is in `files`, by the names that the text calls them."""
        return "\n".join([*map(_line, self._listing()), ""])

    def build(
        self, chip: str | Path | Chip | None = None, *, strict: bool = False, memory: int | None = None
    ) -> Program:
        """Assemble the program; `chip` takes the place of its own. Its lines are those of the Python code.

        `memory` is how many bytes its data may take of this computer; None is what is free.
        Raises AssemblyError with all that is wrong in `.diagnostics`, and ChipError for a `chip` that cannot be read.
        What is odd is issued as AssemblyWarning, or raised too where `strict`.
        """
        given = None if chip is None else load_chip(chip)
        last = self._origins[-1]
        # `end`, which nobody writes, is of the source that what stands before it is of.
        ended = self._origin or (caller() if last.text is None else last)
        listing, origins = list(self._listing()), [*self._origins, ended]

        def origin(file: str, number: int) -> Origin:
            """Return where a statement comes from, by its line of the text or by its number."""
            if file == TEXT:
                number = next(w.statement.span.line for w in listing[number - 1 :] if not isinstance(w.statement, str))
            return origins[number - 1]

        shown: set[int] = set()
        done: Assembly | None = None
        while True:
            try:
                with limited(memory):
                    done = self._assembled(listing, given, shown)
                told: Sequence[Diagnostic[Span]] = done.warnings
            except AssemblyError as error:
                done, told = None, error.diagnostics
            # A message shows columns of the text: what it speaks of is read from there.
            unread = {span.line for found in told for span in _spans(found) if not span.file}
            if not unread:
                break
            # Not held while it is assembled once more: it may be large.
            done, shown = None, shown | unread
        located = [_located(found, origin) for found in told]
        if done is None:
            raise AssemblyError(located)
        issue(located, strict)
        program = done.program
        lines = {place: place.line() for place in set(origins)}

        def of_python(line: Line) -> Line:
            return line if line.file in self._included else lines[origin(line.file, line.number)]

        cores = (replace(core, lines=tuple(of_python(line) for line in core.lines)) for core in program.cores)
        return replace(program, cores=tuple(cores))

    def _assembled(self, listing: Sequence[Written], chip: Chip | None, shown: Collection[int]) -> Assembly:
        """Assemble statements from their nodes; those `shown`, by number, and what no text may say, from the text."""
        report = Report(TEXT)

        def is_read(statement: nodes.Statement | str) -> bool:
            return not isinstance(statement, str) and (
                statement.span.line in shown or not printer.reads_back(statement)
            )

        read = {number for number, written in enumerate(listing, 1) if is_read(written.statement)}

        def statements() -> Iterator[nodes.Statement]:
            source = SourceFile(TEXT, self.text() if read else "")
            lines = {line.first: line for line in logical_lines(source, report)}
            for number, (_, statement) in enumerate(listing, 1):
                if not isinstance(statement, str):
                    yield parse_line(lines[number], report) if number in read else statement

        return assemble_nodes(statements(), report, chip, self.files)

    def save(self, path: str | Path) -> None:
        """Write the text, and beside it the .npy files that it names, so that `ratel run` takes it.

        Raises RatelError where one cannot be written, or the name is that of another kind; InputError, before any is,
        for an array of Python objects.
        """
        if other := other_kind(path, ".npu"):
            raise RatelError(f"{path} {other}", "the name of a text ends in .npu; `build().save` writes an object file")
        for name, array in self.files.items():
            if array.dtype.hasobject:
                help = "convert it to numbers: array.astype('float32'), for example"
                raise InputError(f"{name} cannot be written: the array holds Python objects", help)
        for name, array in self.files.items():
            write_whole(Path(path).parent / name, npy(array))
        write_whole(path, self.text().encode())

    def _here(self) -> Span:
        """Return the place of a statement that is written now: its number, in no text yet."""
        self._origins.append(self._origin or caller())
        return Span("", len(self._origins), 1, 1, "")

    def _write(self, statement: nodes.Statement, section: Section | None = None) -> None:
        """Write a statement to a section: the open one where None is given."""
        section = section or self._section
        section.written.append(Written(len(section.loops), statement))

    def _listing(self) -> Iterator[Written]:
        """Yield what was written in the order of the text."""
        span = Span("", len(self._origins) + 1, 1, 1, "")
        end = Written(0, nodes.Instruction(span, None, nodes.Word(span, "end"), ()))
        yield from self._shared.written
        for section in self._cores:
            yield from section.written
            yield end
        if not self._cores:
            yield end

    def _close(self, counter: Counter) -> None:
        counter.is_open = False
        if counter in self._section.loops:
            self._section.loops.remove(counter)
        span = self._here()
        closed = nodes.Argument(span, None, nodes.Reference(span, counter.name))
        self._write(nodes.Instruction(span, None, nodes.Word(span, "brnz"), (closed,)))

    def _declare(
        self, kind: str, name: str | None, dtype: Any, shape: Any, data: Any = NOTHING, **clauses: Any
    ) -> Tensor:
        """Write a declaration; `clauses` are what may follow its shape."""
        own = _name(name) if name is not None else self._free_name(kind)
        if not isinstance(dtype, str):
            meant = None
            if isinstance(dtype, type | np.dtype):
                with suppress(TypeError):
                    meant = dtype_of(np.dtype(dtype))
            said = getattr(dtype, "__name__", None) if isinstance(dtype, type) else kind_of(dtype)
            help = f'did you mean "{meant.name}"?' if meant else ""
            refuse("E207", f"{said} is no type", f"expected {listed(map(repr, DTYPES))}", help)
        sizes = _shape(shape)
        self._section.names.add(own)
        span = self._here()
        word = _word(span, dtype)
        made = tuple(self._clause(span, own, *clause) for clause in clauses.items() if clause[1] is not None)
        contents = None if data is NOTHING else self._contents(span, data, own)
        self._write(nodes.Tensor(span, kind, nodes.Word(span, own), word, _list(span, sizes), made, contents))
        return Tensor(self, self._section.core, kind, own, dtype, sizes, clauses["scale"], clauses["zero"] or 0)

    def _clause(self, span: Span, name: str, clause: str, value: Any) -> nodes.Clause:
        """Return what follows the shape of the tensor `name`."""
        keyword = nodes.Word(span, {"memory": "in"}.get(clause, clause))
        match clause:
            case "scale":
                return nodes.Clause(span, keyword, self._contents(span, value, f"{name}_scale"))
            case "memory":
                return nodes.Clause(span, keyword, _word(span, value))
            case "at":
                return nodes.Clause(span, keyword, self._place(span, value))
            case "axes":
                axes = self._value(span, clause, value)
                axes = nodes.List(span, axes.items) if isinstance(axes, nodes.Tuple) else axes
                return nodes.Clause(span, keyword, axes)
            case "compressed":
                return nodes.Clause(span, keyword, keyword)
        return nodes.Clause(span, keyword, self._value(span, clause, value))

    def _declare_data(self, kind: str, name: str | None, data: Any, dtype: Any, shape: Any, **clauses: Any) -> Tensor:
        dtype, shape = self._described(data, dtype, shape)
        return self._declare(kind, name, dtype, shape, data, **clauses)

    def _described(self, data: Any, dtype: Any, shape: Any) -> tuple[Any, Any]:
        """Return type and shape of data: as given, else its own."""
        array = as_array(data)
        if array is not None:
            found = dtype_of(array.dtype)
            if found is None and dtype is None:
                label = f"expected {listed(held.numpy.name for held in DTYPES.values())}"
                wanted = "int32" if array.dtype.kind in "iub" else "float32"
                floats = ", or quantise.weights(array) for integers" if wanted == "float32" else ""
                help = f'convert it: array.astype("{wanted}"){floats}'
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

    def _contents(self, span: Span, data: Any, name: str = "") -> nodes.Value:
        """Return data as syntax: a number, a list, or the name of a file for an array."""
        if data is None:
            return nodes.Reference(span, "none")
        found = plain_number(data)
        if found is not None:
            return numeral(span, found)
        if isinstance(data, list | tuple):
            return nodes.List(span, tuple(self._contents(span, item) for item in data))
        array = as_array(data)
        if array is None or not name:
            help = "numbers, lists of numbers and NumPy arrays are data; numpy.load reads a file"
            refuse("E504", f"{kind_of(data)} is no data", "expected a number, a list or an array", help)
        return nodes.Text(span, self._file(array, name))

    def _file(self, array: np.ndarray, name: str) -> str:
        """Keep an array as a file, and return its name; one that is given again, as by each core, keeps it."""
        if id(array) in self._names_of_arrays:
            return self._names_of_arrays[id(array)]
        choice = free_name(f"{self.name[:80] or 'program'}_{name}", self._taken)
        self.files[choice], self._names_of_arrays[id(array)] = array, choice
        return choice

    def _place(self, span: Span, at: Any) -> nodes.Value:
        if isinstance(at, tuple) and len(at) == 2 and isinstance(at[0], Tensor):
            offset = (nodes.Word(span, "+"), self._value(span, "at", at[1]))
            return nodes.Chain(span, self._operand(span, at[0]), (offset,))
        return self._operand(span, at) if isinstance(at, Tensor) else self._value(span, "at", at)

    def _operand(self, span: Span, value: Tensor | Slice) -> nodes.Value:
        tensor = value.tensor if isinstance(value, Slice) else value
        if tensor.builder is not self:
            refuse("E201", f"`{value.text}` belongs to another Builder", "expected a tensor of this one")
        if value.counters:
            self._check_open(value.counters, value)
        is_elsewhere = tensor.core is not None and tensor.core != self._section.core
        return value.node(span, f"core{tensor.core}." if is_elsewhere else "")

    def _check_open(self, counters: frozenset[Counter], value: Tensor | Slice | Expression) -> None:
        for counter in counters:
            if counter.builder is not self or not counter.is_open:
                text = str(value) if isinstance(value, Expression) else value.text
                message = f"`{text}` follows `{counter.name}`, whose loop is closed"
                refuse("E312", message, "expected the counter of an open loop", "use it inside its `with`")

    def _value(self, span: Span, name: str, value: Any) -> nodes.Value:
        """Return the value of an attribute as syntax."""
        if isinstance(value, Tensor | Slice):
            return self._operand(span, value)
        if isinstance(value, Expression):
            self._check_open(value.counters, value)
            return value.node(span)
        if isinstance(value, str):
            return nodes.Reference(span, value) if NAME.fullmatch(value) else nodes.Text(span, value)
        found = plain_number(value)
        if found is not None:
            return numeral(span, found)
        array = as_array(value)
        if array is not None and array.ndim == 1 and array.size <= MAX_ELEMENTS:
            value = list(array)
        if isinstance(value, list | tuple):
            items = tuple(self._value(span, name, item) for item in value)
            return nodes.Tuple(span, items) if len(items) > 1 else nodes.List(span, items)
        refuse("E309", f"`{name}` is {kind_of(value)}", "expected a number, a word or a few numbers")


def _line(written: Written) -> str:
    """Return a line of the text."""
    statement = written.statement
    return INDENT * written.depth + (statement if isinstance(statement, str) else printer.printed(statement))


def _spans(found: Diagnostic[Span]) -> list[Span]:
    return [found.place, *(note.place for note in found.notes)]


def _located(found: Diagnostic[Span], origin: Callable[[str, int], Origin]) -> Diagnostic[Span]:
    """Return a diagnostic of the text that also names the lines which it comes from."""

    def its_origin(span: Span) -> Span:
        return origin(span.file, span.line).span() if span.file in ("", TEXT) else span

    notes, place = [note._replace(place=its_origin(note.place)) for note in found.notes], its_origin(found.place)
    # What stands in a file that is included is told with the call that leads there.
    if place is not found.place:
        notes.insert(0, Note("it was written here", place))
    help = "write `with b.loop(...):`, which closes it" if found.help.startswith("close it with `brnz") else found.help
    return replace(found, help=help, notes=tuple(notes))


def _shape(shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    found = [plain_number(size) for size in sizes]
    if not all(isinstance(size, int) for size in found):
        refuse("E305", f"{kind_of(shape)} holds no sizes", "expected whole numbers, as in (1, 28, 28, 3)")
    return tuple(size for size in found if isinstance(size, int))


def _shape_of_list(data: Any) -> tuple[int, ...]:
    """Return the shape of nested lists, by their first elements; the assembler compares the others."""
    return (len(data), *_shape_of_list(data[0])) if isinstance(data, list | tuple) and data else ()


def _list(span: Span, sizes: Sequence[int]) -> nodes.List:
    return nodes.List(span, tuple(numeral(span, size) for size in sizes))


def _word(span: Span, value: Any) -> nodes.Word:
    """Return a word of the language, or the name of a file."""
    if not isinstance(value, str):
        refuse("E207", f"{kind_of(value)} stands where a name is needed", "expected a text")
    return nodes.Word(span, value, not NAME.fullmatch(value))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        label = "expected letters, digits and _, a letter first; or None for a name that is made"
        refuse("E205", f"{kind_of(value)} is no name", label)
    return value


# Loops are opened by `loop` and closed by their `with`; `build` and `text` end the program.
for _row in ROWS:
    if _row.engine != "seq":
        assert not hasattr(Builder, _row.mnemonic), f"the Builder has another method {_row.mnemonic}"
        setattr(Builder, _row.mnemonic, method_of(_row))
