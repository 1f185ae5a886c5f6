"""The walk back along the critical path: from the end of a run, to what each start was due to. Hot, compiled.

A trail stands at a moment of a record: fetched, issued, arrived or started. That moment is due to a moment of another
record, or to the sequencer; the cycles between the two are a step of the path, and the trail goes on from there. A
record that is not in the window ends a piece of the walk, which goes on with those before.
"""

from emulator.jit.arrays import Matrix, Row, Tables
from emulator.jit.compile import hot, inner
from emulator.timing.columns import (
    COINCIDES,
    FIRST_LINK,
    NONE,
    Moment,
    PathStep,
    PathSum,
    Reason,
    Record,
    Trail,
    Window,
)


@hot
def walk_back(
    records: Matrix, window: Matrix, first_block: int, issue_cycles: int, trail: Row, path: Tables, steps: Matrix
) -> None:
    """Go back along the critical path as far as records tell; add it to `path`.

    path is [cores, n, PATH_REASONS, PathSum]; steps [room, PathStep] takes each step as well, where it has room.
    """
    trail[Trail.STEPS] = 0
    while trail[Trail.MOMENT] != NONE:
        at, since, core, index = trail[Trail.IN_RECORD], 0, NONE, NONE
        if at != NONE:
            of = window.shape[0] - 1
            while window[of, Window.FROM] > at:
                of -= 1
            if not window[of, Window.LOWEST] <= at < window[of, Window.BEYOND]:
                return
            record = records[window[of, Window.ROW_OF] + at - window[of, Window.LOWEST]]
            since = record[Record.START] if trail[Trail.MOMENT] == Moment.STARTED else record[Record.ISSUED]
            if trail[Trail.MOMENT] == Moment.HAS_ARRIVED:
                since = record[Record.ARRIVED]
            elif trail[Trail.MOMENT] == Moment.IS_FETCHED:
                since = record[Record.FETCHED]
            if since == NONE:
                return
            core, index = record[Record.CORE], record[Record.INDEX]
        if trail[Trail.OWED_REASON] != COINCIDES:
            if trail[Trail.OWED_CORE] != NONE:
                core, index = trail[Trail.OWED_CORE], trail[Trail.OWED_INDEX]
            reason, cycles = trail[Trail.OWED_REASON], trail[Trail.NOW] - since
            path[core, index, reason, PathSum.COUNT] += 1
            path[core, index, reason, PathSum.CYCLES] += cycles
            if steps.shape[0] > 0:
                step = steps[trail[Trail.STEPS]]
                step[PathStep.CORE], step[PathStep.INDEX] = core, index
                step[PathStep.REASON], step[PathStep.CYCLES] = reason, cycles
                trail[Trail.STEPS] += 1
        trail[Trail.NOW] = since
        trail[Trail.OWED_CORE] = NONE
        if at == NONE:
            trail[Trail.MOMENT] = NONE
        else:
            step_back(record, at == window[of, Window.FROM], first_block, issue_cycles, trail)


@inner
def step_back(record: Row, is_first: bool, first_block: int, issue_cycles: int, trail: Row) -> None:
    """Turn a trail from a moment of a record to what that moment is due to."""
    moment, start, arrived = trail[Trail.MOMENT], record[Record.START], record[Record.ARRIVED]
    if moment == Moment.IS_FETCHED:
        trail[Trail.OWED_CORE], trail[Trail.OWED_INDEX] = record[Record.CORE], record[Record.INDEX]
        trail[Trail.OWED_REASON], trail[Trail.IN_RECORD] = Reason.FETCH, record[Record.FETCHED_AFTER]
        if record[Record.FETCHED_AFTER] == NONE:
            trail[Trail.IN_RECORD], trail[Trail.MOMENT] = record[Record.ROOM_BY], Moment.IS_ISSUED
    elif moment == Moment.STARTED and start > max(arrived, record[Record.TOKEN_UNTIL]):
        kind = min(record[Record.HELD], FIRST_LINK) + (record[Record.HELD] >= first_block)
        trail[Trail.IN_RECORD], trail[Trail.OWED_REASON] = record[Record.GRANTED_BY], Reason.RESOURCE + kind
    elif moment == Moment.STARTED and start > arrived:
        trail[Trail.IN_RECORD], trail[Trail.OWED_REASON] = record[Record.TOKEN_BY], Reason.TOKEN
        trail[Trail.MOMENT] = Moment.HAS_ARRIVED
    elif moment != Moment.IS_ISSUED and record[Record.WHY] < Reason.ISSUE:
        trail[Trail.IN_RECORD], trail[Trail.OWED_REASON] = record[Record.CAUSE], record[Record.WHY]
        trail[Trail.MOMENT] = Moment.STARTED
    elif record[Record.FREED_BY] != NONE:
        # The queue was full: issued in the cycle in which that instruction started.
        trail[Trail.IN_RECORD], trail[Trail.OWED_REASON] = record[Record.FREED_BY], COINCIDES
        trail[Trail.MOMENT] = Moment.STARTED
    else:
        trail[Trail.OWED_CORE], trail[Trail.OWED_INDEX] = record[Record.CORE], record[Record.INDEX]
        trail[Trail.OWED_REASON], trail[Trail.MOMENT] = Reason.ISSUE, Moment.IS_ISSUED
        if record[Record.FETCHED] != NONE and record[Record.FETCHED] + issue_cycles == record[Record.ISSUED]:
            trail[Trail.MOMENT] = Moment.IS_FETCHED
        else:
            trail[Trail.IN_RECORD] = NONE if is_first else trail[Trail.IN_RECORD] - 1
