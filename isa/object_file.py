"""The object file (.npo): a Program as bytes, versioned, checksummed and reproducible.

    magic "RATELNPO", u32 version, u32 number of sections,
    then for each section: name (8 bytes, zero-filled), u64 offset, u64 length, u32 CRC-32 of its bytes, u32 zero,
    u32 CRC-32 of everything before it, then the sections, one after another.

Sections, in this order: `head` (name, order, tasks, semaphores, barriers, and the numbers and words of the chip,
JSON), then for each core k `code.k` (words), `oper.k` (operand descriptors), `syms.k` (symbols and segments, JSON),
`data.k` (the bytes that `syms.k` refers to), then `chck` (checks, JSON) and `chckdata`, then `debug` (source lines,
hashes of their files, JSON). JSON is canonical: sorted keys, no spaces. Reading executes nothing that a file holds;
every field is checked, and what is wrong raises ObjectError.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from isa.chip import chip_of
from isa.dtypes import DTYPES
from isa.encoding import decode, encode
from isa.errors import ChipError, ObjectError, shown
from isa.file_kinds import MOST, foreign, other_kind
from isa.files import MAX_OBJECT_BYTES, open_given, read_on, reason, write_whole
from isa.grouped import FORMS
from isa.memory import HELP, shortage
from isa.operand import MEMORIES
from isa.program import CHECK_KINDS, MAX_CORES, MAX_SYMBOL_RANK, ORDERS, Check, Core, Line, Program, Segment, Symbol
from isa.verify_program import check_program

MAGIC = b"RATELNPO"
VERSION = 6
HEADER = struct.Struct("<8sII")
ENTRY = struct.Struct("<8sQQII")
MAX_SECTIONS = 4 * MAX_CORES + 4
MAX_TABLE_BYTES = HEADER.size + ENTRY.size * MAX_SECTIONS + 4
# What a section becomes takes at most so many times its own bytes: an instruction of 64 some 1,400, an operand of 128
# some 500 (tracemalloc, CPython 3.11); data are copied, of JSON its marks are counted: a list or a text some 60 each.
HELD = {"code": 24, "oper": 6, "data": 1, "json": 0}
HELD_MARK = 64


class _Entry(NamedTuple):
    """What the table says of a section."""

    name: str
    offset: int
    length: int
    checksum: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def save(program: Program, path: str | Path) -> None:
    """Write a program to `path`, whole or not at all; raise ObjectError for one that could not be read again."""
    if other := other_kind(path, ".npo"):
        raise ObjectError(f"{path} {other}", "the name of an object file ends in .npo")
    pieces = to_pieces(program)
    for problem in check_program(program):
        raise ObjectError(problem.message, problem.help, (problem,))
    write_whole(path, pieces, ObjectError)


def load(path: str | Path) -> Program:
    """Read a program from `path`."""
    try:
        with open_given(path) as file:
            data = read(file, path)
    except (OSError, ValueError) as cause:
        raise ObjectError(f"cannot read {path}: {reason(cause)}") from cause
    return named_from_bytes(data, path)


def read(file: BinaryIO, path: str | Path, begin: bytes = b"") -> bytearray:
    """Return the bytes of an open object file, of which `begin` has been read.

    Its table says what they will take of memory: they are not read where it is not right, or there is not so much.
    """
    begin += file.read(MAX_TABLE_BYTES - len(begin))
    with _named(path):
        entries = _table(memoryview(begin))
        end = entries[-1].end if entries else len(begin)
        if end > MAX_OBJECT_BYTES:
            raise ObjectError(f"it is larger than {MAX_OBJECT_BYTES >> 20:,} MiB")
        _check_room("what the object file holds", _held(entries))
    return read_on(file, begin, end)


def named_from_bytes(data: bytes | bytearray, path: str | Path) -> Program:
    """Return the program that the bytes of a file hold; what is wrong is said with its path."""
    with _named(path):
        return from_bytes(data)


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except ObjectError as error:
        raise ObjectError(f"{path}: {error.message}", error.help, error.diagnostics) from None


def to_bytes(program: Program) -> bytes:
    """Return the object file's bytes; raise ObjectError where there is not the memory for them."""
    _check_room("the object file", program.data_bytes)
    return b"".join(to_pieces(program))


