"""Barriers, as execute and the schedule count them."""

from emulator.jit.arrays import Matrix
from emulator.jit.compile import inner


@inner
def met(arrivals: Matrix, users: Matrix, core: int, barrier: int) -> bool:
    """Return whether every core that uses a barrier has arrived as often as this one."""
    for other in range(users.shape[0]):
        if users[other, barrier] and arrivals[other, barrier] < arrivals[core, barrier]:
            return False
    return True
