"""Annotate: the cycles of one task on the source lines that they come from.

A line has what all its instructions did: those of every core, of every iteration, and of every expansion where it
stands in a macro or a repetition: the line is the one in its body, as in messages. Lines of data have none.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emulator.explain.energy import energy, has_energy, microjoules
from emulator.explain.slack import slack
from emulator.timing.columns import REASONS, Reason, Record, reasons
from emulator.timing.timeline import Timeline


@dataclass(frozen=True)
class LineTime:
    """A source line: what was executed there, in one task.

    `cycles`: occupancy of engines; `path`: cycles of the critical path; `share` and `path_share`: of the run's cycles
    (occupancies overlap, so shares of engines may add up to more than 1). `slack`: the least of its instructions', see
    slack.py; None where it has none, or was not looked for. `stall`: cycles that its instructions waited though issued
    and their engine free; `stalled_by`: what most of them were for, "" for none. `microjoules`: what its
    instructions took, None where the chip's file does not say. On a line of `loop` instead all of
    these are totals of what the loop holds, `is_loop` is true and `executions` counts its iterations.
    """

    file: str
    number: int
    text: str
    is_loop: bool
    executions: int
    cycles: int
    share: float
    path: int
    path_share: float
    slack: int | None
    stall: int
    stalled_by: str
    microjoules: float | None = None


@dataclass
class _Sums:
    executions: int = 0
    cycles: int = 0
    path: int = 0
    slack: int | None = None
    attojoules: int = 0
    counted: set[tuple[int, int]] = field(default_factory=set)


def annotate(timeline: Timeline) -> list[LineTime]:
    """Return the lines that have instructions, by file and number; all files' in the order in which they appear."""
    plan, records = timeline.plan, timeline.records
    slacks = slack(timeline)
    taken = energy(timeline).of_instructions(timeline) if has_energy(plan.chip) else None
    spent = Counter[tuple[int, int]]()
    for step, _ in timeline.path_steps():
        spent[step.core, step.index] += step.cycles
    sums: dict[tuple[str, int], _Sums] = {}
    stalls: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    texts: dict[tuple[str, int], str] = {}
    heads: set[tuple[str, int]] = set()
    for part in plan.cores:
        mine = records[:, Record.CORE] == part.number
        n = len(part.opcodes)
        index = records[mine, Record.INDEX]
        executions = np.bincount(index, minlength=n).tolist()
        least = _least(index, slacks[mine], n) if slacks is not None else [None] * n
        stalled = _stalls(records[mine], n)
        times = part.core.times
        loops = {loop.first: loop for loop in part.core.loops}
        for k, line in enumerate(part.core.lines):
            place = line.file, line.number
            texts.setdefault(place, line.text)
            of = sums.setdefault(place, _Sums())
            inside = range(k, loops[k].last + 1) if k in loops else range(k, k + 1)
            if k in loops:
                heads.add(place)
            of.executions += times[k] if k in loops else executions[k]
            for j in inside:
                # A loop may hold another whose line is the same, by a macro: what they share counts once.
                if (part.number, j) in of.counted:
                    continue
                of.counted.add((part.number, j))
                cost = timeline.costs[part.number].get(j)
                of.cycles += executions[j] * cost.occupancy if cost else 0
                of.path += spent[part.number, j]
                of.attojoules += taken[part.number][j] if taken else 0
                stalls[place].update(stalled[j])
                slack_of = least[j]
                if slack_of is not None:
                    of.slack = slack_of if of.slack is None else min(of.slack, slack_of)
    whole = max(timeline.cycles, 1)
    order = {name: k for k, name in enumerate(dict.fromkeys(file for file, _ in sums))}
    return [
        LineTime(
            file=place[0],
            number=place[1],
            text=texts[place],
            is_loop=place in heads,
            executions=of.executions,
            cycles=of.cycles,
            share=of.cycles / whole,
            path=of.path,
            path_share=of.path / whole,
            slack=of.slack,
            stall=stalls[place].total(),
            stalled_by=max(stalls[place], key=stalls[place].__getitem__, default=""),
            microjoules=microjoules(of.attojoules) if taken else None,
        )
        for place, of in sorted(sums.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    ]


def _least(index: np.ndarray, slacks: np.ndarray, n: int) -> list[int | None]:
    """Return the least slack of each instruction of a core, None where it was never executed."""
    never = np.iinfo(np.int64).max
    least = np.full(n, never)
    np.minimum.at(least, index, slacks)
    return [None if value == never else value for value in least.tolist()]


def _stalls(records: np.ndarray, n: int) -> list[Counter[str]]:
    """Return the cycles that each instruction of a core stalled, by reason, as EngineTime counts them."""
    why = reasons(records)
    cycles = records[:, Record.START] - records[:, [Record.ISSUED, Record.FREE]].max(axis=1, initial=0)
    found: list[Counter[str]] = [Counter() for _ in range(n)]
    for reason in (Reason.DEPENDENCE, Reason.WAIT, Reason.TOKEN, Reason.RESOURCE):
        of = np.bincount(records[:, Record.INDEX], weights=np.where(why == reason, cycles, 0), minlength=n)
        for k in np.flatnonzero(of).tolist():
            found[k][REASONS[reason]] = int(of[k])
    return found


def listing(
    lines: Sequence[LineTime], sources: Mapping[str, Sequence[str]]
) -> list[tuple[str, int, str, LineTime | None]]:
    """Return (file, number, text, what it took) of each line of the sources, and of lines whose source is not known.

    `sources` has the lines of files by their names in messages; one that does not have its instructions' text where
    they say is another version, and not shown.
    """
    by_file: dict[str, dict[int, LineTime]] = {}
    for line in lines:
        by_file.setdefault(line.file, {})[line.number] = line
    found: list[tuple[str, int, str, LineTime | None]] = []
    for file, of_file in by_file.items():
        source = sources.get(file, ())
        if all(
            0 < number <= len(source) and line.text == source[number - 1].strip() for number, line in of_file.items()
        ):
            found += [(file, k, text.rstrip(), of_file.get(k)) for k, text in enumerate(source, 1)]
        else:
            found += [(file, number, line.text, line) for number, line in of_file.items()]
    return found