def to_pieces(program: Program) -> list[bytes]:
    """Return the object file's bytes in pieces; data are the program's own, which are not copied."""
    sections = _sections(program)
    offset = HEADER.size + ENTRY.size * len(sections) + 4
    head = HEADER.pack(MAGIC, VERSION, len(sections))
    for name, pieces in sections.items():
        length, checksum = sum(map(len, pieces)), 0
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
        head += ENTRY.pack(name.encode(), offset, length, checksum, 0)
        offset += length
    return [head, struct.pack("<I", zlib.crc32(head)), *(piece for pieces in sections.values() for piece in pieces)]


def from_bytes(data: bytes | bytearray | memoryview) -> Program:
    """Return the program that an object file's bytes hold; raise ObjectError on any other bytes."""
    view = memoryview(data)
    entries = _table(view)
    sections = _split(view, entries)
    _check_room("what the object file holds", _held(entries) + sum(map(_held_json, sections.items())))
    try:
        program = _read_sections(sections)
    except ChipError as error:
        raise ObjectError(error.message, error.help) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise ObjectError(f"the object file is malformed: {type(error).__name__} {str(error)[:100]}") from error
    # Data that are read to their end are in order; they are not copied once more to see it.
    found = ((name, b"" if _kind(name) == "data" else section) for name, section in sections.items())
    if list(to_sections(program, data=False).items()) != list(found):
        raise ObjectError("the object file is not in canonical form", "assemble it again")
    return program


def _check_room(what: str, size: int) -> None:
    short = shortage({what: size})
    if short:
        raise ObjectError(short, f"make the program's data smaller, {HELP}")


def _kind(name: str) -> str:
    """Return what a section holds: "code", "oper", "data", or "json"."""
    kind = "data" if name == "chckdata" else name.partition(".")[0]
    return kind if kind in ("code", "oper", "data") else "json"


def _held(entries: Sequence[_Entry]) -> int:
    """Return the bytes that the sections of a file and what they become take, JSON only as it stands there."""
    return sum(entry.length * (1 + HELD[_kind(entry.name)]) for entry in entries)


def _held_json(section: tuple[str, memoryview]) -> int:
    """Return the bytes that JSON becomes: its text, with four bytes for a character, and what each mark may begin."""
    name, body = section
    if _kind(name) != "json":
        return 0
    text = bytes(body)
    return 4 * len(text) + HELD_MARK * sum(text.count(mark) for mark in (b"[", b"{", b",", b":"))


def _table(data: memoryview) -> list[_Entry]:
    """Return the entries of the table that an object file begins with; only these bytes are looked at."""
    if len(data) < HEADER.size or data[:8] != MAGIC:
        what, _ = foreign("", bytes(data[:MOST]))
        said = f", but {what}" if what else ""
        raise ObjectError(f"this is not an object file{said}", "object files are written by `ratel asm FILE.npu`")
    _, version, count = HEADER.unpack_from(data)
    if version != VERSION:
        raise ObjectError(
            f"the object file has version {version}, but this ratel reads {VERSION}", "assemble its source again"
        )
    table_end = HEADER.size + ENTRY.size * count
    if count > MAX_SECTIONS or len(data) < table_end + 4:
        raise ObjectError("the object file is truncated")
    if struct.unpack_from("<I", data, table_end)[0] != zlib.crc32(data[:table_end]):
        raise ObjectError("the object file's section table is damaged: its checksum differs")
    entries: list[_Entry] = []
    expected = table_end + 4
    for name, offset, length, checksum, zero in ENTRY.iter_unpack(data[HEADER.size : table_end]):
        label = name.rstrip(b"\0").decode("ascii", "replace")
        if offset != expected or zero or label in {entry.name for entry in entries}:
            raise ObjectError(f"the object file's section {shown(label)} is misplaced")
        entries.append(_Entry(label, offset, length, checksum))
        expected += length
    return entries


