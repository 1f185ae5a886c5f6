"""What a program computes: a Plan run on inputs.

In goes a Plan with tensors; out come outputs, dumps and checks. `session` (a plan ready to run), `inputs`, `arena` (all
memories), `prepack` (constant weights, and constants of chains), `predecode` (the plan in the arrays of the loop),
`walkers` (threads) and `loop` (the compiled loop over instructions), `spin_barrier` (where walkers meet),
`expectations` (a program's checks);
`stepping` (instruction by instruction, with observers), `interleave` (in drawn orders), `saturation` (an observer).
"""
