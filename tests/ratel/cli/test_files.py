"""Files of commands: those that a program or an object names, pipes, and those that are written."""

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ratel
from isa.files import MAX_TEXT_BYTES, hash_of
from isa.program import Program
from ratel.cli.main import main
from tests.ratel.cli.commands import SOURCE, run_json

ROOT = Path(__file__).parents[3]
SECRET, REST = "the first line of a key\n", "and what follows it\n"
TEXT = """\
.chip edge
.input x i8[4] = 1
.output y i8[4]
copy y, x  ; this is said nowhere else
end
"""


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = command.replace("ratel", f"{shlex.quote(sys.executable)} -m ratel")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def named(file: str, text: str, hashed: str) -> Program:
    """Return a program whose lines say that they come from a file."""
    program = ratel.assemble(TEXT)
    core = program.cores[0]
    lines = tuple(dataclasses.replace(line, file=file, number=1, text=text) for line in core.lines)
    return dataclasses.replace(program, cores=(dataclasses.replace(core, lines=lines),), sources=((file, hashed),))


@pytest.mark.parametrize("place", ["../secret", "{folder}/secret", "link", "/dev/zero", "pipe"])
def test_an_object_reads_no_file_elsewhere(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even where it knows a line of it, and its hash."""
    (tmp_path / "secret").write_text(SECRET + REST)
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "link").symlink_to("../secret")
    os.mkfifo(folder / "pipe")
    hashed = hash_of((SECRET + REST).encode())
    named(place.format(folder=tmp_path), SECRET.strip(), hashed).save(folder / "p.npo")
    assert main(["annotate", str(folder / "p.npo")]) == 0
    assert main(["report", str(folder / "p.npo"), "-o", str(folder / "r.html")]) == 0
    for shown in (capsys.readouterr().out, (folder / "r.html").read_text()):
        assert SECRET.strip() in shown and REST.strip() not in shown


def test_an_object_shows_its_source_as_long_as_it_is_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "p.npu", tmp_path / "p.npo"
    source.write_text("; all of it\n" + TEXT)
    assert main(["asm", str(source)]) == 0 and main(["annotate", str(target)]) == 0
    assert "; all of it" in capsys.readouterr().out
    source.write_text("; all of it, and more\n" + TEXT)
    assert main(["annotate", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "all of it" not in shown and "copy y, x" in shown


def test_what_a_user_names_may_be_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To anywhere; files beside it, or below, are of the folder where the link is."""
    (tmp_path / "real").mkdir()
    (tmp_path / "here/parts").mkdir(parents=True)
    (tmp_path / "real/p.npu").write_text(TEXT.replace("end", '.include "parts/a.npu"\nend'))
    (tmp_path / "here/parts/a.npu").write_text("; a part\ncopy y, x\n")
    (tmp_path / "here/q.npu").symlink_to("../real/p.npu")
    assert main(["annotate", str(tmp_path / "here/q.npu")]) == 0
    shown = capsys.readouterr().out
    assert "q.npu" in shown and "this is said nowhere else" in shown and "; a part" in shown


@pytest.mark.parametrize(
    "line", ['.include "part.npu"', '.input w i8[4] = "part.npy"', '.chip "part.toml"', '.include "pipe.npu"']
)
def test_a_text_reads_no_file_elsewhere(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text(SECRET)
    folder = tmp_path / "program"
    folder.mkdir()
    for name in ("part.npu", "part.npy", "part.toml"):
        (folder / name).symlink_to("../secret")
    os.mkfifo(folder / "pipe.npu")
    (folder / "p.npu").write_text(f"{line}\n{TEXT.removeprefix('.chip edge')}")
    assert main(["asm", str(folder / "p.npu")]) == 1
    said = capsys.readouterr().err
    assert "key" not in said
    assert ("leads out of the folder of the program" in said) != ("is no plain file" in said)


def test_a_program_may_not_be_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.npu"
    path.write_bytes(b";" * (MAX_TEXT_BYTES + 1))
    for command in (["run", str(path)], ["fmt", str(path)], ["run", "/dev/zero"], ["chips", "/dev/zero"]):
        assert main(command) == 1
    assert capsys.readouterr().err.count("it is larger than 16 MiB") == 3


def test_programs_come_through_pipes(tmp_path: Path) -> None:
    """A text longer than what a pipe holds at once, with data of the current folder; then an object."""
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.int8))
    text = TEXT.replace("= 1", '= "x.npy"').replace("end", "; a comment\n" * 10_000 + "end")
    (tmp_path / "p.npu").write_text(text)
    plain = shell("ratel run p.npu --json && ratel asm p.npu -o p.npo", tmp_path)
    for command in ("ratel run <(cat p.npu) --json", "cat p.npo | ratel run /dev/stdin --json"):
        piped = shell(command, tmp_path)
        assert (piped.returncode, piped.stderr) == (0, "") and plain.stdout.startswith(piped.stdout)
    told = shell("ratel asm <(cat p.npu)", tmp_path)
    assert told.returncode == 2 and "name one with -o" in told.stderr
    told = shell("ratel fmt <(sed 's/copy/copy  /' p.npu)", tmp_path)
    assert told.returncode == 1 and "no plain file" in told.stderr
    written = shell("ratel asm <(cat p.npu) -o >(cat > q.npo) && sleep 0.2 && ratel run q.npo --json", tmp_path)
    assert written.stdout.endswith(plain.stdout.splitlines()[0] + "\n")


