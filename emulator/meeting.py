"""Where the walkers of a plan meet: a barrier of one atomic count, compiled.

Each walker adds 1 as it arrives and waits for as many arrivals as there are walkers in each meeting so far; so nothing
is ever set back, and a walker that is fast may arrive at the next meeting while another still leaves this one. It
looks in vain SPINS times, some 10 us, and then lets other threads run between two looks, so that more walkers than
processors make progress. A walker that fails says so, and those that wait leave.
"""

import sys
from typing import Any

import numpy as np

from emulator.jit import inner, intrinsic, types

# Of what walkers share, each in a cache line of its own: how often one arrived at a meeting; whether one has failed.
ARRIVALS, FAILED, MEETING = 0, 8, 16
SPINS = 2000

let_others_run = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.int32())


@intrinsic
def atomic_increment(_typing: Any, numbers: Any, index: Any) -> Any:
    """Add 1 to an element of an int64 array, as one operation for all threads; return what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = element(context, builder, signature, arguments)
        return builder.atomic_rmw("add", place, context.get_constant(types.int64, 1), "acq_rel")

    return types.int64(numbers, index), generate


@intrinsic
def atomic_load(_typing: Any, numbers: Any, index: Any) -> Any:
    """Return an element of an int64 array that other threads write; what they wrote before is seen from now on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(element(context, builder, signature, arguments), "acquire", 8)

    return types.int64(numbers, index), generate


def element(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return the address of an element as LLVM has it; arguments are the array and the index."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [context.cast(builder, arguments[1], signature.args[1], types.intp)])


@inner
def meet(meeting: np.ndarray, number: int, walkers: int) -> bool:
    """Arrive at the meeting of that number, from 1, and wait for all others; return False if a walker has failed."""
    arrived = atomic_increment(meeting, ARRIVALS) + 1
    looks = 0
    while arrived < number * walkers and atomic_load(meeting, FAILED) == 0:
        looks += 1
        if looks > SPINS:
            let_others_run()
        arrived = atomic_load(meeting, ARRIVALS)
    return atomic_load(meeting, FAILED) == 0
