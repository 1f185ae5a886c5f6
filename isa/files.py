"""Files: which may be read, and how one is written; the one place that opens them.

What a user names on a command line, or to the API, may be a plain file or a pipe, which is read once. What a *program*
names (its includes, its data, its chip file, the sources of an object) is not trusted: a plain file in the program's
folder or below it, where links lead is found out before that is decided, and no more of it is read than is allowed.

A file is written whole or not at all: to a file of an unguessable name beside it, which takes its place once it is on
the disk, with the mode and the owner of what it replaces. Refused are links, which whoever made the folder may have
laid, files of several names (hard links would part), read-only ones, and what the command has read.
"""

import errno
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from isa.errors import RatelError

# Of a text; of an object file, which holds the weights; of a chip file, whose form takes time in the square of it.
MAX_TEXT_BYTES, MAX_OBJECT_BYTES, MAX_CHIP_BYTES = 16 * 2**20, 2**36, 2**16
MOST_LINKS = 40
# The folders, links in them resolved, whose own links are the system's: to what it has, and what a process has open.
# Not what lies below: /dev/shm is everybody's, and /proc/self/cwd leads anywhere.
SYSTEM = re.compile(r"/dev|/proc/\d+(/task/\d+)?/fd")
# What some systems do not have.
_PLAIN_ONLY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

# The files that have been read, by device and number, while `inputs_are_kept`; None elsewhere.
_inputs: ContextVar[set[tuple[int, int]] | None] = ContextVar("inputs", default=None)


class Refused(OSError):
    """Raised for a file that is there and is not read, or not written; `strerror` says why."""

    def __init__(self, why: str, help: str = "") -> None:
        super().__init__(0, why)
        self.why, self.help = why, help

    @property
    def said(self) -> str:
        """What is said of the file, behind its name."""
        return self.why.removeprefix("it ")


@contextmanager
def inputs_are_kept() -> Iterator[None]:
    """Refuse, as long as this holds, to write to a file that was read in it."""
    before = _inputs.set(set())
    try:
        yield
    finally:
        _inputs.reset(before)


def is_input(path: str | Path) -> bool:
    """Return whether a path leads to a file that was read while `inputs_are_kept`."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return False
    return (found.st_dev, found.st_ino) in (_inputs.get() or ())


def open_given(path: str | Path) -> BinaryIO:
    """Open a file that a user names, or a pipe; raise OSError or ValueError where it cannot be read."""
    return _noted(Path(path).open("rb"))


def open_inside(folder: Path, inside: str) -> tuple[BinaryIO, str]:
    """Open a plain file in a folder or below it; return it with its path, in which no part is a link.

    Raises OSError or ValueError where it cannot be read, Refused for what is no plain file, or lies elsewhere.
    """
    root, path = os.path.realpath(folder), os.path.realpath(folder / inside)
    if os.path.commonpath([root, path]) != root:
        raise Refused(
            "it is a link that leads out of the folder of the program",
            "a program reads plain files beside it, or below; copy the file there",
        )
    _must_be_plain(os.lstat(path))
    file = os.fdopen(os.open(path, os.O_RDONLY | _PLAIN_ONLY | _BINARY), "rb")
    try:
        _must_be_plain(os.fstat(file.fileno()))
    except Refused:
        file.close()
        raise
    return _noted(file), path


def _must_be_plain(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no plain file")


def _noted(file: BinaryIO) -> BinaryIO:
    """Return an open file, and keep in mind that it is read."""
    found, kept = os.fstat(file.fileno()), _inputs.get()
    if kept is not None and stat.S_ISREG(found.st_mode):
        kept.add((found.st_dev, found.st_ino))
    return file


def read_at_most(file: BinaryIO, most: int) -> bytes:
    """Return the bytes of an open file, from where it is; raise Refused where there are more than `most`."""
    size, left = os.fstat(file.fileno()).st_size, most
    # What is known to be too long is not taken into memory. Elsewhere, as in pipes, the size is known at the end.
    if size <= most:
        pieces = []
        while piece := file.read(min(left + 1, max(size, 2**20))):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                break
        else:
            return b"".join(pieces)
    raise Refused(f"it is larger than {f'{most >> 20:,} M' if most >> 20 else f'{most >> 10:,} K'}iB")


def read_on(file: BinaryIO, begin: bytes, length: int) -> bytearray:
    """Return the bytes of an open file, of which `begin` has been read: `length`, and one more where there is one.

    They are held once. Fewer are returned where there are no more; a plain file's own size counts before it is read.
    """
    found = os.fstat(file.fileno())
    length = min(length, found.st_size) if stat.S_ISREG(found.st_mode) else length
    data = bytearray(max(length + 1, len(begin)))
    data[: len(begin)] = begin
    taken = len(begin)
    with memoryview(data) as view:
        while count := file.readinto(view[taken:]):  # type: ignore[attr-defined]
            taken += count
    del data[taken:]
    return data


def read_whole(path: str | Path, error: type[RatelError] = RatelError, most: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a file that a user names; raise `error` where it cannot be read, or has more than `most`."""
    try:
        with open_given(path) as file:
            return read_at_most(file, most)
    except (OSError, ValueError) as cause:
        raise error(f"cannot read {path}: {reason(cause)}", getattr(cause, "help", "")) from cause


