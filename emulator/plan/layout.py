"""Layout: all of a plan that follows from the program alone, worked out once and kept with it.

A sweep loads one program for chip after chip; what is left for each is to compare sizes. Only addresses and formats
make rows, so chips of the same formats have the same CorePlans, and what others keep with those.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emulator.plan.plan import CorePlan, where
from emulator.plan.row import READ, ROW, WRITE, flat_row
from emulator.plan.traps import overlap_trap
from isa.encoding import WORD_BYTES, encode, fetched_bytes
from isa.errors import Trap
from isa.instruction import Instruction
from isa.kept import kept_with
from isa.operand import MAX_TERMS, MEMORIES, PLACEMENT_ALIGNMENT, Operand, overlaps, region
from isa.program import Core, Program
from isa.row import ENGINES
from isa.table import MAX_OPERANDS

Extent = tuple[int, int]
# Formats and ways to fetch of which the CorePlans are kept.
MOST_KEPT = 4


def layout_of(program: Program, tasks: int) -> "Layout":
    """Return the layout of a well-formed program in so many tasks; that of the last number of them is kept."""
    kept = kept_with(program, "layout", dict[int, Layout])
    found = kept.get(tasks)
    if found is None:
        found = Layout(tuple(CoreLayout(k, core, tasks) for k, core in enumerate(program.cores)), {})
        # Other threads may ask for other numbers of tasks meanwhile: what is returned is what was made.
        kept.clear()
        kept[tasks] = found
    return found


@dataclass(frozen=True, eq=False)
class CoreLayout:
    """The code of core `number`, and what it holds, in so many tasks."""

    number: int
    core: Core
    tasks: int

    @cached_property
    def held(self) -> list[tuple[str, str, int]]:
        """What lies in memory from the start: its name, the memory, the byte behind it."""
        symbols = [(symbol.name, symbol.memory, symbol.end) for symbol in self.core.symbols]
        return symbols + [("a constant", segment.memory, segment.end) for segment in self.core.segments]

    @cached_property
    def extents(self) -> list[list[Extent | None]]:
        """The bytes [low, high) that each operand may touch in any iteration, by instruction and slot."""
        return [
            [None if operand is None else operand.extent(trips) for operand in instruction.operands]
            for instruction, trips in zip(self.core.code, self.core.trips(self.tasks), strict=True)
        ]

    @cached_property
    def reach(self) -> dict[tuple[int | None, str], Extent]:
        """The bytes [low, high) that all operands together may touch, by whose memory it is (see Operand) and which."""
        found: dict[tuple[int | None, str], Extent] = {}
        for instruction, extents in zip(self.core.code, self.extents, strict=True):
            for operand, extent in zip(instruction.operands, extents, strict=True):
                if operand is not None and extent is not None:
                    low, high = found.get((operand.core, operand.memory), extent)
                    found[operand.core, operand.memory] = min(low, extent[0]), max(high, extent[1])
        return found

    @cached_property
    def code_bytes(self) -> int:
        """The bytes of its code: words and operand descriptors."""
        return sum(map(len, encode(self.core.code)))

    @cached_property
    def fetched(self) -> np.ndarray:
        """The bytes that are fetched with each instruction, where the instruction buffer does not hold all.

        A `loop` comes with the instruction of an engine behind it, `brnz` and `end` with the one before.
        """
        sizes = np.zeros(len(self.core.code), np.int64)
        last, loops = None, 0
        for k, instruction in enumerate(self.core.code):
            if instruction.row.engine != "seq":
                sizes[k], last, loops = fetched_bytes(instruction) + loops, k, 0
            elif instruction.row.mnemonic == "loop" or last is None:
                loops += WORD_BYTES
            else:
                sizes[last] += WORD_BYTES
        return sizes


@dataclass(frozen=True, eq=False)
class Layout:
    """The layouts of a program's cores, and how their memories lie in one arena.

    `kept` has CorePlans by the formats and the ways to fetch that they are for.
    """

    cores: tuple[CoreLayout, ...]
    kept: dict[tuple[object, ...], tuple[CorePlan, ...]]

    @cached_property
    def sizes(self) -> dict[tuple[int, str], int]:
        """The bytes of each memory that the cores use, up to a multiple of PLACEMENT_ALIGNMENT."""
        needs = {region(k, memory): 0 for memory in MEMORIES for k in range(len(self.cores))}
        for part in self.cores:
            ends = [(region(part.number, memory), end) for _, memory, end in part.held]
            for (owner, memory), (_, high) in part.reach.items():
                ends.append((region(part.number if owner is None else owner, memory), high))
            for place, end in ends:
                needs[place] = max(needs[place], end)
        return {place: -(-end // PLACEMENT_ALIGNMENT) * PLACEMENT_ALIGNMENT for place, end in needs.items()}

    @cached_property
    def bases(self) -> dict[tuple[int, str], int]:
        """Where each memory begins in the arena."""
        bases, offset = {}, 0
        for place, size in self.sizes.items():
            bases[place] = offset
            offset += size
        return bases

    @cached_property
    def overlaps(self) -> list[np.ndarray]:
        """Where execute must look for overlaps, by core.

        Raises Trap where one is sure, or where a compressed weight may be written.
        """
        compressed = _compressed([part.core for part in self.cores])
        return [_find_overlaps(part, compressed) for part in self.cores]

    def core_plans(self, formats: Mapping[str, str], fetches: Sequence[bool]) -> tuple[CorePlan, ...]:
        """Return the plans of all cores, in a chip's formats, those that fetch their code and those that do not."""
        overlaps, key = self.overlaps, (*formats.items(), *fetches)
        found = self.kept.get(key)
        if found is None:
            found = tuple(
                self._core_plan(part, formats, overlap, fetched)
                for part, overlap, fetched in zip(self.cores, overlaps, fetches, strict=True)
            )
            if len(self.kept) >= MOST_KEPT:
                self.kept.clear()
            self.kept[key] = found
        return found

    def _core_plan(self, part: CoreLayout, formats: Mapping[str, str], overlap: np.ndarray, fetches: bool) -> CorePlan:
        def base(operand: Operand) -> int:
            return self.bases[region(part.number if operand.core is None else operand.core, operand.memory)]

        core, n = part.core, len(part.core.code)
        rows = np.zeros((n, ROW), np.int64)
        terms = np.zeros((n, MAX_OPERANDS, MAX_TERMS, 3), np.int64)
        spans = np.zeros((n, MAX_OPERANDS, 2), np.int64)
        access = np.zeros((n, MAX_OPERANDS), np.int64)
        loops = np.zeros((n, 3), np.int64)
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
            number=part.number,
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
            fetched=part.fetched if fetches else np.zeros(n, np.int64),
        )


