"""What the schedule notes of each instruction executed, and of each engine: the columns of its arrays, in cycles."""

# Why an instruction started when it did, and not before; among equals the first.
REASONS = ("engine busy", "dependence", "wait", "issue")
ENGINE, DEPENDENCE, WAIT, ISSUE = range(4)
NONE = -1

# An instruction executed. INDEX: its index in the code. ISSUED, FREE, DEPENDS_UNTIL, WAITS_UNTIL: the four terms of its
# start: its issue, the end of its engine's occupancy by the one before, the finish of what it depends on (later than
# its issue, or as late), the finish of the tickets it waits for; NONE where there is none. START: the latest of them;
# WHY: which one that is, by REASONS; CAUSE: the record behind it (NONE for ISSUE). FREED_BY: the record whose start
# freed the place in the queue for its issue (NONE: the sequencer was the last to be ready). FINISH, and FINISHED_BY:
# the record whose latency that finish is due to: itself, or one before it on its engine.
INDEX, ISSUED, FREE, DEPENDS_UNTIL, WAITS_UNTIL, START, WHY, CAUSE, FREED_BY, FINISH, FINISHED_BY, RECORD = range(12)

# An engine: cycles busy, cycles stalled for two reasons, cycle from which it is free (NONE: from the beginning),
# instructions; and which of its recent accesses may still matter: from OLDEST to before NEWEST.
BUSY, STALL_DEPENDENCE, STALL_WAIT, FREE_FROM, COUNT, OLDEST, NEWEST, TOTALS = range(8)
