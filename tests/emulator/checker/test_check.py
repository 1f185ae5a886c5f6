"""Check: what is said of data and tokens, against brute force and to the letter; and what the commands make of it."""

import json
import tracemalloc
from dataclasses import replace
from math import lcm
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ratel
from emulator.checker.check import check
from emulator.checker.findings import CODES, Edit, Finding
from emulator.checker.initialisation import _Flow, _remainders, find_dataflow
from emulator.checker.overflow import _reach as reach
from emulator.checker.overflow import can_overflow
from emulator.checker.races import find_races
from emulator.checker.synchronisation import useless_waits, without_waits
from emulator.plan.load import load
from isa.chip import load_chip
from isa.diagnostic import Place
from isa.dtypes import I32
from isa.errors import RatelError
from isa.operand import Term
from isa.program import Program
from isa.row import ENGINES, WAIT_LETTERS
from ratel import testing
from ratel.api import plan_for
from ratel.cli.main import main
from ratel.show.findings import rendered
from ratel.testing.programs import looped_programs, programs_of_cores, race_free_programs
from tests.emulator.checker.plain_races import Deadlock, Executed, accesses, check_deadlock, unrolled

PROGRAMS = Path(__file__).parents[3] / "programs"
COPIED = ".chip edge\n.input x i8[4, 16]\n.local a i8[4, 16]\n.local b i8[4, 16]\n.output y i8[4, 16]\n{}\nend\n"


def bytes_read_before_they_are_written(program: Program) -> set[tuple[int, int]]:
    """Return the instructions that read what nothing has written, by (core, index): one core, byte by byte."""
    there: set[tuple] = set()
    for number, core in enumerate(program.cores):
        for segment in core.segments:
            place = segment.memory, 0 if segment.memory in ("host", "dev") else number
            there |= {(place, segment.address + k) for k in range(len(segment.data))}
        for symbol in core.symbols:
            if symbol.kind == "input":
                place = symbol.memory, 0 if symbol.memory in ("host", "dev") else number
                there |= {(place, symbol.address + k) for k in range(symbol.bytes)}
    found = set()
    for e in unrolled(program, 0, 0):
        touched = accesses(e)
        names = [
            s.name for s, o in zip(e.instruction.row.operands, e.instruction.operands, strict=True) if o is not None
        ]
        for (kind, runs), name in zip(touched, names, strict=True):
            held = {(place, k) for place, first, end in runs for k in range(first, end)}
            # What is put by an index is read whole; what is picked, nobody knows.
            picked = name == "x" and "index" in names and e.instruction.row.mnemonic != "scatter"
            if kind == "read" and not held <= there and not picked:
                found.add((0, e.index))
        for kind, runs in touched:
            if kind == "write":
                there |= {(place, k) for place, first, end in runs for k in range(first, end)}
    return found


@settings(max_examples=60, deadline=None)
@given(st.one_of(race_free_programs(), looped_programs(most_trips=4)))
def test_reads_of_what_is_not_there_are_those_by_brute_force(program: Program) -> None:
    plan = load(program, program.chip, 1)
    findings, unseen = find_dataflow(plan)
    assert not unseen
    found = {(f.place.core, f.place.index) for f in findings if f.code == "C401" and f.place}
    assert found == bytes_read_before_they_are_written(program)


@settings(max_examples=60, deadline=None)
@given(looped_programs(most_trips=4))
def test_long_programs_are_told_of_bytes_that_nothing_writes(program: Program) -> None:
    """What no instruction writes in any iteration is found without following any."""
    plan = load(program, program.chip, 1)
    found = {f.place.index for f in _Flow(plan).over_all() if f.place}
    executed = unrolled(program, 0, 0)

    def held(e: Executed, kind: str) -> set:
        return {(p, k) for of, runs in accesses(e) if of == kind for p, first, end in runs for k in range(first, end)}

    written = set().union(*(held(e, "write") for e in executed))
    expected = {e.index for e in executed if not held(e, "read") <= written}
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(programs_of_cores(least=2), st.data())
def test_a_program_without_some_of_its_lines_is_checked(program: Program, data: st.DataObject) -> None:
    plain = [
        (number, k)
        for number, core in enumerate(program.cores)
        for k, instruction in enumerate(core.code)
        if instruction.row.engine != "seq"
    ]
    if not plain:
        return
    number, gone = data.draw(st.sampled_from(plain))
    core = program.cores[number]
    core = replace(
        core,
        code=tuple(i for k, i in enumerate(core.code) if k != gone),
        lines=tuple(line for k, line in enumerate(core.lines) if k != gone),
    )
    program = replace(program, cores=(*program.cores[:number], core, *program.cores[number + 1 :]))
    try:
        plan = load(program, program.chip, 1)
    except RatelError:
        return
    verdict = check(plan)
    try:
        check_deadlock([unrolled(program, k, 10**6 * k) for k in range(len(program.cores))])
        assert verdict.verdict == find_races(plan).verdict
    except Deadlock:
        assert verdict.findings[0].code == "C301"
    assert all(rendered(plan, finding) for finding in verdict.findings)


