"""Every rule of every row refuses what it should, at the right place and in words."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.diagnostic import Diagnostic
from isa.dtypes import I8
from isa.instruction import Instruction, build
from isa.operand import MAX_LOOP_DEPTH, Operand, Term, dense
from isa.table import MNEMONICS, ROWS, TABLE
from isa.verify import check_code, check_instruction
from ratel.testing.instructions import instructions
from tests.isa.bad_inputs import BAD, GOOD, make

CASES = [(row, bad) for row in ROWS for bad in BAD[row.opcode]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_good_instructions_have_no_problem(row):
    assert check_instruction(GOOD[row.opcode]) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_bad_inputs(row):
    for bad in BAD[row.opcode]:
        problems = check_instruction(make(row, bad))
        # An operand that breaks one rule may break a second, as a misaligned address of a wrong type does.
        matching = [p for p in problems if p.message.startswith(bad.message)]
        assert matching, f"{bad} gave {problems}"
        (problem,) = dict.fromkeys(matching)
        assert (problem.place, problem.code) == (bad.field, bad.kind), bad
        assert bad.help is None or problem.help == bad.help, bad
        assert all(p.place == bad.field for p in problems), f"{bad} gave {problems}"


def test_each_engine_row_has_a_bad_input_of_each_kind_that_can_befall_it():
    for row in ROWS:
        kinds = {bad.kind for bad in BAD[row.opcode]}
        if row.operands:
            assert {"missing", "memory", "rank", "shape", "stride", "range"} <= kinds, row.mnemonic
        if any(spec.dtypes[-1].bytes > 1 for spec in row.operands):
            assert "align" in kinds, row.mnemonic
        if any(len(spec.dtypes) < 3 for spec in row.operands) or row.mnemonic in ("load", "store", "copy", "transpose"):
            assert "type" in kinds, row.mnemonic
        if any(spec.takes for spec in row.choices):
            assert "chain" in kinds, row.mnemonic
        if row.attributes:
            assert "range" in kinds, row.mnemonic
        fields = {bad.field for bad in BAD[row.opcode]}
        assert {spec.name for spec in row.operands + row.attributes} <= fields, row.mnemonic


@pytest.mark.parametrize("row", [row for row in ROWS if row.operands], ids=lambda row: row.mnemonic)
def test_any_values_end_in_problems(row):
    sizes = st.sampled_from((-(2**63), -1, 0, 1, 2, 3, 7, 256, 2**31 - 1, 2**31, 2**62, 2**70))
    numbers = st.one_of(sizes, st.floats(), st.sampled_from((0.5, -0.0, 10**400)))

    @settings(max_examples=40)
    @given(instructions(row.mnemonic), st.data())
    def check(instruction: Instruction, data):
        operands, attributes = list(instruction.operands), list(instruction.attributes)
        for k, operand in enumerate(operands):
            if operand is None or data.draw(st.booleans()):
                continue
            rank = data.draw(st.integers(1, 5))
            operands[k] = replace(
                operand,
                address=data.draw(sizes),
                shape=tuple(data.draw(st.lists(sizes, min_size=rank, max_size=rank))),
                strides=tuple(data.draw(st.lists(sizes, min_size=rank, max_size=rank))),
                terms=tuple(data.draw(st.lists(st.builds(Term, sizes, sizes, sizes), max_size=2))),
            )
        for k, value in enumerate(attributes):
            if data.draw(st.integers(0, 3)) == 0:
                attributes[k] = tuple(data.draw(numbers) for _ in value)
        changed = Instruction(instruction.opcode, tuple(operands), tuple(attributes), instruction.waits)
        for problem in check_instruction(changed):
            assert problem.message and problem.place in {spec.name for spec in row.operands + row.attributes}

    check()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-12, 12)), min_size=1, max_size=4))
def test_a_write_that_passes_names_no_element_twice(dimensions):
    shape, strides = (tuple(column) for column in zip(*dimensions, strict=True))
    operand = Operand("lm", 4096, I8, shape, strides)
    if check_instruction(build("fill", out=operand)) == []:
        offsets = [0]
        for size, stride in dimensions:
            offsets = [offset + k * stride for offset in offsets for k in range(size)]
        assert len(set(offsets)) == len(offsets)


def loop(counter, count=2):
    return build("loop", counter=counter, count=count)


def brnz(counter):
    return build("brnz", counter=counter)


END = build("end")


def fill(*terms):
    return build("fill", out=dense("lm", 0, I8, (4,), terms))


DEEP = (*(loop(k) for k in range(1, MAX_LOOP_DEPTH + 1)), loop(MAX_LOOP_DEPTH))
CLOSE_IT = "close it with `brnz`"
FINISH_IT = "finish it with `end`"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ((), [(0, Diagnostic("end", "", "the code does not end", FINISH_IT))]),
        ((fill(),), [(0, Diagnostic("end", "", "the code does not end", FINISH_IT))]),
        ((END, fill(), END), [(0, Diagnostic("end", "", "code follows `end`"))]),
        ((END, END), [(0, Diagnostic("end", "", "code follows `end`"))]),
        ((loop(1), END), [(0, Diagnostic("loop", "", "the loop is never closed", CLOSE_IT))]),
        ((loop(2), brnz(1), END), [(0, Diagnostic("loop", "counter", "the loop's counter must be 1"))]),
        (
            (loop(1), loop(1), brnz(2), brnz(1), END),
            [(1, Diagnostic("loop", "counter", "the loop's counter must be 2"))],
        ),
        ((brnz(1), END), [(0, Diagnostic("loop", "counter", "brnz closes no open loop"))]),
        ((loop(1), brnz(1), brnz(1), END), [(2, Diagnostic("loop", "counter", "brnz closes no open loop"))]),
        (
            (loop(1), loop(2), brnz(1), brnz(2), END),
            [(2, Diagnostic("loop", "counter", "brnz must close the innermost loop, counter 2"))],
        ),
        (
            (fill(Term(1, 0, 4)), END),
            [(0, Diagnostic("loop", "out", "`out` follows counter 1, but 0 loops are open here"))],
        ),
        (
            (loop(1), brnz(1), fill(Term(0, 0, 4), Term(1, 0, 4)), END),
            [(2, Diagnostic("loop", "out", "`out` follows counter 1, but 0 loops are open here"))],
        ),
        ((*DEEP, END), [(MAX_LOOP_DEPTH, Diagnostic("loop", "", f"loops nest deeper than {MAX_LOOP_DEPTH}"))]),
        ((build("fill"), loop(1)), [(0, Diagnostic("missing", "out", "fill needs `out`", "what is filled"))]),
    ],
)
def test_code(code, expected):
    assert check_code(code) == expected


def test_code_that_is_well_nested():
    assert check_code((loop(1), loop(2), fill(Term(1, 2, 4), Term(2, 0, 4)), brnz(2), brnz(1), fill(), END)) == []
    nest = [loop(k) for k in range(1, MAX_LOOP_DEPTH + 1)]
    close = [brnz(k) for k in range(MAX_LOOP_DEPTH, 0, -1)]
    assert check_code((*nest, fill(Term(0, 2, 4), Term(MAX_LOOP_DEPTH, 0, 4)), *close, END)) == []


def test_build_says_what_is_wrong():
    with pytest.raises(KeyError):
        build("convolve")
    with pytest.raises(TypeError, match="fill has no colour"):
        build("fill", colour=3)
    with pytest.raises(TypeError, match="loop needs counter"):
        build("loop", count=3)
    with pytest.raises(ValueError, match="conv: stride is made of whole numbers"):
        build("conv", stride=1.5)


def test_build_normalises():
    (value,) = build("fill", value=-0.0).attribute("value")
    assert str(value) == "0.0"
    conv = build("conv", stride=2, pad=(1, 2, 3, 4), sf="clip", waits=("me", "te"))
    assert conv.attribute("stride") == (2, 2)
    assert (conv.word("sf"), conv.word("ew2_op"), conv.waits) == ("clip", "none", 0b101)
    assert conv.row is TABLE[conv.opcode] is MNEMONICS["conv"]
