"""Stepping: what observers are told, and when; sessions go on with their walkers afterwards."""

import numpy as np

import ratel
from emulator.execute.interleave import Interleaver
from emulator.execute.session import Session
from emulator.execute.stepping import Observer, Stepping
from emulator.plan.load import load
from emulator.plan.plan import Plan
from isa.chip import load_chip
from isa.diagnostic import Place
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


def test_any_order_may_be_given_and_the_walkers_go_on() -> None:
    plan = load(ratel.assemble(TWO_CORES), load_chip("hanguang800"), 1)

    def order(task: int) -> list[Place]:
        at = (task, *[0] * MAX_LOOP_DEPTH)
        return [Place(0, 0, at), Place(1, 2, at)]

    with Session(plan) as session:
        stepped = session.run({"x": X}, runner=Stepping(plan, session, order))
        assert session.run({"x": X}).outputs["y"].tobytes() == stepped.outputs["y"].tobytes()
