"""Where compiled functions are kept: a folder named after all that they are made of, each file with its checksum.

numba's own cache notices an edit of the function's file, but not of a file that this one imports. So the folder is
named after a hash of all sources that compiled code is made of (`sources`), of the form of products (forms.py), of
Python's optimisation (`-O` takes assertions out of compiled code, too), of numba's and LLVM's versions and of numba's
options. numba itself keeps what is compiled for another processor apart.

It lies in $RATEL_CACHE, else where the system keeps such things for a user. Nothing is written beside the sources.
Folders of other sources that nobody has used for KEPT_DAYS are removed as a new one is made, if they hold the TAG that
all of ours begin with. A folder that cannot be written is copied to a temporary one, which lasts as long as the
process; one that somebody else may write is left alone, since what lies there is run.

The loader trusts what it reads, so a file goes to it only if its checksum is that of the file beside it (SEAL). What
does not hold is removed, and compiled anew. A lock keeps processes from saving at once; where it is not to be had
within WAIT_SECONDS, nothing is kept, and a warning says so.
"""

import atexit
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite

from emulator.jit.forms import chosen_form
from emulator.jit.later import numba_version
from emulator.jit.numba_private import config, is_known
from isa.errors import CacheWarning, InputError

ROOT = Path(__file__).parents[2]
ROOMS = "emulator", "isa"
KEPT_DAYS = 30
SEAL = ".sha256"
# The first file of each folder: what says to us that it is ours, and to backups that they may leave it out.
TAG = "CACHEDIR.TAG"
TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# Functions that ratel has compiled: https://bford.info/cachedir/\n"
)
# Options of numba that change no code, and would tell apart what is the same: by the place, the host or its threads.
NOT_IN_CODE = re.compile("CACHE_.*|CUDA_.*|GDB_BINARY|NUMBA_(DEFAULT_)?NUM_THREADS|THREADING_.*|_.*")
# Saving takes milliseconds, but plain numba compiles while it keeps others waiting.
WAIT_SECONDS, PLAIN_WAIT_SECONDS = 10, 120
# numba has one setting of where its cache lies, for all threads.
_ENABLING = threading.RLock()

# Locks that were not to be had once: this process waits for them no more.
_GIVEN_UP: set[Path] = set()
# An import, at the beginning of a line: what stands deeper is for type checkers. A test holds what these two find
# against syntax trees, which would take as long as a tenth of a short run.
IMPORT = re.compile(rf"\nfrom ((?:{'|'.join(ROOMS)})[\w.]* import (?:\([^)]*\)|[^\n]*))".encode())
DECORATED = re.compile(rb"\n@(?:hot|hot_and_inner|inner|inlined|intrinsic)\b")


class Home(NamedTuple):
    """The folder of this process, and whether it is there for the next."""

    folder: Path
    lasts: bool


def sources(root: Path = ROOT) -> dict[Path, bytes]:
    """Return the hot files, which have compiled functions, and all that they import of the emulator and of isa.

    The constants of these are compiled in, too. Each comes with its content.
    """
    known = {path: path.read_bytes() for path in (root / "emulator").rglob("*.py")}
    wanted = [path for path, content in known.items() if DECORATED.search(content)]
    found: dict[Path, bytes] = {}
    followed: set[bytes] = set()
    while wanted:
        path = wanted.pop()
        if path not in found:
            found[path] = known[path] if path in known else path.read_bytes()
            statements = set(IMPORT.findall(found[path])) - followed
            followed |= statements
            wanted += [file for statement in statements for file in imported(statement, root)]
    return found


def imported(statement: bytes, root: Path = ROOT) -> list[Path]:
    """Return the files of the project that a `from ... import ...` loads."""
    module, *names = re.findall(r"[\w.]+", statement.decode().replace("import", "", 1))
    folder = root.joinpath(*module.split("."))
    files = [folder / f"{name}.py" for name in names] if folder.is_dir() else [folder.with_suffix(".py")]
    return [file for file in files if file.exists()]


