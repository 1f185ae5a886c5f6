"""The whole: `ratel.sweep` and its Sweep."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from explore.evaluate import Outcome, Work, work_of
from explore.extras import package
from explore.front import Effect, effects, front
from explore.goals import COLUMNS, columns_of
from explore.pools import Pool, pool_for
from explore.results import ERROR, Results
from explore.search import Search
from explore.space import Parameter, Point, grid, sample, space_of
from isa.chip import Chip
from isa.errors import InputError, shown
from isa.files import write_whole
from isa.memory import limited


@dataclass(frozen=True, eq=False)
class Sweep:
    """The points of a sweep, in the order in which they were asked for, each with its outcome.

    `goals` are the columns that were to be least; `computed` says how many outcomes are new: the others were known.
    """

    work: Work
    space: tuple[Parameter, ...]
    goals: tuple[str, ...]
    points: tuple[Point, ...]
    outcomes: tuple[Outcome, ...]
    computed: int

    def __repr__(self) -> str:
        errors = sum(bool(one.error) for one in self.outcomes)
        keys = ", ".join(one.key for one in self.space)
        return f"<Sweep of {self.work.name!r} over {keys}: {len(self.points)} points, {errors} that cannot run>"

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each point: its parameters by key, the columns of goals (None where it cannot run), `error`."""
        return [
            {**point, **{name: found.values.get(name) for name in COLUMNS}, ERROR: found.error}
            for point, found in zip(self.points, self.outcomes, strict=True)
        ]

    @property
    def frame(self) -> Any:
        """The rows as a pandas.DataFrame; raises InputError where pandas is not installed."""
        pandas = package("pandas", "a frame is made")
        columns = [*(one.key for one in self.space), *COLUMNS, ERROR]
        return pandas.DataFrame(self.rows, columns=columns)

    @cached_property
    def _ran(self) -> list[int]:
        return [place for place, found in enumerate(self.outcomes) if not found.error]

    @cached_property
    def front_places(self) -> list[int]:
        """The places in `rows` of the front."""
        values = [[self.outcomes[place].values[goal] for goal in self.goals] for place in self._ran]
        return [self._ran[k] for k in front(values)]

    def front(self) -> list[dict[str, Any]]:
        """Return the rows that no other is as good as in all goals, and better in one; by the first goal, least first.

        Of points that are equal in all goals all are there.
        """
        return [self.rows[place] for place in self.front_places]

    def effects(self, goal: str) -> list[Effect]:
        """Return what each parameter is worth to a goal's column, the largest effect first; of points that ran."""
        (column,) = columns_of(goal)
        found = [self.outcomes[place].values[column] for place in self._ran]
        return effects(self.space, [self.points[place] for place in self._ran], found)

    def summary(self) -> dict[str, Any]:
        """Return what `sweep --json` prints, ready for json: what varies, the goals, the front, effects, all rows."""
        return {
            "program": self.work.name,
            "chip": self.work.chip.name,
            "changed": self.work.chip.changed,
            "vary": {one.key: list(one.values) or [one.low, one.high] for one in self.space},
            "minimise": list(self.goals),
            "computed": self.computed,
            "front": self.front(),
            "effects": {
                goal: {one.key: {"share": one.share, "levels": [vars(level) for level in one.levels]} for one in found}
                for goal, found in ((goal, self.effects(goal)) for goal in self.goals)
            },
            "rows": self.rows,
        }

    def plot(self, path: str | Path | None = None) -> str:
        """Return the sweep as an HTML page that loads nothing, and write it to `path`, if one is given.

        Raises RatelError where it cannot be written.
        """
        from explore.page import page

        rows, place_of = [self.rows[place] for place in self._ran], {place: k for k, place in enumerate(self._ran)}
        names = {row["chip"] for row in rows if "chip" in row}
        text = page(
            self.work.name,
            self.work.chip,
            {name: self.work.chip_of({"chip": name}) for name in names},
            self.space,
            self.goals,
            rows,
            [place_of[place] for place in self.front_places],
            {goal: self.effects(goal) for goal in self.goals},
        )
        if path is not None:
            write_whole(path, text.encode())
        return text

    def chip(self, row: Mapping[str, Any]) -> Chip:
        """Return the chip of a row; raise ChipError where its numbers do not go together."""
        return self.work.chip_of({one.key: row[one.key] for one in self.space})


