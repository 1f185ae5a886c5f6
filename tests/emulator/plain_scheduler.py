"""The scheduler's plain twin: queues and engines simulated from event to event, with nothing looked up in advance.

Shares with the scheduler the costs and the rules, but no code and no method: there is a clock here, and everything that
can happen in a cycle is tried until nothing more does.
"""

from dataclasses import dataclass, field

from emulator.costs import COSTS
from isa.chip import Chip
from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH
from isa.program import Program
from isa.table import ENGINES


@dataclass
class Executed:
    """One execution of an instruction; cycles are None until they are known."""

    index: int
    instruction: Instruction
    gap: int  # cycles of the sequencer since the instruction before
    touched: list[tuple[str, str, int, int]]  # access, memory, first byte, byte behind the last
    tickets: list["Executed"] = field(default_factory=list)
    before: list["Executed"] = field(default_factory=list)  # of every engine, in program order
    issued: int | None = None
    start: int | None = None
    finish: int | None = None
    depends_until: int | None = None
    waits_until: int | None = None
    reason: str = ""  # what was not yet so in the cycle before its start
    causes: list["Executed"] = field(default_factory=list)  # those whose occupancy or latency that is due to


@dataclass
class Spent:
    """Cycles of an engine, counted as they pass."""

    busy: int = 0
    idle: int = 0
    stalls: dict[str, int] = field(default_factory=lambda: {"dependence": 0, "wait": 0})
    blocked: int = 0  # of the stalls, those of the instruction at the head


def unroll(program: Program, chip: Chip) -> tuple[list[Executed], int]:
    """Return everything executed, in program order, and the cycles of the sequencer after the last."""
    code = program.cores[0].code
    counters = [0] * (MAX_LOOP_DEPTH + 1)
    executed: list[Executed] = []
    gap = 0

    def block(first: int, last: int) -> None:
        nonlocal gap
        at = first
        while at < last:
            instruction = code[at]
            if instruction.row.mnemonic == "loop":
                close = closing(at)
                gap += chip["seq.loop_cycles"]
                depth, count = int(instruction.attribute("counter")[0]), int(instruction.attribute("count")[0])
                for counters[depth] in range(count):
                    block(at + 1, close)
                    gap += chip["seq.loop_cycles"]
                counters[depth] = 0
                at = close + 1
                continue
            gap += chip["seq.issue_cycles"]
            if instruction.row.mnemonic != "end":
                touched = []
                for access, operand in instruction.accesses():
                    low, high = operand.span()
                    address = operand.address_at(counters)
                    touched.append((access, operand.memory, address + low, address + high))
                tickets = []
                for k, engine in enumerate(ENGINES):
                    earlier = [e for e in executed if e.instruction.engine == engine]
                    if instruction.waits >> k & 1 and earlier:
                        tickets.append(earlier[-1])
                executed.append(Executed(at, instruction, gap, touched, tickets, list(executed)))
                gap = 0
            at += 1

    def closing(first: int) -> int:
        depth = 0
        for at in range(first, len(code)):
            depth += {"loop": 1, "brnz": -1}.get(code[at].row.mnemonic, 0)
            if depth == 0:
                return at
        raise AssertionError("a loop is not closed")

    block(0, len(code))
    return executed, gap


def conflict(a: Executed, b: Executed) -> bool:
    return any(
        "write" in (access, other_access) and memory == other_memory and low < other_high and other_low < high
        for access, memory, low, high in a.touched
        for other_access, other_memory, other_low, other_high in b.touched
    )


def simulate(program: Program, chip: Chip) -> tuple[list[Executed], dict[str, Spent], int]:
    """Return everything executed with its cycles, what each engine did, and the cycle at which all is done."""
    executed, tail = unroll(program, chip)
    depth = chip["seq.queue_depth"]
    costs = {k: COSTS[i.opcode](chip, i) for k, i in enumerate(program.cores[0].code) if i.opcode in COSTS}
    queues: dict[str, list[Executed]] = {engine: [] for engine in ENGINES}
    free = dict.fromkeys(ENGINES, 0)
    spent = {engine: Spent() for engine in ENGINES}

    def pass_time(now: int, until: int) -> None:
        for engine, cycles in spent.items():
            if free[engine] > now:
                assert free[engine] >= until, "the end of an occupancy is an event"
                cycles.busy += until - now
            elif queues[engine]:
                cycles.blocked += until - now
            else:
                cycles.idle += until - now

    to_issue = list(executed)
    ready = to_issue[0].gap if to_issue else 0
    events = {0, ready}
    now = 0
    while True:
        progress = True
        while progress:
            progress = False
            if to_issue and ready <= now and len(queues[to_issue[0].instruction.engine]) < depth:
                issuing = to_issue.pop(0)
                issuing.issued = now
                queues[issuing.instruction.engine].append(issuing)
                ready = now + to_issue[0].gap if to_issue else now
                events.add(ready)
                progress = True
            for engine, queue in queues.items():
                if not queue or free[engine] > now:
                    continue
                head = queue[0]
                needed = [
                    earlier
                    for earlier in head.before
                    if (earlier.instruction.engine == engine or program.order == "hardware") and conflict(head, earlier)
                ]
                if all(earlier.finish is not None and earlier.finish <= now for earlier in needed + head.tickets):
                    queue.pop(0)
                    same_engine = [earlier for earlier in head.before if earlier.instruction.engine == engine]
                    head.start = now
                    head.finish = max([now + costs[head.index].latency, *(e.finish or 0 for e in same_engine)])
                    explain(head, same_engine, free[engine], needed, costs)
                    if head.reason in ("dependence", "wait"):
                        spent[engine].stalls[head.reason] += spent[engine].blocked
                    else:
                        assert not spent[engine].blocked, "only a dependence or a wait holds the head of a free engine"
                    spent[engine].blocked = 0
                    free[engine] = now + costs[head.index].occupancy
                    events |= {free[engine], head.finish}
                    progress = True
        later = [event for event in events if event > now]
        if not later:
            break
        pass_time(now, min(later))
        now = min(later)
        events = set(later)
    assert not to_issue and not any(queues.values()), "the simulation came to a halt with work left"
    issued_last = executed[-1].issued or 0 if executed else 0
    end = max([issued_last + tail, *(e.finish or 0 for e in executed)])
    pass_time(now, end)
    return executed, spent, end


def explain(head: Executed, same_engine: list[Executed], free: int, needed: list[Executed], costs: dict) -> None:
    """Note why an instruction that starts now did not start in the cycle before."""
    now = head.start
    assert now is not None and head.issued is not None
    late = [earlier for earlier in needed if earlier.finish is not None and earlier.finish >= head.issued]
    head.depends_until = max((e.finish for e in late if e.finish is not None), default=None)
    head.waits_until = max((e.finish for e in head.tickets if e.finish is not None), default=None)
    if same_engine and free == now:
        head.reason, head.causes = "engine busy", same_engine[-1:]
    elif any(earlier.finish == now for earlier in needed):
        head.reason, head.causes = "dependence", [due(e, costs) for e in needed if e.finish == now]
    elif any(earlier.finish == now for earlier in head.tickets):
        head.reason, head.causes = "wait", [due(e, costs) for e in head.tickets if e.finish == now]
    else:
        head.reason = "issue"


def due(late: Executed, costs: dict) -> Executed:
    """Return whose latency the finish of an instruction is due to: the first of its engine to have it."""
    own = [e for e in (*late.before, late) if e.instruction.engine == late.instruction.engine]
    return next(e for e in own if e.start is not None and e.start + costs[e.index].latency == late.finish)
