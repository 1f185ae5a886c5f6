"""What becomes of the ONNX standard's cases, as docs/compiler.md says."""

import pytest

from tests.compiler.cases import PAGE, outcomes, section


@pytest.mark.slow
def test_the_page_has_what_becomes_of_each_case() -> None:
    assert section(outcomes()) in PAGE.read_text("utf-8"), "python -m tests.compiler.cases writes it anew"
