"""Operations in compiled code that are written for LLVM, and made known to numba when something uses them."""

from collections.abc import Callable
from functools import cached_property
from inspect import signature as parameters
from typing import Any

from emulator.jit.later import cgutils, types


class Intrinsic:
    """An operation in compiled code, which numba learns of when the first function that uses it is compiled."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__, self._function = function.__doc__, function
        self.plain: Callable[..., Any] | None = None

    @cached_property
    def _numba_type_(self) -> Any:
        from numba.core.registry import cpu_target
        from numba.extending import intrinsic

        self._numbas = intrinsic(self._function)
        cpu_target.typing_context.refresh()
        return cpu_target.typing_context.resolve_value_type(self._numbas)

    def __call__(self, *arguments: Any) -> Any:
        """Compute it as Python."""
        assert self.plain, f"{self._function.__name__} is for compiled code"
        return self.plain(*arguments)

    def __reduce__(self) -> Any:
        # numba's cache tells closures apart by what they hold.
        return Intrinsic, (self._function,)


def call_by_address(types_of: Callable[[], Any], function: Callable[..., Any]) -> Intrinsic:
    """Return the operation that calls what is compiled for some types, and returns nothing, by its address.

    It takes the address and the arguments, which are called as those of `function` are; what it raises is raised here.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        address, *values = given
        arguments, convention = signature.args[1:], context.call_conv
        called = builder.inttoptr(address, convention.get_function_type(types.void, arguments).as_pointer())
        status, _ = convention.call_function(builder, called, types.void, arguments, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    def made() -> Any:
        return types.void(types.int64, *types_of().args), generate

    # numba wants each argument named.
    names = ", ".join(parameters(getattr(function, "py_func", function)).parameters)
    return Intrinsic(eval(f"lambda _, address, {names}: made()", {"made": made}))
