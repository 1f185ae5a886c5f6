"""Dataflow: bytes that are read and never written, written and never read, or overwritten by another tensor's writer.

Each memory has a flag for each of its bytes: whether anything is there. A program of few executions is followed
one by one, in an order that its waits and semaphores allow; of a longer one only what its instructions write in all
iterations together is looked at: a read there counts as of written bytes wherever the write is. All bytes that an
operand touches over a loop are one array of NumPy, a dimension for each counter, so nothing is unrolled for that.

Padding is no read. What `index` chooses among rows is known to no one here, so those rows do not count as read; where
they are written, all of them count as written.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import product
from math import lcm, prod

import numpy as np

from emulator.checker.findings import Edit, Finding
from emulator.checker.happens_before import Walk
from emulator.checker.race_report import tensor_byte, when
from emulator.plan.plan import Plan
from isa.diagnostic import Note, Place
from isa.instruction import Instruction
from isa.intervals import Interval, covers, union
from isa.operand import SHARED, Operand, Term, region
from isa.program import Symbol

# Executions that are followed one by one, 10 to 50 us each, and bytes that they touch, up to 5 ns each; bytes of
# all memories that are followed; bytes that an operand touches over all iterations, each time counted; arrays of
# them.
MOST_IN_ORDER, MOST_FOLLOWED, MOST_BYTES, MOST_TOUCHED, MOST_ARRAYS = 20_000, 2**30, 2**28, 2**28, 2**16
# Bytes that are written, each time counted, where it has to be found out soon.
MOST_BYTES_SOON = 2**26
# Of memories with tensors that overlap in part, who has written a byte last: instruction k of all is FIRST + k.
FIRST = 1

# An array for each memory, an element for each byte.
States = dict[tuple[int, str], np.ndarray]


def find_dataflow(plan: Plan) -> tuple[list[Finding], list[str]]:
    """Return what is read and never written, or written and never read; and in words what was not looked at.

    Whoever calls has made sure that the plan is no deadlock.
    """
    flow = _Flow(plan)
    findings = list(flow.in_order() if _is_short(plan) else flow.over_all())
    return [*findings, *flow.outputs(), *flow.never_read()], sorted(flow.unseen)


def unwritten_outputs(plan: Plan) -> list[Finding]:
    """Return the outputs that no instruction writes, or not all of: what `find_dataflow` says of them.

    Soon: what is written in one piece is not looked at byte by byte, and nothing is where that would be long.
    """
    outputs = [(region(core, symbol.memory), symbol) for core, symbol in plan.program.of_kind("output")]
    places = {place for place, _ in outputs}
    whole: dict[tuple[int, str], list[Interval]] = {place: [] for place in places}
    for part in plan.cores:
        for segment in part.core.segments:
            if (place := region(part.number, segment.memory)) in places:
                whole[place].append((segment.address, segment.end))
        for symbol in part.core.of_kind("input"):
            if (place := region(part.number, symbol.memory)) in places:
                whole[place].append((symbol.address, symbol.address + symbol.bytes))
        for instruction, trips in zip(part.core.code, part.core.trips()):
            for kind, operand in instruction.accesses():
                place = region(part.number if operand.core is None else operand.core, operand.memory)
                if kind == "write" and place in places:
                    low, high = operand.extent(trips)
                    if high - low == operand.bytes:
                        whole[place].append((low, high))
    united = {place: union(found) for place, found in whole.items()}
    if all(covers(united[place], symbol.address, symbol.address + symbol.bytes) for place, symbol in outputs):
        return []
    flow = _Flow(plan)
    return list(flow.outputs()) if flow.write_all(places, MOST_BYTES_SOON) else []


def nothing_out(plan: Plan) -> list[Finding]:
    """Return that a program has no output, and writes to no memory that others may read."""
    accesses = (access for part in plan.cores for instruction in part.core.code for access in instruction.accesses())
    if any(plan.program.of_kind("output")) or any(kind == "write" and o.memory in SHARED for kind, o in accesses):
        return []
    help = "declare what is to come out as `.output`, or look at a tensor with --dump"
    return [Finding("C405", None, "the program has no output: nothing comes out", help, severity="warning")]


def _is_short(plan: Plan) -> bool:
    """Return whether all executions of a task can be followed."""
    if sum(part.core.executions for part in plan.cores) > MOST_IN_ORDER:
        return False
    touched = (
        times * operand.bytes
        for part in plan.cores
        for instruction, times in zip(part.core.code, part.core.times)
        for _, operand in instruction.accesses()
    )
    return sum(touched) <= MOST_FOLLOWED


@dataclass(frozen=True)
class _Access:
    """An operand of instruction `at`, counted through all cores; its memory, and the trip counts of all counters."""

    at: int
    core: int
    index: int
    kind: str
    operand: Operand
    memory: tuple[int, str]
    trips: tuple[int, ...]


class _Flow:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._accesses: list[list[_Access]] = []
        self._first: list[int] = []
        for part in plan.cores:
            self._first.append(len(self._accesses))
            # Of a stream the first task, before which nothing else has been.
            code = plan.program.at(0).cores[part.number].code
            for index, (instruction, trips) in enumerate(zip(code, part.core.trips())):
                self._accesses.append(_accesses(len(self._accesses), part.number, index, instruction, trips))
        self.unseen, seen = set[str](), dict[tuple[int, str], int]()
        # The smaller ones first: as many as there can be.
        for place, size in sorted(plan.sizes.items(), key=lambda pair: pair[1]):
            if size + sum(seen.values()) > MOST_BYTES:
                self.unseen.add(f"reads of what is not there in {place[1]}, for it has {size:,} bytes")
            elif size:
                seen[place] = size
        self._there = {place: np.zeros(size, np.uint8) for place, size in seen.items()}
        for part in plan.cores:
            for segment in part.core.segments:
                self._set(part.number, segment.memory, segment.address, segment.address + len(segment.data))
            for symbol in part.core.symbols:
                if symbol.kind == "input":
                    self._set(part.number, symbol.memory, symbol.address, symbol.address + symbol.bytes)
        overlapping = {
            region(part.number, memory) for part in plan.cores for memory in _overlapping_in_part(part.core.symbols)
        }
        self._writers = {place: np.zeros(seen[place], np.int32) for place in overlapping if place in seen}

    def _set(self, core: int, memory: str, first: int, end: int) -> None:
        if (place := region(core, memory)) in self._there:
            self._there[place][first:end] = 1

    def in_order(self) -> Iterator[Finding]:
        """Follow all executions; yield each instruction's first read of what is not there."""
        wanted = {(access.core, access.index) for of_instruction in self._accesses for access in of_instruction}
        found: set[tuple[int, str]] = set()
        for families in Walk(self._plan, 0, wanted, skips=False).families() if wanted else ():
            for family in families:
                accesses = self._accesses[self._first[family.core] + family.index]
                place = Place(family.core, family.index, family.counters)
                for access in accesses:
                    if access.kind == "read" and access.memory in self._there:
                        for finding in self._read(access, family.counters, place):
                            if (access.at, finding.code) not in found:
                                found.add((access.at, finding.code))
                                yield finding
                for access in accesses:
                    if access.kind == "write" and access.memory in self._there:
                        self._bytes(self._there, access, family.counters)[...] = 1
                        if access.memory in self._writers:
                            self._bytes(self._writers, access, family.counters)[...] = FIRST + access.at

    def over_all(self) -> Iterator[Finding]:
        """Yield the reads of bytes that no instruction writes in any iteration."""
        for access in self._of_kind("write"):
            for all_bytes in self._all_bytes(self._there, access):
                all_bytes[...] = 1
        for access in self._of_kind("read"):
            for all_bytes in self._all_bytes(self._there, access):
                if not all_bytes.all():
                    yield self._never_written(access, all_bytes, Place(access.core, access.index))
                    break

    def write_all(self, places: Set[tuple[int, str]], most: int) -> bool:
        """Note what is written to these memories in all iterations; say whether it is at most so many bytes."""
        for access in self._of_kind("write"):
            if access.memory in places:
                for all_bytes in self._all_bytes(self._there, access):
                    most -= all_bytes.size
                    if most < 0:
                        return False
                    all_bytes[...] = 1
        return True

    def outputs(self) -> Iterator[Finding]:
        """Yield the outputs that are not written, or not all of them."""
        for core, symbol in self._plan.program.of_kind("output"):
            if (place := region(core, symbol.memory)) not in self._there:
                continue
            held = self._there[place][symbol.address : symbol.address + symbol.bytes]
            missing = len(held) - int(np.count_nonzero(held))
            if missing == len(held):
                yield Finding("C402", None, f"output `{symbol.name}` is never written", "write it, or leave it out")
            elif missing:
                at = _element(symbol, int(np.argmin(held)))
                yield Finding(
                    "C402",
                    None,
                    f"{missing:,} of {len(held):,} bytes of output `{symbol.name}` are never written, the first of "
                    f"element {at}",
                    "write all of it: does a loop end too early, or a slice leave something out?",
                )

    def never_read(self) -> Iterator[Finding]:
        """Yield the instructions of whose results no byte is ever read, or goes out, in whichever task."""
        read = {place: np.zeros(len(held), np.uint8) for place, held in self._there.items()}
        for core, symbol in self._plan.program.of_kind("output"):
            if (place := region(core, symbol.memory)) in read:
                read[place][symbol.address : symbol.end] = 1
        for kind in ("read", "chosen"):
            for access in self._of_kind(kind, self._plan.tasks):
                for all_bytes in self._all_bytes(read, access):
                    all_bytes[...] = 1
        for access in self._of_kind("write", self._plan.tasks):
            # What lies in the host's memory, others may read.
            if access.memory[1] != "host" and not any(found.any() for found in self._all_bytes(read, access)):
                low, _ = access.operand.span()
                byte = tensor_byte(self._plan, access.memory, access.operand.address + low)
                yield Finding(
                    "C403",
                    Place(access.core, access.index),
                    f"nothing reads what this writes, from {byte} on",
                    "take it out, or read it",
                    severity="warning",
                )

    def _of_kind(self, kind: str, tasks: int = 1) -> Iterator[_Access]:
        """Yield the accesses of a kind, over so many tasks."""
        for access in (access for found in self._accesses for access in found if access.kind == kind):
            # Looked up each time: a memory may turn out to be too much.
            if access.memory in self._there:
                yield replace(access, trips=(tasks, *access.trips[1:]))

    def _read(self, access: _Access, counters: Sequence[int], place: Place) -> Iterator[Finding]:
        """Yield what is wrong with one read."""
        held = self._bytes(self._there, access, counters)
        if not held.all():
            yield self._never_written(access, held, place)
        if access.memory in self._writers:
            yield from self._overwritten(access, self._bytes(self._writers, access, counters), counters, place)

    def _never_written(self, access: _Access, held: np.ndarray, place: Place) -> Finding:
        address = self._first_missing(access, held)
        symbol = self._symbol(access.memory, address)
        byte = tensor_byte(self._plan, access.memory, address)
        said = f"element {_element(symbol, address - symbol.address)} of {symbol.name}" if symbol else byte
        help, edits = "write it before", tuple[Edit, ...]()
        if symbol and len(symbol.shape) <= 4 and access.memory[1] == "lm" and access.memory[0] == access.core:
            fill = f"fill {symbol.name}, value={symbol.zero}"
            help, edits = f"{help}: `{fill}` does, in the beginning", (Edit(access.core, 0, "before", fill),)
        message = f"this reads {said}, which nothing has written{when(self._plan, place) if place.counters else ''}"
        return Finding("C401", place, message, help, (), edits)

    def _overwritten(
        self, access: _Access, held: np.ndarray, counters: Sequence[int], place: Place
    ) -> Iterator[Finding]:
        """Yield the read of a tensor whose bytes were last written by way of another, which overlaps it in part."""
        mine = self._symbols(access, counters)
        if not mine:
            return
        ends = {int(held.min()), int(held.max())}
        for writer in ends if len(ends) == 1 else np.unique(held):
            if writer < FIRST:
                continue
            for other in self._accesses[writer - FIRST]:
                # The writer's loops may have had fewer turns.
                theirs = self._symbols(other, [min(turn, trips - 1) for turn, trips in zip(counters, other.trips)])
                if other.kind != "write" or not theirs or {s.name for s in mine} & {s.name for s in theirs}:
                    continue
                name, over = mine[-1].name, theirs[-1].name
                yield Finding(
                    "C404",
                    place,
                    f"this reads `{name}` where `{over}` has been written: the two overlap{when(self._plan, place)}",
                    f"place `{name}` elsewhere: without `at` it gets bytes of its own",
                    (Note(f"written here, as `{over}`", Place(other.core, other.index)),),
                    (Edit(access.memory[0], 0, "place freely", name),),
                )
                return

    def _symbols(self, access: _Access, counters: Sequence[int]) -> list[Symbol]:
        """Return the tensors that an operand lies in, all of it."""
        low, high = (access.operand.address_at(counters) + end for end in access.operand.span())
        core, memory = access.memory
        return self._plan.cores[core].core.around(memory, low, high)

    def _symbol(self, place: tuple[int, str], address: int) -> Symbol | None:
        core, memory = place
        held = self._plan.cores[core].core.around(memory, address, address + 1)
        return held[-1] if held else None

    def _bytes(self, states: States, access: _Access, counters: Sequence[int]) -> np.ndarray:
        """Return the state of the bytes of one execution's operand."""
        return _strided(states[access.memory], access.operand, access.operand.address_at(counters), [])

    def _all_bytes(self, states: States, access: _Access) -> Iterator[np.ndarray]:
        """Yield the state of the bytes of an operand over all iterations; nothing where they are too many.

        For each remainder of a counter by the moduli of its terms the address is linear in it: a dimension in front.
        There is an array for each choice of remainders.
        """
        by_counter: list[list[tuple[int, int, int]]] = []
        touched, arrays = access.operand.bytes, 1
        for counter, trips in enumerate(access.trips):
            terms = [term for term in access.operand.terms if term.counter == counter]
            if terms and trips > 1:
                period = min(lcm(*(term.modulus for term in terms if term.modulus)), trips)
                arrays *= period
                if arrays > MOST_ARRAYS:
                    break
                by_counter.append(_remainders(terms, trips, period))
                touched *= sum(count for _, count, _ in by_counter[-1])
        if arrays > MOST_ARRAYS or touched > MOST_TOUCHED:
            # What this writes or reads would be missed in whatever else is said of the memory.
            where = self._plan.cores[access.core].where(access.index)
            self.unseen.add(
                f"reads of what is not there in {access.memory[1]}: all iterations of {where} touch too many"
            )
            self._there.pop(access.memory, None)
            return
        for chosen in product(*by_counter):
            address = access.operand.address + sum(offset for offset, _, _ in chosen)
            loops = [(count, step) for _, count, step in chosen]
            yield _strided(states[access.memory], access.operand, address, loops)

    def _first_missing(self, access: _Access, held: np.ndarray) -> int:
        """Return the least address of the bytes of an array of them that are not there."""
        there = self._there[access.memory]
        first = held.__array_interface__["data"][0] - there.__array_interface__["data"][0]
        # A mark a byte: places and sums of them would take eight for each dimension.
        missed = np.zeros(there.shape, np.bool_)
        np.copyto(np.lib.stride_tricks.as_strided(missed[first:], held.shape, held.strides), True, where=held == 0)
        return int(np.argmax(missed))


