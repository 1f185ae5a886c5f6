"""The races of a program by brute force: everything unrolled, a graph of starts and finishes, sets of bytes.

Shares with emulator/races.py the rules, and no code: whether one access follows another is whether its start can be
reached from the other's finish.
"""

from itertools import combinations, product

from isa.chip import Chip
from isa.loops import find_loops
from isa.operand import MAX_LOOP_DEPTH, Operand
from isa.program import Program
from tests.emulator.plain_scheduler import Executed, conflict, match, unroll

Pair = tuple[tuple[int, int], tuple[int, int]]


def racing_pairs(program: Program, chip: Chip) -> set[Pair]:
    """Return the pairs of instructions, each (core, index), that race in some iteration of task 0.

    Of one core the one that is executed first stands first.
    """
    executed = [unroll(program, core, chip)[0] for core in range(len(program.cores))]
    match(executed)
    everything = [e for of_core in executed for e in of_core]
    start = {id(e): 2 * k for k, e in enumerate(everything)}
    follows: list[list[int]] = [[] for _ in range(2 * len(everything))]

    def order(earlier: int, later: int) -> None:
        follows[earlier].append(later)

    for e in everything:
        order(start[id(e)], start[id(e)] + 1)
        mine = [earlier for earlier in e.before if earlier.instruction.engine == e.instruction.engine]
        for earlier in mine[-1:]:
            order(start[id(earlier)], start[id(e)])
            order(start[id(earlier)] + 1, start[id(e)] + 1)
        needed = list(e.tickets)
        if e.instruction.row.mnemonic in ("signal", "barrier"):
            needed += mine
        if program.order == "hardware":
            needed += [earlier for earlier in e.before if conflict(earlier, e)]
        if e.instruction.row.mnemonic == "wait":
            needed += e.partners
        for earlier in needed:
            order(start[id(earlier)] + 1, start[id(e)])
        if e.instruction.row.mnemonic == "barrier":
            # All of a meeting start together, as far as order goes.
            for partner in e.partners:
                order(start[id(partner)], start[id(e)])

    reached = [reach(follows, node) for node in range(1, len(follows), 2)]
    touched = [accesses(program, of_core) for of_core in executed]
    bytes_of = [found for of_core in touched for found in of_core]
    races: set[Pair] = set()
    for a, b in combinations(range(len(everything)), 2):
        one, other = everything[a], everything[b]
        if (one.core, one.instruction.engine) == (other.core, other.instruction.engine):
            continue
        if 2 * b in reached[a] or 2 * a in reached[b]:
            continue
        if any(
            "write" in (kind, other_kind) and not held.isdisjoint(other_held)
            for (kind, held), (other_kind, other_held) in product(bytes_of[a], bytes_of[b])
        ):
            races.add(((one.core, one.index), (other.core, other.index)))
    return races


def reach(follows: list[list[int]], node: int) -> set[int]:
    found, left = {node}, [node]
    while left:
        new = [later for later in follows[left.pop()] if later not in found]
        found.update(new)
        left += new
    return found


def accesses(program: Program, executed: list[Executed]) -> list[list[tuple[str, set[tuple[str, int, int]]]]]:
    """Return for each execution of a core what it accesses: (kind, {(memory, core, byte)})."""
    if not executed:
        return []
    code = program.cores[executed[0].core].code
    loops = find_loops(code)
    times = dict.fromkeys(range(len(code)), 0)
    found = []
    for e in executed:
        counters = [0] * (MAX_LOOP_DEPTH + 1)
        left = times[e.index]
        times[e.index] += 1
        for loop in sorted((loop for loop in loops if loop.first < e.index < loop.last), key=lambda loop: -loop.depth):
            left, counters[loop.depth] = divmod(left, loop.count)
        found.append([(kind, held(e.core, operand, counters)) for kind, operand in e.instruction.accesses()])
    return found


def held(core: int, operand: Operand, counters: list[int]) -> set[tuple[str, int, int]]:
    owner = core if operand.core is None else operand.core
    place = operand.memory, 0 if operand.memory in ("host", "dev") else owner
    address = operand.address_at(counters)
    if operand.stored:
        return {(*place, address + k) for k in range(operand.stored)}
    size = operand.dtype.bytes
    elements = [0]
    for count, stride in zip(operand.shape, operand.strides, strict=True):
        elements = [at + k * stride for at in elements for k in range(count)]
    return {(*place, address + at * size + k) for at in elements for k in range(size)}
