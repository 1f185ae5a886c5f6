"""The scheduler's plain twin: queues and engines simulated from event to event, with nothing looked up in advance.

Shares with the scheduler the costs and the rules, but no code and no method: there is a clock here, and everything that
can happen in a cycle is tried until nothing more does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

from emulator.timing.costs import cost_of
from isa.chip import Chip
from isa.encoding import encode
from isa.instruction import Instruction
from isa.loops import find_loops
from isa.operand import MAX_LOOP_DEPTH
from isa.program import Program
from isa.row import ENGINES


@dataclass
class Executed:
    """One execution of an instruction; cycles are None until they are known."""

    core: int
    index: int
    instruction: Instruction
    gap: int  # cycles of the sequencer since the instruction before
    touched: list[tuple[str, str, int | None, int, int]]  # access, memory, core, first byte, byte behind the last
    counters: tuple[int, ...]
    tickets: list["Executed"] = field(default_factory=list)
    before: list["Executed"] = field(default_factory=list)  # of every engine of its core, in program order
    partners: list["Executed"] = field(default_factory=list)  # its signal, or all that meet at its barrier
    issued: int | None = None
    arrived: int | None = None  # when all of its own core let it start
    token_until: int | None = None
    start: int | None = None
    finish: int | None = None
    depends_until: int | None = None
    waits_until: int | None = None
    reason: str = ""  # what was not yet so in the cycle before it had arrived
    reason_to_start: str = ""  # that, or the token or the resource that came after
    holders: list["Executed"] = field(default_factory=list)  # who held what it waited for last
    causes: list["Executed"] = field(default_factory=list)  # those whose occupancy or latency that is due to
    # Of code that is fetched: its bytes, where they end among all that are fetched, and where what is needed begins.
    code: int = 0
    code_end: int = 0
    code_kept: int = 0
    fetched: int | None = None


@dataclass
class Spent:
    """Cycles of an engine, counted as they pass."""

    busy: int = 0
    idle: int = 0
    stalls: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("dependence", "wait", "token", "resource"), 0)
    )
    blocked: int = 0  # of the stalls, those of the instruction at the head


def unroll(program: Program, core: int, chip: Chip) -> tuple[list[Executed], int]:
    """Return all that a core executes, in program order, and the cycles of its sequencer after the last."""
    code = program.cores[core].code
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
                    touched.append((access, operand.memory, operand.core, address + low, address + high))
                tickets = []
                for k, engine in enumerate(ENGINES):
                    earlier = [e for e in executed if e.instruction.engine == engine]
                    if instruction.waits >> k & 1 and earlier:
                        tickets.append(earlier[-1])
                executed.append(Executed(core, at, instruction, gap, touched, tuple(counters), tickets, list(executed)))
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


def note_fetches(code: Sequence[Instruction], executed: list[Executed], chip: Chip) -> None:
    """Note what each execution has to fetch of a core's code, where the instruction buffer does not hold it."""
    buffer, engines = chip["memory.ib_bytes"], [k for k, i in enumerate(code) if i.row.engine != "seq"]
    if sum(map(len, encode(code))) <= buffer:
        return
    sizes = dict.fromkeys(engines, 0)
    for k, instruction in enumerate(code):
        before, behind = [e for e in engines if e < k], [e for e in engines if e > k]
        if k in sizes:
            sizes[k] += 64 + 128 * sum(operand is not None for operand in instruction.operands)
        elif instruction.row.mnemonic == "loop" or not before:
            for owner in behind[:1]:
                sizes[owner] += 64
        else:
            sizes[before[-1]] += 64
    fits = [x for x in find_loops(code) if sum(sizes.get(k, 0) for k in range(x.first, x.last)) <= buffer]
    position, there, began = 0, set(), dict[object, int]()
    for e in executed:
        # The outermost loop that fits, as often as it is entered.
        around = [(x.first, e.counters[: x.depth]) for x in fits if x.first < e.index < x.last]
        entered = around[0] if around else None
        e.code_kept = position if entered is None else began.setdefault(entered, position)
        if entered is None or (entered, e.index) not in there:
            e.code = sizes[e.index]
            position += e.code
            there.add((entered, e.index))
        e.code_end = position


def conflict(a: Executed, b: Executed) -> bool:
    return any(
        "write" in (access, other_access) and place == other_place and low < other_high and other_low < high
        for access, *place, low, high in a.touched
        for other_access, *other_place, other_low, other_high in b.touched
    )


