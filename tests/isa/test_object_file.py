"""The object file: any bytes give ObjectError, or a program whose bytes they are."""

import dataclasses
import json
import os
import re
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isa.chip import load_chip
from isa.dtypes import F32, I8
from isa.errors import ObjectError
from isa.instruction import build
from isa.object_file import ENTRY, HEADER, VERSION, from_bytes, load, save, to_bytes, to_sections
from isa.operand import Term, dense
from isa.program import Check, Core, Line, Program, Segment, Symbol, memory_needs
from ratel.testing.programs import programs, programs_of_cores

# A program with something in every section and every field.
CODE = (
    build("loop", counter=1, count=3),
    build("load", out=dense("lm", 256, I8, (2, 4)), x=dense("host", 0, I8, (2, 4), (Term(1, 2, 8),))),
    build(
        "eltwise",
        waits=("me",),
        out=dense("lm", 0, I8, (2, 4)),
        x=dense("lm", 256, I8, (2, 4)),
        ew3_scale=dense("cb", 0, F32, (4,)),
        sf="leaky_relu",
        slope=0.25,
    ),
    build("brnz", counter=1),
    build("end"),
)
SYMBOLS = (
    Symbol("x", "input", "host", 0, I8, (2, 2, 4), (0.5,), 3, bytes(16), 5),
    Symbol("y", "output", "lm", 0, I8, (4, 2), axes=(1, 0)),
    Symbol("s", "const", "cb", 0, F32, (4,), (), 0),
    Symbol("t", "local", "lm", 256, I8, (2, 4), (0.5, 0.25, 1.0, 2.0), -128),
)
PROGRAM = Program(
    "small",
    load_chip("edge", te__latency=1000),
    "compiler",
    (
        Core(
            CODE,
            tuple(Line("small.npu" if k else "häder.npu", 1 + k, f"line {k}") for k in range(len(CODE))),
            (Segment("cb", 0, bytes(range(16))),),
            SYMBOLS,
        ),
    ),
    (Check("y", "exact", 0.0, "y.npy", bytes(16)), Check("y", "top1", 0.5, "labels.npy", bytes(16))),
    2,
)
SECTIONS = to_sections(PROGRAM)
JSON_SECTIONS = ("head", "syms.0", "chck", "debug")


def assemble(sections: dict[str, bytes]) -> bytes:
    """Return an object file of these sections with right offsets and checksums."""
    offset = HEADER.size + ENTRY.size * len(sections) + 4
    head = HEADER.pack(b"RATELNPO", VERSION, len(sections))
    for name, data in sections.items():
        head += ENTRY.pack(name.encode(), offset, len(data), zlib.crc32(data), 0)
        offset += len(data)
    return head + zlib.crc32(head).to_bytes(4, "little") + b"".join(sections.values())


def reads_back_or_is_refused(data: bytes) -> ObjectError | None:
    """Return the error, if there is one; it is short, and its text can be printed."""
    try:
        program = from_bytes(data)
    except ObjectError as error:
        assert 0 < len(str(error).encode()) < 600
        return error
    assert to_bytes(program) == data
    for core in program.cores:
        memory_needs(core)
    return None


def test_small_program_round_trips():
    assert assemble(SECTIONS) == to_bytes(PROGRAM)
    assert from_bytes(to_bytes(PROGRAM)) == PROGRAM


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(programs(), programs_of_cores()))
def test_programs_round_trip(program):
    data = to_bytes(program)
    assert from_bytes(data) == program
    assert to_bytes(from_bytes(data)) == data


def test_whole_numbers_are_kept_as_scales_and_bounds():
    symbols = (Symbol("y", "output", "lm", 0, I8, (2, 4), (1,)),)
    (core,) = PROGRAM.cores
    program = dataclasses.replace(
        PROGRAM,
        cores=(dataclasses.replace(core, symbols=symbols),),
        checks=(Check("y", "exact", 0, "y.npy", bytes(16)),),
    )
    assert from_bytes(to_bytes(program)) == program


@settings(max_examples=200)
@given(st.data())
def test_changed_bytes_are_refused(data):
    image = bytearray(to_bytes(PROGRAM))
    for _ in range(data.draw(st.integers(1, 3))):
        image[data.draw(st.integers(0, len(image) - 1))] ^= data.draw(st.integers(1, 255))
    reads_back_or_is_refused(bytes(image))


