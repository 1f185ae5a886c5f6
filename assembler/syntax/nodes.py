"""The syntax tree: what the parser makes of a line, before names, numbers and words mean anything.

Nothing changes a node. They are not `frozen` since to make so many classes of that kind takes three times as long: 7 ms
of each `ratel asm`.
"""

from dataclasses import dataclass

from assembler.syntax.diagnostics import Span


@dataclass(eq=False, repr=False, slots=True)
class Node:
    span: Span


@dataclass(eq=False, repr=False, slots=True)
class Word(Node):
    """A name or a keyword by itself; `quoted` where it was written as a text."""

    text: str
    quoted: bool = False


@dataclass(eq=False, repr=False, slots=True)
class Number(Node):
    text: str


@dataclass(eq=False, repr=False, slots=True)
class Text(Node):
    value: str


@dataclass(eq=False, repr=False, slots=True)
class Reference(Node):
    name: str


@dataclass(eq=False, repr=False, slots=True)
class Negative(Node):
    value: "Value"


@dataclass(eq=False, repr=False, slots=True)
class Chain(Node):
    """`first` followed by operators of one precedence and their right-hand sides."""

    first: "Value"
    rest: tuple[tuple[Word, "Value"], ...]


@dataclass(eq=False, repr=False, slots=True)
class Range(Node):
    """`start : stop : step`; with `length`, stop is the number of elements: `start : +length`."""

    start: "Value | None"
    stop: "Value | None"
    length: bool
    step: "Value | None"


@dataclass(eq=False, repr=False, slots=True)
class Sliced(Node):
    name: Word
    indices: tuple["Value | Range", ...]


@dataclass(eq=False, repr=False, slots=True)
class Raw(Node):
    """An operand that no tensor names: type, shape, memory, address; strides, and the size of a compressed one."""

    dtype: Word
    shape: tuple["Value | Range", ...]
    memory: Word
    address: "Value"
    strides: "List | None"
    stored: "Value | None"


@dataclass(eq=False, repr=False, slots=True)
class Tuple(Node):
    items: tuple["Value", ...]


@dataclass(eq=False, repr=False, slots=True)
class List(Node):
    items: tuple["Value", ...]


Value = Number | Text | Reference | Negative | Chain | Sliced | Raw | Tuple | List


@dataclass(eq=False, repr=False, slots=True)
class Setting(Node):
    """`.chip`, `.name`, `.order` and `.scales`: one word for the whole program.

    `changes` are the numbers and words of a chip that are given behind its name.
    """

    keyword: str
    value: Word
    changes: tuple["Clause", ...] = ()


@dataclass(eq=False, repr=False, slots=True)
class Tasks(Node):
    """`.tasks COUNT`."""

    count: Value


@dataclass(eq=False, repr=False, slots=True)
class Constant(Node):
    name: Word
    value: Value


@dataclass(eq=False, repr=False, slots=True)
class Include(Node):
    """`.include "FILE.npu"`, or `<FILE.npu>`, which stands in `path` with its brackets and comes with the package."""

    path: Text
    is_shipped: bool = False


@dataclass(eq=False, repr=False, slots=True)
class CoreSection(Node):
    """`.core NUMBER`: what follows is of that core."""

    number: Value


@dataclass(eq=False, repr=False, slots=True)
class Synchroniser(Node):
    """`.semaphore NAME` or `.barrier NAME`."""

    kind: str
    name: Word


@dataclass(eq=False, repr=False, slots=True)
class Clause(Node):
    """A setting of a tensor or a check: `scale=`, `in`, `at`, `axes=`, `buffers=`, `compressed` (its own value), ...

    Of a chip, the keyword is a key of its file: `te.latency=`.
    """

    keyword: Word
    value: "Value | Word"


@dataclass(eq=False, repr=False, slots=True)
class Tensor(Node):
    """A declaration; `.data` (initial bytes without a name) has an empty name."""

    kind: str
    name: Word
    dtype: Word
    shape: "List"
    clauses: tuple[Clause, ...]
    data: Value | None


@dataclass(eq=False, repr=False, slots=True)
class Check(Node):
    output: Word
    kind: Word
    data: Value
    settings: tuple[Clause, ...]


@dataclass(eq=False, repr=False, slots=True)
class Parameter(Node):
    name: Word
    default: Value | None


@dataclass(eq=False, repr=False, slots=True)
class Macro(Node):
    name: Word
    parameters: tuple[Parameter, ...]


@dataclass(eq=False, repr=False, slots=True)
class EndMacro(Node):
    pass


@dataclass(eq=False, repr=False, slots=True)
class Repeat(Node):
    counter: Word
    count: Value


@dataclass(eq=False, repr=False, slots=True)
class EndRepeat(Node):
    pass


@dataclass(eq=False, repr=False, slots=True)
class Argument(Node):
    name: Word | None
    value: Value


@dataclass(eq=False, repr=False, slots=True)
class Instruction(Node):
    """An instruction or a call of a macro; `span` is the mnemonic with its waits and arguments."""

    waits: Word | None
    mnemonic: Word
    arguments: tuple[Argument, ...]


@dataclass(eq=False, repr=False, slots=True)
class Broken(Node):
    """A line that did not parse, and has been reported; its words tell what it would have declared or opened."""

    words: tuple[str, ...]


Statement = (
    Setting
    | Tasks
    | Constant
    | Include
    | CoreSection
    | Synchroniser
    | Tensor
    | Check
    | Macro
    | EndMacro
    | Repeat
    | EndRepeat
    | Instruction
    | Broken
)
