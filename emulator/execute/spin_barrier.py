"""Where the walkers of a plan meet: a barrier of one atomic count, compiled.

Each walker adds 1 as it arrives and waits for as many arrivals as there are walkers in each meeting so far; so nothing
is ever set back, and a walker that is fast may arrive at the next meeting while another still leaves this one. It
looks in vain SPINS times, some 10 us, and then lets other threads run between two looks, so that more walkers than
processors make progress. A walker that fails says so, and those that wait leave.
"""

from enum import IntEnum

from emulator.jit.arrays import Words
from emulator.jit.atomics import atomic_increment, atomic_load, let_others_run
from emulator.jit.compile import inner

SPINS = 2000


class SpinBarrier(IntEnum):
    """What walkers share, each in a cache line of its own."""

    # How often one arrived at a meeting; whether one has failed.
    ARRIVALS = 0
    FAILED = 8


# What SpinBarrier's words take, up to the end of a cache line.
SPIN_BARRIER_WORDS = 16


@inner
def meet(meeting: Words, number: int, walkers: int) -> bool:
    """Arrive at the meeting of that number, from 1, and wait for all others; return False if a walker has failed."""
    arrived = atomic_increment(meeting, SpinBarrier.ARRIVALS) + 1
    looks = 0
    while arrived < number * walkers and atomic_load(meeting, SpinBarrier.FAILED) == 0:
        looks += 1
        if looks > SPINS:
            let_others_run()
        arrived = atomic_load(meeting, SpinBarrier.ARRIVALS)
    return atomic_load(meeting, SpinBarrier.FAILED) == 0
