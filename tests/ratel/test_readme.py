"""The README says what the code does: its program, its output, its message and its Python are run."""

import re
from pathlib import Path

import pytest

import ratel
from ratel.cli.main import main

README = (Path(__file__).parents[2] / "README.md").read_text()
PROGRAMS = Path(__file__).parents[2] / "programs"
CYCLES = re.findall(r"\]\((\S+\.npu)\) \| (\w+) \| ([\d,]+) \|", (PROGRAMS / "README.md").read_text())
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def block(beginning: str) -> str:
    """Return the one code block that begins so."""
    (found,) = [text for _, text in BLOCKS if text.startswith(beginning)]
    return found


@pytest.fixture
def dense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "dense.npu"
    path.write_text(block("; dense.npu"))
    return path


def shown(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_program_prints_what_it_says(dense: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", dense.name]) == 0
    assert shown(capsys.readouterr().out) == shown(block("dense on edge"))


def test_mistake_is_answered_as_it_says(dense: Path) -> None:
    with pytest.raises(ratel.AssemblyError) as caught:
        ratel.assemble(dense.read_text().replace("transpose_w", "transpos_w"), dense.name)
    assert shown(str(caught.value))[:-2] == shown(block("error[E302]"))


def test_python_runs(dense: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("import numpy as np"), {})
    assert "[[3 3 4 2]" in capsys.readouterr().out


def test_files_that_it_names_are_there() -> None:
    root = Path(__file__).parents[2]
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and not [link for link in links if not (root / link).exists()]


def test_picture_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    assert main(["run", str(root / "programs/digits/digits.npu")]) == 0
    words = capsys.readouterr().out.split()
    picture = re.sub(r"<[^>]*>", " ", (root / "docs/run_digits.svg").read_text()).replace("&#160;", " ")
    # The rule under a heading is as long as the table; all else is the same, word by word.
    drawn = {word.strip(",") for word in picture.split()}
    missing = [word for word in words if "─" not in word and word.strip(",") not in drawn]
    assert not missing, "draw it again: python docs/pictures.py"
    assert "98.61 % right, 10,123 cycles" in README and "10,123" in words and "98.61%," in words


def test_programs_are_listed() -> None:
    assert len(CYCLES) >= 18


@pytest.mark.parametrize(("path", "chip", "cycles"), CYCLES)
def test_cycles_of_the_programs(path: str, chip: str, cycles: str) -> None:
    source = PROGRAMS / path
    program = ratel.assemble(source.read_text(), source)
    assert program.chip == ratel.load_chip(chip) and f"{ratel.time(program).cycles:,}" == cycles
