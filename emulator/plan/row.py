"""The row of an instruction in a plan: all that kernels and walkers know of it. Compiled code is made of this file.

A row is int64: for each operand slot FIELDS numbers (`Field`), then the attributes, element by element in the table's
order (floats as the bits of a float64), then the columns that every row has (`Call`). Kernels take (arena, row) and
nothing else; loops change the addresses of a row. A kernel that finds an index out of range writes nothing to the
arena, and 1 + its place in the index tensor to the status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import auto
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from emulator.jit.arrays import Columns
from isa.formats import FRACTION_BITS
from isa.grouped import FORMS
from isa.operand import MAX_RANK
from isa.row import ENGINES
from isa.table import MAX_OPERANDS, MNEMONICS

if TYPE_CHECKING:
    from isa.instruction import Instruction
    from isa.operand import Operand


class Field(Columns):
    """The fields of an operand, counted from its slot.

    ADDRESS is that of the first element with all counters 0, in bytes of the arena, or ABSENT; DTYPE a type's code;
    SHAPE and STRIDE the first of four, right-aligned, sizes 1 and strides 0 in front, strides in elements; STORED the
    bytes of a weight that is compressed or in groups, 0 for a dense tensor; FORM the code of its groups, or 0.
    """

    ADDRESS = 0
    DTYPE = 1
    RANK = 2
    SHAPE = 3
    STRIDE = 7
    STORED = 11
    FORM = 12


FIELDS = 13
ABSENT = -1
ATTRIBUTES = FIELDS * MAX_OPERANDS
MAX_ATTRIBUTES = 24


class Call(Columns):
    """The columns behind operands and attributes: what else a call of the kernel is given, and what it gives back."""

    # The fraction bits of the engine's vector format.
    FRACTION = ATTRIBUTES + MAX_ATTRIBUTES
    # Those of the format that the pooling engine adds in.
    SUM_FRACTION = auto()
    # What the kernel found, 0 where all is well.
    STATUS = auto()
    # Between which bytes of the arena the scratch memory of its walker lies (emulator/kernels/workspace.py).
    SCRATCH = auto()
    SCRATCH_END = auto()
    # Which share of the result it computes, of how many.
    SHARE = auto()
    SHARES = auto()
    # Where in the arena w lies as products take it, packed once for the whole run; 0 where it is packed each time.
    PACKED_W = auto()
    # Where in the arena a long kernel looks, between blocks, for the word that ends it; 0 where it need not.
    END_WORD = auto()
    # For emulator/kernels/stripes.py: how many columns at a time, which dimensions they are, where the kernel lies.
    STRIPE = auto()
    CUT = auto()
    INNER = auto()
    # Where in the arena the constants of a chain lie that is done in one pass, 0 where they are looked at each time.
    CONSTANTS = auto()
    # Where the parts of the chain lie that kernels call (emulator/kernels/chain.py), 0 where one is not compiled.
    ONE_PASS = auto()
    BY_STAGES = auto()
    # Whether the host has the instruction for products of pairs of bf16 (emulator/kernels/pairs.py).
    HAS_DOT = auto()


ROW = max(Call) + 1
# The engine of what runs in the sequencer, behind ENGINES; how an instruction has access to an operand.
SEQ = len(ENGINES)
READ, WRITE = 1, 2


def operand_slot(mnemonic: str, name: str) -> int:
    """Return where in a row the fields of an operand begin."""
    return FIELDS * MNEMONICS[mnemonic].operand_index(name)


def attribute_slot(mnemonic: str, name: str) -> int:
    """Return where in a row the first element of an attribute stands."""
    row = MNEMONICS[mnemonic]
    return ATTRIBUTES + sum(spec.count for spec in row.attributes[: row.attribute_index(name)])


def flat_row(instruction: Instruction, base: Callable[[Operand], int], formats: Mapping[str, str]) -> np.ndarray:
    """Return the row of an instruction, whole and without scratch memory; `base` gives an operand's memory's offset.

    `formats` is as `Chip.formats`, fp32 where it says nothing.
    """
    row = np.zeros(ROW, np.int64)
    row[:ATTRIBUTES:FIELDS] = ABSENT
    for slot, operand in enumerate(instruction.operands):
        if operand is not None:
            front = MAX_RANK - operand.rank
            fields = row[slot * FIELDS : (slot + 1) * FIELDS]
            fields[Field.ADDRESS] = base(operand) + operand.address
            fields[Field.DTYPE], fields[Field.RANK] = operand.dtype.code, operand.rank
            fields[Field.SHAPE : Field.STRIDE] = (1,) * front + operand.shape
            fields[Field.STRIDE : Field.STORED] = (0,) * front + operand.strides
            fields[Field.STORED] = operand.stored
            fields[Field.FORM] = FORMS[operand.form].code if operand.form else 0
    at = ATTRIBUTES
    for spec, value in zip(instruction.row.attributes, instruction.attributes, strict=True):
        row[at : at + spec.count] = np.array(value, np.float64).view(np.int64) if spec.is_float else value
        at += spec.count
    for column, name in ((Call.FRACTION, instruction.engine), (Call.SUM_FRACTION, "sums")):
        row[column] = FRACTION_BITS[formats.get(name, "fp32")]
    row[Call.SHARES] = 1
    return row


def starts(lengths: Iterable[int]) -> list[int]:
    """Return where each of some parts begins, where they lie one after another."""
    return [0, *accumulate(lengths)][:-1]
