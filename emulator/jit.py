"""How the hot files are compiled: the one place that fixes numba's options and the cache on disk.

Every compiled function is decorated with `hot`, so all of them are compiled by the same rules: no Python objects, no
lock held, IEEE arithmetic in the order written (no fast math, and no fused multiply-add but `fused`), division by zero
as the hardware does it, and kept on disk. numba's own cache notices an edit of the function's file, but not of a file
that this one imports. So the cache lies in a folder named after a hash of all the sources that matter: SOURCES.

Products of integers have a form for each set of vector instructions that hosts have (emulator/micro.py). FORM is the
fastest that this host has, or $RATEL_PRODUCTS; it is part of the key.

The folder is $RATEL_CACHE, else ratel/ in $XDG_CACHE_HOME or ~/.cache, else a temporary one that lasts as long as the
process. Nothing is written beside the sources, which may be read-only. Folders of other sources that nobody has used
for KEPT_DAYS are removed as a new one is made.
"""

import atexit
import gc
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

import numba
import numpy as np
from llvmlite import binding
from numba.core import config as _config
from numba.core import event, types
from numba.core.cgutils import if_unlikely
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.imputils import impl_ret_borrowed
from numba.core.runtime import rtsys
from numba.extending import intrinsic as _intrinsic
from numba.np.arrayobj import populate_array

from isa.errors import InputError

config: Any = _config
intrinsic: Any = _intrinsic
OPTIONS = {"nopython": True, "nogil": True, "fastmath": False, "error_model": "numpy", "cache": True}
# What every kernel takes: the arena, and a row of the plan.
KERNEL = types.void(types.uint8[::1], types.int64[::1])

# The hot files, and those whose constants are compiled into them.
HOT = (
    "barrier",
    "factors",
    "functions",
    "jit",
    "kernels",
    "kernels_depthwise",
    "kernels_eltwise",
    "kernels_memory",
    "kernels_pool",
    "kernels_reduce",
    "kernels_sample",
    "kernels_tensor",
    "meeting",
    "micro",
    "packing",
    "schedule",
    "share",
    "storage",
    "vector",
    "walk",
)
LAYOUT = (
    "emulator/plan",
    "emulator/record",
    "isa/dtypes",
    "isa/operand",
    "isa/row",
    *(f"isa/rows_{engine}" for engine in ("tensor", "pool", "memory", "sequencer")),
    "isa/table",
)
# The forms of products, the fastest first, and the host's features that each needs.
FORMS = {
    "vnni": ("avx512vnni",),
    "avxvnni": ("avxvnni",),
    "avx512": ("avx512bw",),
    "avx2": ("avx2",),
    "portable": (),
}
ROOT = Path(__file__).parent.parent
KEPT_DAYS = 30
SOURCES = tuple(ROOT / f"{name}.py" for name in (*(f"emulator/{name}" for name in HOT), *LAYOUT))


