"""Generated programs without a race: in order, by the reference, and in drawn orders, with the same bytes at the end.

python -m tests.longer.interleavings [--programs 2000] [--interleavings 200] [--seed 1] [--scheduler ADDRESS]
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable

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
from tests.longer.cluster import add_scheduler, shared

MOST_EXECUTIONS = 2_000
# Programs that a worker of a cluster is given at once; its seed is so much larger than the one before.
PART, NEXT_SEED = 100, 1_000


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


def hold(programs: int, interleavings: int, seed: int, on_program: Callable[[], None] = lambda: None) -> Counter[str]:
    """Hold so many programs, and count what came of them."""
    seen = Counter[str]()

    @hypothesis.seed(seed)
    @settings(max_examples=programs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(race_free())
    def each(program: Program) -> None:
        seen[hold_in_any_order(program, interleavings)] += 1
        on_program()

    each()
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.interleavings", description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=2_000)
    parser.add_argument("--interleavings", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    add_scheduler(parser)
    options = parser.parse_args()
    seen, began, done = Counter[str](), time.monotonic(), 0

    def shown(more: int = 1) -> None:
        nonlocal done
        done += more
        print(f"\r{done:,} programs", end="", file=sys.stderr)

    if options.scheduler is None:
        seen = hold(options.programs, options.interleavings, options.seed, shown)
    else:
        parts = [
            (min(PART, options.programs - first), options.interleavings, options.seed + NEXT_SEED * k)
            for k, first in enumerate(range(0, options.programs, PART))
        ]
        for found in shared(options.scheduler, hold, parts):
            seen += found
            shown(found.total())
    print(f"\n{options.interleavings} interleavings each, {time.monotonic() - began:.0f} s: {dict(seen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
