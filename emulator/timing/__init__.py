"""When each instruction starts, and why then.

In goes a Plan; out comes a Schedule: a Timeline of one task, or a Stream of several. `costs` and `costs_tensor`
(occupancy and latency), `columns` (of the arrays), `schedule` (the compiled clock), `replay` (a run of it, and what
happened between two states), `result` (what both are), `timeline`, `stream`; `bounds` is for chips of which only peaks
are known.
"""
