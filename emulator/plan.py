"""Plan: a Program made flat for one chip, in arrays that execute and schedule walk.

All memories of the chip that the program uses lie in one arena of bytes; an address here is an offset in it. Each
instruction is a row of int64: for each operand slot FIELDS numbers (address at counters 0, or ABSENT; type code; rank;
shape and element strides, right-aligned to four dimensions with sizes 1 and strides 0 in front; bytes of a compressed
weight, 0 for a dense tensor), then its attributes,
element by element in the table's order (floats as the bits of a float64), then the engine's fraction bits. Kernels
take (arena, row) and nothing else; loops change the addresses of a row, through `terms`.
"""

from dataclasses import dataclass

import numpy as np

from isa.chip import Chip
from isa.encoding import encode
from isa.errors import Trap
from isa.formats import FRACTION_BITS
from isa.instruction import Instruction
from isa.loops import find_loops, trips_at
from isa.operand import MAX_RANK, MAX_TERMS, MEMORIES, MEMORY_MEANING, PLACEMENT_ALIGNMENT, Operand, overlaps
from isa.program import Core, Line, Program, memory_needs
from isa.table import ENGINES, MAX_OPERANDS, MNEMONICS, ROWS, TRAPS
from isa.verify_program import check_program

# Fields of an operand in a row.
ADDRESS, DTYPE, RANK, SHAPE, STRIDE, STORED, FIELDS = 0, 1, 2, 3, 7, 11, 12
ABSENT = -1
ATTRIBUTES = FIELDS * MAX_OPERANDS
MAX_ATTRIBUTES = 24
# The fraction bits of the engine's vector format, at the row's end.
FRACTION = ATTRIBUTES + MAX_ATTRIBUTES
ROW = FRACTION + 1

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
class Plan:
    """A program loaded for a chip; n instructions.

    rows [n, ROW]; terms [n, MAX_OPERANDS, MAX_TERMS, 3]: (counter, modulus, stride in bytes), stride 0 where unused;
    spans [n, MAX_OPERANDS, 2]: bounding byte interval relative to the operand's address; access [n, MAX_OPERANDS]:
    0 absent, READ or WRITE; engines [n]: index in ENGINES, or SEQ; waits [n]: bit k waits for engine k;
    loops [n, 3] for loop and brnz: (counter, count, index of the other end), zeros elsewhere;
    overlap [n]: whether the result may share bytes with what it reads, so that execute has to look each time.
    `bases` and `sizes` say where each memory lies in the arena, in bytes.
    """

    program: Program
    chip: Chip
    rows: np.ndarray
    terms: np.ndarray
    spans: np.ndarray
    access: np.ndarray
    opcodes: np.ndarray
    engines: np.ndarray
    waits: np.ndarray
    loops: np.ndarray
    overlap: np.ndarray
    bases: dict[str, int]
    sizes: dict[str, int]

    @property
    def core(self) -> Core:
        return self.program.cores[0]

    @property
    def arena_bytes(self) -> int:
        return sum(self.sizes.values())

    def line(self, index: int) -> Line:
        return self.core.lines[index]


