"""What varies: parameters, the points of a grid, drawn points.

A parameter is a number or a word of the chip by its key, as `ratel chips` shows it, or one of OPTIONS. Values are
listed, 64,128,256; or a range: 8M..64M/5 are 5 values, evenly apart; 8M..64M*2 each twice the one before; 8..64, for
drawn points and searches, all between.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import isfinite, prod
from random import Random
from typing import Any

from isa.chip import FIELDS
from isa.chip_file import COUNT, WORD, Vocabulary, legal
from isa.errors import ChipError, InputError, shown
from isa.memory import UNITS
from isa.program import MAX_CORES, MAX_TASKS, ORDERS
from isa.suggest import did_you_mean

Point = Mapping[str, Any]
# What is said of a run besides numbers of the chip.
OPTIONS: Vocabulary = {
    "chip": (WORD, 0, None, "the chip to begin with: a name, or a .toml file"),
    "tasks": (COUNT, 1, MAX_TASKS, "tasks in a stream"),
    "cores": (COUNT, 1, MAX_CORES, "of a network: cores, which share one image"),
    "batch": (COUNT, 1, MAX_TASKS, "of a network: images that each core has of its own"),
    "order": (WORD, 0, ORDERS, "of a network: who orders instructions"),
    "round_once": (COUNT, 0, 1, "of a network: 1 lets sums take products before they are rounded"),
}
OF_NETWORKS = ("cores", "batch", "order", "round_once")
KNOWN: Vocabulary = {**FIELDS, **OPTIONS}
# What names a chip, and is no part of it.
NAMING = ("chip.name", "chip.about")
# Values of a parameter, and points of a grid.
MOST_VALUES, MOST_POINTS = 10_000, 10_000_000
FORMS = "values are listed, 64,128,256, or a range, 8..64/5 (5 values), 8..64*2 (each twice the one before) or 8..64"


@dataclass(frozen=True)
class Parameter:
    """What varies: its key, and its values in order; or where it has none, all from `low` to `high`."""

    key: str
    values: tuple[Any, ...] = ()
    low: Any = None
    high: Any = None

    @property
    def kind(self) -> str:
        """COUNT, RATE or WORD."""
        return KNOWN[self.key][0]

    def said(self, value: Any) -> str:
        """Return a value as a person reads it; sizes as in 8M."""
        if self.key.endswith("_bytes"):
            unit, size = max((one for one in UNITS.items() if value % one[1] == 0), key=lambda one: one[1])
            return f"{value // size:,}{unit}"
        return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)

    def drawn(self, random: Random) -> Any:
        """Return one of the values, drawn."""
        if self.values:
            return random.choice(self.values)
        return random.randint(self.low, self.high) if self.kind == COUNT else random.uniform(self.low, self.high)


def space_of(vary: Mapping[str, Any], networks: bool) -> tuple[Parameter, ...]:
    """Return the parameters of what `vary` says: values by keys, each a text as above, one value, or several.

    Raises InputError for an unknown key or value, or one that only `networks` have; ChipError for one that is illegal.
    """
    if not isinstance(vary, Mapping) or not vary:
        raise InputError("nothing varies", "give at least one parameter, as in te.channels=64,128,256")
    found = []
    for name, given in vary.items():
        key = key_of(name)
        if key in OF_NETWORKS and not networks:
            raise InputError(f"{key} is of networks (.onnx), and this is a program", OPTIONS[key][3])
        found.append(parameter(key, given))
    keys = [one.key for one in found]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"{twice[0]} varies twice", "give all its values at once")
    return tuple(found)


def key_of(name: Any) -> str:
    """Return the key of a parameter; `_bytes` may be left out. Raises InputError for what has none."""
    for key in (name, f"{name}_bytes"):
        if key in KNOWN and key not in NAMING:
            return str(key)
    help = did_you_mean(str(name), KNOWN, f"numbers of the chip (`ratel chips NAME`), or {', '.join(OPTIONS)}")
    raise InputError(f"there is nothing called {shown(name)} to vary", help)


def parameter(key: str, given: Any) -> Parameter:
    """Return a parameter with the values that are given for it."""
    if isinstance(given, str):
        pieces = [piece.strip() for piece in given.split(",")]
        if len(pieces) == 1 and ".." in given and not any(mark in given for mark in "/*"):
            low, high = (_number(key, end) for end in _ends(key, given))
            if not low < high:
                raise InputError(f"{key}={given} has no values: {shown(low)} is not below {shown(high)}", FORMS)
            return Parameter(key, (), low, high)
        values = [value for piece in pieces for value in _values(key, piece)]
    elif isinstance(given, Iterable):
        values = [_legal(key, value) for value in _first(given)]
    else:
        values = [_legal(key, given)]
    if not values:
        raise InputError(f"{key} has no values", FORMS)
    if len(values) > MOST_VALUES:
        raise InputError(f"{key} has over {MOST_VALUES:,} values", "a range without a step, 8..64, has all between")
    return Parameter(key, tuple(dict.fromkeys(values)))


def _first(given: Iterable[Any]) -> Iterator[Any]:
    """Yield values, and one too many of those that never end."""
    for number, value in enumerate(given):
        if number > MOST_VALUES:
            return
        yield value.item() if hasattr(value, "item") else value


def _ends(key: str, text: str) -> list[str]:
    ends = [end.strip() for end in text.split("..")]
    if KNOWN[key][0] == WORD or len(ends) != 2 or not all(ends):
        raise InputError(f"{key}={text} is no range", FORMS)
    return ends


def _values(key: str, piece: str) -> list[Any]:
    """Return the values of a piece between commas."""
    if KNOWN[key][0] == WORD:
        return [_legal(key, piece)]
    if ".." not in piece:
        return [_number(key, piece)]
    mark = next((mark for mark in "/*" if mark in piece), "")
    between, _, by = piece.partition(mark or "\0")
    low, high = (_number(key, end) for end in _ends(key, between))
    step = _plain(by)
    if not mark or step is None:
        raise InputError(f"{key}={piece} is no range", FORMS)
    whole = KNOWN[key][0] == COUNT
    if mark == "/":
        count = int(step)
        if count != step or not 2 <= count <= MOST_VALUES:
            raise InputError(f"{key}={piece} asks for {by} values", f"a whole number from 2 to {MOST_VALUES:,}")
        evenly = [low + (high - low) * k / (count - 1) for k in range(count)]
        return [_legal(key, round(value) if whole else value) for value in evenly]
    if not step > 1 or not 0 < low <= high:
        raise InputError(f"{key}={piece} grows by {by}", "from a number above 0, by a factor above 1")
    found = list[Any]()
    while low <= high * (1 + 1e-12) and len(found) <= MOST_VALUES:
        found.append(_legal(key, round(low) if whole else low))
        low *= step
    return found


def _number(key: str, text: str) -> Any:
    unit = UNITS.get(text[-1:].upper(), 0) if text else 0
    sized = key.endswith("_bytes") and unit > 1
    number = _plain(text[:-1] if sized else text)
    if number is None:
        raise InputError(f"{key}={shown(text)} is no number", FORMS)
    return _legal(key, number * unit if sized else number)


def _plain(text: str) -> int | float | None:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return number if isfinite(number := float(text)) else None
    except ValueError:
        return None


def _legal(key: str, value: Any) -> Any:
    if isinstance(value, bool):
        value = int(value)
    try:
        return legal(KNOWN, key, value, "vary")
    except ChipError as error:
        raise InputError(error.message.removeprefix("vary: "), error.help) from None


def size_of_grid(space: Sequence[Parameter]) -> int:
    """Return how many points a grid has; raise InputError where a parameter has all values of a range."""
    for one in space:
        if not one.values:
            help = f"say how many for a grid, {one.key}={one.low}..{one.high}/5, or draw points, or search"
            raise InputError(f"{one.key} has all values from {one.low} to {one.high}", help)
    return prod(len(one.values) for one in space)


def grid(space: Sequence[Parameter]) -> list[Point]:
    """Return all points of a grid, the last parameter changing first; raise InputError where they are too many."""
    size = size_of_grid(space)
    if size > MOST_POINTS:
        raise InputError(f"the grid has {size:,} points", "draw some of them (--sample N), or search (--search N)")
    keys = [one.key for one in space]
    return [dict(zip(keys, values, strict=True)) for values in product(*(one.values for one in space))]


def sample(space: Sequence[Parameter], count: int, seed: int) -> list[Point]:
    """Return so many different points, drawn; all of a grid that has no more."""
    if all(one.values for one in space) and size_of_grid(space) <= count:
        return grid(space)
    random, found = Random(seed), dict[tuple[Any, ...], Point]()
    # Of ranges of few whole numbers there may be fewer.
    for _ in range(20 * count):
        point = {one.key: one.drawn(random) for one in space}
        found.setdefault(tuple(point.values()), point)
        if len(found) == count:
            break
    return list(found.values())