def source_hash(root: Path = ROOT) -> str:
    """Return what names the cache."""
    return hash_of({}, root=root)


def hash_of(more: dict[str, str], without: Collection[str] = (), root: Path = ROOT) -> str:
    """Return a hash of all that compiled code is made of, and of `more`, but `without` some options of numba."""
    made_by = {
        "optimised": sys.flags.optimize,
        "products": chosen_form(),
        "numba": numba_version(),
        "llvmlite": llvmlite.__version__,
        "plain": not is_known(),
        **{name: str(getattr(config(), name)) for name in options() if name not in without},
        **more,
    }
    digest = hashlib.sha256(str(made_by).encode())
    for path, content in sorted(sources(root).items()):
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def options() -> list[str]:
    """Return the names of numba's options that may change what is compiled: all but those that are known not to."""
    return [name for name in sorted(vars(config())) if name.isupper() and not NOT_IN_CODE.fullmatch(name)]


def cache_root() -> Path | None:
    """Return where caches lie, without links: $RATEL_CACHE, `~` expanded, else the system's place for them.

    None where there is none: a user without a home, or whose home is said to lie in the current folder, whatever that
    is. Raises InputError for RATEL_CACHE in the home of a user who has none.
    """
    if given := os.environ.get("RATEL_CACHE"):
        try:
            return Path(os.path.realpath(Path(given).expanduser()))
        except RuntimeError:
            raise InputError(f"RATEL_CACHE={given}: there is no such home", "name a folder") from None
    from platformdirs import user_cache_path

    try:
        place = user_cache_path("ratel", appauthor=False)
    except RuntimeError:
        return None
    # Older versions of platformdirs return `~/...` as it is, and take what is said to lie in the current folder.
    return Path(os.path.realpath(place)) if place.is_absolute() else None


@cache
def home() -> Home:
    """Return the folder for compiled functions, made where it is missing; warn where it does not last.

    Raises InputError where not even a temporary one can be made.
    """
    root, key = cache_root(), source_hash()
    is_safe = False
    if root is None:
        reason = "there is no home folder to keep it in"
    else:
        try:
            reason = _made(root / key)
            is_safe = not reason
            if is_safe:
                _begin(root / key)
                return Home(root / key, True)
        except OSError as error:
            reason = error.strerror or str(error)
    _warn(reason, root)
    # Never a fixed name in a shared folder: whoever can write there would choose the code that we run.
    try:
        temporary = Path(tempfile.mkdtemp(prefix="ratel-")).resolve()
    except OSError as error:
        help = "make room in one, or name a folder that can be written to: RATEL_CACHE=FOLDER"
        raise InputError(f"compiled functions have no place, not even a temporary folder: {error}", help) from None
    atexit.register(_remove_own, temporary, os.getpid())
    (temporary / key).mkdir(mode=0o700)
    if root is not None and is_safe:
        with suppress(OSError):
            for path in (root / key).glob("*/*"):
                # Without its mode, which says that it may not be written.
                copy = temporary / path.relative_to(root)
                copy.parent.mkdir(mode=0o700, exist_ok=True)
                shutil.copyfile(path, copy)
    return Home(temporary / key, False)


def _made(folder: Path) -> str:
    """Make a cache's folder where there is none; return who else may put code there, as `not_ours`."""
    if not folder.exists():
        remove_unused(folder.parent)
        if not folder.parent.exists():
            folder.parent.parent.mkdir(parents=True, exist_ok=True)
            # By `parents` it would be as open as the user's files are by default.
            folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    # After it is made: else somebody might make it in between.
    return not_ours(folder)


def usable(folder: Path) -> bool:
    """Make a folder of the cache where there is none, marked as used now; return whether it is safe and can be written.

    For what is kept beside compiled functions, by the same rules.
    """
    try:
        if _made(folder):
            return False
        _begin(folder)
    except OSError:
        return False
    return True


