"""Several threads: the same bits as one, traps and pauses on which all agree."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.execute.session import Dump, execute
from emulator.execute.walkers import Walkers
from emulator.kernels.table import SHARED
from emulator.plan.load import load
from emulator.plan.plan import Plan
from isa.chip import load_chip
from isa.dtypes import I8, I32
from isa.errors import InputError, Trap
from isa.instruction import Instruction, build
from isa.operand import Term, dense
from isa.program import Program, Segment, Symbol
from isa.table import MNEMONICS
from ratel import assemble
from ratel.testing.programs import programs, programs_of_cores
from tests.emulator.execute.test_cores import everything, whole_memories
from tests.emulator.execute.test_session import program

EDGE, HANGUANG = load_chip("edge"), load_chip("hanguang800")


@pytest.fixture(scope="module", autouse=True)
def all_is_large() -> Iterator[None]:
    """Let walkers share the smallest instruction, but for those that are left to walker 0 alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emulator.execute.predecode.LEAST_SHARED", 0)
        patch.setattr(
            "emulator.execute.walkers.SHARED", SHARED - {MNEMONICS["copy"].opcode, MNEMONICS["gather"].opcode}
        )
        yield


def result(plan: Plan, threads: int) -> tuple[str, list[bytes]]:
    """Return what a run ends with: the trap, or nothing, and every byte of memory."""
    try:
        execution = execute(plan, {}, poison=5, dumps=everything(plan), threads=threads)
    except (InputError, Trap) as error:
        return error.message, []
    return "", [dump.tobytes() for dump in execution.dumps]


def same_for_any_number(drawn: Program, threads: int) -> None:
    plan = whole_memories(load(drawn, drawn.chip))
    assert result(plan, 1) == result(plan, threads)


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.sampled_from((2, 3, 5)))
def test_same_bits_for_any_number(drawn: Program, threads: int) -> None:
    same_for_any_number(drawn, threads)


@settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(programs_of_cores(least=2), st.sampled_from((2, 3, 5)))
def test_same_bits_of_several_cores(drawn: Program, threads: int) -> None:
    same_for_any_number(drawn, threads)


def pooling(count: int = 5, last: tuple[Instruction, ...] = (), segments: tuple[Segment, ...] = ()) -> Plan:
    """A loop of a maxpool, which walkers share, and a copy of one of its rows, which walker 0 does alone."""
    x, pooled = dense("lm", 0, I8, (1, 8, 8, 4)), dense("lm", 256, I8, (1, 8, 8, 4))
    row, to = dense("lm", 256, I8, (32,), (Term(1, 8, 32),)), dense("lm", 0, I8, (32,), (Term(1, 8, 32),))
    code = [
        build("loop", counter=1, count=count),
        build("maxpool", out=pooled, x=x, window=(2, 2), pad=(0, 0, 1, 1)),
        build("copy", out=to, x=row),
        *last,
        build("brnz", counter=1),
    ]
    symbols = [
        Symbol("x", "input", "lm", 0, I8, (1, 8, 8, 4), default=np.arange(256, dtype=np.uint8).tobytes()),
        Symbol("pooled", "output", "lm", 256, I8, (1, 8, 8, 4)),
    ]
    return load(program(code, symbols, segments), EDGE)


X = {"x": np.random.default_rng(1).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)}


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_dumps_and_counts(threads: int) -> None:
    dumps = [Dump("pooled", k) for k in range(5)] + [Dump("pooled")]
    one, several = (execute(pooling(), X, dumps=dumps, threads=n) for n in (1, threads))
    assert all(map(np.array_equal, one.dumps, several.dumps)) and one.instructions == several.instructions == 10
    assert np.array_equal(one.outputs["pooled"], several.outputs["pooled"])


def test_thousands_of_meetings() -> None:
    """More walkers than processors meet again and again, and pause in between."""
    reports: list[tuple[int, int]] = []
    one = execute(pooling(3000), X)
    several = execute(pooling(3000), X, threads=5, on_progress=lambda *report: reports.append(report))
    assert np.array_equal(one.outputs["pooled"], several.outputs["pooled"])
    assert reports == sorted(reports) and {report[1] for report in reports} == {6000}


def bad_gather(bad: int) -> Plan:
    """A gather in a loop of shared instructions, with a wrong index in iteration `bad`."""
    values = np.zeros(16, np.int32)
    values[2 * bad + 1] = 99
    index = dense("lm", 1024, I32, (2,), (Term(1, 8, 8),))
    gather = build("gather", out=dense("lm", 2048, I8, (2, 4)), x=dense("lm", 0, I8, (8, 4)), index=index)
    return pooling(8, (gather,), (Segment("lm", 1024, values.tobytes()),))


