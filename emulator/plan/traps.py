"""How it is told why a program cannot go on, and where: traps of loading and of running, but for the deadlock."""

from collections.abc import Sequence

import numpy as np

from emulator.plan.plan import Plan, where
from isa.errors import Trap, index_trap
from isa.instruction import counted
from isa.operand import TASK_COUNTER, region
from isa.program import Core
from isa.table import ROWS


def overlap_trap(number: int, core: Core, k: int, pair: tuple[int, int], address: int, moment: str = "") -> Trap:
    """Return the trap of instruction k of core `number`, whose result at byte `address` overlaps another operand.

    The pair are the two, by slot; `moment` says when.
    """
    out, other = core.code[k].operands[pair[0]], core.code[k].row.operands[pair[1]]
    assert out is not None
    held = core.around(out.memory, address, address + 1) if out.core is None else []
    place = f"byte {address - held[-1].address:,} of {held[-1].name}" if held else f"byte {address:#x} of {out.memory}"
    in_place = ", ".join(f"{' or '.join(row.in_place)} of `{row.mnemonic}`" for row in ROWS if row.in_place)
    read = other.access == "read"
    return Trap(
        f"{where(core, k)}: {moment}the result, from {place} on, overlaps "
        + ("a tensor that the instruction reads" if read else f"`{other.name}`, its other result"),
        f"write to another tensor{f'; only {in_place} may be the result itself, the same elements' if read else ''}",
        core=number,
        instruction=k,
        line=core.lines[k].number,
        address=address,
    )


def wrong_index(plan: Plan, number: int, k: int, place: int, counters: Sequence[int], arena: np.ndarray) -> Trap:
    """Return the trap of a core's instruction k, whose index has at `place` what is none."""
    core = plan.cores[number].core
    instruction = core.code[k]
    of, axis, from_end = counted(instruction)
    chosen, index = instruction.operand(of), instruction.operand("index")
    assert chosen is not None and index is not None
    address = index.address_at(counters) + place * index.strides[0] * index.dtype.bytes
    at = plan.bases[region(number, index.memory)] + address
    value = arena[at : at + index.dtype.bytes].view(index.dtype.numpy)[0]
    return index_trap(
        place,
        int(value),
        chosen.shape[axis],
        f"{where(core, k)}: {in_task(plan, counters)}",
        axis,
        from_end,
        of,
        core=number,
        instruction=k,
        line=core.lines[k].number,
        address=address,
    )


def standing(plan: Plan, places: Sequence[int]) -> str:
    """Return where each core stands, for a message; `places` are their next instructions."""
    return "; ".join(
        f"core {part.number} stands at {part.where(at)}" for part, at in zip(plan.cores, places, strict=True)
    )


def in_task(plan: Plan, counters: Sequence[int]) -> str:
    """Return which task of a stream counters are of, for a message; nothing where there is one."""
    return f"in task {counters[TASK_COUNTER]}, " if plan.tasks > 1 else ""
