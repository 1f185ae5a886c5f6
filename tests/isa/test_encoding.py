"""Words and descriptors: decode(encode(code)) == code, and whatever decodes encodes back to its own bytes."""

from dataclasses import replace
from itertools import combinations_with_replacement, product

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from isa.dtypes import BF16, E4M3, E5M2, F16, F32, I8, I16, I32, U8
from isa.encoding import DESCRIPTOR, WORD_BYTES, decode, encode
from isa.errors import ObjectError
from isa.instruction import Instruction, build
from isa.operand import MAX_TERMS, Operand, Term, dense
from isa.row import ENGINES, Row
from isa.table import MNEMONICS, ROWS
from isa.verify import check_instruction
from ratel.testing.instructions import instructions
from ratel.testing.programs import programs

MNEMONIC = [row.mnemonic for row in ROWS]


@pytest.mark.parametrize("mnemonic", MNEMONIC)
def test_every_row_round_trips(mnemonic):
    @settings(max_examples=25)
    @given(instructions(mnemonic))
    def check(instruction):
        assert check_instruction(instruction) == []
        words, descriptors = encode([instruction])
        assert len(words) == WORD_BYTES
        assert decode(words, descriptors) == (instruction,)

    check()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_code_of_programs_round_trips(program):
    (core,) = program.cores
    words, descriptors = encode(core.code)
    assert len(words) == WORD_BYTES * len(core.code)
    assert decode(words, descriptors) == core.code
    assert encode(decode(words, descriptors)) == (words, descriptors)


def decodes_to_itself_or_not_at_all(words, descriptors):
    try:
        code = decode(words, descriptors)
    except ObjectError as error:
        assert error.message
        return
    assert encode(code) == (words, descriptors)
    for instruction in code:
        check_instruction(instruction)


@settings(max_examples=300)
@given(st.binary(max_size=3 * WORD_BYTES), st.binary(max_size=2 * DESCRIPTOR.itemsize))
def test_random_bytes_decode_to_themselves_or_not_at_all(words, descriptors):
    decodes_to_itself_or_not_at_all(words, descriptors)


edits = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.parametrize("mnemonic", MNEMONIC)
def test_mutated_words_decode_to_themselves_or_not_at_all(mnemonic):
    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(instructions(mnemonic), edits, edits)
    def check(instruction, in_words, in_descriptors):
        words, descriptors = map(bytearray, encode([instruction]))
        for data, changes in ((words, in_words), (descriptors, in_descriptors)):
            for position, value in changes:
                if data:
                    data[position % len(data)] = value
        decodes_to_itself_or_not_at_all(bytes(words), bytes(descriptors))

    check()


FILL = build("fill", out=dense("lm", 0, I8, (1,)))
LOAD = build("load", out=dense("lm", 0, I8, (4,)), x=dense("host", 0, I8, (4,)))


@pytest.mark.parametrize(
    ("words", "descriptors", "message"),
    [
        (b"\x10" + bytes(62), b"", "the code is 63 bytes long, not a multiple of 64"),
        (bytes(64), b"", "instruction 0: unknown opcode 0x00"),
        (b"\x4f\x08" + bytes(62), b"", "instruction 0: unknown wait bits 0x08"),
        (b"\x33\0\0\0\x01" + bytes(59), b"", "instruction 0: operand descriptor 1 of 0"),
        (b"\x4f" + bytes(62) + b"\x01", b"", "the code is not in canonical form"),
        (b"\x4f" + bytes(63), bytes(127), "the descriptors take 127 bytes, not a multiple of 128"),
        (b"\x4f" + bytes(63), bytes(128), "operand descriptor 0: unknown memory, type, rank or number of terms"),
        (encode([LOAD])[0], encode([LOAD])[1] * 2, "the code is not in canonical form"),
    ],
)
def test_what_does_not_decode_says_why(words, descriptors, message):
    with pytest.raises(ObjectError) as caught:
        decode(words, descriptors)
    assert caught.value.message == message


def test_operands_are_interned():
    operand = dense("lm", 0, I8, (4,))
    other = dense("lm", 4, I8, (4,))
    code = [build("copy", out=operand, x=other), build("copy", out=other, x=operand)]
    assert len(encode(code)[1]) == 2 * DESCRIPTOR.itemsize


def test_too_many_operands_are_refused():
    code = [replace(FILL, operands=(dense("lm", k, I8, (1,)),)) for k in range(0x10000)]
    assert len(encode(code[:-1])[1]) == 0xFFFF * DESCRIPTOR.itemsize
    with pytest.raises(ObjectError, match="more than 65535 distinct operands"):
        encode(code)


