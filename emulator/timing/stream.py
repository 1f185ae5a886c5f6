"""Stream: when each task of a stream moves in, computes and moves out, in cycles from the stream's first byte in.

The command processor holds {DMA in, COMPUTE, DMA out} of each task and starts each as soon as it may. Task t, where
the inputs have b buffers and the outputs c (of those that move, the fewest):

    in[t]      = max(in[t-1] + occupancy in, end[t-b])         the link is free; COMPUTE t-b needs its buffers no more
    ready[t]   = in[t] + occupancy in + latency
    compute[t] = max(ready[t], end[t-1], done[t-c])            the core is free; the output's buffers are drained
    end[t]     = compute[t] + cycles of COMPUTE t
    out[t]     = max(end[t], out[t-1] + occupancy out)         the result is there; the link is free
    done[t]    = out[t] + occupancy out + latency

PCIe sends and receives on lanes of their own (PCI Express is full duplex; the chip file's rate is that of each way), so
in and out are two links. The latency of a transfer lies behind its occupancy: the next may begin meanwhile. Assumed,
for want of public facts: starting costs the command processor no cycles, and the loads and stores of COMPUTE do not
share the links with the DMA.

COMPUTE runs on all cores and ends with the last of them. It begins with idle engines, for `end` drains them, so its
cycles follow the task's number only where addresses do: it is scheduled once for each remainder of the number by their
moduli.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from emulator.plan.plan import Plan, repeats_after
from emulator.timing.costs import transfer_occupancy
from emulator.timing.result import TRANSFER_IN, TRANSFER_OUT, EngineTime, Schedule, Step
from emulator.timing.timeline import Timeline, at_most, executed, schedule, transfer_bytes
from isa.errors import Trap
from isa.memory import HELP, shortage

COMPUTE = "compute"
# What is kept of a task takes some 150 (tracemalloc, CPython 3.11): its Times, and when it ends.
TIMES_BYTES = 160


@dataclass(frozen=True)
class Link:
    """One way of the link, for one task: cycles that it is held, cycles more until all is there, and buffers."""

    occupancy: int
    latency: int
    buffers: int


@dataclass(frozen=True)
class Times:
    """The cycles in which a task's DMA in, COMPUTE and DMA out start."""

    transfer_in: int
    compute: int
    transfer_out: int


@dataclass(frozen=True)
class TaskStep:
    """A piece of the stream's critical path: "transfer in", "compute" or "transfer out" of a task, and its cycles."""

    task: int
    kind: str
    cycles: int


