"""The cache of compiled functions: where it lies, what it is keyed by, and what is in it."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba.core import config

from emulator.jit import cache
from emulator.jit.compile import hot
from emulator.jit.objects import FOLDER
from isa.errors import CacheWarning, InputError

DECORATORS = {"hot", "hot_and_inner", "apart", "inner", "inlined", "intrinsic"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of this test's own, for functions that are decorated in it."""
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "cache"))
    begin_anew()
    yield tmp_path / "cache"
    begin_anew()


def begin_anew() -> None:
    """Know nothing of the cache, as a new process does."""
    cache.home.cache_clear()
    cache.verify.cache_clear()
    cache._GIVEN_UP.clear()


def modules_of(path: Path) -> set[Path]:
    """Return the files of the project that a file imports as it is loaded, by its syntax tree."""
    found: set[str] = set()
    nodes = ast.parse(path.read_text()).body
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not isinstance(node, ast.FunctionDef):
            nodes += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {cache.ROOT / (name.replace(".", "/") + ".py") for name in found if name.split(".")[0] in cache.ROOMS}
    return {file for file in files if file.exists()}


def test_the_sources_are_the_import_closure_of_the_hot_files() -> None:
    """What the patterns find is what syntax trees say: of decorators, and of imports."""
    decorated = set()
    for path in (cache.ROOT / "emulator").rglob("*.py"):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        marks = {ast.unparse(mark) for function in functions for mark in function.decorator_list}
        if DECORATORS & {mark.partition("(")[0] for mark in marks}:
            decorated.add(path)
    assert {"schedule.py", "critical_path.py", "loop.py", "tensor.py", "atomics.py"} <= {
        path.name for path in decorated
    }
    closure, wanted = set(), set(decorated)
    while wanted:
        path = wanted.pop()
        closure.add(path)
        wanted |= modules_of(path) - closure
    assert set(cache.sources()) == closure
    assert {"columns.py", "dtypes.py"} <= {path.name for path in closure}


