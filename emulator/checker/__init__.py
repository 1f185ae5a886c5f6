"""What is proven of a program, whatever the cycles and the data.

In goes a Plan; out comes a Verdict with Findings. `happens_before` (what each execution follows) with `scoreboard`,
`iteration_sets` (families of executions that do alike), `races`, `synchronisation` (deadlocks, semaphores),
`initialisation` (what is read and not there), `overflow` and `float_sums` (sums that do not fit); `findings` and
`race_report` (as values), `check` (all).
"""
