"""A plan and the costs of its instructions in the arrays that the compiled schedule walks.

What no chip changes is kept: with each core the distinct shapes of its instructions, for costs follow nothing else of
them, with its plan the tables. A changed number of the chip costs a look at each shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emulator.jit.arrays import Matrix, Row
from emulator.plan.plan import CorePlan, Plan, writes_constants
from emulator.plan.row import FIELDS, Field
from emulator.timing.columns import FIRST_LINK, NONE, Access, Code, Held, Sync, Term
from emulator.timing.costs import Cost, Shape, cost_of, holds, shape_of
from isa.kept import kept_with
from isa.operand import region
from isa.program import Core
from isa.table import MNEMONICS

SYNCS = {
    MNEMONICS["signal"].opcode: Sync.SIGNALS,
    MNEMONICS["wait"].opcode: Sync.AWAITS,
    MNEMONICS["barrier"].opcode: Sync.MEETS,
}


@dataclass(frozen=True, eq=False)
class Shapes:
    """The distinct shapes of a core's instructions, each with the index of the first that has it.

    of [n]: which each instruction has; `times`, for each shape: how often one task executes the instructions of it.
    """

    firsts: dict[Shape, int]
    of: Row
    times: list[int]


@dataclass(frozen=True, eq=False)
class Tables:
    """Of one core what `walk` reads whatever the chip, places counted from the core's first: code, operands, terms.

    owners [operands]: whose local memory an operand lies in, NONE in other memories.
    """

    code: Matrix
    operands: Matrix
    terms: Matrix
    owners: Row


def shapes_of(core: Core) -> Shapes:
    """Return the shapes of a core's instructions."""
    return kept_with(core, "shapes", lambda: _shapes(core))


def _shapes(core: Core) -> Shapes:
    firsts: dict[Shape, int] = {}
    numbers: dict[Shape, int] = {}
    of, times = np.zeros(len(core.code), np.int64), list[int]()
    for k, (instruction, executed) in enumerate(zip(core.code, core.times, strict=True)):
        shape = shape_of(instruction)
        if firsts.setdefault(shape, k) == k:
            numbers[shape] = len(numbers)
            times.append(0)
        of[k] = numbers[shape]
        times[of[k]] += executed
    return Shapes(firsts, of, times)


def costs_of(plan: Plan) -> tuple[dict[int, Cost], ...]:
    """Return, for each core, the costs of its instructions by their index; those of the sequencer have none."""
    known: dict[Shape, Cost | None] = {}
    found = []
    for part in plan.cores:
        shapes = shapes_of(part.core)
        for shape, k in shapes.firsts.items():
            if shape not in known:
                known[shape] = cost_of(plan.chip, part.core.code[k])
        each = [known[shape] for shape in shapes.firsts]
        found.append({k: cost for k, which in enumerate(shapes.of.tolist()) if (cost := each[which])})
    return tuple(found)


