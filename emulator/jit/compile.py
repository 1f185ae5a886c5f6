"""How the hot files are compiled: the one place that fixes numba's options.

Every compiled function is decorated with one of four names, so all of them are compiled by the same rules: no Python
objects, no lock held, IEEE arithmetic in the order written (no fast math, and no fused multiply-add but `fused`),
division by zero as the hardware does it, and kept on disk (emulator/jit/cache.py). Until the first is compiled, numba
is not loaded; nothing is read of the environment, and no folder is made, before the first is wanted.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

from emulator.jit import cache, objects
from emulator.jit.numba_private import config, is_known, pipeline
from emulator.jit.objects import Entry
from emulator.jit.targets import shipped
from isa.errors import RatelError

OPTIONS: dict[str, Any] = {"nopython": True, "nogil": True, "fastmath": False, "error_model": "numpy"}
UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# What every kernel takes: the arena, and a row of the plan.
KERNEL = "void(uint8[::1], int64[::1])"
# The types of arguments as numba has them in text; or what returns numba's signature, where text has no name for one.
Signature = str | Callable[[], Any]


def text(types: Signature) -> str:
    """Return what tells types apart: what makes a signature is among the sources that folders are named after."""
    return types if isinstance(types, str) else ""


_AS_PYTHON = ContextVar("as Python", default=False)


@contextmanager
def as_python() -> Iterator[None]:
    """Have functions that are not loaded computed as the Python that they are: soon enough where there is little to do.

    That is for whole numbers alone, which are the same there. Of operations that are written for LLVM there are those
    that have a `plain` form.
    """
    token = _AS_PYTHON.set(True)
    try:
        yield
    finally:
        _AS_PYTHON.reset(token)


class Function:
    """A function that is compiled when it is wanted: by a job, by a compiled caller, or by a call from Python.

    A job (jobs.py) has a hot one loaded as an object (objects.py), or made one, and it is called by its entry from then
    on. Compiled callers, and calls from Python before that, have numba's dispatcher.
    """

    def __init__(self, function: Callable[..., Any], options: Callable[[], dict[str, Any]], is_hot: bool) -> None:
        self.py_func, self._options, self.is_hot = function, options, is_hot
        self.__module__, self.__name__, self.__qualname__ = (
            function.__module__,
            function.__name__,
            function.__qualname__,
        )
        self.__doc__ = function.__doc__
        self.entry: Entry | None = None
        self._code: objects.Code | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self.entry:
            return self.entry(*arguments)
        if _AS_PYTHON.get():
            return self.py_func(*arguments)
        # There is no wrapper for Python, and numba would not say so.
        assert self.is_hot, f"{self.__name__} is for compiled code"
        return self.dispatcher(*arguments)

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own of this function, which keeps what it compiles."""
        return _kept(_dispatcher(self.py_func, self._options()))

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dispatcher, name)

    def is_kept(self, types: Signature) -> bool:
        """Return whether it is there, or in the cache, compiled for these types and this processor."""
        if self.is_hot and is_known():
            return self.entry is not None or self.code(types) is not None
        return cache.is_kept(self.dispatcher)

    def prepare(self, types: Signature, on_compile: Callable[[], None]) -> Entry:
        """Load it, or compile it, for these types, and for all calls from now on."""
        code = None if self.entry else self.make(types, on_compile)
        if code:
            self.entry = objects.load(code)
        return self.loaded

    def make(self, types: Signature, on_compile: Callable[[], None]) -> objects.Code | None:
        """Compile it where that has not been done, and load nothing; return the machine code, if it is an object."""
        if self._code is None and self.entry is None:
            self._code = (self.code(types) if is_known() else None) or self._compiled(types, on_compile)
        return self._code

    @property
    def loaded(self) -> Entry:
        """What `prepare` has returned."""
        assert self.entry, f"{self.__name__} has not been compiled"
        return self.entry

    def code(self, types: Signature) -> objects.Code | None:
        """Return its machine code, as shipped or from the cache; None where there is none."""
        folder = shipped()
        code = objects.read(folder / objects.name_of(self, text(types), "")) if folder else None
        return code or objects.read(self._path(types))

    def compile_for(self, types: Signature) -> Any:
        """Have numba compile it for these types, or load it; return the result."""
        return _compile(self.dispatcher, types)

    def _path(self, types: Signature) -> Path:
        return cache.home().folder / objects.FOLDER / objects.name_of(self, text(types))

    def _compiled(self, types: Signature, on_compile: Callable[[], None]) -> objects.Code | None:
        private = pipeline()
        if private:
            dispatcher = _dispatcher(self._apart(), UNWRAPPED | {"pipeline_class": private.hot})
            on_compile()
            result = _compile(dispatcher, types)
        else:
            dispatcher = self.dispatcher
            with cache.on_cold_compile(on_compile):
                result = _compile(dispatcher, types)
        returned, name = result.fndesc.restype, result.fndesc.llvm_func_name
        convention = result.target_context.call_conv
        entry = objects.entry_code(convention.get_function_type(returned, result.fndesc.argtypes))
        asks = objects.asks_of(private.asks_for(result.library)) if private else None
        if private and asks is not None:
            code = objects.Code(name, asks, private.machine_code(result.library), entry)
            objects.write(self._path(types), code)
            return code
        # It stays where numba has put it for as long as numba's dispatcher lives.
        self.entry = objects.with_entry(result.library.get_pointer_to_function(name), entry, dispatcher)
        return None

    def _apart(self) -> Callable[..., Any]:
        """Return what an object is made of: where others link the function, nothing but a call, with the same code."""
        if "no_cpython_wrapper" not in self._options():
            return self.py_func

        # numba wants each argument named.
        names = ", ".join(signature(self.py_func).parameters)
        call: Callable[..., Any] = eval(f"lambda {names}: function({names})", {"function": self})
        return call


