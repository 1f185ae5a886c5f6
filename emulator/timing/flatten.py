"""A plan and the costs of its instructions in the arrays that the compiled schedule walks."""

from collections.abc import Mapping, Sequence

import numpy as np

from emulator.jit.arrays import Matrix
from emulator.plan.plan import Plan, writes_constants
from emulator.plan.row import FIELDS, Field
from emulator.timing.columns import FIRST_LINK, NONE, Access, Code, Held, Sync, Term
from emulator.timing.costs import Cost, holds
from isa.operand import region
from isa.table import MNEMONICS

SYNCS = {
    MNEMONICS["signal"].opcode: Sync.SIGNALS,
    MNEMONICS["wait"].opcode: Sync.AWAITS,
    MNEMONICS["barrier"].opcode: Sync.MEETS,
}


def flat(plan: Plan, costs: Sequence[Mapping[int, Cost]]) -> tuple[Matrix, ...]:
    """Return what `walk` reads of a plan and the costs of its cores: code, operands, terms and what is held.

    What is absent is left out, and the constants of a core that writes none: nothing there conflicts. An index counts
    through all cores' code.
    """
    code = np.zeros((sum(len(part.rows) for part in plan.cores) + 1, len(Code)), np.int64)
    chip, blocks_each = plan.chip, plan.chip["memory.lm_blocks"]
    operands: list[tuple[int, ...]] = []
    held: list[tuple[int, int]] = []
    terms: list[tuple[int, int, int]] = []
    start = 0
    for part, of_core in zip(plan.cores, costs, strict=True):
        n = len(part.rows)
        mine = code[start : start + n]
        mine[:, Code.RUNS_ON], mine[:, Code.WAITS] = part.engines, part.waits
        mine[:, Code.COUNTER : Code.OTHER + 1] = part.loops
        mine[:, Code.OTHER] += start
        mine[:, Code.FETCHED_BYTES] = part.fetched
        for loop in part.core.loops if part.fetched.any() else ():
            mine[[loop.first, loop.last], Code.FETCHED_BYTES] = part.fetched[loop.first : loop.last].sum()
        # Numbers of Python from here on: those of numpy take ten times as long, one by one.
        slots = part.spans.shape[1]
        bounds = (part.rows[:, Field.ADDRESS : slots * FIELDS : FIELDS, None] + part.spans).tolist()
        access, cycles, firsts = part.access.tolist(), [], []
        unwritten = () if writes_constants(part) else ("cb",)
        for k, instruction in enumerate(part.core.code):
            cost = of_core.get(k)
            cycles.append((cost.occupancy, cost.latency) if cost else (0, 0))
            firsts.append((len(operands), len(held)))
            held += holds(chip, part.number, instruction)
            if instruction.opcode in SYNCS:
                mine[k, Code.SYNC], mine[k, Code.NUMBER] = SYNCS[instruction.opcode], instruction.attributes[0][0]
            for slot, operand in enumerate(instruction.operands):
                if operand is not None and operand.memory not in unwritten:
                    owner, block = part.number if operand.core is None else operand.core, NONE
                    if blocks_each and operand.memory == "lm":
                        block = FIRST_LINK + 2 * chip["chip.cores"] + owner * blocks_each
                    memory = plan.bases[region(owner, operand.memory)]
                    operands.append((*bounds[k][slot], access[k][slot], len(terms), block, memory, operand.bytes))
                    terms += [(term.counter, term.modulus, term.stride) for term in operand.terms]
        mine[:, Code.OCCUPANCY : Code.LATENCY + 1] = cycles
        mine[:, Code.FIRST_OPERAND : Code.FIRST_HELD + 1] = firsts
        start += n
    code[start, Code.FIRST_OPERAND], code[start, Code.FIRST_HELD] = len(operands), len(held)
    operands.append((0, 0, 0, len(terms), NONE, 0, 0))
    tables = ((operands, Access), (terms, Term), (held, Held))
    return code, *(np.array(rows, np.int64).reshape(-1, len(columns)) for rows, columns in tables)
