"""The columns of the schedule's arrays: a class for each kind of row. Times are cycles.

NONE stands for what is absent: no record, no time, no resource.
"""

from enum import auto

import numpy as np

from emulator.jit.arrays import Columns, Matrix, Row
from isa.row import ENGINES

NONE = -1
# Of a finish that is not known yet.
LATE = np.iinfo(np.int64).max


class Reason(Columns):
    """Why an instruction started when it did, and not before; among equals the first."""

    ENGINE = auto()
    DEPENDENCE = auto()
    WAIT = auto()
    ISSUE = auto()
    FETCH = auto()
    TOKEN = auto()
    RESOURCE = auto()


REASONS = ("engine busy", "dependence", "wait", "issue", "fetch", "token", "resource")


class Resource(Columns):
    """Shared resources that every chip has; behind these the links of the ring, then blocks of local memory."""

    DEV = auto()
    PCIE_IN = auto()
    PCIE_OUT = auto()


# Links of the ring from each core upwards; then those downwards, then the blocks of each core's LM.
FIRST_LINK = len(Resource)


class Record(Columns):
    """An instruction executed; the records of a core stand together, in program order."""

    # When its code had been fetched (NONE: it lay in the instruction buffer), the record whose issue made room for it
    # there (NONE: there was room from the start), and the record whose code was fetched just before (NONE: the fetch
    # began when there was room, and no fetch before held it up).
    FETCHED = auto()
    ROOM_BY = auto()
    FETCHED_AFTER = auto()
    # Whose code, and where in it.
    CORE = auto()
    INDEX = auto()
    # The terms of its start on its own core: its issue, the end of its engine's occupancy by the one before, the finish
    # of what it depends on (later than its issue, or as late), the finish of the tickets it waits for.
    ISSUED = auto()
    FREE = auto()
    DEPENDS_UNTIL = auto()
    WAITS_UNTIL = auto()
    # The latest of them; which one that is, a Reason; the record behind it (NONE for ISSUE and FETCH).
    ARRIVED = auto()
    WHY = auto()
    CAUSE = auto()
    # The term from other queues: when the signal of a wait is known, or that all have arrived at a barrier; the record
    # of that signal, or of the last to arrive.
    TOKEN_UNTIL = auto()
    TOKEN_BY = auto()
    # When the last of the shared resources that it holds was free (NONE: it holds none that anybody held before), which
    # one that is, the record that held it.
    GRANTED = auto()
    HELD = auto()
    GRANTED_BY = auto()
    # The latest of ARRIVED, TOKEN_UNTIL and GRANTED; where that is the token or the resource, it is the reason, the
    # token among equals.
    START = auto()
    # The record whose start freed the place in the queue for its issue (NONE: the sequencer was the last to be ready).
    FREED_BY = auto()
    # When its result is there, and those of all before it on its engine; the record whose latency that is due to:
    # itself, or one before it on its engine.
    FINISH = auto()
    FINISHED_BY = auto()


class Queued(Columns):
    """An instruction in a queue: its record, then these, then NEXT_NEEDS for each term (see ENTRY)."""

    # Where its code is, and the number of its record.
    PC = len(Record)
    NUMBER = auto()
    # How many of its terms are not known.
    PENDING = auto()
    # The engine that its dependence is due to and the record, then those of its wait.
    DEPENDS_ENGINE = auto()
    DEPENDS_BY = auto()
    WAITS_ENGINE = auto()
    WAITS_BY = auto()
    # Where its accesses begin.
    OWN = auto()
    # The first of those that need its finish; for each engine the next that needs what its dependence on it needs, then
    # for each engine the next that needs what its wait for it needs.
    NEEDED_BY = auto()
    NEXT_NEEDS = auto()


# Columns of an instruction in a queue.
ENTRY = Queued.NEXT_NEEDS + 2 * len(ENGINES)


class Engine(Columns):
    """An engine, up to now."""

    BUSY = auto()
    STALL_DEPENDENCE = auto()
    STALL_WAIT = auto()
    STALL_TOKEN = auto()
    STALL_RESOURCE = auto()
    # From when it is free (NONE: from the beginning).
    FREE_FROM = auto()
    # Instructions issued.
    COUNT = auto()
    # Which of its recent accesses may still matter: from OLDEST to before NEWEST.
    OLDEST = auto()
    NEWEST = auto()
    # Instructions started, the last of them, its finish, and the record to which that finish is due.
    DONE = auto()
    LAST = auto()
    LAST_FINISH = auto()
    LAST_FINISHED_BY = auto()


class Code(Columns):
    """An instruction of a core; the row behind the last only says where rows of other tables end."""

    RUNS_ON = auto()
    WAITS = auto()
    OCCUPANCY = auto()
    LATENCY = auto()
    # Of a loop or brnz: its counter, its count, the index of the other end.
    COUNTER = auto()
    TRIPS = auto()
    OTHER = auto()
    # Where its rows of `operands` and of `held` begin.
    FIRST_OPERAND = auto()
    FIRST_HELD = auto()
    # A Sync, and the number of its semaphore or barrier.
    SYNC = auto()
    NUMBER = auto()
    # The bytes that are fetched with it; of a loop or brnz those of the whole loop. 0 where nothing is fetched.
    FETCHED_BYTES = auto()


class Sync(Columns):
    """What an instruction does to a semaphore or barrier."""

    NOTHING = auto()
    SIGNALS = auto()
    AWAITS = auto()
    MEETS = auto()


