"""The races of a program by brute force: everything unrolled, a graph of starts and finishes, and exact bytes.

Shares with emulator/checker/races.py and emulator/checker/happens_before.py the rules, and no code: no clocks, no
loops, no families. Sets of executions are the bits of an int.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass

from isa.instruction import Instruction
from isa.operand import MAX_LOOP_DEPTH, Operand
from isa.program import Program

Pair = tuple[tuple[int, int], tuple[int, int]]


class Deadlock(Exception):
    """Raised where no core can go on, each in program order."""


@dataclass(eq=False)
class Executed:
    """One execution; `number` counts all cores', core after core, `before` are those of its core before it."""

    number: int
    core: int
    index: int
    instruction: Instruction
    counters: tuple[int, ...]

    @property
    def queue(self) -> tuple[int, str]:
        return self.core, self.instruction.engine

    @property
    def token(self) -> tuple[str, int] | None:
        """What it does and to which semaphore or barrier; None for what computes or moves."""
        row = self.instruction.row
        return (row.mnemonic, int(self.instruction.attributes[0][0])) if row.engine == "sync" else None


def racing_pairs(program: Program) -> set[Pair]:
    """Return the pairs of instructions, each (core, index), that race in some iteration of task 0; raise Deadlock.

    Of one core the one that is executed first stands first.
    """
    by_core: list[list[Executed]] = []
    for core in range(len(program.cores)):
        by_core.append(unrolled(program, core, sum(map(len, by_core))))
    check_deadlock(by_core)
    everything = [e for of_core in by_core for e in of_core]
    finished_before = closure(everything, edges(program, by_core))
    ordered = list(finished_before)
    for e, before in enumerate(finished_before):
        while before:
            low = before & -before
            ordered[low.bit_length() - 1] |= 1 << e
            before ^= low
    same_queue: dict[tuple[int, str], int] = defaultdict(int)
    writers: dict[tuple, int] = defaultdict(int)
    readers: dict[tuple, int] = defaultdict(int)
    touched = cells([accesses(e) for e in everything])
    for e, of_it in zip(everything, touched):
        same_queue[e.queue] |= 1 << e.number
        for kind, found in of_it:
            for byte in found:
                (writers if kind == "write" else readers)[byte] |= 1 << e.number
    races: set[Pair] = set()
    for e, of_it in zip(everything, touched):
        met = 0
        for kind, found in of_it:
            for byte in found:
                met |= writers[byte] | (readers[byte] if kind == "write" else 0)
        met &= ~(ordered[e.number] | same_queue[e.queue])
        # Each pair once, by its later one.
        met &= (1 << e.number) - 1
        while met:
            low = met & -met
            other = everything[low.bit_length() - 1]
            races.add(((other.core, other.index), (e.core, e.index)))
            met ^= low
    return races


def unrolled(program: Program, core: int, first: int) -> list[Executed]:
    """Return all that a core executes, in program order, numbered from `first`."""
    code, counters = program.cores[core].code, [0] * (MAX_LOOP_DEPTH + 1)
    found: list[Executed] = []

    def block(at: int, last: int) -> None:
        while at < last:
            instruction = code[at]
            if instruction.row.mnemonic == "loop":
                close = closing(at)
                counter, count = (int(instruction.attribute(name)[0]) for name in ("counter", "count"))
                for counters[counter] in range(count):
                    block(at + 1, close)
                counters[counter] = 0
                at = close
            elif instruction.row.engine != "seq":
                found.append(Executed(first + len(found), core, at, instruction, tuple(counters)))
            at += 1

    def closing(at: int) -> int:
        depth = 0
        while True:
            depth += {"loop": 1, "brnz": -1}.get(code[at].row.mnemonic, 0)
            if depth == 0:
                return at
            at += 1

    block(0, len(code))
    return found


def check_deadlock(by_core: list[list[Executed]]) -> None:
    """Raise Deadlock unless all cores get to their end, each executing one after the other."""
    left = [list(reversed(of_core)) for of_core in by_core]
    users = defaultdict(set)
    for e in (e for of_core in by_core for e in of_core):
        if e.token and e.token[0] == "barrier":
            users[e.token].add(e.core)
    given: dict[int, int] = defaultdict(int)

    def goes_on(e: Executed) -> set[int]:
        """Return the cores that go on as this one does; none where it may not."""
        match e.token:
            case ("wait", number) if given[number] == 0:
                return set()
            case ("wait", number):
                given[number] -= 1
            case ("signal", number):
                given[number] += 1
            case ("barrier", _):
                there = {core for core, of_core in enumerate(left) if of_core and of_core[-1].token == e.token}
                return there if there == users[e.token] else set()
        return {e.core}

    going = True
    while going:
        going = False
        for of_core in left:
            while of_core and (cores := goes_on(of_core[-1])):
                going = True
                for core in cores:
                    left[core].pop()
    if any(left):
        raise Deadlock


