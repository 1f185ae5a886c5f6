"""What the files of all chips have in common: sections of numbers and words, and for each number where it comes from.

A vocabulary maps `section.key` to (type, least, greatest or words, meaning). The source of a number stands in the key
`source` of its section: `source.frequency_mhz = "S1"`. Messages name the file, the key, and what would be legal.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from isa.errors import ChipError, shown
from isa.suggest import did_you_mean
from isa.visible import escaped

COUNT, RATE, WORD = "count", "rate", "word"
# A rate that may be 0, for what is not there, is otherwise no less than this.
LEAST_RATE = 1e-6
Vocabulary = Mapping[str, tuple[str, float, Any, str]]
# How a file of bounds writes what its maker has not published.
NOT_PUBLIC = "?"


def sections(fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key.split(".")[0] for key in fields))


def read(
    data: Mapping[str, Any], fields: Vocabulary, origin: str, may_be_unknown: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a file's keys and the sources of its numbers; raise ChipError for what is not legal.

    Where a number `may_be_unknown`, NOT_PUBLIC in its place is None. What is missing is not looked for.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for section, body in data.items():
        if section not in sections(fields):
            unknown(section, sections(fields), fields, origin)
        if not isinstance(body, dict):
            raise ChipError(f"{origin}: {section} is {shown(body)}", f"expected a section, [{section}]")
        given = body.get("source", {})
        if not isinstance(given, dict):
            raise ChipError(f"{origin}: {section}.source is not a table", 'write source.KEY = "where it comes from"')
        for key, value in body.items():
            if key != "source":
                name = f"{section}.{key}"
                values[name] = legal(fields, name, value, origin, may_be_unknown)
        for key, source in given.items():
            name = f"{section}.{key}"
            if name not in fields:
                unknown(name, fields, fields, origin)
            if not isinstance(source, str) or not source or "\n" in source:
                raise ChipError(f"{origin}: the source of {name} is {shown(source)}", 'cite one, or write "assumed"')
            sources[name] = source
    return values, sources


def written(values: Mapping[str, Any], sources: Mapping[str, str], notes: str = "") -> str:
    """Return the text of a file of these values and sources, which reads as them; `notes` are comments before it."""
    lines = [notes] if notes else []
    for section in sections(values):
        keys = {key: key.partition(".")[2] for key in values if key.startswith(f"{section}.")}
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines += [f"{name} = {_literal(values[key])}" for key, name in keys.items()]
        lines += [f"source.{name} = {_literal(sources[key])}" for key, name in keys.items() if key in sources]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    """Return a value as TOML has it; strings of JSON are strings of TOML, but for the one character that it escapes."""
    if value is None:
        return f'"{NOT_PUBLIC}"'
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)


def check_complete(
    values: Mapping[str, Any], sources: Mapping[str, str], fields: Vocabulary, needed: Iterable[str], origin: str
) -> None:
    """Raise ChipError where a key that is needed is missing, or a number has no source; an unknown one needs none."""
    missing = [key for key in needed if key not in values]
    if missing:
        raise ChipError(f"{origin} lacks {_some(missing)}", f"{missing[0]}: {fields[missing[0]][3]}")
    known = [key for key in fields if values.get(key) is not None]
    bare = [key for key in known if fields[key][0] != WORD and key not in sources]
    if bare:
        raise ChipError(f"{origin}: no source is given for {_some(bare)}", 'cite one, or write "assumed"')


def _some(keys: Sequence[str]) -> str:
    """Return the first of some keys, and how many there are more."""
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return f"{', '.join(keys[:8])}{more}"


def unknown(name: str, legal: Iterable[str], fields: Vocabulary, origin: str) -> NoReturn:
    """Raise ChipError for a key or section that is not in the vocabulary."""
    section = [key for key in fields if key.startswith(name.split(".")[0] + ".")]
    known = f"known here: {', '.join(section or sections(fields))}"
    raise ChipError(f"{origin}: unknown key {escaped(name)}", did_you_mean(name, legal, known))


def legal(fields: Vocabulary, key: str, value: Any, origin: str, may_be_unknown: bool = False) -> Any:
    """Return a key's value in its own type; raise ChipError where it is none."""
    if key not in fields:
        unknown(key, fields, fields, origin)
    kind, low, high, meaning = fields[key]
    if kind == WORD:
        if not isinstance(value, str) or "\n" in value or (high and value not in high):
            expected = f"one of {', '.join(high)}" if high else "a line of text"
            raise ChipError(f"{origin}: {key} is {shown(value)}", f"expected {expected} ({meaning})")
        return value
    if may_be_unknown and isinstance(value, str) and value == NOT_PUBLIC:
        return None
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    tiny = numeric and kind == RATE and 0 < value < LEAST_RATE
    if not numeric or tiny or not low <= value <= high or (kind == COUNT and value != int(value)):
        whole = "a whole number" if kind == COUNT else "a number"
        expected = f"{whole} from {shown(low)} to {shown(high)}"
        expected = f"0, or a number from {LEAST_RATE} to {shown(high)}" if kind == RATE and low == 0 else expected
        other = f', or "{NOT_PUBLIC}" where it is not public' if may_be_unknown else ""
        raise ChipError(f"{origin}: {key} is {shown(value)}", f"expected {expected}{other} ({meaning})")
    return int(value) if kind == COUNT else float(value)
