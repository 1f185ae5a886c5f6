"""Outcomes by key in a Parquet file, written whole as they come, and read back."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

from explore.evaluate import Outcome
from explore.extras import package
from explore.goals import COLUMNS
from explore.space import KNOWN, Parameter, Point
from isa.chip_file import COUNT, WORD
from isa.errors import InputError
from isa.files import MAX_OBJECT_BYTES, read_whole, rewrite_whole, write_whole

# Assumed: seconds between two times that the file is written, and how much of the time that may take.
EVERY_SECONDS, SHARE = 1.0, 0.05
KEY, ERROR, TOOK = "key", "error", "took"


class Results:
    """Outcomes by key; with a `path` those that its file has, to which new ones are added.

    `found` has them all. Rows of the file that nobody asks for stay in it.
    """

    def __init__(self, path: str | Path | None, space: Sequence[Parameter]) -> None:
        """Read what the file has, if it is there; raise InputError where it is no file of a sweep."""
        self.path, self.found = path, dict[str, Outcome]()
        self._space, self._points = space, dict[str, Point]()
        self._written, self._took, self._new = monotonic(), 0.0, 0
        # What the file holds.
        self._data: bytes | None = None
        if path is None:
            return
        self._arrow, self._parquet = (package(name, "results are kept") for name in ("pyarrow", "pyarrow.parquet"))
        self._kinds = self._kinds_of_columns()
        self._before = self._read(path) if Path(path).exists() else None

    def add(self, key: str, point: Point, outcome: Outcome) -> None:
        """Add an outcome, and write the file where it was not for a while."""
        self.found[key], self._points[key] = outcome, point
        self._new += 1
        if monotonic() - self._written > max(EVERY_SECONDS, self._took / SHARE):
            self.write()

    def known(self, key: str, point: Point) -> bool:
        """Return whether there is an outcome of a key; if so, it is that of this point, too."""
        if key not in self.found:
            return False
        if key not in self._points:
            self._points[key] = point
            self._new += 1
        return True

    def write(self) -> None:
        """Write all that is new, if there is a file; raise RatelError where it cannot be written, or was by another."""
        if self.path is None or not self._new:
            return
        began = monotonic()
        table = self._table()
        if self._before is not None:
            rest = [key not in self._points for key in self._before.column(KEY).to_pylist()]
            kept = self._before.filter(self._arrow.array(rest, self._arrow.bool_()))
            table = self._arrow.concat_tables([table, kept], promote_options="default")
        into = BytesIO()
        self._parquet.write_table(table, into)
        # Another sweep that writes it meanwhile is not lost without a word.
        data, self._data = self._data, into.getvalue()
        if data is None:
            write_whole(self.path, self._data)
        else:
            rewrite_whole(self.path, data, self._data)
        self._written, self._new = monotonic(), 0
        self._took = self._written - began

    def _kinds_of_columns(self) -> dict[str, Any]:
        """Return the types of all columns that a file may have."""
        whole, number, word = self._arrow.int64(), self._arrow.float64(), self._arrow.string()
        of = {COUNT: whole, WORD: word}
        return {
            **{key: of.get(kind, number) for key, (kind, *_) in KNOWN.items()},
            **{name: whole if goal.is_whole else number for name, goal in COLUMNS.items()},
            **{KEY: word, ERROR: word, TOOK: number},
        }

    def _table(self) -> Any:
        outcomes = [self.found[key] for key in self._points]
        columns: dict[str, list[Any]] = {KEY: list(self._points)}
        columns |= {one.key: [point[one.key] for point in self._points.values()] for one in self._space}
        columns |= {name: [outcome.values.get(name) for outcome in outcomes] for name in COLUMNS}
        columns |= {ERROR: [outcome.error for outcome in outcomes], TOOK: [outcome.took for outcome in outcomes]}
        return self._arrow.table(columns, self._arrow.schema([(name, self._kinds[name]) for name in columns]))

    def _read(self, path: str | Path) -> Any:
        """Return the table of a file; take over its outcomes."""
        data = self._data = read_whole(path, InputError, MAX_OBJECT_BYTES)
        try:
            table = self._parquet.read_table(BytesIO(data))
            for name, kind in zip(table.schema.names, table.schema.types, strict=True):
                if kind != (known := self._kinds.get(name, kind)):
                    raise TypeError(f"its column {name} is of {kind}, and not of {known}")
            rows = [_outcome(row) for row in table.to_pylist()]
        except (self._arrow.ArrowException, KeyError, OSError, TypeError, ValueError) as error:
            why = f"it has no column {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
            raise InputError(f"{path} is no file of results: {why}", "name another file, or delete it") from None
        self.found.update({key: one for key, one in rows if key is not None and one is not None})
        return table


def _outcome(row: Mapping[str, Any]) -> tuple[str, Outcome | None]:
    """Return the key and the outcome of a row; None where it lacks a goal that there was not when it was written."""
    values = {name: row.get(name) for name in COLUMNS}
    if row[ERROR]:
        return row[KEY], Outcome({}, row[ERROR], row[TOOK])
    known = {name: value for name, value in values.items() if value is not None}
    return row[KEY], Outcome(known, "", row[TOOK]) if len(known) == len(values) else None


assert not {KEY, ERROR, TOOK, *COLUMNS} & set(KNOWN)
