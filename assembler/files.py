"""Files that a text names: found beside it, kept inside the main source's folder, read without trust."""

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_TEXT_BYTES = 16 * 2**20


class FileProblem(Exception):
    """What is wrong with a file: `code` of the catalogue, message, help."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.help = code, message, help


@dataclass(frozen=True)
class Folder:
    """The folder of the main source: nothing outside it is read."""

    path: Path

    def locate(self, origin: str, name: str) -> str:
        """Return `name`, as written in the file `origin`, relative to the folder."""
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(origin), name))
        if posixpath.isabs(name) or inside == ".." or inside.startswith("../"):
            help = "names are relative to the file they stand in; keep the file beside the program, or below"
            raise FileProblem("E501", f'"{name}" lies outside the folder of the program', help)
        return inside

    def _file(self, inside: str, name: str) -> Path:
        path = self.path / inside
        try:
            if path.is_file():
                return path
            problem = "is a folder" if path.is_dir() else "does not exist" if not path.exists() else "is no plain file"
        except (OSError, ValueError) as error:
            problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise FileProblem("E501", f'"{name}" {problem}', self._similar(inside))

    def _similar(self, inside: str) -> str:
        from assembler.diagnostics import did_you_mean

        try:
            near = sorted(path.name for path in (self.path / inside).parent.iterdir())
        except (OSError, ValueError):
            return ""
        return did_you_mean(posixpath.basename(inside), near, "names are relative to the file they stand in")

    def text(self, inside: str, name: str) -> str:
        """Return the text of a file."""
        path = self._file(inside, name)
        try:
            if path.stat().st_size > MAX_TEXT_BYTES:
                raise FileProblem("E703", f'"{name}" is larger than {MAX_TEXT_BYTES >> 20} MiB')
            return path.read_bytes().decode("utf-8")
        except OSError as error:
            raise FileProblem("E501", f'"{name}" cannot be read: {error.strerror}') from None
        except UnicodeDecodeError as error:
            help = "save it as UTF-8"
            raise FileProblem("E703", f'"{name}" is no text: byte {error.start} is not UTF-8', help) from None

    def array(self, inside: str, name: str) -> Any:
        """Return the tensor of a .npy file, not yet read into memory."""
        import numpy as np

        path = self._file(inside, name)
        help = "write it with numpy.save(file, array)"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise FileProblem("E501", f'"{name}" cannot be read: {error.strerror or error}') from None
        except Exception as error:  # A damaged header fails in NumPy in many ways; none of them may get further.
            reason = "it holds Python objects" if "Python objects" in str(error) else str(error).splitlines()[0:1]
            reason = reason if isinstance(reason, str) else "".join(reason) or type(error).__name__
            raise FileProblem("E502", f'"{name}" is no .npy file: {reason}', help) from None
        if not isinstance(array, np.ndarray):
            array.close()
            raise FileProblem("E502", f'"{name}" is an archive of tensors, not one tensor', help)
        return array
