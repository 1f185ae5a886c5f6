"""MLPerf's scenarios (Reddi et al., ISCA 2020, section III): what each asks of the queues, and what it reports.

    offline        all samples are there at the beginning          samples a second
    singlestream   a query of one sample comes as the last is done  a percentile of the latency
    multistream    so many samples come in every interval           the most that are done within it
    server         queries of one sample come at random (Poisson)   the most a second within the bounds on latency

Each is of the cards that share a queue; all of a kind do as many times more as they have queues.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from explore.fleet.file import MULTI, OFFLINE, SERVER, SINGLE, Cards, Work
from explore.fleet.measures import Latencies
from explore.fleet.queues import Arrival, Service, arriving, in_turn
from explore.fleet.rates import Rates
from isa.errors import InputError

# Queries of a simulation by default, and rounds of full batches at least, so that beginning and end count for little.
QUERIES, ROUNDS = 20_000, 200
# Batches of a multistream's query that are simulated at most.
MOST_BATCHES = 100_000
# Up to FULL a run of that many settles, which takes some 1 / (1 - load)^2 queries; a search goes by LOAD_STEPS of it.
FULL, LOAD_STEPS = 0.98, 64
UNITS = {OFFLINE: "samples/s", SINGLE: "s", MULTI: "samples", SERVER: "queries/s"}


@dataclass(frozen=True, eq=False)
class Station:
    """Cards of a kind with what they do of each work, and where draws begin; `queries` are those of a simulation."""

    cards: Cards
    work: Sequence[Work]
    rates: Sequence[Rates]
    seed: tuple[int, ...]
    queries: int = QUERIES

    @property
    def capacity(self) -> float:
        """Queries a second that a card does at most, of all work by its shares."""
        return 1 / sum(work.share * one.seconds for work, one in zip(self.work, self.rates, strict=True))

    @property
    def queues(self) -> float:
        """How many queues the kind has; the last may be before fewer cards."""
        return self.cards.count / self.cards.per_queue

    def service(self, cards: int | None = None) -> Service:
        """Return what stands behind a queue."""

        def serve(work: int, samples: int) -> tuple[float, float]:
            batch = self.rates[work].fitting(samples)
            return batch.hold, batch.latency

        return Service(
            self.cards.per_queue if cards is None else cards,
            serve,
            # Of what is not compiled for so many, as many as there is a batch of.
            [one.batches[-1].samples for one in self.rates],
            [one.window for one in self.work],
        )

    def drawn(self, *place: int) -> np.random.Generator:
        """Return what draws; the same for the same place."""
        return np.random.default_rng((*self.seed, *place))

    def works(self, draw: np.random.Generator, queries: int) -> list[int]:
        """Return the numbers of the work of queries, drawn by shares."""
        if len(self.work) == 1:
            return [0] * queries
        return draw.choice(len(self.work), queries, p=[one.share for one in self.work]).tolist()

    @property
    def least(self) -> int:
        """Queries of a simulation: at least some rounds of full batches."""
        full = max(one.batches[-1].samples for one in self.rates)
        return max(self.queries, ROUNDS * full * self.cards.per_queue)


@dataclass(frozen=True)
class Loaded:
    """A load, as a part of the capacity: latencies of all queries, and of each work's."""

    load: float
    all: Latencies
    each: tuple[Latencies, ...]

    def within(self, work: Sequence[Work], percentile: float) -> bool:
        """Return whether each work's percentile is within its bound; so it is where there is none."""
        return all(
            one.bound is None or not len(times.values) or times.percentile(percentile) <= one.bound
            for one, times in zip(work, self.each, strict=True)
        )


def server(station: Station, load: float) -> Loaded:
    """Return the latencies of queries that come at random, at this part of the capacity.

    They come in the same order whatever the load, closer together: more of it is never sooner.
    """
    draw, queries = station.drawn(1), station.least
    rate = load * station.capacity * station.cards.per_queue
    works = station.works(draw, queries)
    gaps = (draw.exponential(1.0, queries) / rate).tolist()
    times = arriving(station.service(), map(Arrival, gaps, works))
    late = Latencies.warmed(times)
    kept = np.asarray(works[len(times) - len(late.values) :])
    return Loaded(load, late, tuple(Latencies(late.values[kept == k]) for k in range(len(station.work))))


def greatest_load(station: Station, percentile: float, advance: Callable[[], None]) -> float | None:
    """Return the greatest load within the bounds, to FULL / LOAD_STEPS; None where none is, and FULL where all are."""

    def within(load: float) -> bool:
        advance()
        return server(station, load).within(station.work, percentile)

    if within(FULL):
        return FULL
    low, high = 0, LOAD_STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(FULL * middle / LOAD_STEPS) else (low, middle)
    return FULL * low / LOAD_STEPS if low else None


def offline(station: Station) -> float:
    """Return the samples a second of a kind, of all work by its shares."""
    samples = list(parts(station.work, station.least))
    times = arriving(station.service(), [Arrival(0.0, k, one) for k, one in enumerate(samples) if one])
    return station.queues * sum(samples) / max(times)


def singlestream(station: Station) -> Latencies:
    """Return the latencies of queries of one sample, one after another, on one card."""
    return Latencies(np.asarray(in_turn(station.service(1), station.works(station.drawn(0), station.least))))


def multistream(station: Station, interval: float) -> float:
    """Return how many samples, in each interval of so many seconds, a kind does within it; 0 where it is not one.

    Where a query is done within the interval the next finds the queue as it did, so one query tells of all. Raises
    InputError where it would be of more batches than are simulated.
    """
    service, best = station.service(), max(one.best.samples for one in station.rates)
    # More than the capacity would do cannot be done.
    low, high = 0, int(station.capacity * station.cards.per_queue * interval) + 1
    if high > MOST_BATCHES * best:
        message = f"{station.cards.name}: {high // best:,} batches in an interval of multistream are not simulated"
        raise InputError(message, f"at most {MOST_BATCHES:,}: give a shorter scenarios.interval_ms")
    while high - low > 1:
        middle = (low + high) // 2
        query = [Arrival(0.0, k, samples) for k, samples in enumerate(parts(station.work, middle)) if samples]
        low, high = (middle, high) if max(arriving(service, query)) <= interval else (low, middle)
    return low * station.queues


def parts(work: Sequence[Work], samples: int) -> Iterator[int]:
    """Yield the samples of each work, by its share: so many in all."""
    share, before = 0.0, 0
    for one in work:
        share += one.share
        until = round(samples * share)
        yield until - before
        before = until
