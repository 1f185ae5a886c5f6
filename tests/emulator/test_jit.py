"""The cache of compiled functions: where it lies, what it is keyed by, and what is in it."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core import config

from emulator import jit

# Modules of the project that compiled code may take constants from.
ROOMS = ("emulator", "isa")


def imported(path: Path) -> set[Path]:
    """Return the files of the project that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOMS:
            found.add(jit.ROOT / (node.module.replace(".", "/") + ".py"))
    return found


def test_every_hot_file_is_hashed() -> None:
    """What uses `hot` is in HOT, and what the kernels import is in SOURCES."""
    users = {
        path.stem for path in (jit.ROOT / "emulator").glob("*.py") if "from emulator.jit import" in path.read_text()
    }
    assert users - {"ahead", "timeline", "walkers", "weights"} <= set(jit.HOT)
    others = ("factors", "micro", "packing", "storage", "vector", "walk")
    kernels = [path for path in jit.SOURCES if path.stem.startswith("kernels_") or path.stem in others]
    assert len(kernels) == 13
    for path in kernels:
        assert imported(path) <= set(jit.SOURCES), path


def test_an_edit_in_any_source_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("A = 1\n")
    second.write_text("B = 1\n")
    monkeypatch.setattr(jit, "SOURCES", (first, second))
    before = jit.source_hash()
    assert before == jit.source_hash()
    second.write_text("B = 2\n")
    assert before != jit.source_hash()
    edited = jit.source_hash()
    monkeypatch.setattr(config, "BOUNDSCHECK", not config.BOUNDSCHECK)
    assert edited != jit.source_hash()


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = jit.source_hash()
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "own"))
    assert jit.cache_folder() == tmp_path / "own" / key
    monkeypatch.delenv("RATEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.cache_folder() == tmp_path / "xdg" / "ratel" / key
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jit.cache_folder() == tmp_path / ".cache" / "ratel" / key


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "file" / "cache"))
    folder = jit.cache_folder()
    assert folder.is_dir() and folder != jit.cache_folder() and not folder.stat().st_mode & 0o077


def test_what_nobody_used_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new folder is made: old folders with names like its own, nothing else."""
    long_ago = time.time() - (jit.KEPT_DAYS + 1) * 86_400
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "cache"))
    own = jit.cache_folder()
    kept, old, recent, linked = (tmp_path / "cache" / name for name in ("notes", "0" * 16, "1" * 16, "2" * 16))
    for folder in (kept, old, recent):
        folder.mkdir()
        (folder / "file").touch()
    linked.symlink_to(kept)
    for folder in (own, kept, old):
        os.utime(folder, (long_ago, long_ago))
    os.utime(linked, (long_ago, long_ago), follow_symlinks=False)
    # A use makes a folder recent; nothing is removed.
    assert jit.cache_folder() == own and own.stat().st_mtime > long_ago + 86_400 and old.exists()
    monkeypatch.setattr(jit, "source_hash", lambda: "3" * 16)
    assert jit.cache_folder().name == "3" * 16
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        *("notes", "1" * 16, "2" * 16, "3" * 16),
        own.name,
    }
    assert (kept / "file").exists()


def test_the_callers_settings_stay() -> None:
    before = config.CACHE_DIR
    jit.hot(lambda: None)
    assert before == config.CACHE_DIR


def test_first_use_compiles_and_later_ones_load(tmp_path: Path) -> None:
    script = """
from emulator.jit import compile_all
from emulator.kernels import kernel_jobs
from isa.table import MNEMONICS
names = []
compile_all(kernel_jobs([MNEMONICS["maxpool"].opcode]), names.append)
print(names)
"""
    run = [sys.executable, "-c", script]
    environment = os.environ | {"RATEL_CACHE": str(tmp_path)}
    outputs = [
        subprocess.run(run, capture_output=True, text=True, check=True, env=environment, cwd=jit.ROOT).stdout.strip()
        for _ in range(2)
    ]
    assert outputs == ["['the kernel of maxpool']", "[]"]


def twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damaged", [b"", b"junk"])
def test_a_damaged_cache_is_made_anew(suffix: str, damaged: bytes) -> None:
    assert jit.hot(twice)(21) == 42
    for path in (kept := list(jit.FOLDER.glob(f"*/*twice*.{suffix}"))):
        path.write_bytes(damaged)
    assert kept
    again = jit.hot(twice)
    assert again(21) == 42
    assert again.stats.cache_misses and not again.stats.cache_hits
    # It has been kept again.
    loaded = jit.hot(twice)
    assert loaded(21) == 42 and loaded.stats.cache_hits
