"""Drawn programs: hypothesis strategies for whole valid ones, of one core or several.

Nested loops, affine terms, wait bits, both orders, data and symbols. What is drawn may race; `race_free_programs` may
not, and `racy_programs` do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from isa.chip import load_chip
from isa.compressed import compress
from isa.dtypes import F32, I8, I16, I32, U8, DType
from isa.instruction import Instruction, build
from isa.loops import trips_at
from isa.operand import Operand, Term, dense, region
from isa.program import Check, Core, Line, Program, Segment, Symbol
from isa.row import ENGINES, WAIT_LETTERS
from ratel.testing.instructions import (
    AREA_END,
    AREAS,
    COMPRESSED_AREA,
    DTYPE,
    ENGINE_MNEMONICS,
    INDEX_AREA,
    INDICES,
    Draw,
    Place,
    instruction_at,
    positive_f32,
    random_data,
    small,
    zero_points,
)


def _body(draw: Draw, place: Place, code: list[Instruction], budget: list[int], mnemonics: tuple[str, ...]) -> None:
    for _ in range(draw(st.integers(0, 5))):
        budget[0] -= 1
        if budget[0] < 0:
            return
        if len(place.trips) < 4 and draw(st.integers(0, 3)) == 0:
            count = draw(small)
            code.append(build("loop", counter=len(place.trips), count=count))
            inner = Place((*place.trips, count), True, place.constants, floats=place.floats)
            _body(draw, inner, code, budget, mnemonics)
            code.append(build("brnz", counter=len(place.trips)))
        else:
            waits = draw(st.sets(st.sampled_from(ENGINES))) if draw(st.integers(0, 2)) == 0 else ()
            own = Place(place.trips, True, place.constants, floats=place.floats)
            code.append(instruction_at(draw, draw(st.sampled_from(mnemonics)), own, sorted(waits)))


def _constants(code: Sequence[Instruction], place: Place) -> list[Operand]:
    """Return the vectors in the constant buffer that need data, each once."""
    found = (op for instruction in code for _, op in instruction.accesses() if op.memory == "cb")
    return list(dict.fromkeys(op for op in found if op.address in place.constants.held))


# Changes of a chip that no bit of a result depends on.
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"te.latency": 99, "te.read_bytes_per_cycle": 12.5},
    {"chip.name": 'a "b"', "memory.pcie_latency_ns": 0},
)


@st.composite
def programs(draw: Draw, dev: bool = True, chip: str = "edge", max_instructions: int = 8) -> Program:
    """Draw a valid one-core program that fits `chip`; with `dev` False nothing lies in device memory.

    In lm, host and dev each type keeps to its own area (AREAS), so floats are never read from integers' bytes.
    Every constant that the code reads has data; symbols lie over parts of the areas and may overlap. Some programs are
    for the chip with numbers changed that no bit depends on.
    """
    code: list[Instruction] = []
    tasks = draw(st.sampled_from((1, 1, 2, 3)))
    place = Place((tasks,), areas=True, floats=bool(load_chip(chip)["te.f16_cycles"]))
    _body(draw, place, code, [max_instructions], ENGINE_MNEMONICS)
    code.append(build("end"))
    if not dev:
        code = [_without_dev(instruction) for instruction in code]
    seed = draw(st.integers(0, 2**32 - 1))
    symbols: list[Symbol] = []
    segments: list[Segment] = []
    for k, operand in enumerate(_constants(code, place)):
        data = random_data(seed + k, operand.dtype, operand.elements)
        symbols.append(Symbol(f"c{k}", "const", "cb", operand.address, operand.dtype, operand.shape))
        segments.append(Segment("cb", operand.address, data))
    if any(spec.name == "index" for instruction in code for spec in instruction.row.operands):
        data = np.random.default_rng(seed).integers(0, 2, INDICES).astype("<i4").tobytes()
        symbols.append(Symbol("indices", "weight", "lm", INDEX_AREA, I32, (INDICES,)))
        segments.append(Segment("lm", INDEX_AREA, data))
    weights = {"lm": AREAS, "dev": AREAS, "host": AREAS} if dev else {"lm": AREAS, "host": AREAS}
    for memory, areas in weights.items():
        for dtype, start in areas.items():
            if draw(st.booleans()):
                count = draw(st.integers(1, 600))
                name = f"{memory}_{dtype}"
                symbols.append(Symbol(name, "weight", memory, start, dtype, (count,), *draw(_meaning(dtype, count))))
                segments.append(Segment(memory, start, random_data(seed + start, dtype, count)))
    if draw(st.booleans()):
        dtype, count = draw(st.sampled_from((I8, U8, I16))), draw(st.integers(1, 600))
        # Every other element 0; or only bytes of the legal size, whose mask may lie.
        data = random_data(seed, dtype, count)
        data = compress(
            (np.frombuffer(data, dtype.numpy) * (np.arange(count) % 2)).astype(dtype.numpy).tobytes(), dtype
        )
        data = draw(st.sampled_from((data, random_data(seed, dtype, len(data) // dtype.bytes))))
        scale, zero = draw(_meaning(dtype, count))
        symbols.append(
            Symbol("compressed", "weight", "lm", COMPRESSED_AREA, dtype, (count,), scale, zero, stored=len(data))
        )
        segments.append(Segment("lm", COMPRESSED_AREA, data))
    checks = []
    for k in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(("input", "output", "local")))
        dtype = draw(st.sampled_from(DTYPE))
        shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
        memory = draw(st.sampled_from(("lm", "dev", "host") if dev else ("lm", "host")))
        # The place beyond the weights, which are set up once; inputs and outputs move with every task.
        address = AREAS[dtype] + 4096 + k * 2048 + dtype.bytes * draw(st.integers(0, 9))
        scale, zero = draw(_meaning(dtype, shape[-1]))
        symbol = Symbol(f"{kind}{k}", kind, memory, address, dtype, shape, scale, zero)
        if kind != "local":
            # Buffers of no more bytes than the place between two symbols.
            most = max(1, 1536 // symbol.bytes)
            buffers = draw(st.sampled_from([n for n in (1, 2, 3, 16) if n <= most]))
            axes = draw(st.just(()) | st.permutations(range(len(shape))).map(tuple))
            symbol = replace(symbol, buffers=buffers, axes=axes)
        if kind == "input" and draw(st.booleans()):
            count = draw(st.sampled_from((1, tasks))) * symbol.bytes // dtype.bytes
            symbol = replace(symbol, default=random_data(seed + k, dtype, count))
        symbols.append(symbol)
        if kind == "output":
            checks.append(draw(_check(symbol, tasks, seed)))
    lines = tuple(Line("drawn.npu", 1 + k, str(instruction.row.mnemonic)) for k, instruction in enumerate(code))
    return Program(
        draw(st.sampled_from(("drawn", "program", "a b", 'q"\\'))),
        load_chip(chip, **draw(st.sampled_from(CHANGES))),
        draw(st.sampled_from(("hardware", "compiler"))),
        (Core(tuple(code), lines, tuple(segments), tuple(symbols)),),
        tuple(checks[: draw(st.integers(0, 2))]),
        tasks,
    )


# Where other cores write, and where what they wrote is copied to: beyond the areas, a slot for each remote copy.
SLOTS, TAKEN, SLOT = AREA_END, AREA_END + 64 * 1024, 1024


@dataclass
class _Team:
    """Draws the code of several cores together: in one order of events, in which every wait is met."""

    draw: Draw
    codes: list[list[Instruction]]
    places: list[Place]
    semaphores: list[tuple[tuple[int, str], tuple[int, str]]]
    barriers: list[dict[int, str]]
    slots: int = 0

    def body(self, depth: int) -> None:
        kinds = ["token", "token", "code", *["loop"] * (depth < 2), *["barrier"] * bool(self.barriers)]
        for _ in range(self.draw(st.integers(1, 5))):
            kind = self.draw(st.sampled_from(kinds))
            if kind == "code":
                core = self.draw(st.integers(0, len(self.codes) - 1))
                _body(self.draw, self.places[core], self.codes[core], [2], ENGINE_MNEMONICS)
            elif kind == "loop":
                self.loop(depth)
            elif kind == "token":
                self.token()
            else:
                number = self.draw(st.integers(0, len(self.barriers) - 1))
                for core, queue in self.barriers[number].items():
                    self.add(core, "barrier", barrier=number, queue=queue)

    def add(self, core: int, mnemonic: str, **fields: Any) -> None:
        waits = self.draw(st.sets(st.sampled_from(ENGINES))) if self.draw(st.integers(0, 2)) == 0 else ()
        self.codes[core].append(build(mnemonic, sorted(waits), **fields))

    def loop(self, depth: int) -> None:
        """Loop as often on each core that does something in the loop."""
        count, before, codes = self.draw(small), self.places, self.codes
        self.places = [Place((*place.trips, count), True, place.constants, floats=place.floats) for place in before]
        self.codes = [[] for _ in codes]
        self.body(depth + 1)
        for place, code, looped in zip(before, codes, self.codes, strict=True):
            if looped:
                counter = len(place.trips)
                code += [build("loop", counter=counter, count=count), *looped, build("brnz", counter=counter)]
        self.places, self.codes = before, codes

    def token(self) -> None:
        """Signal and wait; perhaps with a remote copy before, and a copy of what it brought behind."""
        number = self.draw(st.integers(0, len(self.semaphores) - 1))
        (source, queue), (target, other_queue) = self.semaphores[number]
        trips = self.places[source].trips
        bring = source != target and self.slots < 48 and self.draw(st.integers(0, 3)) > 0
        # A place of its own for each iteration: nobody says when the last one has been read.
        steps = [8 * int(np.prod(trips[k + 1 :], dtype=int)) for k in range(len(trips))]
        terms = tuple(Term(k, 0, steps[k]) for k in range(1, len(trips)))
        slot, self.slots = self.slots * SLOT, self.slots + bring
        brought = Operand("lm", SLOTS + slot, I8, (8,), (1,), terms)
        if bring:
            held = Operand("lm", 8 * self.draw(st.integers(0, 99)), I8, (8,), (1,))
            self.codes[source].append(build("copy", out=replace(brought, core=target), x=held))
        self.add(source, "signal", semaphore=number, queue=queue)
        self.add(target, "wait", semaphore=number, queue=other_queue)
        if bring:
            taken = replace(brought, address=TAKEN + slot)
            self.codes[target].append(build("copy", out=taken, x=brought))


@st.composite
def programs_of_cores(draw: Draw, least: int = 1) -> Program:
    """Draw a valid program of one to three cores, without deadlock or race between them, that fits `hanguang800`.

    Cores share what remote copies bring; in host each keeps to areas of its own.
    """
    cores = draw(st.integers(least, 3))
    numbers, queues = st.integers(0, cores - 1), st.sampled_from(ENGINES)
    # Mostly from one core to another.
    ends = st.one_of(st.permutations(range(cores)), st.just([0, 0])).map(lambda order: (order[0], order[-1]))
    streams = st.tuples(ends, queues, queues).map(lambda drawn: ((drawn[0][0], drawn[1]), (drawn[0][1], drawn[2])))
    team = _Team(
        draw,
        [[] for _ in range(cores)],
        [Place(areas=True, floats=False) for _ in range(cores)],
        draw(st.lists(streams, min_size=1, max_size=3)),
        draw(st.lists(st.dictionaries(numbers, queues, min_size=1), max_size=2)),
    )
    team.body(0)
    made = []
    for number, code in enumerate(team.codes):
        code = [_moved_in_host(_without_dev(instruction), number * AREA_END) for instruction in code]
        code.append(build("end"))
        lines = tuple(Line("drawn.npu", 1 + k, str(instruction.row.mnemonic)) for k, instruction in enumerate(code))
        constants = _constants(code, team.places[number])
        segments = [Segment("cb", op.address, random_data(number, op.dtype, op.elements)) for op in constants]
        symbols = [
            Symbol("slots", "local", "lm", SLOTS, I8, (TAKEN - SLOTS,)),
            Symbol(f"taken{number}", "output", "lm", TAKEN, I8, (TAKEN - SLOTS,)),
            Symbol("low", "local", "lm", 0, I8, (AREAS[U8],)),
        ]
        made.append(Core(tuple(code), lines, tuple(segments), tuple(symbols)))
    return Program(
        "drawn",
        load_chip("hanguang800"),
        draw(st.sampled_from(("hardware", "compiler"))),
        tuple(made),
        (),
        1,
        tuple(f"s{k}" for k in range(len(team.semaphores))),
        tuple(f"b{k}" for k in range(len(team.barriers))),
    )


def _moved_in_host(instruction: Instruction, by: int) -> Instruction:
    """Return the instruction with its operands in host memory so many bytes further."""
    operands = tuple(
        replace(operand, address=operand.address + by) if operand is not None and operand.memory == "host" else operand
        for operand in instruction.operands
    )
    return replace(instruction, operands=operands)


@st.composite
def _meaning(draw: Draw, dtype: DType, channels: int) -> tuple[tuple[float, ...], int]:
    """Return (scale, zero) of a symbol: no scale, one, or one for each channel where those are few."""
    counts = (0, 1, channels) if channels <= 4 else (0, 1)
    scale = tuple(draw(positive_f32) for _ in range(draw(st.sampled_from(counts))))
    return scale, draw(zero_points(dtype))


@st.composite
def _check(draw: Draw, output: Symbol, tasks: int, seed: int) -> Check:
    kind = draw(st.sampled_from(("top1", "exact", "within")))
    if kind == "top1":
        rows = tasks * output.bytes // output.dtype.bytes // output.host_shape[-1]
        labels = np.random.default_rng(seed).integers(0, output.host_shape[-1], rows).astype("<i4")
        return Check(output.name, kind, draw(st.floats(0, 1)), "labels.npy", labels.tobytes())
    data = random_data(seed, output.dtype, tasks * output.bytes // output.dtype.bytes)
    return Check(output.name, kind, 0.0 if kind == "exact" else draw(st.floats(0, 10)), "expected.npy", data)


def _without_dev(instruction: Instruction) -> Instruction:
    """Return the instruction with operands in dev moved to host, or to lm where it may not use host."""
    operands = []
    for spec, operand in zip(instruction.row.operands, instruction.operands, strict=True):
        if operand is not None and operand.memory == "dev":
            memory = "host" if "host" in spec.memories else "lm"
            operand = replace(operand, memory=memory)
        operands.append(operand)
    return Instruction(instruction.opcode, tuple(operands), instruction.attributes, instruction.waits)


# What an instruction reads lies in one half of the memory and its result in the other, so that neither overlaps.
HALF = 2**17


@st.composite
def _matrices(draw: Draw, half: int, counters: list[int], shape: tuple[int, int]) -> Operand:
    """Draw a small matrix near the beginning of a half, which moves or turns with some of the counters."""
    rows, columns = shape
    pitch = draw(st.sampled_from((columns, columns, 12, 16)))
    terms = {}
    for counter in counters:
        if draw(st.booleans()):
            modulus = draw(st.sampled_from((0, 0, 2, 2, 3, 4)))
            stride = draw(st.sampled_from((4, 8, 16, 32, 32, 64, 128, -8 if modulus else 16)))
            terms[counter, modulus] = stride
    low = sum(stride * (modulus - 1) for (_, modulus), stride in terms.items() if stride < 0)
    return Operand(
        "lm",
        half * HALF + draw(st.sampled_from((0, 4, 32, 64, 96, 128, 1024))) - low,
        I8,
        (1, 1, rows, columns),
        (rows * pitch, rows * pitch, pitch, 1),
        tuple(Term(*key, stride) for key, stride in sorted(terms.items())),
    )


@st.composite
def looped_programs(draw: Draw, most_trips: int = 6) -> Program:
    """Draw a program of one core, of copies and pools in nested loops of at most so many iterations, in compiler order.

    Some copies write constants that others scale by. Any wait bits, and bytes that meet often: it may race, in some
    iterations or in none.
    """

    def body(counters: list[int], most: int) -> list[Instruction]:
        code = []
        for _ in range(draw(st.integers(1, most))):
            if len(counters) < 3 and draw(st.integers(0, 2)) == 0:
                counter = len(counters) + 1
                count = draw(st.integers(2, most_trips))
                inside = body([*counters, counter], 3)
                code += [build("loop", counter=counter, count=count), *inside, build("brnz", counter=counter)]
                continue
            half, shape = draw(st.integers(0, 1)), draw(st.sampled_from(((2, 4), (2, 8), (4, 8))))
            x, out = draw(_matrices(half, counters, shape)), draw(_matrices(1 - half, counters, shape))
            waits = [engine for engine in ENGINES if draw(st.booleans())]
            steps = st.sampled_from((16, 16, 32, -16))
            terms = tuple(Term(k, 2, draw(steps)) for k in counters if draw(st.booleans()))
            constants = replace(dense("cb", 64 + 16 * draw(st.integers(0, 1)), F32, (4,)), terms=terms)
            kind = draw(st.sampled_from(("copy", "copy", "maxpool", "maxpool", "stream", "scale")))
            if kind == "stream":
                code.append(build("copy", waits, x=dense("lm", 2**14, F32, (4,)), out=constants))
            elif kind == "scale":
                x, out = (replace(o, shape=(1, 1, 2, 4)) for o in (x, out))
                code.append(build("eltwise", waits, x=x, out=out, ew1_scale=constants))
            else:
                code.append(build(kind, waits, x=x, out=out, **({"window": (1, 1)} if kind == "maxpool" else {})))
        return code

    code = (*body([], 5), build("end"))
    core = Core(code, tuple(Line("drawn", k + 1, "") for k in range(len(code))), (), ())
    return Program("drawn", load_chip("edge"), "compiler", (core,))


def ordered(program: Program) -> Program:
    """Return a program with the wait bits that leave it no race, whatever its order.

    An instruction waits for each other engine that has one whose bytes may meet its own in some iteration, one of them
    writing, and for those that wait for other cores; a signal and an arrival wait for all.
    """
    cores = []
    for number, core in enumerate(program.cores):
        trips = trips_at(core.code, program.tasks)
        reached = [_reached(number, instruction, trips[k]) for k, instruction in enumerate(core.code)]
        meeting = {i.engine for i in core.code if i.row.mnemonic in ("wait", "barrier")}
        code = []
        for instruction, mine in zip(core.code, reached):
            if instruction.row.engine == "seq":
                code.append(instruction)
                continue
            if instruction.row.mnemonic in ("signal", "barrier"):
                waits = set(ENGINES)
            else:
                met = zip(core.code, reached)
                waits = meeting | {other.engine for other, theirs in met if _may_meet(mine, theirs)}
            bits = sum(1 << k for k, engine in enumerate(ENGINES) if engine in waits and engine != instruction.engine)
            code.append(replace(instruction, waits=bits))
        cores.append(replace(core, code=tuple(code)))
    return replace(program, cores=tuple(cores))


_Reached = list[tuple[str, tuple[int, str], int, int]]


def _reached(core: int, instruction: Instruction, trips: Sequence[int]) -> _Reached:
    """Return kind, memory and bounds of the bytes that an instruction accesses in any iteration."""
    return [
        (kind, region(core if operand.core is None else operand.core, operand.memory), *operand.extent(trips))
        for kind, operand in instruction.accesses()
    ]


def _may_meet(mine: _Reached, theirs: _Reached) -> bool:
    return any(
        "write" in (kind, other) and memory == place and low < end and start < high
        for kind, memory, low, high in mine
        for other, place, start, end in theirs
    )


def race_free_programs(cores: int = 1) -> st.SearchStrategy[Program]:
    """Draw programs without a race, by construction (`ordered`); with `cores` 2 or more, of two or three of them."""
    return (programs(dev=False) if cores == 1 else programs_of_cores(least=2)).map(ordered)


# An instruction of each engine that takes one tensor and makes another of the same shape.
MOVES: dict[str, tuple[str, dict[str, Any]]] = {
    "te": ("eltwise", {}),
    "pe": ("maxpool", {"window": (1, 1)}),
    "me": ("copy", {}),
}
# What they share, and what each has besides.
SHARED_AT, BESIDES_AT = 0, (8 * 1024, 16 * 1024)


@st.composite
def racy_programs(draw: Draw) -> tuple[Program, int, str]:
    """Draw a program of one core with a race: a race-free one without one of its wait bits.

    Returned are the program, the index of the instruction, and the letter of the bit that it lacks. By construction:
    two instructions of different engines side by side, of which one writes what the other reads or writes. What stands
    before both has no part in the first, so only that bit can order them.
    """
    program = replace(draw(programs(dev=False)), order="compiler")
    (core,) = program.cores
    at = draw(st.integers(0, len(core.code) - 1))
    trips = trips_at((*core.code[:at], core.code[-1]), program.tasks)[-1]
    counters = [k for k, count in enumerate(trips) if count > 1]
    terms = tuple(Term(k, 0, 16) for k in sorted(draw(st.sets(st.sampled_from(counters))) if counters else ()))
    shared = replace(dense("lm", SHARED_AT + 4 * draw(st.integers(0, 15)), I8, (1, 2, 2, 4)), terms=terms)
    engines = draw(st.permutations(ENGINES))[:2]
    kinds = draw(st.sampled_from((("out", "x"), ("x", "out"), ("out", "out"))))
    pair = []
    for engine, kind, besides in zip(engines, kinds, BESIDES_AT):
        mnemonic, attributes = MOVES[engine]
        other = replace(shared, address=besides, terms=())
        out, x = (shared, other) if kind == "out" else (other, shared)
        pair.append(build(mnemonic, out=out, x=x, **attributes))
    code = (*core.code[:at], *pair, *core.code[at:])
    lines = tuple(Line("drawn.npu", 1 + k, str(instruction.row.mnemonic)) for k, instruction in enumerate(code))
    program = ordered(replace(program, cores=(replace(core, code=code, lines=lines),)))
    (core,) = program.cores
    without = replace(core.code[at + 1], waits=core.code[at + 1].waits & ~(1 << ENGINES.index(engines[0])))
    code = (*core.code[: at + 1], without, *core.code[at + 2 :])
    letter = next(letter for letter, engine in WAIT_LETTERS.items() if engine == engines[0])
    return replace(program, cores=(replace(core, code=code),)), at + 1, letter