class Access(Columns):
    """An operand of an instruction that may conflict with another."""

    # Its bytes at counters 0, READ or WRITE.
    LOW = auto()
    HIGH = auto()
    KIND = auto()
    # Where its rows of `terms` begin.
    FIRST_TERM = auto()
    # The resource that is the first block of its local memory (NONE: it holds none), where that memory begins.
    FIRST_BLOCK = auto()
    MEMORY = auto()
    # Its bytes of data.
    BYTES = auto()


class Term(Columns):
    """A term of an operand's address; modulus 0 is none, the stride is in bytes."""

    COUNTER = auto()
    MODULUS = auto()
    STRIDE = auto()


class Held(Columns):
    """A shared resource that an instruction holds, and for how long."""

    RESOURCE = auto()
    CYCLES = auto()


class Recent(Columns):
    """A recent access of an engine, down a column of its own: bytes, READ or WRITE, and what is known of its finish."""

    LOW = auto()
    HIGH = auto()
    KIND = auto()
    # The place in its engine's queue.
    PLACE = auto()
    # Its finish (LATE until it is known), and the record to which that is due.
    UNTIL = auto()
    BY = auto()


class Sequencer(Columns):
    """The sequencer of a core, then the counters of its loops from COUNTERS on."""

    # The next instruction, the number of its record.
    AT = auto()
    NEXT = auto()
    # When it can issue again; when the last instruction has finished.
    CLOCK = auto()
    END = auto()
    # Where its code begins.
    BEGIN = auto()
    LAST_ISSUED = auto()
    COUNTERS = auto()


class Fetch(Columns):
    """What a core has fetched of its code, in the order of its execution: bytes, counted from the first on."""

    # Code before this index is in the buffer, as far as it will be executed; bytes fetched so far.
    UP_TO = auto()
    BYTES = auto()
    # When the last is there, of the record LAST.
    THERE = auto()
    LAST = auto()
    ROOM_BY = auto()
    FETCHED_AFTER = auto()
    # Where the loop begins that is kept whole, and the bytes before it; NONE where none is.
    LOOP = auto()
    KEPT = auto()
    # Its issues that made room: the first that may matter, the one behind the last.
    OLDEST = auto()
    NEWEST = auto()


class Room(Columns):
    """An issue that made room in the instruction buffer: bytes that are not needed any more, when, and the record."""

    BYTES = auto()
    ISSUED = auto()
    BY = auto()


class Semaphore(Columns):
    """Signals given, those waited for, and how many are waited for in the whole task: of others nobody asks when."""

    GIVEN = auto()
    TAKEN = auto()
    WAITED = auto()


class Signal(Columns):
    """A signal that is not waited for yet: its finish and record."""

    FINISH = auto()
    BY = auto()


class Meeting(Columns):
    """A meeting at a barrier, of the two latest in turn: the last arrival, and the record that arrives."""

    LAST_ARRIVAL = auto()
    LAST_BY = auto()


class Shared(Columns):
    """A shared resource: from when it is free, the record that held it last, cycles held."""

    FREE_AT = auto()
    HELD_BY = auto()
    HELD_FOR = auto()


class Window(Columns):
    """Which records of a core are written: the first, the one behind the last, the row of the first.

    FROM is the number of the first record that the core has at all.
    """

    LOWEST = auto()
    BEYOND = auto()
    ROW_OF = auto()
    FROM = auto()


class Moment(Columns):
    """Of a record on the critical path: when its code was there, when it was issued, when all of its own core let it
    start, when it started."""

    IS_FETCHED = auto()
    IS_ISSUED = auto()
    HAS_ARRIVED = auto()
    STARTED = auto()


class Trail(Columns):
    """Where a walk back along the critical path is."""

    # A moment of a record that comes next, and to which cycle the path is known from the end.
    IN_RECORD = auto()
    MOMENT = auto()
    NOW = auto()
    # To which instruction the cycles in between belong (core NONE: to that record's), and why: a path reason.
    OWED_CORE = auto()
    OWED_INDEX = auto()
    OWED_REASON = auto()
    # How many steps have been taken.
    STEPS = auto()


class PathStep(Columns):
    """A step of the critical path: whose it is, why, and its cycles."""

    CORE = auto()
    INDEX = auto()
    REASON = auto()
    CYCLES = auto()


class PathSum(Columns):
    """Steps of the critical path that are alike: how many, and their cycles."""

    COUNT = auto()
    CYCLES = auto()


# Reasons of the path's steps: a Reason up to RESOURCE, which comes in kinds; that it finishes last; and none for
# moments that coincide.
RESOURCE_KINDS = ("dev", "pcie in", "pcie out", "ring", "LM block")
FINISHES, COINCIDES = Reason.RESOURCE + len(RESOURCE_KINDS), -2
PATH_REASONS = FINISHES + 1


class ClockStop(Columns):
    """Why the clock stopped: nothing can go on, the budget used up, or no room for more accesses or signals."""

    STUCK = auto()
    PAUSED = auto()
    FULL = auto()


def reasons(records: Matrix) -> Row:
    """Return why each instruction started when it did: a Reason each."""
    start, arrived, token = records[:, Record.START], records[:, Record.ARRIVED], records[:, Record.TOKEN_UNTIL]
    own = np.where(start > arrived, Reason.TOKEN, records[:, Record.WHY])
    return np.where(start > np.maximum(arrived, token), Reason.RESOURCE, own)
