"""What the schedule notes of each instruction executed, and of each engine: the columns of its arrays, in cycles."""

# Why an instruction started when it did, and not before; among equals the first.
REASONS = ("engine busy", "dependence", "wait", "issue", "token")
ENGINE, DEPENDENCE, WAIT, ISSUE, TOKEN = range(5)
NONE = -1

# An instruction executed; the records of a core stand together, in program order. CORE, INDEX: whose code, and where in
# it. ISSUED, FREE, DEPENDS_UNTIL, WAITS_UNTIL: the terms of its start on its own core: its issue, the end of its
# engine's occupancy by the one before, the finish of what it depends on (later than its issue, or as late), the finish
# of the tickets it waits for; NONE where there is none. ARRIVED: the latest of them; WHY: which one that is, by
# REASONS; CAUSE: the record behind it (NONE for ISSUE). TOKEN_UNTIL: the term from other queues: when the signal of a
# wait is known, or that all have arrived at a barrier; TOKEN_BY: the record of that signal, or of the last to arrive.
# START: the later of ARRIVED and TOKEN_UNTIL; where that is the token, it is the reason. FREED_BY: the record whose
# start freed the place in the queue for its issue (NONE: the sequencer was the last to be ready). FINISH, and
# FINISHED_BY: the record whose latency that finish is due to: itself, or one before it on its engine.
CORE, INDEX, ISSUED, FREE, DEPENDS_UNTIL, WAITS_UNTIL, ARRIVED, WHY, CAUSE = range(9)
TOKEN_UNTIL, TOKEN_BY, START, FREED_BY, FINISH, FINISHED_BY, RECORD = range(9, 16)

# An engine: cycles busy, cycles stalled for three reasons, cycle from which it is free (NONE: from the beginning),
# instructions; and which of its recent accesses may still matter: from OLDEST to before NEWEST.
BUSY, STALL_DEPENDENCE, STALL_WAIT, STALL_TOKEN, FREE_FROM, COUNT, OLDEST, NEWEST, TOTALS = range(9)
