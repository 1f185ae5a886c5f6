"""Repeated steps as hardware loops: tiles differ in nothing but where their operands begin.

A sequence of steps that comes again at once, each operand as far on as the time before or at two places in turn, is a
loop. Loops that come again so are loops of loops. The order of what happens stays as it is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compiler.steps import Step, Term, View

# Of so many steps at most a body is looked for, and so often at least it has to come.
MOST_STEPS = 24
LEAST_TURNS = 3
MAX_DEPTH = 3


@dataclass(eq=False)
class Loop:
    """Items that come `count` times; operands follow it by terms of its height: 1 for a loop without loops inside."""

    count: int
    body: list["Turn"]
    height: int


# What may come again.
Turn = Step | Loop


@dataclass(frozen=True)
class Sync:
    """A `signal` or a `wait` of a semaphore, in an engine's queue."""

    mnemonic: str
    semaphore: str
    engine: str


Item = Turn | Sync


def flat(items: Iterable[Item]) -> Iterator[Step]:
    """Yield the steps of items as they are written, those of a loop once."""
    for item in items:
        if isinstance(item, Loop):
            yield from flat(item.body)
        elif isinstance(item, Step):
            yield item


def rolled(steps: Sequence[Step]) -> list[Turn]:
    """Return the same steps, repeated ones as loops."""
    items: list[Turn] = list(steps)
    for _ in range(MAX_DEPTH):
        found = list(_rolled(items))
        if len(found) == len(items):
            break
        items = found
    return items


def _rolled(items: Sequence[Turn]) -> Iterator[Turn]:
    forms = _numbered([form(item) for item in items])
    at = 0
    while at < len(items):
        # The shortest body; one that holds repetitions of its own waits until these are loops.
        turns = size = 0
        while turns < LEAST_TURNS and size < MOST_STEPS:
            size += 1
            if forms[at : at + size] == forms[at + size : at + 2 * size]:
                turns = _turns(items, forms, at, size)
        if turns < LEAST_TURNS or (size > 1 and len(list(_rolled(items[at : at + size]))) < size):
            yield items[at]
            at += 1
            continue
        blocks = [items[at + k * size : at + (k + 1) * size] for k in range(3)]
        height = 1 + max(item.height if isinstance(item, Loop) else 0 for item in blocks[0])
        offsets = [_offsets(block) for block in blocks]
        terms = iter([_term(height, turns, *places) for places in zip(*offsets)])
        yield Loop(turns, [_following(item, terms) for item in blocks[0]], height)
        at += turns * size


def _numbered(forms: Sequence[Any]) -> list[int]:
    """Return a number for each form, the same for equal ones."""
    known: dict[Any, int] = {}
    return [known.setdefault(one, len(known)) for one in forms]


def form(item: Turn) -> Any:
    """Return all of an item but where its operands begin."""
    if isinstance(item, Loop):
        return item.count, item.height, tuple(map(form, item.body))
    operands = tuple((name, view.tensor, view.shape, view.strides, view.terms) for name, view in item.operands.items())
    return item.mnemonic, item.node, operands, tuple(item.attributes.items())


def _turns(items: Sequence[Turn], forms: Sequence[int], at: int, size: int) -> int:
    """Return how often the block at a place comes, one behind the other, its operands in step."""
    first, second = _offsets(items[at : at + size]), _offsets(items[at + size : at + 2 * size])
    turns, before = 2, second
    alternate: list[bool] | None = None
    while forms[(begin := at + turns * size) : begin + size] == forms[at : at + size]:
        here = _offsets(items[begin : begin + size])
        if alternate is None:
            alternate = [a == c and a != b for a, b, c in zip(first, second, here)]
        expected = (
            (first, second)[turns % 2][k] if in_turn else before[k] + second[k] - first[k]
            for k, in_turn in enumerate(alternate)
        )
        if any(a != b for a, b in zip(here, expected)):
            break
        turns, before = turns + 1, here
    return turns


def _offsets(items: Sequence[Turn]) -> list[int]:
    found: list[int] = []
    for item in items:
        if isinstance(item, Loop):
            found += _offsets(item.body)
        else:
            found += [view.offset for view in item.operands.values()]
    return found


def _term(height: int, count: int, first: int, second: int, third: int) -> Term | None:
    """Return how an operand follows a loop, from where it begins in the first three turns."""
    if first == second:
        return None
    return Term(height, 2 if third == first else 0, second - first, count)


def _following(item: Turn, terms: Iterator[Term | None]) -> Turn:
    if isinstance(item, Loop):
        return replace(item, body=[_following(one, terms) for one in item.body])
    operands: dict[str, View] = {}
    for name, view in item.operands.items():
        term = next(terms)
        operands[name] = view if term is None else replace(view, terms=(*view.terms, term))
    return replace(item, operands=operands)
