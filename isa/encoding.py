"""Instruction words and operand descriptors: the canonical binary form of code.

A word is 64 bytes, little-endian: opcode, wait bits, 2 bytes of zero; then one 16-bit reference for each operand slot
of the row (0 absent, else 1 + index of its descriptor); then the attributes in the row's order, each element by its
kind; zeros to the end. A descriptor is 128 bytes (DESCRIPTOR below). Descriptors are interned: distinct, numbered by
first use. So each meaning has one encoding: `decode(encode(code)) == code`, and bytes that decode encode back to
themselves.
"""

import struct
from collections.abc import Sequence

import numpy as np

from isa.dtypes import DTYPE_OF_CODE
from isa.errors import ObjectError
from isa.grouped import FORM_OF_CODE, FORMS
from isa.instruction import Instruction, Value
from isa.operand import MAX_RANK, MAX_TERMS, MEMORIES, Growth, Operand, Term
from isa.row import ENGINES, Row
from isa.table import TABLE

WORD_BYTES = 64
HEADER_BYTES = 4
KIND_FORMAT = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "f32": "f", "f64": "d"}

# Unused dimensions and terms are all zero.
DESCRIPTOR = np.dtype(
    [
        ("memory", "<u2"),
        ("dtype", "u1"),
        ("rank", "u1"),
        ("terms", "u1"),
        ("zero", "u1", 3),
        ("address", "<i8"),
        ("shape", "<i4", MAX_RANK),
        ("stride", "<i4", MAX_RANK),
        ("term", [("counter", "<u4"), ("modulus", "<u4"), ("stride", "<i8")], MAX_TERMS),
        ("core", "<u2"),  # 0: the own core's, or shared; else 1 + the core's number
        ("stored", "<i8"),
        ("form", "u1"),  # 0: dense, or compressed; else the code of groups
        ("grows", "u1"),  # 0: no dimension grows; else 1 + which does
        ("growth", [("modulus", "<u2"), ("step", "<u2")]),
    ]
)
assert DESCRIPTOR.itemsize == 128


def attribute_format(row: Row) -> str:
    """Return the struct format of a row's attributes."""
    return "<" + "".join(KIND_FORMAT[spec.kind] * spec.count for spec in row.attributes)


def word_format(row: Row) -> str:
    """Return the struct format of the whole word of a row, without the zeros at its end."""
    return "<BBxx" + "H" * len(row.operands) + attribute_format(row)[1:]


# By opcode: programs have thousands of words.
_WORDS = {row.opcode: struct.Struct(word_format(row)) for row in TABLE.values()}
for _opcode, _word in _WORDS.items():
    assert _word.size <= WORD_BYTES, f"{TABLE[_opcode].mnemonic} does not fit its word"


def fetched_bytes(instruction: Instruction) -> int:
    """Return the bytes that are fetched for an instruction: its word, and the descriptor of each of its operands."""
    return WORD_BYTES + DESCRIPTOR.itemsize * sum(operand is not None for operand in instruction.operands)


def encode(code: Sequence[Instruction]) -> tuple[bytes, bytes]:
    """Return (words, descriptors) of valid code.

    Raises ObjectError when the code has more distinct operands than references can name (65,535).
    """
    table: dict[Operand, int] = {}
    words = bytearray()
    for instruction in code:
        references = [
            0 if operand is None else 1 + table.setdefault(operand, len(table)) for operand in instruction.operands
        ]
        if len(table) > 0xFFFF:
            raise ObjectError("the code has more than 65535 distinct operands", "use hardware loops")
        elements = [element for value in instruction.attributes for element in value]
        fields = _WORDS[instruction.opcode].pack(instruction.opcode, instruction.waits, *references, *elements)
        words += fields.ljust(WORD_BYTES, b"\0")
    return bytes(words), b"".join(encode_operand(operand) for operand in table)


