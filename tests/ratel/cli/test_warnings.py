"""Warnings reach whoever asks: each command, with --strict and --json, the API and the Builder; and what runs hide."""

import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import ratel
from assembler.syntax.diagnostics import CODES
from isa.diagnostic import Diagnostic
from ratel.cli.main import main
from tests.ratel.cli.commands import SOURCE

# The scale of h is left out: all of y is 0.
ODD = """\
.chip edge
.input x i8[4, 64] scale=0.02 = 10
.local h i8[4, 64]
.output y i8[4, 64] scale=0.02
eltwise h, x, relu
eltwise y, h
end
"""
SAID = "warning[W601]: `h` has no scale, but `x` has 0.02"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.npu"
    path.write_text(ODD)
    return path


@pytest.mark.parametrize("command", ["asm", "run", "check", "time", "annotate", "report"])
def test_every_command_says_it(command: str, odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = ["-o", str(odd.with_suffix(".html"))] if command == "report" else []
    assert main([command, str(odd), *page]) == 0
    said = capsys.readouterr()
    assert said.err.count(SAID) == 1 and SAID not in said.out
    assert main([command, str(odd), *page, "--strict"]) == 1
    said = capsys.readouterr()
    assert SAID.replace("warning", "error") in said.err and SAID not in said.err and "1 error" in said.err


def test_strict_leaves_nothing_behind(odd: Path) -> None:
    assert main(["asm", str(odd), "--strict"]) == 1
    assert list(odd.parent.iterdir()) == [odd]


def test_it_is_told_once_for_several_chips(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["time", str(odd), "--chip", "edge,hanguang800,a800"]) == 0
    assert capsys.readouterr().err.count(SAID) == 1


def test_check_has_it_in_json(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(odd), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["warnings"]
    assert (found["code"], found["severity"]) == ("W601", "warning")
    assert (found["place"]["file"], found["place"]["line"]) == ("odd.npu", 5)
    assert found["notes"][0]["place"]["line"] == 3
    assert main(["check", str(odd), "--json", "--strict"]) == 1
    assert json.loads(capsys.readouterr().out)["warnings"][0]["severity"] == "error"


def test_what_is_fixed_is_warned_of(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(odd), "--fix"]) == 0
    assert capsys.readouterr().err.count(SAID) == 1


def test_an_object_and_a_text_without_automatic_multipliers_have_none(
    odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["asm", str(odd)]) == 0
    assert main(["run", str(odd.with_suffix(".npo")), "--strict"]) == 0
    text = tmp_path / "again.npu"
    assert main(["dis", str(odd.with_suffix(".npo")), "-o", str(text)]) == 0
    capsys.readouterr()
    assert main(["check", str(text), "--strict"]) == 0
    odd.write_text(".scales explicit\n" + ODD)
    assert main(["check", str(odd), "--strict"]) == 0
    assert capsys.readouterr().err == ""


def test_in_python_it_is_a_warning_at_the_callers_line() -> None:
    with pytest.warns(ratel.AssemblyWarning, match="W601") as caught:
        program = ratel.assemble(ODD)
    assert (ratel.run(program).outputs["y"] == 0).all()
    (said,) = caught
    assert said.filename == __file__
    warning = said.message
    assert isinstance(warning, ratel.AssemblyWarning) and isinstance(warning.diagnostic, Diagnostic)
    copy = pickle.loads(pickle.dumps(warning))
    assert warning.diagnostic.code == copy.diagnostic.code == "W601" and str(copy) == str(warning)
    # As those do who hand warnings from one process to another.
    assert str(type(warning)(*warning.args)) == str(warning)
    with pytest.raises(ratel.AssemblyError, match=r"error\[W601\]") as refused:
        ratel.assemble(ODD, strict=True)
    assert [found.severity for found in refused.value.diagnostics] == ["error"]


def test_the_builder_says_it_with_the_line_of_python() -> None:
    b = ratel.Builder("odd", chip="edge")
    x, h = b.input("x", "i8", (4,), scale=0.5), b.local("h", "i8", (4,))
    y = b.output("y", "i8", (4,), scale=0.5)
    b.eltwise(h, x, relu=True)  # W601
    b.eltwise(y, h)
    b.weight("w", 1, "i8", (4,))  # W403
    with pytest.warns(ratel.AssemblyWarning) as caught:
        b.build()
    assert [said.filename for said in caught] == [__file__] * 2
    assert 'b.weight("w", 1, "i8", (4,))  # W403' in str(caught[1].message)
    assert "b.eltwise(h, x, relu=True)  # W601" in str(caught[0].message)
    with pytest.raises(ratel.AssemblyError, match="W601"):
        b.build(strict=True)


@pytest.mark.parametrize("without", ["x", "w"])
@pytest.mark.parametrize("out", [None, 0.1])
def test_a_scale_left_out_of_a_factor_is_told_in_the_builder_too(without: str, out: float | None) -> None:
    def built(*, without: str = "", whole: float | None = None) -> ratel.Builder:
        b = ratel.Builder("dense", chip="edge")
        x = b.input("x", "i8", (1, 4), scale=whole if without == "x" else 0.02)
        w = b.weight("w", 1, "i8", (4, 2), scale=whole if without == "w" else 0.01)
        b.matmul(b.output("y", "f32" if out is None else "i8", (1, 2), scale=out), x, w)
        return b

    with pytest.warns(ratel.AssemblyWarning, match=f"W602.*`{without}` has no scale, but") as caught:
        built(without=without).build()
    assert len(caught) == 1
    with pytest.raises(ratel.AssemblyError, match="W602"):
        built(without=without).build(strict=True)
    built().build(strict=True)
    built(without=without, whole=1).build(strict=True)


def test_what_is_right_is_silent(recwarn: pytest.WarningsRecorder) -> None:
    ratel.assemble(SOURCE, strict=True)
    assert not recwarn.list


def test_errors_are_told_without_warnings() -> None:
    with pytest.raises(ratel.AssemblyError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        ratel.assemble(ODD.replace("eltwise y, h", "eltwise y, nobody"))
    assert [found.code for found in caught.value.diagnostics] == ["E201"]


# Core 0 reads what core 1 brings, and nothing orders them.
RACE = [
    ".local box i8[4]\n.output y i8[4]\ncopy y, box\nend\n",
    ".input x i8[4] = 3\ncopy core{}.box, x\nend\n",
]
RACES = {
    "reader first": ".core 0\n" + RACE[0] + ".core 1\n" + RACE[1].format(0),
    "writer first": ".core 0\n" + RACE[1].format(1) + ".core 1\n" + RACE[0],
}
RACES |= {f"{name}, compiler order": ".order compiler\n" + text for name, text in RACES.items()}
RACES |= {f"{name}, a stream": ".tasks 3\n" + text for name, text in RACES.items()}
ORDERED = {
    name: ".semaphore ready\n"
    + text.replace("copy y, box", "wait ready, me\ncopy y, box").replace(".box, x", ".box, x\nsignal ready, me")
    for name, text in RACES.items()
}


@pytest.mark.parametrize("name", RACES)
def test_a_race_does_not_run(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "race.npu"
    path.write_text(RACES[name])
    assert main(["run", str(path)]) == 1
    said = capsys.readouterr()
    assert "error[C101]" in said.err and "not run" in said.err and said.out == ""
    assert f"not run; `ratel check --fix {path}` tries to mend it; --no-check" in said.err
    assert main(["run", str(path), "--no-check"]) == 0
    # An object has no text to mend.
    assert main(["asm", str(path), "-o", str(tmp_path / "race.npo")]) == 0
    assert main(["run", str(tmp_path / "race.npo")]) == 1
    assert "not run; --no-check" in capsys.readouterr().err
    program = ratel.assemble(RACES[name])
    for run in (ratel.run, ratel.Session):
        with pytest.raises(ratel.Trap, match=r"races with a .*(?s:.*)check=False") as caught:
            run(program)
        assert caught.value.diagnostics[0].code == "C101" and caught.value.line is not None
    assert ratel.run(program, check=False).outputs["y"].size
    # Where it is ordered, it runs, and always gives the same.
    path.write_text(ORDERED[name])
    assert main(["run", str(path), "--strict"]) == 0
    assert (ratel.run(ratel.assemble(ORDERED[name])).outputs["y"] == 3).all()


def test_what_is_not_proven_runs_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.npu"
    path.write_text(ORDERED["reader first"])
    monkeypatch.setattr("emulator.checker.check.MOST_WALKED_SOON", 1)
    assert main(["run", str(path)]) == 0
    assert "warning: long is not proven free of races (`ratel check` looks further): " in capsys.readouterr().err
    assert main(["run", str(path), "--strict"]) == 1
    assert "not run" in capsys.readouterr().err
    with pytest.warns(ratel.CheckWarning, match="not proven free of races"):
        ratel.run(ratel.assemble(ORDERED["reader first"]))


@pytest.mark.parametrize("command", ["time", "annotate", "report"])
def test_cycles_of_what_has_a_race_are_shown_with_a_warning(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "race.npu"
    words = [command, str(path)] + ["-o", str(tmp_path / "page.html")] * (command == "report")
    for text, said in ((RACES["reader first"], "warning: race has a race"), (ORDERED["reader first"], "")):
        path.write_text(text)
        assert main(words) == 0
        err = capsys.readouterr().err
        assert err.startswith(said) and err.count("\n") == bool(said), err
    monkeypatch.setattr("emulator.checker.check.MOST_WALKED_SOON", 1)
    assert main(words) == 0
    assert "warning: race is not proven free of races (`ratel check` looks further): " in capsys.readouterr().err


HALF = ".chip edge\n.input x i8[8] = 1\n.output y i8[8]\n{}end\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("copy y[0:4], x[0:4]\n", "4 of 8 bytes of output `y` are never written"),
        ("loop i, 2\n    copy y[i*3 : +2], x[i*3 : +2]\nbrnz i\n", "4 of 8 bytes of output `y` are never written"),
        ("copy y[::2], x[::2]\n", "4 of 8 bytes of output `y` are never written"),
        ("fill i8[8] in lm at 0x4000, value=1\ncopy i8[8] in lm at 0x5000, x\n", "output `y` is never written"),
        ("loop i, 2\n    copy y[i*4 : +4], x[i*4 : +4]\nbrnz i\n", ""),
        ("copy y[0:4], x[0:4]\ncopy y[4:8], x[0:4]\n", ""),
        ("copy y[::2], x[::2]\ncopy y[1::2], x[::2]\n", ""),
    ],
)
def test_an_output_that_is_not_all_written(
    code: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "half.npu"
    path.write_text(HALF.format(code))
    assert main(["run", str(path)]) == 0
    err = capsys.readouterr().err
    assert (f"warning[C402]: {said}" in err) if said else ("C402" not in err)
    assert main(["run", str(path), "--strict"]) == (1 if said else 0)
    program = ratel.assemble(HALF.format(code))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ratel.run(program)
    assert [said in str(one.message) and one.category is ratel.CheckWarning for one in caught] == [True] * bool(said)


def test_a_program_without_an_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "silent.npu"
    path.write_text(".chip edge\n.input x i8[8] = 1\n.local t i8[8]\ncopy t, x\nend\n")
    assert main(["run", str(path)]) == 0
    assert "warning[C405]: the program has no output" in capsys.readouterr().err
    for more in (["run", str(path), "--dump", "t"], ["time", str(path)]):
        assert main(more) == 0
        assert "C405" not in capsys.readouterr().err
    path.write_text(".chip edge\n.input x i8[8] = 1\n.local t i8[8] in host\nstore t, x\nend\n")
    assert main(["run", str(path)]) == 0
    assert "C405" not in capsys.readouterr().err


FILES: dict[str, tuple[bytes, str]] = {
    "net.tflite": (b"\x1c\x00\x00\x00TFL3", "a TensorFlow Lite model"),
    "net.pt": (b"PK\x03\x04net/data.pkl", "a PyTorch model"),
    "x.npz": (b"PK\x03\x04x.npy", "an archive of tensors"),
    "x.npu": (b"\x93NUMPY\x01\x00", "a tensor (.npy)"),
    "elf.npu": (b"\x7fELF\x02\x01", "a compiled program of this computer"),
    "p.npu.gz": (b"\x1f\x8b\x08", "compressed (gzip)"),
    "wide.npu": ("end\n".encode("utf-16"), "text in UTF-16"),
    "empty.npu": (b"", "empty"),
    "script.py": (b"import ratel\n", "a Python script"),
    "chip.toml": (b"[te]\n", "a chip file"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_program_is_told_for_what_it_is(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, kind = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    for command in ("run", "asm", "time", "check", "annotate", "fmt"):
        assert main([command, str(path)]) == 1
        assert f"{name} is {kind}" in capsys.readouterr().err
    assert main(["dis", str(path)]) == 1
    assert "this is not an object file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_that_is_damaged_is_told_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("net.onnx", "net"):
        path = tmp_path / name
        path.write_bytes(b"\x08\x0a\x12\x07pytorch:\xff")
        for command in ("run", "time", "check", "annotate", "compile"):
            assert main([command, str(path)]) == 1
            assert f"{name} is no ONNX model, or is damaged" in capsys.readouterr().err


def test_an_object_file_is_no_text(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["asm", str(source)]) == 0
    for command in ("fmt", "asm"):
        assert main([command, str(source.with_suffix(".npo")), *(["-o", "other.npo"] * (command == "asm"))]) == 1
        assert "is an object file" in capsys.readouterr().err


def test_a_text_is_a_text_however_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "marked.npu"
    path.write_text("end\n", encoding="utf-8-sig")
    assert main(["asm", str(path)]) == 0
    assert path.with_suffix(".npo").exists()


def test_the_page_names_every_warning() -> None:
    page = (Path(__file__).parents[3] / "docs" / "language.md").read_text("utf-8")
    section = page[page.index("## Warnings") :]
    named = re.findall(r"^\| (W\d+) \|", section, re.MULTILINE)
    assert named == [code for code in CODES if code[0] == "W"]
    rounded, taken = re.findall(r"```\n((?s:.*?))```", section)
    for example, code, given, scaled, ones in (
        (rounded, "W601", "h i8[4, 64]", "h i8[4, 64] scale=0.02", [0, 10]),
        (taken, "W602", "w i8[4, 2]", "w i8[4, 2] scale=0.01", [127, 4]),
    ):
        with pytest.warns(ratel.AssemblyWarning) as caught:
            program = ratel.assemble(example)
        assert [one.message.diagnostic.code for one in caught] == [code]  # type: ignore[union-attr]
        right = ratel.assemble(example.replace(given, scaled), strict=True)
        for one, value in zip((program, right), ones, strict=True):
            assert (ratel.run(one).outputs["y"] == value).all()


def test_a_warning_that_python_takes_for_an_error_is_one(odd: Path) -> None:
    """Here that there is no cache, for a file lies where it would be."""
    search = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": search, "RATEL_CACHE": str(odd)}
    command = [sys.executable, "-m", "ratel", "run", str(odd)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stderr, result.stderr
    assert "warning: " in result.stderr and "RATEL_CACHE" in result.stderr
