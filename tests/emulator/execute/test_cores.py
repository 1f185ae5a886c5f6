"""Several cores: execution against the reference interpreter, in any order of the cores; remote copies, deadlocks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.execute.arena import open_arena, tensor
from emulator.execute.loop import Walk
from emulator.execute.session import Dump, Execution, execute
from emulator.execute.walkers import Walkers
from emulator.plan.load import load
from emulator.plan.plan import Plan
from emulator.timing.columns import Record
from emulator.timing.timeline import schedule
from isa.chip import load_chip
from isa.dtypes import I8
from isa.errors import InputError, Trap
from isa.instruction import Instruction, build
from isa.interpret import interpret
from isa.operand import MEMORIES, SHARED, Operand, Term, dense, region
from isa.program import Core, Line, Program, Symbol
from ratel.testing.programs import programs_of_cores
from tests.emulator.execute.test_session import first_overlap

CHIP = load_chip("hanguang800")
FORMATS = CHIP.formats


def whole_memories(plan: Plan) -> Plan:
    """Return a plan with a tensor over each memory of each core, so that all of its bytes can be looked at."""
    parts = []
    for part in plan.cores:
        symbols = [
            Symbol(f"all_{memory}", "local", memory, 0, I8, (plan.sizes[region(part.number, memory)],))
            for memory in MEMORIES
            if plan.sizes[region(part.number, memory)] and (memory not in SHARED or part.number == 0)
        ]
        parts.append(replace(part, core=replace(part.core, symbols=part.core.symbols + tuple(symbols))))
    return replace(plan, cores=tuple(parts))


def everything(plan: Plan) -> list[Dump]:
    return [
        Dump(f"core{part.number}.{symbol.name}")
        for part in plan.cores
        for symbol in part.core.symbols
        if symbol.name.startswith("all_")
    ]


def in_any_order(plan: Plan, dumps: Sequence[Dump], poison: int, seed: int) -> Execution:
    """Execute with a core drawn for each single step."""
    rng = np.random.default_rng(seed)

    class Drawn(Walkers):
        def go(self, budget: int, passing: bool, apart: bool = False) -> int:
            self.walkers[0].progress[Walk.TURN] = rng.integers(len(plan.cores))
            return super().go(1, passing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emulator.execute.session.Walkers", Drawn)
        return execute(plan, {}, poison=poison, dumps=dumps)


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(programs_of_cores(least=2), st.integers(0, 9))
def test_execute_is_reference_in_any_order(drawn: Program, poison: int) -> None:
    try:
        plan = whole_memories(load(drawn, CHIP))
    except Trap as trap:
        assert "overlap" in trap.message
        return
    if any(first_overlap(core, drawn.tasks) is not None for core in drawn.cores):
        # An index out of range may come first.
        with pytest.raises(Trap, match=r"overlaps|index\["):
            execute(plan, {}, poison=poison)
        return
    arena = open_arena(plan, poison)
    memories = [
        {m: arena[plan.bases[region(part.number, m)] :][: plan.sizes[region(part.number, m)]] for m in MEMORIES}
        for part in plan.cores
    ]
    try:
        interpret(drawn.cores, memories, FORMATS)
    except Trap as trap:
        with pytest.raises(Trap) as caught:
            execute(plan, {}, poison=poison)
        assert caught.value.message.endswith(trap.message)
        return
    dumps = everything(plan)
    execution = execute(plan, {}, poison=poison, dumps=dumps)
    for dump, found in zip(dumps, execution.dumps, strict=True):
        ((core, symbol),) = plan.find(dump.symbol)
        assert found.tobytes() == tensor(arena, plan, core, symbol).tobytes(), dump
    for seed in (1, 2):
        other = in_any_order(plan, dumps, poison, seed)
        assert other.instructions == execution.instructions
        for dump, found, again in zip(dumps, execution.dumps, other.dumps, strict=True):
            assert found.tobytes() == again.tobytes(), dump


def program(*codes: Sequence[Instruction], symbols: Sequence[Sequence[Symbol]] = ()) -> Program:
    cores = []
    for k, code in enumerate(codes):
        code = (*code, build("end"))
        lines = tuple(Line(f"core{k}.npu", 1 + n, i.row.mnemonic) for n, i in enumerate(code))
        cores.append(Core(code, lines, (), tuple(symbols[k]) if symbols else ()))
    return Program("test", load_chip("hanguang800"), "hardware", tuple(cores), (), 1, ("a", "b"), ("m", "n"))


def sync(mnemonic: str, number: int, queue: str = "me", waits: tuple[str, ...] = ()) -> Instruction:
    return build(mnemonic, waits, **{"barrier" if mnemonic == "barrier" else "semaphore": number}, queue=queue)


def signal(number: int, queue: str = "me") -> Instruction:
    return sync("signal", number, queue)


def wait(number: int, queue: str = "me") -> Instruction:
    return sync("wait", number, queue)


def barrier(number: int, queue: str = "me") -> Instruction:
    return sync("barrier", number, queue)


def loop(count: int, *body: Instruction) -> list[Instruction]:
    return [build("loop", counter=1, count=count), *body, build("brnz", counter=1)]


def tile(address: int = 0, size: int = 256, core: int | None = None) -> Operand:
    return Operand("lm", address, I8, (size,), (1,), (), core)


REMOTE = build("copy", out=tile(512, core=1), x=tile())


@pytest.mark.parametrize(
    ("codes", "lines"),
    [
        (
            ([wait(0)], []),
            ["core 0 waits for a signal of semaphore `a` at core0.npu:1: wait; nobody signals it"],
        ),
        (
            (loop(2, wait(0)), [signal(0)]),
            [
                "core 0 waits for a signal of semaphore `a` at core0.npu:2: wait; "
                "core 1 would signal it at core1.npu:1: signal, but has ended"
            ],
        ),
        (
            ([wait(0), signal(1)], [wait(1), signal(0)]),
            [
                "core 0 waits for a signal of semaphore `a` at core0.npu:1: wait; "
                "core 1 would signal it at core1.npu:2: signal, but waits at core1.npu:1",
                "core 1 waits for a signal of semaphore `b` at core1.npu:1: wait; "
                "core 0 would signal it at core0.npu:2: signal, but waits at core0.npu:1",
            ],
        ),
        (
            ([barrier(0), barrier(1)], [barrier(1), barrier(0)], []),
            [
                "core 0 waits for the others at barrier `m` at core0.npu:1: barrier; "
                "core 1 has not arrived: it waits at core1.npu:1",
                "core 1 waits for the others at barrier `n` at core1.npu:1: barrier; "
                "core 0 has not arrived: it waits at core0.npu:1",
            ],
        ),
        # In other queues, so that hardware with room in them would go on.
        (
            ([wait(0, "te"), signal(0, "me")],),
            [
                "core 0 waits for a signal of semaphore `a` at core0.npu:1: wait; "
                "core 0 would signal it at core0.npu:2: signal, but waits at core0.npu:1"
            ],
        ),
    ],
)
def test_deadlocks_say_who_waits_for_what(codes: tuple, lines: list[str]) -> None:
    plan = load(program(*codes), CHIP)
    for attempt in (lambda: execute(plan, {}), lambda: schedule(plan)):
        with pytest.raises(Trap) as caught:
            attempt()
        assert caught.value.message.splitlines() == ["test: deadlock: no core can go on", *lines]
        assert caught.value.help and caught.value.line is not None and caught.value.core == 0
    memories = [{memory: np.zeros(0, np.uint8) for memory in MEMORIES}] * len(codes)
    with pytest.raises(Trap, match="deadlock"):
        interpret(plan.program.cores, memories, FORMATS)


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (([signal(0)], [signal(0, "te")]), "semaphore `a` is signalled in two queues: me of core 0 and te of core 1"),
        (([wait(0), wait(0, "te")],), "semaphore `a` is waited for in two queues: me of core 0 and te of core 0"),
        (([barrier(1), barrier(1, "pe")],), "core 0 arrives at barrier `n` in two queues: me and pe"),
        ((loop(3, barrier(1)), [barrier(1)]), "core 1 arrives 1 times at barrier `n`, core 0 3 times"),
        (([signal(2)],), "instruction 0: there is no semaphore 2"),
        (([barrier(2)],), "instruction 0: there is no barrier 2"),
        (([REMOTE],), "instruction 0: an operand names core 1"),
        (([], [REMOTE]), "core 1: instruction 0: an operand names core 1"),
        (([build("copy", out=tile(), x=tile(512, core=1))], []), "`x` is in lm of core 1"),
        (([],) * 5, "test has 5 cores, but hanguang800 has 4"),
        (([],) * 65, "the program is for 65 cores"),
    ],
)
def test_what_is_refused_at_load(codes: tuple, words: str) -> None:
    with pytest.raises(Trap) as caught:
        load(program(*codes), CHIP)
    assert words in caught.value.message


def test_more_semaphores_or_barriers_than_the_chip_has() -> None:
    for key, words in (("sync.semaphores", "2 semaphores"), ("sync.barriers", "2 barriers")):
        with pytest.raises(Trap, match=f"test has {words}, but hanguang800 has 1\nhelp: see {key}"):
            load(program([]), CHIP.replace(**{key: 1}))


def test_streams_of_the_lines_are_named() -> None:
    with pytest.raises(Trap, match=r"test: core1.npu:1: signal: semaphore .*; core0.npu:1: signal\n"):
        load(program([signal(0)], [signal(0)]), CHIP)


def test_names_of_inputs_and_outputs_are_unique() -> None:
    x, y = Symbol("x", "input", "lm", 0, I8, (4,)), Symbol("y", "local", "lm", 0, I8, (4,))
    load(program([], [], symbols=([x, y], [y])), CHIP)
    with pytest.raises(Trap, match="2 cores call an input or an output 'x'"):
        load(program([], [], symbols=([x], [replace(x, kind="output")])), CHIP)


def test_a_ring_of_two_tiles() -> None:
    """The producer is two tiles ahead at most: what the consumer has read is signalled back."""
    count, size = 7, 64
    x, y = Symbol("x", "input", "lm", 0, I8, (count, size)), Symbol("y", "output", "lm", 4096, I8, (count, size))
    there, here = (Operand("lm", 1024, I8, (size,), (1,), (Term(1, 2, size),), core) for core in (1, None))
    first, last = (dense("lm", address, I8, (size,), (Term(1, 0, size),)) for address in (0, 4096))
    produce = loop(count, wait(1), build("copy", out=there, x=first), signal(0))
    consume = loop(count, wait(0), build("copy", out=last, x=here), signal(1))
    plan = load(program(produce, [signal(1), signal(1), *consume], symbols=([x], [y])), CHIP)
    given = np.random.default_rng(1).integers(-128, 128, (count, size)).astype(np.int8)
    assert (execute(plan, {"x": given}).outputs["y"] == given).all()
    assert schedule(plan).instructions == 2 + 6 * count


def test_dumps_of_several_cores() -> None:
    x = Symbol("t", "local", "lm", 0, I8, (2,))
    fills = [loop(2, build("fill", out=x.as_operand(), value=k)) for k in (1, 2)]
    plan = load(program(*fills, symbols=([x], [x, replace(x, name="u")])), CHIP)
    dumps = execute(plan, {}, dumps=[Dump("core0.t"), Dump("core1.t", 1), Dump("u")]).dumps
    assert [dump.tolist() for dump in dumps] == [[1, 1], [2, 2], [2, 2]]
    with pytest.raises(InputError, match=r"several tensors are called 't'\nhelp: say which: core0.t, core1.t"):
        execute(plan, {}, dumps=[Dump("t")])
    with pytest.raises(InputError, match=r"no tensor 'core2.t' to dump\nhelp: did you mean `core"):
        execute(plan, {}, dumps=[Dump("core2.t")])
    unwritten = load(program(fills[0], [], symbols=([x], [replace(x, name="u")])), CHIP)
    with pytest.raises(InputError, match="u@0: u is not written by any instruction of core 1"):
        execute(unwritten, {}, dumps=[Dump("u", 0)])


def test_time_of_a_remote_copy_and_its_signal() -> None:
    chip = CHIP.replace(
        seq__issue_cycles=1, me__bytes_per_cycle=64.0, me__latency=10, ring__bytes_per_cycle=16.0, ring__latency=100
    ).replace(sync__cycles=3, sync__latency=20)
    take = build("copy", out=tile(4096), x=tile(512))
    timeline = schedule(load(program([REMOTE, signal(0)], [wait(0), take]), chip))
    # 256 bytes at 16 a cycle; the signal comes once they are there, and the wait hears of it 20 cycles after it.
    copied = 1 + 16 + 10 + 100
    assert timeline.records[:, Record.START].tolist() == [1, copied, copied + 3 + 20, copied + 3 + 20 + 3]
    assert [(step.core, step.reason) for step in timeline.steps()] == [
        (1, "last"),
        (1, "engine busy"),
        (0, "token"),
        (0, "dependence"),
        (0, "issue"),
    ]
    assert timeline.engines["core1.me"].stalls["token"] == copied + 23 - 1


def test_a_barrier_lets_all_go_after_the_last() -> None:
    chip = CHIP.replace(seq__issue_cycles=1, sync__latency=20)
    long = build("fill", out=tile(0, 2**20))
    timeline = schedule(load(program([barrier(0)], [long, barrier(0)], [barrier(0, "pe")]), chip))
    records = timeline.records[timeline.records[:, Record.TOKEN_UNTIL] >= 0]
    last = timeline.records[timeline.records[:, Record.CORE] == 1][0, Record.FINISH]
    assert records[:, Record.START].tolist() == [last + 20] * 3
    assert (timeline.records[records[:, Record.TOKEN_BY], Record.CORE] == 1).all()
