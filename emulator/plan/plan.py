"""Plan: a Program made flat for one chip, in arrays that execute and schedule walk.

All memories of the chip that the program uses, those of each core and those that all share, lie in one arena of bytes;
an address here is an offset in it. Each instruction is a row of int64 (emulator/plan/row.py), whose addresses follow
the loops, through `terms`.
"""

from dataclasses import dataclass
from functools import cached_property
from math import lcm

import numpy as np

from emulator.plan.row import FIELDS, Field
from isa.chip import Chip
from isa.operand import MAX_RANK, TASK_COUNTER
from isa.program import Core, Line, Program, Symbol


@dataclass(frozen=True, eq=False)
class CorePlan:
    """The code of core `number`, n instructions.

    rows [n, ROW]; terms [n, MAX_OPERANDS, MAX_TERMS, 3]: (counter, modulus, stride in bytes), stride 0 where unused;
    spans [n, MAX_OPERANDS, 2]: bounding byte interval relative to the operand's address; access [n, MAX_OPERANDS]:
    0 absent, READ or WRITE; engines [n]: index in ENGINES, or SEQ; waits [n]: bit k waits for engine k;
    loops [n, 3] for loop and brnz: (counter, count, index of the other end), zeros elsewhere;
    overlap [n]: whether the result may share bytes with what it reads, so that execute has to look each time;
    fetched [n]: bytes that are fetched with an instruction of an engine, all 0 where the instruction buffer holds them.
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
    fetched: np.ndarray

    def line(self, index: int) -> Line:
        return self.core.lines[index]

    def where(self, index: int) -> str:
        """Return the place of an instruction and, where it is known, its text."""
        return where(self.core, index)


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A program loaded for a chip, good for tasks 0 to `tasks` - 1; its cores have tensors as large as they grow.

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

    @cached_property
    def growths(self) -> np.ndarray:
        """The sizes that grow, [n, 5]: row, counted through all cores, column, size in task 0, modulus, step."""
        found, first = [], 0
        for core in self.program.cores if self.program.grows else ():
            for k, instruction in enumerate(core.code):
                for slot, operand in enumerate(instruction.operands):
                    if operand and operand.growth:
                        dimension, modulus, step = operand.growth
                        column = slot * FIELDS + Field.SHAPE + MAX_RANK - operand.rank + dimension
                        found.append((first + k, column, operand.shape[dimension], modulus, step))
            first += len(core.code)
        return np.array(found, np.int64).reshape(-1, 5)

    def resize(self, rows: np.ndarray, task: int) -> None:
        """Let rows of all cores, [rows, ROW], have the sizes of a task."""
        if len(self.growths):
            at, column, size, modulus, step = self.growths.T
            rows[at, column] = size + step * (task % modulus)

    @property
    def opcodes(self) -> list[int]:
        """The opcodes that the program has, each once."""
        return sorted({int(opcode) for part in self.cores for opcode in part.opcodes})

    def find(self, name: str) -> list[tuple[int, Symbol]]:
        """Return (core, symbol) of each tensor that a name may mean: `coreK.name`, or a name by itself."""
        return [
            (plan.number, symbol)
            for plan in self.cores
            for symbol in plan.core.symbols
            if name in (symbol.name, f"core{plan.number}.{symbol.name}")
        ]


def repeats_after(plan: Plan) -> int:
    """Return after how many tasks addresses and sizes repeat; all tasks where they do not."""
    code = (instruction for part in plan.cores for instruction in part.core.code)
    operands = (operand for instruction in code for _, operand in instruction.accesses())
    moduli = {term.modulus for operand in operands for term in operand.terms if term.counter == TASK_COUNTER}
    moduli.update(plan.growths[:, 3].tolist())
    return plan.tasks if 0 in moduli else min(lcm(*moduli), plan.tasks)


def writes_constants(part: CorePlan) -> bool:
    """Whether an instruction of a core writes to its constant buffer: else no access there conflicts with another."""
    return any(kind == "write" and o.memory == "cb" for i in part.core.code for kind, o in i.accesses())


def where(core: Core, k: int) -> str:
    """Return the place of an instruction and, where it is known, its text."""
    line = core.lines[k]
    return f"{line.file}:{line.number}: {line.text or core.code[k].row.mnemonic}"
