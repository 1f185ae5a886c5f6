"""Program: all that the assembler and the emulator share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.chip import Chip
from isa.diagnostic import Diagnostic
from isa.dtypes import DType
from isa.instruction import Instruction
from isa.kept import declared, kept_with
from isa.loops import Loop, find_loops, times_each, trips_at
from isa.operand import MEMORIES, TASK_COUNTER, Operand, Term, dense, packed_strides
from isa.quantise import to_steps
from isa.synchronisation import Use, uses

ORDERS = ("hardware", "compiler")
# The kinds of checks, and between what their bound lies.
CHECK_BOUNDS = {"top1": (0.0, 1.0), "exact": (0.0, 0.0), "within": (0.0, 3.4e38)}
CHECK_KINDS = tuple(CHECK_BOUNDS)
# A symbol may have one dimension more than an operand: the one that counts its buffers.
MAX_SYMBOL_RANK = 5
MAX_CORES = 64
# Buffers of an input or an output, and tasks that a program may ask for.
MAX_BUFFERS, MAX_TASKS = 16, 2**20
BUFFERED = ("input", "output")
# Where a tensor of each kind may lie.
MEMORIES_OF_KIND = {
    "input": ("lm", "dev", "host"),
    "output": ("lm", "dev", "host"),
    "weight": ("lm", "dev", "host"),
    "const": ("cb",),
    "local": ("lm", "cb", "dev", "host"),
}


@dataclass(frozen=True)
class Line:
    """Where an instruction came from: file as written, line from 1, and the text of the line."""

    file: str
    number: int
    text: str


@dataclass(frozen=True)
class Symbol:
    """A named, dense, row-major tensor.

    `scale` holds one number, one for each channel, or nothing where values are plain numbers; a stored integer q means
    (q - zero) * scale. `default` is the initial content of an input that names a file (None otherwise), of one task or
    of all. An input or an output has `buffers` of them in memory, one behind another; task t has number t % buffers.
    `stored` is the size in bytes of a weight that is compressed, or in groups of a `form`; 0 for a dense tensor. `axes`
    says in which order the host has the dimensions of an input or an output, as numpy.transpose(declared, axes) does;
    () where it has them as declared.
    What lies in memory, `default` among it, is in the declared order; what is given and taken is in the host's.
    """

    name: str
    kind: Literal["input", "output", "weight", "const", "local"]
    memory: str
    address: int
    dtype: DType
    shape: tuple[int, ...]
    scale: tuple[float, ...] = ()
    zero: int = 0
    default: bytes | None = None
    buffers: int = 1
    stored: int = 0
    form: str = ""
    axes: tuple[int, ...] = ()

    @property
    def host_shape(self) -> tuple[int, ...]:
        """The shape that the host's tensor has."""
        return tuple(self.shape[axis] for axis in self.axes) if self.axes else self.shape

    def to_host(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return a tensor of the declared shape, or a batch of them, as the host has it; a view."""
        return _permuted(tensor, self.axes)

    def from_host(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return a tensor of the host's shape, or a batch of them, as the program has declared it; a view."""
        return _permuted(tensor, sorted(range(len(self.axes)), key=self.axes.__getitem__))

    def array(self, data: bytes) -> NDArray[Any]:
        """Return bytes as a tensor of the symbol's type and shape."""
        return np.frombuffer(data, self.dtype.numpy).reshape(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the tensor, as it is stored: of one buffer."""
        return self.stored or prod(self.shape) * self.dtype.bytes

    @property
    def end(self) -> int:
        """The byte behind the last buffer."""
        return self.address + self.buffers * self.bytes

    @property
    def terms(self) -> tuple[Term, ...]:
        """What every use of the tensor adds to its address: the place of the task's buffer."""
        return (Term(TASK_COUNTER, self.buffers, self.bytes),) if self.buffers > 1 else ()

    @property
    def strides(self) -> tuple[int, ...]:
        return packed_strides(self.shape)

    def quantise(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return clamp(rne(x / scale) + zero) of floats, x / scale in float32; NaN has no such value, see to it before.

        Scales of several elements run over the last dimension.
        """
        return to_steps(values, self.scale, self.zero, self.dtype)

    def as_operand(self) -> Operand:
        """Return the whole tensor as an operand; for symbols of operand rank."""
        return dense(self.memory, self.address, self.dtype, self.shape, self.terms)


def _permuted(tensor: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
    """Return a tensor with its last dimensions in another order; those before them, of a batch, stay."""
    before = tensor.ndim - len(axes)
    return tensor.transpose(*range(before), *(before + axis for axis in axes)) if axes else tensor


@dataclass(frozen=True)
class Segment:
    """Initial bytes of a memory: a weight or a constant."""

    memory: str
    address: int
    data: bytes

    @property
    def end(self) -> int:
        return self.address + len(self.data)


@dataclass(frozen=True)
class Check:
    """A condition on an output, evaluated by run.

    top1: the share of rows whose greatest element stands where `expected` (i32 labels) says is at least `bound`.
    exact: equal to `expected`. within: |difference| at most `bound` everywhere. These have the output's type and the
    host's shape; all are for the program's own number of tasks, one after another where it is more than one.
    `source` is the file that the expectation came from, for messages.
    """

    output: str
    kind: Literal["top1", "exact", "within"]
    bound: float
    source: str
    expected: bytes


_NOWHERE = np.zeros(0, np.int64), np.zeros(0, np.int64), list[Symbol]()


@dataclass(frozen=True)
class Core:
    """What one core runs and holds: code, the line of each instruction, initial data, symbols."""

    code: tuple[Instruction, ...]
    lines: tuple[Line, ...]
    segments: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]

    __getstate__ = declared

    def symbol(self, name: str) -> Symbol:
        """Return the symbol of that name; raise KeyError if there is none."""
        for symbol in self.symbols:
            if symbol.name == name:
                return symbol
        raise KeyError(name)

    def of_kind(self, kind: str) -> Sequence[Symbol]:
        """Return the symbols of a kind, in the order of their declaration."""
        return self._by_kind.get(kind, ())

    def around(self, memory: str, low: int, high: int) -> list[Symbol]:
        """Return the symbols that have all bytes [low, high) of a memory, in the order of their declaration."""
        first, end, symbols = self._bounds.get(memory, _NOWHERE)
        return [symbols[k] for k in np.flatnonzero((first <= low) & (high <= end)).tolist()]

    def trips(self, tasks: int = 1) -> list[tuple[int, ...]]:
        """Return, for each instruction, the trip count of every counter, as `trips_at` does; the last are kept."""
        found = self._trips.get(tasks)
        if found is None:
            found = trips_at(self.code, tasks)
            self._trips.clear()
            self._trips[tasks] = found
        return found

    @cached_property
    def _trips(self) -> dict[int, list[tuple[int, ...]]]:
        """Trip counts by the number of tasks: of the number that was asked for last."""
        return {}

    @cached_property
    def times(self) -> list[int]:
        """How often one task executes each instruction."""
        return times_each(self.code)

    @cached_property
    def executions(self) -> int:
        """How many instructions of engines, synchronisation among them, one task executes."""
        pairs = zip(self.code, self.times, strict=True)
        return sum(times for instruction, times in pairs if instruction.row.engine != "seq")

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The loops of valid code, in the order in which they open."""
        return tuple(find_loops(self.code))

    @cached_property
    def _bounds(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64], list[Symbol]]]:
        """First byte, end and symbol of the symbols of each memory: compared as arrays, for they may be many."""
        held: dict[str, list[Symbol]] = {}
        for symbol in self.symbols:
            held.setdefault(symbol.memory, []).append(symbol)
        return {
            memory: (np.array([s.address for s in mine]), np.array([s.end for s in mine]), mine)
            for memory, mine in held.items()
        }

    @cached_property
    def _by_kind(self) -> dict[str, list[Symbol]]:
        """The symbols of each kind: a network has hundreds of weights, and each run asks for its few inputs."""
        found: dict[str, list[Symbol]] = {}
        for symbol in self.symbols:
            found.setdefault(symbol.kind, []).append(symbol)
        return found


@dataclass(frozen=True)
class Program:
    """An assembled program.

    `chip` is the chip it was assembled for, with all its numbers; it runs on any chip that has what it needs.
    `order` says who orders instructions of different engines: the hardware's scoreboard, or the compiler's wait bits
    alone.
    `cores` has one element a core, the first being core 0. A run is a stream of `tasks` where it is not told otherwise.
    `semaphores` and `barriers` are names: instructions hold their index. `sources` are the files that lines name, in
    that order, each with the hash of the text that was assembled (isa.files.hash_of).
    """

    name: str
    chip: Chip
    order: Literal["hardware", "compiler"]
    cores: tuple[Core, ...]
    checks: tuple[Check, ...] = ()
    tasks: int = 1
    semaphores: tuple[str, ...] = ()
    barriers: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()

    __getstate__ = declared

    def __repr__(self) -> str:
        count, cores = sum(len(core.code) for core in self.cores), len(self.cores)
        on = f"{cores} cores, " if cores > 1 else ""
        return f"<Program {self.name!r} for {self.chip.label}: {on}{count} instructions>"

    @property
    def data_bytes(self) -> int:
        """The bytes of all data that it holds: of weights and constants, of inputs by default, of checks."""
        held = [len(segment.data) for core in self.cores for segment in core.segments]
        held += [len(symbol.default or b"") for core in self.cores for symbol in core.symbols]
        return sum(held) + sum(len(check.expected) for check in self.checks)

    def of_kind(self, kind: str) -> Iterator[tuple[int, Symbol]]:
        """Yield (core, symbol) of all cores; names of inputs and of outputs are unique among them."""
        return ((k, symbol) for k, core in enumerate(self.cores) for symbol in core.of_kind(kind))

    def output(self, name: str) -> Symbol:
        """Return the output of that name; raise KeyError if there is none."""
        for _, symbol in self.of_kind("output"):
            if symbol.name == name:
                return symbol
        raise KeyError(name)

    @cached_property
    def grows(self) -> bool:
        """Whether an operand has a dimension that grows with the task."""
        return any(instruction.grows for core in self.cores for instruction in core.code)

    def at(self, task: int) -> "Program":
        """Return the program with the shapes that its operands have in a task; the last is kept."""
        return self._shaped("in_task", task, lambda instruction: instruction.at(task))

    def widest(self, tasks: int) -> "Program":
        """Return the program with the greatest shapes that its operands have in so many tasks; the last is kept."""
        return self._shaped("in_tasks", tasks, lambda instruction: instruction.widest(tasks))

    def _shaped(self, name: str, number: int, shaped: Callable[[Instruction], Instruction]) -> "Program":
        if not self.grows:
            return self
        kept = kept_with(self, name, dict[int, Program])
        if (found := kept.get(number)) is None:
            cores = tuple(replace(core, code=tuple(map(shaped, core.code))) for core in self.cores)
            found = replace(self, cores=cores)
            kept.clear()
            kept[number] = found
        return found

    @cached_property
    def uses(self) -> dict[tuple[str, int], list[Use]]:
        """Who uses each semaphore and barrier, as isa.synchronisation.uses tells."""
        return uses([core.code for core in self.cores])

    @cached_property
    def is_well_formed(self) -> bool:
        """Whether isa.verify_program finds nothing wrong; it is looked for up to the first problem."""
        from isa.verify_program import problems

        return next(problems(self), None) is None

    def save(self, path: str | Path) -> None:
        """Write the object file (.npo); the same program always gives the same bytes.

        The file is written whole or not at all. Raises ObjectError where it cannot be, or its name is that of another
        kind: a text, a tensor, a chip file; and for a program that could not be read again, put together by hand.
        """
        from isa.object_file import save

        save(self, path)

    @staticmethod
    def load(path: str | Path) -> "Program":
        """Read an object file; raise ObjectError when it is none, or damaged."""
        from isa.object_file import load

        return load(path)


class Assembly(NamedTuple):
    """A program, and what is odd about the text that it was made of; nothing is where it was an object file."""

    program: Program
    warnings: tuple[Diagnostic[Any], ...] = ()


def memory_needs(core: Core, tasks: int = 1) -> dict[str, int]:
    """Return the bytes of each memory that a core's code, data and symbols reach in so many tasks, from address 0.

    What they reach in other cores' memories is not counted.
    """
    needs = dict.fromkeys(MEMORIES, 0)
    for held in core.segments:
        needs[held.memory] = max(needs[held.memory], held.end)
    for symbol in core.symbols:
        needs[symbol.memory] = max(needs[symbol.memory], symbol.end)
    for operand, end in reaches(core, tasks):
        if operand.core is None:
            needs[operand.memory] = max(needs[operand.memory], end)
    return needs


def reaches(core: Core, tasks: int = 1) -> Iterator[tuple[Operand, int]]:
    """Yield each operand of a core's code with the first byte of its memory that it is below in every iteration."""
    for instruction, trips in zip(core.code, core.trips(tasks), strict=True):
        for _, operand in instruction.accesses():
            yield operand, operand.extent(trips)[1]
