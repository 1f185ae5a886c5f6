"""The command line on chips of bounds: what it prints, its JSON, and what it refuses."""

import json
from pathlib import Path

import pytest

from ratel.cli.main import main

SOURCE = """\
.chip edge
.input  x i8[64, 256] scale=1
.weight w i8[256, 32] scale=1 = 1
.output y i8[64, 32] scale=1
matmul y, x, w
end
"""
WIDE = SOURCE.replace("i8", "i16")


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "small.npu"
    path.write_text(SOURCE)
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 0
    return capsys.readouterr().out


def test_time_gives_bounds_and_says_so(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "time", source, "--chip", "a800")
    assert "small on a800: at least 520 ns, by host link in" in shown
    assert "bounds, not cycles: a GPU is not made of TE, PE and ME" in shown
    assert "for edge: tiled for a800 it might move fewer bytes" in shown
    assert "1,048,576   operations    624 TOPS" in shown and "31.5 GB/s" in shown
    many = printed(capsys, "time", source, "--chip", "a800", "--tasks", "100")
    assert "small on a800, 100 tasks: at least 52 us" in many


def test_what_is_not_public_is_printed_so(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(source).write_text(WIDE)
    shown = printed(capsys, "time", source, "--chip", "a800")
    row = next(line for line in shown.splitlines() if line.startswith("products of 16 bits"))
    assert row.split("operations")[1].split("  ")[-1].strip() == "not public" and row.count("not public") == 2
    assert "not in the bound, for their rates are not public: products of 16 bits" in shown
    assert "no bound is public" in printed(capsys, "time", source, "--chip", "metax")
    shown = printed(capsys, "chips", "metax")
    assert shown.count("not public") == 9 and "inferred: 984 PFLOPS" in shown


def test_json(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(printed(capsys, "time", source, "--chip", "a800", "--json"))
    assert found["chip"] == "a800" and found["tasks"] == 1 and "cycles" not in found
    bounds = found["bounds"]
    assert bounds["limit"] == "host link in" and bounds["seconds_at_least"] == pytest.approx(64 * 256 / 31.5e9)
    demands = {demand["name"]: demand for demand in bounds["demands"]}
    assert demands["products of 8 bits"]["seconds"] == pytest.approx(2 * 64 * 256 * 32 / 624e12)
    assert demands["products of 16 bits"]["rate"] is None and bounds["not_public"] == []
    assert demands["local memory"]["seconds"] is None
    both = json.loads(printed(capsys, "time", source, "--chip", "edge,a800,metax", "--json"))["chips"]
    assert [one["chip"] for one in both] == ["edge", "a800", "metax"]
    assert ["cycles" in one for one in both] == [True, False, False]
    assert both[2]["bounds"]["seconds_at_least"] is None


def test_chips_compared(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "time", source, "--chip", "a800,edge,metax,hanguang800").splitlines()
    rows = rows[rows.index("chips compared") :]
    assert "time / that on edge" in rows[1]
    of = {row.split()[0]: row for row in rows[3:] if row}
    assert "none" in of["a800"] and of["a800"].count("at least") == 2 and "a bound by host link in" in of["a800"]
    assert of["edge"].rstrip().endswith("1.00   scheduled") and "at least" not in of["edge"]
    assert "no bound is public" in of["metax"]
    bounded = printed(capsys, "time", source, "--chip", "a800,h20")
    assert "that on" not in bounded


def test_numbers_are_set(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "time", source, "--chip", "a800", "--set", "roofline.int8_tops=0.001")
    assert "at least 1.05 ms, by products of 8 bits" in shown
    assert "not in the bound" in printed(capsys, "time", source, "--chip", "a800", "--set", "roofline.int8_tops=?")
    assert main(["time", source, "--chip", "a800", "--set", "te.latency=3"]) == 1
    assert "a800: unknown key te.latency" in capsys.readouterr().err


def test_all_chips_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "chips").splitlines()
    of = {row.split()[0]: row.split()[1:] for row in rows if " bounds " in row or " cycles " in row}
    assert {name for name, row in of.items() if row[0] == "bounds"} >= {"a800", "biren104", "h20", "metax"}
    assert of["hanguang800"][:3] == ["cycles", "825.8", "206.4"]
    assert of["a800"][:5] == ["bounds", "624", "not", "312", "80"]


@pytest.mark.parametrize(
    "command",
    [
        ["time", "FILE", "--explain"],
        ["time", "FILE", "--what-if"],
        ["time", "FILE", "--trace", "trace.json"],
        ["annotate", "FILE"],
        ["report", "FILE", "-o", "page.html"],
        ["run", "FILE"],
        ["asm", "FILE"],
    ],
)
def test_what_needs_cycles_is_refused(
    command: list[str], source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(source).parent)
    assert main([*(source if word == "FILE" else word for word in command), "--chip", "a800"]) == 1
    assert capsys.readouterr().err == (
        "error: a800 is described by bounds alone, without cycles: a GPU is not made of TE, PE and ME\n"
        "help: `ratel time --chip a800 FILE` gives bounds, as ratel.bounds does in Python\n"
    )
    assert [path.name for path in Path().iterdir()] == ["small.npu"]


def test_a_text_cannot_be_for_a_chip_without_cycles(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(source).write_text(SOURCE.replace(".chip edge", ".chip a800"))
    assert main(["time", source]) == 1
    shown = capsys.readouterr().err
    assert "error[E403]: a800 is described by bounds alone" in shown and "small.npu:1:7" in shown


def test_an_object_file_has_bounds_too(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = str(tmp_path / "small.npo")
    assert main(["asm", source, "-o", made]) == 0
    capsys.readouterr()
    assert printed(capsys, "time", made, "--chip", "a800") == printed(capsys, "time", source, "--chip", "a800")