REFUSED = {
    "two outputs to one file": ["run", "p.npu", "--output", "y=o.npy", "--output", "z=./o.npy"],
    "by a link": ["run", "p.npu", "--output", "y=o.npy", "--output", "z=to_o.npy"],
    "an input": ["run", "p.npu", "--input", "x=x.npy", "--output", "y=x.npy"],
    "an input by a link": ["run", "p.npu", "--input", "x=x.npy", "--output", "y=to_x.npy"],
    "data of the text": ["run", "p.npu", "--output", "y=w.npy"],
    "what is expected": ["run", "p.npu", "--expect", "z=x.npy", "--output", "y=x.npy"],
    "the text": ["run", "p.npu", "--output", "y=p.npu"],
    "another text": ["run", "p.npo", "--output", "y=q.npu"],
    "an object over data": ["asm", "p.npu", "-o", "w.npy"],
    "an object over its text": ["asm", "p.npu", "-o", "p.npu"],
    "an object over its text, by a link": ["asm", "p.npu", "-o", "to_p"],
    "a text over its object": ["dis", "p.npo", "-o", "p.npo"],
    "a text over its source": ["dis", "p.npo", "-o", "p.npu"],
    "a page over the object": ["report", "p.npo", "-o", "to_object"],
    "a page over the source": ["report", "p.npo", "-o", "to_p"],
    "a trace over the source": ["time", "p.npo", "--trace", "to_p"],
    "a trace over a chip file": ["time", "p.npu", "--chip", "c.toml", "--trace", "to_chip"],
}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program of two outputs, its object, its data, and links to all of them."""
    text = TEXT.replace("end", '.output z i8[4]\n.weight w i8[4] = "w.npy"\ncopy z, x\nend')
    (tmp_path / "p.npu").write_text(text)
    (tmp_path / "q.npu").write_text("; another\n")
    (tmp_path / "c.toml").write_text((ROOT / "isa/chips/edge.toml").read_text())
    for name in ("x", "w"):
        np.save(tmp_path / f"{name}.npy", np.zeros(4, np.int8))
    for link, to in (("to_x.npy", "x.npy"), ("to_o.npy", "o.npy"), ("to_p", "p.npu"), ("to_object", "p.npo")):
        (tmp_path / link).symlink_to(to)
    (tmp_path / "to_chip").symlink_to("c.toml")
    monkeypatch.chdir(tmp_path)
    assert main(["asm", "p.npu"]) == 0
    return tmp_path


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_command_reads_it_does_not_replace(
    case: str, full: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything is computed, as a mistake of the command line."""
    monkeypatch.setattr("ratel.api.run", None)
    before = {path.name: path.read_bytes() for path in full.iterdir() if path.exists()}
    assert main(REFUSED[case]) == 2
    said = capsys.readouterr().err
    assert "name another" in said or "it is a link; name the file" in said
    assert {path.name: path.read_bytes() for path in full.iterdir() if path.exists()} == before


