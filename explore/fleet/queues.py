"""Queues: queries before the cards that share them, by SimPy.

A query has some samples of one work. A card that is free, the one that has been so for longest, takes the work whose
oldest sample came first, of those of which a batch is full or has waited for its window, and is held for the batch.
Queries are as late as the last of their samples.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from explore.extras import package

# Of work and samples, by number: how long a batch holds the card, and when its results are there; in seconds.
Serve = Callable[[int, int], tuple[float, float]]
# What is left of a window that counts as none, s: sums of times are rounded.
INSTANT = 1e-12


@dataclass(frozen=True)
class Arrival:
    """A query: seconds since the one before it, the number of its work, and samples."""

    gap: float
    work: int
    samples: int = 1


@dataclass(frozen=True)
class Service:
    """What stands behind a queue: cards, how they serve, and of each work the samples of a batch and its window."""

    cards: int
    serve: Serve
    largest: Sequence[int]
    windows: Sequence[float]


@dataclass
class Query:
    """A query in a queue: its number, when it came, its samples that no card has taken; `done` ends whoever waits."""

    number: int
    came: float
    left: int
    done: Any


class Queue:
    """A queue before cards; `latencies` are those of its queries, in the order in which they came, in seconds."""

    def __init__(self, service: Service) -> None:
        simpy = package("simpy", "queues are simulated")
        self.service, self.latencies = service, list[float]()
        self.env = simpy.Environment()
        self.waiting: list[deque[Query]] = [deque() for _ in service.largest]
        self.samples = [0 for _ in service.largest]
        # The card behind the door forms the next batch.
        self.door = simpy.Resource(self.env, 1)
        self.changed, self.emptied = self.env.event(), self.env.event()

    def run(self, source: Callable[["Queue"], Generator[Any, Any, None]]) -> list[float]:
        """Return the latencies of all queries of a source, a process that offers them."""
        coming = self.env.process(source(self))
        for _ in range(self.service.cards):
            self.env.process(self._card())
        self.env.run(coming)
        while any(self.samples):
            self.env.run(self.emptied)
        return self.latencies

    def offer(self, work: int, samples: int) -> Any:
        """Let a query come; return the event that it is done."""
        done = self.env.event()
        self.waiting[work].append(Query(len(self.latencies), self.env.now, samples, done))
        self.samples[work] += samples
        self.latencies.append(0.0)
        if not self.changed.triggered:
            self.changed.succeed()
        return done

    def _card(self) -> Generator[Any, Any, None]:
        env, last = self.env, 0.0
        while True:
            with self.door.request() as turn:
                yield turn
                work = yield from self._ready()
                taken = self._take(work)
            hold, latency = self.service.serve(work, sum(samples for _, samples in taken))
            # What a short batch gives comes behind what the long one before it does.
            late = max(latency, last - env.now)
            last = env.now + late
            for query, _ in taken:
                self.latencies[query.number] = max(self.latencies[query.number], env.now - query.came + late)
            ended = [query.done for query, _ in taken if not query.left]
            env.timeout(late).callbacks.append(lambda _, ended=ended: [done.succeed() for done in ended])
            if not any(self.samples):
                self.emptied.succeed()
                self.emptied = env.event()
            yield env.timeout(hold)

    def _ready(self) -> Generator[Any, Any, int]:
        """Return the work of which a batch is to begin, when there is one."""
        env = self.env
        while True:
            until, found = inf, []
            for work, queries in enumerate(self.waiting):
                if not queries:
                    continue
                left = queries[0].came + self.service.windows[work] - env.now
                if self.samples[work] >= self.service.largest[work] or left <= INSTANT:
                    found.append(work)
                until = min(until, left)
            if found:
                return min(found, key=lambda work: self.waiting[work][0].came)
            self.changed = env.event()
            yield self.changed if until == inf else self.changed | env.timeout(until)

    def _take(self, work: int) -> list[tuple[Query, int]]:
        """Take the samples of a batch: as many as one may have, the oldest first."""
        taken, room = [], self.service.largest[work]
        while room and (queries := self.waiting[work]):
            samples = min(room, queries[0].left)
            queries[0].left -= samples
            taken.append((queries[0], samples))
            room -= samples
            self.samples[work] -= samples
            if not queries[0].left:
                queries.popleft()
        return taken


def arriving(service: Service, arrivals: Iterable[Arrival]) -> list[float]:
    """Return the latencies of queries that come whether or not those before them are done."""

    def source(queue: Queue) -> Generator[Any, Any, None]:
        for one in arrivals:
            if one.gap:
                yield queue.env.timeout(one.gap)
            queue.offer(one.work, one.samples)
        yield queue.env.timeout(0)

    return Queue(service).run(source)


def in_turn(service: Service, queries: Iterable[int]) -> list[float]:
    """Return the latencies of queries, of one sample of these works, of which each comes as the one before is done."""

    def source(queue: Queue) -> Generator[Any, Any, None]:
        for work in queries:
            yield queue.offer(work, 1)

    return Queue(service).run(source)
