"""Rows of the sequencer: loops and the end; and synchronisation, which sits in the queues of the engines."""

from isa.operand import MAX_LOOP_DEPTH
from isa.row import ENGINES, AttributeSpec, Row

COUNTER = AttributeSpec("counter", "u8", 1, MAX_LOOP_DEPTH, None, "the loop's counter: its depth, from 1")
SEMAPHORE = AttributeSpec("semaphore", "u16", 0, 65535, None, "the semaphore, by its name", declared="semaphore")
QUEUE = AttributeSpec("queue", "u8", 0, 2, None, "the engine in whose queue it sits", words=ENGINES)
TWO_CORES = """\
.semaphore ready
.core 0
.input x i8[4, 64]
copy core1.inbox, x
signal ready, me
end
.core 1
.local inbox i8[4, 64]
.output out i8[4, 64]
wait ready, me
copy out, inbox
end
"""

ROWS = (
    Row(
        0x40,
        "loop",
        "seq",
        (),
        (COUNTER, AttributeSpec("count", "u32", 1, 2**31 - 1, None, "iterations")),
        "Open a loop; its counter starts at 0.",
        "counter = 0",
        (),
        """\
.output out i8[4, 64]

loop i, 4
    fill out[i], value=1
brnz i
end
""",
    ),
    Row(
        0x41,
        "brnz",
        "seq",
        (),
        (COUNTER,),
        "Close a loop: count on, and branch back while iterations are left.",
        "counter = counter + 1\nif counter < count: branch to the instruction after `loop`",
        (),
        """\
.output out i8[4, 64]

loop i, 4
    fill out[i], value=1
brnz i
end
""",
    ),
    Row(
        0x42,
        "signal",
        "sync",
        (),
        (SEMAPHORE, QUEUE),
        "Count one more signal of a semaphore, once all earlier instructions of the queue's engine have finished.",
        "signals = signals + 1",
        (),
        TWO_CORES,
    ),
    Row(
        0x43,
        "wait",
        "sync",
        (),
        (SEMAPHORE, QUEUE),
        "Hold a queue until a semaphore is signalled: the k-th `wait` for the k-th `signal`.",
        "waits = waits + 1\nhold the queue until signals >= waits",
        ("deadlock",),
        TWO_CORES,
    ),
    Row(
        0x44,
        "barrier",
        "sync",
        (),
        (AttributeSpec("barrier", "u16", 0, 65535, None, "the barrier, by its name", declared="barrier"), QUEUE),
        "Hold a queue until every core that uses a barrier has arrived there as often, its earlier work finished.",
        "arrivals[core] = arrivals[core] + 1\n"
        "hold the queue until arrivals[other] >= arrivals[core] for each core that uses the barrier",
        ("deadlock",),
        """\
.barrier stage
.core 0
.output out i8[4, 64]
fill out, value=1
barrier stage, me
end
.core 1
.output other i8[4, 64]
barrier stage, me
fill other, value=2
end
""",
    ),
    Row(
        0x4F,
        "end",
        "seq",
        (),
        (),
        "End the task on this core, once its engines have finished.",
        "every output holds its result, once all cores have ended",
        (),
        """\
.output out i8[4, 64]

fill out, value=-1
end
""",
    ),
)
