"""Files that a text names: found beside it, kept inside the main source's folder, read without trust.

isa/files.py opens them, and says what may be read; here it becomes a diagnostic.
"""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from isa.diagnostic import Diagnostic
from isa.files import MAX_TEXT_BYTES, Refused, hash_of, open_inside, read_at_most, read_whole, reason
from isa.suggest import did_you_mean

# Files that come with the package: compositions of instructions, as macros.
LIBRARY = Path(__file__).parent / "library"


class FileProblem(Exception):
    """Raised with what is wrong with a file, for whoever knows where the text names it."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(code, None, message, help)


@dataclass(frozen=True)
class Folder:
    """The folder of the main source: nothing outside it is read.

    `held` are tensors in memory, by the name of the .npy file that each stands for; they come before the files.
    `hashes` are those of the texts that were read, by their names.
    """

    path: Path
    held: Mapping[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def locate(self, origin: str, name: str) -> str:
        """Return `name`, as written in the file `origin`, relative to the folder."""
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(origin), name))
        if posixpath.isabs(name) or inside == ".." or inside.startswith("../"):
            help = "names are relative to the file they stand in; keep the file beside the program, or below"
            raise FileProblem("E501", f'"{name}" lies outside the folder of the program', help)
        return inside

    def file(self, inside: str, name: str) -> Path:
        """Return the path of a plain file, in which no part is a link."""
        file, path = self._open(inside, name)
        file.close()
        return path

    def _open(self, inside: str, name: str) -> tuple[BinaryIO, Path]:
        try:
            file, path = open_inside(self.path, inside)
        except Refused as refusal:
            raise FileProblem("E501", f'"{name}" {refusal.said}', refusal.help) from None
        except FileNotFoundError:
            raise FileProblem("E501", f'"{name}" does not exist', self._similar(inside)) from None
        except (OSError, ValueError) as error:
            raise FileProblem("E501", f'"{name}" cannot be read: {reason(error)}') from None
        return file, Path(path)

    def _similar(self, inside: str) -> str:
        try:
            suffix = posixpath.splitext(inside)[1]
            near = sorted(path.name for path in (self.path / inside).parent.iterdir() if path.suffix == suffix)
        except (OSError, ValueError):
            return ""
        return did_you_mean(posixpath.basename(inside), near, "names are relative to the file they stand in")

    def text(self, inside: str, name: str) -> str:
        """Return the text of a file."""
        file, _ = self._open(inside, name)
        try:
            with file:
                data = read_at_most(file, MAX_TEXT_BYTES)
            self.hashes[inside] = hash_of(data)
            return data.decode("utf-8")
        except Refused as refusal:
            raise FileProblem("E703", f'"{name}" {refusal.said}') from None
        except OSError as error:
            raise FileProblem("E501", f'"{name}" cannot be read: {error.strerror}') from None
        except UnicodeDecodeError as error:
            help = "save it as UTF-8"
            raise FileProblem("E703", f'"{name}" is no text: byte {error.start} is not UTF-8', help) from None

    def shipped(self, name: str) -> str:
        """Return the text of a file that comes with the package, by its name in `< >`."""
        known = {f"<{path.name}>": path for path in sorted(LIBRARY.glob("*.npu"))}
        if name not in known:
            raise FileProblem("E501", f"no {name} comes with ratel", f"what comes is {', '.join(known)}")
        data = read_whole(known[name])
        self.hashes[name] = hash_of(data)
        return data.decode("utf-8")

    def header(self, inside: str, name: str) -> Any:
        """Return what has the dtype, shape and nbytes of a tensor, which is not read."""
        from isa.npy import MAX_HEADER_BYTES, header_of

        return self._tensor(inside, name, lambda stream: header_of(stream.read(MAX_HEADER_BYTES)))

    def array(self, inside: str, name: str, look: Callable[[Any], None] = lambda header: None) -> Any:
        """Return the tensor of a .npy file, or the one that is held by its name.

        `look` is called with what `header` returns before a file is read, and raises where it shall not be.
        """
        from isa.npy import read_npy

        return self._tensor(inside, name, lambda stream: read_npy(stream, look))

    def _tensor(self, inside: str, name: str, read: Callable[[BinaryIO], Any]) -> Any:
        from isa.npy import NoTensor

        if inside in self.held:
            return self.held[inside]
        stream, _ = self._open(inside, name)
        try:
            with stream:
                return read(stream)
        except NoTensor as error:
            raise FileProblem("E502", f'"{name}" {error}', "write it with numpy.save(file, array)") from None
        except OSError as error:
            raise FileProblem("E501", f'"{name}" cannot be read: {error.strerror or error}') from None
