"""What a Builder has written: the statements of each core, and what stands open while Python writes more."""

from typing import TYPE_CHECKING, NamedTuple

from assembler.builder.values import Counter, Expression, Origin
from assembler.syntax import nodes

if TYPE_CHECKING:
    from assembler.builder.builder import Builder


class Written(NamedTuple):
    """A statement in so many loops; a text is a comment."""

    depth: int
    statement: nodes.Statement | str


class Section:
    """The statements of a core; or, where `core` is None, of all cores."""

    def __init__(self, core: int | None) -> None:
        self.core = core
        self.written: list[Written] = []
        self.names: set[str] = set()
        self.loops: list[Counter] = []


class Synchroniser:
    """A declared semaphore or barrier."""

    def __init__(self, builder: "Builder", name: str) -> None:
        self.builder, self.name = builder, name


class CoreContext:
    """A core that is written for: the body of `with` is what it does."""

    def __init__(self, builder: "Builder", section: Section) -> None:
        self._builder, self._section = builder, section

    def __enter__(self) -> None:
        self._before, self._builder._section = self._builder._section, self._section

    def __exit__(self, *_: object) -> None:
        self._builder._section = self._before


class LoopContext:
    """An open hardware loop: the body of `with` is what it repeats, `as` gives its counter."""

    def __init__(self, builder: "Builder", counter: Counter) -> None:
        self._builder, self._counter = builder, counter

    def __enter__(self) -> Expression:
        return Expression({self._counter.name: 1}, 0, frozenset((self._counter,)))

    def __exit__(self, *_: object) -> None:
        self._builder._close(self._counter)


class OriginContext:
    """A place that statements come from: of what the body of `with` writes."""

    def __init__(self, builder: "Builder", origin: Origin) -> None:
        self._builder, self._origin = builder, origin

    def __enter__(self) -> None:
        self._before, self._builder._origin = self._builder._origin, self._origin

    def __exit__(self, *_: object) -> None:
        self._builder._origin = self._before