@dataclass(frozen=True, eq=False, repr=False)
class Stream(Schedule):
    """The schedule of a stream of tasks.

    `timelines` has one task for each remainder: task t is like `timelines[t % len(timelines)]`. `cycles` counts from
    the first byte in to the last byte out.
    """

    timelines: list[Timeline]
    link_in: Link
    link_out: Link
    times: list[Times]

    @property
    def tasks(self) -> int:
        """How many tasks the stream has."""
        return len(self.times)

    @property
    def cycles(self) -> int:
        """Cycles from the first byte of the first task's DMA in to the last of the last task's DMA out."""
        return self.done(self.tasks - 1)

    @property
    def first(self) -> int:
        """Cycles until the first task is done."""
        return self.done(0)

    @property
    def interval(self) -> float:
        """Cycles from one task's end to the next, on average over the second half of the stream."""
        half = self.tasks // 2
        return (self.cycles - (self.done(half - 1) if half else 0)) / (self.tasks - half)

    @property
    def rate(self) -> float:
        """Tasks a second, once the stream runs."""
        return self.plan.chip.cycles_per_second / self.interval

    @property
    def in_turn(self) -> int:
        """Cycles of the same tasks one after another, without overlap."""
        return sum(count * timeline.cycles for timeline, count in self.counted())

    @cached_property
    def bound(self) -> str:
        """The kind of step that has most cycles on the critical path; among equals compute, then transfer in."""
        cycles = Counter({COMPUTE: 0, TRANSFER_IN: 0, TRANSFER_OUT: 0})
        for step in self.steps():
            cycles[step.kind] += step.cycles
        return max(cycles, key=cycles.__getitem__)

    @property
    def by_latency(self) -> bool:
        """Whether the stream is bound by a link that is seldom held: by its latency, which more buffers hide."""
        ways = {TRANSFER_IN: self.link_in, TRANSFER_OUT: self.link_out}
        return self.bound in ways and ways[self.bound].latency > ways[self.bound].occupancy

    def done(self, task: int) -> int:
        """Return when a task's DMA out has finished."""
        return self.times[task].transfer_out + self.link_out.occupancy + self.link_out.latency

    def end(self, task: int) -> int:
        """Return when a task's COMPUTE has finished."""
        return self.times[task].compute + self.timelines[task % len(self.timelines)].compute_cycles

    def steps(self) -> Iterator[TaskStep]:
        """Yield the critical path from the stream's end to its beginning; among equal terms COMPUTE is the reason."""
        task, kind, now = self.tasks - 1, TRANSFER_OUT, self.cycles
        while True:
            times = self.times[task]
            since = {TRANSFER_IN: times.transfer_in, COMPUTE: times.compute, TRANSFER_OUT: times.transfer_out}[kind]
            if now > since:
                yield TaskStep(task, kind, now - since)
            now = since
            match kind:
                case "transfer out" if now == self.end(task):
                    kind = COMPUTE
                case "transfer out":
                    task -= 1
                case "compute" if task and now == self.end(task - 1):
                    task -= 1
                case "compute" if now == times.transfer_in + self.link_in.occupancy + self.link_in.latency:
                    kind = TRANSFER_IN
                case "compute":
                    task, kind = task - self.link_out.buffers, TRANSFER_OUT
                case _ if now == 0:
                    return
                case _ if task >= self.link_in.buffers and now == self.end(task - self.link_in.buffers):
                    task, kind = task - self.link_in.buffers, COMPUTE
                case _:
                    task -= 1

    def path_steps(self) -> list[tuple[Step, int]]:
        """Return the critical path as Timeline.path_steps does, the tasks of a remainder together."""
        times, cycles = Counter[tuple[str, int]](), Counter[str]()
        for step in self.steps():
            times[step.kind, step.task % len(self.timelines)] += 1
            cycles[step.kind] += step.cycles
        steps = []
        for remainder, timeline in enumerate(self.timelines):
            count = times[COMPUTE, remainder]
            if count:
                steps += [
                    (replace(step, cycles=count * step.cycles), count * repeated)
                    for step, repeated in timeline.compute_path()
                ]
        for kind in (TRANSFER_IN, TRANSFER_OUT):
            if cycles[kind]:
                count = sum(count for (moved, _), count in times.items() if moved == kind)
                steps.append((Step(-1, -1, "dma", kind, cycles[kind]), count))
        return steps

    @cached_property
    def engines(self) -> dict[str, EngineTime]:
        """Times of each engine, and of both ways of the link where they move anything ("dma.in", "dma.out")."""
        found = {}
        for name in self.timelines[0].engines:
            parts = [(timeline.engines[name], count) for timeline, count in self.counted()]
            stalls = {
                reason: sum(count * part.stalls[reason] for part, count in parts) for reason in parts[0][0].stalls
            }
            busy = sum(count * part.busy for part, count in parts)
            instructions = sum(count * part.instructions for part, count in parts)
            found[name] = self._time(parts[0][0].core, busy, stalls, instructions)
        # The next input is always there; what keeps the link from it is a buffer in use.
        moved = self.times[-1].transfer_in - (self.tasks - 1) * self.link_in.occupancy
        for name, link, stalls in (("dma.in", self.link_in, {"buffer": moved}), ("dma.out", self.link_out, {})):
            if link.occupancy:
                found[name] = self._time(None, self.tasks * link.occupancy, stalls, self.tasks)
        return found

    def summary(self, path: bool = True) -> dict[str, Any]:
        """Return what every schedule does, and under "stream" what only several tasks have."""
        numbers = {
            "first": self.first,
            "interval": self.interval,
            "tasks_per_second": self.rate,
            "bound": self.bound,
            "by_latency": self.by_latency,
            "in_turn": self.in_turn,
        }
        return {**super().summary(path), "stream": numbers}

    def _time(self, core: int | None, busy: int, stalls: dict[str, int], instructions: int) -> EngineTime:
        stall = sum(stalls.values())
        return EngineTime(core, busy, stall, self.cycles - busy - stall, stalls, instructions)

    def counted(self) -> list[tuple[Timeline, int]]:
        """Return the timelines with the number of tasks that each is for."""
        period = len(self.timelines)
        return [(timeline, len(range(r, self.tasks, period))) for r, timeline in enumerate(self.timelines)]


