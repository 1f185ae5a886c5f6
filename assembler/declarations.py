"""Directives: settings of the whole program, constants, and tensors with their data."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from assembler.data import Reader
from assembler.expressions import Evaluator
from assembler.files import FileProblem, Folder
from assembler.operands import dtype_named, form_of, memory_named, shape_of
from assembler.symbols import RESERVED, Names, Scope, Section
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, Span, listed
from isa.chip import FIELDS, Chip, load_chip
from isa.chip_file import WORD, legal
from isa.compressed import compress, legal_sizes
from isa.dtypes import DTYPES, I8, DType
from isa.errors import ChipError
from isa.grouped import GROUPED_TYPES, Form
from isa.operand import MEMORIES
from isa.program import (
    BUFFERED,
    MAX_BUFFERS,
    MAX_CORES,
    MAX_SYMBOL_RANK,
    MAX_TASKS,
    MEMORIES_OF_KIND,
    ORDERS,
    Segment,
    Symbol,
)
from isa.suggest import did_you_mean
from isa.verify_program import NAME, is_order

DEFAULT_MEMORY = {"const": "cb"}
SCALES = ("automatic", "explicit")
MAX_SIZE = 2**62
# What inputs and outputs alone take, and what to do where it is not possible.
OF_BUFFERED = {
    "buffers": "only an input or an output follows the task; count others' buffers in a dimension: `t[task % 2]`",
    "axes": "only an input or an output is the host's, too; what is the chip's alone is declared as it lies there",
}


@dataclass(frozen=True)
class Declared:
    """A tensor, or the bytes of a `.data`, that waits for its place and its data; `key` is its name on its core.

    `content` is the compressed form of a weight, whose size has to be known before it is placed.
    """

    core: int
    key: str
    kind: str
    symbol: Symbol
    statement: nodes.Tensor
    scope: Scope
    at: int | None
    base: str
    at_span: Span
    content: bytes | None = None


class Declarations:
    """Collects what a program declares, in the order of the text; assembler/placement.py gives it addresses."""

    def __init__(self, names: Names, folder: Folder) -> None:
        self.names = names
        self.folder = folder
        self.settings: dict[str, nodes.Setting] = {}
        self.declared: list[Declared] = []
        self.by_name: dict[tuple[int, str], Declared] = {}
        # Inputs and outputs, whose names are unique over all cores.
        self.moved: dict[str, Declared] = {}
        self.checks: list[tuple[int, nodes.Check, Scope]] = []
        self.chip: Chip | None = None
        self.tasks = 1
        self.tasks_span: Span | None = None
        # Tensors that have no place: their data need not be read.
        self.misplaced: set[tuple[int, str]] = set()

    def setting(self, statement: nodes.Setting, scope: Scope) -> None:
        keyword, word = statement.keyword, statement.value
        if keyword in self.settings:
            note = Note("it stands here first", self.settings[keyword].span)
            self.names.error(scope, "E206", statement.span, f"`{keyword}` stands twice", "once is enough", "", note)
            return
        self.settings[keyword] = statement
        legal = {".order": ORDERS, ".scales": SCALES}.get(keyword)
        if legal and word.text not in legal:
            label = f"expected {listed(legal)}"
            help = did_you_mean(word.text, legal)
            self.names.error(scope, "E207", word.span, f"`{word.text}` is no word of `{keyword}`", label, help)
        if keyword == ".chip":
            self._load_chip(statement, scope)

    def word(self, keyword: str, default: str) -> str:
        """Return the word of a setting."""
        return self.settings[keyword].value.text if keyword in self.settings else default

    def _load_chip(self, statement: nodes.Setting, scope: Scope) -> None:
        word = statement.value
        name: str | Path = word.text
        try:
            if word.text.endswith(".toml"):
                name = self.folder.file(self.folder.locate(word.span.file, word.text), word.text)
            self.chip = load_chip(name)
        except FileProblem as error:
            self.names.error(scope, "E403", word.span, error.diagnostic.message, "", error.diagnostic.help)
        except ChipError as error:
            message = error.message.replace(str(name), word.text)
            self.names.error(scope, "E403", word.span, message, "", error.help)
        else:
            self._change_chip(self.chip, statement.changes, scope)

    def _change_chip(self, chip: Chip, changes: Sequence[nodes.Clause], scope: Scope) -> None:
        """Take the numbers and words behind the name of a chip; what is wrong with them is reported."""
        given: dict[str, Any] = {}
        with suppress(Failed):
            for change in changes:
                key = change.keyword.text
                if key in given:
                    raise self.names.error(scope, "E206", change.span, f"`{key}` stands twice", "once is enough")
                given[key] = self._of_chip(key, change.value, scope)
                try:
                    # By itself; what goes with what else is seen when all are there.
                    legal(FIELDS, key, given[key], chip.name)
                except ChipError as error:
                    raise self.names.error(scope, "E403", change.span, error.message, "", error.help) from None
            try:
                self.chip = chip.replace(**given)
            except ChipError as error:
                self.names.error(scope, "E403", changes[0].span, error.message, "", error.help)

    def _of_chip(self, key: str, value: nodes.Value | nodes.Word, scope: Scope) -> Any:
        """Return a number or a word of a chip as the text has it; raise Failed, reported, where it is neither."""
        if key in FIELDS and FIELDS[key][0] == WORD and isinstance(value, nodes.Reference):
            return value.name
        assert not isinstance(value, nodes.Word)
        return value.value if isinstance(value, nodes.Text) else Evaluator(self.names, scope).constant(value)

    def count_tasks(self, statement: nodes.Tasks, scope: Scope) -> None:
        """Take `.tasks COUNT`; what is wrong with it is reported."""
        if self.tasks_span is not None:
            note = Note("it stands here first", self.tasks_span)
            self.names.error(scope, "E206", statement.span, "`.tasks` stands twice", "once is enough", "", note)
            return
        self.tasks_span = statement.span
        with suppress(Failed):
            self.tasks = Evaluator(self.names, scope).integer(statement.count, 1, MAX_TASKS, "the number of tasks")

    def core(self, statement: nodes.CoreSection, scope: Scope, before: Span | None) -> None:
        """Open the section of the next core; `before` is the first instruction that stands before any section."""
        names, expected = self.names, len(self.names.sections)
        number: int | None = None
        try:
            number = Evaluator(names, scope).integer(statement.number, what="the number of the core")
        finally:
            # Whatever is wrong, what follows is another core's.
            names.sections.append(Section())
            names.enter(expected)
        if number != expected and names.report.guessing:
            raise Failed
        if number != expected:
            label = f"expected `.core {expected}`"
            help = "cores have one section each, numbered from 0"
            raise names.error(scope, "E801", statement.span, f"the section of core {number} stands here", label, help)
        before = self.declared[0].statement.span if self.declared and not expected else before
        if before is not None and not expected:
            note = Note("this belongs to no core", before)
            message, label = "tensors or instructions stand before the first `.core`", "expected `.core 0` above them"
            help = "what all cores share stands there: settings, constants, macros, semaphores and barriers"
            raise names.error(scope, "E801", statement.span, message, label, help, note)
        if expected >= MAX_CORES:
            names.report.guessing = True
            raise names.error(scope, "E801", statement.span, f"there are more than {MAX_CORES} cores")

    def synchroniser(self, statement: nodes.Synchroniser, scope: Scope) -> None:
        """Take `.semaphore NAME` or `.barrier NAME`."""
        word, known = self.names.named(statement.name, scope), self.names.synchronisers[statement.kind]
        if not NAME.fullmatch(word.text):
            message, label = f"`{word.text}` cannot name a {statement.kind}", "expected letters, digits and _"
            raise self.names.error(scope, "E205", word.span, message, label)
        if word.text in known:
            note = Note("it was declared here first", known[word.text])
            message = f"the {statement.kind} `{word.text}` is declared twice"
            raise self.names.error(scope, "E202", word.span, message, "choose another name", "", note)
        if word.text in RESERVED and not word.quoted:
            message = f"`{word.text}` is {RESERVED[word.text]}, and can name nothing else"
            raise self.names.error(scope, "E205", word.span, message, "choose another name")
        known[word.text] = word.span

    def constant(self, statement: nodes.Constant, scope: Scope) -> None:
        """Take `.equ NAME = VALUE`; in a macro the name may be a parameter that stands for one."""
        word = self.names.named(statement.name, scope)
        try:
            self.names.declare(word, scope)
            self.names.constants[word.text] = Evaluator(self.names, scope).constant(statement.value)
        except Failed:
            self.names.poisoned.add(word.text)

    def tensor(self, statement: nodes.Tensor, scope: Scope) -> None:
        """Take a declaration; what is wrong with it is reported, and its name is then known as poisoned."""
        if statement.kind == "data":
            word, key = statement.name, f".data {len(self.declared)}"
        else:
            word = self.names.named(statement.name, scope)
            key = word.text
        try:
            if statement.kind != "data":
                self.names.declare(word, scope)
            if statement.kind in ("input", "output"):
                self._check_unique(word, scope)
            declared = self._declared(statement, scope, key)
        except Failed:
            self.names.poisoned.add(word.text)
            return
        self.declared.append(declared)
        self.by_name[declared.core, key] = declared
        if statement.kind in ("input", "output"):
            self.moved[key] = declared
        if statement.kind != "data":
            self.names.tensors[key] = declared.symbol

    def _check_unique(self, word: nodes.Word, scope: Scope) -> None:
        """Report an input or output whose name another core gives to one."""
        other = self.moved.get(word.text)
        if other is not None:
            note = Note(f"core {other.core} declares it here", other.statement.name.span)
            message = f"`{word.text}` is an input or an output of two cores"
            label, help = "choose another name", "a run gives and takes them by name, whichever core they are of"
            raise self.names.error(scope, "E202", word.span, message, label, help, note)

    def _declared(self, statement: nodes.Tensor, scope: Scope, key: str) -> Declared:
        evaluator = Evaluator(self.names, scope)
        parts: dict[str, Any] = {}
        failed = False

        def attempt(name: str, work: Callable[[], Any]) -> None:
            nonlocal failed
            try:
                parts[name] = work()
            except Failed:
                failed = True

        attempt("dtype", lambda: DTYPES[dtype_named(evaluator, statement.dtype)])
        attempt("shape", lambda: self._shape(evaluator, statement))
        seen: set[str] = set()
        for clause in statement.clauses:
            keyword = clause.keyword.text
            if keyword in seen:
                self.names.error(scope, "E206", clause.span, f"`{keyword}` stands twice", "once is enough")
                failed = True
                continue
            seen.add(keyword)
            attempt(keyword, partial(self._clause, evaluator, clause, parts.get("dtype")))
        if failed:
            raise Failed
        self._check_channels(evaluator, statement, parts["shape"], parts.get("scale", ()))
        shape, dtype, (at, base) = parts["shape"], parts["dtype"], parts.get("at", (None, ""))
        memory = parts.get("in") or DEFAULT_MEMORY.get(statement.kind, "lm")
        if base:
            held = self.by_name[self.names.core, base].symbol.memory
            if "in" in seen and held != memory:
                raise self._clause_error(evaluator, statement, "in", f"`{base}` is in {held}", "leave `in` out")
            memory = held
        legal = MEMORIES if statement.kind == "data" else MEMORIES_OF_KIND[statement.kind]
        if memory not in legal:
            place, label = "at" if base else "in", f".{statement.kind} may be in {listed(legal)}"
            raise self._clause_error(evaluator, statement, place, f"`{key}` is in {memory}", label)
        if statement.kind == "data" and at is None:
            raise evaluator.error(
                "E505", statement.name, "data without a name needs an address", "expected `at ADDRESS`"
            )
        for keyword, label in OF_BUFFERED.items():
            if keyword in seen and statement.kind not in BUFFERED:
                message = f"`.{statement.kind}` takes no `{keyword}`"
                raise self._clause_error(evaluator, statement, keyword, message, label)
        self._check_axes(evaluator, statement, shape, parts.get("axes"))
        self._takes_data(evaluator, statement)
        symbol = Symbol(
            key,
            "weight" if statement.kind == "data" else statement.kind,  # type: ignore[arg-type]
            memory,
            0,
            dtype,
            shape,
            parts.get("scale", ()),
            parts.get("zero", 0),
            buffers=parts.get("buffers", 1),
            axes=parts.get("axes", ()),
        )
        spans = [clause.span for clause in statement.clauses if clause.keyword.text == "at"]
        content = None
        if isinstance(parts.get("stored"), Form):
            symbol = self._grouped(evaluator, statement, symbol, parts["stored"])
        elif "compressed" in seen or "stored" in seen:
            symbol, content = self._compressed(evaluator, statement, symbol, parts)
        span = (spans or [statement.name.span])[0]
        return Declared(self.names.core, key, statement.kind, symbol, statement, scope, at, base, span, content)

    def _grouped(self, evaluator: Evaluator, statement: nodes.Tensor, symbol: Symbol, form: Form) -> Symbol:
        """Return a tensor in groups with its size."""
        message = f"`{symbol.name}` cannot be in groups"
        if statement.kind not in ("weight", "local") or symbol.dtype not in GROUPED_TYPES:
            label = "expected a .weight or a .local of type f16 or bf16: the w of matmul"
            raise self._clause_error(evaluator, statement, "stored", message, label)
        if not form.stored_bytes(symbol.shape):
            label = f"groups of {form.group} do not divide the innermost dimension of {list(symbol.shape)}"
            raise self._clause_error(evaluator, statement, "stored", message, label)
        return replace(symbol, stored=form.stored_bytes(symbol.shape), form=form.name)

    def _compressed(
        self, evaluator: Evaluator, statement: nodes.Tensor, symbol: Symbol, parts: dict[str, Any]
    ) -> tuple[Symbol, bytes | None]:
        """Return a compressed weight with its size, and its bytes where they stand here (`compressed`)."""
        word = "compressed" if "compressed" in parts else "stored"
        if statement.kind != "weight" or not symbol.dtype.is_quantised:
            message = f"`{symbol.name}` cannot be compressed"
            label = "expected a .weight of type i8, u8 or i16: the w of conv, dwconv or matmul"
            raise self._clause_error(evaluator, statement, word, message, label)
        assert statement.data is not None
        given = not self.names.is_none(statement.data, evaluator.scope)
        if given == ("stored" in parts):
            label = "`compressed` comes with the dense data, `stored=BYTES` with `= none`"
            raise evaluator.error("E505", statement.data, f"`{symbol.name}` has its data in another form", label)
        if not given:
            legal = legal_sizes(symbol.bytes // symbol.dtype.bytes, symbol.dtype)
            if parts["stored"] not in legal:
                label = f"expected {legal[0]} to {legal[-1]}, and a whole number of elements behind the mask"
                raise self._clause_error(evaluator, statement, word, f"{parts['stored']} bytes are stored", label)
            return replace(symbol, stored=parts["stored"]), None
        reader = Reader(evaluator, self.folder)
        # The data, which of them are not 0, and where: eight bytes for each that is not.
        reader.check_room(statement.data, {f"compressing `{symbol.name}`": 12 * symbol.bytes})
        data = reader.initial(statement.data, symbol, tasks=1)
        content = compress(data, symbol.dtype)
        return replace(symbol, stored=len(content)), content

    def _clause_error(
        self, evaluator: Evaluator, statement: nodes.Tensor, keyword: str, message: str, label: str
    ) -> Failed:
        clause = next(clause for clause in statement.clauses if clause.keyword.text == keyword)
        return evaluator.error("E404", clause, message, label)

    def _check_channels(
        self, evaluator: Evaluator, statement: nodes.Tensor, shape: tuple[int, ...], scale: tuple[float, ...]
    ) -> None:
        """Report a list of scales that fits no dimension which could be the channels."""
        # Weights count theirs in other places than results do, and locals may hold weights.
        outer = statement.kind in ("input", "output")
        if len(scale) > 1 and len(scale) not in (shape[-1:] if outer else shape):
            message = f"{len(scale)} scales are given for the shape {list(shape)}"
            label = f"expected one, or {shape[-1]}: one for each channel"
            help = "" if outer else "conv counts the channels of its weights in the first dimension"
            span = next(clause for clause in statement.clauses if clause.keyword.text == "scale")
            raise evaluator.error("E601", span, message, label, help)

    def _check_axes(
        self, evaluator: Evaluator, statement: nodes.Tensor, shape: tuple[int, ...], axes: tuple[int, ...] | None
    ) -> None:
        """Report axes that do not name each dimension once."""
        if axes is not None and not is_order(axes, len(shape)):
            span = next(clause for clause in statement.clauses if clause.keyword.text == "axes")
            message = f"`axes` is no order of the dimensions of {list(shape)}"
            label = f"expected each of {listed(map(str, range(len(shape))), 'and')} once"
            help = "element k is the dimension of this tensor that the host has in place k: axes of numpy.transpose"
            raise evaluator.error("E305", span, message, label, help)

    def _shape(self, evaluator: Evaluator, statement: nodes.Tensor) -> tuple[int, ...]:
        # Bytes that belong to no tensor may be none at all; a tensor has at least one element.
        shape = shape_of(evaluator, statement.shape.items, 0 if statement.kind == "data" else 1)
        if not 1 <= len(shape) <= MAX_SYMBOL_RANK:
            label = f"expected 1 to {MAX_SYMBOL_RANK}"
            raise evaluator.error("E305", statement.shape, f"the shape has {len(shape)} dimensions", label)
        elements = 1
        for size in shape:
            elements *= size
        if elements * 4 >= MAX_SIZE:
            raise evaluator.error("E506", statement.shape, f"a tensor of {elements:.2g} elements", "no memory holds it")
        return shape

    def _clause(self, evaluator: Evaluator, clause: nodes.Clause, dtype: DType | None) -> Any:
        value = clause.value
        if isinstance(value, nodes.Word):
            return memory_named(evaluator, value) if clause.keyword.text == "in" else value.text
        match clause.keyword.text:
            case "stored":
                return form_of(value) or evaluator.integer(value, 1, MAX_SIZE, "the size")
            case "scale":
                return Reader(evaluator, self.folder).scale(value)
            case "axes":
                value, scope = self.names.follow(value, evaluator.scope)
                if not isinstance(value, nodes.List | nodes.Tuple):
                    label = "expected a list, as in `axes=[0, 3, 1, 2]`"
                    raise evaluator.error("E309", value, "`axes` is the order of all dimensions", label)
                inner = Evaluator(self.names, scope)
                return tuple(inner.integer(item, what="the axis") for item in value.items)
            case "buffers":
                return evaluator.integer(value, 1, MAX_BUFFERS, "the number of buffers")
            case "zero":
                if isinstance(value, nodes.List | nodes.Tuple):
                    help = "those of a weight's channels are taken off it, as i16: see docs/compositions.md"
                    message = "a tensor has one zero point, not one for each channel"
                    raise evaluator.error("E601", value, message, "expected a whole number", help)
                number, held = evaluator.constant(value), dtype or I8
                low, high = (held.low, held.high) if held.is_quantised else (0, 0)
                if isinstance(number, float) or not low <= number <= high:
                    label = f"expected a whole number from {low} to {high}"
                    label = label if held.is_quantised else f"{held} has no zero point"
                    raise evaluator.error("E601", value, f"the zero point is {number:g}", label)
                return number
        return self._at(evaluator, value)

    def _at(self, evaluator: Evaluator, node: nodes.Value) -> tuple[int, str]:
        """Return (address, "") or (offset, tensor) of `at`: a number, a tensor, or a tensor + number."""
        node, scope = self.names.follow(node, evaluator.scope)
        evaluator = Evaluator(self.names, scope)
        first, offset = node, 0
        if isinstance(node, nodes.Chain) and isinstance(node.first, nodes.Reference):
            first, _ = self.names.follow(node.first, scope)
        if isinstance(first, nodes.Reference) and (self.names.core, first.name) in self.by_name:
            if isinstance(node, nodes.Chain):
                if any(operator.text not in ("+", "-") for operator, _ in node.rest):
                    raise evaluator.error("E404", node, "this is no address", "expected a tensor, or a tensor + number")
                for operator, right in node.rest:
                    number = evaluator.integer(right, what="the offset")
                    offset += number if operator.text == "+" else -number
            return offset, first.name
        if isinstance(first, nodes.Reference) and not (first.name in self.names.constants or scope.find(first.name)):
            raise self.names.unknown(first.name, first.span, scope, "a tensor declared before, or an address")
        return evaluator.integer(node, 0, MAX_SIZE, "the address"), ""

    def _takes_data(self, evaluator: Evaluator, statement: nodes.Tensor) -> None:
        kind, data = statement.kind, statement.data
        if kind in ("weight", "const") and data is None:
            label = 'expected `= "FILE.npy"`, a list, or one value for all'
            help = "`= none` leaves it to other `.data`"
            raise evaluator.error("E505", statement.name, f"`{statement.name.text}` has no data", label, help)
        if kind in ("local", "output") and data is not None:
            help = "use .weight or .const for data, or `fill` it" if kind == "local" else "compare it with `.check`"
            raise evaluator.error("E505", data, f"{article(kind)} takes no data", "expected nothing here", help)

    def check(self, statement: nodes.Check, scope: Scope) -> None:
        """Keep a check until the code is read, for assembler/checks.py."""
        self.checks.append((self.names.core, statement, scope))

    def read_data(self) -> list[tuple[list[Symbol], list[Segment]]]:
        """Return the symbols and the initial bytes of each core, in the order of the text."""
        read: list[tuple[list[Symbol], list[Segment]]] = [([], []) for _ in range(self.names.cores)]
        self._check_room()
        for declared in self.declared:
            self.names.enter(declared.core)
            symbols, segments = read[declared.core]
            symbol, node = declared.symbol, declared.statement.data
            data = None
            misplaced = (declared.core, declared.key) in self.misplaced
            if declared.content is not None:
                data = declared.content
            elif node is not None and not misplaced and not self.names.is_none(node, declared.scope):
                reader = Reader(Evaluator(self.names, declared.scope), self.folder)
                try:
                    data = reader.initial(node, symbol, self.tasks)
                except Failed:
                    continue
            if declared.kind == "input":
                symbol = replace(symbol, default=data)
            elif data is not None:
                segments.append(Segment(symbol.memory, symbol.address, data))
            if declared.kind != "data":
                symbols.append(symbol)
        return read

    def _check_room(self) -> None:
        """Report, before any are taken, that there is not the memory for all data together."""
        held = [
            one
            for one in self.declared
            if one.content is None
            and one.statement.data is not None
            and not self.names.is_none(one.statement.data, one.scope)
        ]
        largest = max(held, key=lambda one: one.symbol.bytes, default=None)
        if largest is not None:
            reader = Reader(Evaluator(self.names, largest.scope), self.folder)
            what = f"the data of {len(held)} tensors, of which this is the largest"
            with suppress(Failed):
                reader.check_room(largest.statement.name, {what: sum(one.symbol.bytes for one in held)})
                return
            self.declared = []


def article(kind: str) -> str:
    """Return a kind of tensor with its article."""
    return {"input": "an input", "output": "an output", "const": "a constant"}.get(kind, f"a {kind}")