def test_names_that_an_object_chooses_replace_nothing(full: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (full / "big.npu").write_text(TEXT.replace("end", ".weight w i8[1000] = [" + "1, 2, " * 500 + "]\nend"))
    assert main(["asm", "big.npu"]) == 0
    before = (full / "w.npy").read_bytes()
    assert main(["dis", "big.npo", "-o", "again.npu"]) == 1
    assert "w.npy: it is there already, and holds something else" in capsys.readouterr().err
    assert (full / "w.npy").read_bytes() == before and not (full / "again.npu").exists()
    (full / "apart").mkdir()
    for _ in range(2):
        assert main(["dis", "big.npo", "-o", "apart/again.npu"]) == 0


def test_a_text_is_rewritten_in_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through a link, with its mode, and nothing but it; one that may not be written is said to be."""
    real, link = tmp_path / "real.npu", tmp_path / "link.npu"
    link.symlink_to("real.npu")
    racy = (ROOT / "programs/bugs/missing_wait.npu").read_text()
    for command, text in ((["fmt"], SOURCE.replace("copy t", "copy   t")), (["check", "--fix"], racy)):
        real.write_text(text)
        real.chmod(0o640)
        assert main([*command, str(link)]) == 0
        assert link.is_symlink() and real.read_text() != text and real.stat().st_mode & 0o777 == 0o640
        real.write_text(text)
        real.chmod(0o444)
        capsys.readouterr()
        assert main([*command, str(link)]) == 1
        captured = capsys.readouterr()
        assert "it is read-only" in captured.err and "proven" not in captured.out and real.read_text() == text


def test_a_name_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = Path(os.fsdecode(bytes(tmp_path) + b"/d\xff.npu")), tmp_path / "d.npo"
    source.write_text(TEXT)
    assert main(["asm", str(source), "-o", str(target)]) == 0
    assert Program.load(target).name == "d\\xff"
    capsys.readouterr()
    assert run_json(capsys, "run", target, "--json") == run_json(capsys, "run", source, "--json")


def test_links_that_lie_where_something_is_written_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made a folder, an archive or a repository, may have laid them to any file of yours, there yet or not."""
    folder, victim = tmp_path / "theirs", tmp_path / "mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    text = ".chip edge\n.weight w i8[400] = 3\n.output y i8[400]\ncopy y, w\nend\n"
    array = np.arange(400).astype(np.int8)
    np.save("w.npy", array)
    Path("p.npu").write_text(text.replace("= 3", '= "w.npy"'))
    assert main(["asm", "p.npu", "-o", "q.npo"]) == 0
    Path("w.npy").unlink()
    Path("w.npy").symlink_to(victim)
    Path("p.npo").symlink_to(victim)
    assert main(["dis", "q.npo", "-o", "d.npu"]) == 1 and not Path("d.npu").exists() and not victim.exists()
    Path("p.npu").write_text(text)
    for content in (None, b"kept"):
        if content:
            victim.write_bytes(content)
        assert main(["asm", "p.npu"]) != 0
        assert victim.read_bytes() == content if content else not victim.exists()
    Path("p.npo").unlink()
    Path("p.npo").symlink_to("/dev/tty")
    assert main(["asm", "p.npu"]) != 0


@pytest.mark.parametrize("suffix", [".npu", ".inc", ".npy", ".toml", ".onnx", ".PY"])
def test_an_object_takes_no_other_files_place(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_text("kept")
    with pytest.raises(ratel.ObjectError, match="or pass for one"):
        ratel.assemble(SOURCE).save(path)
    if suffix != ".npu":
        with pytest.raises(ratel.RatelError, match="or pass for one"):
            ratel.Builder().save(path)
    assert path.read_text() == "kept"


def test_a_path_with_half_a_character_gives_a_name_that_can_be_written(tmp_path: Path) -> None:
    program = ratel.assemble(".output y i8[4]\nfill y\nend\n", "\ud800.npu")
    program.save(tmp_path / "small.npo")
    assert Program.load(tmp_path / "small.npo").name == "\\ud800"


def test_a_source_that_is_no_text_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An object may hold the hash of any file beside it."""
    program = ratel.assemble(SOURCE, tmp_path / "p.npu")
    (tmp_path / "p.npu").write_bytes(b"\xff\xfe" * 40)
    held = ((program.sources[0][0], hash_of(b"\xff\xfe" * 40)),)
    dataclasses.replace(program, sources=held).save(tmp_path / "p.npo")
    assert main(["annotate", str(tmp_path / "p.npo")]) == 0
    assert "copy" in capsys.readouterr().out
