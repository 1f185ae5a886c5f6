"""Synchronisation in program order, untimed: whether the cores of a program can go on to their ends. Hot, compiled."""

from emulator.jit.arrays import Matrix, Words
from emulator.jit.compile import hot
from emulator.plan.barriers import met
from emulator.plan.row import SEQ
from emulator.timing.columns import ClockStop, Code, Sequencer, Sync
from emulator.timing.schedule import jump


@hot
def goes_on(
    code: Matrix, sequencers: Matrix, users: Matrix, arrivals: Matrix, signals: Words, budget: int
) -> ClockStop:
    """Go on with the cores' synchronisation in program order, untimed; return PAUSED at the budget's end, or STUCK.

    So deadlocks are decided: each wait and barrier is met before its core goes on, in whichever queue it is. Of the
    columns of `sequencers`, which are as in State, LAST_ISSUED says whether a core has arrived.
    """
    core, held = 0, 0
    while held < sequencers.shape[0]:
        sequencer = sequencers[core]
        while True:
            if budget == 0:
                return ClockStop.PAUSED
            at = sequencer[Sequencer.AT]
            sync, number = code[at, Code.SYNC], code[at, Code.NUMBER]
            if code[at, Code.RUNS_ON] == SEQ:
                if code[at, Code.TRIPS] == 0:
                    break
                sequencer[Sequencer.AT] = jump(code[at], at, sequencer[Sequencer.COUNTERS :])
            else:
                if sync == Sync.AWAITS and signals[number] == 0:
                    break
                if sync == Sync.MEETS:
                    if sequencer[Sequencer.LAST_ISSUED] == 0:
                        sequencer[Sequencer.LAST_ISSUED], held = 1, 0
                        arrivals[core, number] += 1
                    if not met(arrivals, users, core, number):
                        break
                    sequencer[Sequencer.LAST_ISSUED] = 0
                signals[number] += int(sync == Sync.SIGNALS) - int(sync == Sync.AWAITS)
                sequencer[Sequencer.AT] += 1
            budget -= 1
            held = 0
        held += 1
        core = (core + 1) % sequencers.shape[0]
    return ClockStop.STUCK
