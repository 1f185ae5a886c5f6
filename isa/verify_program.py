"""Whether a program is well formed: its cores' code, symbols, data and checks, and how they fit together.

Whoever takes a program from elsewhere asks here: the object file's reader, and the loader for a chip.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from math import prod

import numpy as np

from isa.chip import Chip
from isa.compressed import legal_sizes
from isa.diagnostic import Diagnostic, Place
from isa.errors import shown
from isa.grouped import FORMS, GROUPED_TYPES
from isa.operand import region
from isa.program import (
    BUFFERED,
    CHECK_BOUNDS,
    MAX_BUFFERS,
    MAX_CORES,
    MAX_SYMBOL_RANK,
    MAX_TASKS,
    MEMORIES_OF_KIND,
    ORDERS,
    Check,
    Core,
    Program,
    Symbol,
)
from isa.synchronisation import check_synchronisation
from isa.verify import check_code

# What the text can write as the name of a semaphore or a barrier.
NAME = re.compile(r"[^\W\d]\w*")


def check_program(program: Program) -> Iterator[Diagnostic[Place | None]]:
    """Yield what is wrong with a program, at the instruction where it is of one.

    That nothing is, is found out once: Program.is_well_formed.
    """
    if not program.is_well_formed:
        yield from problems(program)


def problems(program: Program) -> Iterator[Diagnostic[Place | None]]:
    """Yield what is wrong with a program, as it is found."""
    if not 1 <= len(program.cores) <= MAX_CORES:
        yield _wrong(f"the program is for {len(program.cores)} cores", f"expected 1 to {MAX_CORES}")
        return
    if not isinstance(program.chip, Chip):
        yield _wrong(f"the program's chip is {shown(program.chip)}", "expected a Chip: ratel.load_chip(NAME) gives one")
        return
    if program.order not in ORDERS:
        yield _wrong(f"the order is {shown(program.order)}", f"expected {' or '.join(ORDERS)}")
    if not is_count(program.tasks, MAX_TASKS):
        yield _wrong(f"the program is for {shown(program.tasks)} tasks", f"expected 1 to {MAX_TASKS}")
        return
    for kind, names in (("semaphore", program.semaphores), ("barrier", program.barriers)):
        for name, count in Counter(names).items():
            if not NAME.fullmatch(name) or count > 1:
                yield _wrong(
                    f"{shown(name)} cannot name a {kind}, or names two", "expected letters, digits and _, once each"
                )
    of_cores = [problem for k, core in enumerate(program.cores) for problem in check_core(core, k, program)]
    yield from of_cores
    if not of_cores:
        yield from _check_across(program)
    for check in program.checks:
        yield from check_check(check, program)


def _wrong(message: str, help: str = "", place: Place | None = None) -> Diagnostic[Place | None]:
    return Diagnostic("program", place, message, help)


def is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def is_order(axes: Collection[int], rank: int) -> bool:
    """Whether axes name each of so many dimensions once."""
    return all(type(axis) is int for axis in axes) and sorted(axes) == list(range(rank))


def check_core(core: Core, number: int, program: Program) -> Iterator[Diagnostic[Place | None]]:
    place = f"core {number}: " if len(program.cores) > 1 else ""
    for index, problem in check_code(core.code):
        message = f"{place}instruction {index}: {problem.message}"
        yield Diagnostic(problem.code, Place(number, index), message, problem.help)
    for index, instruction in enumerate(core.code):
        for _, operand in instruction.accesses():
            if operand.core is not None and not (0 <= operand.core < len(program.cores) and operand.core != number):
                message = f"{place}instruction {index}: an operand names core {operand.core}"
                yield _wrong(message, "expected another core", Place(number, index))
        for spec, value in zip(instruction.row.attributes, instruction.attributes, strict=True):
            declared = {"semaphore": program.semaphores, "barrier": program.barriers}.get(spec.declared)
            if declared is not None and value and value[0] >= len(declared):
                message = f"{place}instruction {index}: there is no {spec.declared} {shown(value[0])}"
                yield _wrong(message, "", Place(number, index))
    if len(core.lines) != len(core.code):
        yield _wrong(f"{place}the code has {len(core.code)} instructions but {len(core.lines)} source lines")
    names = [symbol.name for symbol in core.symbols]
    if len(set(names)) != len(names):
        yield _wrong(f"{place}two symbols have one name")
    for symbol in core.symbols:
        yield from check_symbol(symbol, program.tasks)


def _check_across(program: Program) -> Iterator[Diagnostic[Place | None]]:
    """Yield what is wrong between the cores of a program that are each well formed."""
    moved = [symbol.name for kind in ("input", "output") for _, symbol in program.of_kind(kind)]
    for name, count in Counter(moved).items():
        if count > 1:
            yield _wrong(
                f"{count} cores call an input or an output {shown(name)}", "their names are unique over all cores"
            )
    before: dict[tuple[int, str], int] = {}
    held = [(segment, region(k, segment.memory)) for k, core in enumerate(program.cores) for segment in core.segments]
    for segment, place in sorted(held, key=lambda pair: pair[0].address):
        if segment.address < before.get(place, 0):
            yield _wrong(f"two constants share byte {segment.address:#x} of {segment.memory}")
        before[place] = max(before.get(place, 0), segment.end)

    def where(place: Place) -> str:
        line = program.cores[place.core].lines[place.index]
        return f"{line.file}:{line.number}: {line.text}"

    for problem in check_synchronisation([core.code for core in program.cores], program.semaphores, program.barriers):
        also = "".join(f"; {where(note.place)}" for note in problem.notes)
        yield replace(problem, message=f"{where(problem.place)}: {problem.message}{also}")


def check_symbol(symbol: Symbol, tasks: int) -> Iterator[Diagnostic[Place | None]]:
    name = f"symbol {shown(symbol.name)}"
    if symbol.memory not in MEMORIES_OF_KIND[symbol.kind]:
        yield _wrong(f"{name}, of kind {symbol.kind}, is in {symbol.memory}")
    if not 1 <= len(symbol.shape) <= MAX_SYMBOL_RANK or any(not 1 <= size < 2**31 for size in symbol.shape):
        yield _wrong(f"{name} has the impossible shape {shown(list(symbol.shape))}")
        return
    low, high = (symbol.dtype.low, symbol.dtype.high) if symbol.dtype.is_quantised else (0, 0)
    if type(symbol.zero) is not int or not low <= symbol.zero <= high:
        yield _wrong(f"{name} has the zero point {shown(symbol.zero)}, which {symbol.dtype} does not hold")
    if not is_count(symbol.buffers, MAX_BUFFERS if symbol.kind in BUFFERED else 1):
        yield _wrong(f"{name}, of kind {symbol.kind}, has {shown(symbol.buffers)} buffers")
        return
    if symbol.axes and (symbol.kind not in BUFFERED or not is_order(symbol.axes, len(symbol.shape))):
        yield _wrong(f"{name}, of kind {symbol.kind} and shape {list(symbol.shape)}, has axes {shown(symbol.axes)}")
        return
    if symbol.form:
        grouped = symbol.kind in ("weight", "local") and symbol.dtype in GROUPED_TYPES
        if not grouped or not symbol.stored or symbol.stored != FORMS[symbol.form].stored_bytes(symbol.shape):
            yield _wrong(f"{name} is in groups of {symbol.form}, which no {symbol.kind} of its type and shape is")
    elif symbol.stored:
        elements = prod(symbol.shape)
        weight = symbol.kind == "weight" and symbol.dtype.is_quantised and elements < 2**31
        if not weight or symbol.stored not in legal_sizes(elements, symbol.dtype):
            yield _wrong(
                f"{name} is compressed to {symbol.stored} bytes, which no {symbol.kind} of its type and shape is"
            )
    sizes = (symbol.bytes, tasks * symbol.bytes)
    if symbol.default is not None and (symbol.kind != "input" or len(symbol.default) not in sizes):
        yield _wrong(f"{name} has a default of the wrong size")
    if any(not 0 < number < 2.0**128 or float(np.float32(number)) != number for number in symbol.scale):
        yield _wrong(f"{name} has a scale that is not positive, or not a float32")
    channels = symbol.shape[-1:] if symbol.kind in ("input", "output") else symbol.shape
    if len(symbol.scale) > 1 and len(symbol.scale) not in channels:
        yield _wrong(f"{name} has {len(symbol.scale)} scales, which fit none of its dimensions")
    if symbol.address < 0 or symbol.address % symbol.dtype.bytes:
        yield _wrong(f"{name} is not aligned", f"addresses of {symbol.dtype} are multiples of {symbol.dtype.bytes}")


def check_check(check: Check, program: Program) -> Iterator[Diagnostic[Place | None]]:
    output = next((symbol for _, symbol in program.of_kind("output") if symbol.name == check.output), None)
    if output is None:
        yield _wrong(f"a check names the unknown output {shown(check.output)}")
        return
    rows = output.bytes // output.dtype.bytes // output.host_shape[-1]
    expected = program.tasks * (4 * rows if check.kind == "top1" else output.bytes)
    low, high = CHECK_BOUNDS.get(check.kind, (1, 0))
    if not low <= check.bound <= high or len(check.expected) != expected:
        yield _wrong(f"the check of {shown(check.output)} does not fit it")