def edges(program: Program, by_core: list[list[Executed]]) -> list[list[int]]:
    """Return what each node follows: 2 n is the start of execution n, 2 n + 1 its finish."""
    total = sum(map(len, by_core))
    follows: list[list[int]] = [[] for _ in range(2 * total)]
    signals: dict[int, list[Executed]] = defaultdict(list)
    waits: dict[int, int] = defaultdict(int)
    meetings: dict[tuple[int, int], list[Executed]] = defaultdict(list)
    arrivals: dict[tuple[int, int], int] = defaultdict(int)
    for e in (e for of_core in by_core for e in of_core):
        if e.token and e.token[0] == "signal":
            signals[e.token[1]].append(e)
        elif e.token and e.token[0] == "barrier":
            meetings[e.token[1], arrivals[e.core, e.token[1]]].append(e)
            arrivals[e.core, e.token[1]] += 1
    for of_core in by_core:
        last: dict[str, Executed] = {}
        reach = [bounds(e) for e in of_core]
        for k, e in enumerate(of_core):
            start, finish = 2 * e.number, 2 * e.number + 1
            follows[finish].append(start)
            before = last.get(e.instruction.engine)
            if before:
                follows[start].append(2 * before.number)
                follows[finish].append(2 * before.number + 1)
            for bit, engine in enumerate(("te", "pe", "me")):
                if e.instruction.waits >> bit & 1 and engine in last:
                    follows[start].append(2 * last[engine].number + 1)
            match e.token:
                case ("wait", number):
                    follows[start].append(2 * signals[number][waits[number]].number + 1)
                    waits[number] += 1
                case (_, _) if before:
                    follows[start].append(2 * before.number + 1)
            if program.order == "hardware":
                follows[start] += [2 * of_core[j].number + 1 for j in range(k) if conflict(reach[j], reach[k])]
            last[e.instruction.engine] = e
    # All of a meeting start together: as one node, that of the first, which follows what any of them does.
    for met in meetings.values():
        first = 2 * met[0].number
        for other in met[1:]:
            follows[first] += follows[2 * other.number]
            follows[2 * other.number] = [first]
    return follows


def closure(everything: list[Executed], follows: list[list[int]]) -> list[int]:
    """Return for each execution those that have finished before it starts."""
    left = [len(nodes) for nodes in follows]
    leads: list[list[int]] = [[] for _ in follows]
    for node, nodes in enumerate(follows):
        for before in nodes:
            leads[before].append(node)
    finished = [0] * len(follows)
    ready = [node for node, count in enumerate(left) if count == 0]
    done = 0
    while ready:
        node = ready.pop()
        done += 1
        reached = finished[node] | (1 << node // 2 if node % 2 else 0)
        for after in leads[node]:
            finished[after] |= reached
            left[after] -= 1
            if not left[after]:
                ready.append(after)
    assert done == len(follows), "an order without a cycle"
    return [finished[2 * e.number] for e in everything]


Bounds = list[tuple[bool, tuple[str, int | None], int, int]]


def bounds(e: Executed) -> Bounds:
    """Return what the scoreboard holds of an execution: whether it writes, the memory, and the bounding bytes."""
    found = []
    for kind, operand in e.instruction.accesses():
        low, high = operand.span()
        address = operand.address_at(e.counters)
        found.append((kind == "write", (operand.memory, operand.core), address + low, address + high))
    return found


def conflict(mine: Bounds, theirs: Bounds) -> bool:
    for writes, place, low, high in mine:
        for other_writes, other_place, other_low, other_high in theirs:
            if low < other_high and other_low < high and place == other_place and (writes or other_writes):
                return True
    return False


# Bytes [first, end) of a memory, (name, core).
Run = tuple[tuple[str, int], int, int]


def accesses(e: Executed) -> list[tuple[str, list[Run]]]:
    """Return what an execution accesses: (kind, bytes side by side)."""
    return [(kind, held(e.core, operand, e.counters)) for kind, operand in e.instruction.accesses()]


def held(core: int, operand: Operand, counters: tuple[int, ...]) -> list[Run]:
    owner = core if operand.core is None else operand.core
    place = operand.memory, 0 if operand.memory in ("host", "dev") else owner
    first, size = operand.address_at(counters), operand.dtype.bytes
    if operand.stored:
        return [(place, first, first + operand.stored)]
    starts, length = [first], size
    for count, stride in reversed(list(zip(operand.shape, operand.strides, strict=True))):
        if len(starts) == 1 and stride * size == length:
            length *= count
        else:
            starts = [start + k * stride * size for start in starts for k in range(count)]
    return [(place, start, start + length) for start in starts]


def cells(touched: list[list[tuple[str, list[Run]]]]) -> list[list[tuple[str, set[tuple]]]]:
    """Return the same with each run as the pieces that no run begins or ends within: so few stand for all bytes."""
    ends: dict[tuple[str, int], set[int]] = defaultdict(set)
    for of_it in touched:
        for _, found in of_it:
            for place, first, end in found:
                ends[place] |= {first, end}
    cuts = {place: sorted(found) for place, found in ends.items()}

    def pieces(found: list[Run]) -> set[tuple]:
        return {
            (place, k)
            for place, first, end in found
            for k in range(bisect_left(cuts[place], first), bisect_left(cuts[place], end))
        }

    return [[(kind, pieces(found)) for kind, found in of_it] for of_it in touched]
