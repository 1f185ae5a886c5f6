"""Latencies: percentiles, and a mean with its confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Means of so many runs of queries behind one another are nearly independent (batch means: Law and Kelton, Simulation
# Modeling and Analysis, section 9.5.3), and Student's t for one less, of 99 % of all cases.
BATCHES, STUDENT = 20, 2.861
# The part of the queries that comes before the queue is as long as it will be.
WARMING = 0.1


@dataclass(frozen=True, eq=False)
class Latencies:
    """How long queries took, in the order in which they came, in seconds."""

    values: NDArray[np.float64]

    @classmethod
    def warmed(cls, values: Sequence[float]) -> "Latencies":
        """Return those of all but the first queries, which found the queue too short."""
        return cls(np.asarray(values[int(len(values) * WARMING) :], np.float64))

    @cached_property
    def _sorted(self) -> NDArray[np.float64]:
        return np.sort(self.values)

    def percentile(self, percent: float) -> float:
        """Return the least of the latencies that so many per cent do not exceed: one of them, not one between two."""
        return float(self._sorted[max(ceil(round(percent / 100 * len(self.values), 9)) - 1, 0)])

    @property
    def mean(self) -> float:
        """The mean latency."""
        return float(self.values.mean())

    @property
    def half_width(self) -> float:
        """Half of the 99 % confidence interval of the mean; infinite where there are too few queries."""
        if len(self.values) < BATCHES:
            return float("inf")
        whole = self.values[: len(self.values) // BATCHES * BATCHES].reshape(BATCHES, -1)
        return STUDENT * float(whole.mean(axis=1).std(ddof=1)) / sqrt(BATCHES)

    def summary(self) -> dict[str, Any]:
        """Return seconds by name, ready for json."""
        found = {f"p{percent}": self.percentile(percent) for percent in (50, 90, 99)}
        half = self.half_width
        return {**found, "mean": self.mean, "half_width": None if half == float("inf") else half}
