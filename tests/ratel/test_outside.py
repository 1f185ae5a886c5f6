"""From outside of the tree: what an installed wheel says to type checkers, and what an editable install imports."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("users_script.py")
ROOMS = ("ratel", "explore", "isa", "compiler", "assembler", "emulator")
EXPECTED = ["Run", "Schedule", "Program"]
# What working in a tree leaves there.
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")


def run(*command: str | Path, folder: Path, status: int = 0) -> str:
    """Run a command in a folder, and return what it prints; it has to end with this status."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the tree, in a folder that is called as the package is."""
    return shutil.copytree(ROOT, tmp_path / "ratel", ignore=LEFT_OUT)


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A fresh environment's Python."""
    venv.create(tmp_path / "venv", with_pip=True)
    return tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"


def test_what_the_packages_import_is_installed_with_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    installed = {re.split(r"\W", needed)[0] for needed in project["dependencies"]}
    # numba brings llvmlite; ratel.testing is for those who have the extra `test`, networks for those with `onnx`.
    known = installed | {"llvmlite", "hypothesis", "pytest", "onnx", "onnxruntime", *ROOMS} | sys.stdlib_module_names
    imported = set()
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
    assert installed <= imported <= known


def test_the_users_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SCRIPT))
    assert "E203 1" in capsys.readouterr().out


@pytest.mark.slow
def test_strict_type_checkers_accept_a_users_script(clone: Path, python: Path, tmp_path: Path):
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "dist", clone, folder=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("ratel_npu-*.whl")
    run(python, "-m", "pip", "install", "-q", f"{wheel}[lint]", folder=tmp_path)
    shutil.rmtree(clone)
    user = tmp_path / "user"
    user.mkdir()
    shutil.copy(SCRIPT, user)
    config = {"typeCheckingMode": "strict", "venvPath": str(tmp_path), "venv": "venv"}
    (user / "pyrightconfig.json").write_text(json.dumps(config))
    said = run(python, "-m", "mypy", "--strict", SCRIPT.name, folder=user)
    assert re.findall(r'Revealed type is "(?:\w+\.)*(\w+)"', said) == EXPECTED, said
    said = run(python, "-m", "pyright", SCRIPT.name, folder=user)
    assert re.findall(r'Type of ".*" is "(\w+)"', said) == EXPECTED and "0 errors, 0 warnings" in said, said
    # A checker that sees nothing finds nothing wrong.
    (user / SCRIPT.name).write_text("import ratel\nratel.assembl('end')\nratel.Builder().fill(1, value=2)\n")
    said = run(python, "-m", "mypy", SCRIPT.name, folder=user, status=1)
    assert 'no attribute "assembl"' in said and '"fill" of "Instructions" cannot be "int"' in said, said
    said = run(python, "-m", "pyright", SCRIPT.name, folder=user, status=1)
    assert '"assembl" is not a known attribute' in said and '"Literal[1]" is not assignable' in said, said


@pytest.mark.slow
def test_an_editable_install_is_found_beside_the_clone(clone: Path, python: Path):
    """The clone is a folder `ratel` without an __init__: a namespace package, were there no other."""
    run(python, "-m", "pip", "install", "-q", "--no-deps", "-e", clone, folder=clone.parent)
    where = run(python, "-c", "import ratel; print(ratel.__file__)", folder=clone.parent)
    assert where.strip() == str(clone / "ratel" / "__init__.py")
