"""When each instruction starts, and why then.

In goes a Plan; out comes a Schedule: a Timeline of one task, or a Stream of several. `costs` and `costs_tensor`
(occupancy and latency), `columns` (of all arrays here), `flatten` (plan and costs in the arrays of the clock),
`program_order` (deadlocks), `schedule` (the compiled clock), `replay` (a run of it, and what happened between two
states), `critical_path` (the compiled walk back), `result` (what schedules share), `timeline`, `stream`; `bounds` is
for chips of which only peaks are known.
"""
