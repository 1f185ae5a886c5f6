"""Scales that were left out: a tensor without one counts as in steps of 1, which is seldom meant beside others.

Of the integers that are multiplied or added, either all have scales or none has: one without is a warning (W602), for
beside the others it counts as in steps of 1. Not the second tensor of an i32 result, which is in the steps of its sum.

Followed in the order of the text. What is made of tensors with scales, and has none itself, is

    i8, u8, i16        computed: a warning (W601), for its values are rounded to whole numbers
    i32, or moved      in the steps of what it is made of; a warning (W602) where it is read beside scales, for there it
                       counts as in steps of 1
    f16, bf16, f32     in real units, as it should be; made of such steps, in those
"""

from collections.abc import Mapping

from assembler.arguments import Arguments
from assembler.operands import Given
from assembler.symbols import Names, Scope
from assembler.syntax.diagnostics import Note, Span
from isa.dtypes import I32
from isa.program import Symbol
from isa.row import Row

# Operands whose values make those of the result.
VALUES = ("x", "w", "ew2")
# What a reduction finds is a place, whatever the scale of the values.
PLACE = "argmax"


class Scales:
    """Warns of scales that are left out, in instructions whose multipliers follow from their tensors."""

    def __init__(self, names: Names) -> None:
        self.names = names
        # Tensors without a scale that are made of some with one: in real units, or in steps, and where they are made.
        self._real: dict[int, Span] = {}
        self._steps: dict[int, Span] = {}
        # Tensors that have been told of, each once.
        self._told: set[int] = set()

    def look(
        self,
        row: Row,
        words: Mapping[str, str],
        given: Mapping[str, Given],
        bound: Arguments,
        mnemonic: Span,
        scope: Scope,
    ) -> None:
        """Look at one instruction, which is right in all else; `words` are its choices."""
        out = given.get("out")
        if out is None:
            return
        made_of = {name: held.symbol for name in VALUES if (held := given.get(name)) and held.symbol}
        keeps = row.keeps(words.values())
        scaled = [symbol for symbol in (out.symbol, *made_of.values()) if symbol and symbol.scale]
        rescales = not keeps and out.operand.dtype != I32
        for name, symbol in made_of.items():
            if not keeps and not (name == "ew2" and out.operand.dtype == I32):
                self._factor(symbol, list(made_of.values()), bound.spans.get(name, mnemonic), scope)
            if scaled and rescales and id(symbol) in self._steps:
                self._read_beside(symbol, scaled[0], bound.spans.get(name, mnemonic), scope)
        self._made(out, list(made_of.values()), keeps, PLACE in words.values(), bound.spans.get("out", mnemonic), scope)

    def _made(self, out: Given, made_of: list[Symbol], keeps: bool, is_place: bool, span: Span, scope: Scope) -> None:
        """Note what a result is in, or warn of it."""
        key, dtype = id(out.symbol), out.operand.dtype
        in_steps = any(id(one) in self._steps for one in made_of)
        others = [one for one in made_of if _counts(one) or id(one) in self._steps or id(one) in self._real]
        real = not in_steps and (dtype.is_float if not keeps else any(id(one) in self._real for one in made_of))
        if out.symbol is not None:
            self._real.pop(key, None)
            self._steps.pop(key, None)
        if is_place or not others or (out.symbol is not None and out.symbol.scale):
            return
        if dtype.is_quantised and not keeps:
            self._rounded(out.symbol, others[0], span, scope)
        elif out.symbol is not None:
            (self._real if real else self._steps)[key] = span

    def _rounded(self, symbol: Symbol | None, other: Symbol, span: Span, scope: Scope) -> None:
        """Warn of a result of integers that has no scale."""
        if symbol is not None and id(symbol) in self._told:
            return
        self._told.add(id(symbol))
        result = f"`{symbol.name}`" if symbol else "an operand of no tensor"
        why = f"`{other.name}` {_scale(other) if other.scale else 'is made of tensors that have'}"
        message = f"{result} has no scale, but {why}: its values are rounded to whole numbers"
        help = (
            "declare its scale; `scale=1` says that whole numbers are meant, `.scales explicit` that there are no "
            "automatic multipliers"
        )
        self.names.warning(
            scope, "W601", span, message, "expected a tensor with a scale", help, *self._declared(symbol)
        )

    def _factor(self, symbol: Symbol, made_of: list[Symbol], span: Span, scope: Scope) -> None:
        """Warn of integers without a scale that are multiplied with some that have one, or added to them."""
        other = next((one for one in made_of if _counts(one) and not one.dtype.is_float), None)
        made = id(symbol) in self._steps or id(symbol) in self._told
        if other is None or symbol.scale or symbol.dtype.is_float or made:
            return
        self._told.add(id(symbol))
        message = f"`{symbol.name}` has no scale, but `{other.name}` {_scale(other)}"
        help = "declare its scale; `scale=1` says that whole numbers are meant"
        self.names.warning(scope, "W602", span, message, "it counts as in steps of 1", help, *self._declared(symbol))

    def _read_beside(self, symbol: Symbol, other: Symbol, span: Span, scope: Scope) -> None:
        """Warn of what counts as in steps of 1, though it is made of tensors with scales."""
        if id(symbol) in self._told:
            return
        self._told.add(id(symbol))
        message = f"`{symbol.name}` has no scale, but is made of tensors that have, and `{other.name}` {_scale(other)}"
        help = (
            "declare its scale: that of what is moved into it, x.scale * w.scale of a sum; `scale=1` says that whole "
            "numbers are meant"
        )
        note = Note("it is made here", self._steps[id(symbol)])
        self.names.warning(scope, "W602", span, message, "it counts as in steps of 1", help, note)

    def _declared(self, symbol: Symbol | None) -> list[Note[Span]]:
        found = self.names.spans.get(symbol.name) if symbol else None
        own = symbol is not None and self.names.tensors.get(symbol.name) is symbol
        return [Note("it is declared here", found)] if found and own else []


def _counts(symbol: Symbol) -> bool:
    """Whether a tensor's scale is another than that of a tensor without one."""
    return any(step != 1 for step in symbol.scale)


def _scale(symbol: Symbol) -> str:
    """Return in words what scale a tensor has."""
    return f"has {symbol.scale[0]:g}" if len(symbol.scale) == 1 else "has one for each channel"
