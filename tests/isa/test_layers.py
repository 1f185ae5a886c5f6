"""isa/ knows nobody: no module of it loads another package of the project, numba or lark."""

import subprocess
import sys
from pathlib import Path

import isa

ROOT = Path(isa.__file__).parent
FORBIDDEN = ("numba", "llvmlite", "lark", "rich", "assembler", "emulator", "ratel", "programs")


def test_importing_every_module_loads_nothing_else():
    names = sorted(f"isa.{path.stem}" for path in ROOT.rglob("*.py") if path.stem != "__init__")
    assert "isa.table" in names and "isa.manual" in names
    script = f"import sys\nimport {', '.join(names)}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert set(names) <= set(loaded)
    assert [name for name in loaded if name.split(".")[0] in FORBIDDEN] == []


def test_every_module_says_what_it_is_for():
    for path in ROOT.rglob("*.py"):
        assert path.read_text("utf-8").startswith('"""'), f"{path.name} has no docstring"