def test_extreme_descriptors_round_trip():
    terms = tuple(Term(counter, 2**32 - 1, 2**61) for counter in range(MAX_TERMS))
    operand = Operand("dev", 2**61, I32, (2**31 - 1, 1, 1, 1), (-(2**31), 2**31 - 1, 0, 7), terms)
    instruction = build("fill", out=operand)
    assert decode(*encode([instruction])) == (instruction,)


Feature = tuple[str, object]


def features(instruction: Instruction) -> dict[str, set[Feature]]:
    """Return what an instruction shows, as (name, value): types, stages, attributes not at their default."""
    row = instruction.row
    present = [(spec, op) for spec, op in zip(row.operands, instruction.operands, strict=True) if op is not None]
    attributes = list(zip(row.attributes, instruction.attributes, strict=True))
    return {
        "type": {(spec.name, op.dtype) for spec, op in present if len(spec.dtypes) > 1},
        "stage": {(spec.name, instruction.word(spec.name)) for spec in row.choices}
        | {(spec.name, "present") for spec, _ in present if spec.optional and spec.name != "ew2"},
        "attribute": {(spec.name, "set") for spec, value in attributes if not spec.words and value != spec.default},
    }


def possible_features(row: Row) -> dict[str, set[Feature]]:
    optional = [spec.name for spec in row.operands if spec.optional and spec.name != "ew2"]
    return {
        "type": {(spec.name, dtype) for spec in row.operands if len(spec.dtypes) > 1 for dtype in spec.dtypes},
        "stage": {(spec.name, word) for spec in row.choices for word in spec.words}
        | {(name, "present") for name in optional},
        "attribute": {(spec.name, "set") for spec in row.attributes if not spec.words},
    }


CHAIN = {
    "ew1_scale",
    "ew1_bias",
    "ew2",
    "ew2_scale",
    "table",
    "ew3_scale",
    "ew2_zero",
    "clip_low",
    "clip_high",
    "slope",
    "offset",
    "table_offset",
}
NEEDS_SF = {
    "clip_low": {"clip"},
    "clip_high": {"clip"},
    "slope": {"leaky_relu", "hard_sigmoid"},
    "offset": {"hard_sigmoid"},
    "table": {"table"},
    "table_offset": {"table"},
}
NEEDS_EW2 = {"ew2", "ew2_scale", "ew2_zero"}


# The stages that an i32 result may have, or be without.
ADDED = {("ew2", I32), ("ew2_op", "add"), ("ew2_op", "none"), ("ew3_op", "none"), ("sf", "none")}
# What scales and rounds by whole numbers, and what goes with it.
FIXED = {*(("ew3_op", word) for word in ("round_once", "round_twice", "round_away")), ("ew3_scale", I32)}
BESIDE_FIXED = {("ew2_op", "none"), ("sf", "none"), ("sf", "relu"), ("ew3_scale", "present"), ("ew3_scale", I32)}
WIDE = {("x", "out", I32), ("w", "out", I32)}


def excluded(first: Feature, second: Feature) -> bool:
    """Whether no valid instruction shows both."""
    for (name, value), (other, what) in ((first, second), (second, first)):
        if name == other and value != what:
            return True
        of_chain = other in CHAIN or other in ("sf", "ew2_op", "ew3_op")
        if name == "out" and value == I32 and of_chain and (other, what) not in ADDED:
            return True
        if other == f"{name}_zero" and not value.is_quantised:
            return True
        # 16 bits multiply with 16, and their sums are no result; `eltwise` takes x alone, and gives no sums.
        if value == I16 and {name, other} == {"x", "w"} and what != I16:
            return True
        if value == I16 and (name, other, what) in WIDE:
            return True
        if (name, value) in FIXED and not_beside_fixed(other, what):
            return True
        if name == "ew3_op" and value in ("none", "zero_first") and (other, what) == ("ew3_scale", I32):
            return True
        if (name, value) == ("ew3_op", "zero_first") and other == "out" and not what.is_quantised:
            return True
        if name == "sf" and other in NEEDS_SF and value not in NEEDS_SF[other]:
            return True
        if name == "ew2_op" and value == "none" and other in NEEDS_EW2:
            return True
        if name in NEEDS_SF and other in NEEDS_SF and not NEEDS_SF[name] & NEEDS_SF[other]:
            return True
    return False


def not_beside_fixed(name: str, value: object) -> bool:
    if name == "x":
        return value.is_float
    if name == "out":
        return not value.is_quantised
    return name != "ew3_op" and (name in CHAIN or name in ("sf", "ew2_op")) and (name, value) not in BESIDE_FIXED


# Types of x and of w that say that floats are multiplied, and the bias of those; what says that integers are.
OF_FLOATS = {*product(("x", "w"), (F16, BF16)), ("w", E4M3), ("w", E5M2), ("bias", F32)}
OF_INTEGERS = {("bias", I32), ("out", I32), ("x_zero", "set"), ("w_zero", "set"), *product("x", (I8, U8, I16))}
OF_INTEGERS |= {("w", U8), ("w", I16), *FIXED}