def _overlapping_in_part(symbols: Sequence[Symbol]) -> set[str]:
    """Return the memories in which two symbols overlap and neither lies within the other."""
    found, open_ = set(), dict[str, list[int]]()
    # Those that are open lie in each other, the innermost last.
    for symbol in sorted(symbols, key=lambda symbol: (symbol.address, -symbol.end)):
        ends = open_.setdefault(symbol.memory, [])
        while ends and ends[-1] <= symbol.address:
            ends.pop()
        if ends and ends[-1] < symbol.end:
            found.add(symbol.memory)
        ends.append(symbol.end)
    return found


def _accesses(at: int, core: int, index: int, instruction: Instruction, trips: tuple[int, ...]) -> list[_Access]:
    found = []
    for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
        if operand is not None:
            place = region(core if operand.core is None else operand.core, operand.memory)
            kind = "chosen" if spec.chosen and spec.access == "read" else spec.access
            found.append(_Access(at, core, index, kind, operand, place, trips))
    return found


def _remainders(terms: Sequence[Term], trips: int, period: int) -> list[tuple[int, int, int]]:
    """Return what a counter's terms add to an address, by its remainder: bytes at first, iterations, bytes apart.

    Those that add the same are there once.
    """
    step = period * sum(term.stride for term in terms if not term.modulus)
    found = ((sum(term.at(n) for term in terms), len(range(n, trips, period))) for n in range(period))
    return sorted({(offset, count if step else 1, step) for offset, count in found})


