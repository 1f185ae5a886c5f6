"""What names mean: constants, tensors, open loops, and the parameters of macros."""

from collections import ChainMap
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Note, Report, Span
from isa.operand import TASK_COUNTER
from isa.program import Symbol
from isa.suggest import did_you_mean

# Words that mean something wherever a value may stand.
RESERVED = {
    "task": "the number of the task",
    "none": "the word for nothing",
    "global": "the word for a whole image",
    "nan": "a number",
    "inf": "a number",
}


@dataclass
class Binding:
    """What a parameter stands for: a number of `.repeat`, or a macro's argument with the scope that it came from."""

    node: nodes.Value | None
    scope: "Scope"
    # The value, once known, and at which state of the loops.
    value: Any = None
    epoch: int = -1


@dataclass
class Scope:
    """The parameters visible in a macro's body or a repetition, and how the expansion came there.

    `outer` is where else a name is looked for, `caller` the scope that holds the call; `note` says where it stands.
    """

    bindings: dict[str, Binding] = field(default_factory=dict)
    outer: "Scope | None" = None
    caller: "Scope | None" = None
    note: Note | None = None

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings:
                return scope.bindings[name]
            scope = scope.outer
        return None

    def notes(self) -> tuple[Note, ...]:
        """Return the places of the expansion, innermost first."""
        notes = []
        scope: Scope | None = self
        while scope is not None:
            if scope.note:
                notes.append(scope.note)
            scope = scope.caller
        # A recursion is not worth reading in full.
        return tuple(notes if len(notes) <= 6 else [*notes[:2], notes[-1]])

    def visible(self) -> Iterable[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.bindings
            scope = scope.outer


@dataclass(frozen=True)
class OpenLoop:
    """A loop that is open here; a count of 0 is one that could not be read."""

    name: str
    depth: int
    count: int
    span: Span


@dataclass
class Section:
    """What is declared for one core, or before the first `.core` for all."""

    constants: dict[str, int | float] = field(default_factory=dict)
    tensors: dict[str, Symbol] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)


