"""`ratel time` and `annotate`: JSON, chips, explanations."""

from pathlib import Path

import pytest

from ratel.cli.main import main
from tests.ratel.cli.commands import SOURCE, run_json

ROOT = Path(__file__).parents[3]


def test_time_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "time", source, "--json")
    assert sum(entry["cycles"] for entry in found["critical_path"]) == found["cycles"]
    assert {"line", "instruction", "engine", "reason", "count", "cycles"} <= set(found["critical_path"][0])
    both = run_json(capsys, "time", source, "--json", "--chip", "edge,hanguang800")
    assert [one["chip"] for one in both["chips"]] == ["edge", "hanguang800"]


def test_numbers_of_the_chip_reach_the_assembler(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE.replace("i8[2, 4, 8]", "i8[2, 400000, 8]"))
    assert main(["time", str(source)]) == 1
    assert "lm is full" in capsys.readouterr().err
    source.write_text(SOURCE.replace(".local  t", ".local  u i8[400000]\n.local  t"))
    assert main(["time", str(source), "--set", "memory.lm_bytes=1000000"]) == 0


def test_a_chip_file_beside_the_source_is_found_from_anywhere(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = (ROOT / "isa/chips/edge.toml").read_text().replace('name = "edge"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(chip)
    source.write_text(SOURCE.replace(".chip edge", '.chip "mine.toml"'))
    monkeypatch.chdir("/")
    assert run_json(capsys, "time", source, "--json")["chip"] == "mine"


def test_annotate(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", str(source)]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    (loop,) = [words for words in shown if words[-2:] == ["i,", "3"]]
    assert loop[:2] == ["3", "x"]
    assert any(words[:1] == ["3"] and "copy" in words for words in shown)
    assert any(words == ["1", ".chip", "edge"] for words in shown)
    found = run_json(capsys, "annotate", source, "--json")
    assert {line["number"] for line in found["lines"]} == {5, 6, 7, 8, 9}
    assert main(["asm", str(source), "-o", str(tmp_path / "o.npo")]) == 0
    assert main(["annotate", str(tmp_path / "o.npo")]) == 0
    assert "copy t[i % 2], x" in capsys.readouterr().out


def test_energy(source: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = run_json(capsys, "time", source, "--energy", "--json")
    energy = found["energy"]
    for part in ("by_kind", "by_memory", "by_engine"):
        assert sum(energy[part].values()) == pytest.approx(energy["total"])
    assert sum(line["microjoules"] for line in energy["by_line"]) == pytest.approx(energy["total"])
    assert energy["watts"] * found["seconds"] * 1e6 == pytest.approx(energy["total"])
    assert main(["time", str(source), "--energy"]) == 0
    assert "energy: " in capsys.readouterr().out
    assert main(["annotate", str(source)]) == 0
    assert "uJ" in capsys.readouterr().out
    # A chip file may leave the sections out.
    assert main(["chips", "edge", "--set", "te.latency=20", "--toml"]) == 0
    text = capsys.readouterr().out
    assert "latency = 20" in text
    bare = tmp_path / "bare.toml"
    bare.write_text(text.partition("[energy]")[0])
    assert main(["time", str(source), "--chip", str(bare), "--json"]) == 0
    capsys.readouterr()
    assert main(["time", str(source), "--chip", str(bare), "--energy"]) == 1
    assert "edge has no section [energy] in its file" in capsys.readouterr().err
    assert main(["chips", "--toml"]) == 2


def test_explain_and_what_if(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tasks in ("1", "3"):
        found = run_json(capsys, "time", source, "--explain", "--what-if", "--tasks", tasks, "--json")
        assert sum(part["cycles"] for part in found["breakdown"]) == found["cycles"]
        assert sum(part["cycles"] for part in found["by_engine"]) == found["cycles"]
        assert found["roofline"]["bound"] <= found["cycles"] and found["what_if"][0]["more_saved"] > 0
    assert main(["time", str(source), "--explain", "--what-if"]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("fill/drain", "in no loop", "roofline", "the whole: bound by", "10 % more"))
