"""The programs of programs/bugs: what the checker says of each, at which lines, and what `--fix` makes of it."""

import shutil
from difflib import ndiff
from pathlib import Path

import numpy as np
import pytest

import ratel
from ratel import testing
from ratel.cli.main import main

BUGS = Path(__file__).parents[2] / "programs" / "bugs"

# Of each: codes with the lines that they name, and the lines that the fix takes away and adds.
EXPECTED = {
    "missing_wait": (
        [("C101", 12, 11)],
        ["- maxpool b, a, window=2, stride=2", "+ (w.m) maxpool b, a, window=2, stride=2"],
    ),
    "double_buffer": ([("C101", 13, 14)], ["-     load tile[i % 2], x[i]", "+     (w.t) load tile[i % 2], x[i]"]),
    "wrong_parity": (
        [("C101", 14, 13), ("C401", 13)],
        ["-     load tile[i % 2], x[i + 1]", "+     (w.t) load tile[1 - i % 2], x[i + 1]"],
    ),
    "no_semaphore": (
        [("C101", 13, 7)],
        ["+ .semaphore ready0", "+ signal ready0, me", "+ wait ready0, pe"],
    ),
    "signalled_twice": ([("C101", 17, 9), ("C302", 10, 8)], ["- signal ready, me"]),
    "crossed_waits": ([("C301", 10, 18)], ["+ signal pong, me", "- signal pong, me"]),
    "border": ([("C401", 10)], ["+ fill framed, value=0"]),
    "overlapping": ([("C404", 13, 12)], ["- .local a i8[1, 8, 8, 16] at 0x10000", "+ .local a i8[1, 8, 8, 16]"]),
    "large_sum": (
        [("C501", 9)],
        [
            "+ .local y_part f32[1, 1]",
            "- matmul y, x, w",
            "+ matmul y_part, x[:, 0:20000], w[0:20000]",
            "+ matmul y, x[:, 20000:40000], w[20000:40000], add=y_part",
        ],
    ),
    "early_store": ([("C101", 16, 14)], ["- store y[3], tile[1]", "+ (w.t) store y[3], tile[1]"]),
}


def test_every_bug_is_expected() -> None:
    assert {path.stem for path in BUGS.glob("*.npu")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bug_is_found_where_it_is(name: str) -> None:
    path = BUGS / f"{name}.npu"
    program = ratel.assemble(path.read_text(), path)
    verdict = ratel.check(program)
    assert not verdict.passed
    places = [[finding.place, *(place for _, place in finding.notes)] for finding in verdict.findings]
    lines = [[program.cores[p.core].lines[p.index].number for p in of_one if p is not None] for of_one in places]
    found = [
        (f.code, *of_one[: len(wanted) - 1]) for f, of_one, wanted in zip(verdict.findings, lines, EXPECTED[name][0])
    ]
    assert found == EXPECTED[name][0] and len(lines) == len(found)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_bug_is_mended_where_it_is(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{name}.npu"
    shutil.copy(BUGS / path.name, path)
    before = path.read_text()
    assert main(["check", str(path), "--fix"]) == 0
    changed = [line for line in ndiff(before.splitlines(), path.read_text().splitlines()) if line[0] in "+-"]
    assert [line for line in changed if line.strip("+- ")] == EXPECTED[name][1]
    assert "proven free of races and deadlocks" in capsys.readouterr().out
    # What comes out no longer depends on the order.
    program = ratel.assemble(path.read_text(), path)
    ones = {s.name: np.ones(s.host_shape, s.dtype.numpy) for _, s in program.of_kind("input")}
    testing.assert_equivalent(program, program, ones, seeds=range(10))


def test_a_sum_in_parts_is_right(tmp_path: Path) -> None:
    path = tmp_path / "large_sum.npu"
    shutil.copy(BUGS / path.name, path)
    assert main(["check", str(path), "--fix"]) == 0
    x = np.full((1, 40000), 255, np.uint8)
    before = ratel.run(ratel.assemble((BUGS / path.name).read_text()), {"x": x}, "edge").outputs["y"]
    after = ratel.run(ratel.assemble(path.read_text()), {"x": x}, "edge").outputs["y"]
    assert before < 0 and after == pytest.approx(40000 * 0.255**2, rel=1e-5)


def test_nothing_is_written_where_nothing_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "read.npu"
    text = ".chip edge\n.local a i8[4] in dev\n.local b i8[4]\n.output y i8[4]\nload b, a\ncopy y, b\nend\n"
    path.write_text(text)
    assert main(["check", str(path), "--fix"]) == 1
    assert path.read_text() == text
    said = capsys.readouterr()
    assert "error[C401]: this reads element [0] of a, which nothing has written" in said.err
    assert "read.npu is as it was: no change that --fix knows leaves fewer findings" in said.out


SAID = {
    "missing_wait": ["line 12: the wait bit `m` added"],
    "wrong_parity": ["line 14: the other of the two buffers written", "line 14: the wait bit `t` added"],
    "crossed_waits": ["line 20: taken away: signal pong, me", "line 18: put before it: signal pong, me"],
    "overlapping": ["line 6: its address taken away"],
    "large_sum": [
        "line 7: put behind it: .local y_part f32[1, 1]",
        "line 9: the sum of 40,000 products cut into 2 parts",
    ],
}


@pytest.mark.parametrize("name", SAID)
def test_fix_says_what_it_did(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{name}.npu"
    shutil.copy(BUGS / path.name, path)
    main(["check", str(path), "--fix"])
    assert capsys.readouterr().out.splitlines()[:-1] == [f"{path}, {said}" for said in SAID[name]]
