"""Spans: from when to when each engine executes what, and the critical path as pieces of time, for pictures and traces.

All cycles count from the first byte of the run's DMA in, of one task and of a stream alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emulator.plan.plan import Plan
from emulator.timing.columns import NONE, Reason, Record, reasons
from emulator.timing.result import TRANSFER_IN, TRANSFER_OUT, Schedule, Step
from emulator.timing.stream import COMPUTE, Stream, link, task_of
from emulator.timing.timeline import Timeline, transfer_bytes
from isa.instruction import Instruction
from isa.row import ENGINES

# The ways that bytes take, each with a bandwidth of its own: the local memory of a core, and what all cores share.
LM, SHARED_WAYS = "LM", ("ring", "dev", "PCIe")


@dataclass(frozen=True, eq=False)
class Spans:
    """Executions of instructions, an element of each array for each: of a task core after core, as issued.

    An execution could have begun at `ready` (issued, its engine free), begins at `start`, occupies its engine until
    `end` and has its result at `finish`; `reason` (a Reason) won its start, `cause` is the element behind that, or
    NONE. `engine` is a number of ENGINES; `core` and `index` say whose instruction, and which.
    """

    task: np.ndarray
    core: np.ndarray
    index: np.ndarray
    engine: np.ndarray
    ready: np.ndarray
    start: np.ndarray
    end: np.ndarray
    finish: np.ndarray
    reason: np.ndarray
    cause: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Transfer:
    """The DMA in or out of a task: it holds the link from `start` to `end`, and all is there at `finish`."""

    task: int
    kind: str
    start: int
    end: int
    finish: int
    bytes: int


@dataclass(frozen=True)
class Piece:
    """A piece of the critical path, from `start` to before `end`; core and index are -1 for a transfer."""

    task: int
    start: int
    end: int
    core: int
    index: int
    engine: str
    reason: str


def compute_starts(timed: Schedule) -> Sequence[int]:
    """Return when COMPUTE of each task starts."""
    return [times.compute for times in timed.times] if isinstance(timed, Stream) else [task_of(timed).transfer_in]


def spans(timed: Schedule, tasks: int) -> Spans:
    """Return the executions of the first `tasks` tasks."""
    parts: list[np.ndarray] = []
    before = 0
    for task, begin in enumerate(compute_starts(timed)[:tasks]):
        timeline = task_of(timed, task)
        records = timeline.records
        core, index, start = records[:, Record.CORE], records[:, Record.INDEX], records[:, Record.START]
        engine, occupancy = _by_instruction(timeline)
        why = reasons(records)
        of_token, granted, own = records[:, Record.TOKEN_BY], records[:, Record.GRANTED_BY], records[:, Record.CAUSE]
        cause = np.where(why == Reason.TOKEN, of_token, np.where(why == Reason.RESOURCE, granted, own))
        columns = (
            np.full_like(core, task),
            core,
            index,
            engine[core, index],
            np.maximum(records[:, Record.ISSUED], records[:, Record.FREE]) + begin,
            start + begin,
            start + occupancy[core, index] + begin,
            records[:, Record.FINISH] + begin,
            why,
            np.where(cause == NONE, NONE, cause + before),
        )
        parts.append(np.stack(columns))
        before += len(records)
    return Spans(*np.concatenate(parts, axis=1))


def _by_instruction(timeline: Timeline) -> tuple[np.ndarray, np.ndarray]:
    """Return engine and occupancy [cores, instructions]; NONE and 0 for the sequencer's own."""
    longest = max(len(part.core.code) for part in timeline.plan.cores)
    engine = np.full((len(timeline.costs), longest), NONE)
    occupancy = np.zeros_like(engine)
    for core, costs in enumerate(timeline.costs):
        code = timeline.plan.cores[core].core.code
        for index, cost in costs.items():
            engine[core, index], occupancy[core, index] = ENGINES.index(code[index].engine), cost.occupancy
    return engine, occupancy


def transfers(timed: Schedule, tasks: int) -> list[Transfer]:
    """Return the DMAs of the first `tasks` tasks that move anything."""
    found = []
    starts = compute_starts(timed)
    for kind, symbols in ((TRANSFER_IN, "input"), (TRANSFER_OUT, "output")):
        way, amount = link(timed.plan, symbols), _moved(timed.plan, symbols)
        for task in range(min(tasks, len(starts)) if way.occupancy else 0):
            if isinstance(timed, Stream):
                times = timed.times[task]
                start = times.transfer_in if kind == TRANSFER_IN else times.transfer_out
            else:
                task_alone = task_of(timed)
                start = 0 if kind == TRANSFER_IN else task_alone.transfer_in + task_alone.compute_cycles
            end = start + way.occupancy
            found.append(Transfer(task, kind, start, end, end + way.latency, amount))
    return found


def _moved(plan: Plan, kind: str) -> int:
    return sum(size for memory, size in transfer_bytes(plan, kind).items() if memory != "host")


