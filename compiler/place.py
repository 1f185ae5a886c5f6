"""Where tensors lie in local memory: two that live at the same time apart, others perhaps at one place."""

from collections.abc import Iterable, Mapping, Sequence

from compiler.steps import Step, Tensor

# As the assembler would have them begin.
ALIGNMENT = 256


def aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def lives(steps: Sequence[Step], kept: Iterable[Tensor] = ()) -> dict[Tensor, tuple[int, int]]:
    """Return the first and the last step that touch each local tensor; those `kept` live to the end."""
    found: dict[Tensor, tuple[int, int]] = {}
    for k, step in enumerate(steps):
        for view in step.operands.values():
            if view.tensor.kind == "local":
                found[view.tensor] = (found.get(view.tensor, (k, k))[0], k)
    for tensor in kept:
        found[tensor] = (found.get(tensor, (0, 0))[0], len(steps))
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
