"""Program and chip to results. Knows isa.

In go a Program and a Chip; out come outputs, cycles and proofs. plan makes the program flat; three wings read the plan,
none of which needs another: kernels, walked by execute (what it computes), timing (when, why) with explain, and
checker (what is proven). jit compiles; `precompile` does so ahead of a run, with a second process, and `ship` ahead of
all runs, for a wheel.
"""
