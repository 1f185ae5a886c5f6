"""The Builder's methods for the instructions of the table: their signatures, their help, and the nodes they write."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assembler.arguments import is_flag
from assembler.builder.sections import Synchroniser
from assembler.builder.values import Slice, Tensor, as_array, kind_of, refuse
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Span, listed
from isa.row import AttributeSpec, OperandSpec, Row
from isa.verify_program import NAME
from isa.words import WORD_FORMULAS

if TYPE_CHECKING:
    from assembler.builder.builder import Builder


@dataclass(frozen=True)
class Form:
    """How an instruction is called: what stands without its name, in order, and what of all takes a tensor."""

    row: Row
    required: tuple[str, ...]
    declared: frozenset[str]
    tensors: frozenset[str]

    @property
    def call(self) -> str:
        """How a call of the method begins."""
        return f"b.{self.row.mnemonic}({', '.join(self.required)}, ...)"


def form_of(row: Row) -> Form:
    operands = {spec.name for spec in row.operands}
    # Words may bring a tensor along.
    words = {word for choice in row.choices for word, taken in choice.takes.items() if set(taken) <= operands}
    declared = [spec.name for spec in row.attributes if spec.declared]
    required = [spec.name for spec in row.operands if not spec.optional] + declared
    return Form(row, tuple(required), frozenset(declared), frozenset(operands | words))


def write(b: "Builder", form: Form, operands: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Write an instruction, and return its result."""
    row, required, span = form.row, form.required, b._here()
    given = dict(zip(required, operands, strict=False))
    for name in required:
        if name in given and name in named:
            refuse("E302", f"`{name}` is given twice", "once is enough")
        value = given.get(name, named.get(name))
        if value is None:
            label = f"expected {listed(required, 'and')}, in this order"
            refuse("E301", f"{row.mnemonic} needs `{name}`", label, f"for example: {form.call}")
        given[name] = value
    arguments = [nodes.Argument(span, None, _required(b, form, span, name, given[name])) for name in required]
    arguments += [nodes.Argument(span, None, b._value(span, row.mnemonic, v)) for v in operands[len(required) :]]
    for name, value in named.items():
        if name not in required and name != "wait" and _is_given(value):
            arguments.append(_named(b, form, span, name, value))
    waits = _waits(span, named.get("wait"))
    b._write(nodes.Instruction(span, waits, nodes.Word(span, row.mnemonic), tuple(arguments)))
    return given[required[0]] if row.operands else None


def _required(b: "Builder", form: Form, span: Span, name: str, value: Any) -> nodes.Value:
    """Return what stands without its name: an operand, a semaphore or a barrier."""
    if name not in form.declared:
        return _tensor(b, form, span, name, value)
    if not isinstance(value, Synchroniser):
        help = f'declare it first: b.declare("{name}")'
        refuse("E205", f"`{name}` of {form.row.mnemonic} is {kind_of(value)}", f"expected a declared {name}", help)
    if value.builder is not b:
        refuse("E802", f"`{value.name}` belongs to another Builder", f"expected a {name} of this one")
    return nodes.Reference(span, value.name)


def _named(b: "Builder", form: Form, span: Span, name: str, value: Any) -> nodes.Argument:
    """Return a word, a flag, or what is given with `=`."""
    if not NAME.fullmatch(name):
        refuse("E204", f"{form.row.mnemonic} has no `{name}`", "", f"for example: {form.call}")
    if value is True or isinstance(value, np.bool_):
        return nodes.Argument(span, None, nodes.Reference(span, name))
    held = _tensor(b, form, span, name, value) if name in form.tensors else b._value(span, name, value)
    return nodes.Argument(span, nodes.Word(span, name), held)


def _tensor(b: "Builder", form: Form, span: Span, name: str, value: Any) -> nodes.Value:
    """Return an operand."""
    if isinstance(value, Tensor | Slice):
        return b._operand(span, value)
    help = ""
    if as_array(value) is not None or isinstance(value, list):
        spec = next((spec for spec in form.row.operands if spec.name == name), None)
        method = "const" if spec is not None and spec.memories == ("cb",) else "weight"
        help = f"declare it first: b.{method}(None, array)"
    message, label = f"`{name}` of {form.row.mnemonic} is {kind_of(value)}", "expected a declared tensor or a slice"
    refuse("E205", message, label, help)


