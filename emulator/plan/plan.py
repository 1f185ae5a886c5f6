"""Plan: a Program made flat for one chip, in arrays that execute and schedule walk.

All memories of the chip that the program uses, those of each core and those that all share, lie in one arena of bytes;
an address here is an offset in it. Each instruction is a row of int64: for each operand slot FIELDS numbers (address at
counters 0, or ABSENT; type code; rank; shape and element strides, right-aligned to four dimensions with sizes 1 and
strides 0 in front; bytes of a compressed weight, 0 for a dense tensor), then its attributes, element by element in the
table's order (floats as the bits of a float64), then the engine's fraction bits, the status, the place of a packed
weight, and what belongs to the walker: its scratch memory and its share of large instructions
(emulator/kernels/workspace.py). Kernels take (arena, row) and nothing else; loops change the addresses of a row,
through `terms`. A kernel that finds an index out of range writes nothing to the arena, and 1 + its place in the index
tensor to the status.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import lcm

import numpy as np

from isa.chip import Chip
from isa.encoding import encode
from isa.errors import Trap, index_trap
from isa.formats import FRACTION_BITS
from isa.instruction import Instruction
from isa.loops import find_loops, trips_at
from isa.operand import (
    MAX_RANK,
    MAX_TERMS,
    MEMORIES,
    MEMORY_MEANING,
    PLACEMENT_ALIGNMENT,
    TASK_COUNTER,
    Operand,
    overlaps,
    region,
)
from isa.program import Core, Line, Program, Symbol, memory_needs, reaches
from isa.row import ENGINES, TRAPS
from isa.table import MAX_OPERANDS, MNEMONICS, ROWS
from isa.verify_program import check_program

# Fields of an operand in a row.
ADDRESS, DTYPE, RANK, SHAPE, STRIDE, STORED, FIELDS = 0, 1, 2, 3, 7, 11, 12
ABSENT = -1
ATTRIBUTES = FIELDS * MAX_OPERANDS
MAX_ATTRIBUTES = 24
# The fraction bits of the engine's vector format; what a kernel found, 0 where all is well; between which bytes of the
# arena the scratch memory of its walker lies; which share of the result it computes, of how many; where in the arena w
# lies as products take it, packed once for the whole run, 0 where it is packed each time.
FRACTION = ATTRIBUTES + MAX_ATTRIBUTES
STATUS, SCRATCH, SCRATCH_END, SHARE, SHARES, PACKED_W, ROW = range(FRACTION + 1, FRACTION + 8)
# Scratch memory of each walker, behind the memories and the packed weights.
SCRATCH_BYTES = 2**20

SEQ = len(ENGINES)
READ, WRITE = 1, 2


def operand_slot(mnemonic: str, name: str) -> int:
    """Return where in a row the fields of an operand begin."""
    return FIELDS * MNEMONICS[mnemonic].operand_index(name)


def attribute_slot(mnemonic: str, name: str) -> int:
    """Return where in a row the first element of an attribute stands."""
    row = MNEMONICS[mnemonic]
    return ATTRIBUTES + sum(spec.count for spec in row.attributes[: row.attribute_index(name)])


@dataclass(frozen=True, eq=False)
class CorePlan:
    """The code of core `number`, n instructions.

    rows [n, ROW]; terms [n, MAX_OPERANDS, MAX_TERMS, 3]: (counter, modulus, stride in bytes), stride 0 where unused;
    spans [n, MAX_OPERANDS, 2]: bounding byte interval relative to the operand's address; access [n, MAX_OPERANDS]:
    0 absent, READ or WRITE; engines [n]: index in ENGINES, or SEQ; waits [n]: bit k waits for engine k;
    loops [n, 3] for loop and brnz: (counter, count, index of the other end), zeros elsewhere;
    overlap [n]: whether the result may share bytes with what it reads, so that execute has to look each time.
    """

    number: int
    core: Core
    rows: np.ndarray
    terms: np.ndarray
    spans: np.ndarray
    access: np.ndarray
    opcodes: np.ndarray
    engines: np.ndarray
    waits: np.ndarray
    loops: np.ndarray
    overlap: np.ndarray

    def line(self, index: int) -> Line:
        return self.core.lines[index]

    def where(self, index: int) -> str:
        """Return the place of an instruction and, where it is known, its text."""
        return _where(self.core, index)


@dataclass(frozen=True, eq=False)
class Plan:
    """A program loaded for a chip, good for tasks 0 to `tasks` - 1.

    `bases` and `sizes` say where each memory lies in the arena, in bytes; keys are those of isa.operand.region.
    """

    program: Program
    chip: Chip
    cores: tuple[CorePlan, ...]
    bases: dict[tuple[int, str], int]
    sizes: dict[tuple[int, str], int]
    tasks: int

    @property
    def arena_bytes(self) -> int:
        return sum(self.sizes.values())

    def find(self, name: str) -> list[tuple[int, Symbol]]:
        """Return (core, symbol) of each tensor that a name may mean: `coreK.name`, or a name by itself."""
        return [
            (plan.number, symbol)
            for plan in self.cores
            for symbol in plan.core.symbols
            if name in (symbol.name, f"core{plan.number}.{symbol.name}")
        ]


def load(program: Program, chip: Chip, tasks: int | None = None) -> Plan:
    """Return the plan of a program on a chip, for a stream of `tasks`: its own number where None.

    Raises Trap when the program is not well formed, when the chip lacks cores, semaphores, barriers, memory or
    instruction buffer, when an operand reaches outside its memory in some iteration, or when an instruction's result
    overlaps what it reads.
    """
    for message, help in check_program(program):
        raise Trap(f"{program.name}: {message}", help)
    tasks = program.tasks if tasks is None else tasks
    for key, held in (
        ("chip.cores", program.cores),
        ("sync.semaphores", program.semaphores),
        ("sync.barriers", program.barriers),
    ):
        if len(held) > chip[key]:
            what = key.split(".")[1]
            raise Trap(f"{program.name} has {len(held)} {what}, but {chip.name} has {chip[key]}", f"see {key}")
    for core in program.cores:
        _check_memories(core, chip)
        _check_bounds(core, chip, tasks)
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
    formats = {"te": chip["te.vector_format"], "pe": chip["pe.vector_format"]}
    for k, instruction in enumerate(core.code):
        rows[k] = flat_row(instruction, base, FRACTION_BITS[formats.get(instruction.engine, "fp32")])
        for slot, (spec, operand) in enumerate(zip(instruction.row.operands, instruction.operands, strict=True)):
            if operand is None:
                continue
            access[k, slot] = READ if spec.access == "read" else WRITE
            spans[k, slot] = operand.span()
            for t, term in enumerate(operand.terms):
                terms[k, slot, t] = term.counter, term.modulus, term.stride
    for loop in find_loops(core.code):
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


def repeats_after(plan: Plan) -> int:
    """Return after how many tasks the addresses repeat; all tasks where they do not."""
    code = (instruction for part in plan.cores for instruction in part.core.code)
    operands = (operand for instruction in code for _, operand in instruction.accesses())
    moduli = {term.modulus for operand in operands for term in operand.terms if term.counter == TASK_COUNTER}
    return plan.tasks if 0 in moduli else min(lcm(*moduli), plan.tasks)


def starts(lengths: Iterable[int]) -> list[int]:
    """Return where each of some parts begins, where they lie one after another."""
    return [0, *accumulate(lengths)][:-1]


def flat_row(instruction: Instruction, base: Callable[[Operand], int], fraction_bits: int) -> np.ndarray:
    """Return the row of an instruction, whole and without scratch memory; `base` gives an operand's memory's offset."""
    row = np.zeros(ROW, np.int64)
    row[:ATTRIBUTES:FIELDS] = ABSENT
    for slot, operand in enumerate(instruction.operands):
        if operand is not None:
            front = MAX_RANK - operand.rank
            fields = row[slot * FIELDS : (slot + 1) * FIELDS]
            fields[ADDRESS] = base(operand) + operand.address
            fields[DTYPE], fields[RANK] = operand.dtype.code, operand.rank
            fields[SHAPE:STRIDE] = (1,) * front + operand.shape
            fields[STRIDE:STORED] = (0,) * front + operand.strides
            fields[STORED] = operand.stored
    at = ATTRIBUTES
    for spec, value in zip(instruction.row.attributes, instruction.attributes, strict=True):
        row[at : at + spec.count] = np.array(value, np.float64).view(np.int64) if spec.is_float else value
        at += spec.count
    row[FRACTION], row[SHARES] = fraction_bits, 1
    return row


def _check_memories(core: Core, chip: Chip) -> None:
    words, descriptors = encode(core.code)
    if len(words) + len(descriptors) > chip["memory.ib_bytes"]:
        raise Trap(
            f"the code takes {len(words) + len(descriptors)} bytes, but the instruction buffer of {chip.name} "
            f"has {chip['memory.ib_bytes']}",
            "put what repeats into hardware loops",
        )
    held = [(symbol.name, symbol.memory, symbol.end) for symbol in core.symbols]
    held += [("a constant", segment.memory, segment.end) for segment in core.segments]
    for name, memory, end in held:
        if end > chip.memory_bytes(memory):
            raise Trap(f"{name} ends at byte {end} of {memory}, but {_has(chip, memory)}", MEMORY_MEANING[memory])


def _has(chip: Chip, memory: str) -> str:
    size = chip.memory_bytes(memory)
    return f"{chip.name} has {size} bytes of it" if size else f"{chip.name} has no {memory} memory"


def _check_bounds(core: Core, chip: Chip, tasks: int) -> None:
    for k, (instruction, trips) in enumerate(zip(core.code, trips_at(core.code, tasks), strict=True)):
        for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
            if operand is None:
                continue
            low, high = operand.extent(trips)
            if low < 0 or high > chip.memory_bytes(operand.memory):
                raise Trap(
                    f"{_where(core, k)}: `{spec.name}` reaches bytes {low} to {high} of {operand.memory} over all "
                    f"iterations, but {_has(chip, operand.memory)}",
                    TRAPS["bounds" if chip.memory_bytes(operand.memory) else "memory"],
                    instruction=k,
                    line=core.lines[k].number,
                    address=low if low < 0 else high,
                )


def _where(core: Core, k: int) -> str:
    """Return the place of an instruction and, where it is known, its text."""
    line = core.lines[k]
    return f"{line.file}:{line.number}: {line.text or core.code[k].row.mnemonic}"


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
    for k, (instruction, trips) in enumerate(zip(core.code, trips_at(core.code, tasks), strict=True)):
        if "overlap" not in instruction.row.traps:
            continue
        out = instruction.operand("out")
        assert out is not None
        out_low, out_high = out.extent(trips)
        for weight in compressed.get(region(number if out.core is None else out.core, out.memory), ()):
            if out_low < weight.address + weight.stored and weight.address < out_high:
                raise Trap(
                    f"{_where(core, k)}: the result may reach bytes {max(out_low, weight.address)} on of {out.memory}, "
                    "where a compressed weight lies",
                    "nothing may write a compressed weight: write to another tensor",
                    instruction=k,
                    line=core.lines[k].number,
                    address=max(out_low, weight.address),
                )
        for access, operand in instruction.accesses():
            if access == "write" or (operand.memory, operand.core) != (out.memory, out.core):
                continue
            low, high = operand.extent(trips)
            if high <= out_low or out_high <= low:
                continue
            if operand.terms != out.terms:
                watch[k] = True
            elif shares_bytes(instruction, out, out.address, operand, operand.address):
                raise overlap_trap(core, k, out.address)
    return watch


def shares_bytes(instruction: Instruction, out: Operand, out_address: int, operand: Operand, address: int) -> bool:
    """Return whether a result at `out_address` overlaps what is read at `address`, other than in place."""
    in_place = (
        instruction.row.in_place
        and out_address == address
        and (out.shape, out.strides, out.dtype.bytes) == (operand.shape, operand.strides, operand.dtype.bytes)
    )
    return not in_place and overlaps(out, out_address, operand, address)


def standing(plan: Plan, places: Sequence[int]) -> str:
    """Return where each core stands, for a message; `places` are their next instructions."""
    return "; ".join(
        f"core {part.number} stands at {part.where(at)}" for part, at in zip(plan.cores, places, strict=True)
    )


def in_task(plan: Plan, counters: Sequence[int]) -> str:
    """Return which task of a stream counters are of, for a message; nothing where there is one."""
    return f"in task {counters[TASK_COUNTER]}, " if plan.tasks > 1 else ""


def overlap_trap(core: Core, k: int, address: int, moment: str = "") -> Trap:
    """Return the trap of instruction k, whose result at byte `address` overlaps what it reads; `moment` says when."""
    out = core.code[k].operand("out")
    assert out is not None
    held = [s for s in core.symbols if s.memory == out.memory and out.core is None and s.address <= address < s.end]
    place = f"byte {address - held[-1].address:,} of {held[-1].name}" if held else f"byte {address:#x} of {out.memory}"
    in_place = ", ".join(f"`{row.mnemonic}`" for row in ROWS if row.in_place)
    return Trap(
        f"{_where(core, k)}: {moment}the result, from {place} on, overlaps a tensor that the instruction reads",
        f"write to another tensor; only {in_place} may work in place, on the same elements",
        instruction=k,
        line=core.lines[k].number,
        address=address,
    )


def wrong_index(plan: Plan, number: int, k: int, place: int, counters: Sequence[int], arena: np.ndarray) -> Trap:
    """Return the trap of a core's instruction k, whose index has at `place` no place along the first dimension of x."""
    core = plan.cores[number].core
    instruction = core.code[k]
    x, index = instruction.operand("x"), instruction.operand("index")
    assert x is not None and index is not None
    address = index.address_at(counters) + place * index.strides[0] * index.dtype.bytes
    at = plan.bases[region(number, index.memory)] + address
    value = arena[at : at + index.dtype.bytes].view(index.dtype.numpy)[0]
    return index_trap(
        place,
        int(value),
        x.shape[0],
        f"{_where(core, k)}: {in_task(plan, counters)}",
        instruction=k,
        line=core.lines[k].number,
        address=address,
    )
