"""A Program made flat for one chip: what all walkers of the emulator read.

In goes a Program and a Chip; out comes a Plan, arrays of int64, checked so that no kernel can leave its memory. In
order: `layout` (what follows from the program alone), `load` (the checks against a chip), `plan` (what comes out: the
Plan, and a CorePlan for each core), `row` (an instruction in it: its columns, all that kernels know of a plan),
`scratch` (what a kernel takes beside the arena) by `blocks` (what it works on at a time), `traps` and `deadlock` (how
it is told why a program cannot go on), `barriers` (who meets), `pace` (how long compiled code runs before Python has a
look).
"""
