"""numba's insides: what subclasses its compilers and libraries, and patches its cache, for the versions that it knows.

They buy time alone: without them (`pipeline` returns None) plain numba compiles the same sources to the same bits, but
makes machine code of inner functions too, reads all code again as it loads, and has no lock of its own around saving.

Other files hold on to numba too, whatever its version: compile.py wraps `dispatcher.compile`; cache.py sets its folder
and knows how it names files; jobs.py asks for compiled results and their addresses, and listens for its events;
forms.py reads its setting of the host's features; intrinsics.py, atomics.py and emulator/kernels/microkernel.py are
written for its extension interface, `call_kernel` for its call convention.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from typing import Any, NamedTuple

import numba

KNOWN = ((0, 68),)


class Pipeline(NamedTuple):
    """Compilers of hot and inner functions, for `pipeline_class`; and what makes a dispatcher's cache quick and safe.

    `adopt(dispatcher, saving)`: its cache saves inside `saving()`, and loads without numba's preparation to compile.
    """

    hot: type
    inner: type
    adopt: Callable[[Any, Callable[[], AbstractContextManager[None]]], None]


def pipeline() -> Pipeline | None:
    """Return the private pipeline of this numba, None where its version is not among those KNOWN."""
    if numba.version_info.short not in KNOWN:
        return None
    return _pipeline()


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

    return Pipeline(HotCompiler, InnerCompiler, adopt)
