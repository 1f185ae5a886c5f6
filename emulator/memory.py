"""The arena: the bytes of all memories of a plan, and the tensors in it."""

import numpy as np

from emulator.plan import Plan
from isa.errors import Trap
from isa.program import Symbol


def open_arena(plan: Plan, poison: int | None = None) -> np.ndarray:
    """Return the arena, uint8, with weights and constants in place.

    All other bytes are 0, or noise that depends on the seed `poison` alone. Raises Trap when there is not the memory.
    """
    try:
        # Pages of zeros that nothing touches are never made.
        arena = np.zeros(plan.arena_bytes, np.uint8)
        if poison is not None:
            arena = np.random.default_rng(poison).integers(0, 256, plan.arena_bytes, np.uint8)
    except (MemoryError, ValueError) as error:
        raise Trap(f"the program needs {plan.arena_bytes} bytes of memory, which this computer cannot give") from error
    for segment in plan.core.segments:
        start = plan.bases[segment.memory] + segment.address
        arena[start : start + len(segment.data)] = np.frombuffer(segment.data, np.uint8)
    return arena


def tensor(arena: np.ndarray, plan: Plan, symbol: Symbol) -> np.ndarray:
    """Return a symbol's tensor, as a view of the arena."""
    start = plan.bases[symbol.memory] + symbol.address
    return arena[start : start + symbol.bytes].view(symbol.dtype.numpy).reshape(symbol.shape)
