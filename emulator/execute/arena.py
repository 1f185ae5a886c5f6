"""The arena: the bytes of all memories of a plan, and the tensors in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import numpy as np

from emulator.plan.plan import Plan
from isa.compressed import expand
from isa.errors import InputError, Trap, shown
from isa.operand import region
from isa.program import BUFFERED, Symbol

PAGE = 4096
# What lies behind the memories begins a cache line.
ALIGNMENT = 64
# Noise is made so much at a time.
NOISE_BYTES = 2**24
# Scratch memory of each walker, behind the memories and the packed weights.
SCRATCH_BYTES = 2**20


@contextmanager
def enough_memory(plan: Plan) -> Iterator[None]:
    """Raise Trap where there is not the memory for what is done inside: the arena, and copies of tensors."""
    try:
        yield
    except MemoryError as error:
        copies = plan.tasks * sum(symbol.bytes for kind in BUFFERED for _, symbol in plan.program.of_kind(kind))
        raise Trap(
            f"the program needs {plan.arena_bytes} bytes of memory, and {copies} for its inputs and outputs, "
            "which this computer cannot give"
        ) from error


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
    """Return the tensor of a core's symbol in a task, as a view of the arena; a compressed weight is expanded."""
    start = plan.bases[region(core, symbol.memory)] + symbol.address + task % symbol.buffers * symbol.bytes
    if symbol.stored:
        return expand(arena[start : start + symbol.stored], symbol.dtype, symbol.shape)
    return arena[start : start + symbol.bytes].view(symbol.dtype.numpy).reshape(symbol.shape)


def copy_out(arena: np.ndarray, plan: Plan, core: int, symbol: Symbol, task: int) -> np.ndarray:
    """Return a copy of the tensor of a core's symbol in a task; raise Trap when there is not the memory."""
    with enough_memory(plan):
        return tensor(arena, plan, core, symbol, task).copy()