def test_an_edit_of_any_source_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in cache.ROOMS:
        shutil.copytree(cache.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    keys = {cache.source_hash(), cache.source_hash(tmp_path)}
    assert len(keys) == 1
    files = cache.sources(tmp_path)
    assert len(files) == len(cache.sources()) > 20
    for path in files:
        before = path.read_text()
        path.write_text(f"{before}\nEDITED = 1\n")
        keys.add(cache.source_hash(tmp_path))
        path.write_text(before)
    assert len(keys) == len(files) + 1


def test_an_option_of_numba_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever it is; but for those that say where and by how many threads."""
    keys = {cache.source_hash()}
    names = cache.options()
    assert {"BOUNDSCHECK", "OPT", "CPU_NAME", "CPU_FEATURES", "ENABLE_AVX", "DEBUG_NRT", "DISABLE_JIT"} < set(names)
    assert not {"CACHE_DIR", "NUMBA_NUM_THREADS", "GDB_BINARY", "CUDA_INCLUDE_PATH"} & set(names)
    for name in names:
        with monkeypatch.context() as patched:
            patched.setattr(config, name, f"not {getattr(config, name)}")
            keys.add(cache.source_hash())
    assert len(keys) == len(names) + 1


CHANGING = "PYTHONOPTIMIZE=1", "NUMBA_BOUNDSCHECK=1", "NUMBA_OPT=1", "NUMBA_CPU_NAME=generic", "NUMBA_ENABLE_AVX=0"


@pytest.mark.parametrize("variable", CHANGING)
def test_what_the_environment_changes_in_compiled_code_is_not_shared(variable: str, tmp_path: Path) -> None:
    """Assertions that guard raw pointers, bounds, instructions: neither is loaded by who has it otherwise."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHONOPT"))}
    plain["RATEL_CACHE"] = str(tmp_path / "cache")
    name, _, value = variable.partition("=")

    def loaded(**changed: str) -> list[str]:
        command = [sys.executable, "-c", READ_ONLY]
        done = subprocess.run(command, env=plain | changed, cwd=cache.ROOT, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert loaded(**{name: value}) == ["True", "0", "1"]
    assert loaded() == ["True", "0", "1"]
    assert loaded() == loaded(**{name: value}) == ["True", "1", "0"]
    assert len([entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]) == 2


def test_what_is_compiled_for_another_processor_is_not_loaded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a cluster, whose computers share a home."""
    compiled = hot(twice)
    assert compiled(21) == 42
    generator = type(compiled.targetctx.codegen())
    begin_anew()
    with monkeypatch.context() as patched:
        patched.setattr(generator, "magic_tuple", lambda self: ("triple", "another processor", "+features"))
        other = hot(twice)
        assert other(21) == 42 and not other.stats.cache_hits
    begin_anew()
    again = hot(twice)
    assert again(21) == 42 and again.stats.cache_hits


STALE = """
import ratel
path = "programs/four_cores/four_cores.npu"
steps = ratel.time(ratel.assemble(open(path).read(), path)).critical_path
print(*{step.limit for step in steps if step.reason == "resource"}, sep=",")
"""


@pytest.mark.slow
def test_a_constant_of_another_file_is_compiled_in_anew(tmp_path: Path) -> None:
    """FIRST_LINK, of the file of columns, is compiled into the walk back, which tells links from the rest by it."""
    for room in (*cache.ROOMS, "ratel", "assembler", "programs"):
        shutil.copytree(cache.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"RATEL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", STALE]

    def path() -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert path() == "ring\n"
    file = tmp_path / "emulator/timing/columns.py"
    text = file.read_text()
    assert "\nFIRST_LINK = len(Resource)\n" in text
    # All links come one kind too early now.
    file.write_text(text.replace("\nFIRST_LINK = len(Resource)\n", "\nFIRST_LINK = len(Resource) - 1\n"))
    assert path() == "pcie out\n"
    assert len([entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]) == 2


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "own"))
    assert cache.cache_root() == tmp_path / "own"
    monkeypatch.setenv("RATEL_CACHE", "~/own")
    assert cache.cache_root() == tmp_path / "own"
    monkeypatch.delenv("RATEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_root() == tmp_path / "xdg" / "ratel"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_root() == tmp_path / ".cache" / "ratel"
    # Without links: where they lead to later is not where was looked at.
    (tmp_path / "link").symlink_to(tmp_path / "own")
    monkeypatch.setenv("RATEL_CACHE", str(tmp_path / "link"))
    assert cache.cache_root() == tmp_path / "own"


NEWER_PLATFORMDIRS = RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("found", [Path("~/.cache/ratel"), Path(".cache/ratel"), NEWER_PLATFORMDIRS])
def test_the_current_folder_is_no_home(
    found: Path | Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's repository may lie there, with what looks like a cache in it."""

    def user_cache_path(*_: object, **__: object) -> Path:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("platformdirs.user_cache_path", user_cache_path)
    without_home(tmp_path, monkeypatch)


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a number in a container that has no name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 3)
    without_home(tmp_path, monkeypatch)


def without_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RATEL_CACHE", raising=False)
    begin_anew()
    try:
        with pytest.warns(CacheWarning, match="there is no home folder to keep it in .*RATEL_CACHE names one"):
            home = cache.home()
        assert not home.lasts and home.folder.parent.stat().st_mode & 0o777 == 0o700
        assert hot(twice)(21) == 42 and list(home.folder.glob("*/*twice*.nbc"))
        assert not list(folder.iterdir())
    finally:
        begin_anew()


def test_a_cache_that_cannot_be_made(root: Path) -> None:
    """Is said once; what is compiled lies in a folder that nobody else may read."""
    root.write_text("in the way")
    with pytest.warns(CacheWarning, match="is not kept, and compiled again the next time: .*RATEL_CACHE") as said:
        home = cache.home()
        assert cache.home() == home
    assert len(said) == 1
    assert home.folder.is_dir() and not home.lasts and not home.folder.parent.stat().st_mode & 0o077
    assert hot(twice)(21) == 42 and list(home.folder.glob("*/*twice*.nbc"))