def sweep(
    program: Any,
    vary: Mapping[str, Any],
    chip: str | Chip | None = None,
    *,
    minimise: Iterable[str] = ("cycles",),
    samples: int | None = None,
    search: int | None = None,
    seed: int = 0,
    results: str | Path | None = None,
    processes: int | None = None,
    scheduler: str | None = None,
    numbers: Mapping[str, Any] | None = None,
    tasks: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    always: Mapping[str, float] | None = None,
    order: str | None = None,
    cores: int | None = None,
    batch: int | None = None,
    round_once: bool | None = None,
    host: bool | None = None,
    memory: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Time a program, or a network that is compiled for each, on many chips.

    `program` is a Program, what `ratel.compile` gives, or a network as that takes it. `vary` has for each key of the
    chip (or "chip", "tasks"; of a network "cores", "batch", "order", "round_once") its values: a list, or a text such
    as "64,128,256", "8M..64M/5" (5 of them), "8..64*2" (each twice the one before) or, for what is drawn or searched,
    "8..64". All points of the grid are computed; or so many `samples` of it, drawn; or those that a `search` of so many
    points by Optuna asks for, of the goals to `minimise`: "cycles", "seconds".

    Points begin with `chip`, by default the program's own, with `numbers` of it changed; what else is said holds where
    it does not vary, as `ratel.compile` and `ratel.time` have it. A point that cannot run has an error, and the others
    go on. `results` is a Parquet file, written as outcomes come; what it has is not computed again. Points are shared
    out over `processes` of this computer, by default one a core once that is worth it, or over the workers of the Dask
    `scheduler` at an address; outcomes are the same. `memory` is how many bytes a point may take of this computer where
    it is computed in this process. `on_progress` is called with the points done and those there are.

    Raises InputError for what cannot be asked for, ChipError for a chip that cannot be read, and InputError where what
    the extra [explore] brings is missing: Optuna to search, pyarrow to keep, Dask to share out.
    """
    said = {"shapes": shapes, "always": always, "order": order, "cores": cores, "batch": batch}
    said |= {"round_once": round_once, "host": host}
    if samples is not None and search is not None:
        raise InputError("samples are drawn, and a search asks for its own", "give one of them")
    for what, given in (("samples", samples), ("search", search), ("processes", processes)):
        if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
            raise InputError(f"{what} is {shown(given)}", "give a whole number, 1 or greater")
    with limited(memory):
        goals = columns_of(minimise)
        named = {key: value for key, value in said.items() if value is not None}
        work = work_of(program, chip, numbers or {}, tasks, named)
        space = space_of(vary, work.program is None)
        asking = None if search is None else Search(space, goals, search, seed)
        points = [] if asking else grid(space) if samples is None else sample(space, samples, seed)
        known = Results(results, space)
        asked, outcomes, computed = list[Point](), list[Outcome](), 0
        try:
            with pool_for(work, processes, scheduler) as pool:
                for some in asking.rounds() if asking else [points]:
                    total = search if search is not None else len(points)
                    report = partial(_report, on_progress, len(asked), total)
                    found, new = _computed(work, pool, some, total - len(asked), known, report)
                    asked += some
                    outcomes += found
                    computed += new
                    if asking:
                        asking.tell(found)
        except KeyboardInterrupt as interrupt:
            done = f"{len(known.found):,} outcomes"
            interrupt.add_note(f"{done} are in {results}: the same again goes on" if results else f"{done} are lost")
            raise
        finally:
            known.write()
        return Sweep(work, space, goals, tuple(asked), tuple(outcomes), computed)


def _computed(
    work: Work, pool: Pool, points: Sequence[Point], left: int, known: Results, report: Callable[[int], None]
) -> tuple[list[Outcome], int]:
    """Return the outcomes of points, and how many of them are new; so many points are `left`, these among them."""
    keys = [work.key(point) for point in points]
    new = {key: point for key, point in zip(keys, points, strict=True) if not known.known(key, point)}
    names, before = list(new), len(points) - len(new)
    for count, (place, found) in enumerate(pool.compute(list(new.values()), left - before), 1):
        known.add(names[place], new[names[place]], found)
        report(before + count)
    return [known.found[key] for key in keys], len(new)


def _report(on_progress: Callable[[int, int], None] | None, before: int, total: int, done: int) -> None:
    if on_progress is not None:
        on_progress(before + done, total)
