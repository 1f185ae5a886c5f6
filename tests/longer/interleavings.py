"""Generated programs without a race: in order, by the reference, and in drawn orders, with the same bytes at the end.

python -m tests.longer.interleavings [--programs 2000] [--interleavings 200] [--seed 1]
"""

import argparse
import sys
import time
from collections import Counter

import hypothesis
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ratel
from emulator.checker.races import find_races
from emulator.execute.arena import open_arena
from emulator.execute.interleave import Interleaver
from emulator.plan.load import load
from emulator.plan.plan import Plan
from isa.errors import Trap
from isa.interpret import interpret
from isa.operand import MEMORIES, region
from isa.program import Program
from ratel.testing.programs import looped_programs, ordered, race_free_programs

MOST_EXECUTIONS = 2_000


def race_free() -> st.SearchStrategy[Program]:
    """Draw programs without a race, of one core or several."""
    return st.one_of(looped_programs().map(ordered), race_free_programs(), race_free_programs(cores=2))


def by_reference(plan: Plan, poison: int) -> bytes:
    """Return what one task leaves in all memories by the plain reference: inputs 0, unwritten bytes noise."""
    arena = open_arena(plan, poison)
    places = [{memory: region(part.number, memory) for memory in MEMORIES} for part in plan.cores]
    memories = [
        {memory: arena[plan.bases[at] : plan.bases[at] + plan.sizes[at]] for memory, at in of_core.items()}
        for of_core in places
    ]
    for core, symbol in plan.program.of_kind("input"):
        memories[core][symbol.memory][symbol.address : symbol.address + symbol.bytes] = 0
    interpret([part.core for part in plan.cores], memories, plan.chip.formats)
    return arena[: plan.arena_bytes].tobytes()


def hold_in_any_order(program: Program, interleavings: int) -> str:
    """Hold the orders of a program's first task against each other; return "equal", "trap" or "too long"."""
    plan = load(program, program.chip, 1)
    if sum(part.core.executions for part in plan.cores) > MOST_EXECUTIONS:
        return "too long"
    assert find_races(plan).verdict == "proven"
    zeros = {s.name: np.zeros(s.host_shape, s.dtype.numpy) for _, s in program.of_kind("input")}
    try:
        expected = by_reference(plan, 0)
    except Trap:
        # An index that is out of range is so in any order.
        with Interleaver(plan) as interleaver:
            for seed in range(interleavings):
                try:
                    interleaver.interleaved(seed, zeros)
                except Trap:
                    continue
                raise AssertionError("a trap in one order, and none in another") from None
        return "trap"
    outputs = ratel.run(program, zeros, tasks=1, poison=0, check=False).outputs
    with Interleaver(plan) as interleaver:
        for seed in range(interleavings):
            found = interleaver.interleaved(seed, zeros).outputs
            assert interleaver.memory.tobytes() == expected, f"interleaving {seed}"
            assert all(found[name].tobytes() == outputs[name].tobytes() for name in outputs), "in order"
    return "equal"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.interleavings", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=2_000)
    parser.add_argument("--interleavings", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen, began = Counter[str](), time.monotonic()

    @hypothesis.seed(options.seed)
    @settings(max_examples=options.programs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(race_free())
    def each(program: Program) -> None:
        seen[hold_in_any_order(program, options.interleavings)] += 1
        print(f"\r{seen.total():,} programs", end="", file=sys.stderr)

    each()
    print(f"\n{options.interleavings} interleavings each, {time.monotonic() - began:.0f} s: {dict(seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
