"""What Python code holds of a program that it builds: counters and what is calculated from them, tensors, slices.

Each knows how the text says it. What it means, and whether it may be so, the assembler decides when the text is built;
here only what no text could say is refused, at the line of Python that asks for it.
"""

import linecache
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from assembler import spelling
from assembler.syntax.diagnostics import AssemblyError, Diagnostic, Span
from isa.errors import shown
from isa.program import Line

if TYPE_CHECKING:
    from assembler.builder.builder import Builder


@dataclass(frozen=True)
class Origin:
    """A line of the Python code that builds a program."""

    path: str
    number: int

    def line(self) -> Line:
        text = linecache.getline(self.path, self.number).strip()
        return Line(Path(self.path).name, self.number, text)

    def span(self) -> Span:
        """Return the line's code, from its first character to its last."""
        text = linecache.getline(self.path, self.number).rstrip()
        first = len(text) - len(text.lstrip())
        return Span(Path(self.path).name, self.number, first + 1, max(first + 1, len(text)) + 1, text)


def caller() -> Origin:
    """Return the innermost line that runs outside of the assembler."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__package__") == __package__ and frame.f_back is not None:
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def refuse(code: str, message: str, label: str = "", help: str = "") -> NoReturn:
    """Raise an AssemblyError at the line of Python that runs."""
    raise AssemblyError([Diagnostic(code, caller().span(), message, help, label=label)])


class Counter:
    """A hardware loop that is, or was, open; `name` is what the text calls its counter."""

    def __init__(self, builder: "Builder", name: str) -> None:
        self.builder, self.name, self.is_open = builder, name, True


class Expression:
    """A number that follows counters of hardware loops, with + - * // and %: `i*32 + 4`, `1 - i % 2`.

    It has no value in Python: the loop runs on the chip. `terms` counts what the text can only name, such as `i` or
    `i % 2`; so the length of `x[i*32 : i*32 + 32]` is known.
    """

    # NumPy's numbers leave arithmetic to this class.
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, terms: Mapping[str, Any], constant: Any, counters: frozenset[Counter]) -> None:
        self.terms = {text: factor for text, factor in terms.items() if factor != 0}
        self.constant = constant
        self.counters = counters

    def __str__(self) -> str:
        parts = [_product(text, factor) for text, factor in self.terms.items()]
        if self.constant or not parts:
            parts.append((self.constant < 0, spelling.number(abs(self.constant))))
        # A leading minus would take the first factor alone.
        parts.sort(key=lambda part: part[0])
        (negative, first), *rest = parts
        first = f"-({first})" if negative else first
        return first + "".join(f" {'-' if minus else '+'} {text}" for minus, text in rest)

    def __repr__(self) -> str:
        return f"<{self}>"

    def __add__(self, other: Any) -> "Expression":
        if not isinstance(other, Expression):
            return Expression(self.terms, self.constant + _number(other), self.counters)
        terms = dict(self.terms)
        for text, factor in other.terms.items():
            terms[text] = terms.get(text, 0) + factor
        return Expression(terms, self.constant + other.constant, self.counters | other.counters)

    def __mul__(self, other: Any) -> "Expression":
        if isinstance(other, Expression):
            return self._opaque("*", other)
        factor = _number(other)
        return Expression({text: k * factor for text, k in self.terms.items()}, self.constant * factor, self.counters)

    def __neg__(self) -> "Expression":
        return self * -1

    def __sub__(self, other: Any) -> "Expression":
        return self + (-other if isinstance(other, Expression) else -_number(other))

    def __rsub__(self, other: Any) -> "Expression":
        return -self + other

    def __mod__(self, other: Any) -> "Expression":
        return self._opaque(" % ", other)

    def __floordiv__(self, other: Any) -> "Expression":
        return self._opaque("//", other)

    def __truediv__(self, other: Any) -> "Expression":
        return self._opaque("/", other)

    def __rmod__(self, other: Any) -> "Expression":
        return constant(other)._opaque(" % ", self)

    def __rfloordiv__(self, other: Any) -> "Expression":
        return constant(other)._opaque("//", self)

    def __rtruediv__(self, other: Any) -> "Expression":
        return constant(other)._opaque("/", self)

    __radd__ = __add__
    __rmul__ = __mul__

    def _opaque(self, operator: str, other: Any) -> "Expression":
        """Return what only the text can say."""
        right = other if isinstance(other, Expression) else constant(other)
        return Expression({f"{_factor(self)}{operator}{_factor(right)}": 1}, 0, self.counters | right.counters)

    def _no_value(self, *_: object) -> NoReturn:
        help = "a Python `for` repeats as the program is built, with numbers"
        refuse("E308", f"`{self}` has no value here", "a hardware loop counts on the chip", help)

    __bool__ = __int__ = __index__ = __float__ = _no_value
    __lt__ = __le__ = __gt__ = __ge__ = _no_value
    __eq__ = __ne__ = _no_value


def constant(value: Any) -> Expression:
    return Expression({}, _number(value), frozenset())


def _number(value: Any) -> int | float:
    found = plain_number(value)
    if found is None:
        refuse("E309", f"{kind_of(value)} stands where a number is needed", "expected a number or a counter")
    return found


def _product(text: str, factor: Any) -> tuple[bool, str]:
    """Return whether a term is negative, and its text without the sign."""
    size = abs(factor)
    if size != 1:
        text = f"{text if text.isidentifier() else f'({text})'}*{spelling.number(size)}"
    return factor < 0, text


def _factor(value: Expression) -> str:
    text = str(value)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def plain_number(value: Any) -> int | float | None:
    """Return what Python and NumPy have for a number as an int or a float; None for anything else.

    A float32 becomes the shortest number that reads back as it.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    if isinstance(value, np.float32):
        return float(spelling.single(float(value)))
    return float(value) if isinstance(value, float | np.floating) else None


