"""From a logical line to its syntax tree: the only place that knows lark."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import cache_from_source
from itertools import islice
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Report, Span
from assembler.syntax.hints import USAGE, WAIT_USAGE, Mismatch, explain
from assembler.syntax.source import QUOTED, LogicalLine, SourceFile, logical_lines
from isa.chip import SECTIONS
from isa.suggest import did_you_mean, nearest
from isa.table import MNEMONICS

# Of one statement: some 36 us and 1 KB each.
MOST_TOKENS = 100_000
# What stands before a dot within a token: another core, or a section of a chip file.
DOTTED = "|".join(("core[0-9]+", *SECTIONS))
TOKEN = re.compile(
    rf"{QUOTED}|<[^<>\"]*>|(?:{DOTTED})\.[^\W\d]\w*|0[xX]\w*|[0-9](?:[\w.]|(?<=[eE])[+-](?=[0-9]))*+|\.?[^\W\d]\w*|//|\S"
)


@cache
def _lark() -> Lark:
    """Return the parser. Its tables are kept beside Python's own compiled files, where those may be written."""
    grammar = Path(__file__).with_name("grammar.lark").read_text("utf-8")
    kept = False if sys.dont_write_bytecode else str(Path(cache_from_source(__file__)).with_suffix(".lalr"))
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True, cache=kept)


def parse(file: SourceFile, report: Report) -> Iterator[nodes.Statement]:
    """Yield the statements of a file; a line that does not parse is reported once, and comes as Broken."""
    for line in logical_lines(file, report):
        yield parse_line(line, report)


def parse_line(line: LogicalLine, report: Report) -> nodes.Statement:
    """Return the statement of one logical line."""
    if not line.broken:
        try:
            _check_start(line, report)
            _check_length(line, report)
            try:
                tree = _lark().parse(line.text)
            except UnexpectedInput as error:
                raise _explain(line, error, report) from None
            return _Builder(line, report).statement(tree)
        except Failed:
            pass
    words = (match[0] for match in re.finditer(r"\.?[^\W\d]\w*", line.text))
    waits = 1 if re.match(r"\s*\(\s*w\b", line.text) else 0
    first = islice(words, waits, waits + 2)
    return nodes.Broken(line.whole, tuple(_meant(word) if not k else word for k, word in enumerate(first)))


def _meant(word: str) -> str:
    """Return the directive that the first word of a bad line was meant as, else the word."""
    if word in USAGE or word in MNEMONICS:
        return word
    if word[0] != ".":
        return f".{word}" if f".{word}" in USAGE else word
    return word[1:] if word[1:] in MNEMONICS else nearest(word, USAGE) or word


def _check_length(line: LogicalLine, report: Report) -> None:
    """Report a statement of so many words and numbers that its tree would take more memory than there may be."""
    if len(line.text) <= MOST_TOKENS:
        return
    for count, match in enumerate(TOKEN.finditer(line.text)):
        if count == MOST_TOKENS:
            message = f"this statement has more than {MOST_TOKENS:,} words, numbers and marks"
            help = 'data may stand in a file: = "FILE.npy"'
            raise report.error("E705", line.span(*match.span()), message, "the limit is reached here", help)


def _check_start(line: LogicalLine, report: Report) -> None:
    """Report a directive that is unknown, and what is meant as waits but is not."""
    text = line.text
    start = len(text) - len(text.lstrip())
    if text[start] == ".":
        match = re.compile(r"\.\w*").match(text, start)
        assert match
        if match[0] not in USAGE:
            help = did_you_mean(match[0], USAGE, f"directives: {', '.join(USAGE)}")
            if match[0][1:] in MNEMONICS:
                help = f"instructions have no dot: `{match[0][1:]}`"
            raise report.error("E106", line.span(*match.span()), f"unknown directive `{match[0]}`", help=help)
    elif text[start] == "(":
        match = re.compile(r"\([^()]*\)?").match(text, start)
        assert match
        letters = re.fullmatch(r"\(\s*w\s*\.\s*+(\w*+)\s*\)", match[0])
        if not letters or not letters[1] or set(letters[1]) - set("tpm") or len(set(letters[1])) < len(letters[1]):
            message = f"`{match[0]}` is no wait" if not letters else f"`{letters[1]}` is no set of engines"
            message = "the wait names no engine" if letters and not letters[1] else message
            label = "expected one or more of t, p and m" if letters else "expected waits or an instruction"
            raise report.error("E107", line.span(*match.span()), message, label, WAIT_USAGE)


