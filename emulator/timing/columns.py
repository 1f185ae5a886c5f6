"""What the schedule notes of each instruction executed, and of each engine: the columns of its arrays, in cycles."""

import numpy as np

# Why an instruction started when it did, and not before; among equals the first.
REASONS = ("engine busy", "dependence", "wait", "issue", "token", "resource")
ENGINE, DEPENDENCE, WAIT, ISSUE, TOKEN, RESOURCE = range(6)
NONE = -1

# An instruction executed; the records of a core stand together, in program order. CORE, INDEX: whose code, and where in
# it. ISSUED, FREE, DEPENDS_UNTIL, WAITS_UNTIL: the terms of its start on its own core: its issue, the end of its
# engine's occupancy by the one before, the finish of what it depends on (later than its issue, or as late), the finish
# of the tickets it waits for; NONE where there is none. ARRIVED: the latest of them; WHY: which one that is, by
# REASONS; CAUSE: the record behind it (NONE for ISSUE). TOKEN_UNTIL: the term from other queues: when the signal of a
# wait is known, or that all have arrived at a barrier; TOKEN_BY: the record of that signal, or of the last to arrive.
# GRANTED: when the last of the shared resources that it holds was free (NONE: it holds none that anybody held before),
# HELD: which one that is, GRANTED_BY: the record that held it. START: the latest of ARRIVED, TOKEN_UNTIL and GRANTED;
# where that is the token or the resource, it is the reason, the token among equals. FREED_BY: the record whose
# start freed the place in the queue for its issue (NONE: the sequencer was the last to be ready). FINISH, and
# FINISHED_BY: the record whose latency that finish is due to: itself, or one before it on its engine.
CORE, INDEX, ISSUED, FREE, DEPENDS_UNTIL, WAITS_UNTIL, ARRIVED, WHY, CAUSE = range(9)
TOKEN_UNTIL, TOKEN_BY, GRANTED, HELD, GRANTED_BY, START, FREED_BY, FINISH, FINISHED_BY, RECORD = range(9, 19)

# An engine: cycles busy, cycles stalled for four reasons, cycle from which it is free (NONE: from the beginning),
# instructions issued; which of its recent accesses may still matter: from OLDEST to before NEWEST; instructions
# started, the last of them, its finish, and the record to which that finish is due.
BUSY, STALL_DEPENDENCE, STALL_WAIT, STALL_TOKEN, STALL_RESOURCE, FREE_FROM, COUNT, OLDEST, NEWEST = range(9)
DONE, LAST, LAST_FINISH, LAST_FINISHED_BY, TOTALS = range(9, 14)


def reasons(records: np.ndarray) -> np.ndarray:
    """Return why each instruction started when it did, by REASONS."""
    start, arrived, token = records[:, START], records[:, ARRIVED], records[:, TOKEN_UNTIL]
    own = np.where(start > arrived, TOKEN, records[:, WHY])
    return np.where(start > np.maximum(arrived, token), RESOURCE, own)