def _compressed(cores: Sequence[Core]) -> dict[tuple[int, str], set[Operand]]:
    """Return the compressed weights that the cores read, by memory."""
    found: dict[tuple[int, str], set[Operand]] = defaultdict(set)
    for k, core in enumerate(cores):
        for instruction in core.code:
            for _, operand in instruction.accesses():
                if operand.stored and not operand.form:
                    found[region(k, operand.memory)].add(operand)
    return found


def _find_overlaps(part: CoreLayout, compressed: Mapping[tuple[int, str], set[Operand]]) -> np.ndarray:
    """Return where execute must look for overlaps; raise Trap where one is sure, or a compressed weight is written."""
    number, core = part.number, part.core
    watch = np.zeros(len(core.code), bool)
    for k, (instruction, extents) in enumerate(zip(core.code, part.extents, strict=True)):
        if "overlap" not in instruction.row.traps:
            continue
        for at in results_of(instruction):
            out, extent = instruction.operands[at], extents[at]
            assert out is not None and extent is not None
            out_low, out_high = extent
            for weight in compressed.get(region(number if out.core is None else out.core, out.memory), ()):
                if out_low < weight.address + weight.stored and weight.address < out_high:
                    raise Trap(
                        f"{where(core, k)}: the result may reach bytes {max(out_low, weight.address)} on of "
                        f"{out.memory}, where a compressed weight lies",
                        "nothing may write a compressed weight: write to another tensor",
                        core=number,
                        instruction=k,
                        line=core.lines[k].number,
                        address=max(out_low, weight.address),
                    )
        for pair in beside_results(instruction):
            (out, extent), (operand, other) = ((instruction.operands[slot], extents[slot]) for slot in pair)
            assert out is not None and extent is not None and operand is not None and other is not None
            if other[1] <= extent[0] or extent[1] <= other[0]:
                continue
            if operand.terms != out.terms:
                watch[k] = True
            elif shares_bytes(instruction, pair, out.address, operand.address):
                raise overlap_trap(number, core, k, pair, out.address)
    return watch


def results_of(instruction: Instruction) -> list[int]:
    """Return the operands that an instruction writes, by slot."""
    pairs = enumerate(zip(instruction.row.operands, instruction.operands, strict=True))
    return [slot for slot, (spec, operand) in pairs if operand is not None and spec.access == "write"]


def beside_results(instruction: Instruction) -> list[tuple[int, int]]:
    """Return the pairs, by slot, of a result and what the instruction reads, or writes too, in the same memory."""
    results = results_of(instruction)

    def place(slot: int) -> tuple[str, int | None] | None:
        operand = instruction.operands[slot]
        return None if operand is None else (operand.memory, operand.core)

    slots = range(len(instruction.operands))
    return [
        (result, slot)
        for result in results
        for slot in slots
        if (slot not in results or slot > result) and place(slot) == place(result)
    ]


def shares_bytes(instruction: Instruction, pair: tuple[int, int], out_address: int, address: int) -> bool:
    """Return whether a result at `out_address` overlaps another operand at `address`, other than in place.

    The pair, by slot, says whether it may work in place: equal operands of other slots, or the same object there, may
    not.
    """
    out, operand = (instruction.operands[slot] for slot in pair)
    assert out is not None and operand is not None
    in_place = (
        instruction.row.operands[pair[1]].name in instruction.row.in_place
        and out_address == address
        and (out.shape, out.strides, out.dtype.bytes) == (operand.shape, operand.strides, operand.dtype.bytes)
    )
    return not in_place and overlaps(out, out_address, operand, address)
