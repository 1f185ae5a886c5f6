"""Checks: whether outputs are what the program says, or a file given on the command line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from isa.dtypes import I32
from isa.program import Check, Program


@dataclass(frozen=True)
class CheckResult:
    """One check evaluated.

    `value` is what `bound` is held against: the share of right rows (top1, at least `bound`), how many elements
    differ (exact, 0), the greatest |difference| (within, at most `bound`; None where it is NaN or infinite).
    """

    output: str
    kind: str
    value: float | None
    bound: float
    passed: bool
    message: str


# Elements that are compared at a time, in float64.
PIECE = 2**20


def evaluate(program: Program, outputs: Mapping[str, np.ndarray], tasks: int = 1) -> list[CheckResult]:
    """Return the result of each of a program's checks, in order; none where the run had another number of tasks."""
    if tasks != program.tasks:
        return []
    return [_BY_KIND[check.kind](check, outputs[check.output]) for check in program.checks]


def top1(check: Check, actual: np.ndarray) -> CheckResult:
    """Hold the share of rows whose greatest element is the labelled one against the bound; a row with NaN is wrong."""
    labels = np.frombuffer(check.expected, I32.numpy)
    rows = actual.reshape(len(labels), -1)
    right = int(np.count_nonzero((rows.argmax(axis=1) == labels) & ~_unknown(rows).any(axis=1)))
    share = right / len(labels)
    message = f"{right} of {len(labels)} right: {share:.2%}, at least {check.bound:.2%} wanted"
    return CheckResult(check.output, check.kind, share, check.bound, share >= check.bound, message)


def exact(check: Check, actual: np.ndarray) -> CheckResult:
    """Hold an output against the expected values; NaN equals nothing."""
    expected = np.frombuffer(check.expected, actual.dtype).reshape(actual.shape)
    count = int(np.count_nonzero(actual != expected))
    message = first_difference(expected, actual) or f"equal to {check.source}"
    return CheckResult(check.output, check.kind, count, 0.0, count == 0, message)


def within(check: Check, actual: np.ndarray) -> CheckResult:
    """Hold the greatest |actual - expected| against the bound; NaN is beyond every bound."""
    expected = np.frombuffer(check.expected, actual.dtype).reshape(actual.shape)
    place, gap, greatest = 0, 0.0, 0.0
    for first in range(0, actual.size, PIECE):
        of_actual, of_expected = (values.reshape(-1)[first : first + PIECE] for values in (actual, expected))
        with np.errstate(invalid="ignore"):
            apart = np.abs(of_actual.astype(np.float64) - of_expected.astype(np.float64))
        gaps = np.where(of_actual == of_expected, 0.0, apart)
        # The first of the greatest, and NaN before all.
        ranks = np.where(np.isnan(gaps), np.inf, gaps)
        k = int(np.argmax(ranks))
        if ranks[k] > greatest:
            place, gap, greatest = first + k, float(gaps[k]), float(ranks[k])
    at = np.unravel_index(place, actual.shape)
    message = f"|difference| at most {gap:g}, {check.bound:g} allowed"
    if gap:
        message += f"; greatest at {_index(at)}: {_text(actual[at])}, expected {_text(expected[at])}"
    value = gap if np.isfinite(gap) else None
    return CheckResult(check.output, check.kind, value, check.bound, gap <= check.bound, message)


_BY_KIND: dict[str, Callable[[Check, np.ndarray], CheckResult]] = {"top1": top1, "exact": exact, "within": within}


def first_difference(expected: np.ndarray, actual: np.ndarray) -> str | None:
    """Return where an output first differs from what is expected, in words, or None where it does not.

    Shapes and types have to be the same, too; NaN equals nothing.
    """
    if expected.shape != actual.shape:
        return f"has shape {list(actual.shape)}, expected {list(expected.shape)}"
    if expected.dtype.newbyteorder("=") != actual.dtype.newbyteorder("="):
        return f"has type {actual.dtype}, expected {expected.dtype}"
    differs = actual != expected
    count = int(np.count_nonzero(differs))
    if not count:
        return None
    at = np.unravel_index(int(np.argmax(differs)), actual.shape)
    return (
        f"{count} of {actual.size} elements differ, the first at {_index(at)}: "
        f"{_text(actual[at])}, expected {_text(expected[at])}"
    )


def _unknown(values: np.ndarray) -> np.ndarray:
    return np.zeros(values.shape, bool) if values.dtype.kind in "iu" else np.isnan(values)


def _index(at: tuple) -> str:
    return f"[{', '.join(str(int(k)) for k in at)}]"


def _text(value: np.generic) -> str:
    """Return a number with as many digits as tell it from its neighbours."""
    return str(value)