def load(program: Program, chip: Chip) -> Plan:
    """Return the plan of a program on a chip.

    Raises Trap when the program is not well formed, when the chip lacks memory or instruction buffer, when an operand
    reaches outside its memory in some iteration, or when an instruction's result overlaps what it reads.
    """
    for message, help in check_program(program):
        raise Trap(f"{program.name}: {message}", help)
    core = program.cores[0]
    _check_memories(core, chip)
    _check_bounds(core, chip)
    needs = memory_needs(core)
    sizes = {memory: -(-needs[memory] // PLACEMENT_ALIGNMENT) * PLACEMENT_ALIGNMENT for memory in MEMORIES}
    bases, offset = {}, 0
    for memory in MEMORIES:
        bases[memory] = offset
        offset += sizes[memory]

    n = len(core.code)
    rows = np.zeros((n, ROW), np.int64)
    terms = np.zeros((n, MAX_OPERANDS, MAX_TERMS, 3), np.int64)
    spans = np.zeros((n, MAX_OPERANDS, 2), np.int64)
    access = np.zeros((n, MAX_OPERANDS), np.int64)
    loops = np.zeros((n, 3), np.int64)
    formats = {"te": chip["te.vector_format"], "pe": chip["pe.vector_format"]}
    for k, instruction in enumerate(core.code):
        rows[k] = flat_row(instruction, bases, FRACTION_BITS[formats.get(instruction.engine, "fp32")])
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
    return Plan(
        program=program,
        chip=chip,
        rows=rows,
        terms=terms,
        spans=spans,
        access=access,
        opcodes=np.array([instruction.opcode for instruction in core.code], np.int64),
        engines=np.array([(*ENGINES, "seq").index(instruction.engine) for instruction in core.code], np.int64),
        waits=np.array([instruction.waits for instruction in core.code], np.int64),
        loops=loops,
        overlap=_find_overlaps(core),
        bases=bases,
        sizes=sizes,
    )


def flat_row(instruction: Instruction, bases: dict[str, int], fraction_bits: int) -> np.ndarray:
    """Return the row of an instruction, with memories at the given offsets."""
    row = np.zeros(ROW, np.int64)
    row[:ATTRIBUTES:FIELDS] = ABSENT
    for slot, operand in enumerate(instruction.operands):
        if operand is not None:
            front = MAX_RANK - operand.rank
            fields = row[slot * FIELDS : (slot + 1) * FIELDS]
            fields[ADDRESS] = bases[operand.memory] + operand.address
            fields[DTYPE], fields[RANK] = operand.dtype.code, operand.rank
            fields[SHAPE:STRIDE] = (1,) * front + operand.shape
            fields[STRIDE:STORED] = (0,) * front + operand.strides
            fields[STORED] = operand.stored
    at = ATTRIBUTES
    for spec, value in zip(instruction.row.attributes, instruction.attributes, strict=True):
        row[at : at + spec.count] = np.array(value, np.float64).view(np.int64) if spec.is_float else value
        at += spec.count
    row[FRACTION] = fraction_bits
    return row


def _check_memories(core: Core, chip: Chip) -> None:
    words, descriptors = encode(core.code)
    if len(words) + len(descriptors) > chip["memory.ib_bytes"]:
        raise Trap(
            f"the code takes {len(words) + len(descriptors)} bytes, but the instruction buffer of {chip.name} "
            f"has {chip['memory.ib_bytes']}",
            "put what repeats into hardware loops",
        )
    held = [(symbol.name, symbol.memory, symbol.address + symbol.bytes) for symbol in core.symbols]
    held += [("a constant", segment.memory, segment.end) for segment in core.segments]
    for name, memory, end in held:
        if end > chip.memory_bytes(memory):
            raise Trap(f"{name} ends at byte {end} of {memory}, but {_has(chip, memory)}", MEMORY_MEANING[memory])


def _has(chip: Chip, memory: str) -> str:
    size = chip.memory_bytes(memory)
    return f"{chip.name} has {size} bytes of it" if size else f"{chip.name} has no {memory} memory"


def _check_bounds(core: Core, chip: Chip) -> None:
    for k, (instruction, trips) in enumerate(zip(core.code, trips_at(core.code), strict=True)):
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


def _find_overlaps(core: Core) -> np.ndarray:
    """Return where execute must look for overlaps; raise Trap where one is sure."""
    watch = np.zeros(len(core.code), bool)
    compressed = {op for instruction in core.code for _, op in instruction.accesses() if op.stored}
    for k, (instruction, trips) in enumerate(zip(core.code, trips_at(core.code), strict=True)):
        if "overlap" not in instruction.row.traps:
            continue
        out = instruction.operand("out")
        assert out is not None
        out_low, out_high = out.extent(trips)
        for weight in compressed:
            if weight.memory == out.memory and out_low < weight.address + weight.stored and weight.address < out_high:
                raise Trap(
                    f"{_where(core, k)}: the result may reach bytes {max(out_low, weight.address)} on of {out.memory}, "
                    "where a compressed weight lies",
                    "nothing may write a compressed weight: write to another tensor",
                    instruction=k,
                    line=core.lines[k].number,
                    address=max(out_low, weight.address),
                )
        for access, operand in instruction.accesses():
            if access == "write" or operand.memory != out.memory:
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


def overlap_trap(core: Core, k: int, address: int) -> Trap:
    """Return the trap of instruction k, whose result at byte `address` overlaps what it reads."""
    out = core.code[k].operand("out")
    assert out is not None
    held = [s for s in core.symbols if s.memory == out.memory and s.address <= address < s.address + s.bytes]
    place = f"byte {address - held[-1].address:,} of {held[-1].name}" if held else f"byte {address:#x} of {out.memory}"
    in_place = ", ".join(f"`{row.mnemonic}`" for row in ROWS if row.in_place)
    return Trap(
        f"{_where(core, k)}: the result, from {place} on, overlaps a tensor that the instruction reads",
        f"write to another tensor; only {in_place} may work in place, on the same elements",
        instruction=k,
        line=core.lines[k].number,
        address=address,
    )
