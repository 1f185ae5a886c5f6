"""A Program made flat for one chip: what all walkers of the emulator read.

In goes a Program and a Chip; out comes a Plan, arrays of int64, checked so that no kernel can leave its memory.
`plan` (the Plan and its loading), `barriers` (who meets), `deadlock` (the trap of cores that cannot go on), `pace` (how
long compiled code runs before Python has a look).
"""
