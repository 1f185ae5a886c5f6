"""Objects: the machine code of hot functions, each in a file of the cache, loaded by LLVM alone, without numba.

numba is asked for a function's machine code once; with it is kept an entry, `i32 (address, words)`, by which Python
calls it: words are the 64-bit numbers that its arguments are made of, as numba hands them from one compiled function to
another, behind a word for the result. So a process that finds what it needs loads no numba, and a call costs what it
takes to say where the words lie. What an object needs of numba, such as what allocates memory, is in files that load
alone.

A file begins with the checksum of what follows it, and takes its place at once, whole; what does not hold is compiled
anew and put in its place.
"""

import ctypes
import hashlib
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding

from emulator.jit.later import numba_folder

FOLDER = "objects"
ENTRY = "ratel_entry"
# What objects may ask for: functions of numba's that are in a file each, by what their names begin with; of Python, by
# what theirs do; and of the system.
RUNTIMES = {
    "NRT_": (Path("core/runtime/_nrt_python"), "numba.core.runtime._nrt_python"),
    "numba_": (Path("_helperlib"), "numba._helperlib"),
}
PYTHON = "Py", "_Py"
SYSTEM = {"sched_yield", "SwitchToThread", "memset", "memcpy", "memmove", "memcmp", "fma", "fmaf", "sqrt", "sqrtf"}
# As numba's call convention has it: what is no error, and what has information about an exception.
OK, NONE, FIRST_EXCEPTION = 0, -2, 1
_CALL = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)


class Code(NamedTuple):
    """The machine code of a function and of its entry; of the first, its name in there, and its RUNTIMES."""

    name: str
    asks: tuple[str, ...]
    function: bytes
    entry: bytes


class Entry:
    """A function in memory. `address` is where compiled functions call it."""

    def __init__(self, address: int, entry: int, kept: Sequence[Any]) -> None:
        self.address, self._entry, self._kept = address, _CALL(entry), kept

    def __call__(self, *arguments: Any) -> int:
        """Call it with arrays, numbers and tuples of them, which must be of the types that it is compiled for."""
        return self.at(words_of(arguments))

    def at(self, words: np.ndarray) -> int:
        """Call it with words [1 + those of arguments] of `words_of`, whose arrays live; return a number, if it does.

        Raises what it raises, MemoryError above all.
        """
        status = self._entry(self.address, words.ctypes.data)
        if status != OK and status != NONE:
            raise _exception(status, int(words[0]))
        return int(words[0])


def words_of(arguments: Sequence[Any]) -> np.ndarray:
    """Return the words of arguments, behind one for the result."""
    return np.array([0, *_words(arguments)], np.int64)


def _words(arguments: Sequence[Any]) -> Iterator[int]:
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous, "arrays are handed over in C's order"
            # Its owners, which are none that numba counts.
            yield from (0, 0, argument.size, argument.itemsize, argument.__array_interface__["data"][0])
            yield from argument.shape
            yield from argument.strides
        elif isinstance(argument, tuple):
            yield from _words(argument)
        elif isinstance(argument, float):
            yield int(np.float64(argument).view(np.int64))
        else:
            yield int(argument)


def _exception(status: int, information: int) -> BaseException:
    if status < FIRST_EXCEPTION:
        return SystemError(f"compiled code ended with status {status}")
    data = ctypes.c_void_p.from_address(information).value
    size = ctypes.c_int32.from_address(information + ctypes.sizeof(ctypes.c_void_p)).value
    assert data
    # What numba has compiled in, for it to be read back so.
    kind, given, *_ = pickle.loads(ctypes.string_at(data, size))
    raised = kind(*(given or ()))
    assert isinstance(raised, BaseException)
    return raised


def load(code: Code) -> Entry:
    """Load machine code."""
    for prefix in code.asks:
        _symbols(prefix)
    address, engine = _loaded(code.function, code.name)
    return with_entry(address, code.entry, engine)


def _loaded(content: bytes, name: str) -> tuple[int, Any]:
    """Return where a name of an object is, and what keeps it there."""
    prepare()
    # Each in an engine of its own, or one would find what another defines by the same name.
    machine = binding.Target.from_triple(binding.get_process_triple()).create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return engine.get_function_address(name), engine


def with_entry(address: int, entry: bytes, *kept: Any) -> Entry:
    """Return a function that is in memory already, with its entry; what is `kept` lives as long."""
    at, engine = _loaded(entry, ENTRY)
    return Entry(address, at, (engine, *kept))


