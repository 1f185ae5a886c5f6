"""The packages of the extra [explore], imported as they are used."""

from importlib import import_module
from typing import Any

from isa.errors import InputError

EXTRA = "pip install 'ratel-npu[explore]'"


def package(name: str, what: str) -> Any:
    """Return a package; raise InputError, saying what is done with it and what to install, where it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        raise InputError(f"{what} with {root}, which is not installed ({error})", EXTRA) from error
