"""docs/compositions.md says what the code does: its programs print what stands under them."""

import re
import runpy
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/compositions.md").read_text()
# A program, and the block that follows it.
PROGRAMS = {
    program.removeprefix("# ").split(".py: ")[0]: (program, output)
    for program, output in re.findall(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", PAGE, re.DOTALL)
}


def test_every_program_of_the_page_is_run() -> None:
    assert len(PROGRAMS) == PAGE.count("```python") > 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_print_what_stands_under_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, output = PROGRAMS[name]
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.py").write_text(program)
    runpy.run_path(f"{name}.py")
    assert capsys.readouterr().out == output
