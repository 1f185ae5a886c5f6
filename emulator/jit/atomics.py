"""Operations on numbers that several threads share."""

import sys
from functools import cached_property
from typing import Any

from emulator.jit.intrinsics import intrinsic
from emulator.jit.later import types


class _OfTheSystem:
    """A function of the system that takes nothing and returns an int."""

    def __init__(self, name: str) -> None:
        self._name = name

    @cached_property
    def _numba_type_(self) -> Any:
        return types.ExternalFunction(self._name, types.int32())


let_others_run: Any = _OfTheSystem("SwitchToThread" if sys.platform == "win32" else "sched_yield")


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
