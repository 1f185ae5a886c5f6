"""What Python code holds of a program that it builds: counters and what is calculated from them, tensors, slices.

Each knows its syntax node. What it means, and whether it may be so, the assembler decides when the program is built;
here only what no text could say is refused, at the line of Python that asks for it.
"""

import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from assembler import spelling
from assembler.syntax import nodes, printer
from assembler.syntax.diagnostics import AssemblyError, Diagnostic, Span
from assembler.syntax.source import MAX_NESTING
from isa.errors import shown
from isa.program import Line

if TYPE_CHECKING:
    from assembler.builder.builder import Builder

# The place of nodes that are only printed.
NOWHERE = Span("", 0, 1, 1, "")


class Origin(NamedTuple):
    """A line that a statement comes from: of the Python code that builds a program where `text` is None."""

    path: str
    number: int
    text: str | None = None

    def line(self) -> Line:
        file, text = self._read()
        return Line(file, self.number, text.strip())

    def span(self) -> Span:
        """Return the line's code, from its first character to its last."""
        file, text = self._read()
        text = text.rstrip()
        first = len(text) - len(text.lstrip())
        return Span(file, self.number, first + 1, max(first + 1, len(text)) + 1, text)

    def _read(self) -> tuple[str, str]:
        if self.text is not None:
            return self.path, self.text
        return Path(self.path).name, linecache.getline(self.path, self.number)


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
    """A hardware loop that is, or was, open; `name` is what the text calls its counter, `last` its greatest value."""

    def __init__(self, builder: "Builder", name: str, last: float = inf) -> None:
        self.builder, self.name, self.last, self.is_open = builder, name, last, True


@dataclass(frozen=True)
class Operation:
    """What of an expression the text can only name, such as `i % 2`: the same text is the same number."""

    text: str
    operator: str = field(compare=False)
    left: "Expression" = field(compare=False)
    right: "Expression" = field(compare=False)

    @property
    def reach(self) -> tuple[float, float]:
        """What a remainder lies between; the assembler takes no other operation on counters."""
        modulus = 0 if self.right.terms else self.right.constant
        if self.operator != "%" or modulus < 1:
            return 0, inf
        low, high = self.left.reach
        return (low, high) if low >= 0 and high < modulus else (0, modulus - 1)

    def node(self, span: Span) -> nodes.Value:
        operand = _factor(span, self.right)
        return nodes.Chain(span, _factor(span, self.left), ((nodes.Word(span, self.operator), operand),))


