"""memory_needs, find_loops and trips_at on code small enough to walk by hand."""

from hypothesis import HealthCheck, given, settings

from isa.dtypes import I8, I32
from isa.instruction import build
from isa.loops import Loop, find_loops, trips_at
from isa.operand import MAX_LOOP_DEPTH, MEMORIES, Term, dense
from isa.program import Core, Segment, Symbol, memory_needs
from ratel.testing.programs import programs


def loop(counter, count):
    return build("loop", counter=counter, count=count)


def brnz(counter):
    return build("brnz", counter=counter)


def fill(address, *terms):
    return build("fill", out=dense("lm", address, I8, (4,), terms))


NESTED = (loop(1, 3), loop(2, 5), fill(0), brnz(2), loop(2, 7), brnz(2), brnz(1), loop(1, 2), brnz(1), build("end"))


def test_find_loops():
    assert find_loops(NESTED) == [Loop(0, 6, 1, 3), Loop(1, 3, 2, 5), Loop(4, 5, 2, 7), Loop(7, 8, 1, 2)]
    assert find_loops((build("end"),)) == []


def test_trips_at():
    rest = (1,) * (MAX_LOOP_DEPTH - 2)
    outer_and_inner = [(3, 1), (3, 5), (3, 5), (3, 5), (3, 7), (3, 7), (3, 1), (2, 1), (2, 1), (1, 1)]
    assert trips_at(NESTED) == [(1, *counts, *rest) for counts in outer_and_inner]


def walk(code):
    """Yield (instruction, counters) for every dynamic instruction."""
    ends = {one.last: one for one in find_loops(code)}
    starts = {one.first: one for one in find_loops(code)}
    counters = [0] * (MAX_LOOP_DEPTH + 1)
    at = 0
    while at < len(code):
        if at in starts:
            counters[starts[at].depth] = 0
        yield code[at], tuple(counters)
        if at in ends:
            counters[ends[at].depth] += 1
            if counters[ends[at].depth] < ends[at].count:
                at = ends[at].first
        at += 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(programs())
def test_trips_bound_the_counters_of_every_iteration(program):
    code = program.cores[0].code
    trips = dict(zip(map(id, code), trips_at(code), strict=True))
    needs = memory_needs(program.cores[0])
    for instruction, counters in walk(code):
        if instruction.engine != "seq":
            for _, operand in instruction.accesses():
                low, high = operand.extent(trips[id(instruction)])
                first, last = operand.span()
                assert low <= operand.address_at(counters) + first
                assert operand.address_at(counters) + last <= high <= needs[operand.memory]


def test_memory_needs_is_the_furthest_of_code_data_and_symbols():
    code = (loop(1, 10), fill(100, Term(1, 0, 16)), brnz(1), build("end"))
    assert memory_needs(Core(code, (), (), ())) == {"lm": 100 + 9 * 16 + 4, "cb": 0, "host": 0, "dev": 0}
    segments = (Segment("cb", 64, bytes(10)), Segment("dev", 0, b""))
    symbols = (Symbol("x", "input", "host", 256, I32, (3, 5)), Symbol("y", "local", "lm", 0, I8, (2,)))
    needs = memory_needs(Core(code, (), segments, symbols))
    assert needs == {"lm": 248, "cb": 74, "host": 256 + 60, "dev": 0}
    assert tuple(needs) == MEMORIES


def test_a_term_with_modulus_needs_no_more_than_its_buffers():
    code = (loop(1, 10), fill(0, Term(1, 2, 64)), brnz(1), build("end"))
    assert memory_needs(Core(code, (), (), ()))["lm"] == 68
