"""The fuzzers of tests/longer/fuzz.py, for a few seconds."""

from collections import Counter

import pytest

from tests.longer.fuzz import fuzz


@pytest.mark.parametrize(("what", "count"), [("texts", 600), ("objects", 1000), ("chips", 200)])
def test_fuzzed_input_is_right_or_a_declared_error(what: str, count: int) -> None:
    seen: Counter[str] = Counter()
    assert fuzz(what, 0, count, seed=7, seen=seen) == []
    assert seen.total() == count
    # Both happen, so that neither side goes unseen.
    assert seen["valid"] and len(seen) >= 3