class Expression:
    """A number that follows counters of hardware loops, with + - * // and %: `i*32 + 4`, `1 - i % 2`.

    It has no value in Python: the loop runs on the chip. `terms` counts names of counters, and operations on them; so
    the length of `x[i*32 : i*32 + 32]` is known.
    """

    # NumPy's numbers leave arithmetic to this class.
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, terms: Mapping[str | Operation, Any], constant: Any, counters: frozenset[Counter], depth: int = 0
    ) -> None:
        self.terms = {term: factor for term, factor in terms.items() if factor != 0}
        self.constant = constant
        self.counters = counters
        # In how many brackets its innermost operation stands.
        self.depth = depth

    def node(self, span: Span) -> nodes.Value:
        """Return the expression as syntax."""
        parts = [_product(span, term, factor) for term, factor in self.terms.items()]
        if self.constant or not parts:
            parts.append((self.constant < 0, numeral(span, abs(self.constant))))
        # A leading minus would take the first factor alone.
        parts.sort(key=lambda part: part[0])
        (negative, first), *rest = parts
        if negative:
            first = nodes.Negative(span, _bracketed(span, first))
        signed = tuple((nodes.Word(span, "-" if minus else "+"), value) for minus, value in rest)
        return nodes.Chain(span, first, signed) if signed else first

    def __str__(self) -> str:
        return printer.value(self.node(NOWHERE))

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the greatest value, or bounds of them where counters meet in remainders."""
        low = high = self.constant
        for term, factor in self.terms.items():
            if isinstance(term, Operation):
                ends = term.reach
            else:
                ends = 0, next(counter.last for counter in self.counters if counter.name == term)
            low, high = low + min(factor * end for end in ends), high + max(factor * end for end in ends)
        return low, high

    def __add__(self, other: Any) -> "Expression":
        if not isinstance(other, Expression):
            return Expression(self.terms, self.constant + _number(other), self.counters, self.depth)
        terms = dict(self.terms)
        for term, factor in other.terms.items():
            terms[term] = terms.get(term, 0) + factor
        depth = max(self.depth, other.depth)
        return Expression(terms, self.constant + other.constant, self.counters | other.counters, depth)

    def __mul__(self, other: Any) -> "Expression":
        if isinstance(other, Expression):
            return self._opaque("*", other)
        factor = _number(other)
        terms = {term: k * factor for term, k in self.terms.items()}
        return Expression(terms, self.constant * factor, self.counters, self.depth)

    def __neg__(self) -> "Expression":
        return self * -1

    def __sub__(self, other: Any) -> "Expression":
        return self + (-other if isinstance(other, Expression) else -_number(other))

    def __rsub__(self, other: Any) -> "Expression":
        return -self + other

    def __mod__(self, other: Any) -> "Expression":
        return self._opaque("%", other)

    def __floordiv__(self, other: Any) -> "Expression":
        return self._opaque("//", other)

    def __truediv__(self, other: Any) -> "Expression":
        return self._opaque("/", other)

    def __rmod__(self, other: Any) -> "Expression":
        return constant(other)._opaque("%", self)

    def __rfloordiv__(self, other: Any) -> "Expression":
        return constant(other)._opaque("//", self)

    def __rtruediv__(self, other: Any) -> "Expression":
        return constant(other)._opaque("/", self)

    __radd__ = __add__
    __rmul__ = __mul__

    def _opaque(self, operator: str, other: Any) -> "Expression":
        """Return what only the text can say."""
        right = other if isinstance(other, Expression) else constant(other)
        depth = max(self.depth, right.depth) + 1
        # build() tells those that are a little too deep; deeper ones nothing should have to walk.
        if depth > 2 * MAX_NESTING:
            refuse("E105", f"brackets are nested deeper than {MAX_NESTING}")
        operation = Operation("", operator, self, right)
        operation = replace(operation, text=printer.value(operation.node(NOWHERE)))
        return Expression({operation: 1}, 0, self.counters | right.counters, depth)

    def _no_value(self, *_: object) -> NoReturn:
        help = "a Python `for` repeats as the program is built, with numbers"
        refuse("E308", f"`{self}` has no value here", "a hardware loop counts on the chip", help)

    __bool__ = __int__ = __index__ = __float__ = _no_value
    __lt__ = __le__ = __gt__ = __ge__ = _no_value
    __eq__ = __ne__ = _no_value


def _is_whole(part: Expression | None) -> bool:
    return part is None or isinstance(part.constant, int)


def constant(value: Any) -> Expression:
    return Expression({}, _number(value), frozenset())


def _number(value: Any) -> int | float:
    found = plain_number(value)
    if found is None:
        refuse("E309", f"{kind_of(value)} stands where a number is needed", "expected a number or a counter")
    return found


def numeral(span: Span, value: float) -> nodes.Value:
    """Return a number as syntax; NaN and infinity are names."""
    text = spelling.number(value)
    digits = text.removeprefix("-")
    node = nodes.Number(span, digits) if digits[0].isdigit() else nodes.Reference(span, digits)
    return nodes.Negative(span, node) if digits != text else node


def _product(span: Span, term: str | Operation, factor: Any) -> tuple[bool, nodes.Value]:
    """Return whether a term is negative, and its node without the sign."""
    node = nodes.Reference(span, term) if isinstance(term, str) else term.node(span)
    size = abs(factor)
    if size != 1:
        node = nodes.Chain(span, node, ((nodes.Word(span, "*"), numeral(span, size)),))
    return factor < 0, node


def _factor(span: Span, value: Expression) -> nodes.Value:
    """Return an operand of * / // or %: a name, a whole number, or anything else in brackets."""
    node = value.node(span)
    simple = isinstance(node, nodes.Reference) or (isinstance(node, nodes.Number) and node.text.isdigit())
    return node if simple else _bracketed(span, node)


def _bracketed(span: Span, node: nodes.Value) -> nodes.Value:
    """Return what is printed in brackets: operators, or a chain without them."""
    return node if isinstance(node, nodes.Chain) else nodes.Chain(span, node, ())


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
    """A part of a tensor, as operands take it; `node` makes its syntax, with what stands before the tensor's name."""

    def __init__(
        self, tensor: "Tensor", node: Callable[[Span, str], nodes.Value], counters: frozenset[Counter]
    ) -> None:
        self.tensor, self.node, self.counters = tensor, node, counters

    @property
    def text(self) -> str:
        return printer.value(self.node(NOWHERE, ""))

    def __repr__(self) -> str:
        return f"<{self.text}>"

    def __getitem__(self, index: Any) -> NoReturn:
        help = f"give all indices at once, as in `{self.tensor.name}[i % 2, 0:4]`"
        refuse("E307", f"`{self.text}` is sliced twice", "", help)


