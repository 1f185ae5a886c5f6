"""From statements to instructions: operands, attributes, words and waits, loops, zero points and multipliers."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assembler import syntax
from assembler.diagnostics import Failed, Note, Span, did_you_mean, listed
from assembler.expressions import Evaluator
from assembler.names import Names, OpenLoop, Scope
from assembler.operands import Given, Part, operand
from assembler.scales import MULTIPLIERS, UNSCALED, Scaled, ScaleProblem, check_unscaled, multipliers
from isa.dtypes import F32
from isa.instruction import Instruction, Value
from isa.operand import MAX_LOOP_DEPTH, Operand, Term
from isa.program import Line
from isa.table import ENGINES, MNEMONICS, WAIT_LETTERS, AttributeSpec, Row
from isa.verify import Problem, check_instruction

# The diagnostic for each kind of problem of isa.verify.
PROBLEM_CODES = {
    "missing": "E301",
    "memory": "E303",
    "type": "E304",
    "rank": "E305",
    "shape": "E305",
    "range": "E309",
    "stride": "E310",
    "chain": "E311",
    "loop": "E312",
    "end": "E313",
    "align": "E404",
}
MAX_COUNT = 2**31 - 1


@dataclass
class Bound:
    """The arguments of one instruction by name: where each stands, and what was given for it."""

    values: dict[str, tuple[syntax.Value, Scope]] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


class Pool:
    """Automatic multipliers: float32 vectors behind the declared constants, each content once."""

    def __init__(self, start: int) -> None:
        self.start = start + -start % 4
        self.data = bytearray()
        self.offsets: dict[tuple[float, ...], int] = {}

    def operand(self, elements: tuple[float, ...], window: Part | None = None) -> Operand:
        """Return a vector, or the window of it that follows loop counters."""
        if elements not in self.offsets:
            self.offsets[elements] = len(self.data)
            self.data += np.asarray(elements, F32.numpy).tobytes()
        address, size = self.start + self.offsets[elements], F32.bytes
        if window is None or len(elements) == 1:
            return Operand("cb", address, F32, (len(elements),), (1,))
        terms = tuple(Term(*key, coefficient * size) for key, coefficient in window.start.terms)
        return Operand("cb", address + window.start.constant * size, F32, (window.count or 1,), (1,), terms)


class Resolver:
    """Turns the instructions of one core into code, in the order of the text."""

    def __init__(self, names: Names, pool: Pool | None) -> None:
        self.names = names
        self.pool = pool
        self.code: list[Instruction] = []
        self.lines: list[Line] = []
        self.spans: list[Span] = []
        self.ended: Span | None = None

    def instruction(self, statement: syntax.Instruction, scope: Scope) -> None:
        """Add one instruction; what is wrong with it is reported, and the next may follow."""
        mnemonic = statement.mnemonic
        row = MNEMONICS.get(mnemonic.text)
        try:
            if self.ended is not None:
                note = Note("the program ends here", self.ended)
                label = "expected nothing: `end` is the last instruction"
                self.names.error(scope, "E313", mnemonic.span, "an instruction follows `end`", label, "", note)
                self.names.report.guessing = True
                return
            if row is None:
                raise self._unknown(mnemonic, scope)
            waits = self._waits(statement.waits, row, scope)
            if row.mnemonic == "loop":
                resolved = self._loop(statement, row, scope)
            elif row.mnemonic == "brnz":
                resolved = self._brnz(statement, row, scope)
            else:
                resolved = self._engine(statement, row, scope, waits)
                if row.mnemonic == "end":
                    self.ended = mnemonic.span
        except Failed:
            return
        self.code.append(resolved)
        self.lines.append(Line(statement.span.file, statement.span.line, statement.span.text.strip()))
        self.spans.append(statement.span)

    def broken(self, statement: syntax.Broken) -> None:
        """Follow the structure of a line that did not parse, so that it causes no second error."""
        match statement.words:
            case ("loop", *rest):
                name = rest[0] if rest else ""
                self.names.open(OpenLoop(name, len(self.names.loops) + 1, 1, statement.span))
            case ("brnz", *_) if self.names.loops:
                self.names.close()
            case ("end", *_):
                self.ended = statement.span

    def finish(self, last: Span) -> None:
        """Report loops that are open, and a missing end."""
        if self.names.report.guessing:
            return
        for loop in self.names.loops:
            help = f"close it with `brnz {loop.name}`"
            self.names.report.error("E312", loop.span, f"the loop `{loop.name}` is never closed", "", help)
        if self.ended is None:
            help = "write `end` as the last instruction"
            self.names.report.error("E313", last, "the program does not end", "expected `end` after this", help)

    def _unknown(self, mnemonic: syntax.Word, scope: Scope) -> Failed:
        name = mnemonic.text
        if name in self.names.poisoned or self.names.report.guessing:
            return Failed()
        known = {"branch": "brnz", "for": "loop", "convolution": "conv", "gemm": "matmul", "add": "eltwise"}
        help = f"did you mean `{known[name]}`?" if name in known else did_you_mean(name, MNEMONICS)
        if f".{name}" in (".input", ".output", ".weight", ".const", ".local", ".macro", ".repeat", ".include", ".equ"):
            help = f"directives begin with a dot: `.{name}`"
        help = help or f"instructions: {', '.join(MNEMONICS)}; a macro is defined before it is used"
        return self.names.error(scope, "E203", mnemonic.span, f"unknown instruction `{name}`", "", help)

    def _waits(self, word: syntax.Word | None, row: Row, scope: Scope) -> int:
        if word is None:
            return 0
        letters = word.text.split(".")[1].rstrip(") \t\n").strip()
        if row.engine == "seq":
            help = "write it before an instruction of an engine: that one then waits in its queue"
            raise self.names.error(scope, "E107", word.span, f"`{row.mnemonic}` cannot wait", "", help)
        return sum(1 << ENGINES.index(WAIT_LETTERS[letter]) for letter in set(letters))

    def _loop(self, statement: syntax.Instruction, row: Row, scope: Scope) -> Instruction:
        names, arguments, depth = self.names, statement.arguments, len(self.names.loops) + 1
        # Open it whatever is wrong, so that its `brnz` finds it.
        loop = OpenLoop("", depth, 1, statement.span)
        try:
            if len(arguments) != 2 or any(argument.name for argument in arguments):
                message = f"`loop` has {len(arguments)} arguments" if len(arguments) != 2 else "`loop` has no attributes"
                raise names.error(scope, "E301", statement.span, message, "expected `loop NAME, COUNT`")
            node, _ = names.follow(arguments[0].value, scope)
            if not isinstance(node, syntax.Reference):
                span = arguments[0].span
                raise names.error(scope, "E205", span, "this is no name", "expected the counter's name: `loop i, 4`")
            loop = replace(loop, name=node.name)
            if names.loop(node.name):
                note = Note("the outer loop opens here", names.loop(node.name).span)  # type: ignore[union-attr]
                message = f"the counter `{node.name}` is in use"
                raise names.error(scope, "E202", node.span, message, "choose another name", "", note)
            if node.name in names.spans or node.name == "task":
                notes = [Note("it is declared here", names.spans[node.name])] if node.name in names.spans else []
                message = f"`{node.name}` means something else already"
                raise names.error(scope, "E202", node.span, message, "choose another name", "", *notes)
            if depth > MAX_LOOP_DEPTH:
                label = f"expected at most {MAX_LOOP_DEPTH}"
                raise names.error(scope, "E312", statement.span, f"loops are nested {depth} deep", label)
            evaluator = Evaluator(names, scope)
            count = evaluator.integer(arguments[1].value, 1, MAX_COUNT, "the number of iterations")
            loop = replace(loop, count=count)
        finally:
            names.open(loop)
        return Instruction(row.opcode, (), ((depth,), (count,)))

    def _brnz(self, statement: syntax.Instruction, row: Row, scope: Scope) -> Instruction:
        names, arguments, depth = self.names, statement.arguments, len(self.names.loops)
        if not depth:
            help = "each `brnz NAME` closes a `loop NAME, COUNT`"
            raise names.error(scope, "E312", statement.span, "`brnz` closes no loop", "no loop is open here", help)
        innermost = names.loops[-1]
        node = arguments[0].value if len(arguments) == 1 and not arguments[0].name else None
        if node is not None:
            node, _ = names.follow(node, scope)
        if not isinstance(node, syntax.Reference):
            names.close()
            label = f"expected the counter's name alone: `brnz {innermost.name}`"
            raise names.error(scope, "E301", statement.span, "`brnz` names no loop", label)
        if node.name != innermost.name:
            note = Note("the innermost open loop opens here", innermost.span)
            if names.loop(node.name):
                message = f"`{node.name}` is not the innermost loop"
                while names.loops[-1].name != node.name:
                    names.close()
            else:
                message = f"no loop `{node.name}` is open"
            names.close()
            if not innermost.name:
                raise Failed
            label = f"expected `brnz {innermost.name}`"
            raise names.error(scope, "E312", node.span, message, label, "", note)
        names.close()
        return Instruction(row.opcode, (), ((depth,),))

    def _engine(self, statement: syntax.Instruction, row: Row, scope: Scope, waits: int) -> Instruction:
        bound = self._bind(statement, row, scope)
        given: dict[str, Given] = {}
        failed = False
        for spec in row.operands:
            if spec.name in bound.values and not self._is_none(*bound.values[spec.name]):
                node, inner = bound.values[spec.name]
                try:
                    given[spec.name] = operand(self.names, node, inner)
                except Failed:
                    failed = True
        attributes: dict[str, Value] = {}
        for attribute in row.attributes:
            try:
                attributes[attribute.name] = self._attribute(attribute, bound, given, row, statement, scope)
            except Failed:
                failed = True
        if failed:
            raise Failed
        operands = {name: value.operand for name, value in given.items()}
        try:
            if self.pool is not None:
                operands |= self._multipliers(row, given, attributes)
        except ScaleProblem as problem:
            span = bound.spans.get(problem.field, statement.mnemonic.span)
            # Shapes that do not fit come first: a channel count may be wrong only because they are.
            self._verify(statement, row, operands, attributes, waits, bound, scope)
            raise self.names.error(scope, "E602", span, problem.message, "", problem.help) from None
        return self._verify(statement, row, operands, attributes, waits, bound, scope)

    def _verify(
        self,
        statement: syntax.Instruction,
        row: Row,
        operands: dict[str, Operand],
        attributes: dict[str, Value],
        waits: int,
        bound: Bound,
        scope: Scope,
    ) -> Instruction:
        instruction = Instruction(
            row.opcode,
            tuple(operands.get(spec.name) for spec in row.operands),
            tuple(attributes[spec.name] for spec in row.attributes),
            waits,
        )
        problems = check_instruction(instruction)
        for problem in problems:
            self._problem(problem, statement, row, bound, scope)
        if problems:
            raise Failed
        return instruction

    def _problem(self, problem: Problem, statement: syntax.Instruction, row: Row, bound: Bound, scope: Scope) -> None:
        span = bound.spans.get(problem.field, statement.mnemonic.span)
        help = f"for example: {row.example}" if problem.kind == "missing" else ""
        self.names.error(scope, PROBLEM_CODES[problem.kind], span, problem.message, problem.help, help)

    def _is_none(self, node: syntax.Value, scope: Scope) -> bool:
        node, _ = self.names.follow(node, scope)
        return isinstance(node, syntax.Reference) and node.name == "none" and "none" not in self.names.tensors

    def _bind(self, statement: syntax.Instruction, row: Row, scope: Scope) -> Bound:
        """Sort the arguments by name: required operands by position, the rest by their words and names."""
        bound = Bound()
        required = [spec.name for spec in row.operands if not spec.optional]
        choices = {word: spec for spec in row.choices for word in spec.words if word != "none"}
        failed = False
        for argument in statement.arguments:
            try:
                if argument.name is None:
                    self._positional(argument, row, scope, bound, required, choices)
                else:
                    self._named(argument, argument.name, row, scope, bound, required, choices)
            except Failed:
                failed = True
        if failed:
            raise Failed
        return bound

    def _positional(
        self,
        argument: syntax.Argument,
        row: Row,
        scope: Scope,
        bound: Bound,
        required: list[str],
        choices: dict[str, AttributeSpec],
    ) -> None:
        node, _ = self.names.follow(argument.value, scope)
        word = node.name if isinstance(node, syntax.Reference) else ""
        flags = {spec.name for spec in row.attributes if (spec.kind, spec.low, spec.high) == ("u8", 0, 1)}
        special = word in choices or word in flags or word == "none"
        position = next((name for name in required if name not in bound.values), None)
        if position and not (special and word not in self.names.tensors):
            bound.values[position] = (argument.value, scope)
            bound.spans[position] = argument.span
        elif word in choices:
            self._choose(word, choices[word], None, argument.span, scope, bound)
        elif word in flags:
            if word in bound.flags:
                raise self.names.error(scope, "E302", argument.span, f"`{word}` stands twice", "once is enough")
            bound.flags.add(word)
            bound.spans[word] = argument.span
        elif word != "none":
            names = [spec.name for spec in row.operands + row.attributes if spec.name not in required]
            plain = [name for name in names if name not in {spec.name for spec in row.choices}]
            help = did_you_mean(word, [*choices, *flags]) if word else ""
            if not help and row.operands:
                takes = f"{row.mnemonic} takes {listed(required, 'and')}"
                help = f"{takes}; what else it takes is named: {', '.join(f'{name}=' for name in plain)}" if plain else takes
            label = f"expected nothing after {required[-1]}" if not plain and required else "expected a name and `=`"
            label = label if required else "expected nothing here"
            text = f"`{word}`" if word else "this"
            raise self.names.error(scope, "E302", argument.span, f"{row.mnemonic} does not take {text} here", label, help)

    def _named(
        self,
        argument: syntax.Argument,
        word: syntax.Word,
        row: Row,
        scope: Scope,
        bound: Bound,
        required: list[str],
        choices: dict[str, AttributeSpec],
    ) -> None:
        name, names = word.text, self.names
        own = {spec.name for spec in row.operands + row.attributes}
        if name in choices and not (name in own and name not in choices[name].takes):
            self._choose(name, choices[name], argument.value, argument.span, scope, bound)
            return
        if name in {spec.name for spec in row.choices}:
            spec = next(spec for spec in row.choices if spec.name == name)
            label = f"expected one of its words alone: {listed(w for w in spec.words if w != 'none')}"
            raise names.error(scope, "E204", word.span, f"`{name}` is not given by name", label)
        if name in required:
            label = f"{listed(required, 'and')} stand first, in this order, without names"
            raise names.error(scope, "E204", word.span, f"`{name}` is not given by name", label, f"for example: {row.example}")
        if name not in own:
            help = did_you_mean(name, [*own - {spec.name for spec in row.choices}, *choices])
            takes = sorted(own - set(required) - {spec.name for spec in row.choices}) + list(choices)
            help = help or (f"it takes {', '.join(takes)}" if takes else f"it takes {listed(required, 'and') or 'nothing'} only")
            raise names.error(scope, "E204", word.span, f"{row.mnemonic} has no `{name}`", "", help)
        if name in bound.values or name in bound.flags:
            raise names.error(scope, "E302", argument.span, f"`{name}` is given twice", "once is enough")
        bound.values[name] = (argument.value, scope)
        bound.spans[name] = argument.span

    def _choose(
        self,
        word: str,
        spec: AttributeSpec,
        value: syntax.Value | None,
        span: Span,
        scope: Scope,
        bound: Bound,
    ) -> None:
        """Take a word such as `relu`, and what it brings with it: `add=t`, `clip=(0, 6)`."""
        names, takes = self.names, spec.takes.get(word, ())
        if spec.name in bound.words:
            message = f"`{word}` and `{bound.words[spec.name]}` exclude each other"
            if word == bound.words[spec.name]:
                message = f"`{word}` stands twice"
            raise names.error(scope, "E302", span, message, f"expected one {spec.meaning.split(': ')[-1]}")
        bound.words[spec.name] = word
        bound.spans[spec.name] = span
        if not takes:
            if value is not None:
                raise names.error(scope, "E302", span, f"`{word}` takes no value", f"expected `{word}` alone")
            return
        wanted = f"`{word}=({', '.join(name.upper() for name in takes)})`" if len(takes) > 1 else f"`{word}={takes[0].upper()}`"
        if value is None:
            raise names.error(scope, "E301", span, f"`{word}` needs a value", f"expected {wanted}")
        values: tuple[syntax.Value, ...] = (value,)
        inner = scope
        if len(takes) > 1:
            node, inner = names.follow(value, scope)
            values = node.items if isinstance(node, syntax.Tuple | syntax.List) else (node,)
            if len(values) != len(takes):
                raise names.error(scope, "E309", span, f"`{word}` takes {len(takes)} values", f"expected {wanted}")
        for name, item in zip(takes, values, strict=True):
            if name in bound.values:
                raise names.error(scope, "E302", span, f"`{name}` is given twice", "once is enough")
            bound.values[name] = (item, inner)
            bound.spans[name] = span

    def _attribute(
        self,
        spec: AttributeSpec,
        bound: Bound,
        given: dict[str, Given],
        row: Row,
        statement: syntax.Instruction,
        scope: Scope,
    ) -> Value:
        if spec.name in bound.words:
            return (spec.words.index(bound.words[spec.name]),)
        if spec.name in bound.flags:
            return (1,)
        if spec.name in bound.values:
            return self._elements(spec, bound, given)
        if spec.name.endswith("_zero") and spec.name[:-5] in given:
            held = given[spec.name[:-5]]
            if held.symbol and held.operand.dtype.bytes == 1:
                return (held.symbol.zero,)
        if spec.default is None:
            label = f"expected `{spec.name}=`: {spec.meaning}"
            help = f"for example: {row.example}"
            message = f"{row.mnemonic} needs `{spec.name}`"
            raise self.names.error(scope, "E301", statement.mnemonic.span, message, label, help)
        return spec.default

    def _elements(self, spec: AttributeSpec, bound: Bound, given: dict[str, Given]) -> Value:
        """Return the elements of an attribute that is given a value."""
        node, scope = self.names.follow(*bound.values[spec.name])
        evaluator = Evaluator(self.names, scope)
        if isinstance(node, syntax.Reference) and node.name == "global" and spec.name == "window":
            x = given.get("x")
            if x is None:
                raise Failed
            if x.operand.rank != 4:
                message = f"`x` has {x.operand.rank} dimensions {list(x.operand.shape)}"
                raise self.names.error(scope, "E305", bound.spans["x"], message, "expected 4: NHWC")
            return x.operand.shape[1:3]
        nodes = node.items if isinstance(node, syntax.Tuple | syntax.List) else (node,)
        elements = [self._element(spec, item, evaluator) for item in nodes]
        count = len(elements)
        if spec.identity and count < spec.count:
            elements += range(count, spec.count)
        elif count == 1:
            elements *= spec.count
        elif spec.name == "pad" and count == 2:
            elements *= 2
        if len(elements) != spec.count:
            if spec.count == 1:
                expected = "expected one value"
            elif spec.name == "pad":
                expected = "expected one value, (height, width) or (top, left, bottom, right)"
            elif spec.identity:
                expected = f"expected at most {spec.count} values"
            else:
                expected = f"expected one value, or {spec.count}: ({', '.join(spec.names)})"
            raise evaluator.error("E309", node, f"`{spec.name}` has {count} values", expected)
        return tuple(elements)

    def _element(self, spec: AttributeSpec, node: syntax.Value, evaluator: Evaluator) -> Any:
        legal = f"from {spec.low:g} to {spec.high:g}"
        if isinstance(node, syntax.Text):
            raise evaluator.error("E309", node, f"`{spec.name}` is a text", f"expected a number {legal}")
        value = evaluator.constant(node)
        if not spec.is_float and isinstance(value, float):
            raise evaluator.error("E309", node, f"`{spec.name}` is {value:g}", f"expected a whole number {legal}")
        if not spec.low <= value <= spec.high:
            raise evaluator.error("E309", node, f"`{spec.name}` is {value:g}", f"expected a number {legal}")
        if spec.kind == "f32":
            return float(np.float32(value))
        return float(value) if spec.is_float else value

    def _multipliers(self, row: Row, given: dict[str, Given], attributes: dict[str, Value]) -> dict[str, Operand]:
        """Return the multipliers that follow from the tensors' scales; raise ScaleProblem where there are none."""
        out = given.get("out")
        names = {spec.name for spec in row.operands}
        if out is None or names & set(MULTIPLIERS) & given.keys():
            return {}
        if row.mnemonic in UNSCALED and "x" in given:
            x = given["x"]
            if x.symbol and out.symbol:
                check_unscaled((x.symbol.scale, x.symbol.zero), (out.symbol.scale, out.symbol.zero), row.mnemonic)
            return {}
        if not names & set(MULTIPLIERS) or "x" not in given or (row.mnemonic not in ("eltwise", "avgpool") and "w" not in given):
            return {}
        channels = out.operand.shape[-1]
        lists = {name: _scale_list(name, held, row, attributes) for name, held in given.items()}
        moving = {(held.window, len(held.scale)) for held in lists.values() if held.window and held.window.start.terms}
        scales = {name: held.scale if moving else held.taken() for name, held in lists.items() if held.scale}
        window = None
        if moving:
            # Slices that follow a counter take their multipliers from a vector of all channels, the same way.
            windows = {(held.window, len(held.scale)) for held in lists.values() if len(held.scale) > 1}
            (window, channels), *others = windows
            if others or window is None or window.step != 1:
                help = "slice all of them alike, with step 1, or give the multipliers: ew3_scale=..."
                raise ScaleProblem("out", "the scales of these slices do not move together", help)
        sf = "none"
        if row.choices:
            sf = row.attributes[row.attribute_index("sf")].words[int(attributes["sf"][0])]
        scaled = Scaled(row.mnemonic, scales, out.operand.dtype, channels, sf, frozenset(given))
        assert self.pool is not None
        return {name: self.pool.operand(elements, window) for name, elements in multipliers(scaled).items()}


@dataclass(frozen=True)
class ScaleList:
    """The scales of an operand's whole tensor, and the window of them that the operand takes (None: all)."""

    scale: tuple[float, ...]
    window: Part | None = None

    def taken(self) -> tuple[float, ...]:
        if self.window is None:
            return self.scale
        first = self.window.start.constant
        return self.scale[first :: self.window.step][: self.window.count]


def _scale_list(name: str, held: Given, row: Row, attributes: dict[str, Value]) -> ScaleList:
    if held.symbol is None:
        return ScaleList(())
    scale = held.symbol.scale
    dimension = held.kept[_channel_axis(name, held.operand.rank, row, attributes)]
    if len(scale) < 2 or held.symbol.shape[dimension] != len(scale):
        return ScaleList(scale)
    return ScaleList(scale, held.parts[dimension])


def _channel_axis(name: str, rank: int, row: Row, attributes: dict[str, Value]) -> int:
    """Return the dimension of an operand that its list of scales counts."""
    if name == "w" and row.mnemonic == "conv":
        return 0
    if name == "w" and row.mnemonic == "matmul" and attributes["transpose_w"] == (1,) and rank > 1:
        return rank - 2
    return rank - 1
