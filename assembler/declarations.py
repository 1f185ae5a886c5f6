"""Directives: settings of the whole program, constants, tensors with their data, checks."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from assembler.data import MAX_BYTES, Reader
from assembler.expressions import Evaluator
from assembler.files import FileProblem, Folder
from assembler.layout import Layout, Request, place
from assembler.operands import dtype_named, memory_named, shape_of
from assembler.symbols import RESERVED, Names, Scope, Section
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, Span, listed
from isa.chip import Chip, load_chip
from isa.compressed import compress, legal_sizes
from isa.dtypes import DTYPES, I8, DType
from isa.errors import ChipError
from isa.operand import MEMORIES, SHARED, region
from isa.program import (
    BUFFERED,
    CHECK_BOUNDS,
    CHECK_KINDS,
    MAX_BUFFERS,
    MAX_CORES,
    MAX_SYMBOL_RANK,
    MAX_TASKS,
    MEMORIES_OF_KIND,
    ORDERS,
    Check,
    Segment,
    Symbol,
)
from isa.suggest import did_you_mean
from isa.verify_program import NAME

DEFAULT_CHIP = "hanguang800"
DEFAULT_MEMORY = {"const": "cb"}
SCALES = ("automatic", "explicit")
MAX_SIZE = 2**62
# What to do where `buffers` is not possible.
OWN_BUFFERS = "only an input or an output follows the task; count others' buffers in a dimension: `t[task % 2]`"
# The setting that each kind of check takes for its bound.
BOUND_NAMES = {"top1": "min", "within": "atol", "exact": ""}


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
    """Collects what a program declares, in the order of the text."""

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
            self._load_chip(word, scope)

    def word(self, keyword: str, default: str) -> str:
        """Return the word of a setting."""
        return self.settings[keyword].value.text if keyword in self.settings else default

    def _load_chip(self, word: nodes.Word, scope: Scope) -> None:
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
        word, known = self._name(statement.name, scope), self.names.synchronisers[statement.kind]
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
        word = self._name(statement.name, scope)
        try:
            self.names.declare(word, scope)
            self.names.constants[word.text] = Evaluator(self.names, scope).constant(statement.value)
        except Failed:
            self.names.poisoned.add(word.text)

    def _name(self, word: nodes.Word, scope: Scope) -> nodes.Word:
        if word.quoted:
            return word
        node, _ = self.names.follow(nodes.Reference(word.span, word.text), scope)
        return nodes.Word(node.span, node.name) if isinstance(node, nodes.Reference) else word

    def tensor(self, statement: nodes.Tensor, scope: Scope) -> None:
        """Take a declaration; what is wrong with it is reported, and its name is then known as poisoned."""
        if statement.kind == "data":
            word, key = statement.name, f".data {len(self.declared)}"
        else:
            word = self._name(statement.name, scope)
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
        if "buffers" in seen and statement.kind not in BUFFERED:
            message = f"`.{statement.kind}` takes no `buffers`"
            raise self._clause_error(evaluator, statement, "buffers", message, OWN_BUFFERS)
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
        )
        spans = [clause.span for clause in statement.clauses if clause.keyword.text == "at"]
        content = None
        if "compressed" in seen or "stored" in seen:
            symbol, content = self._compressed(evaluator, statement, symbol, parts)
        span = (spans or [statement.name.span])[0]
        return Declared(self.names.core, key, statement.kind, symbol, statement, scope, at, base, span, content)

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
        given = not self._is_none(statement.data, evaluator.scope)
        if given == ("stored" in parts):
            label = "`compressed` comes with the dense data, `stored=BYTES` with `= none`"
            raise evaluator.error("E505", statement.data, f"`{symbol.name}` has its data in another form", label)
        if not given:
            legal = legal_sizes(symbol.bytes // symbol.dtype.bytes, symbol.dtype)
            if parts["stored"] not in legal:
                label = f"expected {legal[0]} to {legal[-1]}, and a whole number of elements behind the mask"
                raise self._clause_error(evaluator, statement, word, f"{parts['stored']} bytes are stored", label)
            return replace(symbol, stored=parts["stored"]), None
        data = Reader(evaluator, self.folder).initial(statement.data, symbol, tasks=1)
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
                return evaluator.integer(value, 1, MAX_SIZE, "the size")
            case "scale":
                return Reader(evaluator, self.folder).scale(value)
            case "buffers":
                return evaluator.integer(value, 1, MAX_BUFFERS, "the number of buffers")
            case "zero":
                number, held = evaluator.constant(value), dtype or I8
                if isinstance(number, float) or not held.low <= number <= held.high:
                    label = f"expected a whole number from {held.low} to {held.high}"
                    label = "a floating type has no zero point" if held.is_float else label
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
            raise evaluator.error("E505", data, f"{_article(kind)} takes no data", "expected nothing here", help)

    def check(self, statement: nodes.Check, scope: Scope) -> None:
        self.checks.append((self.names.core, statement, scope))

    def place(self) -> tuple[list[int], Chip]:
        """Give every tensor its address; report what does not fit the chip.

        Returns where the constants of each core end, and the chip.
        """
        chip = self.chip or load_chip(DEFAULT_CHIP)
        ends = [0] * self.names.cores
        regions: dict[tuple[int, str], list[int]] = {}
        for k, declared in enumerate(self.declared):
            regions.setdefault(region(declared.core, declared.symbol.memory), []).append(k)
        for (core, memory), held in regions.items():
            layout = self._place(held, memory, chip)
            if memory == "cb":
                ends[core] = layout.ends[memory]
        return ends, chip

    def _place(self, held: Sequence[int], memory: str, chip: Chip) -> Layout:
        """Place the tensors of one memory; `held` are their positions among all."""

        def called(core: int, key: str) -> str:
            return f"core{core}.{key}" if memory in SHARED and self.names.sections and key else key

        by_name = {called(d.core, d.key): d for d in (self.declared[k] for k in held)}
        requests = [
            Request(
                name,
                memory,
                d.symbol.buffers * d.symbol.bytes,
                d.symbol.dtype.bytes,
                d.at,
                called(d.core, d.base),
                self._held(d),
            )
            for name, d in by_name.items()
        ]
        layout = place(requests, {memory: chip.memory_bytes(memory)}, chip.name)
        codes = {
            "beyond": "E404",
            "full": "E401",
            "overlap": "E402",
            "lacking": "E403",
            "align": "E404",
            "base": "E404",
        }
        for problem in layout.problems:
            declared = by_name[problem.place]
            self.misplaced.add((declared.core, declared.key))
            notes = [Note(note.message, by_name[note.place].statement.name.span) for note in problem.notes]
            code = codes[problem.code]
            span = declared.statement.name.span if code in ("E401", "E403") else declared.at_span
            self.names.error(declared.scope, code, span, problem.message, "", problem.help, *notes)
        for k, name in zip(held, by_name, strict=True):
            declared = self.declared[k]
            address = layout.addresses.get(name, 0)
            declared = replace(declared, symbol=replace(declared.symbol, address=address))
            self.declared[k] = self.by_name[declared.core, declared.key] = declared
            if declared.kind != "data":
                self.names.of_core(declared.core).tensors[declared.key] = declared.symbol
        return layout

    def _held(self, declared: Declared) -> str:
        """Return what a tensor holds at first, as the layout wants to know it."""
        if declared.kind == "input":
            return "input"
        data = declared.statement.data
        if declared.kind in ("weight", "const") and data is not None and not self._is_none(data, declared.scope):
            return "constant"
        return ""

    def read_data(self) -> list[tuple[list[Symbol], list[Segment]]]:
        """Return the symbols and the initial bytes of each core, in the order of the text."""
        read: list[tuple[list[Symbol], list[Segment]]] = [([], []) for _ in range(self.names.cores)]
        for declared in self.declared:
            self.names.enter(declared.core)
            symbols, segments = read[declared.core]
            symbol, node = declared.symbol, declared.statement.data
            data = None
            misplaced = (declared.core, declared.key) in self.misplaced
            if declared.content is not None:
                data = declared.content
            elif node is not None and not misplaced and not self._is_none(node, declared.scope):
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

    def _is_none(self, node: nodes.Value, scope: Scope) -> bool:
        node, _ = self.names.follow(node, scope)
        return isinstance(node, nodes.Reference) and node.name == "none"

    def read_checks(self) -> list[Check]:
        """Return the checks, with what they expect."""
        checks = []
        for core, statement, scope in self.checks:
            self.names.enter(core)
            with suppress(Failed):
                checks.append(self._read_check(statement, scope))
        return checks

    def _read_check(self, statement: nodes.Check, scope: Scope) -> Check:
        evaluator, names = Evaluator(self.names, scope), self.names
        output = self._name(statement.output, scope)
        # Names of outputs are unique over all cores; any other tensor of that name is meant by mistake.
        named = [d.symbol for d in self.declared if d.kind != "data" and d.key == output.text]
        symbol = min(named, key=lambda symbol: symbol.kind != "output", default=None)
        if symbol is None or output.text in names.poisoned:
            raise names.unknown(output.text, output.span, scope, "an output")
        if symbol.kind != "output":
            label = f"expected an output; this is {_article(symbol.kind)}"
            spans = [d.statement.name.span for d in self.declared if d.symbol is symbol]
            note = Note("it is declared here", spans[0])
            raise names.error(scope, "E603", output.span, f"`{symbol.name}` cannot be checked", label, "", note)
        kind = statement.kind
        if kind.text not in CHECK_KINDS:
            help = did_you_mean(kind.text, CHECK_KINDS, "top1 compares classes, exact all bits, within a tolerance")
            label = f"expected {listed(CHECK_KINDS)}"
            raise evaluator.error("E207", kind, f"`{kind.text}` is no check", label, help)
        bound, source = self._check_settings(statement, evaluator)
        reader = Reader(evaluator, self.folder)
        node, _ = names.follow(statement.data, scope)
        if isinstance(node, nodes.Text) and source is None:
            source = node.value
        shape = symbol.shape if self.tasks == 1 else (self.tasks, *symbol.shape)
        if kind.text == "top1":
            expected = reader.labels(statement.data, prod(shape[:-1]), shape[:-1])
        else:
            size = self.tasks * symbol.bytes
            if size > MAX_BYTES:
                raise evaluator.error("E506", output, f"{size:,} bytes to compare", "")
            expected = reader.tensor(statement.data, symbol.dtype, shape)
        return Check(symbol.name, kind.text, bound, source or "", expected)  # type: ignore[arg-type]

    def _check_settings(self, statement: nodes.Check, evaluator: Evaluator) -> tuple[float, str | None]:
        kind = statement.kind.text
        name, (low, high) = BOUND_NAMES[kind], CHECK_BOUNDS[kind]
        bound, source = None, None
        for setting in statement.settings:
            word, value = setting.keyword, setting.value
            assert not isinstance(value, nodes.Word)
            if word.text == "source" and isinstance(value, nodes.Text):
                source = value.value
            elif word.text == name and bound is None:
                bound = float(evaluator.constant(value))
                if not low <= bound <= high:
                    label = f"expected {low:g} to {high:g}"
                    help = "the share of rows that must be right: 0.98 for 98 %" if kind == "top1" else ""
                    raise evaluator.error("E603", value, f"`{name}` is {bound:g}", label, help)
            elif word.text == name:
                raise evaluator.error("E603", setting, f"`{name}` is given twice", "once is enough")
            else:
                help = f"write {kind} ... {name}=NUMBER" if name else "exact compares bit for bit and takes no bound"
                raise evaluator.error("E603", setting, f"a check `{kind}` has no `{word.text}`", "", help)
        if bound is None and name:
            help = "the share of rows that must be right" if kind == "top1" else "the greatest difference that is right"
            raise evaluator.error(
                "E603", statement.kind, f"the check lacks `{name}`", f"expected `{name}=NUMBER`", help
            )
        return bound or 0.0, source


def _article(kind: str) -> str:
    return {"input": "an input", "output": "an output", "const": "a constant"}.get(kind, f"a {kind}")