class Range(NamedTuple):
    """What a slice of Python takes of a dimension; with `length`, stop is the number of elements."""

    start: Expression | None
    stop: Expression | None
    length: bool
    step: Expression | None

    def node(self, span: Span) -> nodes.Range:
        start, stop, step = (None if part is None else part.node(span) for part in (self.start, self.stop, self.step))
        return nodes.Range(span, start, stop, self.length, step)


class Tensor:
    """A declared tensor: `x[i*32 : i*32 + 32, :, 0]` is a part of it, as it would be of a NumPy array.

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

    def node(self, span: Span, before: str) -> nodes.Value:
        """Return the whole tensor as syntax; `before` stands before its name."""
        return nodes.Reference(span, before + self.name)

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
        # What is one too many the assembler counts.
        sizes = (*self.shape, *[1] * len(indices))
        parts = [self._index(item, size) for item, size in zip(indices, sizes, strict=False)]
        return Slice(self, partial(self._sliced, parts), frozenset().union(*(used for _, used in parts)))

    def _sliced(
        self, parts: list[tuple[Expression | Range, frozenset[Counter]]], span: Span, before: str
    ) -> nodes.Value:
        return nodes.Sliced(span, nodes.Word(span, before + self.name), tuple(part.node(span) for part, _ in parts))

    def _index(self, item: Any, size: int) -> tuple[Expression | Range, frozenset[Counter]]:
        """Return what an index takes of a dimension, as in NumPy, and the counters that it follows."""
        if not isinstance(item, slice):
            index = self._expression(item)
            if not index.terms and _is_whole(index) and index.constant < 0:
                if index.constant < -size:
                    message = f"`{self.name}` has no element {index.constant} in a dimension of {size}"
                    refuse("E306", message, f"expected {-size} to {size - 1}")
                index = index + size
            return index, index.counters
        start, stop, step = (
            None if part is None else self._expression(part) for part in (item.start, item.stop, item.step)
        )
        used = frozenset().union(*(part.counters for part in (start, stop, step) if part is not None))
        return self._range(start, stop, step, size), used

    def _range(self, start: Expression | None, stop: Expression | None, step: Expression | None, size: int) -> Range:
        """Return a slice of Python in the words of the text, where a negative step takes a range from its end on."""
        stride = 1 if step is None else step.constant
        if stride == 0 or (step is not None and step.terms) or not all(map(_is_whole, (start, stop, step))):
            return Range(start, stop, False, step)  # no slice: the assembler says so
        if (start is None or not start.terms) and (stop is None or not stop.terms):
            given = slice(*(None if part is None else part.constant for part in (start, stop, step)))
            taken = range(size)[given]
            if not taken:
                self._refuse_empty(start, stop, step)
            low, high = (taken[0], given.indices(size)[1]) if stride > 0 else (taken[-1], taken[0] + 1)
            low_given, high_given = (start, stop) if stride > 0 else (stop, start)
            # What is left out stays so in the text, and no step is longer than the dimension.
            return Range(
                None if low_given is None else constant(low),
                None if high_given is None else constant(high),
                False,
                step if abs(stride) <= size else constant(size if stride > 0 else -size),
            )
        if stride < 0:
            if stop is not None and stop.reach[0] < 0:
                message = f"`{stop}` can be below 0, which in Python counts from the end"
                refuse("E306", message, "expected at least 0 in every iteration", "or take the range forwards")
            # From start down to behind stop: the elements stop + 1 to start.
            start, stop = (None if end is None else end + 1 for end in (stop, start))
        if start is not None and stop is not None and start.terms:
            length = stop - start
            if not length.terms and length.constant < 1:
                self._refuse_empty(start, stop, step)
            if not length.terms:
                return Range(start, length, True, step)
        return Range(start, stop, False, step)

    def _refuse_empty(self, *parts: Expression | None) -> NoReturn:
        text = ":".join("" if part is None else str(part) for part in parts)
        refuse("E307", f"the slice `{text.removesuffix(':')}` of `{self.name}` has no elements", "expected at least 1")

    def _expression(self, item: Any) -> Expression:
        if isinstance(item, Expression):
            return item
        if plain_number(item) is None or isinstance(item, bool | np.bool_):
            label = "expected a number, a counter or a range, for each dimension"
            refuse("E307", f"{kind_of(item)} is no index of `{self.name}`", label, f"`{self.name}` is {self!r}"[:120])
        return constant(item)


def as_array(data: Any) -> np.ndarray | None:
    """Return what is, or offers itself as, a NumPy array of one dimension or more."""
    if isinstance(data, Tensor | Slice | Expression) or not hasattr(data, "__array__"):
        return None
    array = np.asarray(data)
    return array if array.ndim else None


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