def hash_of(data: bytes) -> str:
    """Return the hash by which a text is known again: SHA-256, in hexadecimal digits."""
    from hashlib import sha256

    return sha256(data).hexdigest()


def hash_of_file(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file, from where it is to its end, in hexadecimal digits."""
    from hashlib import sha256

    digest = sha256()
    while piece := file.read(2**20):
        digest.update(piece)
    return digest.hexdigest()


def read_same(folder: Path, inside: str, hashed: str) -> str | None:
    """Return the text of a plain file in a folder or below it, if its bytes have this hash; None otherwise."""
    try:
        with open_inside(folder, inside)[0] as file:
            data = read_at_most(file, MAX_TEXT_BYTES)
        return data.decode("utf-8-sig") if hash_of(data) == hashed else None
    except (OSError, ValueError):
        return None


def is_plain(path: str | Path) -> bool:
    """Return whether a path leads to a plain file, not to a pipe or a device."""
    return os.path.isfile(path)


def write_whole(path: str | Path, data: bytes | Sequence[bytes], error: type[RatelError] = RatelError) -> None:
    """Write a file, of bytes or of pieces of them, whole or not at all; raise `error` where it cannot be.

    A pipe or a device is written into.
    """
    try:
        _write(path, [data] if isinstance(data, bytes) else data)
    except (OSError, ValueError) as cause:
        raise error(f"cannot write {path}: {reason(cause)}", getattr(cause, "help", "")) from cause


def write_new(files: Mapping[Path, bytes]) -> None:
    """Write files of names that nobody chose; raise RatelError, before any is written, where one would be replaced."""
    fresh = []
    for path, data in files.items():
        try:
            found, _ = _found(path), led_to(path)
            if found is None:
                fresh.append(path)
                continue
            _must_be_plain(found)
            if found.st_size != len(data) or path.read_bytes() != data:
                raise Refused("it is there already, and holds something else", "give another folder, or delete it")
        except (OSError, ValueError) as cause:
            raise RatelError(f"cannot write {path}: {reason(cause)}", getattr(cause, "help", "")) from cause
    for path in fresh:
        write_whole(path, files[path])


def rewrite_whole(path: str | Path, before: bytes, data: bytes) -> None:
    """Replace what a file held as it was read; raise RatelError where it cannot be, or holds something else by now."""
    try:
        _write(path, [data], before)
    except (OSError, ValueError) as cause:
        raise RatelError(f"cannot rewrite {path}: {reason(cause)}", getattr(cause, "help", "")) from cause


def _write(path: str | Path, pieces: Sequence[bytes], before: bytes | None = None) -> None:
    found, target = _found(path), led_to(path, before is not None)
    if found is not None and before is None and (stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        _write_into(path, pieces)
        return
    if found is not None:
        _must_be_plain(found)
        _check_may_be_replaced(target, found, before is not None)
    elif before is not None:
        raise Refused("it is gone")
    # Its length is its own: names may be as long as the system allows.
    part = target.with_name(f".ratel-{os.urandom(12).hex()}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _BINARY
        with os.fdopen(os.open(part, flags, 0o666 if found is None else 0o600), "wb") as file:
            if found is not None:
                _take_over(part, found)
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and target.read_bytes() != before:
            raise Refused("it has changed since it was read", "run the command again")
        part.replace(target)
    finally:
        # There is none where it took its place. What ends a command, Ctrl-C among it, comes by here.
        with suppress(OSError, ValueError):
            part.unlink()
    _flush_folder(target.parent)


def _found(path: str | Path) -> os.stat_result | None:
    """Return what a path leads to; None where there is nothing yet."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def led_to(path: str | Path, rewritten: bool = False) -> Path:
    """Return the file that a path is for which is to be written; raise Refused where it is a link.

    Whoever made a folder may have laid links there, to any file of yours. The system's own, as /dev/stdout is, are
    followed, and so are those of a file that is `rewritten`, but for another user's: it was read by the same name.
    """
    target = Path(path)
    for _ in range(MOST_LINKS):
        try:
            found = os.lstat(target)
        except FileNotFoundError:
            return target
        if not stat.S_ISLNK(found.st_mode):
            return target
        if not rewritten and not SYSTEM.fullmatch(os.path.realpath(target.parent)):
            raise Refused("it is a link", f"name the file that is to be written: {os.path.realpath(target)}")
        if hasattr(os, "geteuid") and found.st_uid not in (os.geteuid(), 0):
            raise Refused("it is a link that another user made", "name the file that is to be written")
        target = target.parent / os.readlink(target)
    raise Refused("its links go in circles")


def _check_may_be_replaced(target: Path, found: os.stat_result, rewritten: bool) -> None:
    if not rewritten and is_input(target):
        raise Refused("it is an input of this command", "name another file")
    if not found.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise Refused("it is read-only", f"`chmod u+w {shlex.quote(str(target))}` allows it, or name another file")
    if found.st_nlink > 1:
        raise Refused(
            f"it has {found.st_nlink} names (hard links), which would part",
            "delete this name, or replace it with a copy, and try again",
        )


def _take_over(part: Path, found: os.stat_result) -> None:
    """Give a file the owner and the mode of the one that it will replace."""
    made = os.stat(part)
    if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
        try:
            os.chown(part, found.st_uid, found.st_gid)
        except OSError:
            raise Refused("it belongs to another user or group, which could not be kept", "name another file") from None
    os.chmod(part, stat.S_IMODE(found.st_mode))


def _write_into(path: str | Path, pieces: Sequence[bytes]) -> None:
    """Write to a pipe or a device, which is not replaced; a pipe that nobody reads is refused, not waited for."""
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except OSError as cause:
        raise Refused("nobody reads that pipe") if cause.errno == errno.ENXIO else cause from None
    with os.fdopen(descriptor, "wb") as file:
        if hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
        file.writelines(pieces)


def _flush_folder(folder: Path) -> None:
    """Let the new name last, too, where a folder can be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def reason(cause: Exception) -> str:
    """Return the words of an exception on a file, without its path."""
    return getattr(cause, "strerror", None) or str(cause)


def name_of(path: Path) -> str:
    """Return the name of a file as texts and object files hold it, a line: what is no UTF-8 as escapes."""
    try:
        name = os.fsencode(path.name)
    except UnicodeEncodeError:
        # Half of a character, which no file has in its name, but a path that was made up.
        name = path.name.encode("utf-8", "backslashreplace")
    return name.decode("utf-8", "backslashreplace").replace("\n", "\\n")


def free_name(name: str, taken: set[str], suffix: str = ".npy") -> str:
    """Return a name for a file, made of what something is called, and add it to those `taken`, in small letters.

    It leads nowhere else and is no option, whatever the name holds, and differs by more than the case of letters.
    """
    stem = re.sub(r"[^A-Za-z0-9_-]|^-", "_", name)[:160] or "data"
    choice, number = f"{stem}{suffix}", 1
    while choice.lower() in taken:
        number += 1
        choice = f"{stem}_{number}{suffix}"
    taken.add(choice.lower())
    return choice


def write_generated(arguments: Sequence[str], command: str, text: Callable[[], str]) -> int:
    """Write a generated file as the arguments of `command` say, FILE, or --check FILE: only say whether it is stale.

    Returns the exit status: 0, 1 where it is stale, 2 for other arguments.
    """
    paths = [argument for argument in arguments if argument != "--check"]
    if len(paths) != 1:
        print(f"usage: python -m {command} [--check] FILE", file=sys.stderr)
        return 2
    path = Path(paths[0])
    if "--check" not in arguments:
        write_whole(path, text().encode())
    elif not path.exists() or read_whole(path) != text().encode():
        print(f"{path} is stale: run `python -m {command} {path}`", file=sys.stderr)
        return 1
    return 0