def shown(body: str) -> list[str]:
    plan = load(ratel.assemble(COPIED.format(body), "it.npu"), load_chip("edge"), 1)
    verdict = check(plan)
    assert {finding.code for finding in verdict.findings} <= set(CODES)
    return [rendered(plan, finding).split("\n")[0] for finding in verdict.findings]


@pytest.mark.parametrize(
    ("body", "findings"),
    [
        ("copy y, x", []),
        ("copy y, a", ["error[C401]: this reads element [0, 0] of a, which nothing has written"]),
        ("copy a[0:2], x[0:2]\ncopy y, a", ["error[C401]: this reads element [2, 0] of a, which nothing has written"]),
        (
            "loop i, 4\ncopy y[i], a[i]\ncopy a[i], x[i]\nbrnz i",
            ["error[C401]: this reads element [0, 0] of a, which nothing has written [iteration 0]"],
        ),
        (
            "copy a, x",
            [
                "error[C402]: output `y` is never written",
                "warning[C403]: nothing reads what this writes, from byte 0 of a on",
            ],
        ),
        (
            "copy y[0:3], x[0:3]",
            ["error[C402]: 16 of 64 bytes of output `y` are never written, the first of element [3, 0]"],
        ),
        (
            "copy y, x\ncopy b, x",
            ["warning[C403]: nothing reads what this writes, from byte 0 of b on"],
        ),
    ],
)
def test_what_is_said_of_data(body: str, findings: list[str]) -> None:
    assert shown(body) == findings


def test_what_is_long_or_large_is_not_followed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read then counts as of written bytes wherever the write is."""
    body = "copy y, a\ncopy a, x"
    assert [line[:11] for line in shown(body)] == ["error[C401]"]
    for limit, most in (("MOST_IN_ORDER", 1), ("MOST_FOLLOWED", 255)):
        with monkeypatch.context() as context:
            context.setattr(f"emulator.checker.initialisation.{limit}", most)
            assert shown(body) == []
            context.setattr(f"emulator.checker.initialisation.{limit}", most + 1)
            assert shown(body) != []


def test_a_stray_signal_is_a_warning() -> None:
    text = ".chip hanguang800\n.semaphore s\n.input x i8[4]\n.output y i8[4]\ncopy y, x\nsignal s, me\nend\n"
    verdict = ratel.check(ratel.assemble(text))
    assert verdict.passed
    assert [f.message for f in verdict.findings] == ["semaphore `s` is signalled once and waited for never"]


# Core 0 may be two tiles ahead: a credit for each place of the inbox, of which two are left in the end.
CREDITS = """
.chip hanguang800
.order compiler
.semaphore full
.semaphore free
.core 0
.input x i8[6, 1, 1, 1, 16]
loop i, 6
    wait free, me
    copy core1.inbox[i % 2], x[i]
    signal full, me
brnz i
end
.core 1
.local inbox i8[2, 1, 1, 1, 16]
.output y i8[6, 1, 1, 1, 16]
{}
loop i, 6
    wait full, pe
    maxpool y[i], inbox[i % 2], window=1
    signal free, pe
