"""Loading a program for a chip: its arrays, and the checks without which a kernel could leave its memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from emulator.plan.plan import CorePlan, Plan, where
from emulator.plan.row import READ, ROW, WRITE, flat_row
from emulator.plan.traps import overlap_trap
from isa.chip import Chip
from isa.encoding import encode
from isa.errors import Trap
from isa.instruction import Instruction
from isa.operand import (
    MAX_TERMS,
    MEMORIES,
    MEMORY_MEANING,
    PLACEMENT_ALIGNMENT,
    Operand,
    overlaps,
    region,
)
from isa.program import Core, Program, memory_needs, reaches
from isa.row import ENGINES, TRAPS
from isa.table import MAX_OPERANDS
from isa.verify_program import check_program


def load(program: Program, chip: Chip, tasks: int | None = None) -> Plan:
    """Return the plan of a program on a chip, for a stream of `tasks`: its own number where None.

    Raises Trap when the program is not well formed, when the chip lacks cores, semaphores, barriers, memory or
    instruction buffer, when an operand reaches outside its memory in some iteration, or when an instruction's result
    overlaps what it reads.
    """
    for problem in check_program(program):
        raise Trap(f"{program.name}: {problem.message}", problem.help, diagnostics=(problem,))
    tasks = program.tasks if tasks is None else tasks
    for key, held in (
        ("chip.cores", program.cores),
        ("sync.semaphores", program.semaphores),
        ("sync.barriers", program.barriers),
    ):
        if len(held) > chip[key]:
            what = key.split(".")[1]
            raise Trap(f"{program.name} has {len(held)} {what}, but {chip.name} has {chip[key]}", f"see {key}")
    for k, core in enumerate(program.cores):
        _check_memories(k, core, chip)
        _check_bounds(k, core, chip, tasks)
    sizes = _sizes(program.cores, tasks)
    bases, offset = {}, 0
    for place, size in sizes.items():
        bases[place] = offset
        offset += size
    compressed = _compressed(program.cores)
    overlaps_of = [_find_overlaps(k, core, tasks, compressed) for k, core in enumerate(program.cores)]
    cores = tuple(_load(k, core, chip, bases, overlaps_of[k]) for k, core in enumerate(program.cores))
    return Plan(program, chip, cores, bases, sizes, tasks)


def _sizes(cores: Sequence[Core], tasks: int) -> dict[tuple[int, str], int]:
    """Return the bytes of each memory that the cores use, up to a multiple of PLACEMENT_ALIGNMENT."""
    needs = {region(k, memory): 0 for memory in MEMORIES for k in range(len(cores))}
    for k, core in enumerate(cores):
        for memory, end in memory_needs(core, tasks).items():
            needs[region(k, memory)] = max(needs[region(k, memory)], end)
        for operand, end in reaches(core, tasks):
            if operand.core is not None:
                place = region(operand.core, operand.memory)
                needs[place] = max(needs[place], end)
    return {place: -(-end // PLACEMENT_ALIGNMENT) * PLACEMENT_ALIGNMENT for place, end in needs.items()}


def _load(number: int, core: Core, chip: Chip, bases: dict[tuple[int, str], int], overlap: np.ndarray) -> CorePlan:
    """Return the plan of one core, with memories at the given offsets."""

    def base(operand: Operand) -> int:
        return bases[region(number if operand.core is None else operand.core, operand.memory)]

    n = len(core.code)
    rows = np.zeros((n, ROW), np.int64)
    terms = np.zeros((n, MAX_OPERANDS, MAX_TERMS, 3), np.int64)
    spans = np.zeros((n, MAX_OPERANDS, 2), np.int64)
    access = np.zeros((n, MAX_OPERANDS), np.int64)
    loops = np.zeros((n, 3), np.int64)
    formats = chip.formats
    for k, instruction in enumerate(core.code):
        rows[k] = flat_row(instruction, base, formats)
        for slot, (spec, operand) in enumerate(zip(instruction.row.operands, instruction.operands, strict=True)):
            if operand is None:
                continue
            access[k, slot] = READ if spec.access == "read" else WRITE
            spans[k, slot] = operand.span()
            for t, term in enumerate(operand.terms):
                terms[k, slot, t] = term.counter, term.modulus, term.stride
    for loop in core.loops:
        loops[loop.first] = loop.depth, loop.count, loop.last
        loops[loop.last] = loop.depth, loop.count, loop.first
    return CorePlan(
        number=number,
        core=core,
        rows=rows,
        terms=terms,
        spans=spans,
        access=access,
        opcodes=np.array([instruction.opcode for instruction in core.code], np.int64),
        engines=np.array([(*ENGINES, "seq").index(instruction.engine) for instruction in core.code], np.int64),
        waits=np.array([instruction.waits for instruction in core.code], np.int64),
        loops=loops,
        overlap=overlap,
    )


def _check_memories(number: int, core: Core, chip: Chip) -> None:
    words, descriptors = encode(core.code)
    if len(words) + len(descriptors) > chip["memory.ib_bytes"]:
        raise Trap(
            f"the code takes {len(words) + len(descriptors)} bytes, but the instruction buffer of {chip.name} "
            f"has {chip['memory.ib_bytes']}",
            "put what repeats into hardware loops",
            core=number,
        )
    held = [(symbol.name, symbol.memory, symbol.end) for symbol in core.symbols]
    held += [("a constant", segment.memory, segment.end) for segment in core.segments]
    for name, memory, end in held:
        if end > chip.memory_bytes(memory):
            what = f"{name} ends at byte {end} of {memory}, but {_has(chip, memory)}"
            raise Trap(what, MEMORY_MEANING[memory], core=number)


def _has(chip: Chip, memory: str) -> str:
    size = chip.memory_bytes(memory)
    return f"{chip.name} has {size} bytes of it" if size else f"{chip.name} has no {memory} memory"


def _check_bounds(number: int, core: Core, chip: Chip, tasks: int) -> None:
    for k, (instruction, trips) in enumerate(zip(core.code, core.trips(tasks), strict=True)):
        for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
            if operand is None:
                continue
            low, high = operand.extent(trips)
            if low < 0 or high > chip.memory_bytes(operand.memory):
                raise Trap(
                    f"{where(core, k)}: `{spec.name}` reaches bytes {low} to {high} of {operand.memory} over all "
                    f"iterations, but {_has(chip, operand.memory)}",
                    TRAPS["bounds" if chip.memory_bytes(operand.memory) else "memory"],
                    core=number,
                    instruction=k,
                    line=core.lines[k].number,
                    address=low if low < 0 else high,
                )


def _compressed(cores: Sequence[Core]) -> dict[tuple[int, str], set[Operand]]:
    """Return the compressed weights that the cores read, by memory."""
    found: dict[tuple[int, str], set[Operand]] = defaultdict(set)
    for k, core in enumerate(cores):
        for instruction in core.code:
            for _, operand in instruction.accesses():
                if operand.stored:
                    found[region(k, operand.memory)].add(operand)
    return found


def _find_overlaps(
    number: int, core: Core, tasks: int, compressed: Mapping[tuple[int, str], set[Operand]]
) -> np.ndarray:
    """Return where execute must look for overlaps; raise Trap where one is sure, or a compressed weight is written."""
    watch = np.zeros(len(core.code), bool)
    for k, (instruction, trips) in enumerate(zip(core.code, core.trips(tasks), strict=True)):
        if "overlap" not in instruction.row.traps:
            continue
        out = instruction.operand("out")
        assert out is not None
        out_low, out_high = out.extent(trips)
        for weight in compressed.get(region(number if out.core is None else out.core, out.memory), ()):
            if out_low < weight.address + weight.stored and weight.address < out_high:
                raise Trap(
                    f"{where(core, k)}: the result may reach bytes {max(out_low, weight.address)} on of {out.memory}, "
                    "where a compressed weight lies",
                    "nothing may write a compressed weight: write to another tensor",
                    core=number,
                    instruction=k,
                    line=core.lines[k].number,
                    address=max(out_low, weight.address),
                )
        for slot in beside_result(instruction):
            operand = instruction.operands[slot]
            assert operand is not None
            low, high = operand.extent(trips)
            if high <= out_low or out_high <= low:
                continue
            if operand.terms != out.terms:
                watch[k] = True
            elif shares_bytes(instruction, slot, out.address, operand.address):
                raise overlap_trap(number, core, k, out.address)
    return watch


def beside_result(instruction: Instruction) -> list[int]:
    """Return the operands, by slot, that an instruction reads in the memory which its result is in."""
    out = instruction.operand("out")
    assert out is not None
    return [
        slot
        for slot, (spec, operand) in enumerate(zip(instruction.row.operands, instruction.operands, strict=True))
        if operand is not None and spec.access == "read" and (operand.memory, operand.core) == (out.memory, out.core)
    ]


def shares_bytes(instruction: Instruction, slot: int, out_address: int, address: int) -> bool:
    """Return whether a result at `out_address` overlaps what `slot` reads at `address`, other than in place.

    The slot says whether it may work in place: equal operands of other slots, or the same object there, may not.
    """
    out, operand = instruction.operand("out"), instruction.operands[slot]
    assert out is not None and operand is not None
    in_place = (
        instruction.row.operands[slot].name in instruction.row.in_place
        and out_address == address
        and (out.shape, out.strides, out.dtype.bytes) == (operand.shape, operand.strides, operand.dtype.bytes)
    )
    return not in_place and overlaps(out, out_address, operand, address)
