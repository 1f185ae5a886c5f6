"""Trace: a timeline as Chrome trace events, the JSON that ui.perfetto.dev and chrome://tracing open.

The format: "Trace Event Format", the object form with `traceEvents`; complete events (ph X), counters (C), flows (s,
f), names (M). Its timestamps are microseconds; here a microsecond stands for a cycle, so all are whole and exact.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from emulator.explain.spans import (
    Piece,
    Spans,
    bandwidths,
    on_path,
    pieces,
    place,
    spans,
    transfers,
)
from emulator.timing.columns import NONE, REASONS, Reason
from emulator.timing.result import TRANSFER_IN, Schedule
from isa.errors import Trap
from isa.row import ENGINES

# Executions in a trace, some 600 bytes each, and averages of one bandwidth.
MOST_TRACED, MOST_AVERAGES = 200_000, 2_000
# Tracks of the chip's process; those of a core are its engines.
DMA_IN, DMA_OUT, PATH = 0, 1, 2

Event = dict[str, Any]


def trace(timed: Schedule) -> str:
    """Return the JSON of a run; the same run always gives the same text. Raises Trap where it is too long."""
    if timed.instructions > MOST_TRACED:
        raise Trap(
            f"a trace of {timed.instructions:,} instructions is too long: at most {MOST_TRACED:,}",
            "ask for fewer tasks, or give the longest loop a smaller count: one iteration soon looks like the next",
        )
    chip, program = timed.plan.chip, timed.plan.program
    about = {
        "program": program.name,
        "chip": chip.name,
        "timestamps": "cycles: 1 us shown is 1 cycle",
        "frequency_mhz": chip["chip.frequency_mhz"],
        "cycles": timed.cycles,
    }
    # An event a line: readable, and no larger.
    lines = ",\n".join(json.dumps(event, separators=(",", ":"), allow_nan=False) for event in events(timed))
    return f'{{"otherData":{json.dumps(about)},"displayTimeUnit":"ns","traceEvents":[\n{lines}\n]}}\n'


def events(timed: Schedule) -> Iterator[Event]:
    """Yield all events: names, executions and stalls, DMA, the critical path, flows, counters."""
    tasks = timed.tasks
    found, moved, path = spans(timed, tasks), transfers(timed, tasks), list(pieces(timed))
    chip = len(timed.plan.cores)
    for core in range(chip):
        yield from _names(core, f"core {core}", dict(enumerate(ENGINES)))
    yield from _names(chip, "chip", {DMA_IN: "DMA in", DMA_OUT: "DMA out", PATH: "critical path"})
    yield from _executions(timed, found, path)
    for one in moved:
        track = DMA_IN if one.kind == TRANSFER_IN else DMA_OUT
        args = {"task": one.task, "bytes": one.bytes, "limit": "PCIe", "cycles": one.end - one.start}
        yield _slice(chip, track, one.kind, "dma", one.start, one.end, {**args, "latency": one.finish - one.start})
    for piece in reversed(path):
        args = {"task": piece.task, "reason": piece.reason, "engine": piece.engine, "cycles": piece.end - piece.start}
        name = piece.reason
        if piece.index >= 0:
            part = timed.plan.cores[piece.core]
            name = f"{part.core.code[piece.index].row.mnemonic}: {name}"
            args["line"] = place(timed, piece.core, piece.index)
        yield _slice(chip, PATH, name, "critical path", piece.start, piece.end, args)
    yield from _flows(found, on_path(found, path))
    for band in bandwidths(timed, found, moved, MOST_AVERAGES):
        before = 0.0
        for at, rate in enumerate([*band.rates.round(3).tolist(), 0.0]):
            if rate != before:
                values = {"bytes a cycle": rate}
                yield {
                    "ph": "C",
                    "name": f"{band.way} bandwidth",
                    "pid": (chip if band.core is None else band.core) + 1,
                    "ts": at * band.width,
                    "args": values,
                }
            before = rate


def _on(process: int, track: int) -> Event:
    """Return the ids of a track: no two tracks share a tid, and none is 0, which viewers keep for an idle thread."""
    return {"pid": process + 1, "tid": 10 * (process + 1) + track}


def _names(process: int, name: str, tracks: dict[int, str]) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": process + 1, "args": {"name": f"{name} (1 us = 1 cycle)"}}
    yield {"ph": "M", "name": "process_sort_index", "pid": process + 1, "args": {"sort_index": process}}
    for track, words in tracks.items():
        yield {"ph": "M", "name": "thread_name", **_on(process, track), "args": {"name": words}}
        yield {"ph": "M", "name": "thread_sort_index", **_on(process, track), "args": {"sort_index": track}}


def _slice(process: int, track: int, name: str, kind: str, start: int, end: int, args: Event) -> Event:
    return {
        "ph": "X",
        "name": name,
        "cat": kind,
        **_on(process, track),
        "ts": start,
        "dur": end - start,
        "args": args,
    }


def _executions(timed: Schedule, found: Spans, path: list[Piece]) -> Iterator[Event]:
    """Yield a slice for the occupancy of each execution, and before it one for its stall."""
    described: dict[tuple[int, int], tuple[str, Event]] = {}
    columns = (found.task, found.core, found.index, found.engine, found.ready, found.start, found.end, found.finish)
    rows = zip(*(column.tolist() for column in (*columns, found.reason, on_path(found, path))), strict=True)
    for task, core, index, engine, ready, start, end, finish, reason, critical in rows:
        if (core, index) not in described:
            part = timed.plan.cores[core]
            args = {"line": place(timed, core, index), "source": part.line(index).text.strip()}
            limit = timed.costs[core][index].limit
            described[core, index] = part.core.code[index].row.mnemonic, {**args, "limit": limit}
        mnemonic, fixed = described[core, index]
        if start > ready:
            yield _slice(core, engine, f"stall: {REASONS[reason]}", "stall", ready, start, {"for": mnemonic, **fixed})
        args = {
            **fixed,
            "instruction": mnemonic,
            "task": task,
            "reason": REASONS[reason],
            "cycles": end - start,
            "latency": finish - start,
            "critical": critical,
        }
        yield _slice(core, engine, mnemonic, "execution", start, end, args)


def _flows(found: Spans, critical: np.ndarray) -> Iterator[Event]:
    """Yield arrows to what started when a ticket, a token, a shared resource or, on the critical path, a result let it.

    Each leaves the last cycle of the slice of its cause.
    """
    reasons, causes = found.reason.tolist(), found.cause.tolist()
    number = 0
    for at, (reason, cause) in enumerate(zip(reasons, causes, strict=True)):
        drawn = reason in (Reason.WAIT, Reason.TOKEN, Reason.RESOURCE) or (reason == Reason.DEPENDENCE and critical[at])
        if not drawn or cause in (NONE, at):
            continue
        number += 1
        both = {"name": REASONS[reason], "cat": "flow", "id": number}
        # A barrier's last to arrive starts together with all others.
        leaves = min(max(int(found.end[cause]) - 1, int(found.start[cause])), int(found.start[at]))
        for ph, one, ts in (("s", cause, leaves), ("f", at, int(found.start[at]))):
            end = {"bp": "e"} if ph == "f" else {}
            yield {
                "ph": ph,
                **both,
                **end,
                **_on(int(found.core[one]), int(found.engine[one])),
                "ts": ts,
            }
