"""`ratel sweep`: its table, JSON, files, and what is wrong with its options."""

import json
from pathlib import Path

import pytest

from ratel.cli.main import main
from tests.explore.programs import DIGITS

WORDS = ["sweep", str(DIGITS), "--vary", "te.latency=10,20,30", "--vary", "memory.lm=8K,1M", "--processes", "1"]


def test_table_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    files = ["-o", str(tmp_path / "r.parquet"), "--page", str(tmp_path / "p.html")]
    assert main([*WORDS, *files]) == 0
    shown = capsys.readouterr().out
    assert "6 points, of which 3 ran" in shown and "3 points cannot run" in shown
    assert (tmp_path / "p.html").exists()
    assert main([*WORDS, *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["computed"] == 0 and len(found["rows"]) == 6 and found["front"][0]["te.latency"] == 10
    assert list(found["effects"]["cycles"]) == ["te.latency", "memory.lm_bytes"]


def test_no_point_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(DIGITS), "--vary", "memory.lm=8K", "--page", "/dev/null"]) == 2
    assert "does not end in .html" in capsys.readouterr().err
    assert main(["sweep", str(DIGITS), "--vary", "memory.lm=8K"]) == 1
    assert "1 point cannot run" in capsys.readouterr().out
