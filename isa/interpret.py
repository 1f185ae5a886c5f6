"""Run instructions and programs by the reference, in program order, on memories that are NumPy arrays.

`apply` is one instruction: read every operand, compute, write its results; `interpret` a task of one core or several.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from isa.errors import Trap
from isa.grouped import dense
from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH, TASK_COUNTER, Operand
from isa.program import Core
from isa.reference import REFERENCE, Given
from isa.row import TRAPS

# The memories of one core, uint8 arrays by name; those that cores share are the same arrays.
Memories = Mapping[str, np.ndarray]


def view(operand: Operand, memories: Memories, counters: Sequence[int], cores: Sequence[Memories] = ()) -> np.ndarray:
    """Return the operand's tensor at the given counters: a view of its memory, or expanded.

    `cores` has the memories of each core.
    """
    address, dtype = operand.address_at(counters), operand.dtype
    if operand.stored:
        held = memories[operand.memory][address : address + operand.span()[1]]
        return dense(held, dtype, operand.shape, operand.form)
    memory = (memories if operand.core is None else cores[operand.core])[operand.memory]
    strides = [stride * dtype.bytes for stride in operand.strides]
    return np.ndarray(operand.shape, dtype.numpy, memory, address, strides)


def apply(
    instruction: Instruction,
    memories: Memories,
    counters: Sequence[int],
    formats: Mapping[str, str],
    cores: Sequence[Memories] = (),
) -> None:
    """Run one instruction of an engine: read all of its operands, compute, write the result.

    `formats` is as `Chip.formats`, fp32 where it says nothing; `cores` has the memories of each core, for a result in
    another's.
    Raises Trap, and writes nothing, where an index is out of range.
    """
    instruction = instruction.at(counters[TASK_COUNTER])
    row = instruction.row
    out = instruction.operand("out")
    assert out is not None
    results = [operand for kind, operand in instruction.accesses() if kind == "write"]
    tensors = {
        spec.name: None if operand is None else view(operand, memories, counters)
        for spec, operand in zip(row.operands, instruction.operands, strict=True)
        if spec.access == "read" or spec.chosen
    }
    attributes: dict[str, tuple] = dict(zip((a.name for a in row.attributes), instruction.attributes, strict=True))
    attributes.update({spec.name: (instruction.word(spec.name),) for spec in row.choices})
    engine, sums = (formats.get(name, "fp32") for name in (row.engine, "sums"))
    given = Given(tensors, attributes, out.shape, out.dtype, engine, sums)
    found = REFERENCE[row.opcode](given)
    for operand, values in zip(results, found if isinstance(found, tuple) else (found,), strict=True):
        view(operand, memories, counters, cores)[...] = values


def interpret(cores: Sequence[Core], memories: Sequence[Memories], formats: Mapping[str, str], task: int = 0) -> None:
    """Run one task: cores in turn, each in program order, on memories that hold their data and inputs.

    Raises Trap where no core can go on and one has not ended.
    """
    done: Counter[tuple] = Counter()
    waiting = [_walk(k, cores, memories, formats, task, done) for k in range(len(cores))]
    while waiting:
        before = done.total()
        waiting = [walk for walk in waiting if next(walk, None) is not None]
        if waiting and done.total() == before:
            raise Trap(f"deadlock: {TRAPS['deadlock']}")


def _walk(
    number: int,
    cores: Sequence[Core],
    memories: Sequence[Memories],
    formats: Mapping[str, str],
    task: int,
    done: Counter[tuple],
) -> Iterator[bool]:
    """Run a core; yield while it has to wait.

    `done` counts what any core may wait for, and endings: signals and waits of each semaphore, arrivals at each barrier
    by core.
    """
    core = cores[number]
    counters = [task] + [0] * MAX_LOOP_DEPTH
    opened: list[int] = []
    at = 0
    while core.code[at].row.mnemonic != "end":
        instruction = core.code[at]
        if instruction.row.mnemonic == "loop":
            opened.append(at)
            counters[len(opened)] = 0
        elif instruction.row.mnemonic == "brnz":
            counters[len(opened)] += 1
            if counters[len(opened)] < core.code[opened[-1]].attribute("count")[0]:
                at = opened[-1]
            else:
                counters[len(opened)] = 0
                opened.pop()
        elif instruction.row.engine == "sync":
            what = instruction.row.mnemonic, instruction.attributes[0][0]
            if what[0] == "signal":
                done[what] += 1
            elif what[0] == "wait":
                while done["signal", what[1]] <= done[what]:
                    yield True
                done[what] += 1
            else:
                done[what, number] += 1
                users = [k for k, other in enumerate(cores) if any(_same(instruction, i) for i in other.code)]
                while any(done[what, k] < done[what, number] for k in users):
                    yield True
        else:
            apply(instruction, memories[number], counters, formats, memories)
        at += 1
    done["end", number] += 1


def _same(barrier: Instruction, other: Instruction) -> bool:
    return barrier.opcode == other.opcode and barrier.attributes[0] == other.attributes[0]