def stream(
    plan: Plan,
    on_compile: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    max_cycles: int | None = None,
) -> Stream:
    """Return the schedule of a plan's tasks; needs no data.

    What is called and raised is that of `schedule`, and Trap where there is not the memory for the times of all tasks.
    """
    if short := shortage({f"the times of {plan.tasks:,} tasks": plan.tasks * TIMES_BYTES}):
        raise Trap(f"{plan.program.name}: {short}", f"schedule fewer tasks, {HELP}")
    period = repeats_after(plan)
    each = executed(plan, period)
    timelines = []
    for task in range(period):

        def report(done: int, total: int, before: int = task * each) -> None:
            if on_progress:
                on_progress(before + done, period * total)

        timelines.append(schedule(plan, on_compile, report, task, max_cycles))
    link_in, link_out = link(plan, "input"), link(plan, "output")
    cycles = [timeline.compute_cycles for timeline in timelines]
    found = Stream(
        plan=plan,
        costs=timelines[0].costs,
        instructions=plan.tasks * each,
        setup=timelines[0].setup,
        timelines=timelines,
        link_in=link_in,
        link_out=link_out,
        times=start_times(plan.tasks, link_in, link_out, cycles),
    )
    at_most(plan, found.cycles, max_cycles)
    return found


def task_of(whole: Schedule, task: int = 0) -> Timeline:
    """Return the schedule of one task of a schedule, by its number."""
    if isinstance(whole, Stream):
        return whole.timelines[task % len(whole.timelines)]
    assert isinstance(whole, Timeline), "a schedule is of one task or of a stream"
    return whole


def link(plan: Plan, kind: str) -> Link:
    """Return the link of the inputs, or of the outputs; those in host memory do not move."""
    occupancy = transfer_occupancy(plan.chip, transfer_bytes(plan, kind))
    moving = [symbol.buffers for _, symbol in plan.program.of_kind(kind) if symbol.memory != "host"]
    return Link(occupancy, plan.chip.latency("pcie") if occupancy else 0, min(moving, default=1))


def start_times(tasks: int, link_in: Link, link_out: Link, cycles: list[int]) -> list[Times]:
    """Return when the steps of each task start; COMPUTE of task t takes `cycles[t % len(cycles)]`."""
    times: list[Times] = []
    ends: list[int] = []
    free_in = free_out = 0
    for t in range(tasks):
        buffer_free = ends[t - link_in.buffers] if link_in.occupancy and t >= link_in.buffers else 0
        start_in = max(free_in, buffer_free)
        free_in = start_in + link_in.occupancy
        drained = 0
        if t >= link_out.buffers:
            drained = times[t - link_out.buffers].transfer_out + link_out.occupancy + link_out.latency
        start = max(free_in + link_in.latency, ends[-1] if ends else 0, drained)
        ends.append(start + cycles[t % len(cycles)])
        start_out = max(ends[-1], free_out)
        free_out = start_out + link_out.occupancy
        times.append(Times(start_in, start, start_out))
    return times