def _split(data: memoryview, entries: Sequence[_Entry]) -> dict[str, memoryview]:
    """Return the sections by name, none of them copied: weights may take most of a computer's memory."""
    sections: dict[str, memoryview] = {}
    for entry in entries:
        body = data[entry.offset : entry.end]
        if len(body) != entry.length:
            raise ObjectError(f"the object file is truncated in section {shown(entry.name)}")
        if zlib.crc32(body) != entry.checksum:
            raise ObjectError(f"the object file's section {shown(entry.name)} is damaged: its checksum differs")
        sections[entry.name] = body
    if entries and entries[-1].end != len(data):
        raise ObjectError("bytes follow the object file's last section")
    return sections


def _json(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if "\\n" in text and (broken := next((one for one in _texts(value) if "\n" in one), None)):
        raise ObjectError(f"{shown(broken)} has a line break", "names, and the lines of the text, are one line each")
    if "\\ud" in text:
        # Half of a UTF-16 pair, which Python's texts can hold, could not be read again.
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"U+{ord(error.object[error.start]):04X}"
            help = "names and lines are Unicode text: a file's name is os.fsencode(name).decode(errors='replace')"
            raise ObjectError(f"a name or a line of the program has half of a character, {half}", help) from None
    return text.encode()


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a value that json takes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value.keys(), *value.values()])
    elif isinstance(value, list | tuple):
        for element in value:
            yield from _texts(element)


def to_sections(program: Program, data: bool = True) -> dict[str, bytes]:
    """Return the bytes of each section by name; where not `data`, those of data are empty."""
    sections = _sections(program)
    return {name: b"" if _kind(name) == "data" and not data else b"".join(one) for name, one in sections.items()}


def _sections(program: Program) -> dict[str, list[bytes]]:
    """Return the pieces of each section by name."""
    head = {
        "name": program.name,
        "chip": dict(program.chip.values),
        "order": program.order,
        "cores": len(program.cores),
        "tasks": program.tasks,
        "semaphores": program.semaphores,
        "barriers": program.barriers,
    }
    sections = {"head": [_json(head)]}
    files: dict[str, int] = {}
    lines = []
    for k, core in enumerate(program.cores):
        sections[f"code.{k}"], sections[f"oper.{k}"] = ([one] for one in encode(core.code))
        blob: list[bytes] = []
        symbols = [
            [
                *(s.name, s.kind, s.memory, s.address, s.dtype.name, s.shape),
                *([float(number) for number in s.scale], s.zero, _append(blob, s.default), s.buffers),
                *(s.stored, s.form, s.axes),
            ]
            for s in core.symbols
        ]
        segments = [[s.memory, s.address, _append(blob, s.data)] for s in core.segments]
        sections[f"syms.{k}"] = [_json({"symbols": symbols, "segments": segments})]
        sections[f"data.{k}"] = blob
        lines.append([[files.setdefault(line.file, len(files)), line.number, line.text] for line in core.lines])
    blob = []
    checks = [[c.output, c.kind, float(c.bound), c.source, _append(blob, c.expected)] for c in program.checks]
    sections["chck"], sections["chckdata"] = [_json(checks)], blob
    hashes = dict(program.sources)
    sections["debug"] = [_json({"files": list(files), "hashes": [hashes.get(f, "") for f in files], "lines": lines})]
    return sections


def _append(blob: list[bytes], data: bytes | None) -> int | None:
    """Append data to the section and return its length; offsets follow from the order."""
    if data is None:
        return None
    blob.append(data)
    return len(data)


