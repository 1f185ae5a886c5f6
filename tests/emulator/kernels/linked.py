"""Rows of single instructions, as kernels take them."""

from collections.abc import Callable, Mapping

import numpy as np

from emulator.jit.jobs import compile_all
from emulator.kernels.table import CHAINS, kernel_jobs, key_of, link
from emulator.plan.row import flat_row
from isa.instruction import Instruction
from isa.operand import Operand


def nowhere(_: Operand) -> int:
    """Return that an operand's memory begins with the arena."""
    return 0


def linked_row(
    instruction: Instruction, base: Callable[[Operand], int] = nowhere, formats: Mapping[str, str] | None = None
) -> np.ndarray:
    """Return the row of an instruction whose parts are compiled, and lie where it says."""
    if instruction.opcode in CHAINS:
        compile_all(kernel_jobs([key_of(instruction)]))
    row = flat_row(instruction, base, formats or {})
    link(row)
    return row
