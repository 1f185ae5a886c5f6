"""What a schedule says to people: where the cycles went, and what would save some.

In goes a Schedule; out come rows, pictures' spans and traces. `spans` (what ran when), `slack`, `annotate` (by source
line), `breakdown` (by kind), `energy`, `roofline`, `what_if`, `chrome_trace`.
"""
