"""Expressions: constants, and affine functions of loop counters."""

import re
from dataclasses import dataclass
from math import isfinite

from assembler.symbols import Names, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed

# Beyond this no quantity of a program can lie.
LIMIT = 2**63
SUFFIXES = {"K": 2**10, "M": 2**20}
_INTEGER = re.compile(r"(\d+(?:_\d+)*+)([KM]?)", re.ASCII)
_HEXADECIMAL = re.compile(r"0[xX]([0-9a-fA-F]+(?:_[0-9a-fA-F]+)*+)")
_FLOAT = re.compile(r"\d+(?:_\d+)*+(?:\.\d*)?(?:[eE][+-]?\d{1,6})?", re.ASCII)
# Counter and modulus (0: none), as in isa.operand.Term.
Key = tuple[int, int]


@dataclass(frozen=True)
class Affine:
    """constant + sum of coefficient * (counter mod modulus); coefficients are not 0, and there is at least one."""

    constant: int
    terms: tuple[tuple[Key, int], ...]


Number = int | float | Affine


def affine(value: Number) -> Affine:
    """Return an integer, or what is affine already, as Affine."""
    assert not isinstance(value, float)
    return value if isinstance(value, Affine) else Affine(value, ())


def _affine(constant: int, terms: dict[Key, int]) -> Number:
    kept = tuple(sorted((key, coefficient) for key, coefficient in terms.items() if coefficient))
    return Affine(constant, kept) if kept else constant


