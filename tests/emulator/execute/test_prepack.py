"""Which weights are constant, and so packed once."""

import numpy as np
import pytest

from emulator.execute.prepack import constants_of
from emulator.execute.session import execute
from emulator.plan.load import load
from isa.chip import load_chip
from ratel import AssemblyWarning, assemble

EDGE = load_chip("edge")
TEXT = """\
.input  x i8[4, 8] = 2
.input  given i8[8, 3] = 1
.weight kept i8[8, 3] scale=1 = 3
.weight changed i8[8, 3] scale=1 = 4
.output a i8[4, 3] scale=1
.output b i8[4, 3] scale=1
.output c i8[4, 3] scale=1
.output d i8[4, 3] scale=1

loop i, 2
    matmul a, x, kept
    matmul b, x, kept, relu
    matmul c, x, changed
    matmul d, x, given
    fill changed, value=5
brnz i
end
"""


def test_only_what_nothing_writes_is_packed_once() -> None:
    """Two instructions share one packed form; what an instruction writes or an input brings is packed each time."""
    with pytest.warns(AssemblyWarning, match="W402.*`changed` is written"):
        plan = load(assemble(TEXT), EDGE)
    weights, _, arena_bytes = constants_of(plan)
    code = plan.program.cores[0].code
    users = [k for k, instruction in enumerate(code) if instruction.row.mnemonic == "matmul"]
    assert [weight.users for weight in weights] == [[(0, users[0]), (0, users[1])]]
    assert arena_bytes > plan.arena_bytes
    outputs = execute(plan, {"x": np.full((4, 8), 2, np.int8), "given": np.ones((8, 3), np.int8)}, poison=1).outputs
    assert [int(outputs[name][0, 0]) for name in "abcd"] == [48, 48, 80, 16]
