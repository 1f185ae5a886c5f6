"""Macros of files that come with the package, as the methods of a handle: a call of one is a statement."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from assembler.builder.values import refuse
from assembler.syntax import nodes
from isa.suggest import did_you_mean

if TYPE_CHECKING:
    from assembler.builder.builder import Builder


class Macros:
    """What an included file defines: `llm.softmax(y, x, row)` writes a call, and returns its first argument.

    Arguments are tensors, slices, counters, numbers and words, by position or by name; None is as if left out.
    """

    def __init__(self, builder: "Builder", file: str, heads: Iterable[nodes.Macro]) -> None:
        self._builder, self._file = builder, file
        self._heads = {head.name.text: head for head in heads}

    def __dir__(self) -> Iterable[str]:
        return self._heads

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._heads:
            help = did_you_mean(name, self._heads, f"it has {', '.join(self._heads)}")
            refuse("E203", f"{self._file} has no macro `{name}`", "", help)

        def call(*arguments: Any, **named: Any) -> Any:
            return _write(self._builder, name, arguments, named)

        call.__name__, call.__doc__ = name, self._heads[name].span.text.strip()
        return call


def _write(b: "Builder", name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    span, given = b._here(), {word: value for word, value in named.items() if value is not None}
    written = [nodes.Argument(span, None, b._value(span, name, value)) for value in arguments]
    written += [nodes.Argument(span, nodes.Word(span, word), b._value(span, word, v)) for word, v in given.items()]
    b._write(nodes.Instruction(span, None, nodes.Word(span, name), tuple(written)))
    return arguments[0] if arguments else None
