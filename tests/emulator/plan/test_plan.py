"""Loading a program for a chip: what it refuses, and what the arrays hold."""

from dataclasses import replace

import pytest

from emulator.jit.cache import sources
from emulator.plan.load import load
from emulator.plan.row import ABSENT, FIELDS, Field, attribute_slot, operand_slot
from isa.chip import load_chip
from isa.dtypes import I8, I32
from isa.encoding import decode, encode
from isa.errors import Trap
from isa.instruction import Instruction, build
from isa.operand import Operand, Term, dense
from isa.program import Core, Line, Program, Segment, Symbol
from ratel import api
from ratel.testing import run_interleaved

CHIP = load_chip("edge")
LM = CHIP["memory.lm_bytes"]


def program_of(*code: Instruction, segments: tuple = (), symbols: tuple = ()) -> Program:
    body = (*code, build("end"))
    lines = tuple(Line("test.npu", 10 + k, "") for k in range(len(body)))
    return Program("test", load_chip("edge"), "hardware", (Core(body, lines, segments, symbols),))


def at(address: int, size: int = 16, *terms: Term) -> Operand:
    return Operand("lm", address, I8, (size,), (1,), terms)


def loop(count: int, *body: Instruction) -> tuple[Instruction, ...]:
    return (build("loop", counter=1, count=count), *body, build("brnz", counter=1))


def test_rows_hold_addresses_in_one_arena() -> None:
    held = Segment("dev", 0, bytes(1000))
    load_it = build("load", out=at(512), x=dense("dev", 96, I8, (16,)))
    plan = load(program_of(load_it, segments=(held,)), CHIP)
    (part,) = plan.cores
    assert part.rows[0, Field.ADDRESS] == plan.bases[0, "lm"] + 512
    assert part.rows[0, FIELDS + Field.ADDRESS] == plan.bases[0, "dev"] + 96
    assert part.rows[0, 2 * FIELDS + Field.ADDRESS] == ABSENT
    assert plan.sizes == {(0, "lm"): 768, (0, "cb"): 0, (0, "host"): 0, (0, "dev"): 1024} and plan.arena_bytes == 1792
    assert (
        operand_slot("load", "x") == FIELDS
        and attribute_slot("maxpool", "stride") == attribute_slot("maxpool", "window") + 2
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            (build("copy", out=at(LM - 15), x=at(0)),),
            ["test.npu:10: copy: `out`", f"{LM + 1}", "edge has 262144 bytes"],
        ),
        (loop(5, build("copy", out=at(LM - 64, 16, Term(1, 0, 16)), x=at(0))), ["test.npu:11", f"to {LM + 16} of lm"]),
        (loop(5, build("copy", out=at(0, 16, Term(1, 0, -16)), x=at(4096))), ["bytes -64 to 16"]),
        ((build("fill", out=dense("dev", 2**30, I8, (1,))),), ["dev", "268435456"]),
        ((build("copy", out=at(8), x=at(0)),), ["byte 0x8 of lm on, overlaps", "eltwise"]),
        ((build("eltwise", out=at(8), x=at(0)),), ["overlaps"]),
    ],
)
def test_traps(code: tuple[Instruction, ...], words: list[str]) -> None:
    with pytest.raises(Trap) as caught:
        load(program_of(*code), CHIP)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.line == 10 + (caught.value.instruction or 0)


def test_a_modulus_keeps_within_bounds() -> None:
    buffers = at(LM - 32, 16, Term(1, 2, 16))
    assert load(program_of(*loop(1000, build("copy", out=buffers, x=at(0)))), CHIP)


def test_memory_that_the_chip_lacks() -> None:
    program = program_of(build("load", out=at(0), x=dense("dev", 0, I8, (16,))))
    with pytest.raises(Trap, match="hanguang800 has no dev memory"):
        load(program, load_chip("hanguang800"))


