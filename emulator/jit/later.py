"""numba, later: where it lies and its version, without loading it, which takes as long as all else of a short run.

`types` and `cgutils` are numba's modules, loaded as something of them is used.
"""

import re
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Later:
    """A module that is loaded when something of it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


types: Any = Later("numba.core.types")
cgutils: Any = Later("numba.core.cgutils")


@cache
def numba_folder() -> Path:
    """Return where numba lies."""
    spec = find_spec("numba")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")
    return Path(spec.origin).parent


@cache
def numba_version() -> str:
    """Return numba's version, as it says itself."""
    if "numba" not in sys.modules:
        try:
            found = re.search(r'"version": "([^"]+)"', (numba_folder() / "_version.py").read_text())
        except OSError:
            found = None
        if found:
            return found[1]
    return str(import_module("numba").__version__)
