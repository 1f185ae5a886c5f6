"""THE TABLE: every instruction, declared once, in rows_tensor.py, rows_pool.py, rows_memory.py or rows_sequencer.py.

A row says what an instruction is called, which engine runs it, its operands and attributes, what it means and what it
traps on. From the rows follow, by plain loops: encoding.py, verify.py (with the shape rules), the manual, the
assembler's operand parsing and messages, the disassembler, and the hypothesis strategies. Meaning, kernels and costs
are dictionaries keyed by opcode elsewhere (`isa.reference.REFERENCE`, `emulator.kernels.table.KERNELS`,
`emulator.timing.costs.COSTS`), each compared with the table when it is imported. Timing never enters the table.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

from isa import rows_memory, rows_pool, rows_sequencer, rows_tensor
from isa.operand import MEMORIES
from isa.row import (
    TRAPS,
)

Value = TypeVar("Value")

ROWS = (*rows_tensor.ROWS, *rows_pool.ROWS, *rows_memory.ROWS, *rows_sequencer.ROWS)
TABLE = {row.opcode: row for row in ROWS}
MNEMONICS = {row.mnemonic: row for row in ROWS}
MAX_OPERANDS = max(len(row.operands) for row in ROWS)


def by_opcode(name: str, by_mnemonic: Mapping[str, Value], engines: Collection[str]) -> dict[int, Value]:
    """Return a dictionary keyed by opcode from one keyed by mnemonic.

    Raises AssertionError that names the instructions of these engines which it lacks, or has too many.
    """
    expected = [row.mnemonic for row in ROWS if row.engine in engines]
    missing = [mnemonic for mnemonic in expected if mnemonic not in by_mnemonic]
    surplus = [mnemonic for mnemonic in by_mnemonic if mnemonic not in expected]
    if missing or surplus:
        raise AssertionError(f"{name} does not match the table: missing {missing}, not in the table {surplus}")
    return {MNEMONICS[mnemonic].opcode: by_mnemonic[mnemonic] for mnemonic in expected}


def _check_rows() -> None:
    assert len(TABLE) == len(MNEMONICS) == len(ROWS), "an opcode or a mnemonic stands twice in the table"
    for row in ROWS:
        names = [spec.name for spec in row.operands + row.attributes]
        assert len(set(names)) == len(names), f"{row.mnemonic}: a name stands twice"
        assert set(row.traps) <= set(TRAPS), f"{row.mnemonic}: unknown trap"
        assert row.example, f"{row.mnemonic}: its program does not show it"
        for operand in row.operands:
            assert set(operand.memories) <= set(MEMORIES), f"{row.mnemonic}: unknown memory in {operand.name}"
        for spec in row.attributes:
            assert spec.default is None or len(spec.default) == spec.count, f"{row.mnemonic}: default of {spec.name}"
            assert spec.declared in ("", "semaphore", "barrier"), f"{row.mnemonic}: {spec.name} is of no kind declared"
            assert all(set(taken) <= set(names) for taken in spec.takes.values()), f"{row.mnemonic}: {spec.name} takes"


_check_rows()
