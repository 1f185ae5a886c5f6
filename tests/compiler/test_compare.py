"""A real network on a chip that holds it, and in tiles on one that does not: the bits, the order, the bytes moved."""

import pytest

from tests.longer.compare import compare, line
from tests.longer.models import model_path


@pytest.mark.slow
@pytest.mark.parametrize(("chip", "order"), [("hanguang800", "hardware"), ("edge", "hardware"), ("edge", "compiler")])
def test_squeezenet(chip: str, order: str) -> None:
    if not model_path("squeezenet", "u8u8").exists():
        pytest.skip("`python -m tests.longer.models --only squeezenet` makes it")
    row = compare("squeezenet", "u8u8", chip, order)
    assert row.is_right, f"{line(row)}\n{row.wrong}\n{row.outputs}\n{row.findings}"
    assert not row.host
    assert row.moved <= 1.3 * row.bound
