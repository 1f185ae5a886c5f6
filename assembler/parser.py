"""From a logical line to its syntax tree: the only place that knows lark."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from assembler import syntax
from assembler.diagnostics import Failed, Report, Span, did_you_mean, listed
from assembler.source import LogicalLine, SourceFile, logical_lines
from isa.table import MNEMONICS

# How each directive is written; shown where one does not parse.
USAGE = {
    ".chip": ".chip NAME, or a .toml file in quotes",
    ".name": '.name "TEXT"',
    ".order": ".order hardware, or compiler",
    ".scales": ".scales automatic, or explicit",
    ".equ": ".equ NAME = VALUE",
    ".include": '.include "FILE.npu"',
    ".input": ".input NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER in MEMORY at ADDRESS = DATA",
    ".output": ".output NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER in MEMORY at ADDRESS",
    ".weight": ".weight NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER in MEMORY at ADDRESS = DATA",
    ".const": ".const NAME TYPE[SHAPE] scale=NUMBER at ADDRESS = DATA",
    ".local": ".local NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER in MEMORY at ADDRESS",
    ".data": ".data TYPE[SHAPE] in MEMORY at ADDRESS = DATA",
    ".check": '.check OUTPUT top1 "FILE.npy" min=SHARE, or exact "FILE.npy", or within "FILE.npy" atol=NUMBER',
    ".macro": ".macro NAME PARAMETER, PARAMETER=DEFAULT",
    ".endmacro": ".endmacro",
    ".repeat": ".repeat NAME, COUNT",
    ".endrepeat": ".endrepeat",
}
WAIT_USAGE = "waits are written `(w.t)`, `(w.p)`, `(w.m)`, or several at once: `(w.tp)`"

# Terminals as people call them; operators are left out of messages where anything else is possible.
TERMINALS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a text in quotes",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "SCALE": "`scale=`",
    "ZERO": "`zero=`",
    "IN": "`in`",
    "AT": "`at`",
    "STRIDES": "`strides`",
    "WAITS": "waits",
    "$END": "the end of the line",
}
OPERATORS = {"PLUS", "MINUS", "TIMES"}
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|0[xX]\w*|\d(?:[eE][+-](?=\d)|[\w.])*|\.?[^\W\d]\w*|//|\S')
WAITS = r"\(\s*w\s*\.\s*\w*\s*\)"
_VALUE_END = re.compile(r'[\w)\]"]')
_VALUE_START = re.compile(r'[\w("]')


@cache
def _lark() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def parse(file: SourceFile, report: Report) -> Iterator[syntax.Statement]:
    """Yield the statements of a file; a line that does not parse is reported once, and comes as Broken."""
    for line in logical_lines(file, report):
        yield parse_line(line, report)


def parse_line(line: LogicalLine, report: Report) -> syntax.Statement:
    """Return the statement of one logical line."""
    if not line.broken:
        try:
            _check_start(line, report)
            try:
                tree = _lark().parse(line.text)
            except UnexpectedInput as error:
                raise _explain(line, error, report) from None
            return _Builder(line, report).statement(tree)
        except Failed:
            pass
    words = re.findall(r"\.?[^\W\d]\w*", line.text)
    waits = 1 if re.match(r"\s*\(\s*w\b", line.text) else 0
    return syntax.Broken(line.whole, tuple(words[waits : waits + 2]))


def _check_start(line: LogicalLine, report: Report) -> None:
    """Report a directive that is unknown, and what is meant as waits but is not."""
    text = line.text
    start = len(text) - len(text.lstrip())
    if text[start] == ".":
        match = re.compile(r"\.\w*").match(text, start)
        assert match
        if match[0] not in USAGE:
            help = did_you_mean(match[0], USAGE, f"directives: {', '.join(USAGE)}")
            raise report.error("E106", line.span(*match.span()), f"unknown directive `{match[0]}`", help=help)
    elif text[start] == "(":
        match = re.compile(r"\([^()]*\)?").match(text, start)
        assert match
        letters = re.fullmatch(r"\(\s*w\s*\.\s*(\w*)\s*\)", match[0])
        if not letters or not letters[1] or set(letters[1]) - set("tpm") or len(set(letters[1])) < len(letters[1]):
            message = f"`{match[0]}` is no wait" if not letters else f"`{letters[1]}` is no set of engines"
            label = "expected one or more of t, p and m" if letters else "expected waits or an instruction"
            raise report.error("E107", line.span(*match.span()), message, label, WAIT_USAGE)


def _explain(line: LogicalLine, error: UnexpectedInput, report: Report) -> Failed:
    """Report why a line does not parse, in the words of someone who reads the line and not the grammar."""
    accepts = set(error.interactive_parser.accepts()) if error.interactive_parser else set()
    text, keyword = line.text, line.text.split()[0]
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    position = len(text.rstrip()) if ended else error.pos_in_stream or 0
    before = TOKEN.findall(text[:position])
    previous = before[-1] if before else ""
    match = TOKEN.match(text, position)
    found = match[0] if match and not ended else ""
    span = line.span(position, position + max(1, len(found)))
    mnemonic = next((word for word in before if word in MNEMONICS), "")
    if keyword in USAGE:
        help = f"write {USAGE[keyword]}"
    else:
        help = f"for example: {MNEMONICS[mnemonic].example}" if mnemonic else ""
    expected = f"expected {_expected(accepts)}"
    if ended:
        what = f"after `{previous}`" if previous else "here"
        return report.error("E101", span, f"the line ends too early, {what}", expected, help)
    for wrong, message, mended in _SLIPS:
        if wrong(found, previous, before, accepts):
            return report.error(
                "E101",
                span,
                message.format(found=found, previous=previous),
                expected,
                mended.format(found=found) or help,
            )
    return report.error("E101", span, f"`{found}` cannot stand here", expected, help)


_Slip = Callable[[str, str, list[str], set[str]], bool]
# (what it looks like, given the text found, the one before, all before, and the terminals possible; message; help)
_SLIPS: list[tuple[_Slip, str, str]] = [
    (lambda f, p, b, a: f in "#" or (f == "//" and not b), "`{found}` starts no comment", "comments start with `;`"),
    (lambda f, p, b, a: f == "'", "a text is written in double quotes, not in `'`", ""),
    (lambda f, p, b, a: f in "{}", "`{found}` means nothing here", "shapes and slices take `[ ]`, tuples `( )`"),
    (
        lambda f, p, b, a: f == ":" and len(b) == 1,
        "`{previous}` is no label: there are none",
        "a loop opens with `loop NAME, COUNT` and closes with `brnz NAME`",
    ),
    (lambda f, p, b, a: f == ":" and "EQUAL" in a, "`:` stands where `=` is expected", ""),
    (lambda f, p, b, a: f == "=" and p == "=", "`==` compares nothing here: one `=` is enough", ""),
    (
        lambda f, p, b, a: f == "=" and "COLON" in a,
        "`=` stands where `:` is expected",
        "a slice is `first : end` or `first : +length`",
    ),
    (lambda f, p, b, a: f == "=" and p.isdigit(), "a number is no name: nothing can be given to `{previous}`", ""),
    (lambda f, p, b, a: f == "," and p == ",", "there are two commas, and nothing between them", ""),
    (lambda f, p, b, a: f == "," and len(b) == 1, "there is no comma after `{previous}`", ""),
    (
        lambda f, p, b, a: (
            bool(_VALUE_START.match(f) and _VALUE_END.search(p[-1:])) and {"COMMA", "EQUAL"} <= a and f[0].isdigit()
        ),
        "`=` is missing between `{previous}` and `{found}`",
        "",
    ),
    (
        lambda f, p, b, a: bool(_VALUE_START.match(f) and _VALUE_END.search(p[-1:])) and "COMMA" in a,
        "a comma is missing between `{previous}` and `{found}`",
        "",
    ),
    (
        lambda f, p, b, a: bool(_VALUE_START.match(f)) and a == {"EQUAL"},
        "`=` is missing between `{previous}` and `{found}`",
        "",
    ),
]


def _expected(accepts: set[str]) -> str:
    names = accepts - OPERATORS if accepts - OPERATORS - {"$END"} else set(accepts)
    words = []
    if {"NAME", "NUMBER"} <= names:
        names -= {"NAME", "NUMBER", "LPAR"}
        words.append("a value")
    if "COMMA" in names:
        names -= {"LSQB"}
    words += [TERMINALS[name] for name in TERMINALS if name in names]
    if not words:
        words = ["an operator"] if names & OPERATORS else ["something else"]
    if names - TERMINALS.keys() - OPERATORS:
        words = ["a directive or an instruction"]
    return listed(words)


class _Builder:
    """Turns lark's trees into syntax nodes. Trees are no deeper than the brackets, which source.py limits."""

    def __init__(self, line: LogicalLine, report: Report) -> None:
        self.line = line
        self.report = report

    def statement(self, tree: Tree[Any]) -> syntax.Statement:
        statement: syntax.Statement = getattr(self, f"_{tree.data}")(self._span(tree), *tree.children)
        return statement

    def _span(self, tree: Tree[Any]) -> Span:
        if tree.meta.empty:
            return self.line.whole
        return self.line.span(tree.meta.start_pos, tree.meta.end_pos)

    def _word(self, token: Token) -> syntax.Word:
        assert token.start_pos is not None and token.end_pos is not None
        span = self.line.span(token.start_pos, token.end_pos)
        if token.type == "STRING":
            return syntax.Word(span, self._unquoted(token, span), True)
        return syntax.Word(span, str(token))

    def _unquoted(self, token: str, span: Span) -> str:
        if "\\" not in token:
            return token[1:-1]
        from json import loads

        try:
            return str(loads(token, strict=False))
        except ValueError:
            label = "escapes are those of JSON"
            help = 'write `\\\\` for a backslash, `\\"` for a quote; folders are separated by `/`'
            raise self.report.error("E103", span, "unknown escape in a text", label, help) from None

    def value(self, tree: Tree[Any]) -> syntax.Value:
        span = self._span(tree)
        children: list[Any] = tree.children
        match tree.data:
            case "number":
                return syntax.Number(span, str(children[0]))
            case "reference":
                return syntax.Reference(span, str(children[0]))
            case "string":
                return syntax.Text(span, self._unquoted(children[0], span))
            case "negative":
                return syntax.Negative(span, self.value(children[1]))
            case "expression" | "product":
                operators = (self._word(token) for token in children[1::2])
                values = (self.value(child) for child in children[2::2])
                return syntax.Chain(span, self.value(children[0]), tuple(zip(operators, values, strict=True)))
            case "sliced":
                return syntax.Sliced(span, self._word(children[0]), self._indices(children[1]))
            case "tuple":
                return syntax.Tuple(span, tuple(map(self.value, children)))
            case "list" | "shape":
                return self._list(tree)
        assert tree.data == "raw"
        dtype, indices, _, memory, _, address, _, strides = children
        return syntax.Raw(
            span,
            self._word(dtype),
            self._indices(indices),
            self._word(memory),
            self.value(address),
            None if strides is None else self._list(strides),
        )

    def _list(self, tree: Tree[Any]) -> syntax.List:
        return syntax.List(self._span(tree), tuple(self.value(child) for child in tree.children if child is not None))

    def _optional(self, tree: Tree[Any] | None) -> syntax.Value | None:
        return None if tree is None else self.value(tree)

    def _indices(self, tree: Tree[Any]) -> tuple[syntax.Value | syntax.Range, ...]:
        return tuple(self._range(child) if child.data == "range" else self.value(child) for child in tree.children)

    def _range(self, tree: Tree[Any]) -> syntax.Range:
        start, stop, step = tree.children
        length = stop is not None and stop.data == "length"
        stop = stop.children[1] if length else stop
        return syntax.Range(self._span(tree), self._optional(start), self._optional(stop), length, self._optional(step))

    def _setting(self, span: Span, keyword: Token, value: Token) -> syntax.Setting:
        return syntax.Setting(span, str(keyword), self._word(value))

    def _constant(self, span: Span, name: Token, value: Tree[Any]) -> syntax.Constant:
        return syntax.Constant(span, self._word(name), self.value(value))

    def _include(self, span: Span, path: Token) -> syntax.Include:
        word = self._word(path)
        return syntax.Include(span, syntax.Text(word.span, word.text))

    def _tensor(
        self, span: Span, kind: Token, name: Token, dtype: Token, shape: Tree[Any], *rest: Any
    ) -> syntax.Tensor:
        *clauses, data = rest
        return syntax.Tensor(
            span,
            str(kind)[1:],
            self._word(name),
            self._word(dtype),
            self._list(shape),
            tuple(map(self._clause, clauses)),
            self._optional(data),
        )

    def _segment(self, span: Span, dtype: Token, shape: Tree[Any], *rest: Any) -> syntax.Tensor:
        *clauses, data = rest
        start = self.line.whole.column - 1
        keyword = self.line.file.span(span.line, start, start + len(".data"))
        return syntax.Tensor(
            span,
            "data",
            syntax.Word(keyword, ""),
            self._word(dtype),
            self._list(shape),
            tuple(map(self._clause, clauses)),
            self.value(data),
        )

    def _clause(self, tree: Tree[Any]) -> syntax.Clause:
        children: list[Any] = tree.children
        keyword, value = children
        content = self._word(value) if isinstance(value, Token) else self.value(value)
        return syntax.Clause(self._span(tree), self._word(keyword), content)

    def _check(self, span: Span, output: Token, kind: Token, data: Tree[Any], *settings: Tree[Any]) -> syntax.Check:
        clauses = tuple(map(self._clause, settings))
        return syntax.Check(span, self._word(output), self._word(kind), self.value(data), clauses)

    def _macro(self, span: Span, name: Token, *parameters: Tree[Any] | None) -> syntax.Macro:
        return syntax.Macro(
            span,
            self._word(name),
            tuple(self._parameter(tree) for tree in parameters if tree is not None),
        )

    def _parameter(self, tree: Tree[Any]) -> syntax.Parameter:
        children: list[Any] = tree.children
        return syntax.Parameter(self._span(tree), self._word(children[0]), self._optional(children[1]))

    def _endmacro(self, span: Span) -> syntax.EndMacro:
        return syntax.EndMacro(span)

    def _repeat(self, span: Span, counter: Token, count: Tree[Any]) -> syntax.Repeat:
        return syntax.Repeat(span, self._word(counter), self.value(count))

    def _endrepeat(self, span: Span) -> syntax.EndRepeat:
        return syntax.EndRepeat(span)

    def _instruction(self, span: Span, waits: Token | None, mnemonic: Token, *arguments: Any) -> syntax.Instruction:
        return syntax.Instruction(
            span,
            None if waits is None else self._word(waits),
            self._word(mnemonic),
            tuple(self._argument(tree) for tree in arguments if tree is not None),
        )

    def _argument(self, tree: Tree[Any]) -> syntax.Argument:
        if tree.data == "positional":
            return syntax.Argument(self._span(tree), None, self.value(tree.children[0]))
        children: list[Any] = tree.children
        name, value = children
        return syntax.Argument(self._span(tree), self._word(name), self.value(value))
