"""Operations in compiled code that are written for LLVM, and made known to numba when something uses them."""

from collections.abc import Callable
from functools import cached_property
from inspect import signature as parameters
from typing import Any

from emulator.jit.later import cgutils, types
from emulator.jit.objects import tell


class Intrinsic:
    """An operation in compiled code, which numba learns of when the first function that uses it is compiled."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__, self._function = function.__doc__, function

    @cached_property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target
        from numba.extending import intrinsic

        self._numbas = intrinsic(self._function)
        cpu_target.typing_context.refresh()
        return cpu_target.typing_context.resolve_value_type(self._numbas)

    def __reduce__(self) -> Any:
        # numba's cache tells closures apart by what they hold.
        return Intrinsic, (self._function,)


def named_call(function: Callable[..., Any], symbol: str, types_of: Any) -> Intrinsic:
    """Return the operation that calls a function by a name that the loader knows; what it raises is raised here."""
    from numba.core.sigutils import normalize_signature

    arguments, _ = normalize_signature(types_of if isinstance(types_of, str) else types_of())
    signature = types.void(*arguments)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(types.void, arguments)
        called = cgutils.get_or_insert_function(builder.module, kind, symbol)
        tell(symbol)
        status, _ = convention.call_function(builder, called, types.void, arguments, given)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    # numba wants each argument named.
    names = ", ".join(parameters(function).parameters)
    return Intrinsic(eval(f"lambda _, {names}: made", {"made": (signature, generate)}))
