"""The arguments of an instruction by name: operands by position, words, flags, and what is given with `=`."""

from dataclasses import dataclass, field

from assembler.symbols import Names, Scope
from assembler.syntax import nodes
from assembler.syntax.diagnostics import Failed, Span, listed
from isa.row import AttributeSpec, Row
from isa.suggest import did_you_mean, nearest
from isa.table import ROWS

# Functions that the hardware does not have, and that look like ones that it has.
OTHER_FUNCTIONS = {"elu", "selu", "celu", "relu6", "swish", "mish", "softplus", "softmax"}


@dataclass
class Arguments:
    """What was given for each operand and attribute of one instruction, and where it stands."""

    values: dict[str, tuple[nodes.Value, Scope]] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)


def is_flag(spec: AttributeSpec) -> bool:
    """Whether an attribute is 0 or 1, and may be written as its bare name."""
    return (spec.kind, spec.low, spec.high) == ("u8", 0, 1)


def bind(names: Names, row: Row, statement: nodes.Instruction, scope: Scope) -> Arguments:
    """Sort the arguments of a statement by name; raise Failed, reported, where one has no place."""
    binder, failed = _Binder(names, row, scope), False
    for argument in statement.arguments:
        try:
            binder.take(argument)
        except Failed:
            failed = True
    if failed:
        raise Failed
    return binder.bound


class _Form:
    """What an instruction takes: `declared`, `required`, `choices` by word, `flags` and `optional`."""

    def __init__(self, row: Row) -> None:
        self.declared = {spec.name for spec in row.attributes if spec.declared}
        self.required = [spec.name for spec in row.operands if not spec.optional] + sorted(self.declared)
        self.choices = {word: spec for spec in row.choices for word in spec.words if word != "none"}
        self.flags = {spec.name for spec in row.attributes if is_flag(spec)}
        chosen = {spec.name for spec in row.choices}
        own = [spec.name for spec in row.operands + row.attributes if spec.name not in chosen]
        self.optional = [name for name in own if name not in self.required]


_FORMS = {row.opcode: _Form(row) for row in ROWS}


