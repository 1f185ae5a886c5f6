"""Sweeps: the cycles of `ratel time`, points that cannot run, results that are kept, searches, the page."""

import json
import re
from contextlib import suppress
from itertools import product
from pathlib import Path
from random import Random

import pytest

import ratel
from explore import results
from tests.explore.programs import GRID, digits


@pytest.fixture(scope="module")
def sweep() -> ratel.Sweep:
    return ratel.sweep(digits(), GRID, minimise=["cycles", "seconds"], processes=1)


def test_each_point_has_the_cycles_of_time(sweep: ratel.Sweep) -> None:
    assert len(sweep.rows) == sweep.computed == 5 * 4 * 3 * 2
    chip = digits().chip
    for row in sweep.rows[::7]:
        numbers = {key: row[key] for key in row if "." in key}
        assert sweep.chip(row) == chip.replace(**numbers)
        if row["error"]:
            with pytest.raises(ratel.Trap) as refusal:
                ratel.time(digits(), chip.replace(**numbers))
            assert row["error"] == refusal.value.message and row["cycles"] is None
        else:
            timed = ratel.time(digits(), chip.replace(**numbers))
            assert (row["cycles"], row["seconds"]) == (timed.cycles, timed.seconds)
    assert {row["memory.lm_bytes"] for row in sweep.rows if row["error"]} == {8192}
    best = min(row["cycles"] for row in sweep.rows if not row["error"])
    assert sweep.front()[0]["cycles"] == best and {row["cycles"] for row in sweep.front()} == {best}


def test_numbers_that_do_not_go_together_are_rows() -> None:
    found = ratel.sweep(digits(), {"memory.dev_bytes": "0,1M", "memory.dev_gb_per_second": "0,16"}, processes=1)
    assert [bool(row["error"]) for row in found.rows] == [False, False, True, False]
    assert "bandwidth" in found.rows[2]["error"] or "dev_gb_per_second is 0" in found.rows[2]["error"]


def test_chips_and_tasks_vary() -> None:
    found = ratel.sweep(digits(), {"chip": "edge,hanguang800", "tasks": "1,3"}, processes=1)
    for row, (chip, tasks) in zip(found.rows, product(("edge", "hanguang800"), (1, 3)), strict=True):
        assert row["cycles"] == ratel.time(digits(), chip, tasks=tasks).cycles


def test_results_are_kept_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    some = {"te.latency": "10,20", "te.pixels": "1,4"}
    first = ratel.sweep(digits(), some, results=path, processes=1)
    more = ratel.sweep(digits(), {**some, "te.latency": "10,20,30"}, results=path, processes=1)
    assert (first.computed, more.computed) == (4, 2)
    assert more.rows == ratel.sweep(digits(), {**some, "te.latency": "10,20,30"}, processes=1).rows
    # Another parameter, of which one value is the chip's own: these points are known, too.
    own = ratel.sweep(digits(), {**some, "pe.latency": [digits().chip["pe.latency"], 999]}, results=path, processes=1)
    assert own.computed == 4
    table = parquet.read_table(path)
    assert table.num_rows == 10 and {"key", "te.latency", "pe.latency", "cycles", "seconds", "error"} < set(
        table.column_names
    )
    before = path.read_bytes()
    again = ratel.sweep(digits(), some, results=path, processes=1)
    assert again.computed == 0 and again.rows == first.rows
    assert parquet.read_table(path).num_rows == 10 and len(before) > 0
    # Another version of what cycles follow from is another key.
    assert more.work.key(more.points[0]) != ratel.sweep(digits(), some, tasks=2, processes=1).work.key(more.points[0])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    good, other, text, kind = (tmp_path / f"{name}.parquet" for name in ("good", "other", "text", "kind"))
    ratel.sweep(digits(), {"te.latency": "1"}, results=good, processes=1)
    parquet.write_table(arrow.table({"a": [1]}), other)
    parquet.write_table(arrow.table({"key": ["a"], "error": [""], "took": [0.0], "te.latency": ["x"]}), kind)
    text.write_text("no table")
    for seed in range(200):
        damaged, random = bytearray(good.read_bytes()), Random(seed)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        (tmp_path / "damaged.parquet").write_bytes(damaged)
        with suppress(ratel.InputError):
            ratel.sweep(digits(), {"te.latency": "1"}, results=tmp_path / "damaged.parquet", processes=1)
    for path in (other, text, kind):
        before = path.read_bytes()
        with pytest.raises(ratel.InputError, match="no file of results"):
            ratel.sweep(digits(), {"te.latency": "1"}, results=path, processes=1)
        assert path.read_bytes() == before


def test_what_is_interrupted_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "results.parquet"

    def stop(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interrupt:
        ratel.sweep(digits(), GRID, results=path, processes=1, on_progress=stop)
    assert "30 outcomes are in" in interrupt.value.__notes__[0]
    assert ratel.sweep(digits(), GRID, results=path, processes=1).computed == 90
    monkeypatch.setattr(results, "EVERY_SECONDS", 0.0)
    assert ratel.sweep(digits(), GRID, results=path, processes=1).computed == 0


def test_frame(sweep: ratel.Sweep) -> None:
    pandas = pytest.importorskip("pandas")
    assert isinstance(sweep.frame, pandas.DataFrame)
    assert list(sweep.frame.columns) == [*(one.key for one in sweep.space), "cycles", "seconds", "error"]
    assert sweep.frame.cycles.min() == sweep.front()[0]["cycles"]


def test_a_search_is_the_same_again_and_stays_in_the_grid() -> None:
    pytest.importorskip("optuna")
    for goals in (["cycles"], ["cycles", "seconds"]):
        first, again = (ratel.sweep(digits(), GRID, search=40, minimise=goals, processes=1, seed=3) for _ in range(2))
        assert first.rows == again.rows and len(first.rows) == 40
        assert len({tuple(point.values()) for point in first.points}) == 40
    # Of ranges, and of fewer points than are asked for.
    ranges = ratel.sweep(digits(), {"te.latency": "10..40", "chip.frequency_mhz": "100..900"}, search=12, processes=1)
    assert all(10 <= row["te.latency"] <= 40 and 100 <= row["chip.frequency_mhz"] <= 900 for row in ranges.rows)
    assert len(ratel.sweep(digits(), {"te.latency": "1,2,3"}, search=50, processes=1).rows) == 3


def test_page_loads_nothing_and_has_the_chips(sweep: ratel.Sweep, tmp_path: Path) -> None:
    text = sweep.plot(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == text
    assert not re.findall(r'(?:src|href)="(?!#)|url\(|@import', text)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', text)
    shown = json.loads(data)
    ran = [row for row in sweep.rows if not row["error"]]
    assert [row[-2] for row in shown["rows"]] == [row["cycles"] for row in ran]
    assert {key: value for key, value, _ in shown["chips"][""]} == digits().chip.values
    nothing = ratel.sweep(digits(), {"memory.lm": "8K"}, processes=1)
    assert "nothing to draw" in nothing.plot() and nothing.front() == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"minimise": ["joules"]}, "no goal"),
        ({"minimise": []}, "no goal"),
        ({"samples": 3, "search": 3}, "give one"),
        ({"processes": 0}, "processes is 0"),
        ({"processes": 2, "scheduler": "tcp://a:1"}, "give one"),
        ({"cores": 2}, "of networks"),
        ({"search": 0}, "search is 0"),
    ],
)
def test_what_cannot_be_asked_for(asked: dict[str, object], said: str) -> None:
    with pytest.raises(ratel.InputError, match=said):
        ratel.sweep(digits(), {"te.latency": "1,2"}, **asked)
