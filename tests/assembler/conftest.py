"""`pytest tests/assembler --bless` writes the diagnostics into the programs that expect them; read the difference."""

import os

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite the expected diagnostics of the assembler")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--bless", default=False) and os.environ.get("CI"):
        raise pytest.UsageError("--bless is for people: CI compares")
