"""Parts of a program as text that means exactly the same: names, numbers, data, operands."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from json import dumps

import numpy as np

from assembler.expressions import Affine
from assembler.operands import Part, reach, take
from assembler.symbols import RESERVED
from isa.dtypes import DTYPES, DType
from isa.operand import TASK_COUNTER, Operand, packed_strides
from isa.program import Symbol
from isa.table import ROWS
from isa.verify_program import NAME

# Names that an operand could mistake for a word, an attribute or a type.
WORDS = {word for row in ROWS for spec in row.choices for word in spec.words}
WORDS |= {spec.name for row in ROWS for spec in row.attributes} | RESERVED.keys() | DTYPES.keys()
_NAN = np.array(np.nan, "<f4").tobytes()
WRAP = 96


def text(value: str) -> str:
    """Return a text in quotes."""
    return dumps(value)


def name(value: str) -> str:
    """Return the name of a tensor as it is declared."""
    return value if NAME.fullmatch(value) and value not in RESERVED else text(value)


def speakable(value: str) -> bool:
    """Whether an operand can use a tensor's name."""
    return bool(NAME.fullmatch(value)) and value not in WORDS


def number(value: float, rounded: bool = False) -> str:
    """Return a number that reads back exactly; in few digits where reading rounds it to float32."""
    return single(value) if rounded and isinstance(value, float) else _whole(repr(value))


def single(value: float) -> str:
    """Return a float32 that reads back exactly where it is rounded to float32."""
    short = str(np.float32(value))
    same = np.float32(float(short)).tobytes() == np.float32(value).tobytes()
    return _whole(short if same else repr(float(value)))


def _whole(digits: str) -> str:
    # There is no whole -0.
    return digits if digits == "-0.0" else digits.removesuffix(".0")


def elements(data: bytes, dtype: DType) -> list[str] | None:
    """Return each element as text; None where one is a NaN that only bytes can say."""
    array = np.frombuffer(data, dtype.numpy)
    if not dtype.is_float:
        return [str(value) for value in array.tolist()]
    odd = [value for value in array[np.isnan(array)] if value.tobytes() != _NAN]
    return None if odd else [single(value) for value in array]


def wrapped(items: Sequence[str], indent: str = "    ") -> str:
    """Return a list, broken into lines where it is long."""
    line = ", ".join(items)
    if len(line) <= WRAP:
        return f"[{line}]"
    lines, current = [], ""
    for item in items:
        if current and len(current) + len(item) + 2 > WRAP:
            lines.append(f"{current},")
            current = item
        else:
            current = f"{current}, {item}" if current else item
    return "[\n" + "\n".join(indent + line for line in [*lines, current]) + "\n]"


def affine(value: Affine, counters: Sequence[str], base: str = "") -> str:
    """Return an affine expression; `base` replaces its constant."""
    result = base or (str(value.constant) if value.constant or not value.terms else "")
    for (counter, modulus), coefficient in value.terms:
        factor = counters[counter] + (f" % {modulus}" if modulus else "")
        size = abs(coefficient)
        if size != 1 or (modulus and coefficient < 0):
            factor = f"({factor})" if modulus else factor
        if size != 1:
            factor += f"*{size}"
        sign = " - " if coefficient < 0 else " + "
        result += (sign if result else sign.strip(" +")) + factor
    return result


def operand(
    value: Operand, symbols: Iterable[tuple[str, Symbol]], counters: Sequence[str], trips: Sequence[int]
) -> str:
    """Return an operand as a slice of a tensor where there is one that it lies in, else with all its numbers.

    `symbols` are those of the operand's memory, and others, each with what stands before its name: "" or "core1.".
    """
    low, high = value.extent(trips)
    around = [
        (prefix, symbol)
        for prefix, symbol in symbols
        if symbol.memory == value.memory
        and symbol.dtype == value.dtype
        and symbol.address <= low
        and high <= symbol.address + symbol.bytes
        and speakable(symbol.name)
    ]
    for prefix, symbol in sorted(around, key=lambda pair: pair[1].bytes):
        parts = _parts(value, symbol, trips)
        if parts is not None:
            return prefix + _sliced(symbol, parts, counters)
    return raw(value, counters)


