"""From Program to text that assembles to the same program: the object file then differs in its debug section only."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np

from assembler import spelling
from assembler.arguments import is_flag
from assembler.checks import BOUND_NAMES
from assembler.data import HEX
from assembler.declarations import DEFAULT_MEMORY
from isa.chip import Chip, differences
from isa.compressed import compress, expand
from isa.dtypes import F32, I8, I32, U8, DType
from isa.errors import RatelError
from isa.files import free_name, write_new
from isa.instruction import Instruction, Value
from isa.memory import HELP, hold, shortage
from isa.npy import npy
from isa.operand import MAX_LOOP_DEPTH, SHARED, Operand
from isa.program import Check, Core, Program, Segment, Symbol
from isa.row import ENGINES, WAIT_LETTERS, AttributeSpec, Row

# Data of more elements goes to files, where there may be files.
INLINE_ELEMENTS = 256
_Seen = Mapping[str, tuple[np.ndarray, list[DType]]]
LETTERS = {engine: letter for letter, engine in WAIT_LETTERS.items()}


def disassemble(program: Program, data_folder: str | Path | None = None) -> str:
    """Return a program's text; with `data_folder`, data of more than 256 elements is written there as .npy files.

    The text then belongs into that folder. Without it, all data stands in the text. Raises RatelError when a file
    cannot be written, and, before any is, where one is there already with something else in it, or there is not the
    memory.
    """
    source, files = disassemble_files(program, None if data_folder is None else INLINE_ELEMENTS)
    write_new({Path(data_folder or ".") / name: npy(array) for name, array in files.items()})
    return source


def disassemble_files(
    program: Program, inline: int | None = INLINE_ELEMENTS, taken: Iterable[str] = ()
) -> tuple[str, dict[str, np.ndarray]]:
    """Return a program's text and the tensors that it expects in files, none of which is called as those `taken`.

    `inline` None puts all data into the text.
    """
    data = _Data(inline, taken)
    order = spelling.name(program.order)
    lines = [
        f".name {spelling.text(program.name)}",
        _chip(program.chip),
        f".order {order}",
        ".scales explicit",
        *([f".tasks {program.tasks}"] if program.tasks > 1 else []),
        *(f".semaphore {spelling.name(name)}" for name in program.semaphores),
        *(f".barrier {spelling.name(name)}" for name in program.barriers),
        "",
    ]
    for number, core in enumerate(program.cores):
        lines += [f".core {number}"] if len(program.cores) > 1 else []
        # What all cores bring to pass is checked where the first begins.
        checks = [] if number else _checks(program, data)
        lines += [*_tensors(core, data), *checks, "", *_code(program, number), ""]
    return "\n".join(lines[:-1]) + "\n", data.files


def _chip(chip: Chip) -> str:
    """Return the setting of a chip: the name of one of the package, and by what it differs."""
    name, changes = differences(chip)
    said = (f"{k}={spelling.text(v) if isinstance(v, str) else spelling.number(v)}" for k, v in changes.items())
    return " ".join([f".chip {spelling.name(name)}", *said])


class _Data:
    """Spells data, in the text or as the name of a file."""

    def __init__(self, inline: int | None, taken: Iterable[str]) -> None:
        self.inline = inline
        self.files: dict[str, np.ndarray] = {}
        self.taken = {name.lower() for name in taken}

    def spell(self, data: bytes, dtype: DType, shape: Sequence[int], name: str, splat: bool = True) -> str:
        count = len(data) // dtype.bytes
        if splat and count > 1 and data == data[: dtype.bytes] * count:
            single = spelling.elements(data[: dtype.bytes], dtype)
            if single:
                return single[0]
        in_file = self.inline is not None and count > self.inline
        # A file is made before it is written; of a text, two digits a byte, there are the pieces and all of it.
        size = len(data) if in_file else 4 * len(data)
        if short := shortage({f"{name} as {'a file' if in_file else 'text'}": size}):
            raise RatelError(short, f"make the program's data smaller, {HELP}")
        hold(size)
        if in_file:
            return spelling.text(self.file(data, dtype, shape, name))
        # Numbers are for people, up to a point; bytes assemble a thousand times as fast.
        items = spelling.elements(data, dtype) if count <= INLINE_ELEMENTS else None
        return spelling.text(HEX + data.hex()) if items is None else spelling.wrapped(items)

    def file(self, data: bytes, dtype: DType, shape: Sequence[int], name: str) -> str:
        """Keep data for a file and return its name."""
        choice = free_name(name, self.taken)
        self.files[choice] = np.frombuffer(data, dtype.numpy).reshape(shape)
        return choice


def _tensors(core: Core, data: _Data) -> list[str]:
    """Return the declarations: symbols and segments, each in their order."""
    lines: list[str] = []
    owners, seen = _owners(core), _seen(core)
    written = 0
    for position, symbol in enumerate(core.symbols):
        owned = owners.get(position)
        if owned is not None:
            lines += [_segment(segment, seen, data) for segment in core.segments[written:owned]]
            written = owned + 1
        lines.append(_symbol(symbol, core.segments[owned].data if owned is not None else None, data))
    return lines + [_segment(segment, seen, data) for segment in core.segments[written:]]


def _owners(core: Core) -> dict[int, int]:
    """Return, by the index of a symbol, the index of the segment that is its data; both rise together.

    Data that overlaps other data belongs to no symbol: text may say so only without a name.
    """
    held: list[Segment | Symbol] = [s for s in core.segments if s.data]
    held += [s for s in core.symbols if s.kind == "input"]
    begins, ends = (defaultdict[str, list[int]](list) for _ in range(2))
    for one in held:
        begins[one.memory].append(one.address)
        ends[one.memory].append(one.end)
    for places_of in (*begins.values(), *ends.values()):
        places_of.sort()
    places: dict[tuple[str, int, int], list[int]] = {}
    for index, segment in enumerate(core.segments):
        low, high, memory = segment.address, segment.end, segment.memory
        # Of those that begin before its end all overlap it but those that end before it begins.
        if bisect_left(begins[memory], high) - bisect_right(ends[memory], low) == 1:
            places.setdefault((memory, low, len(segment.data)), []).append(index)
    owners: dict[int, int] = {}
    last = -1
    for position, symbol in enumerate(core.symbols):
        found = places.get((symbol.memory, symbol.address, symbol.bytes), [])
        if symbol.kind in ("weight", "const") and found and found[0] > last:
            data = core.segments[found[0]].data
            # Bytes that the assembler would not make of the dense form stand by themselves.
            compressed = symbol.stored and not symbol.form
            if compressed and compress(expand(data, symbol.dtype, symbol.shape).tobytes(), symbol.dtype) != data:
                continue
            last = owners[position] = found.pop(0)
    return owners


def _symbol(symbol: Symbol, content: bytes | None, data: _Data) -> str:
    parts = [f".{symbol.kind} {spelling.name(symbol.name)} {symbol.dtype}{list(symbol.shape)}"]
    if symbol.scale:
        scale = [spelling.single(element) for element in symbol.scale]
        if data.inline is not None and len(scale) > data.inline:
            array = np.array(symbol.scale, F32.numpy).tobytes()
            parts.append(f"scale={spelling.text(data.file(array, F32, (len(scale),), f'{symbol.name}_scale'))}")
        else:
            parts.append(f"scale={scale[0] if len(scale) == 1 else spelling.wrapped(scale)}")
    if symbol.zero:
        parts.append(f"zero={symbol.zero}")
    if symbol.axes:
        parts.append(f"axes={list(symbol.axes)}")
    if symbol.memory != DEFAULT_MEMORY.get(symbol.kind, "lm"):
        parts.append(f"in {symbol.memory}")
    if symbol.buffers > 1:
        parts.append(f"buffers={symbol.buffers}")
    parts.append(f"at {symbol.address:#x}")
    content = symbol.default if symbol.kind == "input" else content
    if symbol.form:
        parts.append(f"stored={symbol.form}")
        if symbol.kind == "local":
            return " ".join(parts)
        spelled = "none" if content is None else data.spell(content, U8, (len(content),), symbol.name)
        return " ".join([*parts, f"= {spelled}"])
    if symbol.stored:
        parts.append(f"stored={symbol.stored}" if content is None else "compressed")
        content = None if content is None else expand(content, symbol.dtype, symbol.shape).tobytes()
    if content is not None:
        tasks = len(content) // symbol.bytes if symbol.kind == "input" else 1
        shape = symbol.host_shape if tasks == 1 else (tasks, *symbol.host_shape)
        if symbol.axes:
            held = np.frombuffer(content, symbol.dtype.numpy).reshape(tasks, *symbol.shape)
            content = symbol.to_host(held).tobytes()
        parts.append(f"= {data.spell(content, symbol.dtype, shape, symbol.name, splat=tasks == 1)}")
    elif symbol.kind in ("weight", "const"):
        parts.append("= none")
    return " ".join(parts)


def _segment(segment: Segment, seen: _Seen, data: _Data) -> str:
    dtype = _content_type(segment, seen)
    shape = (len(segment.data) // dtype.bytes,)
    spelled = data.spell(segment.data, dtype, shape, f"data_{segment.memory}_{segment.address:x}")
    return f".data {dtype}{list(shape)} in {segment.memory} at {segment.address:#x} = {spelled}"


def _seen(core: Core) -> _Seen:
    """Return where symbols and code see something in each memory: addresses and bytes of elements, and their types."""
    seen: list[Symbol | Operand] = list(core.symbols)
    seen += [operand for instruction in core.code for _, operand in instruction.accesses()]
    found = defaultdict[str, list[Symbol | Operand]](list)
    for one in seen:
        found[one.memory].append(one)
    return {
        memory: (np.array([(one.address, one.dtype.bytes) for one in held]).T, [one.dtype for one in held])
        for memory, held in found.items()
    }


def _content_type(segment: Segment, seen: _Seen) -> DType:
    """Return the type in which a symbol or code first sees a segment; bytes where none does."""
    if segment.memory not in seen:
        return I8
    (addresses, sizes), dtypes = seen[segment.memory]
    inside = (segment.address <= addresses) & (addresses < segment.end)
    fits = (len(segment.data) % sizes == 0) & (segment.address % sizes == 0)
    first = np.flatnonzero(inside & fits)
    return dtypes[first[0]] if len(first) else I8


def _checks(program: Program, data: _Data) -> list[str]:
    return [
        _check(check, program, program.output(check.output), index, data) for index, check in enumerate(program.checks)
    ]


def _check(check: Check, program: Program, output: Symbol, index: int, data: _Data) -> str:
    dtype, shape = output.dtype, output.host_shape
    if program.tasks > 1:
        shape = (program.tasks, *shape)
    if check.kind == "top1":
        dtype, shape = I32, (prod(shape[:-1]),)
    spelled = data.spell(check.expected, dtype, shape, f"{check.output}_check{index}", splat=check.kind != "top1")
    line = f".check {spelling.name(check.output)} {check.kind} {spelled}"
    bound = BOUND_NAMES[check.kind]
    if bound:
        line += f" {bound}={spelling.number(check.bound)}"
    implied = spelled if spelled.startswith('"') else '""'
    return line if implied == spelling.text(check.source) else f"{line} source={spelling.text(check.source)}"


def _code(program: Program, number: int) -> list[str]:
    core = program.cores[number]
    taken = {symbol.name for symbol in core.symbols} | spelling.WORDS
    counters = ["task"]
    for name in ("i", "j", "k", "l", "m", "n", "o")[:MAX_LOOP_DEPTH]:
        while name in taken:
            name += "_"
        counters.append(name)
    speller = _Speller(program, number, counters)
    lines, depth = [], 0
    for instruction, trips in zip(core.code, core.trips(), strict=True):
        mnemonic = instruction.row.mnemonic
        if mnemonic == "brnz":
            depth -= 1
        lines.append("    " * depth + speller.instruction(instruction, trips))
        if mnemonic == "loop":
            depth += 1
    return lines


class _Speller:
    """Spells the instructions of a core."""

    def __init__(self, program: Program, number: int, counters: Sequence[str]) -> None:
        self.program = program
        self.number = number
        core = program.cores[number]
        self.by_name = {symbol.name: symbol for symbol in core.symbols}
        self.counters = counters

    def instruction(self, instruction: Instruction, trips: Sequence[int]) -> str:
        row = instruction.row
        if row.mnemonic == "loop":
            (counter,), (count,) = instruction.attributes
            return f"loop {self.counters[int(counter)]}, {count}"
        if row.mnemonic == "brnz":
            return f"brnz {self.counters[int(instruction.attributes[0][0])]}"
        operands = {
            spec.name: spelling.operand(operand, self._around(operand, trips), self.counters, trips)
            for spec, operand in zip(row.operands, instruction.operands, strict=True)
            if operand is not None
        }
        attributes = dict(zip((spec.name for spec in row.attributes), instruction.attributes, strict=True))
        arguments = [operands.pop(spec.name) for spec in row.operands if not spec.optional]
        words = []
        kept = any(instruction.word(spec.name) in row.keeping_words for spec in row.choices)
        zeros = {} if kept else self._zeros(row, operands, arguments)
        for spec in row.attributes:
            if spec.declared:
                names = self.program.semaphores if spec.declared == "semaphore" else self.program.barriers
                arguments.append(names[int(attributes.pop(spec.name)[0])])
        for choice in row.choices:
            word = choice.words[int(attributes.pop(choice.name)[0])]
            if word != "none":
                words.append(self._word(word, choice, operands, attributes))
        arguments += [f"{name}={spelled}" for name, spelled in operands.items()]
        for spec in row.attributes:
            if spec.name in attributes:
                arguments += self._attribute(spec, attributes[spec.name], zeros, instruction)
        letters = "".join(LETTERS[engine] for bit, engine in enumerate(ENGINES) if instruction.waits >> bit & 1)
        waits = f"(w.{letters}) " if letters else ""
        return f"{waits}{row.mnemonic} {', '.join(arguments + words)}".rstrip()

    def _around(self, operand: Operand, trips: Sequence[int]) -> list[tuple[str, Symbol]]:
        """Return the tensors that an operand lies in, each with what stands before its name."""
        low, high = operand.extent(trips)
        cores = [self.number] if operand.core is None else [operand.core]
        if operand.memory in SHARED:
            cores += [k for k in range(len(self.program.cores)) if k != self.number]
        return [
            ("" if core == self.number else f"core{core}.", symbol)
            for core in cores
            for symbol in self.program.cores[core].around(operand.memory, low, high)
        ]

    def _word(self, word: str, choice: AttributeSpec, operands: dict[str, str], attributes: dict[str, Value]) -> str:
        """Return a word with what it takes, and take that away from the rest."""
        taken = []
        for name in choice.takes.get(word, ()):
            taken.append(operands.pop(name) if name in operands else spelling.number(attributes.pop(name)[0], True))
        if not taken:
            return word
        return f"{word}={taken[0]}" if len(taken) == 1 else f"{word}=({', '.join(taken)})"

    def _zeros(self, row: Row, operands: dict[str, str], arguments: Sequence[str]) -> dict[str, int]:
        """Return the zero point that the assembler fills in for each operand that names a tensor."""
        required = [spec.name for spec in row.operands if not spec.optional]
        spelled = {**operands, **dict(zip(required, arguments, strict=True))}
        zeros = {}
        for name, value in spelled.items():
            symbol = self.by_name.get(value.split("[")[0])
            if symbol is not None and " in " not in value and symbol.dtype.is_quantised:
                zeros[f"{name}_zero"] = symbol.zero
        return zeros

    def _attribute(
        self, spec: AttributeSpec, value: Value, zeros: dict[str, int], instruction: Instruction
    ) -> list[str]:
        implied = (zeros[spec.name],) if spec.name in zeros else spec.default
        if value == implied:
            return []
        if is_flag(spec) and value == (1,):
            return [spec.name]
        if spec.identity:
            rank = next(operand.rank for operand in instruction.operands if operand is not None)
            value = value[:rank] if rank > 1 and value[rank:] == tuple(range(rank, spec.count)) else value
        if len(set(value)) == 1:
            value = value[:1]
        spelled = [spelling.number(element, spec.kind == "f32") for element in value]
        return [f"{spec.name}={spelled[0] if len(spelled) == 1 else '(' + ', '.join(spelled) + ')'}"]
