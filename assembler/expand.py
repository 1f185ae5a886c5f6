"""From files to a flat run of statements: includes, macros and repetitions unfolded, each statement with its scope."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from assembler.expressions import Evaluator
from assembler.files import FileProblem, Folder
from assembler.symbols import Binding, Names, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, listed
from assembler.syntax.parser import parse
from assembler.syntax.source import SourceFile
from isa.table import MNEMONICS

MAX_DEPTH = 64
# More than the instruction buffers of a chip hold: four cores of 16,384 instructions each. A few lines of text can mean
# any number of statements; what Python has written one by one is in memory already, and has no such limit.
MAX_STATEMENTS = 250_000
_CLOSING = {"macro": ".endmacro", "repeat": ".endrepeat"}


class Stop(Exception):
    """Ends the expansion: a limit is reached, and reported."""


@dataclass(frozen=True)
class Block:
    """A macro or a repetition with what it holds."""

    head: nodes.Macro | nodes.Repeat | nodes.Broken
    body: list["nodes.Statement | Block"]


class Expander:
    """Unfolds one program of at most `most` statements; `macros` are those defined so far."""

    def __init__(self, names: Names, folder: Folder, most: float = MAX_STATEMENTS) -> None:
        self.names = names
        self.folder = folder
        self.macros: dict[str, Block] = {}
        self.files: list[str] = []
        # For each open file, whether it has an `end` of its own.
        self.ends: list[bool] = []
        self.most = most
        self.steps = 0

    def unfold(self, path: str, statements: Iterable[nodes.Statement]) -> Iterator[tuple[nodes.Statement, Scope]]:
        """Yield the statements of a file, each with its scope.

        They come lazily: what stands before has been declared when `.repeat` counts.
        """
        yield from self._file(path, self._blocks(statements), Scope())

    def _file(
        self, path: str, items: list["nodes.Statement | Block"], scope: Scope
    ) -> Iterator[tuple[nodes.Statement, Scope]]:
        for item in items:
            if isinstance(item, nodes.Tensor | nodes.Constant):
                self.names.ahead.setdefault(item.name.text, item.name.span)
        self.files.append(path)
        self.ends.append(_end(items) is not None)
        yield from self._walk(items, scope, len(self.files))
        self.files.pop()
        self.ends.pop()

    def _blocks(self, statements: Iterable[nodes.Statement]) -> list[nodes.Statement | Block]:
        """Nest statements into blocks; report those not closed, or not open."""
        top: list[nodes.Statement | Block] = []
        opened: list[tuple[str, Block]] = []
        for statement in statements:
            kind, closes = _block_words(statement)
            if closes:
                while opened and opened[-1][0] != closes:
                    if all(inner != closes for inner, _ in opened):
                        break
                    self._not_closed(opened.pop())
                if opened and opened[-1][0] == closes:
                    opened.pop()
                else:
                    message = f"`.end{closes}` closes nothing"
                    self.names.report.error("E701", statement.span, message, f"no `.{closes}` is open here")
                continue
            if kind == "macro" and opened and isinstance(statement, nodes.Macro):
                note = Note(f"this `.{opened[-1][0]}` is open", opened[-1][1].head.span)
                help = f"close it with `{_CLOSING[opened[-1][0]]}` first"
                self.names.report.error("E701", statement.span, "a macro is defined inside a block", "", help, (note,))
                statement = nodes.Broken(statement.span, (".macro", statement.name.text))
            body = opened[-1][1].body if opened else top
            if kind:
                assert isinstance(statement, nodes.Macro | nodes.Repeat | nodes.Broken)
                block = Block(statement, [])
                body.append(block)
                opened.append((kind, block))
            else:
                body.append(statement)
        for block_kind in reversed(opened):
            self._not_closed(block_kind)
        return top

    def _not_closed(self, opened: tuple[str, Block]) -> None:
        kind, block = opened
        if not isinstance(block.head, nodes.Broken):
            label = f"expected `{_CLOSING[kind]}` further down"
            self.names.report.error("E701", block.head.span, f"this `.{kind}` is never closed", label)
        # It swallowed what it should not hold.
        block.body.clear()
        self.names.report.guessing = True

    def _walk(
        self, items: list[nodes.Statement | Block], scope: Scope, depth: int
    ) -> Iterator[tuple[nodes.Statement, Scope]]:
        for item in items:
            self._step(item.head.span if isinstance(item, Block) else item.span, scope)
            try:
                if isinstance(item, Block):
                    if isinstance(item.head, nodes.Macro):
                        self._define(item, item.head)
                    elif isinstance(item.head, nodes.Repeat):
                        yield from self._repeat(item, item.head, scope, depth)
                    elif len(item.head.words) > 1 and item.head.words[0] == ".macro":
                        self.names.poisoned.add(item.head.words[1])
                elif isinstance(item, nodes.Include):
                    yield from self._include(item, scope, depth)
                elif isinstance(item, nodes.Instruction) and item.mnemonic.text in self.macros:
                    yield from self._call(item, scope, depth)
                else:
                    yield item, scope
            except Failed:
                pass

    def _step(self, span: nodes.Span, scope: Scope, ahead: int = 0) -> None:
        """Count a statement, of which so many more follow for sure; end the work where they are too many."""
        self.steps += 1
        if self.steps + ahead > self.most:
            help = "hardware loops (`loop NAME, COUNT` ... `brnz NAME`) repeat without unfolding"
            message = f"macros and repetitions unfold to more than {self.most:,} statements"
            self.names.report.guessing = True
            self.names.error(scope, "E705", span, message, "the limit is reached here", help)
            raise Stop

    def _deeper(self, span: nodes.Span, scope: Scope, depth: int, what: str) -> int:
        if depth >= MAX_DEPTH:
            message = f"macros and includes are nested more than {MAX_DEPTH} deep"
            self.names.report.guessing = True
            self.names.error(scope, "E704", span, message, what, "a macro cannot call itself: it would never end")
            raise Stop
        return depth + 1

    def _define(self, block: Block, head: nodes.Macro) -> None:
        name, report = head.name, self.names.report
        if name.text in MNEMONICS:
            report.error("E205", name.span, f"`{name.text}` is an instruction", "choose another name")
            return
        if name.text in self.macros:
            note = Note("it was defined here first", self.macros[name.text].head.span)
            report.error(
                "E202", name.span, f"the macro `{name.text}` is defined twice", "choose another name", "", (note,)
            )
            return
        self.macros[name.text] = block
        seen: set[str] = set()
        optional = None
        for parameter in head.parameters:
            word = parameter.name
            if word.text in seen:
                report.error("E702", word.span, f"the parameter `{word.text}` stands twice", "choose another name")
            if optional and parameter.default is None:
                label = f"`{optional}` before it has a default"
                report.error("E702", word.span, f"the parameter `{word.text}` has no default", label)
            if parameter.default is not None:
                optional = word.text
            seen.add(word.text)

    def _repeat(
        self, block: Block, head: nodes.Repeat, scope: Scope, depth: int
    ) -> Iterator[tuple[nodes.Statement, Scope]]:
        count = Evaluator(self.names, scope).integer(head.count, 0, what="the number of repetitions")
        depth = self._deeper(head.span, scope, depth, "this repetition is too deep")
        for number in range(count):
            self._step(head.span, scope, count - number - 1)
            note = Note(f"in the repetition with {head.counter.text} = {number}", head.span)
            inner = Scope({head.counter.text: Binding(None, scope, number)}, scope, scope, note)
            yield from self._walk(block.body, inner, depth)

    def _include(self, include: nodes.Include, scope: Scope, depth: int) -> Iterator[tuple[nodes.Statement, Scope]]:
        span, name, names = include.path.span, include.path.value, self.names
        if scope.caller is not None:
            raise names.error(scope, "E703", span, "a file is included inside a block", "", "include it at the top")
        try:
            inside = name if include.is_shipped else self.folder.locate(self.files[-1], name)
            if inside in self.files:
                chain = " -> ".join([*self.files[self.files.index(inside) :], inside])
                raise FileProblem("E703", f'"{name}" includes itself', f"the circle is {chain}")
            text = self.folder.shipped(name) if include.is_shipped else self.folder.text(inside, name)
        except FileProblem as error:
            names.report.guessing, problem = True, error.diagnostic
            raise names.error(scope, problem.code, span, problem.message, "", problem.help) from None
        depth = self._deeper(span, scope, depth, "this file is too deep")
        file = SourceFile(inside, text, inside)
        items = self._blocks(parse(file, names.report))
        end = _end(items)
        if end and any(self.ends):
            names.report.guessing = True
            message, label = f'"{name}" is a whole program', "expected a part of one: a text without `end`"
            help = "keep what programs share in a file of its own, and include that"
            raise names.error(scope, "E703", span, message, label, help, Note("it ends here", end.span))
        yield from self._file(file.path, items, scope)

    def _call(self, call: nodes.Instruction, scope: Scope, depth: int) -> Iterator[tuple[nodes.Statement, Scope]]:
        name = call.mnemonic.text
        block = self.macros[name]
        assert isinstance(block.head, nodes.Macro)
        if call.waits:
            help = "write it before an instruction inside the macro"
            self.names.error(scope, "E107", call.waits.span, f"the macro `{name}` cannot wait", "", help)
        note = Note(f"in the expansion of `{name}`, called here", call.span)
        inner = Scope(self._bind(call, block.head, scope), None, scope, note)
        depth = self._deeper(call.span, scope, depth, f"`{name}` is called here")
        yield from self._walk(block.body, inner, depth)

    def _bind(self, call: nodes.Instruction, head: nodes.Macro, scope: Scope) -> dict[str, Binding]:
        """Return what each parameter stands for in one call."""
        names, parameters = self.names, [parameter.name.text for parameter in head.parameters]
        usage = f"`{head.name.text}` takes {listed(parameters, 'and') if parameters else 'nothing'}"
        defined = Note("it is defined here", head.span)
        bound: dict[str, Binding] = {}
        for position, argument in enumerate(call.arguments):
            span = argument.span
            if argument.name is None and position >= len(parameters):
                raise names.error(scope, "E702", span, f"too many arguments for `{head.name.text}`", usage, "", defined)
            name = argument.name.text if argument.name else parameters[position]
            if name not in parameters:
                message = f"`{head.name.text}` has no parameter `{name}`"
                raise names.error(scope, "E702", span, message, usage, "", defined)
            if name in bound:
                raise names.error(scope, "E702", span, f"`{name}` is given twice", usage, "", defined)
            bound[name] = Binding(argument.value, scope)
        for parameter in head.parameters:
            if parameter.name.text not in bound:
                if parameter.default is None:
                    message = f"`{head.name.text}` needs `{parameter.name.text}`"
                    raise names.error(scope, "E702", call.span, message, usage, "", defined)
                bound[parameter.name.text] = Binding(parameter.default, Scope())
        return bound


def _end(items: Iterable[nodes.Statement | Block]) -> nodes.Instruction | None:
    """Return the `end` of a file, outside of its blocks."""
    instructions = (item for item in items if isinstance(item, nodes.Instruction))
    return next((instruction for instruction in instructions if instruction.mnemonic.text == "end"), None)


def _block_words(statement: nodes.Statement) -> tuple[str, str]:
    """Return the kind of block that a statement opens, and the kind that it closes."""
    match statement:
        case nodes.Macro():
            return "macro", ""
        case nodes.Repeat():
            return "repeat", ""
        case nodes.EndMacro():
            return "", "macro"
        case nodes.EndRepeat():
            return "", "repeat"
        case nodes.Broken(words=(".macro" | ".repeat" as word, *_)):
            return word[1:], ""
        case nodes.Broken(words=(".endmacro" | ".endrepeat" as word, *_)):
            return "", word[4:]
    return "", ""
