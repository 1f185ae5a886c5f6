"""What numba has no function for: single operations, written for LLVM by numba's extension interface."""

from typing import Any

import numpy as np

from emulator.jit.compile import inlined
from emulator.jit.later import cgutils, types
from emulator.jit.operations import Intrinsic

# Any, for what it is called with are expressions of compiled code.
intrinsic: Any = Intrinsic


@intrinsic
def fused(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c of float32, rounded once: an instruction where the host has it, else a call of fmaf."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


@intrinsic
def borrowed(context: Any, array: Any) -> Any:
    """Return an array whose views and copies are not counted: each would cost two atomic instructions, 10 ns.

    It lies where `array` does, and is valid for as long as somebody else holds that.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lent = context.make_array(array)(context, builder, arguments[0])
        lent.meminfo = lent.meminfo.type(None)
        lent.parent = lent.parent.type(None)
        return lent._getvalue()

    return array(array), generate


borrowed.plain = lambda array: array


@inlined
def natural(index: Any) -> Any:
    """Return an index that is known not to be negative: numba counts others from the end, which takes it two steps."""
    return np.uint64(index)


@intrinsic
def viewed(context: Any, array: Any, dtype: Any) -> Any:
    """Return a contiguous array's memory as elements of another type, as many as it has whole ones of.

    numba's own `view` does it by a call that computes sizes at run time and counts all it holds: 15 ns.
    """
    result = array.copy(dtype=dtype.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from numba.core.imputils import impl_ret_borrowed
        from numba.np.arrayobj import populate_array

        old, new = (context.get_abi_sizeof(context.get_data_type(kind.dtype)) for kind in (array, result))
        lent = context.make_array(array)(context, builder, arguments[0])
        view = context.make_array(result)(context, builder)
        step = context.get_constant(types.intp, new)
        size = builder.mul(builder.extract_value(lent.shape, 0), context.get_constant(types.intp, old))
        shape, strides = ([part] for part in (builder.udiv(size, step), step))
        data = builder.bitcast(lent.data, view.data.type)
        populate_array(view, data, shape, strides, step, lent.meminfo, lent.parent)
        return impl_ret_borrowed(context, builder, result, view._getvalue())

    return result(array, dtype), generate


def whole(value: int) -> int:
    """Return a number to hand from one compiled function to another.

    A Python constant is a type of its own to numba, which would compile the callee anew for each; a NumPy one is not.
    """
    return np.int64(value)  # type: ignore[return-value]


@intrinsic
def call_kernel(context: Any, addresses: Any, index: Any, arena: Any, row: Any) -> Any:
    """Call the kernel at an address of an int64 array (`addresses_of`); what it raises is raised here.

    numba's first-class functions do the same, but take 3 us each to hand over from Python, with its lock held.
    """
    kernel_args = types.uint8[::1], types.int64[::1]
    assert (arena, row) == kernel_args

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table = context.make_array(addresses)(context, builder, arguments[0])
        address = builder.load(builder.gep(table.data, [arguments[1]]))
        convention = context.call_conv
        kernel = builder.inttoptr(address, convention.get_function_type(types.void, kernel_args).as_pointer())
        status, _ = convention.call_function(builder, kernel, types.void, kernel_args, arguments[2:])
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(addresses, types.int64, arena, row), generate