brnz i
end
"""
CREDIT = "signal free, pe\n"


def test_credits_are_no_finding_and_one_too_many_is_a_race() -> None:
    program = ratel.assemble(CREDITS.format(2 * CREDIT))
    assert ratel.check(program).verdict == "proven" and not ratel.check(program).findings
    # Each task counts anew: with what is left of the task before, core 0 would write what has not been read.
    batch = np.arange(3 * 6 * 16).reshape(3, 6, 1, 1, 1, 16).astype(np.int8)
    testing.assert_equivalent(program, lambda x: x, {"x": batch}, seeds=range(5))
    assert [f.code for f in ratel.check(ratel.assemble(CREDITS.format(3 * CREDIT))).findings] == ["C101", "C302"]
    assert [f.code for f in ratel.check(ratel.assemble(CREDITS.format(""))).findings] == ["C301"]


@pytest.mark.parametrize(
    ("weight", "inner", "found"),
    [
        ("u8[{k}, 1] = 255", 33025, None),
        (
            "u8[{k}, 1] = 255",
            33026,
            "can reach 2,147,515,650, but the accumulator wraps at 2,147,483,647",
        ),
        ("i8[{k}, 1] = -128", 65793, None),
        (
            "i8[{k}, 1] = -128",
            65800,
            "can reach -2,147,712,000, but the accumulator wraps at -2,147,483,648",
        ),
        ("u8[{k}, 1] = 1", 50000, None),
    ],
)
def test_sums_that_can_overflow(weight: str, inner: int, found: str | None) -> None:
    text = f".chip hanguang800\n.input x u8[1, {inner}]\n.weight w {weight.format(k=inner)}\n.output y i32[1, 1]\n"
    verdict = ratel.check(ratel.assemble(text + "matmul y, x, w\nend\n"))
    assert [f.message for f in verdict.findings] == ([f"the sum of channel 0 {found}"] if found else [])
    if found:
        x = np.full((1, inner), 255, np.uint8)
        wrapped = ratel.run(ratel.assemble(text + "matmul y, x, w\nend\n"), {"x": x}).outputs["y"]
        assert int(wrapped[0, 0]) != 255 * inner * (255 if "u8" in weight else -128)


# How an operand follows two counters, and the same in Python.
FOLLOWED = {
    "0": lambda i, j: 0,
    "i": lambda i, j: i,
    "j": lambda i, j: j,
    "i % 2": lambda i, j: i % 2,
    "1 - i % 2": lambda i, j: 1 - i % 2,
    "i + j": lambda i, j: i + j,
    "i % 2 + j": lambda i, j: i % 2 + j,
}
# Near the ends of 32 bits, so that some weights pass them and others do not.
NEAR = st.integers(0, 66_000).map(lambda less: I32.high - less) | st.integers(0, 66_000).map(
    lambda more: I32.low + more
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from((-128, -1, 0, 1, 127)), min_size=12, max_size=12),
    st.lists(NEAR | st.just(0), min_size=12, max_size=12),
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.sampled_from(sorted(FOLLOWED)),
    st.sampled_from(sorted(FOLLOWED)),
)
def test_sums_of_operands_that_follow_counters_are_those_of_each_iteration(
    weights: list[int], biases: list[int], counts: tuple[int, int], of_w: str, of_bias: str
) -> None:
    w, bias = np.array(weights, np.int8).reshape(6, 2, 1), np.array(biases[:6], np.int32).reshape(6, 1)
    b = ratel.Builder("sums", chip="edge")
    x = b.input("x", "u8", (1, 2))
    y = b.output("y", "i32", (1, 1))
    held_w, held_bias = b.weight("w", w), b.const("bias", bias)
    with b.loop(counts[0]) as i, b.loop(counts[1]) as j:
        at_w, at_bias = (eval(text, {"i": i, "j": j}) for text in (of_w, of_bias))
        b.matmul(y, x, held_w[at_w], bias=held_bias[at_bias])
    found, unseen = can_overflow(plan_for(b.build(), None))
    assert not unseen
    passing = set()
    for i_, j_ in np.ndindex(*counts):
        products = 255 * w[FOLLOWED[of_w](i_, j_)].astype(int)
        added = int(bias[FOLLOWED[of_bias](i_, j_), 0])
        if products[products > 0].sum() + added > I32.high or products[products < 0].sum() + added < I32.low:
            passing.add((i_, j_))
    assert {f.place.counters[1:3] for f in found if f.place} <= passing
    assert bool(found) == bool(passing)


LOOPED = """
.chip edge
.input x i8[1, 1]
.weight w i8[2, 1, 1] = {}
.const b i32[2, 1] = {}
.output y i32[1, 1]
loop i, 2
matmul y, x, {}
brnz i
end
"""


@pytest.mark.parametrize(
    ("weights", "biases", "operands", "codes"),
    [
        # The two of the issue: not found, and found where it cannot be.
        (1, 2147483647, "w[0], bias=b[i]", ["C501"]),
        (0, 2147483647, "w[i], bias=b[0]", []),
        (1, 2147483520, "w[i], bias=b[i]", []),
    ],
)
def test_sums_in_loops(weights: int, biases: int, operands: str, codes: list[str]) -> None:
    verdict = ratel.check(ratel.assemble(LOOPED.format(weights, biases, operands)))
    assert [finding.code for finding in verdict.findings] == codes
    assert all(
        finding.message.startswith("the sum of channel 0 can reach 2,147,483,774 [iteration 0]")
        for finding in verdict.findings
    )


def test_sums_that_are_not_looked_at_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    program = ratel.assemble(LOOPED.format(1, 2147483647, "w[i], bias=b[i]"))
    for limit, why in (("MOST_PAIRS", "it has too many iterations"), ("MOST_WEIGHTS", "there are too many weights")):
        with monkeypatch.context() as context:
            context.setattr(f"emulator.checker.overflow.{limit}", 0 if limit == "MOST_WEIGHTS" else 1)
            verdict = ratel.check(program)
        assert not verdict.findings and len(verdict.unseen) == 1
        assert verdict.unseen[0].startswith("whether a sum of ") and why in verdict.unseen[0]


@given(
    npst.arrays(np.uint8, npst.array_shapes(min_dims=3, max_dims=3, max_side=7)),
    st.integers(0, 255),
    st.sampled_from([(-128, 127), (0, 255), (-255, 0)]),
    st.integers(1, 40),
)
def test_weights_are_summed_a_piece_at_a_time(
    factors: np.ndarray, zero: int, ends: tuple[int, int], piece: int
) -> None:
    products = [(factors.astype(np.int64) - zero) * end for end in ends]
    with pytest.MonkeyPatch.context() as context:
        context.setattr("emulator.checker.overflow.PIECE", piece)
        least, most = reach(factors, zero, ends)
    assert least.tolist() == np.minimum(*products).sum(axis=1).min(axis=0).tolist()
    assert most.tolist() == np.maximum(*products).sum(axis=1).max(axis=0).tolist()


def test_a_look_at_sums_keeps_to_the_memory_that_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.checker.overflow.PIECE", 2**12)
    text = ".scales explicit\n.input x i8[1, 64]\n.weight w i8[64, 8192] = 1\n.const b i32[8192] = 2147483647\n"
    program = ratel.assemble(text + ".output y i32[1, 8192]\nmatmul y, x, w, bias=b\nend\n")
    plan = plan_for(program, None)
    tracemalloc.start()
    findings, _ = can_overflow(plan)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The weights in 64 bits would be 4 MiB, and their products with either end as much again.
    assert [finding.code for finding in findings] == ["C501"] and most < 2**20
    verdict = ratel.check(program, memory=100_000)
    (unseen,) = verdict.unseen
    assert not verdict.findings and "it needs 512.0 KiB for a copy of its weights; 97.7 KiB is the limit" in unseen


def test_what_nothing_wrote_is_found_by_a_mark_for_each_byte() -> None:
    size = 2**22
    text = f".local t i8[3, {size}]\n.output y i8[3, {size}]\nfill t[0]\ncopy y[::2], t[::2]\nfill y[1]\nend\n"
    plan = plan_for(ratel.assemble(text), None)
    tracemalloc.start()
    findings, _ = find_dataflow(plan)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [finding.code for finding in findings] == ["C401"] and "element [2, 0] of t" in findings[0].message
    # The state of both tensors and marks for as many bytes; places of them would be 64 MiB more.
    assert most < 16 * size


REMOTE = """
.chip hanguang800
.core 0
.input x i8[1, 1]
.weight w i8[1, 1] = 0
.const b i32[1] = 2147483647
.output y i32[1, 1]
matmul y, x, w, bias=b
end
.core 1
.input v i8[1, 1]
{}end
"""


@pytest.mark.filterwarnings("ignore")
def test_weights_that_another_core_writes_are_not_constants() -> None:
    codes = [
        [finding.code for finding in ratel.check(ratel.assemble(REMOTE.format(line))).findings]
        for line in ("", "copy core0.w, v\n")
    ]
    assert codes[0] == [] and "C501" in codes[1]


PARTS = """
.chip hanguang800
.input x i8[{parts}, 1, 1000]
.weight w i8[{parts}, 1000, 1] = 1
.output y i32[1, 1]
fill y, value=0
loop k, {parts}
matmul y, x[k], w[k], add=y
brnz k
end
"""


@pytest.mark.parametrize(("parts", "said"), [(4, 0), (200, 1)])
def test_sums_over_parts_are_bounded_together(parts: int, said: int) -> None:
    verdict = ratel.check(ratel.assemble(PARTS.format(parts=parts)))
    assert verdict.passed and len(verdict.unseen) == said
    assert all("it adds i32 sums" in line for line in verdict.unseen)


ADDED = """
.chip hanguang800
.input x i8[1, 100000]
.weight w i8[100000, 1] = 127
.input v i32[1, 1]
.weight c i32[1, 1] = {}
.local t i32[1, 1]
.output y i32[1, 1]
{}
end
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("held", "lines", "why"),
    [
        # 100,000 products of at most 2**14 each are 1,638,400,000.
        (0, ["matmul t, x, w", "matmul y, x, w, add=t"], "by their types"),
        (0, ["matmul t, x, w", "copy y, t", "matmul y, x, w, add=y"], "by their types"),
        (0, ["matmul y, x, w, add=v"], "`v`, an input, may have any value"),
        (0, ["copy t, v", "copy y, t", "matmul y, x, w, add=y"], "`v`, an input, may have any value"),
        (2**31 - 1, ["matmul y, x, w, add=c"], "by their types"),
        (-(2**31), ["copy t, c", "matmul y, x, w, add=t"], "by their types"),
        (500_000_000, ["matmul y, x, w, add=c"], ""),
        (0, ["fill t, value=500000000", "matmul y, x, w, add=t"], ""),
        (0, ["fill t, value=600000000", "matmul y, x, w, add=t"], "by their types"),
        (0, [".local b i8[4] at t", "fill t, value=0", "fill b, value=127", "matmul y, x, w, add=t"], "is no i32"),
        (0, [".local p i32[1, 2]", "fill p, value=2", "reduce y, p, sum"], ""),
        (0, [".local p i32[1, 2]", "fill p, value=1073741824", "reduce y, p, sum"], "2 integers"),
        (0, [".local p i32[1, 2]", "fill p, value=2", "reduce t, p, sum", "matmul y, x, w, add=t"], "sums of i32 sums"),
        (2**31 - 1, ["reduce t, c, argmax", "matmul y, x, w, add=t"], ""),
    ],
)
def test_what_i32_sums_are_added_to_is_bounded_or_told(held: int, lines: list[str], why: str) -> None:
    verdict = ratel.check(ratel.assemble(ADDED.format(held, "\n".join(lines))))
    assert not [finding for finding in verdict.findings if finding.code == "C501"]
    assert len(verdict.unseen) == bool(why) and all(why in line for line in verdict.unseen)