def excluded_in_products(first: Feature, second: Feature) -> bool:
    """Whether no valid product shows both: of floats, and of integers; of floats of two types."""
    for feature, other in ((first, second), (second, first)):
        if feature in OF_FLOATS and other in OF_INTEGERS:
            return True
    # A w of 8 bits goes with an x of either type.
    types = {one for one in {first, second} & OF_FLOATS - {("bias", F32)} if one not in (("w", E4M3), ("w", E5M2))}
    return len(types) == 2 and len({dtype for _, dtype in types}) == 2


def excluded_in_pooling(row: Row, first: Feature, second: Feature) -> bool:
    """Whether no valid instruction of the pooling engine's rows with words shows both."""
    for (name, value), (other, what) in ((first, second), (second, first)):
        if value in row.keeping_words and other in ("scale", "x_zero", "out_zero"):
            return True
        # The result has the type of x.
        if row.keeps_values and name == "out" and not value.is_quantised and other == "x_zero":
            return True
        # Other roundings come with `nearest` alone.
        if name == "rounding" and value != "prefer_floor" and other in ("scale", "x_zero", "out_zero"):
            return True
        if value == "align_corners" and other == "factor":
            return True
        if row.mnemonic == "reduce" and excluded_in_reduce(name, value, other, what):
            return True
    return False


def excluded_in_reduce(name: str, value: object, other: str, what: object) -> bool:
    if name in ("x", "out") and value == I32 and other in ("scale", "out_zero"):
        return True
    if name == "x" and value == I32 and other == "out" and what != I32:
        return True
    return (value == "argmax" and other == "out" and what != I32) or (
        value in ("mean", "absmax", "sumsq") and what == I32
    )


def shown_pairs(instruction: Instruction) -> set[frozenset[Feature]]:
    together = [feature for kind in features(instruction).values() for feature in kind]
    return {frozenset(pair) for pair in combinations_with_replacement(together, 2)}


def wanted_pairs(row: Row) -> set[frozenset[Feature]]:
    every = possible_features(row)
    kinds = [("type", "stage"), ("type", "attribute"), ("stage", "attribute")]
    if row.engine in ("te", "pe") and not row.keeps_values:
        # What keeps values does not convert: its types go together.
        kinds.append(("type", "type"))
    pairs = {pair for kind, other in kinds for pair in product(every[kind], every[other]) if not excluded(*pair)}
    if row.mnemonic == "flatten":
        pairs = {pair for pair in pairs if not excluded(*(("x", v) if n == "out" else (n, v) for n, v in pair))}
    pairs = {pair for pair in pairs if not excluded_in_pooling(row, *pair)}
    if row.mnemonic != "eltwise":
        # Products of 16 bits have sums of 64.
        pairs = {pair for pair in pairs if not (set(pair) & FIXED and set(pair) & {("x", I16), ("w", I16)})}
    if "w" in [spec.name for spec in row.operands]:
        pairs = {pair for pair in pairs if not excluded_in_products(*pair)}
    return {frozenset(pair) for pair in pairs} | {frozenset((feature,)) for kind in every.values() for feature in kind}


def pins(row: Row, pair: frozenset[Feature]) -> dict[str, object]:
    """Return the types and words of a pair, as the strategy takes them; with a result that has stages, i8 if it may.

    What goes with few functions is looked for beside one of them.
    """
    fixed = {name: value for name, value in pair if value not in ("set", "present")}
    for name, _ in pair:
        if name in NEEDS_SF:
            fixed.setdefault("sf", min(NEEDS_SF[name]))
    return {"out": I8, **fixed} if row.choices else fixed


DRAWN = settings(
    phases=[Phase.generate], derandomize=True, database=None, suppress_health_check=list(HealthCheck), deadline=None
)


# What has the chain, whose stages make most pairs, is searched where there is time.
SLOW = ("conv", "dwconv", "matmul", "eltwise")


@pytest.mark.parametrize(
    "mnemonic", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MNEMONIC]
)
def test_strategy_reaches_each_pair_of_type_stage_and_attribute(mnemonic):
    row = MNEMONICS[mnemonic]
    missing = wanted_pairs(row)
    waits = 0

    @settings(DRAWN, max_examples=100)
    @given(instructions(mnemonic))
    def collect(instruction):
        nonlocal waits
        missing.difference_update(shown_pairs(instruction))
        waits |= instruction.waits

    def look_for(pair):
        def shows(instruction):
            missing.difference_update(shown_pairs(instruction))
            return pair not in missing

        find(instructions(mnemonic, **pins(row, pair)), shows, settings=settings(DRAWN, max_examples=5000))

    collect()
    while missing:
        look_for(min(missing, key=str))
    assert waits == (0 if row.engine == "seq" else 2 ** len(ENGINES) - 1)
