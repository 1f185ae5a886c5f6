"""The whole: a fleet planned, kind by kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from explore.extras import package
from explore.fleet.file import MULTI, OFFLINE, SERVER, SINGLE, Cards, Fleet, Scenario, load_fleet
from explore.fleet.picture import Curve, picture
from explore.fleet.rates import BOUNDS, NOTHING, Programs, Rates, rates
from explore.fleet.scenarios import (
    QUERIES,
    UNITS,
    Loaded,
    Station,
    greatest_load,
    multistream,
    offline,
    server,
    singlestream,
)

# The loads that latencies are shown at, as parts of the capacity.
LOADS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Reported:
    """What a scenario reports of a kind: `value` in UNITS of it, None where no load is within the bounds."""

    scenario: Scenario
    value: float | None

    @property
    def unit(self) -> str:
        """The unit of the value."""
        return UNITS[self.scenario.name]

    @property
    def error(self) -> float | None:
        """How far the value is from what was published; None where nothing was."""
        published = self.scenario.published
        return None if self.value is None or published is None else self.value / published - 1


@dataclass(frozen=True, eq=False)
class Kind:
    """Cards of a kind, planned: `station` is None where they cannot be, and `why` says why.

    `loads` has latencies over load; it `saturates` at so many samples a second, simulated, and `most` is the greatest
    load within the bounds, as a part of the capacity, None where there is none.
    """

    cards: Cards
    rates: tuple[Rates, ...]
    station: Station | None = None
    why: str = ""
    reported: tuple[Reported, ...] = ()
    loads: tuple[Loaded, ...] = ()
    saturates: float | None = None
    most: float | None = None

    @property
    def known(self) -> str:
        """What its numbers are from: cycles; bounds, where one work's are; nothing."""
        found = {one.known for one in self.rates}
        return next(one for one in (NOTHING, BOUNDS, *found) if one in found)

    @property
    def capacity(self) -> float | None:
        """Queries a second of all cards, at full load."""
        return None if self.station is None else self.station.capacity * self.cards.count

    @property
    def watts(self) -> float | None:
        """Power of all cards."""
        return None if self.cards.watts is None else self.cards.watts * self.cards.count

    def needed(self, rate: float | None) -> int | None:
        """Return how many of these cards alone do so many queries a second within the bounds."""
        if self.station is None or self.most is None or rate is None:
            return None
        return ceil(rate / (self.station.capacity * self.most) - 1e-9)


@dataclass(frozen=True, eq=False)
class Planned:
    """A fleet, planned; `kinds` are in the order of its file."""

    fleet: Fleet
    kinds: tuple[Kind, ...]
    seed: int
    queries: int

    @property
    def rate(self) -> float | None:
        """Queries a second that come to the whole fleet; None where the file does not say."""
        return next((one.rate for one in self.fleet.scenarios if one.name == SERVER), None)

    @property
    def capacity(self) -> float:
        """Queries a second of all cards of which it is known, at full load."""
        return sum(kind.capacity or 0.0 for kind in self.kinds)

    @property
    def utilisation(self) -> float | None:
        """The part of the capacity that is asked for: the same of each kind, for each gets its part by its capacity."""
        return None if self.rate is None or not self.capacity else self.rate / self.capacity

    def picture(self) -> str:
        """Return load against latency, by kind, as SVG; raise InputError where no kind has any."""
        bounds = {work.name: work.bound for work in self.fleet.work if work.bound is not None}
        curves = [Curve(kind.cards.name, kind.cards.count, kind.known, kind.loads) for kind in self.kinds if kind.loads]
        return picture(self.fleet.name, bounds, curves)

    def summary(self) -> dict[str, Any]:
        """Return what `fleet --json` prints, ready for json: None for what is not known; seconds, watts, a second."""
        return {
            "fleet": self.fleet.name,
            "seed": self.seed,
            "queries": self.queries,
            "queries_per_second": self.rate,
            "capacity": self.capacity,
            "utilisation": self.utilisation,
            "kinds": [self._kind(kind) for kind in self.kinds],
        }

    def _kind(self, kind: Kind) -> dict[str, Any]:
        cards = kind.cards
        return {
            "name": cards.name,
            "chip": None if cards.chip is None else cards.chip.name,
            "count": cards.count,
            "from": kind.known,
            "why": kind.why,
            "capacity": kind.capacity,
            "utilisation": None if kind.station is None else self.utilisation,
            "saturates": kind.saturates,
            "watts": kind.watts,
            "needed": kind.needed(self.rate),
            "greatest_load": kind.most,
            "work": {
                work.name: {
                    "from": one.known,
                    "limit": one.limit,
                    "not_public": list(one.left_out),
                    "why": one.why,
                    "batches": [vars(batch) for batch in one.batches],
                }
                for work, one in zip(self.fleet.work, kind.rates, strict=True)
            },
            "scenarios": {
                one.scenario.name: {
                    "value": one.value,
                    "unit": one.unit,
                    "published": one.scenario.published,
                    "error": one.error,
                }
                for one in kind.reported
            },
            "loads": [{"load": one.load, **one.all.summary()} for one in kind.loads],
        }


def fleet(
    which: str | Path,
    *,
    seed: int | None = None,
    queries: int = QUERIES,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Planned:
    """Plan a fleet, of a name that comes with the package or of a TOML file.

    Arrivals are drawn from `seed`, or the file's; a simulation has at least so many `queries`. `on_progress` is called
    with what is done, the steps done and those of all.
    Raises InputError for what in the file is not legal, or where the packages of the extra [explore] are missing, and
    ChipError for its chips.
    """
    found = load_fleet(which)
    package("simpy", "queues are simulated")
    seed = found.seed if seed is None else seed
    programs = Programs(lambda what: on_progress(what, 0, 1) if on_progress else None)
    for work in found.work:
        programs.check(work)
    known = [(cards, tuple(rates(cards, work, programs) for work in found.work)) for cards in found.cards]
    kinds = []
    for k, (cards, each) in enumerate(known):
        why = [f"{work.name}: {one.why}" for work, one in zip(found.work, each, strict=True) if one.why]
        if why:
            kinds.append(Kind(cards, each, why="; ".join(why)))
            continue
        station = Station(cards, found.work, each, (seed, k), queries)
        kinds.append(_planned(station, found.scenarios, on_progress))
    return Planned(found, tuple(kinds), seed, queries)


def _planned(
    station: Station, scenarios: Sequence[Scenario], on_progress: Callable[[str, int, int], None] | None
) -> Kind:
    """Return a kind with what its scenarios report."""
    done, total = 0, len(LOADS) + 8

    def advance() -> None:
        nonlocal done
        done = min(done + 1, total)
        if on_progress:
            on_progress(f"loads of {station.cards.name}", done, total)

    reported, loads, most, saturates = [], [], None, offline(station)
    for one in scenarios:
        value: float | None
        if one.name == OFFLINE:
            value = saturates
        elif one.name == SINGLE:
            value = singlestream(station).percentile(one.percentile)
        elif one.name == MULTI:
            assert one.interval is not None, "the file has one"
            value = multistream(station, one.interval)
        else:
            for load in LOADS:
                advance()
                loads.append(server(station, load))
            bounded = any(work.bound is not None for work in station.work)
            most = greatest_load(station, one.percentile, advance) if bounded else 1.0
            value = None if most is None else most * station.capacity * station.cards.count
        reported.append(Reported(one, value))
    return Kind(station.cards, tuple(station.rates), station, "", tuple(reported), tuple(loads), saturates, most)