def raw(value: Operand, counters: Sequence[str]) -> str:
    """Return an operand with its type, shape, memory, address and strides."""
    terms = tuple(((term.counter, term.modulus), term.stride) for term in value.terms)
    address = affine(Affine(0, terms), counters, f"{value.address:#x}")
    strides = "" if value.strides == packed_strides(value.shape) else f" strides {list(value.strides)}"
    memory = value.memory if value.core is None else f"core{value.core}.{value.memory}"
    shape = [str(size) for size in value.shape]
    if value.growth:
        dimension, modulus, step = value.growth
        size = Affine(value.shape[dimension], (((TASK_COUNTER, modulus), step),))
        shape[dimension] = affine(size, counters)
    stored = f" stored={value.form or value.stored}" if value.stored else ""
    return f"{value.dtype}[{', '.join(shape)}] in {memory} at {address}{strides}{stored}"


def _parts(value: Operand, symbol: Symbol, trips: Sequence[int]) -> list[Part] | None:
    """Return what to take of each dimension of a tensor to get an operand, or None."""
    if len(symbol.shape) < value.rank or (symbol.stored and symbol.shape != value.shape) or symbol.form != value.form:
        return None
    size = value.dtype.bytes
    offset = (value.address - symbol.address) // size
    starts = []
    for stride in symbol.strides:
        starts.append(offset // stride)
        offset %= stride
    terms: list[dict[tuple[int, int], int]] = [{} for _ in symbol.shape]
    strides = {(term.counter, term.modulus): term.stride for term in value.terms}
    for term in symbol.terms:
        # The assembler adds it.
        strides[term.counter, term.modulus] = strides.get((term.counter, term.modulus), 0) - term.stride
    for key, step in strides.items():
        for dimension, stride in enumerate(symbol.strides):
            if step and symbol.shape[dimension] > 1 and step % (stride * size) == 0:
                terms[dimension][key] = step // (stride * size)
                break
        else:
            if step:
                return None
    affines = [Affine(start, tuple(sorted(held.items()))) for start, held in zip(starts, terms, strict=True)]
    for kept in combinations(range(len(symbol.shape)), value.rank):
        parts = [Part(start, 0, 1) for start in affines]
        for position, dimension in enumerate(kept):
            step = value.strides[position] // symbol.strides[dimension]
            grows = value.growth if value.growth and value.growth.dimension == position else None
            parts[dimension] = Part(affines[dimension], value.shape[position], step, grows and grows[1:])
        fits = all(_fits(part, length, trips) for part, length in zip(parts, symbol.shape, strict=True))
        if fits and take(symbol, parts, value.core).operand == value:
            return parts
    return None


def _fits(part: Part, size: int, trips: Sequence[int]) -> bool:
    """Whether a part stays within its dimension in every iteration."""
    if part.step == 0:
        return False
    bounds = reach(part.start, trips)
    if bounds is None:
        return False
    (low, _), (high, _) = bounds
    count = part.count + (part.growth[1] * (part.growth[0] - 1) if part.growth else 0)
    reached = (max(count, 1) - 1) * part.step
    return low + min(reached, 0) >= 0 and high + max(reached, 0) < size


def _sliced(symbol: Symbol, parts: Sequence[Part], counters: Sequence[str]) -> str:
    indices = [_index(part, size, counters) for part, size in zip(parts, symbol.shape, strict=True)]
    while indices and indices[-1] == ":":
        indices.pop()
    return f"{symbol.name}[{', '.join(indices)}]" if indices else symbol.name


def _index(part: Part, size: int, counters: Sequence[str]) -> str:
    if not part.count:
        return affine(part.start, counters)
    if part == Part(Affine(0, ()), size, 1):
        return ":"
    length = (part.count - 1) * abs(part.step) + 1
    first = part.start.constant + min((part.count - 1) * part.step, 0)
    start = affine(Affine(first, part.start.terms), counters)
    if part.growth:
        more = ((TASK_COUNTER, part.growth[0]), part.growth[1])
        return f"{start} : {affine(Affine(first + length, tuple(sorted((*part.start.terms, more)))), counters)}"
    if part.start.terms:
        return f"{start} : +{length}" + (f" : {part.step}" if part.step != 1 else "")
    return f"{start}:{first + length}" + (f":{part.step}" if part.step != 1 else "")
