"""An instruction by the names of its operands and attributes, as the rules look at it."""

from isa.instruction import Instruction
from isa.operand import Operand


class View:
    """Operands and attributes of an instruction by name."""

    def __init__(self, instruction: Instruction) -> None:
        self.instruction = instruction
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