class Slice:
    """A part of a tensor, as operands take it."""

    def __init__(self, tensor: "Tensor", text: str, counters: frozenset[Counter]) -> None:
        self.tensor, self.text, self.counters = tensor, text, counters

    def __repr__(self) -> str:
        return f"<{self.text}>"

    def __getitem__(self, index: Any) -> NoReturn:
        help = f"give all indices at once, as in `{self.tensor.name}[i % 2, 0:4]`"
        refuse("E307", f"`{self.text}` is sliced twice", "", help)


class Tensor:
    """A declared tensor: `x[i*32 : i*32 + 32, :, 0]` is a part of it.

    `dtype`, `shape`, `scale` and `zero` are as they were declared; `core` is whose it is, where cores are named.
    """

    counters: frozenset[Counter] = frozenset()

    def __init__(
        self,
        builder: "Builder",
        core: int | None,
        kind: str,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        scale: Any,
        zero: int,
    ) -> None:
        self.builder, self.core = builder, core
        self.kind, self.name, self.dtype, self.shape = kind, name, dtype, shape
        self.scale, self.zero = scale, zero

    @property
    def text(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<.{self.kind} {self.name} {self.dtype}{list(self.shape)}>"

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Slice]:
        return (self[k] for k in range(self.shape[0]))

    def __getitem__(self, index: Any) -> Slice:
        indices = list(index) if isinstance(index, tuple) else [index]
        places = [k for k, item in enumerate(indices) if item is Ellipsis]
        if places:
            indices[places[0] : places[0] + 1] = [slice(None)] * (len(self.shape) - len(indices) + 1)
        spelled = [self._index(item) for item in indices]
        counters = frozenset(counter for _, used in spelled for counter in used)
        return Slice(self, f"{self.name}[{', '.join(text for text, _ in spelled)}]", counters)

    def _index(self, item: Any) -> tuple[str, frozenset[Counter]]:
        if not isinstance(item, slice):
            index = self._expression(item)
            return str(index), index.counters
        start = None if item.start is None else self._expression(item.start)
        stop = None if item.stop is None else self._expression(item.stop)
        step = None if item.step is None else self._expression(item.step)
        used = frozenset(counter for part in (start, stop, step) if part is not None for counter in part.counters)
        length = stop - start if start is not None and stop is not None and start.terms else None
        wide = any(part is not None and not _simple(part) for part in (start, stop, step))
        first = "" if start is None else str(start)
        last = "" if stop is None else str(stop)
        if length is not None and not length.terms:
            last, wide = f"+{length}", True
        text = f"{first} : {last}" if wide else f"{first}:{last}"
        if step is not None:
            text += f" : {step}" if wide else f":{step}"
        return text.strip(), used

    def _expression(self, item: Any) -> Expression:
        if isinstance(item, Expression):
            return item
        if plain_number(item) is None:
            label = "expected a number, a counter or a range, for each dimension"
            refuse("E307", f"{kind_of(item)} is no index of `{self.name}`", label, f"`{self.name}` is {self!r}"[:120])
        return constant(item)


def _simple(value: Expression) -> bool:
    """Whether a value is one word of text."""
    return (not value.terms and value.constant >= 0) or str(value).isidentifier()


def kind_of(value: Any) -> str:
    """Return what a Python value is, in the words of messages."""
    match value:
        case None:
            return "None"
        case bool():
            return str(value)
        case str():
            return f"the text {shown(value)}"
        case np.ndarray():
            return f"an array {value.dtype} {list(value.shape)}"
        case Tensor() | Slice():
            return f"the tensor `{value.text}`"
        case Expression():
            return f"`{value}`"
    if plain_number(value) is not None:
        return f"the number {shown(value)}"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
