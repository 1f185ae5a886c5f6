"""From statements to instructions: operands, attributes, words and waits, loops, zero points and multipliers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from assembler.arguments import Arguments, bind
from assembler.attributes import Attributes
from assembler.expressions import Evaluator
from assembler.multipliers import Pool, automatic, chosen
from assembler.near_misses import elsewhere, mending
from assembler.operands import Given, operand
from assembler.requantise import MULTIPLIERS, ScaleProblem
from assembler.scales import Scales
from assembler.symbols import Names, OpenLoop, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, Span, listed
from isa.diagnostic import Diagnostic
from isa.instruction import Instruction, Value
from isa.operand import MAX_LOOP_DEPTH, Operand
from isa.program import Line, Symbol
from isa.row import ENGINES, WAIT_LETTERS, Row
from isa.suggest import did_you_mean
from isa.table import MNEMONICS
from isa.verify import check_instruction

# The assembler's code for each of isa/verify.py's.
CODE_OF = {
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
# Longer operands are not repeated in a message: the caret shows them.
MAX_QUOTED = 40


class Resolver:
    """Turns the instructions of one core into code, in the order of the text.

    `spans` is where each stands, `outs` the tensors that each names as its results.
    """

    def __init__(self, names: Names, pool: Pool | None, scales: Scales) -> None:
        self.names = names
        self.pool = pool
        self.scales = scales
        self.code: list[Instruction] = []
        self.lines: list[Line] = []
        self.spans: list[Span] = []
        self.outs: list[tuple[Symbol | None, ...]] = []
        self._outs: tuple[Symbol | None, ...] = ()
        self.ended: Span | None = None
        self.followed = False
        # Names of loops that something was wrong with: how they close is not worth a second message.
        self.wrong_loops: set[str] = set()

    def instruction(self, statement: nodes.Instruction, scope: Scope) -> None:
        """Add one instruction; what is wrong with it is reported, and the next may follow."""
        mnemonic = statement.mnemonic
        row = MNEMONICS.get(mnemonic.text)
        try:
            if self.ended is not None:
                if not self.followed and not self.names.report.guessing:
                    note = Note("the program ends here", self.ended)
                    label = "expected nothing: `end` is the last instruction"
                    self.names.error(scope, "E313", mnemonic.span, "an instruction follows `end`", label, "", note)
                self.followed = True
                return
            if row is None:
                raise self._unknown(mnemonic, scope)
            self._outs = ()
            # A wrong wait is reported; the instruction still opens, closes or ends what it says.
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
        self.spans.append(statement.span)
        self.outs.append(self._outs)
        self.lines.append(Line(statement.span.file, statement.span.line, statement.span.text.strip()))

    def broken(self, statement: nodes.Broken) -> None:
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
            if loop.name in self.wrong_loops:
                continue
            help = f"close it with `brnz {loop.name}`"
            self.names.report.error("E312", loop.span, f"the loop `{loop.name}` is never closed", "", help)
        if self.ended is None:
            several = len(self.names.sections) > 1
            whose = f"core {self.names.core}" if several else "the program"
            help = f"write `end` as the last instruction{' of each core' if several else ''}"
            self.names.report.error("E313", last, f"{whose} does not end", "expected `end` after this", help)

    def _unknown(self, mnemonic: nodes.Word, scope: Scope) -> Failed:
        name = mnemonic.text
        if name in self.names.poisoned or self.names.report.guessing:
            return Failed()
        known = {"branch": "brnz", "for": "loop", "convolution": "conv", "gemm": "matmul", "add": "eltwise"}
        help = f"did you mean `{known[name]}`?" if name in known else did_you_mean(name, MNEMONICS)
        words = {word for spec in MNEMONICS["eltwise"].choices for word in spec.words if not spec.takes.get(word)}
        if name in words - {"none"}:
            help = f"`{name}` goes with an instruction of the tensor engine: eltwise out, x, {name}"
        if f".{name}" in (".input", ".output", ".weight", ".const", ".local", ".macro", ".repeat", ".include", ".equ"):
            help = f"directives begin with a dot: `.{name}`"
        help = help or f"instructions: {', '.join(MNEMONICS)}; a macro is defined before it is used"
        return self.names.error(scope, "E203", mnemonic.span, f"unknown instruction `{name}`", "", help)

    def _waits(self, word: nodes.Word | None, row: Row, scope: Scope) -> int:
        if word is None:
            return 0
        letters = word.text.split(".")[1].rstrip(") \t\n").strip()
        if row.engine == "seq":
            help = "write it before an instruction of an engine: that one then waits in its queue"
            self.names.error(scope, "E107", word.span, f"`{row.mnemonic}` cannot wait", "", help)
            return 0
        return sum(1 << ENGINES.index(WAIT_LETTERS[letter]) for letter in set(letters))

    def _loop(self, statement: nodes.Instruction, row: Row, scope: Scope) -> Instruction:
        names, arguments, depth = self.names, statement.arguments, len(self.names.loops) + 1
        # Open it whatever is wrong, so that its `brnz` finds it.
        loop = OpenLoop("", depth, 1, statement.span)
        try:
            if len(arguments) != 2 or any(argument.name for argument in arguments):
                node, _ = names.follow(arguments[0].value, scope) if arguments else (None, scope)
                loop = replace(loop, name=node.name if isinstance(node, nodes.Reference) else "")
                message = "`loop` takes a name and a number"
                raise names.error(scope, "E301", statement.span, message, "expected `loop NAME, COUNT`")
            node, _ = names.follow(arguments[0].value, scope)
            if not isinstance(node, nodes.Reference):
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
        except Failed:
            self.wrong_loops.add(loop.name)
            raise
        finally:
            names.open(loop)
        return Instruction(row.opcode, (), ((depth,), (count,)))

    def _brnz(self, statement: nodes.Instruction, row: Row, scope: Scope) -> Instruction:
        names, arguments, depth = self.names, statement.arguments, len(self.names.loops)
        node = arguments[0].value if len(arguments) == 1 and not arguments[0].name else None
        if node is not None:
            node, _ = names.follow(node, scope)
        if isinstance(node, nodes.Reference) and node.name in self.wrong_loops and not names.loop(node.name):
            raise Failed
        if not depth:
            help = "each `brnz NAME` closes a `loop NAME, COUNT`"
            raise names.error(scope, "E312", statement.span, "`brnz` closes no loop", "no loop is open here", help)
        innermost = names.loops[-1]
        if not isinstance(node, nodes.Reference):
            names.close()
            label = f"expected the counter's name alone: `brnz {innermost.name}`"
            raise names.error(scope, "E301", statement.span, "`brnz` names no loop", label)
        if node.name != innermost.name:
            note = Note("the innermost open loop opens here", innermost.span)
            if names.loop(node.name):
                message = f"`{node.name}` is not the innermost loop"
                while names.loops[-1].name != node.name:
                    self.wrong_loops.add(names.loops[-1].name)
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

    def _engine(self, statement: nodes.Instruction, row: Row, scope: Scope, waits: int) -> Instruction:
        bound = bind(self.names, row, statement, scope)
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
        evaluated = Attributes(self.names, row, bound, given, scope)
        for attribute in row.attributes:
            try:
                attributes[attribute.name] = evaluated.value(attribute, statement.mnemonic.span)
            except Failed:
                failed = True
        if failed:
            raise Failed
        operands = {name: value.operand for name, value in given.items()}
        follows = self.pool is not None and not bound.values.keys() & set(MULTIPLIERS)
        try:
            if self.pool is not None and follows:
                operands |= automatic(self.pool, row, given, attributes)
        except ScaleProblem as error:
            problem = error.diagnostic
            span = bound.spans.get(problem.place, statement.mnemonic.span)
            # Shapes that do not fit come first: a channel count may be wrong only because they are. What needs the
            # multipliers is left out.
            plain = {spec.name: spec.default for spec in row.attributes if spec.name == "ew3_op" and spec.default}
            self._verify(statement, row, operands, attributes | plain, waits, bound, given, scope)
            label, help = (problem.help, "") if problem.help.startswith("expected") else ("", problem.help)
            message = self._in_words_of_the_text(problem.message, row, bound)
            raise self.names.error(scope, "E602", span, message, label, help) from None
        results = [spec.name for spec in row.operands if spec.access == "write" and spec.name in given]
        self._outs = tuple(given[name].symbol for name in results)
        verified = self._verify(statement, row, operands, attributes, waits, bound, given, scope)
        if follows:
            self.scales.look(row, chosen(row, attributes), given, bound, statement.mnemonic.span, scope)
        return verified

    def _verify(
        self,
        statement: nodes.Instruction,
        row: Row,
        operands: dict[str, Operand],
        attributes: dict[str, Value],
        waits: int,
        bound: Arguments,
        given: Mapping[str, Given],
        scope: Scope,
    ) -> Instruction:
        instruction = Instruction(
            row.opcode,
            tuple(operands.get(spec.name) for spec in row.operands),
            tuple(attributes[spec.name] for spec in row.attributes),
            waits,
        )
        problems = check_instruction(instruction)
        mend = mending(instruction, statement, bound, given) if problems else ""
        # The first problem of an operand often brings the others about; what mends all is said once.
        firsts = list({problem.place: problem for problem in reversed(problems)}.values())
        for problem in firsts[-1:] if mend else firsts:
            span = bound.spans.get(problem.place, statement.mnemonic.span)
            message = self._in_words_of_the_text(problem.message, row, bound)
            help = mend or _help(problem, row, bound) or elsewhere(instruction, problem.place, given)
            self.names.error(scope, CODE_OF[problem.code], span, message, problem.help, help)
        if problems:
            raise Failed
        return instruction

    def _in_words_of_the_text(self, message: str, row: Row, bound: Arguments) -> str:
        """Return a message that says beside an operand's name what stands in the text for it."""
        chosen = [(bound.words[spec.name], spec) for spec in row.choices if spec.name in bound.words]
        words = {field: word for word, spec in chosen for field in spec.takes.get(word, ())}

        def named(match: re.Match[str]) -> str:
            name = match[1]
            value, scope = bound.values[name]
            node, _ = self.names.follow(value, scope)
            text = " ".join(node.span.text[node.span.column - 1 : node.span.end - 1].split())
            if text == name or len(text) > MAX_QUOTED:
                return match[0]
            place = f", of {words[name]}=" if name in words and words[name] != name else ""
            return f"{match[0]} (your `{text}`{place})"

        given = [spec.name for spec in row.operands if spec.name in bound.values]
        return re.sub(rf"(?<![\w.])`?\b({'|'.join(given)})\b`?(?![\w.=])", named, message) if given else message

    def _is_none(self, node: nodes.Value, scope: Scope) -> bool:
        node, _ = self.names.follow(node, scope)
        return isinstance(node, nodes.Reference) and node.name == "none" and "none" not in self.names.tensors


def _help(problem: Diagnostic[str], row: Row, bound: Arguments) -> str:
    """Return how to mend a problem, where the problem does not say it itself."""
    if problem.code == "missing":
        return f"for example: {row.example}"
    words = {word: taken for spec in row.choices for word, taken in spec.takes.items() if problem.place in taken}
    if problem.code != "chain" or not words:
        return ""
    for word in words.keys() & set(bound.words.values()):
        return f"write {_written(word, words[word])}"
    return f"`{problem.place}` comes with {listed(_written(*taken) for taken in words.items())}"


def _written(word: str, names: Sequence[str]) -> str:
    """Return how a word is written with what it takes, `add=EW2`."""
    values = ", ".join(name.upper() for name in names)
    return f"`{word}={values}`" if len(names) == 1 else f"`{word}=({values})`"
