"""Program and chip to results: execute, schedule, critical path. Knows isa."""
