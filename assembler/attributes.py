"""The values of an instruction's attributes: given, implied by a tensor, or the table's default."""

from typing import Any

import numpy as np

from assembler.arguments import Arguments
from assembler.expressions import Evaluator, division_help
from assembler.operands import Given
from assembler.symbols import Names, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Span, listed
from isa.instruction import Value
from isa.row import AttributeSpec, Row
from isa.suggest import did_you_mean

# What other tools say for the padding, and the numbers that it stands for.
PADDINGS = {
    "same": "padding is given in numbers: with stride 1, a window of 3 keeps the size with pad=1, one of 5 with pad=2",
    "valid": "padding is given in numbers: pad=0, or nothing",
}


class Attributes:
    """Evaluates the attributes of one instruction; `given` are its operands."""

    def __init__(self, names: Names, row: Row, bound: Arguments, given: dict[str, Given], scope: Scope) -> None:
        self.names, self.row, self.bound, self.given, self.scope = names, row, bound, given, scope

    def value(self, spec: AttributeSpec, mnemonic: Span) -> Value:
        """Return an attribute's elements; raise Failed, reported, where it is missing or wrong."""
        if spec.name in self.bound.words:
            return (spec.words.index(self.bound.words[spec.name]),)
        if spec.name in self.bound.flags:
            return (1,)
        if spec.declared and spec.name in self.bound.values:
            return (self._number_of(spec),)
        if spec.name in self.bound.values:
            return self._elements(spec)
        kept = any(word in self.row.keeping_words for word in self.bound.words.values())
        implied = self.given.get(spec.name.removesuffix("_zero")) if spec.name.endswith("_zero") and not kept else None
        if implied and implied.symbol and implied.operand.dtype.is_quantised:
            return (implied.symbol.zero,)
        if spec.default is None:
            message, label = f"{self.row.mnemonic} needs `{spec.name}`", f"expected `{spec.name}=`: {spec.meaning}"
            if spec.declared or spec.words:
                wanted = f"the name of a {spec.declared}" if spec.declared else listed(spec.words)
                message, label = f"{self.row.mnemonic} names no {spec.name}", f"expected {wanted}: {spec.meaning}"
            raise self.names.error(self.scope, "E301", mnemonic, message, label, f"for example: {self.row.example}")
        return spec.default

    def _number_of(self, spec: AttributeSpec) -> int:
        """Return the number of the semaphore or barrier that is named."""
        node, scope = self.names.follow(*self.bound.values[spec.name])
        declared = self.names.synchronisers[spec.declared]
        if not isinstance(node, nodes.Reference):
            label = f"expected the name of a {spec.declared}"
            raise self.names.error(scope, "E205", node.span, "this is no name", label)
        if node.name not in declared:
            if node.name in self.names.poisoned or self.names.report.guessing:
                raise Failed
            help = did_you_mean(node.name, declared, f"declare it at the top: `.{spec.declared} {node.name}`")
            raise self.names.error(scope, "E802", node.span, f"there is no {spec.declared} `{node.name}`", "", help)
        return list(declared).index(node.name)

    def _elements(self, spec: AttributeSpec) -> Value:
        node, scope = self.names.follow(*self.bound.values[spec.name])
        evaluator = Evaluator(self.names, scope)
        if isinstance(node, nodes.Reference) and node.name == "global" and spec.name == "window":
            return self._global_window()
        items = node.items if isinstance(node, nodes.Tuple | nodes.List) else (node,)
        elements = [self._element(spec, item, evaluator) for item in items]
        count = len(elements)
        if spec.identity and count < spec.count:
            elements += range(count, spec.count)
        elif count == 1:
            elements *= spec.count
        elif spec.name == "pad" and count == 2:
            elements *= 2
        if len(elements) == spec.count:
            return tuple(elements)
        if spec.count == 1:
            expected = "expected one value"
        elif spec.name == "pad":
            expected = "expected one value, (height, width) or (top, left, bottom, right)"
        elif spec.identity:
            expected = f"expected at most {spec.count} values"
        else:
            expected = f"expected one value, or {spec.count}: ({', '.join(spec.names)})"
        raise evaluator.error("E309", node, f"`{spec.name}` has {count} values", expected)

    def _global_window(self) -> Value:
        x = self.given.get("x")
        if x is None:
            raise Failed
        if x.operand.rank != 4:
            message = f"`x` has {x.operand.rank} dimensions {list(x.operand.shape)}"
            raise self.names.error(self.scope, "E305", self.bound.spans["x"], message, "expected 4: NHWC")
        return x.operand.shape[1:3]

    def _element(self, spec: AttributeSpec, node: nodes.Value, evaluator: Evaluator) -> Any:
        legal = f"from {spec.low:g} to {spec.high:g}"
        word = node.value if isinstance(node, nodes.Text) else node.name if isinstance(node, nodes.Reference) else ""
        if isinstance(node, nodes.Text) or (spec.name == "pad" and word.lower() in PADDINGS):
            message = f"`{spec.name}` is a {'text' if isinstance(node, nodes.Text) else 'word'}"
            help = PADDINGS.get(word.lower(), "") if spec.name == "pad" else ""
            raise evaluator.error("E309", node, message, f"expected a number {legal}", help)
        value = evaluator.constant(node)
        if not spec.is_float and isinstance(value, float):
            label = f"expected a whole number {legal}"
            raise evaluator.error("E309", node, f"`{spec.name}` is {value:g}", label, division_help(node))
        if not spec.low <= value <= spec.high:
            raise evaluator.error("E309", node, f"`{spec.name}` is {value:g}", f"expected a number {legal}")
        out = self.given.get("out")
        if spec.kind == "f32":
            value = float(np.float32(value))
        elif spec.kind == "f64" and out is not None and out.operand.dtype.is_float:
            # `value` of fill becomes an element of its tensor.
            held = out.operand.dtype.nearest(value)
            if held is None:
                label = f"it is beyond {out.operand.dtype}"
                raise evaluator.error("E309", node, f"`{spec.name}` is {value:g}", label)
            value = held
        # Adding 0 makes 0 of -0.0, which has no encoding.
        return float(value) + 0.0 if spec.is_float else value