def encode_operand(operand: Operand) -> bytes:
    """Return the descriptor of an operand."""
    record = np.zeros((), DESCRIPTOR)
    record["memory"] = MEMORIES.index(operand.memory)
    record["dtype"], record["rank"], record["terms"] = operand.dtype.code, operand.rank, len(operand.terms)
    record["address"], record["stored"] = operand.address, operand.stored
    record["form"] = FORMS[operand.form].code if operand.form else 0
    record["shape"][: operand.rank] = operand.shape
    record["stride"][: operand.rank] = operand.strides
    if operand.growth:
        record["grows"], record["growth"] = 1 + operand.growth.dimension, operand.growth[1:]
    for slot, term in zip(record["term"], operand.terms, strict=False):
        slot["counter"], slot["modulus"], slot["stride"] = term.counter, term.modulus, term.stride
    record["core"] = 0 if operand.core is None else 1 + operand.core
    return record.tobytes()


def decode(words: bytes, descriptors: bytes) -> tuple[Instruction, ...]:
    """Return the code that canonical bytes hold; raise ObjectError on any other bytes."""
    if len(words) % WORD_BYTES:
        raise ObjectError(f"the code is {len(words)} bytes long, not a multiple of {WORD_BYTES}")
    if len(descriptors) % DESCRIPTOR.itemsize:
        raise ObjectError(f"the descriptors take {len(descriptors)} bytes, not a multiple of {DESCRIPTOR.itemsize}")
    size = DESCRIPTOR.itemsize
    table = [decode_operand(descriptors[k : k + size], k // size) for k in range(0, len(descriptors), size)]
    code = tuple(
        decode_word(words[k : k + WORD_BYTES], table, k // WORD_BYTES) for k in range(0, len(words), WORD_BYTES)
    )
    # What decodes, yet not to itself: surplus, repeated or misnumbered descriptors, non-zero fill.
    if encode(code) != (words, descriptors):
        raise ObjectError("the code is not in canonical form", "assemble it again")
    return code


def decode_word(word: bytes, table: Sequence[Operand], index: int) -> Instruction:
    """Return the instruction of one word; `table` holds the operands by descriptor index."""
    row = TABLE.get(word[0])
    if row is None:
        raise ObjectError(f"instruction {index}: unknown opcode {word[0]:#04x}")
    if word[1] >> len(ENGINES):
        raise ObjectError(f"instruction {index}: unknown wait bits {word[1]:#04x}")
    fields = _WORDS[row.opcode].unpack_from(word)
    operands: list[Operand | None] = []
    for reference in fields[2 : 2 + len(row.operands)]:
        if reference > len(table):
            raise ObjectError(f"instruction {index}: operand descriptor {reference} of {len(table)}")
        operands.append(table[reference - 1] if reference else None)
    elements = list(fields[2 + len(row.operands) :])
    attributes: list[Value] = []
    for spec in row.attributes:
        attributes.append(tuple(elements[: spec.count]))
        del elements[: spec.count]
    return Instruction(row.opcode, tuple(operands), tuple(attributes), word[1])


def decode_operand(record: bytes, index: int) -> Operand:
    """Return the operand of one descriptor."""
    (fields,) = np.frombuffer(record, DESCRIPTOR)
    dtype = DTYPE_OF_CODE.get(int(fields["dtype"]))
    rank, terms = int(fields["rank"]), int(fields["terms"])
    form = FORM_OF_CODE.get(int(fields["form"]), "") if fields["form"] else ""
    if fields["memory"] >= len(MEMORIES) or dtype is None or not 1 <= rank <= MAX_RANK or terms > MAX_TERMS:
        raise ObjectError(f"operand descriptor {index}: unknown memory, type, rank or number of terms")
    modulus, step = (int(number) for number in fields["growth"])
    growth = Growth(int(fields["grows"]) - 1, modulus, step) if fields["grows"] else None
    return Operand(
        MEMORIES[int(fields["memory"])],
        int(fields["address"]),
        dtype,
        tuple(fields["shape"][:rank].tolist()),
        tuple(fields["stride"][:rank].tolist()),
        tuple(Term(int(t["counter"]), int(t["modulus"]), int(t["stride"])) for t in fields["term"][:terms]),
        int(fields["core"]) - 1 if fields["core"] else None,
        int(fields["stored"]),
        form,
        growth,
    )
