"""Checks on outputs, and the first difference."""

import numpy as np
import pytest

from emulator.execute.expectations import evaluate, first_difference
from isa.chip import load_chip
from isa.program import Check, Program


def result(kind: str, bound: float, expected: np.ndarray, actual: np.ndarray):  # type: ignore[no-untyped-def]
    check = Check("out", kind, bound, "file.npy", expected.tobytes())  # type: ignore[arg-type]
    return evaluate(Program("p", load_chip("edge"), "hardware", (), (check,)), {"out": actual})[0]


SCORES = np.array([[1, 2, 0], [5, 5, 1], [0, 0, 9], [7, 8, 9]], np.float32)
LABELS = np.array([1, 0, 2, 0], np.int32)


@pytest.mark.parametrize(("bound", "passed"), [(0.75, True), (0.76, False), (0.0, True)])
def test_top1(bound: float, passed: bool) -> None:
    check = result("top1", bound, LABELS, SCORES)
    assert (check.value, check.passed) == (0.75, passed)
    assert check.message == f"3 of 4 right: 75.00%, at least {bound:.2%} wanted"


def test_top1_of_integers_and_batches() -> None:
    assert result("top1", 0.5, LABELS, SCORES.astype(np.int8).reshape(2, 2, 3)).value == 0.75


def test_a_row_with_nan_is_wrong() -> None:
    scores = SCORES.copy()
    scores[0, 1] = scores[1, 2] = np.nan
    assert result("top1", 0, LABELS, scores).value == 0.25


def test_exact() -> None:
    actual = np.array([[1, 2], [3, 4]], np.int8)
    assert result("exact", 0, actual, actual).message == "equal to file.npy"
    check = result("exact", 0, np.array([[1, 2], [5, 6]], np.int8), actual)
    assert (check.value, check.passed) == (2, False)
    assert check.message == "2 of 4 elements differ, the first at [1, 0]: 3, expected 5"


def test_nan_never_passes() -> None:
    unknown = np.array([1, np.nan], np.float32)
    for kind in ("exact", "within"):
        check = result(kind, 1e9, unknown, unknown)
        assert not check.passed and "[1]: nan, expected nan" in check.message
        assert not result(kind, 1e9, np.ones(2, np.float32), unknown).passed


def test_within() -> None:
    expected, actual = np.array([1, 2, 3], np.float32), np.array([1.25, 2, 2], np.float32)
    check = result("within", 1.0, expected, actual)
    assert (check.value, check.passed) == (1.0, True)
    assert check.message == "|difference| at most 1, 1 allowed; greatest at [2]: 2.0, expected 3.0"
    assert not result("within", 0.5, expected, actual).passed
    assert result("within", 0, expected, expected).message == "|difference| at most 0, 0 allowed"


def test_within_of_integers_does_not_wrap() -> None:
    low, high = np.array([-(2**31)], np.int32), np.array([2**31 - 1], np.int32)
    assert result("within", 0, low, high).value == 2.0**32 - 1


def test_within_of_infinities() -> None:
    endless = np.array([np.inf, 1], np.float32)
    assert result("within", 0, endless, endless).passed
    check = result("within", 1e9, -endless, endless)
    assert (check.value, check.passed) == (None, False)


def test_first_difference() -> None:
    x = np.arange(4, dtype=np.int8)
    assert first_difference(x, x.copy()) is None
    assert first_difference(x, x.reshape(2, 2)) == "has shape [2, 2], expected [4]"
    assert first_difference(x.astype(np.int32), x) == "has type int8, expected int32"
    assert first_difference(x + np.int8(1), x) == "4 of 4 elements differ, the first at [0]: 0, expected 1"
    assert first_difference(np.array([0.1], ">f4"), np.array([0.1], "<f4")) is None
    assert first_difference(np.array([0.1], "f4"), np.array([0.3], "f4")) == (
        "1 of 1 elements differ, the first at [0]: 0.3, expected 0.1"
    )


@pytest.mark.parametrize("piece", [1, 2, 5])
def test_a_piece_at_a_time_gives_the_same(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    for odd in (np.nan, np.inf, 9.0):
        expected, actual = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=(2, 3, 4)).astype(np.float32)
        actual[0, 2, 1] = actual[1, 1, 1] = odd
        whole = result("within", 3.0, expected, actual)
        with monkeypatch.context() as patch:
            patch.setattr("emulator.execute.expectations.PIECE", piece)
            assert result("within", 3.0, expected, actual) == whole