def possible_forms() -> list[str]:
    """Return the forms of products that this host can compute, the fastest first."""
    if config.CPU_FEATURES is None:
        features = {name for name, has in binding.get_host_cpu_features().items() if has}
    else:
        features = {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    # Hosts whose vectors of 512 bits have the instruction have it for 256 too.
    if {"avx512vnni", "avx512vl"} <= features:
        features.add("avxvnni")
    return [form for form, needed in FORMS.items() if features.issuperset(needed)]


def chosen_form() -> str:
    """Return the form of products to compile; raise InputError where $RATEL_PRODUCTS is none that this host has."""
    possible = possible_forms()
    wanted = os.environ.get("RATEL_PRODUCTS") or possible[0]
    if wanted not in possible:
        what = "this computer lacks the instructions" if wanted in FORMS else "there is no such form of products"
        help = f"leave the variable out, or use one of: {', '.join(possible)}"
        raise InputError(f"RATEL_PRODUCTS={wanted}: {what}", help)
    return wanted


FORM = chosen_form()


def source_hash() -> str:
    """Return what names the cache: a hash of SOURCES, of FORM, and of numba's options that the environment sets."""
    digest = hashlib.sha256(f"boundscheck={config.BOUNDSCHECK} products={FORM}".encode())
    for path in SOURCES:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return a folder for compiled functions that can be written to, made where it is missing."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(os.environ.get("RATEL_CACHE") or os.path.join(caches, "ratel")).absolute() / source_hash()
    try:
        if not folder.exists():
            remove_unused(folder.parent)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            os.utime(folder)
            return folder
    except OSError:
        # Never a fixed name in a shared folder: whoever can write there would choose the code that we run.
        temporary = tempfile.mkdtemp(prefix="ratel-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        (Path(temporary) / folder.name).mkdir(0o700)
        return Path(temporary) / folder.name


def remove_unused(cache: Path) -> None:
    """Remove the folders in a cache that are named after a hash and were last used more than KEPT_DAYS ago.

    A folder's time is that of its last use. What cannot be removed stays; links are not followed.
    """
    with suppress(OSError):
        for entry in os.scandir(cache):
            named = re.fullmatch("[0-9a-f]{16}", entry.name) and entry.is_dir(follow_symlinks=False)
            if named and entry.stat(follow_symlinks=False).st_mtime < time.time() - KEPT_DAYS * 86_400:
                shutil.rmtree(entry.path, ignore_errors=True)


FOLDER = cache_folder()


def hot(function: Callable[..., Any]) -> Any:
    """Compile what is called from Python, or by its address, when it is first used.

    What compiled functions call by name too is `hot_and_inner`.
    """
    return _decorate(function, OPTIONS | {"pipeline_class": _HotCompiler})


def hot_and_inner(function: Callable[..., Any]) -> Any:
    """Compile what both Python and compiled functions call."""
    return _decorate(function, OPTIONS)


def inner(function: Callable[..., Any]) -> Any:
    """Compile what only compiled functions call, and only as far as they need it.

    There are no wrappers for Python, which take as long as the rest, and no machine code: see _InnerLibrary.
    """
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _decorate(function, OPTIONS | wrappers | {"pipeline_class": _InnerCompiler})


class _InnerLibrary(JITCodeLibrary):
    """The code of an inner function, as LLVM has it before it optimises: for linking into its callers.

    numba would optimise it with all that it calls and make machine code of it, which nobody uses: a caller links the
    code, not the machine code, and is optimised as a whole. Without, the first run takes a third less.
    """

    def _optimize_final_module(self) -> None:
        whole = self._final_module
        for function in whole.functions:
            if not function.is_declaration and function.linkage == binding.Linkage.external:
                function.linkage = "linkonce_odr"  # each caller has a copy
        self._shared_module = whole
        # What remains to be made is the variable that numba sets to the function's environment.
        environments = [str(v) for v in whole.global_variables if v.name.startswith("_ZN08NumbaEnv")]
        empty = str(self._codegen._create_empty_module(self.name))
        self._final_module = binding.parse_assembly("\n".join([empty, *environments]))
        self._final_module.name = whole.name


class _HotLibrary(JITCodeLibrary):
    """The machine code of a function that nobody links.

    numba keeps the LLVM code too, and reads all of it as it loads the function: as long as all the rest of loading.
    Here it is kept as names alone, which is what numba looks for in it.
    """

    def serialize_using_object_code(self) -> Any:
        self._ensure_finalized()
        names = [function.name for function in self._final_module.functions if not function.is_declaration]
        empty = str(self._codegen._create_empty_module(self.name))
        code = "\n".join([empty, *(f'define void @"{name}"() {{ unreachable }}' for name in names)])
        return self.name, "object", (self._get_compiled_object(), binding.parse_assembly(code).as_bitcode())

    def _get_module_for_linking(self) -> Any:
        raise TypeError(f"{self.name} is hot: compiled functions call what is inner, or hot_and_inner")


class _HotCompiler(Compiler):
    """numba's compiler, but for what it puts its code into."""

    library: type[JITCodeLibrary] = _HotLibrary

    def define_pipelines(self) -> Any:
        library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        library.enable_object_caching()
        self.state.library = library
        return super().define_pipelines()


class _InnerCompiler(_HotCompiler):
    """The same for inner functions."""

    library = _InnerLibrary


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into its callers, however long it is.

    That is for functions of one element, so that loops that call them are vectorised, and for steps of small
    instructions: an array is handed to a function by seven registers.
    """
    return _decorate(function, OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True})


def _decorate(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    # numba reads the setting as it decorates; the caller's own setting holds for all other code.
    before, config.CACHE_DIR = config.CACHE_DIR, str(FOLDER)
    try:
        dispatcher = numba.jit(**options)(function)
    finally:
        config.CACHE_DIR = before
    cache = dispatcher._cache
    save = cache.save_overload

    def save_alone(signature: Any, result: Any) -> None:
        # What cannot be kept is compiled again the next time.
        with suppress(OSError), _saving():
            save(signature, result)

    def load(signature: Any, context: Any) -> Any:
        # numba would learn all that it can compile first, which takes longer than loading does; it does so anyway
        # before it compiles. Machine code needs only the functions that allocate memory.
        rtsys.initialize(context)
        try:
            return cache._load_overload(signature, context)
        except Exception:
            # Cut short, or not what numba wrote: whatever a damaged file makes it raise, the function is compiled anew.
            with suppress(OSError):
                cache.flush()
            return None

    cache.save_overload, cache.load_overload = save_alone, load
    return dispatcher


@contextmanager
def _saving() -> Iterator[None]:
    """Keep other processes from saving; where the system has no such lock, do not.

    numba reads the list of a function's specialisations, adds to it and writes it: of two processes that do so at once
    one would name the other's code as its own.
    """
    with ExitStack() as held:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(held.enter_context(open(FOLDER / "lock", "wb")), fcntl.LOCK_EX)
        yield


def is_kept(function: Any) -> bool:
    """Return whether a function has been compiled and kept in the cache, for this processor or another."""
    python = function.py_func
    return any(FOLDER.glob(f"*/{python.__module__.rpartition('.')[2]}.{python.__name__}-*.nbi"))


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
    assert (arena, row) == KERNEL.args

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table = context.make_array(addresses)(context, builder, arguments[0])
        address = builder.load(builder.gep(table.data, [arguments[1]]))
        convention = context.call_conv
        kernel = builder.inttoptr(address, convention.get_function_type(types.void, KERNEL.args).as_pointer())
        status, _ = convention.call_function(builder, kernel, types.void, KERNEL.args, arguments[2:])
        with if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(addresses, types.int64, arena, row), generate


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
