"""Options of all tests. `pytest --bless` writes what is said of bad programs into them; read the difference."""

import os

import pytest
from hypothesis import settings

from emulator.jit import numba_private

# How long an example takes says something about the machine, and nothing about the example.
settings.register_profile("ratel", deadline=None)
settings.load_profile("ratel")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plain-numba", action="store_true", help="compile as with a numba whose insides are not known")
    parser.addoption("--bless", action="store_true", help="rewrite the expected diagnostics and findings")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--plain-numba", default=False):
        numba_private.KNOWN = ()
    if config.getoption("--bless", default=False) and os.environ.get("CI"):
        raise pytest.UsageError("--bless is for people: CI compares")
