"""What each core does: the steps of a plan, for images of its own, in local memory or in tiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.fit.arrange import arranged, banded
from compiler.fit.batch import batched
from compiler.fit.homes import homes
from compiler.fit.place import placed
from compiler.fit.roll import Item, rolled
from compiler.fit.tile import tiled
from compiler.graph import Graph
from compiler.steps import Plan, Tensor
from isa.chip import Chip
from isa.errors import InputError

# Of what is free of local memory, tiles are given so much at first, and less where places are not found.
SHARES = (1.0, 0.85, 0.7, 0.5)


@dataclass(frozen=True)
class Section:
    """What one core does: its plan, the items that compute it, and the memory of each tensor."""

    plan: Plan
    items: Sequence[Item]
    homes: Mapping[Tensor, str]


def sections_of(plan: Plan, graph: Graph, chip: Chip, cores: int, images: int) -> list[Section]:
    """Return what each core does: the same, for so many images of its own."""
    buffers = 2 if cores * images > 1 else 1
    if is_local(homes(batched(plan, graph, images, buffers=buffers), chip)):
        plan = replace(plan, steps=tuple(banded(plan.steps, chip)))
    sections: list[Section] = []
    order: Sequence[int] = ()
    for core in range(cores):
        own = batched(plan, graph, images, str(core) if cores > 1 else "", buffers)
        at_home = homes(own, chip)
        if is_local(at_home):
            # The first core's order is that of all.
            order = order or _order(own, at_home, chip)
            items: Sequence[Item] = [own.steps[k] for k in order]
        else:
            items = _in_tiles(own, at_home, chip)
        sections.append(Section(own, items, at_home))
    return sections


def _order(plan: Plan, at_home: Mapping[Tensor, str], chip: Chip) -> Sequence[int]:
    """Return the order in which steps begin the earliest; their own where tensors would live too long for it."""
    order = arranged(plan.steps, chip)
    try:
        placed([plan.steps[k] for k in order], [*plan.inputs.values(), *plan.outputs.values()], at_home, chip)
    except InputError:
        return range(len(order))
    return order


def is_local(homes: Mapping[Tensor, str]) -> bool:
    """Return whether all tensors are at home in the memories of one core."""
    return set(homes.values()) <= {"lm", "cb"}


def _in_tiles(plan: Plan, at_home: Mapping[Tensor, str], chip: Chip) -> Sequence[Item]:
    """Return a plan in tiles: smaller ones where their buffers find no places between what stays."""
    for share in SHARES:
        items = rolled(tiled(plan.steps, at_home, chip, share))
        try:
            placed(items, [*plan.inputs.values(), *plan.outputs.values()], at_home, chip)
        except InputError:
            if share == SHARES[-1]:
                raise
        else:
            break
    return items
