"""What all tests share: no deadlines, for a slow or busy machine is no failure; and `pytest --bless`.

`--bless` writes the assembler's diagnostics into the programs that expect them: read the difference.
"""

import os

import pytest
from hypothesis import settings

settings.register_profile("ratel", deadline=None)
settings.load_profile("ratel")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected diagnostics of the assembler")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--bless") and os.environ.get("CI"):
        raise pytest.UsageError("--bless is for people: CI compares")
