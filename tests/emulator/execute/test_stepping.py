"""Stepping: what observers are told, and when; sessions go on with their walkers afterwards."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import ratel
from emulator.execute.interleave import Interleaver
from emulator.execute.session import Dump, Session
from emulator.execute.stepping import Observer, Stepping
from emulator.plan.load import load
from emulator.plan.plan import Plan
from isa.chip import load_chip
from isa.diagnostic import Place
from isa.errors import InputError, Trap
from isa.operand import MAX_LOOP_DEPTH

TWO_CORES = """.chip hanguang800
.semaphore there
.core 0
.input x i8[1, 8]
.local t i8[1, 8]
copy core1.inbox, x
(w.m) signal there, me
end
.core 1
.local inbox i8[1, 8]
.output y i8[1, 8]
wait there, te
loop i, 2
    (w.t) eltwise y, inbox, relu
brnz i
end
"""
X = np.arange(-4, 4, dtype=np.int8).reshape(1, 8)


class Watcher(Observer):
    """Keeps what it is told, and the output's bytes then."""

    def __init__(self, plan: Plan) -> None:
        ((core, y),) = plan.find("y")
        begin = plan.bases[core, "lm"] + y.address
        self.bytes = slice(begin, begin + y.bytes)
        self.told: list[tuple[str, Place]] = []
        self.seen: list[bytes] = []

    def before(self, executed: Place, memory: np.ndarray) -> None:
        self.told.append(("before", executed))
        self.seen.append(memory[self.bytes].tobytes())

    def after(self, executed: Place, memory: np.ndarray) -> None:
        self.told.append(("after", executed))
        self.seen.append(memory[self.bytes].tobytes())


def test_observers_are_told_of_each_instruction_before_and_after() -> None:
    plan = load(ratel.assemble(TWO_CORES), load_chip("hanguang800"), 1)
    watcher = Watcher(plan)
    with Interleaver(plan, None, observers=[watcher]) as interleaver:
        outputs = interleaver.interleaved(3, {"x": X}).outputs
    relu, nothing = np.maximum(X, 0).tobytes(), bytes(8)
    assert outputs["y"].tobytes() == relu
    places = [(place.core, place.index, place.counters[1]) for _, place in watcher.told]
    assert places[::2] == places[1::2] == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 2, 0), (1, 2, 1)]
    assert [word for word, _ in watcher.told] == ["before", "after"] * 5
    assert watcher.seen == [nothing] * 7 + [relu] * 3


FIRST = (0, *[0] * MAX_LOOP_DEPTH)
SECOND = (0, 1, *[0] * (MAX_LOOP_DEPTH - 1))
WHOLE = [Place(0, 0, FIRST), Place(0, 1, FIRST), Place(1, 0, FIRST), Place(1, 2, FIRST), Place(1, 2, SECOND)]


def stepping(session: Session, order: Sequence[Place], observers: Sequence[Observer] = ()) -> Stepping:
    return Stepping(session, lambda task: order, observers)


@pytest.fixture
def plan() -> Plan:
    return load(ratel.assemble(TWO_CORES), load_chip("hanguang800"), 1)


def test_any_order_may_be_given_and_the_walkers_go_on(plan: Plan) -> None:
    with Session(plan) as session:
        stepped = session.run({"x": X}, runner=stepping(session, [WHOLE[0], WHOLE[3]]))
        assert session.run({"x": X}).outputs["y"].tobytes() == stepped.outputs["y"].tobytes()


@pytest.mark.parametrize("observers", [[], [Observer()]])
def test_what_is_stepped_counts(plan: Plan, observers: list[Observer]) -> None:
    reports: list[tuple[int, int]] = []
    with Session(plan) as session:
        runner = stepping(session, WHOLE, observers)
        for _ in range(2):
            stepped = session.run({"x": X}, lambda *report: reports.append(report), runner)
            assert stepped.instructions == session.run({"x": X}).instructions == 5
    assert {total for _, total in reports} == {5} and {done for done, _ in reports} <= {1, 2, 3, 4, 5}