@dataclass
class Names:
    """All global names, and the report that their misuse goes to.

    `common` is what stands before the first `.core`; a text without one is core 0. `core` is the one whose names are
    meant now.
    """

    report: Report
    common: Section = field(default_factory=Section)
    sections: list[Section] = field(default_factory=list)
    core: int = 0
    # Semaphores and barriers, each numbered in the order of its kind.
    synchronisers: dict[str, dict[str, Span]] = field(default_factory=lambda: {"semaphore": {}, "barrier": {}})
    # Names whose declaration failed: using them is silent.
    poisoned: set[str] = field(default_factory=set)
    # Where names are declared in the files read so far, whether their turn has come or not.
    ahead: dict[str, Span] = field(default_factory=dict)
    loops: list[OpenLoop] = field(default_factory=list)
    epoch: int = 0

    def enter(self, core: int) -> None:
        """Mean the names of a core from here on; none of its loops is open."""
        self.core = core
        self.loops.clear()
        self.epoch += 1

    @property
    def section(self) -> Section:
        return self.of_core(self.core)

    def of_core(self, core: int) -> Section:
        return self.sections[core] if self.sections else self.common

    @property
    def cores(self) -> int:
        return max(1, len(self.sections))

    @property
    def tensors(self) -> dict[str, Symbol]:
        return self.section.tensors

    @property
    def constants(self) -> MutableMapping[str, int | float]:
        return ChainMap(self.section.constants, self.common.constants)

    @property
    def spans(self) -> MutableMapping[str, Span]:
        return ChainMap(self.section.spans, self.common.spans)

    def error(
        self, scope: Scope, code: str, span: Span, message: str, label: str = "", help: str = "", *notes: Note
    ) -> Failed:
        """Report a diagnostic with the places of the expansion."""
        return self.report.error(code, span, message, label, help, (*notes, *scope.notes()))

    def warning(
        self, scope: Scope, code: str, span: Span, message: str, label: str = "", help: str = "", *notes: Note
    ) -> None:
        """Report a warning with the places of the expansion."""
        self.report.warning(code, span, message, label, help, (*notes, *scope.notes()))

    def declare(self, word: nodes.Word, scope: Scope) -> None:
        """Take a global name; raise Failed when it is taken or reserved."""
        if word.text in RESERVED and not word.quoted:
            message = f"`{word.text}` is {RESERVED[word.text]}, and can name nothing else"
            self.poisoned.add(word.text)
            raise self.error(scope, "E205", word.span, message, "choose another name")
        if word.text in self.spans:
            note = Note("it was declared here first", self.spans[word.text])
            message = f"`{word.text}` is declared twice"
            raise self.error(scope, "E202", word.span, message, "choose another name", "", note)
        self.spans[word.text] = word.span

    def loop(self, name: str) -> OpenLoop | None:
        return next((loop for loop in self.loops if loop.name == name), None)

    def open(self, loop: OpenLoop) -> None:
        self.loops.append(loop)
        self.epoch += 1

    def close(self) -> None:
        self.loops.pop()
        self.epoch += 1

    def trips(self) -> tuple[int, ...]:
        """Return the count of every counter: the task's, taken as 1, then those of the open loops."""
        return (1, *(loop.count for loop in self.loops))

    def counter(self, name: str) -> int | None:
        """Return the number of an open loop's counter, or of the task."""
        loop = self.loop(name)
        return loop.depth if loop else TASK_COUNTER if name == "task" else None

    def counter_name(self, counter: int) -> str:
        return self.loops[counter - 1].name if counter else "task"

    def unknown(self, name: str, span: Span, scope: Scope, needed: str) -> Failed:
        """Report a name that means nothing here, once, unless its declaration failed."""
        if name in self.poisoned or self.report.guessing:
            return Failed()
        self.poisoned.add(name)
        elsewhere = self._elsewhere(name) if needed == "a tensor" else []
        if name in self.ahead and name not in self.spans and not elsewhere:
            note = Note("it is declared here", self.ahead[name])
            help = "move its declaration up: what a directive names stands before it"
            return self.error(
                scope, "E201", span, f"`{name}` is declared further below", f"expected {needed}", help, note
            )
        loops = [loop.name for loop in self.loops]
        candidates = [*self.tensors, *self.constants, *loops, *scope.visible()]
        help = did_you_mean(name, candidates)
        if elsewhere:
            help = f"core {elsewhere[0]} has one: `core{elsewhere[0]}.{name}`"
        elif not help and needed == "a tensor":
            help = f"declare it first: `.local {name} TYPE[SHAPE]`, or .input, .output, .weight, .const"
        elif not help:
            help = f"constants are declared first: `.equ {name} = VALUE`; counters live between `loop` and `brnz`"
        return self.error(scope, "E201", span, f"unknown name `{name}`", f"expected {needed}", help)

    def _elsewhere(self, name: str) -> list[int]:
        """Return the cores that have a tensor of a name."""
        return [core for core, section in enumerate(self.sections) if name in section.tensors]

    def follow(self, node: nodes.Value, scope: Scope) -> tuple[nodes.Value, Scope]:
        """Return what a value stands for when it is a macro's parameter, with the scope that this came from."""
        while isinstance(node, nodes.Reference):
            binding = scope.find(node.name)
            if binding is None or binding.node is None:
                break
            node, scope = binding.node, binding.scope
        return node, scope

    def named(self, word: nodes.Word, scope: Scope) -> nodes.Word:
        """Return the name that a word means: in a macro it may be a parameter that stands for one."""
        if word.quoted:
            return word
        node, _ = self.follow(nodes.Reference(word.span, word.text), scope)
        return nodes.Word(node.span, node.name) if isinstance(node, nodes.Reference) else word

    def is_none(self, node: nodes.Value, scope: Scope) -> bool:
        """Return whether a value is the word `none`."""
        node, _ = self.follow(node, scope)
        return isinstance(node, nodes.Reference) and node.name == "none"
