"""numba's insides: what subclasses its compilers and libraries, and patches its cache, for the versions that it knows.

They buy time alone: without them (`pipeline` returns None) plain numba compiles the same sources to the same bits, but
makes machine code of inner functions too, reads all code again as it loads, and has no lock of its own around saving.

Other files hold on to numba too, whatever its version: compile.py wraps `dispatcher.compile`, and asks for compiled
results and their addresses; cache.py sets its folder, knows how it names files, and listens for its events;
later.py reads its version; intrinsics.py, atomics.py, operations.py, and of the kernels microkernel.py and
requantise.py are written for its extension interface, `call_kernel`, `call_by_address` and the entries of objects.py
for its call convention.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, NamedTuple

from emulator.jit.later import numba_folder, numba_version

KNOWN = ((0, 68),)


class Pipeline(NamedTuple):
    """Compilers of hot and inner functions, for `pipeline_class`; and what makes a dispatcher's cache quick and safe.

    `adopt(dispatcher, saving)`: its cache saves inside `saving()`, and loads without numba's preparation to compile.
    Of the library of a hot function, `machine_code` and the names of what that `asks_for`.
    """

    hot: type
    inner: type
    adopt: Callable[[Any, Callable[[], AbstractContextManager[None]]], None]
    machine_code: Callable[[Any], bytes]
    asks_for: Callable[[Any], list[str]]


def is_known() -> bool:
    """Return whether this numba's version is among those KNOWN; without loading it."""
    return tuple(int(part) for part in numba_version().split(".")[:2] if part.isdecimal()) in KNOWN


def config() -> Any:
    """Return numba's options, as attributes, as they are now.

    Where numba is not loaded, its file of options is run alone, which makes them what they would be.
    """
    if "numba" not in sys.modules and is_known():
        return _options()
    from numba.core import config

    return config


@cache
def _options() -> Any:
    from llvmlite import binding

    spec = spec_from_file_location("numba_options", numba_folder() / "core" / "config.py")
    assert spec and spec.loader
    options: Any = module_from_spec(spec)
    spec.loader.exec_module(options)
    # What numba finds out besides as it is loaded: whether there is Intel's library of functions on vectors.
    options.USING_SVML = False
    if not options.DISABLE_INTEL_SVML:
        name = {"linux": "libsvml.so", "darwin": "libsvml.dylib", "win32": "svml_dispmd"}.get(sys.platform, "")
        with suppress(Exception):
            binding.load_library_permanently(name)
            options.USING_SVML = binding.targets.has_svml()
    return options


def pipeline() -> Pipeline | None:
    """Return the private pipeline of this numba, None where its version is not among those KNOWN."""
    return _pipeline() if is_known() else None


@cache
def _pipeline() -> Pipeline:
    # Where the version is not known, these may not be there.
    from llvmlite import binding
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler
    from numba.core.runtime import rtsys

    class InnerLibrary(JITCodeLibrary):
        """The code of an inner function, as LLVM has it before it optimises: for linking into its callers.

        numba would optimise it with all that it calls and make machine code of it, which nobody uses: a caller links
        the code, not the machine code, and is optimised as a whole. Without, the first run takes a third less.
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

    class HotLibrary(JITCodeLibrary):
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

    class HotCompiler(Compiler):
        """numba's compiler, but for what it puts its code into."""

        library: type[JITCodeLibrary] = HotLibrary

        def define_pipelines(self) -> Any:
            library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            library.enable_object_caching()
            self.state.library = library
            return super().define_pipelines()

    class InnerCompiler(HotCompiler):
        """The same for inner functions."""

        library = InnerLibrary

    def adopt(dispatcher: Any, saving: Callable[[], AbstractContextManager[None]]) -> None:
        kept = dispatcher._cache
        if "save_overload" in vars(kept):
            return
        save = kept.save_overload

        def save_alone(signature: Any, result: Any) -> None:
            # What cannot be kept is compiled again the next time.
            with suppress(OSError), saving():
                save(signature, result)

        def load(signature: Any, context: Any) -> Any:
            # numba would learn all that it can compile first, which takes longer than loading does; it does so anyway
            # before it compiles. Machine code needs only the functions that allocate memory.
            rtsys.initialize(context)
            with suppress(OSError):
                return kept._load_overload(signature, context)

        kept.save_overload, kept.load_overload = save_alone, load

    def machine_code(library: JITCodeLibrary) -> bytes:
        library._ensure_finalized()
        return bytes(library._get_compiled_object())

    def asks_for(library: JITCodeLibrary) -> list[str]:
        library._ensure_finalized()
        module = library._final_module
        return [named.name for named in (*module.functions, *module.global_variables) if named.is_declaration]

    return Pipeline(HotCompiler, InnerCompiler, adopt, machine_code, asks_for)
