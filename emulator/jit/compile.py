"""How the hot files are compiled: the one place that fixes numba's options.

Every compiled function is decorated with one of four names, so all of them are compiled by the same rules: no Python
objects, no lock held, IEEE arithmetic in the order written (no fast math, and no fused multiply-add but `fused`),
division by zero as the hardware does it, and kept on disk (emulator/jit/cache.py). Nothing is read of the environment,
and no folder is made, before the first is compiled.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numba
from numba import types
from numba.core import config as _config

from emulator.jit import cache
from emulator.jit.numba_private import pipeline
from isa.errors import RatelError

OPTIONS: dict[str, Any] = {"nopython": True, "nogil": True, "fastmath": False, "error_model": "numpy"}
UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# What every kernel takes: the arena, and a row of the plan.
KERNEL = types.void(types.uint8[::1], types.int64[::1])


def hot(function: Callable[..., Any]) -> Any:
    """Compile what is called from Python, or by its address, when it is first used.

    What compiled functions call by name too is `hot_and_inner`.
    """
    private = pipeline()
    return _decorate(function, {"pipeline_class": private.hot} if private else {})


def hot_and_inner(function: Callable[..., Any]) -> Any:
    """Compile what both Python and compiled functions call."""
    return _decorate(function, {})


def inner(function: Callable[..., Any]) -> Any:
    """Compile what only compiled functions call, and only as far as they need it.

    There are no wrappers for Python, which take as long as the rest, and no machine code where numba's insides are
    known (emulator/jit/numba_private.py).
    """
    private = pipeline()
    return _decorate(function, UNWRAPPED | ({"pipeline_class": private.inner} if private else {}))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into its callers, however long it is.

    That is for functions of one element, so that loops that call them are vectorised, and for steps of small
    instructions: an array is handed to a function by seven registers.
    """
    return _decorate(function, UNWRAPPED | {"forceinline": True})


def _decorate(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    if getattr(_config, "DISABLE_JIT", 0):
        raise RatelError(
            "numba is told not to compile, and a chip's arithmetic is not Python's",
            "unset NUMBA_DISABLE_JIT, or disable_jit in a .numba_config.yaml; `ratel asm` and `check` compile nothing",
        )
    dispatcher = numba.jit(**OPTIONS, **options)(function)
    compile_it, private = dispatcher.compile, pipeline()

    def compile_kept(signature: Any) -> Any:
        """Compile for a signature, or load; before the first, open the cache."""
        if not cache.enable(dispatcher):
            return compile_it(signature)
        if private:
            private.adopt(dispatcher, lambda: cache.saving(dispatcher))
            return compile_it(signature)
        # numba would let two processes write one list of specialisations at once.
        with ExitStack() as kept:
            try:
                kept.enter_context(cache.saving(dispatcher))
            except OSError:
                # Loaded it may still be.
                dispatcher._cache.save_overload = lambda signature, result: None
            return compile_it(signature)

    dispatcher.compile = compile_kept
    return dispatcher
