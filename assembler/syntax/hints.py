"""What people write where the grammar wants something else: messages in the words of who reads the line."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from assembler.syntax.diagnostics import Span, listed
from isa.diagnostic import Diagnostic
from isa.dtypes import DTYPES
from isa.table import MNEMONICS

# How each directive is written; shown where one does not parse.
USAGE = {
    ".chip": ".chip NAME, or a .toml file in quotes, then KEY=NUMBER for what is changed: te.latency=20",
    ".name": '.name "TEXT"',
    ".order": ".order hardware, or compiler",
    ".scales": ".scales automatic, or explicit",
    ".tasks": ".tasks COUNT",
    ".equ": ".equ NAME = VALUE",
    ".include": '.include "FILE.npu", or <FILE.npu> for one that comes with ratel',
    ".input": ".input NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER axes=[ORDER] buffers=COUNT in MEMORY at ADDRESS = DATA",
    ".output": ".output NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER axes=[ORDER] buffers=COUNT in MEMORY at ADDRESS",
    ".weight": ".weight NAME TYPE[SHAPE] compressed stored=FORM scale=NUMBER zero=NUMBER in MEMORY at ADDRESS = DATA",
    ".const": ".const NAME TYPE[SHAPE] scale=NUMBER at ADDRESS = DATA",
    ".local": ".local NAME TYPE[SHAPE] scale=NUMBER zero=NUMBER in MEMORY at ADDRESS",
    ".data": ".data TYPE[SHAPE] in MEMORY at ADDRESS = DATA",
    ".check": '.check OUTPUT top1 "FILE.npy" min=SHARE, or exact "FILE.npy", or within "FILE.npy" atol=NUMBER',
    ".semaphore": ".semaphore NAME",
    ".barrier": ".barrier NAME",
    ".core": ".core NUMBER",
    ".macro": ".macro NAME PARAMETER, PARAMETER=DEFAULT",
    ".endmacro": ".endmacro",
    ".repeat": ".repeat NAME, COUNT",
    ".endrepeat": ".endrepeat",
}
TENSORS = (".input", ".output", ".weight", ".const", ".local")
CLAUSES = ("scale", "zero", "axes", "buffers", "in", "at", "compressed", "stored")
WAITS = r"\(\s*w\s*\.\s*+\w*+\s*\)"
WAIT_USAGE = "waits are written `(w.t)`, `(w.p)`, `(w.m)`, or several at once: `(w.tp)`"
# What an instruction takes with `=`.
NAMED = {spec.name for row in MNEMONICS.values() for spec in row.attributes}
NAMED |= {spec.name for row in MNEMONICS.values() for spec in row.operands if spec.optional}
NAMED |= {word for row in MNEMONICS.values() for spec in row.choices for word in spec.takes}

# Terminals of the grammar as people call them.
TERMINALS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a text in quotes",
    "SHIPPED": "a file of ratel's in < >",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "COLON": "`:`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "SCALE": "`scale=`",
    "ZERO": "`zero=`",
    "AXES": "`axes=`",
    "BUFFERS": "`buffers=`",
    "IN": "`in`",
    "AT": "`at`",
    "STRIDES": "`strides`",
    "REMOTE": "a tensor of another core",
    "COMPRESSED": "`compressed`",
    "STORED": "`stored=`",
    "WAITS": "waits",
    "KEY": "a number of the chip, as `te.latency=20`",
    "$END": "the end of the line",
}
OPERATORS = {"PLUS", "MINUS", "TIMES"}


@dataclass(frozen=True)
class Mismatch:
    """Where a line stops making sense: the token found ("" at the end), those before it, the terminals possible.

    `behind` is the token after it.
    """

    found: str
    before: list[str]
    possible: set[str]
    behind: str = ""

    @property
    def previous(self) -> str:
        return self.before[-1] if self.before else ""

    @property
    def between_values(self) -> bool:
        """Whether a value has ended and another begins."""
        return bool(re.match(r'[\w("]', self.found) and re.search(r'[\w)\]"]$', self.previous))


# (what it looks like, message, help); the first that fits counts.
SLIPS: list[tuple[Callable[[Mismatch], bool], str, str]] = [
    (lambda p: p.found == "#" or (p.found == "//" and not p.before), "`{found}` starts no comment", "write `;`"),
    (lambda p: "//" in p.before, "`//` divides: it starts no comment", "comments start with `;`"),
    (lambda p: p.found == "'", "a text is written in double quotes, not in `'`", ""),
    (lambda p: p.found.isdigit() and not p.found.isascii(), "`{found}` is no digit here", "numbers are written 0 to 9"),
    (lambda p: p.found in ("{", "}"), "`{found}` means nothing here", "shapes and slices take `[ ]`, tuples `( )`"),
    (
        lambda p: p.found == ":" and len(p.before) == 1,
        "`{previous}` is no label: there are none",
        "a loop opens with `loop NAME, COUNT` and closes with `brnz NAME`",
    ),
    (
        lambda p: bool(p.before) and f".{p.before[0]}" in USAGE,
        "a directive begins with a dot",
        "write `.{first}`",
    ),
    (
        lambda p: p.before[:1] == ["w"] and p.found.startswith("."),
        "waits stand in brackets",
        WAIT_USAGE,
    ),
    (lambda p: "STRING" in p.possible <= {"STRING", "SHIPPED"}, "the name of a file stands in double quotes", ""),
    (
        lambda p: p.previous in DTYPES and len(p.before) == 2 and p.found == "[",
        "`{previous}` is a type: the name before it is missing",
        "",
    ),
    (
        lambda p: p.found == "," and p.before[-2:-1] == ["="] and p.previous.isdigit() and p.behind.isdigit(),
        "no comma stands in a number",
        "did you mean {previous}.{behind}?",
    ),
    (
        lambda p: p.found == "," and "SCALE" in p.possible,
        "no comma stands here",
        "what follows the shape needs spaces only",
    ),
    (
        lambda p: p.found in CLAUSES and p.possible <= {"$END", *OPERATORS},
        "data stand last: `{found}` goes before `=`",
        "",
    ),
    (lambda p: p.found == ":" and "EQUAL" in p.possible, "`:` stands where `=` is expected", ""),
    (lambda p: p.found == "=" == p.previous, "`==` compares nothing here: one `=` is enough", ""),
    (
        lambda p: p.found == "=" and "COLON" in p.possible,
        "`=` stands where `:` is expected",
        "a slice is `first : end` or `first : +length`",
    ),
    (lambda p: p.found == "=" and p.previous.isdigit(), "a number is no name: `{previous}` can be given nothing", ""),
    (lambda p: p.found == "," == p.previous, "there are two commas, and nothing between them", ""),
    (lambda p: p.found == "," and len(p.before) == 1, "there is no comma after `{previous}`", ""),
    (
        lambda p: p.between_values and (p.possible == {"EQUAL"} or ("EQUAL" in p.possible and p.previous in NAMED)),
        "`=` is missing between `{previous}` and `{found}`",
        "",
    ),
    (
        lambda p: p.found == "(" and "LSQB" in p.possible,
        "`(` stands where `[` is expected",
        "shapes and slices take square brackets: `{previous}[...]`",
    ),
    (
        lambda p: p.between_values and "COMMA" in p.possible,
        "a comma is missing between `{previous}` and `{found}`",
        "",
    ),
]


def explain(place: Mismatch, keyword: str, span: Span) -> Diagnostic[Span]:
    """Return what is wrong with a line that begins with `keyword` and does not parse at `place`, which is `span`."""
    label = f"expected {_expected(place.possible)}"
    if keyword in TENSORS and len(place.before) == 2 and place.possible == {"NAME"}:
        label = f"expected the type: {listed(DTYPES)}"
    mnemonic = next((word for word in place.before if word in MNEMONICS), "")
    usage = f"write {USAGE[keyword]}" if keyword in USAGE else ""
    usage = f"for example: {MNEMONICS[mnemonic].example}" if mnemonic and not usage else usage
    if not place.found:
        message = f"the line ends too early{f', after `{place.previous}`' if place.before else ''}"
        return Diagnostic("E101", span, message, usage, label=label)
    for fits, message, help in SLIPS:
        if fits(place):
            words = {
                "behind": place.behind,
                "found": place.found,
                "previous": place.previous,
                "first": (place.before or [""])[0],
            }
            help = help.format(**words) or usage
            return Diagnostic("E101", span, message.format(**words), help, label=label)
    return Diagnostic("E101", span, f"`{place.found}` cannot stand here", usage, label=label)


def _expected(possible: set[str]) -> str:
    """Return what may stand at a place; operators, which may stand almost everywhere, only where nothing else may."""
    names = set(possible - OPERATORS)
    words = []
    if {"NAME", "NUMBER"} <= names:
        names -= {"NAME", "NUMBER", "LPAR"}
        words.append("a value")
    # The bracket of a slice, or the comma of the next index, is seldom what is missing.
    names -= {"LSQB"} if "COMMA" in names else set()
    names -= {"COMMA"} if "COLON" in names else set()
    if names - TERMINALS.keys():
        return "a directive or an instruction"
    return listed(words + [word for name, word in TERMINALS.items() if name in names] or ["an operator"])
