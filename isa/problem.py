"""What is wrong with an instruction, and the look at it that finds that out."""

from dataclasses import dataclass

from isa.instruction import Instruction
from isa.operand import Operand


@dataclass(frozen=True)
class Problem:
    """Something wrong with an instruction.

    `field` is the operand or attribute to point at ("" for the whole), `kind` one of missing, memory, type, rank,
    stride, shape, range, align, chain, loop, end; `message` says what is wrong, `help` what was expected or how to
    mend it.
    """

    field: str
    kind: str
    message: str
    help: str = ""


class View:
    """Operands and attributes of an instruction by name."""

    def __init__(self, instruction: Instruction) -> None:
        self.row = row = instruction.row
        self.word = instruction.word
        self.operands = {spec.name: op for spec, op in zip(row.operands, instruction.operands, strict=True)}
        self.attributes = {spec.name: v for spec, v in zip(row.attributes, instruction.attributes, strict=True)}

    def tensor(self, name: str) -> Operand:
        """Return an operand that is always there."""
        operand = self.operands[name]
        assert operand is not None
        return operand

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensor(name).shape

    def ints(self, name: str) -> tuple[int, ...]:
        return tuple(int(value) for value in self.attributes[name])
