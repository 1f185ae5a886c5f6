"""What `ratel check` prints, whole: each program of findings/ ends in a command and, as comments, what that prints."""

import re
import shlex
from pathlib import Path

import pytest

from emulator.checker.findings import CODES
from ratel.cli.main import main

FOLDER = Path(__file__).parent / "findings"
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npu")), ids=lambda path: path.stem)
def test_what_is_printed(
    path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    program, mark, rest = path.read_text().partition("; $ ratel ")
    command, _, expected = rest.partition("\n")
    main(shlex.split(command))
    said = capsys.readouterr()
    found = "".join(f"; {line}".rstrip() + "\n" for line in (said.err + said.out).splitlines())
    if request.config.getoption("--bless"):
        path.write_text(f"{program}{mark}{command}\n{found}")
    else:
        assert found == expected


def test_every_code_is_printed() -> None:
    texts = "".join(path.read_text() for path in FOLDER.glob("*.npu"))
    assert set(re.findall(r"^; (?:error|warning)\[(C\d+)\]", texts, re.MULTILINE)) == CODES.keys()


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "check.md").read_text()
    ((command, expected),) = re.findall(r"```console\n\$ ratel (.*)\n((?s:.*?))```", page)
    main(shlex.split(command))
    said = capsys.readouterr()
    assert said.err + said.out == expected