class _Binder:
    def __init__(self, names: Names, row: Row, scope: Scope) -> None:
        self.names, self.row, self.scope = names, row, scope
        self.bound, form = Arguments(), _FORMS[row.opcode]
        self.declared, self.required, self.choices = form.declared, form.required, form.choices
        self.flags, self.optional = form.flags, form.optional

    def error(self, code: str, span: Span, message: str, label: str = "", help: str = "") -> Failed:
        return self.names.error(self.scope, code, span, message, label, help)

    def take(self, argument: nodes.Argument) -> None:
        """Take one argument."""
        if argument.name is not None:
            self._named(argument, argument.name)
            return
        node, _ = self.names.follow(argument.value, self.scope)
        word = node.name if isinstance(node, nodes.Reference) else ""
        position = next((name for name in self.required if name not in self.bound.values), None)
        special = (word in self.choices or word in self.flags or word == "none") and position not in self.declared
        if position and not (special and word not in self.names.tensors):
            self._give(position, argument.value, self.scope, argument.span)
        elif word in self.choices:
            self._choose(word, None, argument.span)
        elif word in self.flags:
            if word in self.bound.spans:
                raise self.error("E302", argument.span, f"`{word}` stands twice", "once is enough")
            self.bound.flags.add(word)
            self.bound.spans[word] = argument.span
        elif word != "none":
            raise self._surplus(word, argument.span)

    def _give(self, name: str, value: nodes.Value, scope: Scope, span: Span) -> None:
        if name in self.bound.spans:
            raise self.error("E302", span, f"`{name}` is given twice", "once is enough")
        self.bound.values[name] = (value, scope)
        self.bound.spans[name] = span

    def _surplus(self, word: str, span: Span) -> Failed:
        """Report an argument by position beyond the required ones."""
        mnemonic, required = self.row.mnemonic, self.required
        help = did_you_mean(word, [*self.choices, *self.flags]) if word else ""
        help = self._other_function(word) or help
        open_choice = next((s for s in self.row.choices if s.default is None and s.name not in self.bound.words), None)
        if open_choice:
            label = f"expected {listed(open_choice.words)}: {open_choice.meaning}"
        elif not required:
            label = "expected nothing here"
        elif self.optional:
            label = f"expected a name and `=`: only {listed(required, 'and')} stand without"
            # An operand that comes with a word is written behind it, as in `add=`.
            by_words = {taken: word for s in self.row.choices for word, names in s.takes.items() for taken in names}
            words = [word for s in self.row.choices for word, names in s.takes.items() if names]
            named = [*words, *(name for name in self.optional if name not in by_words)]
            help = help or f"named: {', '.join(f'{name}=' for name in named)}"
        else:
            label = f"expected nothing after `{required[-1]}`"
        text = f"`{word}`" if word else "this"
        return self.error("E302", span, f"{mnemonic} does not take {text} here", label, help)

    def _other_function(self, word: str) -> str:
        """Return what to do for a function that the hardware does not have, or that is misspelt."""
        functions = next((spec.words for spec in self.row.choices if spec.name == "sf"), ())
        near = nearest(word, functions)
        if not functions or not (near or word.lower() in OTHER_FUNCTIONS):
            return ""
        meant = f"did you mean `{near}`? " if near and word.lower() not in OTHER_FUNCTIONS else ""
        names = listed(name for name in functions if name not in ("none", "table"))
        return f"{meant}functions are {names}; any other goes by `table=`"

    def _named(self, argument: nodes.Argument, word: nodes.Word) -> None:
        name, row, span = word.text, self.row, word.span
        own = {*self.required, *self.optional}
        # `table=` is a word and its operand at once; the word takes the operand.
        if name in self.choices:
            self._choose(name, argument.value, argument.span)
        elif name in self.required:
            label = f"expected {listed(self.required, 'and')} first, in this order, without names"
            raise self.error("E204", span, f"`{name}` is not given by name", label, f"for example: {row.example}")
        elif name not in own:
            choice = next((spec for spec in row.choices if spec.name == name), None)
            if choice:
                label = f"expected one of its words alone: {listed(w for w in choice.words if w != 'none')}"
                raise self.error("E204", span, f"`{name}` is not given by name", label)
            takes = [*self.optional, *(word for word in self.choices if word not in own)]
            help = self._other_function(name) or did_you_mean(name, takes)
            help = help or (f"it takes {', '.join(takes)}" if takes else "it takes nothing by name")
            raise self.error("E204", span, f"{row.mnemonic} has no `{name}`", "", help)
        else:
            node, _ = self.names.follow(argument.value, self.scope)
            if name in self.flags and isinstance(node, nodes.Reference) and node.name.lower() in ("true", "false"):
                label = f"expected `{name}` alone" if node.name.lower() == "true" else "expected nothing"
                help = "a flag stands bare, or is left out"
                raise self.error("E309", argument.span, f"`{name}` is a flag: it takes no value", label, help)
            self._give(name, argument.value, self.scope, argument.span)

    def _choose(self, word: str, value: nodes.Value | None, span: Span) -> None:
        """Take a word such as `relu`, and what it brings with it: `add=t`, `clip=(0, 6)`."""
        spec = self.choices[word]
        takes = spec.takes.get(word, ())
        if takes and value is not None and self.names.is_none(value, self.scope):
            return
        if spec.name in self.bound.words:
            other = self.bound.words[spec.name]
            message = f"`{word}` stands twice" if word == other else f"`{word}` and `{other}` exclude each other"
            raise self.error("E302", span, message, f"expected one {spec.meaning.split(': ')[-1]}")
        self.bound.words[spec.name] = word
        self.bound.spans[spec.name] = span
        if not takes:
            if value is not None:
                raise self.error("E302", span, f"`{word}` takes no value", f"expected `{word}` alone")
            return
        capitals = ", ".join(name.upper() for name in takes)
        wanted = f"expected `{word}={capitals if len(takes) == 1 else f'({capitals})'}`"
        if value is None:
            raise self.error("E301", span, f"`{word}` needs a value", wanted)
        values: tuple[nodes.Value, ...] = (value,)
        scope = self.scope
        if len(takes) > 1:
            node, scope = self.names.follow(value, self.scope)
            values = node.items if isinstance(node, nodes.Tuple | nodes.List) else (node,)
            if len(values) != len(takes):
                raise self.error("E309", span, f"`{word}` takes {len(takes)} values", wanted)
        for name, item in zip(takes, values, strict=True):
            self._give(name, item, scope, span)