READ_ONLY = """
import ctypes, os, sys
from emulator.jit import cache
from emulator.timing.program_order import goes_on
import numpy as np
if "read-only" in sys.argv and os.geteuid() == 0:
    # Root may write anywhere, unless this process gives up one capability: number 1, CAP_DAC_OVERRIDE.
    libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    sets[0] &= ~(1 << 1)
    assert libc.capset(header, sets) == 0
none = np.zeros((0, 0), np.int64)
goes_on(np.zeros((1, 12), np.int64), none, none, none, np.zeros(1, np.int64), 0)
print(cache.home().lasts, goes_on.stats.cache_hits.total(), goes_on.stats.cache_misses.total())
"""


def test_a_warm_cache_that_cannot_be_written_is_used(tmp_path: Path) -> None:
    """As on a read-only mount: what is in it is loaded, and nothing else changes."""
    warm = {**os.environ, "RATEL_CACHE": str(tmp_path / "cache")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", READ_ONLY, *arguments]
        return subprocess.run(command, env=warm, cwd=cache.ROOT, capture_output=True, text=True, check=False)

    cold = run()
    assert cold.stdout.split() == ["True", "0", "1"], cold.stderr
    held = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]
    modes = [path.stat().st_mode for path in held]
    for path in held:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = run("read-only")
    for path, mode in zip(held, modes):
        path.chmod(mode)
    assert done.stdout.split() == ["False", "1", "0"], done.stderr
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("place", [".", "KEY", "KEY/execute_0", "KEY/execute_0/loop.walk-1.py311.nbi"])
@pytest.mark.parametrize("whose", ["written by others", "owned by another"])
def test_what_others_may_have_written_is_not_loaded(
    root: Path, place: str, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / cache.source_hash() / "execute_0" / "loop.walk-1.py311.nbi"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"planted")
    for made in (file, *file.parents[: len(file.parents) - len(root.parents)]):
        made.chmod(0o755)
    changed = root / place.replace("KEY", cache.source_hash())
    if whose == "owned by another" and os.geteuid() == 0:
        os.chown(changed, 65534, 65534)
        expected = f"{changed} belongs to another user .number 65534., who could put code there"
    elif whose == "owned by another":
        # Only root can give a file away: so this is another user's who looks at all of it.
        monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
        expected = f"belongs to another user .number {file.stat().st_uid}., who could put code there"
    else:
        changed.chmod(changed.stat().st_mode | 0o022)
        expected = f"other users may write to {changed}: .chmod -R go-w. takes that from them"
    with pytest.warns(CacheWarning, match=expected):
        home = cache.home()
    assert not home.lasts and not list(home.folder.iterdir())


def test_a_folder_above_that_all_may_write_to(root: Path) -> None:
    """Who may write to it may put another cache in the place of this one; not where the sticky bit is set."""
    root.parent.chmod(0o777)
    with pytest.warns(CacheWarning, match=f"other users may write to {root.parent}:"):
        assert not cache.home().lasts
    root.parent.chmod(0o1777)
    begin_anew()
    assert cache.home().lasts


@pytest.mark.parametrize("mask", [0o002, 0o000])
def test_a_cache_is_the_users_own_whatever_is_made_by_default(root: Path, mask: int) -> None:
    """Where new files are a group's, or everybody's, what a first run keeps a second one loads."""
    before = os.umask(mask)
    try:
        assert hot(twice)(21) == 42 and cache.home().lasts
        begin_anew()
        loaded = hot(twice)
        assert loaded(21) == 42 and loaded.stats.cache_hits and cache.home().lasts
    finally:
        os.umask(before)


def test_a_damaged_file_that_cannot_be_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error each time it would be loaded, not once."""
    assert hot(twice)(21) == 42
    (path,) = root.glob("*/*/*twice*.nbc")
    path.unlink()
    # Nobody, root neither, unlinks a folder.
    path.mkdir()
    begin_anew()
    again = hot(twice)
    for _ in range(2):
        with pytest.raises(InputError, match=f"{path} is damaged, and cannot be removed") as caught:
            again(21)
        assert "RATEL_CACHE" in caught.value.help


def test_files_that_another_process_has_moved_away(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written has another name at first; it may go between a look at the folder and one at the file."""
    assert hot(twice)(21) == 42
    (path,) = root.glob("*/*/*twice*.nbc")
    (path.parent / "twice.nbc.tmp.0").symlink_to(path.parent / "gone")
    begin_anew()
    loaded = hot(twice)
    assert loaded(21) == 42 and loaded.stats.cache_hits