def pieces(timed: Schedule, before: int | None = None) -> Iterator[Piece]:
    """Yield the critical path from the end of the run to its beginning; the pieces touch.

    Of a stream, tasks that begin no earlier than `before` are left out, however many they are.
    """
    now = timed.cycles
    if not isinstance(timed, Stream):
        yield from _of_steps(task_of(timed).steps(), 0, now)
        return
    for step in timed.steps():
        if before is not None and now - step.cycles >= before:
            pass
        elif step.kind == COMPUTE:
            inside = (one for one in task_of(timed, step.task).steps() if one.index >= 0)
            yield from _of_steps(inside, step.task, now)
        else:
            yield Piece(step.task, now - step.cycles, now, -1, -1, "dma", step.kind)
        now -= step.cycles


def _of_steps(steps: Iterator[Step], task: int, now: int) -> Iterator[Piece]:
    for step in steps:
        if step.cycles:
            yield Piece(task, now - step.cycles, now, step.core, step.index, step.engine, step.reason)
        now -= step.cycles


def on_path(found: Spans, path: Sequence[Piece]) -> np.ndarray:
    """Return of each execution whether a piece of the critical path is its own occupancy or latency."""
    wanted = {
        (piece.task, piece.core, piece.index, piece.start) for piece in path if piece.engine not in ("seq", "dma")
    }
    keys = zip(*(column.tolist() for column in (found.task, found.core, found.index, found.start)), strict=True)
    return np.fromiter((key in wanted for key in keys), bool, len(found))


def traffic(instruction: Instruction) -> dict[str, int]:
    """Return the bytes that an instruction moves each way; constants are left out, as in its cost."""
    amounts = dict.fromkeys((LM, *SHARED_WAYS), 0)
    for _, operand, size in instruction.traffic():
        if operand.core is not None:
            amounts["ring"] += size
        elif operand.memory != "cb":
            amounts[{"lm": LM, "dev": "dev", "host": "PCIe"}[operand.memory]] += size
    return amounts


@dataclass(frozen=True, eq=False)
class Bandwidth:
    """Bytes a cycle of one way over time, averaged over each `width` cycles; of a core's LM, or of all (core None)."""

    core: int | None
    way: str
    width: int
    rates: np.ndarray


def bandwidths(timed: Schedule, found: Spans, moved: Sequence[Transfer], most: int) -> list[Bandwidth]:
    """Return the bandwidth of each way that is used, in at most `most` averages.

    An execution moves its bytes evenly over its occupancy, a DMA over that of its link.
    """
    last = max([1, *(transfer.end for transfer in moved), *([int(found.end.max())] if len(found) else [])])
    width = -(-last // most)
    made = []
    code = [part.core.code for part in timed.plan.cores]
    longest = max(map(len, code))
    amounts = {way: np.zeros((len(code), longest)) for way in (LM, *SHARED_WAYS)}
    for core, own in enumerate(code):
        for index, instruction in enumerate(own):
            for way, moves in traffic(instruction).items():
                amounts[way][core, index] = moves
    for core in range(len(code)):
        mine = found.core == core
        amount = amounts[LM][core, found.index[mine]]
        made.append(Bandwidth(core, LM, width, averages(found.start[mine], found.end[mine], amount, last, width)))
    for way in SHARED_WAYS:
        start, end, amount = found.start, found.end, amounts[way][found.core, found.index]
        if way == "PCIe":
            by_dma = np.array([(one.start, one.end, one.bytes) for one in moved], np.int64).reshape(-1, 3).T
            start, end, amount = (np.append(*both) for both in zip((start, end, amount), by_dma, strict=True))
        made.append(Bandwidth(None, way, width, averages(start, end, amount, last, width)))
    return [one for one in made if one.rates.any()]


def averages(start: np.ndarray, end: np.ndarray, amount: np.ndarray, last: int, width: int) -> np.ndarray:
    """Return the average rate in each `width` cycles before `last` of amounts spread evenly from start to end."""
    moves = (amount > 0) & (end > start)
    start, end, amount = start[moves], end[moves], amount[moves]
    bins = -(-last // width)
    rate, first, final = amount / (end - start), start // width, (end - 1) // width
    totals, slopes = np.zeros(bins), np.zeros(bins + 1)
    whole = first == final
    np.add.at(totals, first[whole], amount[whole])
    start, end, rate, first, final = (column[~whole] for column in (start, end, rate, first, final))
    np.add.at(totals, first, rate * ((first + 1) * width - start))
    np.add.at(totals, final, rate * (end - final * width))
    np.add.at(slopes, first + 1, rate * width)
    np.add.at(slopes, final, -rate * width)
    spread = np.cumsum(slopes[:-1])
    # What is left of sums that should be nothing.
    spread[spread < 1e-6] = 0
    widths = np.minimum(width, last - width * np.arange(bins))
    return (totals + spread) / widths


def place(timed: Schedule, core: int, index: int) -> str:
    """Return the source line of an instruction as FILE:LINE; "" where it is not known."""
    line = timed.plan.cores[core].line(index)
    return f"{line.file}:{line.number}" if line.number else ""