def _is_given(value: Any) -> bool:
    """Whether a value says something: None, and False of a flag, are as if left out."""
    return value is not None and not (isinstance(value, bool | np.bool_) and not value)


def _waits(span: Span, wait: Any) -> nodes.Word | None:
    """Return the waits of an instruction; which letters there are the assembler knows."""
    if wait is not None and not (isinstance(wait, str) and re.fullmatch(r"\w*", wait)):
        refuse("E107", f"{kind_of(wait)} names no engines", 'expected letters as in wait="tm"')
    return nodes.Word(span, f"(w.{wait})") if wait else None


def _parameters(row: Row) -> list[tuple[str, Any, str]]:
    """Return (name, default, meaning) of what an instruction takes by name, in the order of the table."""
    taken = {name for choice in row.choices for names in choice.takes.values() for name in names}
    meanings = {spec.name: spec.meaning for spec in row.attributes}
    meanings |= {spec.name: f"{spec.meaning}; {_types(spec)}" for spec in row.operands}
    optional = [spec.name for spec in row.operands if spec.optional and spec.name not in taken]
    found: list[tuple[str, Any, str]] = [(name, None, meanings[name]) for name in optional]
    for spec in row.attributes:
        if spec.words:
            for word in spec.words:
                names = spec.takes.get(word, ())
                needs = ", ".join(meanings[name] for name in names)
                takes = f"; takes {needs if len(names) == 1 else f'({needs})'}" if names else ""
                if word != "none":
                    formula = WORD_FORMULAS.get(spec.name, {}).get(word, f"`{word}`")
                    found.append((word, None if names else False, f"{spec.meaning}, {formula}{takes}"))
        elif spec.name not in taken and not spec.declared:
            meaning = f"{spec.meaning}: one value, or ({', '.join(spec.names)})" if spec.names else spec.meaning
            found.append((spec.name, _default(row, spec), meaning))
    return [*found, ("wait", "", "engines to wait for: letters of t (TE), p (PE) and m (ME)")]


def _default(row: Row, spec: AttributeSpec) -> Any:
    """Return what an attribute is where it is not given; None where that follows from a tensor, or it is needed."""
    implied = spec.name.removesuffix("_zero") in {operand.name for operand in row.operands}
    if spec.default is None or implied:
        return None
    if is_flag(spec):
        return bool(spec.default[0])
    return spec.default[0] if len(set(spec.default)) == 1 else spec.default


def _types(operand: OperandSpec) -> str:
    low, high = operand.ranks
    rank = f"rank {low}" if low == high else f"rank {low} to {high}"
    return f"{listed(map(str, operand.dtypes))}, {rank}, in {listed(operand.memories)}"


def _described_row(row: Row) -> str:
    """Return an instruction's meaning, formula, operands and attributes, for `help()`."""
    lines = [row.meaning, "", *(f"    {line}" for line in row.formula.splitlines()), ""]
    lines += [f"{spec.name}: {spec.meaning}; {_types(spec)}" for spec in row.operands if not spec.optional]
    lines += [f"{spec.name}: {spec.meaning}" for spec in row.attributes if spec.declared]
    lines += [f"{name}: {meaning}" for name, _, meaning in _parameters(row)]
    return "\n".join([*lines, "", f"In the text: {row.example}"])


def method_of(row: Row) -> Callable[..., Any]:
    """Return the Builder's method for one instruction."""
    form = form_of(row)

    def method(self: "Builder", *operands: Any, **named: Any) -> Any:
        return write(self, form, operands, named)

    kinds = inspect.Parameter
    parameters = [kinds("self", kinds.POSITIONAL_ONLY)]
    parameters += [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in form.required]
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=default) for name, default, _ in _parameters(row)]
    method.__name__, method.__qualname__ = row.mnemonic, f"Builder.{row.mnemonic}"
    method.__doc__, method.__signature__ = _described_row(row), inspect.Signature(parameters)  # type: ignore[attr-defined]
    return method