def _strided(memory: np.ndarray, operand: Operand, address: int, loops: list[tuple[int, int]]) -> np.ndarray:
    """Return the state of an operand's bytes, a dimension in front for each of `loops`: (iterations, bytes apart).

    Dimensions without a gap are one, for NumPy goes through the last in its fastest loop.
    """
    size = operand.dtype.bytes
    dims = [*loops, *zip(operand.shape, (stride * size for stride in operand.strides)), (size, 1)]
    if operand.stored:
        dims = [(operand.stored, 1)]
    merged: list[tuple[int, int]] = []
    for count, step in reversed(dims):
        if count == 1:
            continue
        if merged and merged[0][0] * merged[0][1] == step:
            merged[0] = (count * merged[0][0], merged[0][1])
        else:
            merged.insert(0, (count, step))
    merged = merged or [(1, 1)]
    counts = [count for count, _ in merged]
    return np.lib.stride_tricks.as_strided(memory[address:], counts, [step * memory.itemsize for _, step in merged])


def _element(symbol: Symbol, byte: int) -> str:
    """Return the coordinates of the element of a tensor that a byte is of."""
    if symbol.stored:
        return f"byte {byte}"
    at = np.unravel_index(byte // symbol.dtype.bytes % prod(symbol.shape), symbol.shape)
    return f"[{', '.join(str(int(k)) for k in at)}]"
