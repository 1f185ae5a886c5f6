"""docs/explain.md, docs/tutorial.md and docs/cycles.md show what the commands print."""

import re
from pathlib import Path

import pytest

from ratel.cli.main import main

ROOT = Path(__file__).parents[2]
COMMANDS = (
    ["annotate", "programs/lstm/lstm.npu"],
    ["annotate", "programs/matmul/matmul_hardware.npu"],
    ["time", "programs/lstm/lstm.npu", "--explain", "--what-if"],
    ["time", "programs/tiled/tiled.npu", "--chip", "edge,a800,metax"],
)


@pytest.mark.parametrize("page", ["explain", "tutorial", "cycles"])
def test_pages_show_what_is_printed(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([str(ROOT / word) if word.startswith("programs/") else word for word in command]) == 0
    printed = {line.rstrip() for line in capsys.readouterr().out.splitlines()}
    # What a block of `text` shows was printed before the change that the tutorial tells of.
    blocks = re.findall(r"```(\w*)\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
    shown = [text for language, text in blocks if not language]
    assert shown and not [line for block in shown for line in block.splitlines() if line not in printed]
