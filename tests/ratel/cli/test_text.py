"""`ratel asm`, `dis` and `fmt`: there and back, and what `asm` imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ratel.cli.main import main
from tests.ratel.cli.commands import SOURCE, run_json

ROOT = Path(__file__).parents[3]


def test_object_round_trip(source: Path, tmp_path: Path, x: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, text = tmp_path / "a.npo", tmp_path / "b.npo", tmp_path / "again" / "small.npu"
    text.parent.mkdir()
    assert main(["asm", str(source), "-o", str(first)]) == 0
    assert "instructions" in capsys.readouterr().out
    assert main(["dis", str(first)]) == 0
    text.write_text(capsys.readouterr().out)
    assert main(["asm", str(text), "-o", str(second)]) == 0
    capsys.readouterr()
    of_text = run_json(capsys, "run", first, "--input", f"x={x}", "--json")
    assert of_text == run_json(capsys, "run", second, "--input", f"x={x}", "--json")


def test_format(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE.replace("copy t[i % 2], x", "copy   t[ i%2 ],x"))
    assert main(["fmt", str(source), "--check"]) == 1
    assert main(["fmt", str(source)]) == 0
    assert "    copy t[i % 2], x\n" in source.read_text()
    assert main(["fmt", str(source), "--check"]) == 0


def test_asm_loads_no_numba(source: Path) -> None:
    script = (
        "import sys; from ratel.cli.main import main; main(['asm', sys.argv[1]]);"
        "heavy = {'numba', 'llvmlite', 'rich', 'hypothesis'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, str(source)], check=True, env=environment, stdout=subprocess.DEVNULL)


def test_disassembly_with_its_data_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits, again = ROOT / "programs/digits/digits.npu", tmp_path / "again.npu"
    assert main(["asm", str(digits), "-o", str(tmp_path / "digits.npo")]) == 0
    assert main(["dis", str(tmp_path / "digits.npo"), "-o", str(again)]) == 0
    assert len(list(tmp_path.glob("*.npy"))) == 4 and again.stat().st_size < 10_000
    capsys.readouterr()
    first = run_json(capsys, "run", tmp_path / "digits.npo", "--json")
    assert first == run_json(capsys, "run", again, "--json") and first["checks"][0]["passed"]