def test_symbols_and_data_must_fit() -> None:
    symbol = Symbol("big", "local", "lm", LM - 8, I8, (16,))
    with pytest.raises(Trap, match=r"big ends at byte 262152 of lm"):
        load(program_of(symbols=(symbol,)), CHIP)
    with pytest.raises(Trap, match="cb"):
        load(program_of(segments=(Segment("cb", CHIP["memory.cb_bytes"], b"1234"),)), CHIP)


def test_code_must_fit_the_instruction_buffer() -> None:
    with pytest.raises(Trap, match="instruction buffer of edge has 128"):
        load(program_of(build("copy", out=at(0), x=at(64))), CHIP.replace(memory__ib_bytes=128))


def test_in_place_eltwise_and_interleaved_copies_may_share_an_interval() -> None:
    load(program_of(build("eltwise", out=at(0), x=at(0))), CHIP)
    left, right = (Operand("lm", k, I8, (4, 8), (16, 1)) for k in (0, 8))
    plan = load(program_of(build("copy", out=left, x=right)), CHIP)
    assert not plan.cores[0].overlap.any()


def test_the_result_of_a_product_may_be_its_second_tensor_and_no_factor() -> None:
    sums, x, w = dense("lm", 0, I32, (4, 4)), dense("lm", 256, I8, (4, 4)), dense("lm", 512, I8, (4, 4))
    plan = load(program_of(build("matmul", out=sums, x=x, w=w, ew2=sums, ew2_op="add")), CHIP)
    assert not plan.cores[0].overlap.any()
    for operands in ({"x": replace(x, address=0)}, {"w": replace(w, address=0)}, {"ew2": replace(sums, address=4)}):
        given = {"x": x, "w": w, "ew2": sums, **operands}
        with pytest.raises(Trap, match="ew2 of `conv`"):
            load(program_of(build("matmul", out=sums, ew2_op="add", **given)), CHIP)


@pytest.mark.parametrize("turns", [1, 2])
@pytest.mark.parametrize(("mnemonic", "factor"), [("matmul", "x"), ("matmul", "w"), ("conv", "x"), ("dwconv", "x")])
def test_what_may_be_the_result_is_so_by_its_slot_and_not_as_the_object_that_it_is(
    mnemonic: str, factor: str, turns: int
) -> None:
    """An object file's operands are one object where they are equal: it traps as the text does, at once or as it runs.

    Of two turns it is in the second that the result comes to lie where the factor and the second tensor do.
    """
    shape, of_w = {
        "matmul": ((4, 4), (4, 4)),
        "conv": ((1, 4, 4, 4), (4, 1, 1, 4)),
        "dwconv": ((1, 4, 4, 4), (1, 1, 1, 4)),
    }[mnemonic]
    one = dense("lm", 64, I8, shape)
    out = one if turns == 1 else replace(one, address=0, terms=(Term(1, 0, 64),))
    given = {"x": dense("lm", 256, I8, shape), "w": dense("lm", 512, I8, of_w), "ew2": one, factor: one}
    code = loop(turns, build(mnemonic, out=out, ew2_op="add", **given))
    apart = tuple(
        replace(instruction, operands=tuple(operand and replace(operand) for operand in instruction.operands))
        for instruction in code
    )
    for form in (code, apart, decode(*encode(code))):
        program = program_of(*form)
        with pytest.raises(Trap, match="overlaps a tensor that the instruction reads"):
            api.run(program, check=False)
        with pytest.raises(Trap, match="overlaps a tensor that the instruction reads"):
            run_interleaved(program, 0)


def test_overlap_in_some_iteration_is_watched() -> None:
    plan = load(program_of(*loop(4, build("copy", out=at(32), x=at(0, 16, Term(1, 0, 16))))), CHIP)
    assert plan.cores[0].overlap.tolist() == [False, True, False, False]


def test_compiled_code_is_made_of_the_row_alone_and_not_of_loading_or_its_wording() -> None:
    assert {path.name for path in sources() if path.parent.name == "plan"} == {"row.py", "barriers.py", "blocks.py"}
