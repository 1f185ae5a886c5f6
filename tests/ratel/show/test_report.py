"""The report: one page that loads nothing, well formed whatever the program says, and never written over a source."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import ratel.show.gantt
from ratel.cli.main import main

PROGRAMS = Path(__file__).parents[3] / "programs"
EMPTY = {"meta"}


class Page(HTMLParser):
    """Checks that every element is closed in order; keeps ids and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids, self.links = Counter[str](), list[str]()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag not in EMPTY else []
        self.ids.update(value or "" for name, value in attrs if name == "id")
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(path: Path) -> str:
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.ids.most_common(1)[0][1] == 1 and not page.links
    assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", "")) and "url(" not in text
    for svg in re.findall(r'<svg id="gantt".*?</svg></svg>|<svg id="roofline".*?</svg>', text, re.DOTALL):
        ElementTree.fromstring(svg)
    assert len(text) < 3_000_000
    return text


@pytest.mark.parametrize("name", ["digits/digits", "four_cores/four_cores", "stream/stream", "tiled/tiled"])
def test_report(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.html"
    assert main(["report", str(PROGRAMS / f"{name}.npu"), "-o", str(path)]) == 0
    cycles = re.search(r"([\d,]+) cycles", capsys.readouterr().out)
    text = check(path)
    assert cycles and f"{cycles[1]} cycles" in text and "core0.te" in text and "slack" in text


def test_what_is_long_is_drawn_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratel.show.gantt, "MOST_SLICES", 50)
    path = tmp_path / "report.html"
    assert main(["report", str(PROGRAMS / "digits/digits.npu"), "-o", str(path)]) == 0
    assert "is drawn together with its neighbours" in check(path)


def test_the_program_is_escaped(tmp_path: Path) -> None:
    source = tmp_path / "a<b>&\x01.npu"
    source.write_text(".chip edge\n.local t i8[4]\nfill t, value=3 ; <script>alert(1)</script> </svg> &\nend\n")
    path = tmp_path / "report.html"
    assert main(["report", str(source), "-o", str(path)]) == 0
    text = check(path)
    assert "alert(1)" in text and "<script>alert" not in text and "\x01" not in text


def test_no_source_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "s.txt"
    source.write_text(".chip edge\nend\n")
    for target in (source, tmp_path / "other.npu"):
        for words in (["report", str(source), "-o", str(target)], ["time", str(source), "--trace", str(target)]):
            assert main(words) == 2 and "would replace" in capsys.readouterr().err
    assert source.read_text() == ".chip edge\nend\n"
    assert main(["report", str(source), "-o", str(tmp_path / "none" / "r.html")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_neither_includes_nor_chips_are_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parts").mkdir()
    part, chip = tmp_path / "parts/part.txt", tmp_path / "my.toml"
    part.write_text("copy b, a\n")
    chip.write_text((Path(__file__).parents[3] / "isa/chips/edge.toml").read_text())
    program = tmp_path / "p.npu"
    program.write_text('.chip edge\n.input a i8[8]\n.output b i8[8]\n.include "parts/part.txt"\nend\n')
    for target in (part, chip):
        before = target.read_text()
        assert main(["report", str(program), "-o", str(target)]) == 2
        assert main(["time", str(program), "--chip", str(chip), "--trace", str(target)]) == 2
        assert target.read_text() == before and "would replace" in capsys.readouterr().err


def test_what_is_too_long_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "p.npu"
    program.write_text(
        ".chip edge\n.input a i8[8]\n.output b i8[8]\nloop i, 900000000\ncopy b, a\nbrnz i\nend\n", "utf-8"
    )
    for command in (["report", str(program), "-o", str(tmp_path / "p.html")], ["annotate", str(program)]):
        assert main(command) == 1
        assert "900,000,000 instructions would be too long" in capsys.readouterr().err
    assert not (tmp_path / "p.html").exists()