def match(executed: list[list[Executed]]) -> None:
    """Note for each wait its signal, for each arrival at a barrier those of the same meeting."""
    found: dict[tuple, list[Executed]] = {}
    for e in (e for of_core in executed for e in of_core):
        if e.instruction.row.engine == "sync":
            by_core = e.core if e.instruction.row.mnemonic == "barrier" else None
            found.setdefault((e.instruction.row.mnemonic, e.instruction.attributes[0], by_core), []).append(e)
    for (mnemonic, number, _), uses in found.items():
        for k, use in enumerate(uses):
            if mnemonic == "wait":
                use.partners = [found["signal", number, None][k]]
            elif mnemonic == "barrier":
                use.partners = [found[key][k] for key in found if key[:2] == (mnemonic, number)]


def held_by(e: Executed, chip: Chip) -> list[tuple[object, int]]:
    """Return what an instruction holds, each with its cycles; one that it needs for two operands comes twice."""
    held: list[tuple[object, int]] = []
    cores, blocks = chip["chip.cores"], chip["memory.lm_blocks"]
    operands = [operand for _, operand in e.instruction.accesses()]
    for operand, (access, memory, core, low, high) in zip(operands, e.touched, strict=True):
        # Of what an index picks from, or puts to, no more passes than is picked or put.
        chosen = {"gather": 1, "scatter": 0}.get(e.instruction.row.mnemonic)
        passed = operands[1 - chosen].bytes if chosen is not None and operand is operands[chosen] else operand.bytes
        if core is not None:
            cycles = ceil(passed / chip.bytes_per_cycle("ring"))
            up = (core - e.core) % cores
            way, links = (1, up) if up <= cores - up else (-1, cores - up)
            held += [(("ring", way, (e.core + way * k) % cores), cycles) for k in range(links)]
        if memory == "lm" and blocks:
            size = -(-chip["memory.lm_bytes"] // blocks)
            for block in range(blocks):
                here = min(high, (block + 1) * size) - max(low, block * size)
                if here > 0:
                    cycles = ceil(min(passed, here) / chip["memory.lm_block_bytes_per_cycle"])
                    held.append((("LM", e.core if core is None else core, block), cycles))
        elif memory == "dev":
            held.append(("dev", ceil(passed / chip.bytes_per_cycle("dev"))))
        elif memory == "host":
            held.append((("pcie", access), ceil(passed / chip.bytes_per_cycle("pcie"))))
    return held


def simulate(
    program: Program, chip: Chip, late: tuple[int, int, int] = (0, -1, 0)
) -> tuple[list[list[Executed]], dict[str, Spent], int]:
    """Return what each core executed with its cycles, what each engine did, and the cycle at which all is done.

    `late` (core, n, cycles) starts the n-th instruction of a core so many cycles later than it could.
    """
    unrolled = [unroll(program, core, chip) for core in range(len(program.cores))]
    executed = [of_core for of_core, _ in unrolled]
    match(executed)
    for part, of_core in zip(program.cores, executed, strict=True):
        note_fetches(part.code, of_core, chip)
    to_fetch = [[e for e in of_core if e.code] for of_core in executed]
    last_fetched = [0] * len(executed)
    delayed = executed[late[0]][late[1]] if late[2] else None
    delayed_until: dict[int, int] = {}
    depth = chip["seq.queue_depth"]
    costs = [{k: cost_of(chip, i) for k, i in enumerate(core.code)} for core in program.cores]
    engines = [(core, engine) for core in range(len(executed)) for engine in ENGINES]
    queues: dict[tuple[int, str], list[Executed]] = {engine: [] for engine in engines}
    free = dict.fromkeys(engines, 0)
    spent = {engine: Spent() for engine in engines}

    def pass_time(now: int, until: int) -> None:
        for engine, cycles in spent.items():
            if free[engine] > now:
                assert free[engine] >= until, "the end of an occupancy is an event"
                cycles.busy += until - now
            elif queues[engine]:
                cycles.blocked += until - now
            else:
                cycles.idle += until - now

    def token(head: Executed) -> bool:
        """Return whether the token of an instruction that has arrived is there; note when, once that is known."""
        mnemonic, latency = head.instruction.row.mnemonic, chip["sync.latency"]
        times = [e.finish if mnemonic == "wait" else e.arrived for e in head.partners]
        if head.partners and None not in times:
            head.token_until = max(time for time in times if time is not None) + latency
            events.add(head.token_until)
        return not head.partners or (head.token_until is not None and head.token_until <= now)

    granted: dict[object, tuple[int, Executed]] = {}  # until when each resource is held, and by whom
    to_issue = [list(of_core) for of_core in executed]
    ready = [of_core[0].gap if of_core else 0 for of_core in executed]
    events = {0, *ready}
    now = 0
    while True:
        progress = True
        while progress:
            progress = False
            for core, left in enumerate(to_issue):
                kept = left[0].code_kept if left else 0
                while left and to_fetch[core] and to_fetch[core][0].code_end - kept <= chip["memory.ib_bytes"]:
                    fetching = to_fetch[core].pop(0)
                    cycles = ceil(fetching.code / chip["seq.fetch_bytes_per_cycle"])
                    fetching.fetched = max(now + chip.latency("dev"), last_fetched[core]) + cycles
                    last_fetched[core] = fetching.fetched
                    events.add(fetching.fetched + chip["seq.issue_cycles"])
                if (
                    left
                    and left[0].code
                    and not (left[0].fetched is not None and left[0].fetched + chip["seq.issue_cycles"] <= now)
                ):
                    continue
                if left and ready[core] <= now and len(queues[core, left[0].instruction.engine]) < depth:
                    issuing = left.pop(0)
                    issuing.issued = now
                    queues[core, issuing.instruction.engine].append(issuing)
                    ready[core] = now + left[0].gap if left else now
                    events.add(ready[core])
                    progress = True
            ready_to_start = []
            for engine, queue in queues.items():
                if not queue or free[engine] > now:
                    continue
                head = queue[0]
                same_engine = [earlier for earlier in head.before if earlier.instruction.engine == engine[1]]
                needed = [
                    earlier
                    for earlier in head.before
                    if (earlier.instruction.engine == engine[1] or program.order == "hardware")
                    and conflict(head, earlier)
                ]
                if head.instruction.row.mnemonic in ("signal", "barrier"):
                    needed = needed + same_engine
                if head.arrived is None and all(
                    earlier.finish is not None and earlier.finish <= now for earlier in needed + head.tickets
                ):
                    head.arrived = now
                    explain(head, same_engine, free[engine], needed, costs[head.core], chip)
                    progress = True
                there = head.arrived is not None and token(head)
                if there and head is delayed:
                    there = delayed_until.setdefault(0, now + late[2]) <= now
                    events.add(delayed_until[0])
                if there:
                    held = [granted[resource] for resource, _ in held_by(head, chip) if resource in granted]
                    last = max((until for until, _ in held), default=0)
                    head.holders = [e for until, e in held if until == last]
                    events.add(last)
                    if last <= now:
                        ready_to_start.append((head.arrived or 0, engine))
            if ready_to_start and not progress:
                # Who arrived first; then the least core, and its first engine.
                _, engine = min(ready_to_start, key=lambda ready: (ready[0], ready[1][0], ENGINES.index(ready[1][1])))
                head = queues[engine].pop(0)
                same_engine = [earlier for earlier in head.before if earlier.instruction.engine == engine[1]]
                cost = costs[head.core][head.index]
                assert cost is not None
                head.start = now
                head.finish = max([now + cost.latency, *(e.finish or 0 for e in same_engine)])
                for resource, cycles in held_by(head, chip):
                    until, _ = granted.get(resource, (now, head))
                    granted[resource] = max(until, now) + cycles, head
                arrived, token_until = head.arrived or 0, head.token_until or 0
                if now > max(arrived, token_until):
                    head.reason_to_start = "resource"
                else:
                    head.reason_to_start = "token" if now > arrived else head.reason
                if head.reason_to_start in spent[engine].stalls:
                    spent[engine].stalls[head.reason_to_start] += spent[engine].blocked
                elif head is not delayed:
                    assert not spent[engine].blocked, "only what it needs holds the head of a free engine"
                spent[engine].blocked = 0
                free[engine] = now + cost.occupancy
                events |= {free[engine], head.finish}
                progress = True
        later = [event for event in events if event > now]
        if not later:
            break
        pass_time(now, min(later))
        now = min(later)
        events = set(later)
    assert not any(to_issue) and not any(queues.values()), "the simulation came to a halt with work left"
    ends = [(of_core[-1].issued or 0 if of_core else 0) + tail for of_core, tail in unrolled]
    end = max([*ends, *(e.finish or 0 for of_core in executed for e in of_core)])
    pass_time(now, end)
    return executed, {f"core{core}.{engine}": cycles for (core, engine), cycles in spent.items()}, end


def explain(
    head: Executed, same_engine: list[Executed], free: int, needed: list[Executed], costs: dict, chip: Chip
) -> None:
    """Note why an instruction that has arrived had not in the cycle before."""
    now = head.arrived
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
        is_late = head.fetched is not None and head.fetched + chip["seq.issue_cycles"] == head.issued
        head.reason = "fetch" if is_late else "issue"


def due(late: Executed, costs: dict) -> Executed:
    """Return whose latency the finish of an instruction is due to: the first of its engine to have it."""
    own = [e for e in (*late.before, late) if e.instruction.engine == late.instruction.engine]
    return next(e for e in own if e.start is not None and e.start + costs[e.index].latency == late.finish)