STREAMED = """
.chip edge
.input x i8[1, 1000]
.weight w i8[1000, 1] = 127
.weight biases i32[4, 1] in dev = {}
.local b i32[2, 1] in cb
.output y i32[1, 1]
loop k, 4
load b[k % 2], biases[k]
matmul y, x, w, bias=b[k % 2]
brnz k
{}
end
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("held", "line", "codes", "why"),
    [
        ("[[1], [2], [3], [2000000000]]", "", [], ""),
        ("[[1], [2], [3], [2140000000]]", "", ["C501"], ""),
        ("[[-2140000000], [2], [3], [4]]", "", ["C501"], ""),
        (
            "3",
            ".input v i32[1, 1]\ncopy b[0], v[0]\nmatmul y, x, w, bias=b[0]",
            [],
            "`v`, an input, may have any value",
        ),
        (
            "3",
            ".local t i32[1, 1]\nmatmul t, x, w\ncopy b[0], t[0]\nmatmul y, x, w, bias=b[0]",
            [],
            "a sum of products",
        ),
        ("3", ".local o i8[4] at b\n.local t i8[4]\nfill t\ncopy o, t", [], "is no i32"),
    ],
)
def test_a_streamed_bias_is_bounded_by_all_that_comes_to_its_place(
    held: str, line: str, codes: list[str], why: str
) -> None:
    verdict = ratel.check(ratel.assemble(STREAMED.format(held, line)))
    assert [finding.code for finding in verdict.findings if finding.code == "C501"] == codes
    assert bool(verdict.unseen) == bool(why) and all(why in text for text in verdict.unseen)


FAR = """
.chip edge
.order compiler
.local far i8[70001, 4] in dev
.local a i8[4]
.output y i8[4]
loop k, 70000
fill a, value=1
store far[k + k % 2], a
brnz k
load y, far[{}]
end
"""


@pytest.mark.parametrize(
    ("row", "codes"),
    # Rows of odd numbers are left out.
    [(0, []), (69_998, []), (70_000, []), (1, ["C401"]), (69_999, ["C401"])],
)
def test_a_counter_that_is_also_in_a_remainder_is_followed_to_its_end(row: int, codes: list[str]) -> None:
    verdict = ratel.check(ratel.assemble(FAR.format(row)))
    assert [finding.code for finding in verdict.errors] == codes


COUNTED = st.builds(Term, st.just(1), st.sampled_from([0, 0, 2, 3, 4]), st.integers(-3, 3))


@given(st.lists(COUNTED, min_size=1, max_size=3), st.integers(2, 30))
def test_what_a_counter_adds_to_an_address_by_its_remainder(terms: list[Term], trips: int) -> None:
    period = min(lcm(*(term.modulus for term in terms if term.modulus)), trips)
    found = [offset + n * step for offset, count, step in _remainders(terms, trips, period) for n in range(count)]
    assert set(found) == {sum(term.at(n) for term in terms) for n in range(trips)}


WAITING = """
.chip edge
.order compiler
.input x i8[1, 4, 4, 16]
.local a i8[1, 4, 4, 16]
.output y i8[1, 4, 4, 16]
.output z i8[1, 4, 4, 16]
maxpool z, x, window=1
(w.p) copy a, x
(w.m) maxpool y, a, window=1
end
"""


def test_wait_bits_that_order_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, without = tmp_path / "it.npu", tmp_path / "without.npu"
    path.write_text(WAITING)
    without.write_text(WAITING.replace("(w.p) ", ""))
    assert main(["check", str(path), "--waits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(f["code"], f["place"]["line"]) for f in found["findings"]] == [("C201", 9)]
    cycles = [ratel.time(ratel.assemble(one.read_text())).cycles for one in (path, without)]
    assert found["cycles_saved"] == cycles[0] - cycles[1] > 0
    assert main(["check", str(path), "--fix", "--waits"]) == 0
    assert path.read_text() == without.read_text()


def test_wait_bits_are_edited_however_they_are_spaced(tmp_path: Path) -> None:
    path = tmp_path / "it.npu"
    path.write_text(WAITING.replace("(w.p) ", "( w . p ) "))
    assert main(["check", str(path), "--fix", "--waits"]) == 0
    assert path.read_text() == WAITING.replace("(w.p) ", "")


def test_a_line_of_a_macro_keeps_a_wait_bit_that_one_of_its_uses_needs(tmp_path: Path) -> None:
    macro = ".macro move out, x\n(w.p) copy out, x\n.endmacro\n"
    text = WAITING.replace(".input", macro + ".input", 1).replace("(w.p) copy a, x", "move a, x\nmove a, z")
    path = tmp_path / "it.npu"
    path.write_text(text)
    assert main(["check", str(path), "--fix", "--waits"]) == 0
    assert path.read_text() == text


def test_run_checks_first_where_order_hides_races(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "it.npu"
    path.write_text(
        (PROGRAMS / "bugs" / "missing_wait.npu").read_text().replace("i8[1, 8, 8, 16]\n", "i8[1, 8, 8, 16] = 1\n", 1)
    )
    assert main(["run", str(path)]) == 1
    assert "error[C101]" in (said := capsys.readouterr()).err and "not run" in said.err and not said.out
    assert main(["run", str(path), "--no-check"]) == 0
    border = tmp_path / "border.npu"
    border.write_text(
        (PROGRAMS / "bugs" / "border.npu").read_text().replace("i8[1, 6, 6, 16]\n", "i8[1, 6, 6, 16] = 1\n", 1)
    )
    assert main(["run", str(border)]) == 0
    assert main(["run", str(border), "--check"]) == 1


# The buffer that is pooled is the one just written in every other task.
TURNING = """
.chip edge
.order compiler
.input x i8[1, 2, 2, 16]
.local a i8[2, 1, 2, 2, 16]
.output y i8[1, 2, 2, 16]
copy a[task % 2], x
maxpool y, a[1], window=1
end
"""


def test_a_batch_is_checked_for_all_its_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, batch = tmp_path / "turning.npu", tmp_path / "x.npy"
    path.write_text(TURNING)
    for tasks, status in ((1, 0), (2, 1)):
        np.save(batch, np.zeros((tasks, 1, 2, 2, 16), np.int8))
        assert main(["run", str(path), "--input", f"x={batch}"]) == status
    assert "error[C101]: this read of byte 64 of a races" in capsys.readouterr().err


def test_what_a_later_task_reads_is_read() -> None:
    codes = [[f.code for f in ratel.check(ratel.assemble(TURNING), tasks=tasks).findings] for tasks in (1, 2)]
    assert codes == [["C401", "C403"], ["C101", "C401"]]


def test_a_run_is_checked_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "it.npu", "--check", "--no-check"])
    assert "not allowed with" in capsys.readouterr().err


def test_of_wait_bits_those_that_are_left_are_all_needed() -> None:
    """One by one, in programs drawn at random, some with a loop."""
    drawn, told = np.random.default_rng(7), 0
    moves = ("copy {}, {}", "maxpool {}, {}, window=1", "eltwise {}, {}")
    for _ in range(60):
        lines = []
        for _ in range(6):
            to, of = (f"t{k}" for k in drawn.permutation(4)[:2])
            letters = "".join(letter for letter in "tpm" if drawn.random() < 0.6)
            lines.append(f"{f'(w.{letters}) ' if letters else ''}{moves[drawn.integers(3)].format(to, of)}")
        if drawn.random() < 0.5:
            lines = ["loop i, 3", *lines, "brnz i"]
        declared = "\n".join(f".local t{k} i8[1, 1, 1, 16]" for k in range(4))
        plan = plan_for(ratel.assemble("\n".join([".chip edge", ".order compiler", declared, *lines, "end"])), None)
        if find_races(plan).verdict != "proven":
            continue
        useless, unseen = useless_waits(plan)
        left = without_waits(plan, useless)
        assert not unseen and find_races(left).verdict == "proven"
        told += len(useless)
        for index, instruction in enumerate(left.cores[0].core.code):
            for letter, engine in WAIT_LETTERS.items():
                if instruction.waits >> ENGINES.index(engine) & 1:
                    one = Finding("C201", Place(0, index), "", "", (), (Edit(0, index, "drop wait", letter),))
                    assert find_races(without_waits(left, [one])).verdict == "race", lines
    assert told > 20


def test_who_wrote_what_is_read_is_told_by_its_own_turns() -> None:
    """The writer's loop has two turns, the reader's four: in a third turn it would have written `b`."""
    text = (
        ".chip edge\n.input x i8[1, 64]\n.output y i8[2, 64]\n.local a i8[2, 64] at 4096\n.local b i8[1, 64] at 4224\n"
        ".local d i8[1, 64] at 8192\n.local e i8[1, 64] at 8224\n"
        "loop i, 2\n copy a[i : +1], x\nbrnz i\ncopy b, x\ncopy d, x\n"
        "loop i, 4\n copy y[:, i*16 : +16], a[:, i*16 : +16]\nbrnz i\nend\n"
    )
    assert {finding.code for finding in ratel.check(ratel.assemble(text)).findings} == {"C403"}