def test_a_home_that_is_not_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEL_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(InputError, match="RATEL_CACHE=~nobody-of-this-name/x: there is no such home"):
        cache.home()


def test_threads_that_compile_at_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is kept in the cache, with checksums, and nothing elsewhere; numba's setting stays."""
    monkeypatch.chdir(tmp_path)
    functions = [hot(made(k)) for k in range(8)]
    before = config.CACHE_DIR
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda function: function(1), functions)) == [1 + k for k in range(8)]
    assert before == config.CACHE_DIR
    assert [entry.name for entry in tmp_path.iterdir()] == ["cache"]
    kept = [path for path in root.glob("*/*/*") if path.suffix != cache.SEAL]
    assert len(kept) == 16 and all(path.with_name(path.name + cache.SEAL).exists() for path in kept)


def made(addend: int) -> Callable[[int], int]:
    def plus(number: int) -> int:
        return number + addend

    plus.__qualname__ = f"plus{addend}"
    return plus


def test_what_nobody_used_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new folder is made: old folders with names like its own that we have made, nothing else."""
    long_ago = time.time() - (cache.KEPT_DAYS + 1) * 86_400
    own = cache.home().folder
    names = ("notes", "0" * 16, "1" * 16, "2" * 16, "deadbeef" * 2, "cafe" * 4)
    kept, old, recent, linked, foreign, others_tag = (root / name for name in names)
    for folder in (kept, old, recent, foreign, others_tag):
        folder.mkdir(mode=0o700)
        (folder / "file").touch()
    for folder in (kept, old, recent):
        shutil.copy(own / cache.TAG, folder)
    # Other programs mark their caches so, too.
    (others_tag / cache.TAG).write_text(cache.TAG_TEXT.replace("ratel", "another"))
    linked.symlink_to(kept)
    for folder in (own, kept, old, foreign, others_tag):
        os.utime(folder, (long_ago, long_ago))
    os.utime(linked, (long_ago, long_ago), follow_symlinks=False)
    # A use makes a folder recent; nothing is removed.
    begin_anew()
    assert cache.home().folder == own and own.stat().st_mtime > long_ago + 86_400 and old.exists()
    begin_anew()
    monkeypatch.setattr(cache, "source_hash", lambda: "3" * 16)
    assert cache.home().folder.name == "3" * 16
    assert {path.name for path in root.iterdir()} == {*names, "3" * 16, own.name} - {"0" * 16}
    assert all((folder / "file").exists() for folder in (kept, foreign, others_tag))


def test_a_folder_with_others_files_is_not_taken_for_ours(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used, if it has our name, and never removed."""
    monkeypatch.setattr(cache, "source_hash", lambda: "deadbeef" * 2)
    folder = root / ("deadbeef" * 2)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "thesis").touch()
    assert cache.home().folder == folder and not (folder / cache.TAG).exists()


def test_the_callers_settings_stay(root: Path) -> None:
    before = config.CACHE_DIR
    assert hot(twice)(2) == 4
    assert before == config.CACHE_DIR


def test_importing_reads_no_environment_and_makes_no_folder(tmp_path: Path) -> None:
    """Of all that `import ratel` offers."""
    script = """
import os
import numba, numpy  # what these read is theirs
class Watched(dict):
    def __getitem__(self, name): raise AssertionError(name)
    def get(self, name, default=None): raise AssertionError(name)
    def __contains__(self, name): raise AssertionError(name)
os.environ = os.environb = Watched()
os.getenv = os.environ.get
import ratel
for name in ratel.__all__:
    getattr(ratel, name)
"""
    environment = {**os.environ, "RATEL_CACHE": str(tmp_path / "cache"), "RATEL_PRODUCTS": "nonsense"}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=cache.ROOT, check=True)
    assert not (tmp_path / "cache").exists()


