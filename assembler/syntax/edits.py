"""Edits: changes of a program's text, line by line, that leave all else of it as it is.

Whoever asks for them names a line by its number. They are applied from the bottom up, so that numbers stay right.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from isa.row import WAIT_LETTERS


@dataclass(frozen=True)
class LineEdit:
    """A change of line `number` of a text, from 1: `kind` is one of APPLY, `text` what it says."""

    number: int
    kind: str
    text: str = ""


class CannotEdit(Exception):
    """Raised where a line has not the form that an edit takes."""


_WAITS = r"(?:\(\s*w\s*\.\s*+(?P<letters>\w*+)\s*\)\s*)?"
_STATEMENT = re.compile(rf"(?P<indent>\s*){_WAITS}(?P<rest>\S.*)")
_MATMUL = re.compile(
    rf"(?P<start>\s*{_WAITS})matmul\s+(?P<out>\w+)\s*,\s*(?P<x>\w+)\s*,\s*(?P<w>\w+)\s*(?P<rest>(?:,[^;]*)?)(?P<note>;.*)?"
)


def _waits(line: str, letters: set[str]) -> str:
    found = _STATEMENT.fullmatch(line)
    assert found is not None
    held = "".join(letter for letter in WAIT_LETTERS if letter in letters)
    return found["indent"] + (f"(w.{held}) " if held else "") + found["rest"]


def _letters(line: str) -> set[str]:
    found = _STATEMENT.fullmatch(line)
    if found is None:
        raise CannotEdit("the line is empty")
    return set(found["letters"] or "")


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _add_wait(line: str, text: str) -> list[str]:
    return [_waits(line, _letters(line) | set(text))]


def _drop_wait(line: str, text: str) -> list[str]:
    return [_waits(line, _letters(line) - set(text))]


def _before(line: str, text: str) -> list[str]:
    return [*(_indent(line) + each for each in text.split("\n")), line]


def _after(line: str, text: str) -> list[str]:
    return [line, _indent(line) + text]


def _drop(line: str, text: str) -> list[str]:
    return []


def _place_freely(line: str, text: str) -> list[str]:
    changed = re.sub(r"(?<!\s)\s++at\s+[^\s=;]++(?=\s*(;|=|$))", "", line)
    if changed == line:
        raise CannotEdit("the declaration has no address")
    return [changed]


def _split_sum(line: str, text: str) -> list[str]:
    """Write `matmul out, x, w, rest` as products of parts of their sums, each adding the one before in f32.

    The text is "length parts"; `out_part` has to be declared.
    """
    length, parts = map(int, text.split())
    found = _MATMUL.fullmatch(line)
    if found is None or re.search(r"transpose|add=|sub=|mul=|max=|min=", found["rest"]):
        raise CannotEdit("only a product of whole matrices can be split")
    start, out, x, w, rest, comment = found.group("start", "out", "x", "w", "rest", "note")
    ends = [length * k // parts for k in range(parts + 1)]
    lines = []
    for k, (first, last) in enumerate(pairwise(ends)):
        added = f", add={out}_part" if k else ""
        to = out if k == parts - 1 else f"{out}_part"
        options = rest.rstrip() if k == parts - 1 else ""
        front = start if k == 0 else _indent(line)
        lines.append(f"{front}matmul {to}, {x}[:, {first}:{last}], {w}[{first}:{last}]{added}{options}")
    return [*lines[:-1], lines[-1] + (f"  {comment}" if comment else "")]


def _flip_parity(line: str, text: str) -> list[str]:
    """Take the other of two buffers in the first operand: [i % 2] becomes [1 - i % 2], and back."""
    first, comma, rest = line.partition(",")
    flipped = re.sub(r"\[\s*1\s*-\s*(\w+\s*%\s*2)\b", r"[\1", first)
    if flipped == first:
        flipped = re.sub(r"\[\s*(\w+\s*%\s*2)\b", r"[1 - \1", first)
    if flipped == first:
        raise CannotEdit("the result has no parity")
    return [flipped + comma + rest]


APPLY = {
    "add wait": _add_wait,
    "drop wait": _drop_wait,
    "before": _before,
    "after": _after,
    "drop": _drop,
    "place freely": _place_freely,
    "split sum": _split_sum,
    "flip parity": _flip_parity,
}


# Of edits of one line those of the line itself come first, then what is put behind it and before it.
AROUND = ("after", "before")


def edited(text: str, edits: Sequence[LineEdit]) -> str:
    """Return a text with its lines changed, each edit once; raise CannotEdit."""
    lines = text.split("\n")
    once = dict.fromkeys(edits)
    shared = {number for number, count in Counter(edit.number for edit in once).items() if count > 1}
    if any(edit.number in shared and edit.kind in ("drop", "split sum") for edit in once):
        raise CannotEdit("nothing is left of the line that another edit changes")
    for edit in sorted(once, key=lambda edit: (-edit.number, edit.kind in AROUND, edit.kind == "before")):
        at = edit.number - 1
        if not 0 <= at < len(lines):
            raise CannotEdit("there is no such line")
        lines[at : at + 1] = APPLY[edit.kind](lines[at], edit.text)
    return "\n".join(lines)


def declaration(text: str, core: int, name: str) -> int:
    """Return the number of the line that declares a tensor of a core; raise CannotEdit where there is not just one."""
    section, found = 0, []
    for number, line in enumerate(text.split("\n"), 1):
        if match := re.match(r"\s*\.core\s+(\d+)", line):
            section = int(match[1])
        elif section == core and re.match(rf"\s*\.(input|output|weight|local|const)\s+{re.escape(name)}\b", line):
            found.append(number)
    if len(found) != 1:
        raise CannotEdit(f"{name} is not declared in one line of this file")
    return found[0]


def first_section(text: str) -> int:
    """Return the number of the line before which all that the cores share is declared; raise CannotEdit."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"\s*\.(core|input|output|weight|local|const|repeat|macro)\b", line):
            return number
    raise CannotEdit("there is no declaration")