def _explain(line: LogicalLine, error: UnexpectedInput, report: Report) -> Failed:
    """Report why a line does not parse."""
    accepts = set(error.interactive_parser.accepts()) if error.interactive_parser else set()
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    position = len(line.text.rstrip()) if ended else error.pos_in_stream or 0
    match = None if ended else TOKEN.match(line.text, position)
    found = match[0] if match else ""
    behind = TOKEN.search(line.text, position + len(found))
    place = Mismatch(found, TOKEN.findall(line.text[:position]), accepts, behind[0] if behind else "")
    span = line.span(position, position + max(1, len(found)))
    return report.add(explain(place, line.text.split(maxsplit=1)[0], span))


class _Builder:
    """Turns lark's trees into syntax nodes. Trees are no deeper than the brackets, which source.py limits."""

    def __init__(self, line: LogicalLine, report: Report) -> None:
        self.line = line
        self.report = report

    def statement(self, tree: Tree[Any]) -> nodes.Statement:
        statement: nodes.Statement = getattr(self, f"_{tree.data}")(self._span(tree), *tree.children)
        return statement

    def _span(self, tree: Tree[Any]) -> Span:
        if tree.meta.empty:
            return self.line.whole
        return self.line.span(tree.meta.start_pos, tree.meta.end_pos)

    def _word(self, token: Token) -> nodes.Word:
        assert token.start_pos is not None and token.end_pos is not None
        span = self.line.span(token.start_pos, token.end_pos)
        if token.type == "STRING":
            return nodes.Word(span, self._unquoted(token, span), True)
        return nodes.Word(span, str(token))

    def _unquoted(self, token: str, span: Span) -> str:
        if "\\" not in token:
            return token[1:-1]
        from json import loads

        try:
            value = str(loads(token, strict=False))
            value.encode()
        except ValueError:
            label = "escapes are those of JSON"
            help = 'write `\\\\` for a backslash, `\\"` for a quote; folders are separated by `/`'
            raise self.report.error("E103", span, "unknown escape in a text", label, help) from None
        if "\n" in value:
            raise self.report.error("E103", span, "a line break stands in a text", "expected one line")
        return value

    def value(self, tree: Tree[Any]) -> nodes.Value:
        span = self._span(tree)
        children: list[Any] = tree.children
        match tree.data:
            case "number":
                return nodes.Number(span, str(children[0]))
            case "reference":
                return nodes.Reference(span, str(children[0]))
            case "string":
                return nodes.Text(span, self._unquoted(children[0], span))
            case "negative":
                return nodes.Negative(span, self.value(children[1]))
            case "expression" | "product":
                operators = (self._word(token) for token in children[1::2])
                values = (self.value(child) for child in children[2::2])
                return nodes.Chain(span, self.value(children[0]), tuple(zip(operators, values, strict=True)))
            case "sliced":
                return nodes.Sliced(span, self._word(children[0]), self._indices(children[1]))
            case "tuple":
                return nodes.Tuple(span, tuple(map(self.value, children)))
            case "list" | "shape":
                return self._list(tree)
        assert tree.data == "raw"
        dtype, indices, _, memory, _, address, _, strides, _, stored = children
        return nodes.Raw(
            span,
            self._word(dtype),
            self._indices(indices),
            self._word(memory),
            self.value(address),
            None if strides is None else self._list(strides),
            self._optional(stored),
        )

    def _list(self, tree: Tree[Any]) -> nodes.List:
        return nodes.List(self._span(tree), tuple(self.value(child) for child in tree.children if child is not None))

    def _optional(self, tree: Tree[Any] | None) -> nodes.Value | None:
        return None if tree is None else self.value(tree)

    def _indices(self, tree: Tree[Any]) -> tuple[nodes.Value | nodes.Range, ...]:
        return tuple(self._range(child) if child.data == "range" else self.value(child) for child in tree.children)

    def _range(self, tree: Tree[Any]) -> nodes.Range:
        start, stop, step = tree.children
        length = stop is not None and stop.data == "length"
        stop = stop.children[1] if length else stop
        return nodes.Range(self._span(tree), self._optional(start), self._optional(stop), length, self._optional(step))

    def _setting(self, span: Span, keyword: Token, value: Token) -> nodes.Setting:
        return nodes.Setting(span, str(keyword), self._word(value))

    def _chip(self, span: Span, keyword: Token, value: Token, *changes: Tree[Any]) -> nodes.Setting:
        return nodes.Setting(span, str(keyword), self._word(value), tuple(map(self._clause, changes)))

    def _tasks(self, span: Span, count: Tree[Any]) -> nodes.Tasks:
        return nodes.Tasks(span, self.value(count))

    def _constant(self, span: Span, name: Token, value: Tree[Any]) -> nodes.Constant:
        return nodes.Constant(span, self._word(name), self.value(value))

    def _include(self, span: Span, path: Token) -> nodes.Include:
        word = self._word(path)
        return nodes.Include(span, nodes.Text(word.span, word.text), path.type == "SHIPPED")

    def _core(self, span: Span, number: Tree[Any]) -> nodes.CoreSection:
        return nodes.CoreSection(span, self.value(number))

    def _synchroniser(self, span: Span, kind: Token, name: Token) -> nodes.Synchroniser:
        return nodes.Synchroniser(span, str(kind)[1:], self._word(name))

    def _tensor(self, span: Span, kind: Token, name: Token, dtype: Token, shape: Tree[Any], *rest: Any) -> nodes.Tensor:
        *clauses, data = rest
        return nodes.Tensor(
            span,
            str(kind)[1:],
            self._word(name),
            self._word(dtype),
            self._list(shape),
            tuple(map(self._clause, clauses)),
            self._optional(data),
        )

    def _segment(self, span: Span, dtype: Token, shape: Tree[Any], *rest: Any) -> nodes.Tensor:
        *clauses, data = rest
        start = self.line.whole.column - 1
        keyword = self.line.file.span(span.line, start, start + len(".data"))
        return nodes.Tensor(
            span,
            "data",
            nodes.Word(keyword, ""),
            self._word(dtype),
            self._list(shape),
            tuple(map(self._clause, clauses)),
            self.value(data),
        )

    def _clause(self, tree: Tree[Any]) -> nodes.Clause:
        children: list[Any] = tree.children
        keyword, value = children[0], children[-1]
        content = self._word(value) if isinstance(value, Token) else self.value(value)
        return nodes.Clause(self._span(tree), self._word(keyword), content)

    def _check(self, span: Span, output: Token, kind: Token, data: Tree[Any], *settings: Tree[Any]) -> nodes.Check:
        clauses = tuple(map(self._clause, settings))
        return nodes.Check(span, self._word(output), self._word(kind), self.value(data), clauses)

    def _macro(self, span: Span, name: Token, *parameters: Tree[Any] | None) -> nodes.Macro:
        return nodes.Macro(
            span,
            self._word(name),
            tuple(self._parameter(tree) for tree in parameters if tree is not None),
        )

    def _parameter(self, tree: Tree[Any]) -> nodes.Parameter:
        children: list[Any] = tree.children
        return nodes.Parameter(self._span(tree), self._word(children[0]), self._optional(children[1]))

    def _endmacro(self, span: Span) -> nodes.EndMacro:
        return nodes.EndMacro(span)

    def _repeat(self, span: Span, counter: Token, count: Tree[Any]) -> nodes.Repeat:
        return nodes.Repeat(span, self._word(counter), self.value(count))

    def _endrepeat(self, span: Span) -> nodes.EndRepeat:
        return nodes.EndRepeat(span)

    def _instruction(self, span: Span, waits: Token | None, mnemonic: Token, *arguments: Any) -> nodes.Instruction:
        return nodes.Instruction(
            span,
            None if waits is None else self._word(waits),
            self._word(mnemonic),
            tuple(self._argument(tree) for tree in arguments if tree is not None),
        )

    def _argument(self, tree: Tree[Any]) -> nodes.Argument:
        if tree.data == "positional":
            return nodes.Argument(self._span(tree), None, self.value(tree.children[0]))
        children: list[Any] = tree.children
        name, value = children
        return nodes.Argument(self._span(tree), self._word(name), self.value(value))
