"""An instruction: a row of the table with its operands, attributes and wait bits filled in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isa.operand import Operand
from isa.row import ENGINES, Row
from isa.table import MNEMONICS, TABLE

Value = tuple[float, ...]


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    `operands` and `attributes` stand in the order of the row's; an absent operand is None, an attribute is a tuple of
    its elements (int, or float for the floating kinds). `waits` has bit k set to wait for engine `ENGINES[k]`.
    """

    opcode: int
    operands: tuple[Operand | None, ...] = ()
    attributes: tuple[Value, ...] = ()
    waits: int = 0

    @property
    def grows(self) -> bool:
        """Whether an operand has a dimension that grows with the task."""
        return any(operand and operand.growth for operand in self.operands)

    def at(self, task: int) -> "Instruction":
        """Return the instruction with the shapes that it has in a task."""
        return replace(self, operands=tuple(one and one.at(task) for one in self.operands)) if self.grows else self

    def in_tasks(self, tasks: int) -> Iterator[tuple["Instruction", int]]:
        """Yield each shape that the instruction has in so many tasks, with how many of them have it."""
        modulus = max((one.growth.modulus for one in self.operands if one and one.growth), default=1)
        for task in range(min(modulus, tasks)):
            yield self.at(task), len(range(task, tasks, modulus))

    def widest(self, tasks: int) -> "Instruction":
        """Return the instruction with the greatest shapes that it has in so many tasks; all grow by one modulus."""
        moduli = [one.growth.modulus for one in self.operands if one and one.growth]
        return self.at(min(tasks, *moduli) - 1) if moduli else self

    @property
    def row(self) -> Row:
        return TABLE[self.opcode]

    @property
    def engine(self) -> str:
        """The engine whose queue it sits in; "seq" for the sequencer's own."""
        return self.word("queue") if self.row.engine == "sync" else self.row.engine

    def operand(self, name: str) -> Operand | None:
        return self.operands[self.row.operand_index(name)]

    def attribute(self, name: str) -> Value:
        return self.attributes[self.row.attribute_index(name)]

    def word(self, name: str) -> str:
        """Return the word that a choice attribute stands for."""
        spec = self.row.attributes[self.row.attribute_index(name)]
        return spec.words[int(self.attribute(name)[0])]

    def accesses(self) -> list[tuple[str, Operand]]:
        """Return ("read" or "write", operand) for each operand that is present."""
        pairs = zip(self.row.operands, self.operands, strict=True)
        return [(spec.access, operand) for spec, operand in pairs if operand is not None]

    def traffic(self) -> list[tuple[str, Operand, int]]:
        """Return the accesses with the bytes that pass: all of an operand, or as many as an index chooses of it."""
        pairs = zip(self.row.operands, self.operands, strict=True)
        return [
            (spec.access, operand, (self.operand(spec.chosen or spec.name) or operand).bytes)
            for spec, operand in pairs
            if operand is not None
        ]


def build(mnemonic: str, waits: Sequence[str] = (), **given: Any) -> Instruction:
    """Return an instruction from operands and attributes by name.

    A choice may be given by its word; a single number stands for every element; what is not given takes its default;
    -0.0 becomes 0. Raises KeyError for an unknown mnemonic, TypeError for an unknown or a missing name, ValueError for
    a fraction where a whole number is needed.
    """
    row = MNEMONICS[mnemonic]
    unknown = given.keys() - {spec.name for spec in row.operands + row.attributes}
    if unknown:
        raise TypeError(f"{mnemonic} has no {', '.join(sorted(unknown))}")
    operands = tuple(given.get(spec.name) for spec in row.operands)
    attributes = []
    for spec in row.attributes:
        value = given.get(spec.name, spec.default)
        if value is None:
            raise TypeError(f"{mnemonic} needs {spec.name}")
        if isinstance(value, str):
            value = spec.words.index(value)
        elements = tuple(value) if isinstance(value, tuple | list) else (value,) * spec.count
        if not spec.is_float and any(int(e) != e for e in elements):
            raise ValueError(f"{mnemonic}: {spec.name} is made of whole numbers")
        attributes.append(tuple(float(e) + 0.0 if spec.is_float else int(e) for e in elements))
    mask = sum(1 << ENGINES.index(engine) for engine in set(waits))
    return Instruction(row.opcode, operands, tuple(attributes), mask)


def products_of_sum(instruction: Instruction) -> int:
    """Return how many products each sum of a conv, dwconv or matmul has: K."""
    mnemonic, x, w = instruction.row.mnemonic, instruction.operand("x"), instruction.operand("w")
    assert x is not None and w is not None
    if mnemonic == "matmul":
        return x.shape[-2 if instruction.attribute("transpose_x")[0] else -1]
    return w.elements // w.shape[-1 if mnemonic == "dwconv" else 0]


def counted(instruction: Instruction) -> tuple[str, int, bool]:
    """Return what an instruction's index counts: of which operand, its dimension, whether from the end below 0."""
    name = next(spec.name for spec in instruction.row.operands if spec.chosen)
    if all(spec.name != "axis" for spec in instruction.row.attributes):
        return name, 0, False
    return name, int(instruction.attribute("axis")[0]), bool(instruction.attribute("from_end")[0])
