"""Compiling ahead: functions by the types that they are called with, and a call back where that takes time."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from emulator.jit.cache import on_cold_compile
from emulator.jit.compile import Function, Signature


class Job(NamedTuple):
    """A function to compile; its name is as in "the kernel of conv"."""

    name: str
    function: Function
    types: Signature

    @property
    def is_kept(self) -> bool:
        return self.function.is_kept(self.types)


def compile_all(jobs: Iterable[Job], on_compile: Callable[[str], None] | None = None) -> None:
    """Load from the cache, or compile, each of some functions.

    `on_compile` is called with the name before a compilation, which takes some seconds.
    """
    for job in jobs:
        with uncollected():
            if job.function.is_hot:
                job.function.prepare(job.types, _saying(job.name, on_compile))
            else:
                with on_cold_compile(_saying(job.name, on_compile)):
                    job.function.compile_for(job.types)


def make_all(jobs: Iterable[Job], on_compile: Callable[[str], None] | None = None) -> None:
    """Compile each of some functions that is not in the cache, and load none that is an object."""
    for job in jobs:
        if job.function.is_hot:
            with uncollected():
                job.function.make(job.types, _saying(job.name, on_compile))
        else:
            compile_all([job], on_compile)


def _saying(name: str, on_compile: Callable[[str], None] | None) -> Callable[[], None]:
    return lambda: on_compile(name) if on_compile else None


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


def addresses_of(kernels: Iterable[Function | None]) -> list[int]:
    """Return where kernels lie that are compiled by now, 0 for None; they stay there."""
    return [kernel.loaded.address if kernel else 0 for kernel in kernels]
