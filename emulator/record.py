"""What the schedule notes of each instruction executed, and of each engine: the columns of its arrays, in cycles."""

# Why an instruction started when it did, and not before; among equals the first.
REASONS = ("engine busy", "dependence", "wait", "issue")
ENGINE, DEPENDENCE, WAIT, ISSUE = range(4)

# An instruction executed: index in the code, cycle of issue, of start, reason, record behind the reason (NONE for
# ISSUE), the record whose start freed the place in the queue for it (NONE: the sequencer was the last to be ready),
# cycle of finish, and the record whose latency that finish is due to: itself, or one before it on its engine.
INDEX, ISSUED, START, WHY, CAUSE, FREED_BY, FINISH, FINISHED_BY, RECORD = 0, 1, 2, 3, 4, 5, 6, 7, 8
NONE = -1

# An engine: cycles busy, cycles stalled for two reasons, cycle from which it is free, instructions.
BUSY, STALL_DEPENDENCE, STALL_WAIT, FREE, COUNT, TOTALS = 0, 1, 2, 3, 4, 5