def _begin(folder: Path) -> None:
    """Mark a folder as used now, and an empty one as ours. Raises OSError where it cannot be written."""
    with tempfile.TemporaryFile(dir=folder):
        os.utime(folder)
    if not os.listdir(folder):
        (folder / TAG).write_text(TAG_TEXT)


def _forget() -> None:
    """Forget, in a forked child, that a thread of its parent holds the lock."""
    global _ENABLING
    _ENABLING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _remove_own(folder: Path, process: int) -> None:
    """Remove the temporary folder of a process, as it ends: a fork that ends leaves its parent's."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _warn(reason: str, root: Path | None) -> None:
    names = f"the cache is {root}; $RATEL_CACHE names another" if root else "$RATEL_CACHE names one"
    message = f"what is compiled is not kept, and compiled again the next time: {reason} ({names})"
    warnings.warn(message, CacheWarning, stacklevel=3)


def not_ours(folder: Path) -> str:
    """Return who else may put code into a cache's folder; "" where only its user and root may.

    That is whoever owns or may write the folder, what is in it, or a folder that it lies in. Raises OSError where one
    cannot be looked at.
    """
    if not hasattr(os, "geteuid"):
        return ""
    others = stat.S_IWGRP | stat.S_IWOTH
    checked = [(folder, folder.stat(), others), (folder.parent, folder.parent.stat(), others)]
    # What is in a folder that nobody else may enter is out of reach, whatever its modes.
    if folder.stat().st_mode & 0o077:
        checked += [(path, path.lstat(), others) for path in folder.rglob("*")]
    # Of folders above, those that a group may write are trusted; who may write to all may move what is in them, too.
    checked += [(path, path.stat(), stat.S_IWOTH) for path in folder.parent.resolve().parents]
    for path, status, bits in checked:
        if status.st_uid not in (os.geteuid(), 0):
            return f"{path} belongs to another user (number {status.st_uid}), who could put code there"
        is_sticky = bits == stat.S_IWOTH and status.st_mode & stat.S_ISVTX
        if status.st_mode & bits and not is_sticky and not stat.S_ISLNK(status.st_mode):
            return f"other users may write to {path}: `chmod -R go-w` takes that from them"
    return ""


def remove_unused(root: Path) -> None:
    """Remove our folders in a cache, named after a hash and tagged, that were last used more than KEPT_DAYS ago.

    A folder's time is that of its last use. What cannot be removed stays; links are not followed.
    """
    with suppress(OSError):
        for entry in os.scandir(root):
            named = re.fullmatch("[0-9a-f]{16}", entry.name) and entry.is_dir(follow_symlinks=False)
            unused = named and entry.stat(follow_symlinks=False).st_mtime < time.time() - KEPT_DAYS * 86_400
            if unused and _is_tagged(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_tagged(folder: Path) -> bool:
    tag = folder / TAG
    try:
        return stat.S_ISREG(tag.lstat().st_mode) and tag.read_bytes() == TAG_TEXT.encode()
    except OSError:
        return False


def enable(dispatcher: Any) -> bool:
    """Let a function that numba compiles be kept in the cache, once; what is there beside it and damaged is removed.

    Returns whether it can be kept. Raises InputError where what is damaged cannot be removed.
    """
    with _ENABLING:
        if dispatcher.stats.cache_path is None:
            # numba reads the settings here; the caller's own hold for all other code. Without a locator it would try
            # one place after another, such as a folder beside the sources.
            its = config()
            before = its.CACHE_DIR, its.CACHE_LOCATOR_CLASSES
            its.CACHE_DIR, its.CACHE_LOCATOR_CLASSES = str(home().folder), "UserProvidedCacheLocator"
            try:
                dispatcher.enable_caching()
            except RuntimeError:
                # There is no folder to be made, though there was a moment ago.
                return False
            finally:
                its.CACHE_DIR, its.CACHE_LOCATOR_CLASSES = before
    try:
        # Every time, for where it could not be done nothing may be loaded; and while no other thread is kept waiting.
        verify(_folder(dispatcher))
    except OSError:
        dispatcher._cache.disable()
        return False
    return True


@contextmanager
def saving(dispatcher: Any) -> Iterator[None]:
    """Keep other processes from saving while one saves a function, and put checksums beside its files.

    numba reads the list of a function's specialisations, adds to it and writes it: of two processes that do so at once
    one would name the other's code as its own. So what cannot be locked is not saved: raises OSError.
    """
    with _locked(home().folder):
        folder = _folder(dispatcher)
        before = _times(folder)
        yield
        with suppress(OSError):
            for path, written in _times(folder).items():
                if before.get(path) != written:
                    _seal(path).write_bytes(_checksum(path))


def is_kept(dispatcher: Any) -> bool:
    """Return whether a function has been compiled and kept in the cache, for this processor or another."""
    if not enable(dispatcher):
        return False
    function = dispatcher.py_func
    name = re.sub("[<>]", "", f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}")
    return any(_folder(dispatcher).glob(f"{name}-*.nbi"))


@cache
def verify(folder: Path) -> None:
    """Remove what has not the checksum beside it; what this process adds from now on is right."""
    if _damaged(folder):
        with _locked(folder.parent):
            # Another process may have been about to write one.
            for path in _damaged(folder):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    help = "remove it, or name another cache: RATEL_CACHE=FOLDER"
                    raise InputError(f"{path} is damaged, and cannot be removed: {error.strerror}", help) from None


def _damaged(folder: Path) -> list[Path]:
    return [path for path in _times(folder) if not _holds(path)]


def _holds(path: Path) -> bool:
    try:
        return _seal(path).read_bytes() == _checksum(path)
    except OSError:
        return False


def _times(folder: Path) -> dict[Path, int]:
    """Return when each file that numba reads was written; of all functions of one source, however they are named."""
    found = {}
    for entry in os.scandir(folder):
        # What another process writes has another name at first, and may be gone by now.
        with suppress(FileNotFoundError):
            if not entry.name.endswith(SEAL):
                found[Path(entry.path)] = entry.stat().st_mtime_ns
    return found


def _folder(dispatcher: Any) -> Path:
    return Path(dispatcher.stats.cache_path)


def _seal(path: Path) -> Path:
    return path.with_name(path.name + SEAL)


def _checksum(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def _locked(folder: Path) -> AbstractContextManager[Any]:
    """Return the lock that keeps other processes out, as what gives it back.

    Raises OSError, and warns once, where the system has none or somebody holds it for longer than it takes to save.
    """
    # It takes as long to import as all else that a warm start loads of this file.
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "lock", mode=0o600, is_singleton=True)
    seconds = WAIT_SECONDS if is_known() else PLAIN_WAIT_SECONDS
    try:
        return lock.acquire(timeout=0 if folder in _GIVEN_UP else seconds)
    except (OSError, NotImplementedError) as error:
        if folder not in _GIVEN_UP:
            _GIVEN_UP.add(folder)
            held = f"another process has held it for {seconds} s" if isinstance(error, Timeout) else str(error)
            _warn(f"{folder / 'lock'} is not to be had: {held}", folder.parent)
        raise OSError(f"no lock: {error}") from error


@contextmanager
def on_cold_compile(callback: Callable[[], None]) -> Iterator[None]:
    """Call back once if numba compiles anything inside that it has not found in its cache, before it does."""
    from numba.core import event

    class Colds(event.Listener):
        waits = True

        def on_start(self, event: Any) -> None:
            if self.waits:
                self.waits = False
                callback()

        def on_end(self, event: Any) -> None:
            pass

    listener = Colds()
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