def test_first_use_compiles_and_later_ones_load(tmp_path: Path) -> None:
    script = """
from emulator.jit.jobs import compile_all
from emulator.kernels.table import kernel_jobs
from isa.table import MNEMONICS
names = []
compile_all(kernel_jobs([MNEMONICS["maxpool"].opcode]), names.append)
print(names)
"""
    run = [sys.executable, "-c", script]
    environment = os.environ | {"RATEL_CACHE": str(tmp_path)}
    outputs = [
        subprocess.run(run, capture_output=True, text=True, check=True, env=environment, cwd=cache.ROOT).stdout.strip()
        for _ in range(2)
    ]
    assert outputs == ["['the kernel of maxpool']", "[]"]


def twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("suffix", ["nbi", "nbc", "nbi.sha256", "nbc.sha256"])
@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "noise", "gone"])
def test_a_damaged_cache_is_made_anew(root: Path, suffix: str, damage: str) -> None:
    assert hot(twice)(21) == 42
    (path,) = root.glob(f"*/*/*twice*.{suffix}")
    content = path.read_bytes()
    middle = len(content) // 2
    noise = np.random.default_rng(0).bytes(64)
    match damage:
        case "gone":
            path.unlink()
        case "noise":
            path.write_bytes(content[:middle] + noise + content[middle + 64 :])
        case _:
            path.write_bytes({"empty": b"", "junk": b"junk", "cut": content[:middle]}[damage])
    begin_anew()
    again = hot(twice)
    assert again(21) == 42
    assert again.stats.cache_misses and not again.stats.cache_hits
    # It has been kept again.
    begin_anew()
    loaded = hot(twice)
    assert loaded(21) == 42 and loaded.stats.cache_hits


