"""docs/builder.md says what the code does: its programs print what stands under them, its mistake is answered so."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ratel

PAGE = (Path(__file__).parents[2] / "docs/builder.md").read_text()
BLOCKS = [text for _, text in re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)]
Run = Callable[[int, str], dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a code block, with something behind it, as the file that its first line names."""
    monkeypatch.chdir(tmp_path)

    def run_block(index: int, behind: str) -> dict[str, Any]:
        path = tmp_path / BLOCKS[index].removeprefix("# ").split(":")[0]
        path.write_text(BLOCKS[index] + behind)
        return runpy.run_path(str(path))

    return run_block


@pytest.mark.parametrize(("program", "output"), [(0, 1), (3, 4)])
def test_programs_print_what_stands_under_them(
    run: Run, program: int, output: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run(program, "")
    assert capsys.readouterr().out == BLOCKS[output]


def test_a_saved_program_is_the_same(run: Run) -> None:
    held = run(0, '\nb.save("tiles.npu")\n')
    saved = ratel.assemble(Path("tiles.npu").read_text(), "tiles.npu")
    assert saved.cores[0].code == held["program"].cores[0].code
    assert saved.cores[0].segments == held["program"].cores[0].segments


def test_mistake_is_answered_as_it_says(run: Run) -> None:
    with pytest.raises(ratel.AssemblyError) as caught:
        run(0, "b.matmul(y_tile[0], x_tile[0], w, bias=w)\nb.build()\n")
    assert str(caught.value) == BLOCKS[2] + "\n1 error"


def test_every_call_of_the_table_is_possible() -> None:
    rows = re.findall(r"^\| .*? \| (.*) \|$", PAGE.split("## What stands")[1].split("## Mistakes")[0], re.MULTILINE)
    calls = {name for row in rows for name in re.findall(r"b\.(\w+)", row)}
    assert calls and not [name for name in calls if not hasattr(ratel.Builder, name)]
    functions = re.findall(r"^\| `(\w+)\(", PAGE.split("| function |")[1], re.MULTILINE)
    assert functions and all(hasattr(ratel.quantise, name) for name in functions)
