"""Which weights, and constants of chains, are constant, and so packed once."""

import numpy as np
import pytest

from emulator.execute.prepack import constants_of
from emulator.execute.session import Session, execute
from emulator.plan.load import load
from emulator.plan.row import Call
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


CHAINED = """\
.chip {chip}
.input  x i8[4, 8] = 2
.weight w i8[8, 3] scale=1 = 3
.const  half f32[3] = [0.5, 0.25, -0.3]
.const  far f32[3] = 1e-30
.const  changed f32[3] = 1
.local  three f32[3]
.output a i8[4, 3]
.output b i8[4, 3]
.output c i8[4, 3]
.output d i8[4, 3]

loop i, 2
    matmul a, x, w, ew1_scale=half
    matmul b, x, w, ew1_scale=half, ew3_scale=half
    matmul c, x, w, ew1_scale=far
    matmul d, x, w, ew1_scale=changed
    fill three, value=3
    copy changed, three
brnz i
end
"""


@pytest.mark.parametrize(("chip", "threads"), [("edge", 1), ("hanguang800", 2)])
def test_constants_of_chains_are_looked_at_once(chip: str, threads: int) -> None:
    """Those that nothing writes are packed; those that are far from 1 are looked at each time; all give the same."""
    with pytest.warns(AssemblyWarning, match="W402.*`changed` is written"):
        program = assemble(CHAINED.format(chip=chip))
    with Session(load(program, load_chip(chip)), threads=threads) as session:
        code = program.cores[0].code
        users = [k for k, instruction in enumerate(code) if instruction.row.mnemonic == "matmul"]
        packed = session.walkers.given_rows()[users, Call.CONSTANTS]
        assert packed[0] > 0 and packed[1] > 0 and packed[0] != packed[1] and packed[2] == packed[3] == 0
        outputs = session.run({"x": np.full((4, 8), 2, np.int8)}).outputs
    # 48 in each accumulator; 14.4 and 4.32 round to the nearest in either format.
    assert [outputs[name][0].tolist() for name in "abcd"] == [[24, 12, -14], [12, 3, 4], [0, 0, 0], [127, 127, 127]]


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_constants_may_be_noise() -> None:
    """Of so many numbers some are a NaN that NumPy warns of as it converts it."""
    text = ".input x i8[1, 4096]\n.local c f32[4096] in cb\n.output y i8[1, 4096]\neltwise y, x, ew1_scale=c\nend"
    plan, x = load(assemble(text), EDGE), np.ones((1, 4096), np.int8)
    noise = [execute(plan, {"x": x}, poison=seed).outputs["y"] for seed in (1, 2)]
    assert (noise[0] != noise[1]).any()


def test_panels_of_floats_are_of_the_type_of_x() -> None:
    """One weight of integers is packed for f16 and for bf16, once each."""
    text = (
        ".input x f16[3, 4] = 1\n.input z bf16[3, 4] = 1\n.weight w i8[4, 4] = 3\n.output y f32[3, 4]\n"
        ".output u f32[3, 4]\nmatmul y, x, w\nmatmul u, z, w\nmatmul u, z, w\nend"
    )
    plan = load(assemble(text), load_chip("zhenwu810e"))
    assert [len(weight.users) for weight in constants_of(plan).weights] == [1, 2]
    outputs = execute(plan, {}).outputs
    assert (outputs["y"] == 12).all() and (outputs["u"] == 12).all()
