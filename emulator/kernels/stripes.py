"""Stripes: a result too wide for scratch memory, a stripe of its columns at a time (emulator/plan/scratch.py).

`in_stripes` calls the kernel once for each stripe, with a row of the plan that has the operands cut; no bit depends on
it, for columns know nothing of each other.
"""

from emulator.jit.arrays import Bytes, Row
from emulator.jit.compile import hot
from emulator.jit.intrinsics import call_kernel, whole
from emulator.kernels.numbers import address
from emulator.kernels.rows import OUT
from emulator.kernels.workspace import is_ended
from emulator.plan.blocks import CUT_BITS
from emulator.plan.row import ABSENT, ATTRIBUTES, FIELDS, Call, Field

INNER = whole(Call.INNER)


@hot
def in_stripes(arena: Bytes, row: Row) -> None:
    """Call the kernel at INNER for STRIPE columns of the result after others; CUT has the dimension of each operand."""
    columns, width = row[OUT + Field.SHAPE + 3], row[Call.STRIPE]
    copy = row.copy()
    copy[Call.CONSTANTS] = 0
    for low in range(0, columns, width):
        if is_ended(arena, row):
            return
        some, cut = min(width, columns - low), row[Call.CUT]
        for slot in range(0, ATTRIBUTES, FIELDS):
            dimension = (cut & ((1 << CUT_BITS) - 1)) - 1
            cut >>= CUT_BITS
            if dimension >= 0 and row[slot + Field.ADDRESS] != ABSENT and row[slot + Field.SHAPE + dimension] > 1:
                first = low * row[slot + Field.STRIDE + dimension]
                copy[slot + Field.ADDRESS] = address(row, slot, row[slot + Field.ADDRESS], first)
                copy[slot + Field.SHAPE + dimension] = some
        call_kernel(row, INNER, arena, copy)
        row[Call.STATUS] = copy[Call.STATUS]
        if row[Call.STATUS] != 0:
            return