@pytest.mark.parametrize("shared", [False, True])
def test_a_trap_ends_every_walker(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walker 0 meets it alone while the others wait for it, or all of them do."""
    if shared:
        monkeypatch.setattr("emulator.execute.walkers.SHARED", SHARED | {MNEMONICS["gather"].opcode})
    for bad in (0, 3, 7):
        with pytest.raises(Trap, match=r"index\[1\] is 99") as caught:
            execute(bad_gather(bad), X, threads=3)
        assert caught.value.address == 1024 + 8 * bad + 4


def test_a_walker_that_finds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Walkers.compute

    def without_memory(self: Walkers, *given: object) -> None:
        def at(words: object) -> int:
            raise MemoryError

        self.walkers[1]._compiled = SimpleNamespace(at=at)  # type: ignore[assignment]
        begin(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Walkers, "compute", without_memory)
    with pytest.raises(Trap, match="cannot give the memory to rearrange"):
        execute(pooling(100), X, threads=2)


def test_keyboard_interrupt() -> None:
    script = """
import sys, _thread, threading
sys.path.insert(0, ".")
from tests.emulator.execute.test_walkers import *
threading.Timer(0.5, _thread.interrupt_main).start()
import emulator.execute.predecode
emulator.execute.predecode.LEAST_SHARED = 0
try:
    execute(pooling(2**31 - 1), X, threads=3)
except KeyboardInterrupt:
    print("interrupted")
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.strip() == "interrupted", run.stderr


@pytest.mark.parametrize("threads", [0, -1, 257, 10**30, 1.5, "2", None])
def test_wrong_numbers_of_threads(threads: object) -> None:
    with pytest.raises(InputError, match="is no number of threads\nhelp: give a whole number from 1 to 256"):
        execute(pooling(), X, threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "instruction",
    [
        "matmul out, x[0, 0], w, bias=b, ew1_scale=s, ew1_bias=s, add=r, ew2_scale=s, relu, ew3_scale=s",
        "matmul out, x[0, 0], v, bias=b, ew1_scale=s, ew1_bias=s, add=r, ew2_scale=s, relu, ew3_scale=s, transpose_w",
        "matmul out, x[0, 0], given, ew1_scale=s, add=r[:, 0:1]",
        "matmul wide, x[0, 0], w, bias=b",
        "conv pixels, x, filters, bias=b, ew1_scale=s, table=t",
    ],
)
def test_walkers_share_columns_where_rows_are_few(instruction: str, tmp_path: Path) -> None:
    """Constant weights and those packed each time; constants of each channel and of all, a second tensor, i32."""
    text = f"""
.input  x i8[1, 1, 3, 40] = 1
.input  given i8[40, 300] = 1
.weight w i8[40, 300] = "w.npy"
.weight v i8[300, 40] = "v.npy"
.weight filters i8[300, 1, 1, 40] = "filters.npy"
.input  r i8[3, 300] = 1
.const  b i32[300] = "b.npy"
.const  s f32[300] = "s.npy"
.const  t f32[256] = "t.npy"
.output out i8[3, 300]
.output wide i32[3, 300]
.output pixels i8[1, 1, 3, 300]
.scales explicit

{instruction}
end
"""
    rng = np.random.default_rng(5)
    data = {
        "w": rng.integers(-128, 128, (40, 300), np.int8),
        "v": rng.integers(-128, 128, (300, 40), np.int8),
        "filters": rng.integers(-128, 128, (300, 1, 1, 40), np.int8),
        "b": rng.integers(-999, 999, 300).astype(np.int32),
        "s": rng.uniform(-0.1, 0.1, 300).astype(np.float32),
        "t": np.arange(256, dtype=np.float32) - 99,
    }
    inputs = {
        "x": rng.integers(-128, 128, (1, 1, 3, 40), np.int8),
        "given": rng.integers(-128, 128, (40, 300), np.int8),
        "r": rng.integers(-128, 128, (3, 300), np.int8),
    }
    for name, array in data.items():
        np.save(tmp_path / f"{name}.npy", array)
    plan = load(assemble(text, tmp_path / "columns.npu"), HANGUANG)
    alone, *shared = (execute(plan, inputs, poison=3, threads=threads).outputs for threads in (1, 2, 3, 9))
    for outputs in shared:
        for name, array in outputs.items():
            np.testing.assert_array_equal(array, alone[name], name)
    assert len(np.unique(alone[instruction.split()[1].rstrip(",")])) > 20


WATCHED = """
.chip edge
.input x i8[1, 6, 6, 1]
.local t i8[1, 6, 12, 1]
.output y i8[1, 6, 6, 1]
copy t[:, :, 0:6], x
loop i, 4
maxpool t[:, 0:5, (1 - i % 2) * 6 : +5], t[:, :, i % 2 * 6 : +6], window=2
brnz i
copy y, t[:, :, 0:6]
end
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_what_takes_long_is_watched_and_dumped_as_all_is(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of operands and result meet: whether they share bytes is decided each time, apart from the walk."""
    monkeypatch.setattr("emulator.execute.predecode.LEAST_SHARED", 0)
    plan = load(assemble(WATCHED), load_chip("edge"))
    given = {"x": np.random.default_rng(3).integers(-128, 128, (1, 6, 6, 1), np.int8)}
    dumps = [Dump("t"), Dump("t", 1)]
    expected = execute(plan, given, dumps=dumps, threads=threads)
    monkeypatch.setattr("emulator.execute.predecode.MOST_UNHEARD", 0)
    found = execute(plan, given, dumps=dumps, threads=threads)
    np.testing.assert_array_equal(found.outputs["y"], expected.outputs["y"])
    for one, other in zip(found.dumps, expected.dumps, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.instructions == expected.instructions == 6


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_what_takes_long_changes_no_bit(drawn: Program) -> None:
    plan = load(drawn, EDGE)

    def result() -> tuple[dict[str, np.ndarray], str]:
        try:
            return execute(
                plan, {s.name: np.zeros(s.host_shape, s.dtype.numpy) for _, s in drawn.of_kind("input")}
            ).outputs, ""
        except Trap as trap:
            return {}, str(trap)

    with pytest.MonkeyPatch.context() as patch:
        expected, trapped = result()
        patch.setattr("emulator.execute.predecode.MOST_UNHEARD", 0)
        found, also = result()
    assert trapped == also
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name].view(np.uint8), array.view(np.uint8), name)
