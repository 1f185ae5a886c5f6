"""What each core does: the steps of a plan, for images of its own, in local memory or in tiles; or its share of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from compiler.fit.arrange import arranged, banded
from compiler.fit.batch import batched
from compiler.fit.homes import homes
from compiler.fit.place import placed
from compiler.fit.roll import Item, Sync, rolled
from compiler.fit.share import Share, shared, weighty
from compiler.fit.tile import tiled
from compiler.graph import Graph
from compiler.steps import Plan, Tensor
from isa.chip import Chip
from isa.errors import InputError

# Of what is free of local memory, tiles are given so much at first, and less where places are not found.
SHARES = (1.0, 0.85, 0.7, 0.5)
# Steps of all images of a batch that are written out one behind another: assumed, for what places and orders them
# takes minutes beyond.
MOST_STEPS = 20_000


@dataclass(frozen=True)
class Section(Share):
    """What one core does, and the memory of each tensor."""

    homes: Mapping[Tensor, str] = field(default_factory=dict)


def sections_of(plan: Plan, graph: Graph, chip: Chip, cores: int, images: int | None) -> list[Section]:
    """Return what each core does: the same, for so many images of its own, or a share of one where None is given."""
    if cores > 1 and images is None:
        return _together(plan, graph, chip, cores)
    images = images or 1
    if len(plan.steps) * images > MOST_STEPS:
        raise InputError(
            f"{images:,} images of {graph.name} are {len(plan.steps) * images:,} steps: a program has at most "
            f"{MOST_STEPS:,}",
            f"a batch of {max(MOST_STEPS // len(plan.steps), 1):,} at most; a stream has any number: `--tasks`",
        )
    buffers = 2 if cores * images > 1 else 1
    if is_local(homes(batched(plan, graph, images, buffers=buffers), chip)):
        plan = replace(plan, steps=tuple(banded(plan.steps, chip)))
    sections: list[Section] = []
    order: Sequence[int] = ()
    for core in range(cores):
        own = batched(plan, graph, images, f"_{core}" if cores > 1 else "", buffers)
        at_home = homes(own, chip)
        if is_local(at_home):
            # The first core's order is that of all.
            order = order or _order(own, at_home, chip)
            items: Sequence[Item] = [own.steps[k] for k in order]
        else:
            items = _in_tiles(own, at_home, chip)
        sections.append(Section(own, items, homes=at_home))
    return sections


def _together(plan: Plan, graph: Graph, chip: Chip, cores: int) -> list[Section]:
    """Return the shares of cores in one image, and 0, 1, 2, 4 ... steps cut by their weights, until all fits."""
    plan = batched(plan, graph, 1)
    heaviest = weighty(plan)
    for count in (0, *(2**k for k in range(len(heaviest).bit_length())), len(heaviest)):
        shares = shared(plan, chip, cores, heaviest[:count])
        if (at_home := _at_home(plan, shares, chip)) is not None:
            break
    else:
        raise InputError(
            f"{graph.name} does not fit the local memories of {cores} cores of {chip.name}",
            "with a batch, of 1 too, each core computes images of its own, in tiles where it has to: `--batch 1`",
        )
    semaphores = {item.semaphore for share in shares for item in share.items if isinstance(item, Sync)}
    if len(semaphores) > chip["sync.semaphores"]:
        raise InputError(
            f"{cores} cores that share an image of {graph.name} take {len(semaphores)} semaphores, of which "
            f"{chip.name} has {chip['sync.semaphores']}",
            "let fewer cores share it, or let each compute images of its own: `--batch 1`",
        )
    return [
        Section(**vars(share), homes=home | dict.fromkeys(share.remote, "remote"))
        for share, home in zip(shares, at_home)
    ]


def _at_home(plan: Plan, shares: Sequence[Share], chip: Chip) -> list[dict[Tensor, str]] | None:
    """Return the homes of what each core has; None where its memories do not hold it.

    Where there is room, inputs and outputs have two buffers: of a stream the next image comes in, and the last result
    goes out, while this one is computed.
    """
    for buffers in (2, 1):
        for tensor in (*plan.inputs.values(), *plan.outputs.values()):
            tensor.buffers = buffers
        at_home = [homes(share.own, chip) for share in shares]
        if all(map(is_local, at_home)):
            return at_home
    return None


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