@cache
def prepare() -> None:
    """Have LLVM know this host, and its assembly, which some operations are written in."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()


@cache
def _symbols(prefix: str) -> dict[str, int]:
    """Return where functions of numba's runtime are, by their names, of which LLVM has been told."""
    file, module_name = RUNTIMES[prefix]
    module: Any = sys.modules.get(module_name)
    if module is None:
        spec = PathFinder.find_spec(file.name, [str(numba_folder() / file.parent)])
        module = module_from_spec(spec) if spec else import_module(module_name)
        if spec and spec.loader:
            spec.loader.exec_module(module)
    found = {n if n.startswith("_") else prefix + n: address for n, address in module.c_helpers.items()}
    for name, address in found.items():
        binding.add_symbol(name, address)
    return found


def entry_code(function_type: Any) -> bytes:
    """Return the machine code of an entry for functions of a type in numba's call convention.

    That is `i32 (result*, exception**, arguments...)`. What it returns is a whole number, or nothing.
    """
    from llvmlite import ir

    word, status = ir.IntType(64), ir.IntType(32)
    module = ir.Module(ENTRY)
    module.triple = binding.get_process_triple()
    kind = ir.FunctionType(status, [word, word.as_pointer()])
    entry = ir.Function(module, kind, ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    address, words = entry.args
    places = [builder.alloca(argument.pointee) for argument in function_type.args[:2]]
    for place in places:
        builder.store(ir.Constant(place.type.pointee, None), place)

    def taken(index: int, kind: Any) -> Any:
        loaded = builder.load(builder.gep(words, [ir.Constant(word, index)]))
        if isinstance(kind, ir.PointerType):
            return builder.inttoptr(loaded, kind)
        if isinstance(kind, ir.DoubleType):
            return builder.bitcast(loaded, kind)
        assert isinstance(kind, ir.IntType), kind
        return builder.trunc(loaded, kind) if kind.width < 64 else loaded

    arguments = [taken(1 + k, kind) for k, kind in enumerate(function_type.args[2:])]
    called = builder.call(builder.inttoptr(address, function_type.as_pointer()), [*places, *arguments])
    failed = builder.icmp_signed(">=", called, ir.Constant(status, FIRST_EXCEPTION))
    result = ir.Constant(word, 0)
    if isinstance(places[0].type.pointee, ir.IntType):
        returned = builder.load(places[0])
        result = builder.sext(returned, word) if returned.type.width < 64 else returned
    kept = builder.select(failed, builder.ptrtoint(builder.load(places[1]), word), result)
    builder.store(kept, builder.gep(words, [ir.Constant(word, 0)]))
    builder.ret(called)
    prepare()
    machine = binding.Target.from_triple(module.triple).create_target_machine(jit=True)
    return bytes(machine.emit_object(binding.parse_assembly(str(module))))


def asks_of(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return what has to be there before code that asks for these names: which of RUNTIMES.

    None where a loader might not find one: LLVM would end the process.
    """
    needed = set()
    for name in names:
        prefix = next((prefix for prefix in RUNTIMES if name.startswith(prefix)), None)
        if prefix and name in _symbols(prefix):
            needed.add(prefix)
        elif not (name in SYSTEM or name.startswith(("llvm.", *PYTHON))):
            return None
    return tuple(sorted(needed))


def read(path: Path) -> Code | None:
    """Return code from a file; None where there is none, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, _, rest = content.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != seal:
        return None
    header, _, code = rest.partition(b"\n")
    name, asks, size = json.loads(header)
    return Code(name, tuple(asks), code[:size], code[size:])


def write(path: Path, code: Code) -> None:
    """Keep code in a file, which is there whole or not at all; without room for it, there is none."""
    rest = b"\n".join([json.dumps([code.name, code.asks, len(code.function)]).encode(), code.function + code.entry])
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def name_of(function: Any, types: str, host: str | None = None) -> str:
    """Return the name of a function's file, compiled for some types and for a kind of host: this one by default."""
    key = hashlib.sha256(f"{types}\n{_host() if host is None else host}".encode()).hexdigest()[:16]
    return f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}-{key}"


@cache
def _host() -> str:
    """Return what code is made for: the host's kind, name and features."""
    features = binding.get_host_cpu_features().flatten()
    return f"{binding.get_process_triple()} {binding.get_host_cpu_name()} {features}"
