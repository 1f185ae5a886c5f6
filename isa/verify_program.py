"""Whether a program is well formed: its code, symbols, initial data and checks, and how they fit together.

Whoever takes a program from elsewhere asks here: the object file's reader, and the loader for a chip.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from isa.compressed import legal_sizes
from isa.errors import shown
from isa.program import CHECK_BOUNDS, MAX_CORES, MAX_SYMBOL_RANK, MEMORIES_OF_KIND, ORDERS, Check, Core, Program, Symbol
from isa.verify import check_code


def check_program(program: Program) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a program: (message, help)."""
    if not 1 <= len(program.cores) <= MAX_CORES:
        yield f"the program is for {len(program.cores)} cores", f"this version runs programs of {MAX_CORES}"
        return
    if program.order not in ORDERS:
        yield f"the order is {shown(program.order)}", f"expected {' or '.join(ORDERS)}"
    for core in program.cores:
        yield from check_core(core)
    for check in program.checks:
        yield from check_check(check, program.cores[0])


def check_core(core: Core) -> Iterator[tuple[str, str]]:
    for index, problem in check_code(core.code):
        yield f"instruction {index}: {problem.message}", problem.help
    if len(core.lines) != len(core.code):
        yield f"the code has {len(core.code)} instructions but {len(core.lines)} source lines", ""
    names = [symbol.name for symbol in core.symbols]
    if len(set(names)) != len(names):
        yield "two symbols have one name", ""
    for symbol in core.symbols:
        yield from check_symbol(symbol)
    before: dict[str, int] = {}
    for segment in sorted(core.segments, key=lambda segment: segment.address):
        if segment.address < before.get(segment.memory, 0):
            yield f"two constants share byte {segment.address:#x} of {segment.memory}", ""
        before[segment.memory] = segment.end


def check_symbol(symbol: Symbol) -> Iterator[tuple[str, str]]:
    name = f"symbol {shown(symbol.name)}"
    if symbol.memory not in MEMORIES_OF_KIND[symbol.kind]:
        yield f"{name}, of kind {symbol.kind}, is in {symbol.memory}", ""
    if not 1 <= len(symbol.shape) <= MAX_SYMBOL_RANK or any(not 1 <= size < 2**31 for size in symbol.shape):
        yield f"{name} has the impossible shape {shown(list(symbol.shape))}", ""
        return
    if type(symbol.zero) is not int or not symbol.dtype.low <= symbol.zero <= symbol.dtype.high:
        yield f"{name} has the zero point {shown(symbol.zero)}, which {symbol.dtype} does not hold", ""
    if symbol.stored:
        elements = prod(symbol.shape)
        weight = symbol.kind == "weight" and symbol.dtype.is_quantised and elements < 2**31
        if not weight or symbol.stored not in legal_sizes(elements, symbol.dtype):
            yield f"{name} is compressed to {symbol.stored} bytes, which no {symbol.kind} of its type and shape is", ""
    if symbol.default is not None and (symbol.kind != "input" or len(symbol.default) != symbol.bytes):
        yield f"{name} has a default of the wrong size", ""
    if any(not 0 < number < 2.0**128 or float(np.float32(number)) != number for number in symbol.scale):
        yield f"{name} has a scale that is not positive, or not a float32", ""
    channels = symbol.shape[-1:] if symbol.kind in ("input", "output") else symbol.shape
    if len(symbol.scale) > 1 and len(symbol.scale) not in channels:
        yield f"{name} has {len(symbol.scale)} scales, which fit none of its dimensions", ""
    if symbol.address < 0 or symbol.address % symbol.dtype.bytes:
        yield f"{name} is not aligned", f"addresses of {symbol.dtype} are multiples of {symbol.dtype.bytes}"


def check_check(check: Check, core: Core) -> Iterator[tuple[str, str]]:
    output = next((symbol for symbol in core.of_kind("output") if symbol.name == check.output), None)
    if output is None:
        yield f"a check names the unknown output {shown(check.output)}", ""
        return
    rows = output.bytes // output.dtype.bytes // output.shape[-1]
    expected = 4 * rows if check.kind == "top1" else output.bytes
    low, high = CHECK_BOUNDS.get(check.kind, (1, 0))
    if not low <= check.bound <= high or len(check.expected) != expected:
        yield f"the check of {shown(check.output)} does not fit it", ""
