"""Where tensors lie in their memories: two that live at the same time apart, others perhaps at one place."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from compiler.fit.roll import Item, flat
from compiler.steps import Tensor
from isa.chip import Chip
from isa.errors import InputError
from isa.memory import spelled
from isa.operand import SHARED

# As the assembler would have them begin.
ALIGNMENT = 256
NAMES = {"lm": "local memory", "cb": "the constant buffer", "dev": "device memory", "host": "host memory"}
# Constants that the program itself brings into the constant buffer, and all else that it writes.
SHARING = ("local", "staged")


# So many items a place stays free around the life of a tensor, where there is room.
APART = (16, 8, 4, 2, 0)


class Place(NamedTuple):
    """A memory, and an address in it."""

    memory: str
    at: int


def aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def lives(items: Sequence[Item]) -> dict[Tensor, tuple[int, int]]:
    """Return the first and the last item that touch each tensor that steps write: for as long as a whole loop."""
    found: dict[Tensor, tuple[int, int]] = {}
    for k, item in enumerate(items):
        for step in flat([item]):
            for view in step.operands.values():
                if view.tensor.kind in SHARING:
                    found[view.tensor] = (found.get(view.tensor, (k, k))[0], k)
    return found


def greedy(lives: Mapping[Tensor, tuple[int, int]]) -> tuple[dict[Tensor, int], int]:
    """Return the place of each tensor, in bytes, and how many bytes they take together.

    The largest first, each at the lowest place that is free while it lives: Pisarchyk and Lee, "Efficient Memory
    Management for Deep Neural Net Inference" (2020), greedy by size.
    """
    places: dict[Tensor, int] = {}
    held: list[tuple[int, int, int, int]] = []
    total = 0
    for tensor in sorted(lives, key=lambda tensor: (-tensor.bytes, lives[tensor])):
        (first, last), size, at = lives[tensor], aligned(tensor.bytes), 0
        for begin, end, low, high in held:
            if first <= high and low <= last:
                if at + size <= begin:
                    break
                at = max(at, end)
        places[tensor] = at
        held.append((at, at + size, first, last))
        held.sort()
        total = max(total, at + size)
    return places, total


def _apart(lives: Mapping[Tensor, tuple[int, int]], room: int) -> tuple[dict[Tensor, int], int]:
    """Return places as `greedy` has them, each free for as many items before and behind as there is room for.

    What is written to a place that was just read has to wait for the reader.
    """
    for apart in APART:
        longer = {tensor: (first - apart, last + apart) for tensor, (first, last) in lives.items()}
        places, size = greedy(longer)
        if size <= room:
            break
    return places, size


def placed(
    items: Sequence[Item],
    ends: Collection[Tensor],
    homes: Mapping[Tensor, str],
    chip: Chip,
    keep: bool = False,
    begins: Mapping[str, int] | None = None,
) -> dict[Tensor, Place]:
    """Return the place of each tensor of the items, and of the inputs and outputs; with `keep` none is shared.

    `begins` says where other cores' tensors end in the memories that all share. Raises InputError where a memory is too
    small.
    """
    living = lives(items)
    if keep:
        # Where all is in local memory, there; else behind it.
        kept = {tensor for tensor in living if homes.get(tensor) in ("dev", "host")} or living.keys()
        living |= dict.fromkeys(kept, (0, len(items)))
    tensors = dict.fromkeys([*ends, *(view.tensor for step in flat(items) for view in step.operands.values())])
    found: dict[Tensor, Place] = {}
    for memory in ("cb", "lm", "dev", "host"):
        mine = [tensor for tensor in tensors if memory_of(tensor, homes) == memory]
        at = (begins or {}).get(memory, 0)
        for tensor in mine:
            if tensor not in living:
                found[tensor] = Place(memory, at)
                at += aligned(tensor.bytes * tensor.buffers)
        room = chip[f"memory.{memory}_bytes"] - at
        shared, size = _apart({tensor: living[tensor] for tensor in mine if tensor in living}, room)
        found |= {tensor: Place(memory, at + place) for tensor, place in shared.items()}
        if mine and at + size > chip[f"memory.{memory}_bytes"]:
            raise InputError(
                f"the network needs {spelled(at + size)} of {NAMES[memory]}, of which {chip.name} has "
                f"{spelled(chip[f'memory.{memory}_bytes'])}"
            )
    return {tensor: found[tensor] for tensor in tensors if tensor in found}


def taken(places: Iterable[Mapping[Tensor, Place]]) -> dict[str, int]:
    """Return where the tensors of cores end in the memories that all share."""
    found = dict.fromkeys(SHARED, 0)
    for of_core in places:
        for tensor, (memory, at) in of_core.items():
            if memory in found:
                found[memory] = max(found[memory], aligned(at + tensor.bytes * tensor.buffers))
    return found


def memory_of(tensor: Tensor, homes: Mapping[Tensor, str]) -> str:
    """Return the memory of a tensor: its home, or where buffers lie."""
    return homes.get(tensor, "cb" if tensor.kind == "staged" else "lm")


def together(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors that lie one behind the other."""
    return sum(aligned(tensor.bytes * tensor.buffers) for tensor in tensors)