def test_one_flipped_bit(root: Path) -> None:
    """Wherever it is, it is found before anything is loaded of the file or by the file."""
    chance = np.random.default_rng(17)
    assert hot(twice)(21) == 42
    kept = sorted(root.glob("*/*/*twice*"))
    assert [path.name.split(".", 3)[-1] for path in kept] == ["1.nbc", "1.nbc.sha256", "nbi", "nbi.sha256"]
    for path in kept * 8:
        content = path.read_bytes()
        place, bit = int(chance.integers(len(content))), 1 << int(chance.integers(8))
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        begin_anew()
        again = hot(twice)
        assert again(21) == 42 and not again.stats.cache_hits, (path, place, bit)
    begin_anew()
    loaded = hot(twice)
    assert loaded(21) == 42 and loaded.stats.cache_hits


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def held(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache whose lock another process holds, for as long as it likes."""
    monkeypatch.setattr(cache, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(cache, "PLAIN_WAIT_SECONDS", 0.3)
    assert hot(twice)(21) == 42
    begin_anew()
    (lock,) = root.glob("*/lock")
    # Nobody else may so much as open it.
    assert not lock.stat().st_mode & 0o077
    holder = subprocess.Popen([sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "held\n"
    yield root
    holder.kill()
    holder.communicate()


def test_a_lock_that_somebody_holds(held: Path) -> None:
    """What is there is loaded; what is not is compiled, after one wait for all, and not kept; and this is said once."""
    began = time.monotonic()
    with pytest.warns(CacheWarning, match="lock is not to be had: another process has held it for 0.3 s") as said:
        loaded = hot(twice)
        assert loaded(21) == 42 and loaded.stats.cache_hits
        assert hot(made(0))(1) == 1
    waited = time.monotonic() - began
    assert len(said) == 1 and waited < 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [hot(made(k))(1) for k in range(1, 5)] == [2, 3, 4, 5]
    assert not list(held.glob("*/*/*plus*"))


def test_damage_while_somebody_holds_the_lock(held: Path) -> None:
    """It may be what another process is about to put a checksum beside: neither loaded nor removed."""
    (path,) = held.glob("*/*/*twice*.nbc")
    path.write_bytes(b"damaged")
    with pytest.warns(CacheWarning, match="lock is not to be had"):
        again = hot(twice)
        assert again(21) == 42 and not again.stats.cache_hits
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize("what", ["a folder", "a link to nowhere that may be made"])
def test_a_lock_that_cannot_be_had(root: Path, tmp_path: Path, what: str) -> None:
    lock = cache.home().folder / "lock"
    if what == "a folder":
        lock.mkdir()
    else:
        lock.symlink_to(tmp_path / "gone" / "lock")
    with pytest.warns(CacheWarning, match=f"{lock} is not to be had"):
        assert hot(twice)(21) == 42
    assert not list(root.glob("*/*/*twice*"))


def test_a_cache_that_is_removed_meanwhile(root: Path) -> None:
    """And cannot be made again: what is compiled is not kept, there or elsewhere."""
    folder = cache.home().folder
    shutil.rmtree(folder)
    folder.write_text("in the way")
    assert hot(twice)(21) == 42
    assert not list(Path(__file__).parent.glob("__pycache__/*.nb?"))


def test_another_place_that_the_environment_names_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NUMBA_CACHE_LOCATOR_CLASSES would have code kept beside the sources, or any module loaded that finds a place."""
    monkeypatch.setattr(config, "CACHE_LOCATOR_CLASSES", "nowhere.to.be.Found,InTreeCacheLocator")
    assert hot(twice)(21) == 42 and list(root.glob("*/*/*twice*.nbc"))
    assert config.CACHE_LOCATOR_CLASSES == "nowhere.to.be.Found,InTreeCacheLocator"


DAMAGE = """
import sys
from pathlib import Path
import numpy as np
import ratel
from emulator.jit import cache
from emulator.jit.objects import FOLDER
from emulator.jit.jobs import compile_all
from emulator.ship import all_jobs
path = "programs/digits/digits.npu"
names = []
compile_all(all_jobs(), names.append)
run = ratel.run(ratel.assemble(open(path).read(), path), on_compile=names.append)
# As whatever opens them would: folders of what only compiled functions call, which these do not ask for.
for folder in filter(Path.is_dir, cache.home().folder.iterdir()):
    if folder.name != FOLDER:
        cache.verify(folder)
print(run.cycles, run.passed, len(names))
"""


@pytest.mark.slow
def test_objects_damaged_one_after_another(tmp_path: Path) -> None:
    """One bit, or 64 bytes, of each file of machine code: what a run loads is compiled anew, and nothing else."""
    environment = os.environ | {"RATEL_CACHE": str(tmp_path)}

    def run() -> tuple[str, str, int]:
        command = [sys.executable, "-c", DAMAGE]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cache.ROOT, env=environment, check=False)
        assert done.returncode == 0, (done.returncode, done.stderr)
        cycles, passed, compiled = done.stdout.split()
        return cycles, passed, int(compiled)

    first = run()
    assert first[2] > 10 and run() == (*first[:2], 0)
    noise, loaded = np.random.default_rng(15), 0
    files = sorted([*tmp_path.glob("*/*/*.nbc"), *tmp_path.glob(f"*/{FOLDER}/*")])
    assert len(files) > 60
    for k, path in enumerate(files):
        content = path.read_bytes()
        place = int(noise.integers(len(content)))
        wrong = noise.bytes(64) if k % 2 else bytes([content[place] ^ 1 << int(noise.integers(8))])
        damaged = content[:place] + wrong + content[place + len(wrong) :]
        path.write_bytes(damaged)
        # What only compiled functions call is removed, and not compiled anew while those are there.
        *results, compiled = run()
        assert tuple(results) == first[:2] and compiled <= 1, path
        is_left = path.exists() and path.read_bytes() == damaged
        # A file that a run asks for is an object, and the ones that it does not ask for stay.
        assert not is_left or (path.parent.name == FOLDER and not compiled), path
        loaded += compiled
        path.write_bytes(content)
        if path.parent.name != FOLDER:
            path.with_name(path.name + cache.SEAL).write_text(hashlib.sha256(content).hexdigest())
    assert loaded > 10


def test_warnings_are_not_in_the_way(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.home().folder.is_dir()