class Evaluator:
    """Evaluates the expressions of one statement in its scope."""

    def __init__(self, names: Names, scope: Scope) -> None:
        self.names = names
        self.scope = scope

    def error(self, code: str, node: nodes.Node, message: str, label: str = "", help: str = "") -> Failed:
        return self.names.error(self.scope, code, node.span, message, label, help)

    def value(self, node: nodes.Value) -> Number:
        """Return the value of an expression; raise Failed, reported, where it has none."""
        match node:
            case nodes.Number():
                return self._number(node)
            case nodes.Reference():
                return self._reference(node)
            case nodes.Negative():
                return self._checked(self._times(-1, self.value(node.value), node), node)
            case nodes.Chain():
                result = self.value(node.first)
                for operator, right in node.rest:
                    result = self._checked(self._apply(operator, result, self.value(right), node), node)
                return result
            case nodes.Sliced():
                raise self.error("E205", node, "a tensor stands where a number is needed", "expected a number")
            case _:
                what = {"Text": "a text", "List": "a list", "Tuple": "a tuple", "Raw": "an operand"}[
                    type(node).__name__
                ]
                raise self.error("E309", node, f"{what} stands where a number is needed", "expected a number")

    def constant(self, node: nodes.Value) -> int | float:
        """Return the value of an expression that follows no counter."""
        value = self.value(node)
        if isinstance(value, Affine):
            counters = ", ".join(f"`{self.names.counter_name(counter)}`" for (counter, _), _ in value.terms)
            raise self.error("E308", node, f"this follows {counters}", "expected a value that no counter changes")
        return value

    def integer(self, node: nodes.Value, low: int = -LIMIT, high: int = LIMIT, what: str = "this") -> int:
        """Return the value of an expression that must be a whole number from low to high."""
        value = self.constant(node)
        if isinstance(value, float):
            raise self.error("E309", node, f"{what} is {value:g}", "expected a whole number", division_help(node))
        if not low <= value <= high:
            legal = f"at least {low}" if high == LIMIT else f"from {low} to {high}"
            raise self.error("E309", node, f"{what} is {value}", f"expected a whole number {legal}")
        return value

    def whole(self, node: nodes.Value) -> Affine:
        """Return the value of an expression that may follow counters, and is a whole number."""
        value = self.value(node)
        if isinstance(value, float):
            raise self.error("E309", node, f"this is {value:g}", "expected a whole number", division_help(node))
        return affine(value)

    def _number(self, node: nodes.Number) -> int | float:
        text = node.text
        if match := _INTEGER.fullmatch(text):
            digits, suffix = match[1].replace("_", ""), match[2]
            if len(digits) <= 20 and (number := int(digits) * SUFFIXES.get(suffix, 1)) < LIMIT:
                return number
        elif match := _HEXADECIMAL.fullmatch(text):
            digits = match[1].replace("_", "")
            if len(digits) <= 20 and (number := int(digits, 16)) < LIMIT:
                return number
        elif _FLOAT.fullmatch(text):
            value = float(text.replace("_", ""))
            if isfinite(value):
                return value
        else:
            raise self.error("E104", node, f"`{text}` is no number", "expected a number", _number_help(text))
        raise self.error("E314", node, "the number is too large", "expected less than 2**63, or a finite number")

    def _reference(self, node: nodes.Reference) -> Number:
        name, names = node.name, self.names
        binding = self.scope.find(name)
        if binding is not None:
            if binding.node is not None and binding.epoch != names.epoch:
                binding.value = Evaluator(names, binding.scope).value(binding.node)
                binding.epoch = names.epoch
            value: Number = binding.value
            return value
        counter = names.counter(name)
        if counter is not None:
            return Affine(0, (((counter, 0), 1),))
        if name in names.constants:
            return names.constants[name]
        if name in ("nan", "inf"):
            return float(name)
        if name in names.tensors or "." in name:
            raise self.error("E205", node, f"`{name}` is a tensor", "expected a number, a constant or a counter")
        raise names.unknown(name, node.span, self.scope, "a constant or the counter of an open loop")

    def _checked(self, value: Number, node: nodes.Node) -> Number:
        if isinstance(value, float):
            return value
        parts = (value,) if isinstance(value, int) else (value.constant, *(c for _, c in value.terms))
        if any(abs(part) >= LIMIT for part in parts):
            raise self.error("E314", node, "the value is too large", "expected less than 2**63")
        return value

    def _apply(self, operator: nodes.Word, left: Number, right: Number, node: nodes.Node) -> Number:
        match operator.text:
            case "+":
                return self._plus(left, right, node)
            case "-":
                return self._plus(left, self._times(-1, right, node), node)
            case "*":
                return self._times(left, right, node)
        if isinstance(right, Affine):
            raise self.error("E308", operator, f"`{operator.text}` by a counter", "expected a constant on the right")
        if right == 0:
            raise self.error("E314", operator, "division by zero")
        if operator.text == "%" and isinstance(left, Affine):
            return self._modulo(left, right, node)
        if isinstance(left, Affine):
            help = "operands move in even steps: use + - * and %"
            raise self.error("E308", operator, f"`{operator.text}` of a counter", "", help)
        try:
            if operator.text == "%":
                result: int | float = left % right
            else:
                result = left // right if operator.text == "//" else left / right
        except OverflowError:
            result = float("inf")
        if isinstance(result, float) and not isfinite(result) and isfinite(left):
            raise self.error("E314", node, "the value is too large")
        return result

    def _plus(self, left: Number, right: Number, node: nodes.Node) -> Number:
        if isinstance(left, Affine) or isinstance(right, Affine):
            if isinstance(left, float) or isinstance(right, float):
                raise self.error("E308", node, "a counter and a fraction", "expected whole numbers with a counter")
            a, b = affine(left), affine(right)
            terms = dict(a.terms)
            for key, coefficient in b.terms:
                terms[key] = terms.get(key, 0) + coefficient
            return _affine(a.constant + b.constant, terms)
        return left + right

    def _times(self, left: Number, right: Number, node: nodes.Node) -> Number:
        if isinstance(left, Affine) and isinstance(right, Affine):
            raise self.error(
                "E308", node, "counters are multiplied", "", "an operand moves in even steps: counter * constant"
            )
        if isinstance(right, Affine):
            left, right = right, left
        if isinstance(left, Affine):
            if not isinstance(right, int):
                raise self.error("E308", node, "a counter and a fraction", "expected whole numbers with a counter")
            return _affine(left.constant * right, {key: c * right for key, c in left.terms})
        assert not isinstance(right, Affine)
        return left * right

    def _modulo(self, left: Affine, right: int | float, node: nodes.Node) -> Number:
        """Return `left % right` where it is affine: (counter + constant) % modulus in few cases."""
        if isinstance(right, float) or right < 0:
            raise self.error("E308", node, f"the modulus is {right:g}", "expected a whole number from 1")
        terms = {key: coefficient % right for key, coefficient in left.terms if coefficient % right}
        shift = left.constant % right
        if not terms:
            return shift
        (key, coefficient), *more = terms.items()
        if not more and key[1] == 0 and right < 2**32:
            if coefficient == 1 and shift == 0:
                return _affine(0, {(key[0], right): 1})
            if right == 2:
                return _affine(1, {(key[0], 2): -1})
        name = self.names.counter_name(key[0])
        label = f"expected a counter alone before `%`, as in `{name} % {right}`"
        help = "the hardware takes one counter modulo a constant; with modulus 2 a constant may be added"
        raise self.error("E308", node, "this remainder does not follow its counter evenly", label, help)


def division_help(node: nodes.Value) -> str:
    """Return what to write for a `/` whose value must be a whole number."""
    if isinstance(node, nodes.Negative):
        return division_help(node.value)
    if not isinstance(node, nodes.Chain):
        return ""
    if any(operator.text == "/" for operator, _ in node.rest):
        return "`/` gives fractions, whole or not: write `//`"
    return next(filter(None, map(division_help, (node.first, *(right for _, right in node.rest)))), "")


def _number_help(text: str) -> str:
    lowered = text.lower()
    if re.fullmatch(r"\d+(k|m|g|kb|mb|gb|kib|mib|gib|b)", lowered):
        return "sizes take K or M: 4K is 4096, 1M is 1048576"
    if lowered.startswith("0b"):
        return "numbers are decimal, or hexadecimal as in 0x40"
    if lowered.startswith("0x"):
        return "hexadecimal digits are 0-9 and a-f"
    return "numbers are written 12, 0x40, 1_000, 1.5e-3 or 4K; names begin with a letter"
