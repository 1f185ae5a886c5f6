"""The arena: the bytes of all memories of a plan, and the tensors in it."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral
from typing import NamedTuple

import numpy as np

from emulator.plan.plan import Plan
from emulator.plan.scratch import scratch_bytes, stripe
from isa.errors import InputError, Trap, shown
from isa.grouped import dense
from isa.instruction import Instruction
from isa.intervals import Interval, union
from isa.memory import HELP, shortage
from isa.operand import region
from isa.program import BUFFERED, Segment, Symbol

PAGE = 4096
# What lies behind the memories begins a cache line.
ALIGNMENT = 64
# Noise is made so much at a time.
NOISE_BYTES = 2**24
# Scratch memory of each walker, behind the memories and the packed weights; behind it the word that ends a long kernel.
SCRATCH_BYTES = 2**20
END_WORD_BYTES = ALIGNMENT


class Needs(NamedTuple):
    """The bytes that a session takes: those it keeps, those of its longest instruction while it runs, and results.

    Those are the outputs of one task, and the tensors that are dumped.
    """

    kept: int
    working: int
    outputs: int
    dumped: int


def check_needs(
    plan: Plan,
    arena_bytes: int,
    packed: Collection[tuple[int, int]],
    dumped: Iterable[Symbol],
    poison: bool,
    threads: int,
) -> Needs:
    """Return what a session of a plan takes, before it does; raise Trap where that, and its outputs, are too much.

    `arena_bytes` are those of the memories and the packed weights, which those `packed` use: (core, index). What
    inputs take depends on what is given: emulator/execute/inputs.py counts it.
    """
    scratch, place = max(
        (
            (scratch_of(instruction, (part.number, k) in packed), part.where(k))
            for part in plan.cores
            for k, instruction in enumerate(part.core.code)
        ),
        default=(0, ""),
    )
    memories = plan.arena_bytes if poison else touched_bytes(plan)
    weights = max(arena_bytes - plan.arena_bytes, 0)
    working = threads * scratch if scratch > SCRATCH_BYTES else 0
    outputs = sum(symbol.bytes for _, symbol in plan.program.of_kind("output"))
    check_room(
        plan,
        {
            "the program's memories": memories,
            "its weights as products take them": weights,
            **_outputs(plan, outputs),
            f"the working memory of {place}": working,
        },
    )
    return Needs(memories + weights, working, outputs, sum(symbol.bytes for symbol in dumped))


def check_outputs(plan: Plan, needs: Needs) -> int:
    """Return the bytes of the outputs of all tasks, and of what is dumped; raise Trap where there is not the memory."""
    results = {**_outputs(plan, needs.outputs), "tensors that are dumped": needs.dumped}
    check_room(plan, results)
    return sum(results.values())


def _outputs(plan: Plan, of_task: int) -> dict[str, int]:
    return {f"outputs of {plan.tasks:,} tasks" if plan.tasks > 1 else "outputs": plan.tasks * of_task}


def check_room(plan: Plan, needs: Mapping[str, int]) -> None:
    """Raise Trap where there is not the memory for what a plan needs; `needs` are as `shortage` takes them."""
    short = shortage(needs)
    if short:
        raise Trap(f"{plan.program.name}: {short}", f"make tensors smaller, run fewer tasks, {HELP}")


def scratch_of(instruction: Instruction, packed: bool) -> int:
    """Return what an instruction takes beside the arena, in stripes where it is so computed."""
    return scratch_bytes(instruction, packed, stripe(instruction, packed))


def touched_bytes(plan: Plan) -> int:
    """Return how many bytes of the memories the program's tensors, data and code reach: others are never made."""
    intervals: dict[tuple[int, str], list[Interval]] = defaultdict(list)
    for part in plan.cores:
        held: list[Symbol | Segment] = [*part.core.symbols, *part.core.segments]
        for one in held:
            intervals[region(part.number, one.memory)].append((one.address, one.end))
        for instruction, trips in zip(part.core.code, part.core.trips(plan.tasks), strict=True):
            for _, operand in instruction.accesses():
                home = part.number if operand.core is None else operand.core
                intervals[region(home, operand.memory)].append(operand.extent(trips))
    return sum(high - low for found in intervals.values() for low, high in union(found))


@contextmanager
def enough_memory(plan: Plan) -> Iterator[None]:
    """Raise Trap where there is not the memory for what is done inside: the arena, and copies of tensors."""
    try:
        yield
    except MemoryError as error:
        raise not_enough(plan) from error


def not_enough(plan: Plan) -> Trap:
    """Return that there is not the memory for a plan's arena and copies of tensors."""
    copies = plan.tasks * sum(symbol.bytes for kind in BUFFERED for _, symbol in plan.program.of_kind(kind))
    return Trap(
        f"the program needs {plan.arena_bytes} bytes of memory, and {copies} for its inputs and outputs, "
        "which this computer cannot give"
    )


def open_arena(plan: Plan, poison: int | None = None, size: int = 0) -> np.ndarray:
    """Return the arena, uint8, with weights and constants in place, of `size` bytes or as many as its memories have.

    It begins a page. All other bytes of the memories are 0, or noise that depends on the seed `poison` alone. Raises
    InputError for a seed that is no whole number from 0, Trap when there is not the memory.
    """
    if poison is not None and not (isinstance(poison, Integral) and poison >= 0):
        raise InputError(f"{shown(poison)} is no seed of the noise", "give a whole number, 0 or greater")
    with enough_memory(plan):
        size = max(size, plan.arena_bytes)
        if size + PAGE > np.iinfo(np.intp).max:
            raise MemoryError
        # Pages that nothing touches are never made.
        held = np.zeros(size + PAGE, np.uint8)
        start = -held.ctypes.data % PAGE
        arena = held[start : start + size]
        if poison is not None:
            noise = np.random.default_rng(int(poison))
            for part in np.split(arena[: plan.arena_bytes], range(NOISE_BYTES, plan.arena_bytes, NOISE_BYTES)):
                part[...] = noise.integers(0, 256, part.size, np.uint8)
    for of_core in plan.cores:
        for segment in of_core.core.segments:
            start = plan.bases[region(of_core.number, segment.memory)] + segment.address
            arena[start : start + len(segment.data)] = np.frombuffer(segment.data, np.uint8)
    return arena


def tensor(arena: np.ndarray, plan: Plan, core: int, symbol: Symbol, task: int = 0) -> np.ndarray:
    """Return the tensor of a core's symbol in a task: a view of the arena, or what is stored otherwise, expanded."""
    start = plan.bases[region(core, symbol.memory)] + symbol.address + task % symbol.buffers * symbol.bytes
    if symbol.stored:
        return dense(arena[start : start + symbol.stored], symbol.dtype, symbol.shape, symbol.form)
    return arena[start : start + symbol.bytes].view(symbol.dtype.numpy).reshape(symbol.shape)


def copy_out(arena: np.ndarray, plan: Plan, core: int, symbol: Symbol, task: int) -> np.ndarray:
    """Return a copy of the tensor of a core's symbol in a task; raise Trap when there is not the memory."""
    with enough_memory(plan):
        return tensor(arena, plan, core, symbol, task).copy()