class _Blob:
    """Hands out a data section piece by piece."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.position = data, 0

    def take(self, length: Any) -> bytes | None:
        if length is None:
            return None
        start = self.position
        self.position += _count(length)
        if self.position > len(self.data):
            raise ObjectError("the object file's data is truncated")
        return bytes(self.data[start : self.position])

    def check_ended(self) -> None:
        if self.position != len(self.data):
            raise ObjectError("the object file is not in canonical form", "assemble it again")


def _count(value: Any, high: int = 2**62) -> int:
    if type(value) is not int or not 0 <= value <= high:
        raise ObjectError(f"the object file holds {shown(value)} where a number from 0 to {high} is expected")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < float("inf"):
        raise ObjectError(f"the object file holds {shown(value)} where a finite number is expected")
    return float(value)


def _text(value: Any, legal: tuple[str, ...] | None = None) -> Any:
    if type(value) is not str or (legal is not None and value not in legal):
        raise ObjectError(f"the object file holds {shown(value)} where a name is expected")
    # A lone surrogate, which JSON can hold, could be printed nowhere; what stands behind a line end, as a line of ours.
    value.encode()
    if "\n" in value:
        raise ObjectError(f"the object file holds {shown(value)} where one line is expected")
    return value


def _read_sections(sections: Mapping[str, memoryview]) -> Program:
    head = json.loads(bytes(sections["head"]))
    debug = json.loads(bytes(sections["debug"]))
    files = [_text(name) for name in debug["files"]]
    sources = tuple((file, _text(hashed)) for file, hashed in zip(files, debug["hashes"], strict=True) if hashed)
    cores, blobs = [], list[_Blob]()
    for k in range(_count(head["cores"], MAX_CORES)):
        code = decode(bytes(sections[f"code.{k}"]), bytes(sections[f"oper.{k}"]))
        lines = tuple(Line(files[_count(f)], _count(n), _text(t)) for f, n, t in debug["lines"][k])
        described = json.loads(bytes(sections[f"syms.{k}"]))
        blobs.append(blob := _Blob(sections[f"data.{k}"]))
        symbols = tuple(_read_symbol(fields, blob) for fields in described["symbols"])
        segments = tuple(
            Segment(_text(m, MEMORIES), _count(address), blob.take(_count(length)) or b"")
            for m, address, length in described["segments"]
        )
        cores.append(Core(code, lines, segments, symbols))
    blobs.append(blob := _Blob(sections["chckdata"]))
    checks = tuple(
        Check(_text(o), _text(kind, CHECK_KINDS), _number(bound), _text(source), blob.take(_count(length)) or b"")
        for o, kind, bound, source, length in json.loads(bytes(sections["chck"]))
    )
    semaphores, barriers = (tuple(map(_text, head[key])) for key in ("semaphores", "barriers"))
    name, order = _text(head["name"]), _text(head["order"], ORDERS)
    _text(json.dumps(head["chip"], ensure_ascii=False))
    chip = chip_of(head["chip"], "the object file's chip")
    program = Program(name, chip, order, tuple(cores), checks, head["tasks"], semaphores, barriers, sources)
    for problem in check_program(program):
        raise ObjectError(problem.message, problem.help, (problem,))
    for blob in blobs:
        blob.check_ended()
    return program


def _read_symbol(fields: list[Any], blob: _Blob) -> Symbol:
    name, kind, memory, address, dtype, shape, scale, zero, length, buffers, stored, form, axes = fields
    return Symbol(
        _text(name),
        _text(kind, ("input", "output", "weight", "const", "local")),
        _text(memory, MEMORIES),
        _count(address),
        DTYPES[_text(dtype)],
        tuple(_count(size, 2**31 - 1) for size in shape),
        tuple(_number(number) for number in scale),
        zero,
        blob.take(length),
        buffers,
        _count(stored),
        _text(form, ("", *FORMS)),
        tuple(_count(axis, MAX_SYMBOL_RANK - 1) for axis in axes),
    )