LINES = """.chip edge
.input x i8[2, 64, 64]
.output y i8[2, 64, 64]
loop i, 2
    eltwise y[i], x[i], relu
brnz i
end
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_what_walkers_left_is_not_gone_on_with(threads: int) -> None:
    """Rows of a walker have the addresses of its last iteration, and say which share of an instruction is its own."""
    plan = load(ratel.assemble(LINES), load_chip("edge"), 1)
    x = np.random.default_rng(1).integers(-128, 128, (2, 64, 64), np.int8)
    order = [Place(0, 1, FIRST), Place(0, 1, SECOND)]
    with Session(plan, threads=threads) as session:
        for runner in (session.walkers, stepping(session, order)):
            session.memory.fill(0)
            np.testing.assert_array_equal(session.run({"x": x}, runner=runner).outputs["y"], np.maximum(x, 0))


class Interrupter(Observer):
    """Interrupts where the loop's second iteration would begin."""

    def before(self, executed: Place, memory: np.ndarray) -> None:
        if executed == WHOLE[4]:
            raise KeyboardInterrupt


def test_an_interrupt_says_where_the_stepper_is(plan: Plan) -> None:
    def interrupt(task: int) -> Sequence[Place]:
        raise KeyboardInterrupt

    def note(runner: Callable[[Session], Stepping]) -> str:
        with Session(plan) as session, pytest.raises(KeyboardInterrupt) as caught:
            session.run({"x": X}, runner=runner(session))
        return "".join(caught.value.__notes__)

    eltwise, ended, begun = (plan.cores[core].where(k) for core, k in ((1, 2), (0, 2), (0, 0)))
    said = note(lambda session: stepping(session, WHOLE, [Interrupter()]))
    assert said == f"4 of 5 instructions are done; core 0 stands at {ended}; core 1 stands at {eltwise}"
    said = note(lambda session: Stepping(session, interrupt))
    assert said.startswith(f"0 of 5 instructions are done; core 0 stands at {begun}; ")


def test_dumps_of_iterations_are_for_walkers(plan: Plan) -> None:
    with Session(plan, dumps=[Dump("y", 0)]) as session:
        with pytest.raises(InputError, match="y@0: a runner") as caught:
            session.run({"x": X}, runner=stepping(session, WHOLE))
        assert "without `runner`" in caught.value.help
        assert session.run({"x": X}, runner=session.walkers).dumps[0].tobytes() == np.maximum(X, 0).tobytes()
    with Session(plan, dumps=[Dump("y")]) as session:
        (y,) = session.run({"x": X}, runner=stepping(session, WHOLE)).dumps
        assert y.tobytes() == np.maximum(X, 0).tobytes()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place(0, 0), r"at counters \(\)"),
        (Place(0, 0, FIRST[1:]), "at counters"),
        (Place(1, 2, (0, 2, *FIRST[2:])), "at counters"),
        (Place(0, 0, (-1, *FIRST[1:])), "at counters"),
        (Place(2, 0, FIRST), "instruction 0 of core 2"),
        (Place(0, 3, FIRST), "instruction 3 of core 0"),
        (Place(1, 1, FIRST), "of the sequencer"),
    ],
)
def test_what_is_no_execution(plan: Plan, place: Place, said: str) -> None:
    with Session(plan) as session:
        with pytest.raises(InputError, match=said) as caught:
            session.run({"x": X}, runner=stepping(session, [*WHOLE, place]))
        assert caught.value.help and session.run({"x": X}).instructions == 5


def test_a_trap_has_its_place() -> None:
    text = ".chip edge\n.input i i32[1]\n.input x i8[4, 8]\n.output y i8[1, 8]\ngather y, x, i\nend\n"
    plan = load(ratel.assemble(text), load_chip("edge"), 1)
    inputs = {"i": np.full(1, 4, np.int32), "x": np.zeros((4, 8), np.int8)}
    with Session(plan) as session:
        for runner in (None, stepping(session, [Place(0, 0, FIRST)])):
            with pytest.raises(Trap, match="index") as caught:
                session.run(inputs, runner=runner)
            assert caught.value.core == 0 and [found.place for found in caught.value.diagnostics] == [Place(0, 0)]
