"""The queues against what is known of them in closed form, and by hand; seeded draws are the same."""

from collections.abc import Callable
from math import factorial

import numpy as np
import pytest

pytest.importorskip("simpy")

from explore.fleet.measures import Latencies
from explore.fleet.queues import Arrival, Service, arriving, in_turn

QUERIES = 30_000


def poisson(rate: float, cards: int, serve: Callable[[int, int], tuple[float, float]], seed: int) -> Latencies:
    gaps = np.random.default_rng((seed, 1)).exponential(1 / rate, QUERIES).tolist()
    return Latencies.warmed(arriving(Service(cards, serve, [1], [0.0]), (Arrival(gap, 0) for gap in gaps)))


def hold(found: Latencies, mean: float) -> None:
    """Hold a mean against a closed form: within its confidence interval, which is narrow."""
    assert found.half_width < 0.12 * mean
    assert abs(found.mean - mean) <= found.half_width, (found.mean, mean, found.half_width)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_card_is_as_pollaczek_and_khinchine_have_it(load: float) -> None:
    """M/D/1: a service of 1, and a wait of load / (2 (1 - load))."""
    hold(poisson(load, 1, lambda work, samples: (1.0, 1.0), 0), 1 + load / (2 * (1 - load)))


@pytest.mark.parametrize(("cards", "load"), [(1, 0.6), (2, 0.7), (4, 0.8), (16, 0.9)])
def test_many_cards_are_as_erlang_has_it(cards: int, load: float) -> None:
    """M/M/c: of all queries Erlang's C waits, 1 / (c (1 - load)) on average."""
    drawn = iter(np.random.default_rng((0, 2)).exponential(1.0, QUERIES).tolist())

    def serve(work: int, samples: int) -> tuple[float, float]:
        took = next(drawn)
        return took, took

    offered = cards * load
    waiting = offered**cards / factorial(cards) / (1 - load)
    waits = waiting / (sum(offered**k / factorial(k) for k in range(cards)) + waiting)
    hold(poisson(offered, cards, serve, 0), 1 + waits / (cards * (1 - load)))


def test_a_batch_waits_until_it_is_full_or_its_window_is_over() -> None:
    # Two cards; a sample of a batch takes 1 to its results, and holds the card for less.
    service = Service(2, lambda work, samples: (0.75 * samples, 1.0 * samples), [4], [10.0])
    # Of nine samples eight go at once, and the last one waits for its window with one that comes behind it.
    assert arriving(service, [Arrival(0.0, 0, 9), Arrival(4.0, 0)]) == [12.0, 8.0]
    # Three more are enough to go before, when the first card is free: at 4.
    assert arriving(service, [Arrival(0.0, 0, 9), Arrival(4.0, 0, 3)]) == [8.0, 4.0]


def test_batches_are_of_one_work_and_the_oldest_goes_first() -> None:
    service = Service(1, lambda work, samples: (1.0, 1.0), [8, 8], [0.0, 0.0])
    arrivals = [Arrival(0.0, 0), Arrival(0.25, 1), Arrival(0.25, 0), Arrival(0.25, 1)]
    assert arriving(service, arrivals) == [1.0, 1.75, 2.5, 1.25]


def test_what_follows_a_long_batch_is_not_done_before_it() -> None:
    service = Service(1, lambda work, samples: (1.0, 5.0) if samples > 1 else (1.0, 1.0), [4], [0.0])
    assert arriving(service, [Arrival(0.0, 0, 4), Arrival(0.5, 0)]) == [5.0, 4.5]


def test_queries_in_turn_never_wait() -> None:
    took = 0.1 + 0.2
    assert in_turn(Service(1, lambda work, samples: (0.1, took), [1], [0.0]), [0] * 1000) == [took] * 1000


def test_percentiles_are_of_the_latencies_themselves() -> None:
    found = Latencies(np.arange(100, 0, -1.0))
    assert [found.percentile(percent) for percent in (1, 50, 90, 99, 99.99)] == [1, 50, 90, 99, 100]