def test_each_truncation_and_each_flipped_bit_is_refused():
    image = to_bytes(PROGRAM)
    for size in range(len(image)):
        assert reads_back_or_is_refused(image[:size]) is not None
    for at in range(len(image)):
        changed = bytearray(image)
        changed[at] ^= 1 << at % 8
        assert reads_back_or_is_refused(bytes(changed)) is not None
    assert reads_back_or_is_refused(image + b"\0") is not None


@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_refused(data, with_magic):
    assert reads_back_or_is_refused(b"RATELNPO" * with_magic + data) is not None


@settings(max_examples=200)
@given(st.data())
def test_changed_sections_with_right_checksums(data):
    sections = dict(SECTIONS)
    name = data.draw(st.sampled_from(sorted(sections)))
    body = bytearray(sections[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    sections[name] = bytes(body)
    reads_back_or_is_refused(assemble(sections))


def test_sections_missing_surplus_or_in_another_order_are_refused():
    for name in SECTIONS:
        rest = {key: body for key, body in SECTIONS.items() if key != name}
        assert reads_back_or_is_refused(assemble(rest)) is not None
        assert reads_back_or_is_refused(assemble({**rest, name: SECTIONS[name]})) is not None or name == "debug"
        assert reads_back_or_is_refused(assemble({**rest, "other": SECTIONS[name]})) is not None
    assert reads_back_or_is_refused(assemble({**SECTIONS, "code.1": b""})) is not None


# JSON text of values that a field does not expect.
HOSTILE = (
    *("null", "true", "false", "-1", "0", "1", "2", "7.5", "-0.0", "1e5", "1e308", "1e400", "-1e400", "NaN"),
    *("Infinity", "-Infinity", "127", "128", "-129", "256", "65536", "2147483647", "2147483648", "4294967296"),
    *("4611686018427387904", "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "1" + "0" * 5000),
    *('""', '"x"', '"y"', '"lm"', '"cb"', '"i8"', '"f32"', '"input"', '"\\ud800"', '"\\u0000"', '"\\n\\u001b[2J"'),
    *("[]", "[[]]", "[1]", "[0,0]", '["x"]', "{}", '{"x":1}', "[" * 100 + "]" * 100, "[" * 20000 + "]" * 20000),
    *(
        '"' + "x" * 100_000 + '"',
        "[" + "1," * 50_000 + "1]",
        "[2147483647,2147483647,2147483647,2147483647,2147483647]",
    ),
)
MARK = "\x01here\x01"


def places(value: Any) -> Iterator[tuple]:
    """Yield the path of every value in a JSON tree."""
    yield ()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from ((key, *path) for path in places(item))


def with_marked(value: Any, path: tuple) -> Any:
    if not path:
        return MARK
    copied = value.copy()
    copied[path[0]] = with_marked(value[path[0]], path[1:])
    return copied


@pytest.mark.parametrize("name", JSON_SECTIONS)
def test_hostile_values_in_every_field(name):
    tree = json.loads(SECTIONS[name])
    for path in places(tree):
        text = json.dumps(with_marked(tree, path), sort_keys=True, separators=(",", ":"))
        for hostile in HOSTILE:
            body = text.replace(json.dumps(MARK), hostile).encode()
            if body != SECTIONS[name]:
                reads_back_or_is_refused(assemble({**SECTIONS, name: body}))


@pytest.mark.parametrize("name", JSON_SECTIONS)
def test_fields_missing_or_surplus(name):
    tree = json.loads(SECTIONS[name])
    for path in places(tree):
        if not path:
            continue
        *front, last = path
        for change in ("remove", "repeat"):
            copied = json.loads(SECTIONS[name])
            parent = copied
            for key in front:
                parent = parent[key]
            if change == "remove":
                del parent[last]
            elif isinstance(parent, list):
                parent.insert(last, parent[last])
            else:
                parent[last + "2"] = parent[last]
            body = json.dumps(copied, sort_keys=True, separators=(",", ":")).encode()
            reads_back_or_is_refused(assemble({**SECTIONS, name: body}))


@pytest.mark.parametrize("encoding", ("utf-16", "utf-32", "utf-8-sig"))
def test_json_in_another_encoding_is_refused(encoding):
    body = SECTIONS["head"].decode().encode(encoding)
    assert reads_back_or_is_refused(assemble({**SECTIONS, "head": body})) is not None


def refused(name: str, old: str, new: str) -> ObjectError:
    text = SECTIONS[name].decode()
    assert text.count(old) == 1, text
    error = reads_back_or_is_refused(assemble({**SECTIONS, name: text.replace(old, new).encode()}))
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("head", '"cores":1', '"cores":65', "the object file holds 65 where a number from 0 to 64 is expected"),
        ("head", '"cores":1', '"cores":0', "the program is for 0 cores"),
        ("head", '"compiler"', '"nobody"', "the object file holds 'nobody' where a name is expected"),
        ("head", '"cores":1', '"cores":01', "the object file is malformed: JSONDecodeError"),
        ("head", '"small"', '"\\ud800"', "the object file is malformed: UnicodeEncodeError"),
        ("head", '"small"', '"a\\nb"', "the object file holds 'a\\nb' where one line is expected"),
        ("head", '"chip.name":"edge"', '"chip.name":"a\\nb"', "the object file's chip: chip.name is 'a\\nb'"),
        ("debug", "line 2", "line\\n2", "the object file holds 'line\\n2' where one line is expected"),
        ("head", '"cores":1', '"cores": 1', "the object file is not in canonical form"),
        ("syms.0", '["t","local","lm",256', '["y","local","lm",256', "two symbols have one name"),
        ("syms.0", '["t","local","lm",256', '["t","local","xm",256', "holds 'xm' where a name is expected"),
        ("syms.0", '"i8",[2,2,4],[0.5],3,16', '"i8",[2,2,4],[0.5],3,15', "symbol 'x' has a default of the wrong size"),
        ("syms.0", '"i8",[2,2,4],[0.5],3,16', '"i8",[2,2,4],[0.5],128,16', "zero point 128, which i8 does not hold"),
        ("syms.0", '"i8",[2,2,4],[0.5],3,16', '"i8",[2,2,0],[0.5],3,16', "has the impossible shape [2, 2, 0]"),
        ("syms.0", '"i8",[2,2,4],[0.5],3,16', '"i8",[2,2,4],[-0.5],3,16', "has a scale that is not positive"),
        ("syms.0", '3,16,5,0,"",[]]', '3,16,17,0,"",[]]', "symbol 'x', of kind input, has 17 buffers"),
        ("syms.0", '-128,null,1,0,"",[]]', '-128,null,2,0,"",[]]', "symbol 't', of kind local, has 2 buffers"),
        ("syms.0", '0,"",[1,0]]', '0,"",[1,1]]', "symbol 'y', of kind output and shape [4, 2], has axes (1, 1)"),
        ("syms.0", '0,"",[1,0]]', '0,"",[0]]', "symbol 'y', of kind output and shape [4, 2], has axes (0,)"),
        ("syms.0", '0,"",[1,0]]', '0,"",[1,true]]', "holds True where a number from 0 to 4 is expected"),
        (
            "syms.0",
            '-128,null,1,0,"",[]]',
            '-128,null,1,0,"",[0,1]]',
            "of kind local and shape [2, 4], has axes (0, 1)",
        ),
        ("head", '"tasks":2', '"tasks":0', "the program is for 0 tasks"),
        ("head", '"tasks":2', '"tasks":3', "the check of 'y' does not fit it"),
        ("syms.0", '["s","const","cb",0', '["s","const","cb",2', "symbol 's' is not aligned"),
        ("syms.0", '"segments":[["cb",0,16]]', '"segments":[["cb",0,99]]', "the object file's data is truncated"),
        ("chck", '["y","exact"', '["z","exact"', "a check names the unknown output 'z'"),
        ("chck", '["y","exact"', '["x","exact"', "a check names the unknown output 'x'"),
        ("chck", '["y","exact",0.0', '["y","exact",NaN', "holds nan where a finite number is expected"),
        ("debug", "[1,5,", "[2,5,", "the object file is malformed: IndexError"),
        ("debug", ',[1,5,"line 4"]', "", "the code has 5 instructions but 4 source lines"),
    ],
)
def test_what_is_wrong_is_said(name, old, new, message):
    assert message in refused(name, old, new).message


@pytest.mark.parametrize(
    ("image", "message", "help"),
    [
        (b"", "this is not an object file, but empty", "object files are written by `ratel asm FILE.npu`"),
        (b"\x08\x08\x12\x07pytorch:", "this is not an object file, but an ONNX model", "object files are written by"),
        (b"nonsense" + bytes(60), "this is not an object file", "object files are written by `ratel asm FILE.npu`"),
        (b"RATELNPO\x01" + bytes(60), "the object file has version 1, but this ratel reads 6", "assemble its source"),
        (b"RATELNPO\x06" + bytes(3), "this is not an object file", "object files"),
        (b"RATELNPO\x06" + bytes(3) + b"\xff" * 60, "the object file is truncated", ""),
        (to_bytes(PROGRAM)[:-1], "the object file is truncated in section 'debug'", ""),
        (to_bytes(PROGRAM)[:-1] + b"x", "the object file's section 'debug' is damaged: its checksum differs", ""),
        (to_bytes(PROGRAM) + b"x", "bytes follow the object file's last section", ""),
    ],
)
def test_damaged_files(image, message, help):
    with pytest.raises(ObjectError) as caught:
        from_bytes(image)
    assert caught.value.message == message
    assert caught.value.help.startswith(help)


def test_invalid_code_is_refused_with_its_place():
    for code, message in (
        (CODE[:-1], "instruction 3: the code does not end"),
        (CODE[1:], "instruction 0: `x` follows counter 1, but 0 loops are open here"),
        ((build("fill", out=dense("lm", 0, I8, (4,)), value=300), CODE[-1]), "instruction 0: `value` is 300"),
    ):
        (core,) = PROGRAM.cores
        lines = core.lines[: len(code)]
        program = dataclasses.replace(PROGRAM, cores=(dataclasses.replace(core, code=code, lines=lines),))
        with pytest.raises(ObjectError) as caught:
            from_bytes(to_bytes(program))
        assert caught.value.message == message


def test_save_and_load(tmp_path):
    path = tmp_path / "small.npo"
    PROGRAM.save(path)
    assert path.read_bytes() == to_bytes(PROGRAM)
    assert Program.load(path) == load(str(path)) == PROGRAM
    assert os.listdir(tmp_path) == ["small.npo"]


@pytest.mark.parametrize(
    "change", [{"name": "n\ud800"}, {"sources": (("a.npu", "\udfff"),)}, {"semaphores": ("\ud83d",)}]
)
def test_half_characters_are_refused_before_they_are_written(change, tmp_path):
    line = dataclasses.replace(PROGRAM.cores[0].lines[0], file="a.npu")
    cores = (dataclasses.replace(PROGRAM.cores[0], lines=(line, *PROGRAM.cores[0].lines[1:])), *PROGRAM.cores[1:])
    with pytest.raises(ObjectError, match="half of a character"):
        save(dataclasses.replace(PROGRAM, cores=cores, **change), tmp_path / "small.npo")
    assert not os.listdir(tmp_path)
    whole = dataclasses.replace(PROGRAM, name="\U0001f600")
    assert from_bytes(to_bytes(whole)).name == whole.name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a\nb"}, "'a\\nb' has a line break"),
        ({"sources": (("a.npu", "1\n2"),)}, "has a line break"),
        ({"tasks": 0}, "the program is for 0 tasks"),
        ({"semaphores": ("a b",)}, "'a b' cannot name a semaphore"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(change, said, tmp_path):
    line = dataclasses.replace(PROGRAM.cores[0].lines[0], file="a.npu")
    cores = (dataclasses.replace(PROGRAM.cores[0], lines=(line, *PROGRAM.cores[0].lines[1:])), *PROGRAM.cores[1:])
    with pytest.raises(ObjectError) as caught:
        dataclasses.replace(PROGRAM, cores=cores, **change).save(tmp_path / "small.npo")
    assert said in caught.value.message and not os.listdir(tmp_path)
    # A backslash before an n is none.
    fine = dataclasses.replace(PROGRAM, name="a\\nb")
    assert from_bytes(to_bytes(fine)).name == fine.name


def test_save_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "small.npo"
    path.write_bytes(b"before")

    def full(descriptor):
        os.ftruncate(descriptor, 10)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ObjectError, match=r"cannot write .*: No space left on device"):
        save(PROGRAM, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["small.npo"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", r"Is a directory|it is a folder"),
        ("missing/small.npo", "No such file or directory"),
        ("file/small.npo", "Not a directory"),
        ("nul\0.npo", "embedded null byte"),
    ],
)
def test_paths_that_cannot_be_written_or_read(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for action in (lambda path: save(PROGRAM, path), load):
        with pytest.raises(ObjectError) as caught:
            action(tmp_path / name)
        assert re.search(reason, caught.value.message)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_load_names_the_file(tmp_path):
    path = tmp_path / "bad.npo"
    path.write_bytes(b"nonsense")
    with pytest.raises(ObjectError) as caught:
        load(path)
    assert caught.value.message == f"{path}: this is not an object file"