def hot(function: Callable[..., Any]) -> Any:
    """Compile what is called from Python, or by its address, when it is first used.

    What compiled functions call by name too is `hot_and_inner`.
    """
    return Function(function, lambda: _private("hot"), True)


def hot_and_inner(function: Callable[..., Any]) -> Any:
    """Compile what compiled functions call, and Python too: after a job for it."""
    return Function(function, lambda: UNWRAPPED | _private("inner"), True)


def inner(function: Callable[..., Any]) -> Any:
    """Compile what only compiled functions call, and only as far as they need it.

    There are no wrappers for Python, which take as long as the rest, and no machine code where numba's insides are
    known (emulator/jit/numba_private.py).
    """
    return Function(function, lambda: UNWRAPPED | _private("inner"), False)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into its callers, however long it is.

    That is for functions of one element, so that loops that call them are vectorised, and for steps of small
    instructions: an array is handed to a function by seven registers.
    """
    return Function(function, lambda: UNWRAPPED | {"forceinline": True}, False)


def _private(kind: str) -> dict[str, Any]:
    private = pipeline()
    return {"pipeline_class": getattr(private, kind)} if private else {}


def _dispatcher(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    if getattr(config(), "DISABLE_JIT", 0):
        raise RatelError(
            "numba is told not to compile, and a chip's arithmetic is not Python's",
            "unset NUMBA_DISABLE_JIT, or disable_jit in a .numba_config.yaml; `ratel asm` and `check` compile nothing",
        )
    import numba

    return numba.jit(**OPTIONS, **options)(function)


def _compile(dispatcher: Any, types: Signature) -> Any:
    """Have a dispatcher compile for some types, or load; return numba's result."""
    from numba.core.sigutils import normalize_signature

    objects.prepare()
    # By types of arguments, as compiled callers ask for it: one entry in the cache for both.
    arguments, _ = normalize_signature(types if isinstance(types, str) else types())
    dispatcher.compile(arguments)
    return dispatcher.overloads[arguments]


def _kept(dispatcher: Any) -> Any:
    """Let what a dispatcher compiles be kept by numba's own cache."""
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