def flat(plan: Plan, costs: Sequence[Mapping[int, Cost]]) -> tuple[Matrix, ...]:
    """Return what `walk` reads of a plan and the costs of its cores: code, operands, terms and what is held.

    What is absent is left out, and the constants of a core that writes none: nothing there conflicts. An index counts
    through all cores' code.
    """
    chip, blocks_each = plan.chip, plan.chip["memory.lm_blocks"]
    codes, operands, terms, held = (list[Matrix]() for _ in range(4))
    at = np.zeros(len(Code), np.int64)
    for part, of_core in zip(plan.cores, costs, strict=True):
        tables, shapes = tables_of(plan, part), shapes_of(part.core)
        nothing = Cost(0, 0, "")
        each = [of_core.get(k, nothing) for k in shapes.firsts.values()]
        resources = [holds(chip, part.number, part.core.code[k]) for k in shapes.firsts.values()]
        counts = np.array([len(those) for those in resources])[shapes.of]
        code = tables.code + at
        code[:, Code.OCCUPANCY] = np.array([cost.occupancy for cost in each])[shapes.of]
        code[:, Code.LATENCY] = np.array([cost.latency for cost in each])[shapes.of]
        code[:, Code.FIRST_HELD] += counts.cumsum() - counts
        mine = tables.operands.copy()
        mine[:, Access.FIRST_TERM] += sum(map(len, terms))
        if blocks_each:
            blocks = FIRST_LINK + 2 * chip["chip.cores"] + tables.owners * blocks_each
            mine[:, Access.FIRST_BLOCK] = np.where(tables.owners == NONE, NONE, blocks)
        codes.append(code)
        operands.append(mine)
        terms.append(tables.terms)
        held.append(np.array([row for k in shapes.of[counts > 0].tolist() for row in resources[k]], np.int64))
        at[[Code.OTHER, Code.FIRST_OPERAND, Code.FIRST_HELD]] += len(code), len(mine), counts.sum()
    beyond = np.zeros((1, len(Code)), np.int64)
    beyond[0, Code.FIRST_OPERAND : Code.FIRST_HELD + 1] = at[Code.FIRST_OPERAND : Code.FIRST_HELD + 1]
    behind = np.zeros((1, len(Access)), np.int64)
    behind[0, Access.FIRST_TERM], behind[0, Access.FIRST_BLOCK] = sum(map(len, terms)), NONE
    return (
        np.concatenate([*codes, beyond]),
        np.concatenate([*operands, behind]),
        np.concatenate(terms),
        np.concatenate([rows.reshape(-1, len(Held)) for rows in held]),
    )


def tables_of(plan: Plan, part: CorePlan) -> Tables:
    """Return the tables of a core of a plan."""
    return kept_with(part, "tables", lambda: _tables(plan, part))


def _tables(plan: Plan, part: CorePlan) -> Tables:
    code = np.zeros((len(part.rows), len(Code)), np.int64)
    operands: list[tuple[int, ...]] = []
    terms: list[tuple[int, int, int]] = []
    owners, firsts = [], []
    code[:, Code.RUNS_ON], code[:, Code.WAITS] = part.engines, part.waits
    code[:, Code.COUNTER : Code.OTHER + 1] = part.loops
    code[:, Code.FETCHED_BYTES] = part.fetched
    for loop in part.core.loops if part.fetched.any() else ():
        code[[loop.first, loop.last], Code.FETCHED_BYTES] = part.fetched[loop.first : loop.last].sum()
    # Numbers of Python from here on: those of numpy take ten times as long, one by one.
    slots = part.spans.shape[1]
    bounds = (part.rows[:, Field.ADDRESS : slots * FIELDS : FIELDS, None] + part.spans).tolist()
    access = part.access.tolist()
    unwritten = () if writes_constants(part) else ("cb",)
    for k, instruction in enumerate(part.core.code):
        firsts.append(len(operands))
        if instruction.opcode in SYNCS:
            code[k, Code.SYNC], code[k, Code.NUMBER] = SYNCS[instruction.opcode], instruction.attributes[0][0]
        # What is written comes first there, and last here: most conflicts are with it, and are looked for from the end.
        present = [slot for slot, operand in enumerate(instruction.operands) if operand is not None]
        for slot, (_, operand, size) in reversed([*zip(present, instruction.traffic(), strict=True)]):
            if operand.memory not in unwritten:
                owner = part.number if operand.core is None else operand.core
                owners.append(owner if operand.memory == "lm" else NONE)
                memory = plan.bases[region(owner, operand.memory)]
                operands.append((*bounds[k][slot], access[k][slot], len(terms), NONE, memory, size))
                terms += [(term.counter, term.modulus, term.stride) for term in operand.terms]
    code[:, Code.FIRST_OPERAND] = firsts
    return Tables(
        code,
        np.array(operands, np.int64).reshape(-1, len(Access)),
        np.array(terms, np.int64).reshape(-1, len(Term)),
        np.array(owners, np.int64),
    )
