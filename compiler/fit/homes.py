"""Which memory each tensor is at home in: local memory, or the memory behind it where a network does not fit.

A network that fits one core's memories lies there whole. Else weights lie behind, and so do values, but for those that
are small for as long as they live: these stay.
"""

from collections.abc import Mapping, Sequence

from compiler.fit.place import aligned, greedy, lives, together
from compiler.steps import Plan, Step, Tensor
from isa.chip import Chip
from isa.errors import InputError
from isa.memory import spelled

# What of local memory stays may have, at most; tiles have the rest.
SHARE = 0.5


def homes(plan: Plan, chip: Chip) -> dict[Tensor, str]:
    """Return the memory of each tensor: lm, cb, and dev or host for what does not fit.

    Raises InputError where the chip has no memory behind that holds the rest.
    """
    tensors = list(dict.fromkeys(view.tensor for step in plan.steps for view in step.operands.values()))
    tensors += [tensor for tensor in (*plan.inputs.values(), *plan.outputs.values()) if tensor not in tensors]
    constants = [tensor for tensor in tensors if tensor.kind == "const"]
    behind = "dev" if chip["memory.dev_bytes"] else "host"
    fits_cb = together(constants) <= chip["memory.cb_bytes"]
    found = dict.fromkeys(constants, "cb" if fits_cb else behind)
    others = [tensor for tensor in tensors if tensor.kind != "const"]
    needed = together(tensor for tensor in others if tensor.kind != "local") + greedy(lives(plan.steps))[1]
    if needed <= chip["memory.lm_bytes"]:
        return found | dict.fromkeys(others, "lm")
    stays = _stays(plan.steps, int(chip["memory.lm_bytes"] * SHARE))
    found |= {tensor: "lm" if tensor in stays else behind for tensor in others}
    room = chip[f"memory.{behind}_bytes"]
    if (size := together(tensor for tensor, home in found.items() if home == behind)) > room:
        raise InputError(
            f"the network needs {spelled(needed)} of local memory, of which {chip.name} has "
            f"{spelled(chip['memory.lm_bytes'])}, and {spelled(size)} behind it, of which it has {spelled(room)}"
        )
    return found


def _stays(steps: Sequence[Step], room: int) -> set[Tensor]:
    """Return local tensors that stay in so much memory, those first that ask least of it for the steps they live."""
    lives_of = lives(steps)
    held = [0] * (len(steps) + 1)
    stays: set[Tensor] = set()
    for tensor in sorted(lives_of, key=lambda tensor: _price(tensor, lives_of)):
        first, last = lives_of[tensor]
        size = aligned(tensor.bytes)
        if max(held[first : last + 1]) + size <= room:
            stays.add(tensor)
            for k in range(first, last + 1):
                held[k] += size
    return stays


def _price(tensor: Tensor, lives_of: Mapping[Tensor, tuple[int, int]]) -> int:
    first, last = lives_of[tensor]
    return tensor.bytes * (last - first + 1)
