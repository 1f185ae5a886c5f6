"""Every row of the table has all that it needs, everywhere; and a table that contradicts itself is refused."""

import struct
from dataclasses import replace

import pytest

from isa.encoding import WORD_BYTES, decode, encode, word_format
from isa.instruction import build
from isa.manual import section
from isa.reference import REFERENCE
from isa.row import ALL_ENGINES, ENGINE_NAMES, ENGINES, TRAPS, WAIT_LETTERS
from isa.shape_rules import SHAPE_RULES
from isa.table import MNEMONICS, ROWS, TABLE, by_opcode
from isa.verify import check_instruction
from ratel.testing.instructions import BUILDERS
from tests.isa.bad_inputs import BAD, GOOD

OF_ENGINES = [row for row in ROWS if row.engine in ENGINES]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_no_row_lacks_anything(row):
    assert struct.calcsize(word_format(row)) <= WORD_BYTES
    good = GOOD[row.opcode]
    assert decode(*encode([good])) == (good,)
    assert check_instruction(good) == []
    assert row.opcode in SHAPE_RULES
    assert row.opcode in BUILDERS, "no strategy"
    assert f"### {row.mnemonic}\n" in section(row.mnemonic)
    if row.engine != "seq" or row.attributes:
        assert BAD[row.opcode], "no bad input"


@pytest.mark.parametrize("row", OF_ENGINES, ids=lambda row: row.mnemonic)
def test_no_row_of_an_engine_lacks_meaning_kernel_or_cost(row):
    from emulator.kernels.table import KERNELS
    from emulator.timing.costs import COSTS

    assert row.opcode in REFERENCE
    assert row.opcode in KERNELS, "no kernel"
    assert row.opcode in COSTS, "no cost"


def test_dictionaries_have_no_row_too_many():
    from emulator.kernels.table import KERNELS
    from emulator.timing.costs import COSTS

    opcodes = {row.opcode for row in OF_ENGINES}
    assert set(REFERENCE) == set(KERNELS) == set(COSTS) == opcodes
    assert set(GOOD) == set(BAD) == set(SHAPE_RULES) == set(BUILDERS) == set(TABLE)


def test_a_gap_names_itself():
    partial = {row.mnemonic: None for row in OF_ENGINES if row.mnemonic != "avgpool"}
    with pytest.raises(AssertionError, match=r"KERNELS does not match the table: missing \['avgpool'\]"):
        by_opcode("KERNELS", partial, ENGINES)
    surplus = {**dict.fromkeys(MNEMONICS), "no_such": None}
    with pytest.raises(AssertionError, match=r"missing \[\], not in the table \['no_such'\]"):
        by_opcode("COSTS", surplus, ALL_ENGINES)


def test_opcodes_and_mnemonics_are_unique_bytes_and_names():
    assert len(TABLE) == len(MNEMONICS) == len(ROWS)
    assert all(0 < row.opcode < 256 for row in ROWS)
    assert all(row.mnemonic.isidentifier() and row.mnemonic.islower() for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_rows_are_consistent(row):
    assert row.engine in ENGINE_NAMES
    assert row.meaning.endswith(".") and "\n" not in row.meaning
    assert row.formula.strip()
    assert set(row.traps) <= set(TRAPS)
    writes = [spec.name for spec in row.operands if spec.access == "write"]
    assert writes[:1] == (["out"] if row.engine in ENGINES else [])
    required = [spec.optional for spec in row.operands]
    assert required == sorted(required), "an optional operand stands before a required one"
    for spec in row.attributes:
        assert spec.low < spec.high
        if spec.words:
            assert (spec.low, spec.high, spec.count) == (0, len(spec.words) - 1, 1)
            assert set(spec.takes) <= set(spec.words)
        if spec.default is not None:
            assert all(spec.low <= element <= spec.high for element in spec.default)
        size = {"u8": (0, 255), "u16": (0, 65535), "i16": (-(2**15), 2**15 - 1), "u32": (0, 2**32 - 1)}
        low, high = size.get(spec.kind, (-3.4e38, 3.4e38))
        assert low <= spec.low and spec.high <= high, f"{spec.name} does not fit {spec.kind}"
    # A word and the operands and attributes it takes are told apart by name alone.
    words = [word for spec in row.choices for word in spec.words if word != "none"]
    assert len(set(words)) == len(words)
    taken = {name for spec in row.choices for names in spec.takes.values() for name in names}
    names = {spec.name for spec in row.operands + row.attributes} - taken
    assert not names & set(words)


def test_wait_letters_are_those_of_the_engines():
    assert tuple(WAIT_LETTERS.values()) == ENGINES
    assert [build("fill", waits=[engine]).waits for engine in ENGINES] == [1, 2, 4]


def test_row_finds_its_parts():
    conv = MNEMONICS["conv"]
    assert conv.operands[conv.operand_index("bias")].name == "bias"
    assert conv.attributes[conv.attribute_index("pad")].count == 4
    assert [spec.name for spec in conv.choices] == ["ew2_op", "sf", "ew3_op"]
    with pytest.raises(ValueError):
        conv.operand_index("stride")
    with pytest.raises(StopIteration):
        _ = replace(conv, program="end").example
