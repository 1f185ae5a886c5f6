"""The trace is valid Chrome trace events, and says what the timeline says."""

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emulator.explain.chrome_trace
import ratel
from emulator.explain.chrome_trace import trace
from emulator.explain.spans import averages, bandwidths, on_path, pieces, spans, traffic, transfers
from emulator.timing.stream import Stream
from emulator.timing.timeline import Timeline
from isa.errors import Trap

PROGRAMS = Path(__file__).parents[3] / "programs"
CASES = ["digits/digits", "four_cores/four_cores", "cores/pipeline", "stream/stream", "blocks/overlap"]


def timed(name: str, **given: Any) -> Timeline | Stream:
    path = PROGRAMS / f"{name}.npu"
    return ratel.time(ratel.assemble(path.read_text(), path), **given)


def check_format(events: list[dict[str, Any]]) -> None:
    """Hold events against the documented fields of the format."""
    flows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    processes = {event["pid"] for event in events if event["name"] == "process_name"}
    assert len({tid for _, tid in named}) == len(named) and min(processes) > 0
    for event in events:
        assert isinstance(event["name"], str) and event["name"] and event["pid"] in processes
        if event["ph"] == "M":
            value = event["args"]["sort_index" if event["name"].endswith("sort_index") else "name"]
            assert isinstance(value, int if event["name"].endswith("sort_index") else str)
            continue
        assert isinstance(event["ts"], int) and event["ts"] >= 0
        match event["ph"]:
            case "X":
                assert isinstance(event["dur"], int) and event["dur"] >= 0 and isinstance(event["cat"], str)
                slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            case "C":
                assert all(isinstance(value, (int, float)) and value >= 0 for value in event["args"].values())
            case "s" | "f":
                assert event["ph"] == "s" or event["bp"] == "e"
                flows[event["id"]].append(event)
            case other:
                raise AssertionError(f"phase {other!r}")
    assert set(slices) <= named
    for track, of_track in slices.items():
        of_track.sort()
        # One after another: what overlaps without nesting cannot be shown on a track.
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(of_track)), track
    for start, finish in flows.values():
        assert (start["ph"], finish["ph"]) == ("s", "f") and start["ts"] <= finish["ts"]
        assert (start["name"], start["cat"]) == (finish["name"], finish["cat"])
        for end in (start, finish):
            assert any(a <= end["ts"] < b for a, b in slices[end["pid"], end["tid"]]), end


@pytest.mark.parametrize("name", CASES)
def test_trace(name: str) -> None:
    timeline = timed(name)
    text = trace(timeline)
    whole = json.loads(text)
    events = whole["traceEvents"]
    check_format(events)
    assert trace(timed(name)) == text and "1 us shown is 1 cycle" in whole["otherData"]["timestamps"]
    kinds = Counter(event.get("cat") for event in events)
    assert kinds["execution"] == timeline.instructions and kinds["flow"] and kinds["dma"]
    on_the_path = [event for event in events if event.get("cat") == "critical path"]
    assert sum(event["dur"] for event in on_the_path) == timeline.cycles
    one = next(event for event in events if event.get("cat") == "execution")
    assert {"line", "source", "instruction", "limit", "reason"} <= set(one["args"])
    times = timeline.engines["core0.te"]
    (track,) = (e["tid"] for e in events if e["pid"] == 1 and e["name"] == "thread_name" and e["args"]["name"] == "te")
    lengths = Counter[str]()
    for event in events:
        if event["ph"] == "X" and event["tid"] == track:
            lengths[event["cat"]] += event["dur"]
    assert (lengths["execution"], lengths["stall"]) == (times.busy, times.stall)


@pytest.mark.parametrize("name", CASES)
def test_bandwidths_move_every_byte(name: str) -> None:
    timeline = timed(name)
    tasks = timeline.plan.tasks
    found, moved = spans(timeline, tasks), transfers(timeline, tasks)
    amounts = Counter({"PCIe": sum(one.bytes for one in moved)})
    for core, index in zip(found.core.tolist(), found.index.tolist(), strict=True):
        amounts.update(traffic(timeline.plan.cores[core].core.code[index]))
    last = max(int(found.end.max()), *(one.end for one in moved))
    drawn = Counter[str]()
    for band in bandwidths(timeline, found, moved, 300):
        assert len(band.rates) <= 300
        widths = np.minimum(band.width, last - band.width * np.arange(len(band.rates)))
        drawn[band.way] += float((band.rates * widths).sum())
    assert drawn == pytest.approx({way: amount for way, amount in amounts.items() if amount})


def test_averages() -> None:
    start, end, amount = np.array([0, 3, 5]), np.array([2, 9, 5]), np.array([4, 12, 7])
    assert averages(start, end, amount, 9, 1).tolist() == [2, 2, 0, 2, 2, 2, 2, 2, 2]
    assert averages(start, end, amount, 9, 4).tolist() == [1.5, 2, 2]


@pytest.mark.parametrize("name", CASES)
def test_pieces_of_the_critical_path_are_executions(name: str) -> None:
    timeline = timed(name)
    path = list(pieces(timeline))
    assert path[0].end == timeline.cycles and path[-1].start == 0
    assert all(later.start == earlier.end for later, earlier in itertools.pairwise(path))
    found = spans(timeline, timeline.plan.tasks)
    marked = on_path(found, path)
    own = {
        (p.task, p.core, p.index, p.start) for p in path if p.reason in ("engine busy", "dependence", "wait", "last")
    }
    keys = zip(
        found.task[marked].tolist(),
        found.core[marked].tolist(),
        found.index[marked].tolist(),
        found.start[marked].tolist(),
    )
    assert own <= set(keys)


def test_what_is_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator.explain.chrome_trace, "MOST_TRACED", 5)
    with pytest.raises(Trap, match=r"a trace of .* instructions is too long: at most 5"):
        trace(timed("digits/digits"))
