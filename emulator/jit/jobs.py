"""Compiling ahead: functions with the types they are asked for by, and a call back where that takes time."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from numba.core import event

from emulator.jit.compile import KERNEL


class Job(NamedTuple):
    """A function to compile; its name is as in "the kernel of conv"."""

    name: str
    function: Any
    signature: Any


def compile_all(jobs: Iterable[Job], on_compile: Callable[[str], None] | None = None) -> list[Callable[..., Any]]:
    """Load from the cache, or compile, each of some functions; return them compiled.

    `on_compile` is called with the name before a compilation, which takes some seconds.
    """
    compiled = []
    with uncollected():
        for name, function, signature in jobs:
            with on_cold_compile(lambda name=name: on_compile(name) if on_compile else None):  # type: ignore[misc]
                # By types of arguments, as compiled callers ask for it: one entry in the cache for both.
                compiled.append(function.compile(signature.args))
    return compiled


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the garbage collector, which takes a tenth of the time that compiling does, to find nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def addresses_of(kernels: Iterable[Any]) -> list[int]:
    """Return where kernels lie that are compiled by now; they stay there."""
    compiled = [kernel.get_compile_result(KERNEL) for kernel in kernels]
    return [result.library.get_pointer_to_function(result.fndesc.llvm_func_name) for result in compiled]


class _Colds(event.Listener):
    """Calls back once, when numba begins to compile what it did not find in the cache."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def on_start(self, event: Any) -> None:
        callback, self.callback = self.callback, None
        if callback:
            callback()

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def on_cold_compile(callback: Callable[[], None]) -> Iterator[None]:
    """Call back once if anything inside is compiled rather than loaded from the cache, before it is."""
    listener = _Colds(callback)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
