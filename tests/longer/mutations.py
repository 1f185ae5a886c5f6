"""Programs with a wait bit, a semaphore or a barrier taken away: the checker's verdict against brute force.

    python -m tests.longer.mutations [--mutants 10000] [--interleavings 50] [--seed 1] [--scheduler ADDRESS]

Where a mutant is called proven, all interleavings leave the same bytes in all memories.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ratel
from emulator.checker.races import MOST_RACES, find_races
from emulator.execute.interleave import Interleaver
from emulator.plan.load import load
from emulator.plan.plan import Plan
from isa.errors import RatelError, Trap
from isa.program import Core, Program
from ratel.testing.programs import looped_programs, ordered, race_free_programs
from tests.emulator.checker.plain_races import Deadlock, racing_pairs
from tests.longer.cluster import add_scheduler, shared

PROGRAMS = Path(__file__).parents[2] / "programs"
# A mutant is unrolled to no more, and its memories are no larger, for they are compared.
MOST_EXECUTIONS, MOST_BYTES = 2_000, 4 * 2**20
# Mutants that a worker of a cluster is given at once; its seed is so much larger than the one before.
PART, NEXT_SEED = 500, 1_000


@dataclass
class Seen:
    """Verdicts by the checker and by brute force, counted; and the mutants of which they differ, or which are wrong."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    interleavings: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        return sum(self.verdicts.values())


def mutants(program: Program) -> Iterator[tuple[str, Program]]:
    """Yield the program without each of its wait bits, uses of semaphores and barriers, and whole ones of these."""
    kinds = {"signal": "semaphore", "wait": "semaphore", "barrier": "barrier"}
    tokens = set()
    for number, core in enumerate(program.cores):
        for k, instruction in enumerate(core.code):
            where = f"core {number}, instruction {k}"
            for bit in range(3):
                if instruction.waits >> bit & 1:
                    changed = replace(instruction, waits=instruction.waits ^ 1 << bit)
                    code = (*core.code[:k], changed, *core.code[k + 1 :])
                    yield f"{where} without wait bit {bit}", _with_core(program, number, replace(core, code=code))
            if instruction.row.mnemonic in kinds:
                tokens.add((kinds[instruction.row.mnemonic], int(instruction.attributes[0][0])))
                yield f"without {where}", _with_core(program, number, _without(core, {k}))
    for kind, token in sorted(tokens):
        mutant = program
        for number, core in enumerate(program.cores):
            gone = {
                k
                for k, i in enumerate(core.code)
                if kinds.get(i.row.mnemonic) == kind and int(i.attributes[0][0]) == token
            }
            mutant = _with_core(mutant, number, _without(core, gone))
        yield f"without {kind} {token}", mutant


def _with_core(program: Program, number: int, core: Core) -> Program:
    return replace(program, cores=(*program.cores[:number], core, *program.cores[number + 1 :]))


def _without(core: Core, gone: set[int]) -> Core:
    kept = [k for k in range(len(core.code)) if k not in gone]
    return replace(core, code=tuple(core.code[k] for k in kept), lines=tuple(core.lines[k] for k in kept))


def judge(name: str, program: Program, interleavings: int, seen: Seen) -> None:
    """Hold the verdict of a program against brute force, and against interleavings where it is proven."""
    chip = program.chip
    if sum(core.executions for core in program.cores) > MOST_EXECUTIONS:
        return
    try:
        plan = load(program, chip, 1)
    except RatelError:
        # As it may be: half of a semaphore's or a barrier's uses.
        seen.verdicts["refused at load", "refused at load"] += 1
        return
    if plan.arena_bytes > MOST_BYTES:
        return
    try:
        found = find_races(plan, every=True)
        verdict = found.verdict
        pairs = {((r.first.core, r.first.index), (r.second.core, r.second.index)) for r in found.races}
    except Trap as trap:
        assert "deadlock" in str(trap)
        verdict, pairs = "deadlock", set()
    try:
        expected_pairs = racing_pairs(program)
        expected = "race" if expected_pairs else "proven"
    except Deadlock:
        expected, expected_pairs = "deadlock", set()
    seen.verdicts[verdict, expected] += 1
    if len(program.cores) > 1:
        pairs, expected_pairs = ({tuple(sorted(pair)) for pair in either} for either in (pairs, expected_pairs))
    if verdict != "deadlock" and find_races(plan).verdict != verdict:
        seen.wrong.append(f"{name}: {verdict} with every race told, but not by its causes")
    if verdict != expected or (pairs != expected_pairs and len(pairs) < MOST_RACES):
        seen.wrong.append(f"{name}: {verdict} {sorted(pairs)}, by brute force {expected} {sorted(expected_pairs)}")
    elif verdict == "proven":
        _interleave(name, plan, interleavings, seen)


def _interleave(name: str, plan: Plan, interleavings: int, seen: Seen) -> None:
    noise = np.random.default_rng(0)
    inputs = (symbol for _, symbol in plan.program.of_kind("input"))
    given = {s.name: noise.integers(0, 100, s.host_shape).astype(s.dtype.numpy) for s in inputs}
    first = None
    with Interleaver(plan) as interleaver:
        for seed in range(interleavings):
            try:
                interleaver.interleaved(seed, given)
            except Trap:
                # An index that is out of range ends a run wherever it is.
                return
            seen.interleavings += 1
            left = interleaver.memory.tobytes()
            first = first or left
            if left != first:
                seen.wrong.append(f"{name}: proven, but interleaving {seed} leaves other bytes")
                return


def small_programs() -> Iterator[Program]:
    """Yield those of programs/ that can be unrolled."""
    for path in sorted(PROGRAMS.glob("*/*.npu")):
        try:
            program = ratel.assemble(path.read_text(), path)
        except RatelError:
            continue  # a part that others include
        if sum(core.executions for core in program.cores) <= MOST_EXECUTIONS:
            yield program


def generated() -> st.SearchStrategy[Program]:
    """Draw programs without a race, whose mutants may have one, and some that have already."""
    looped = looped_programs()
    return st.one_of(
        looped, looped.map(ordered), race_free_programs(), race_free_programs(cores=2), race_free_programs(cores=2)
    )


def run(most: int, interleavings: int, seed: int, seen: Seen, on_program: object = None, small: bool = True) -> None:
    """Judge so many mutants: of the small programs first, where these are wanted, then of generated ones."""

    def judge_mutants(program: Program) -> None:
        for what, mutant in mutants(program):
            if seen.mutants >= most:
                return
            judge(f"{program.name} {what}", mutant, interleavings, seen)
        if callable(on_program):
            on_program()

    for program in small_programs() if small else ():
        judge_mutants(program)

    quick = settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])

    @hypothesis.seed(seed)
    @settings(quick, suppress_health_check=list(HealthCheck))
    @given(generated())
    def generate(program: Program) -> None:
        judge_mutants(program)

    while seen.mutants < most:
        before = seen.mutants
        generate()
        seed += 1
        generate = hypothesis.seed(seed)(generate)
        assert seen.mutants > before, "generated programs have something to take away"


def part(most: int, interleavings: int, seed: int, small: bool) -> Seen:
    """Return what is seen of so many mutants."""
    seen = Seen()
    run(most, interleavings, seed, seen, small=small)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--interleavings", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    add_scheduler(parser)
    options = parser.parse_args()
    seen, began = Seen(), time.monotonic()

    def shown() -> None:
        print(f"\r{seen.mutants:,} mutants, {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)

    if options.scheduler is None:
        run(options.mutants, options.interleavings, options.seed, seen, shown)
    else:
        # The first has the small programs, which have fewer.
        parts = [
            (min(PART, options.mutants - first), options.interleavings, options.seed + NEXT_SEED * k, k == 0)
            for k, first in enumerate(range(0, options.mutants, PART))
        ]
        for found in shared(options.scheduler, part, parts):
            seen.verdicts += found.verdicts
            seen.interleavings += found.interleavings
            seen.wrong += found.wrong
            shown()
    print(f"\n{seen.mutants:,} mutants, {seen.interleavings:,} interleavings of those proven")
    for (verdict, expected), count in sorted(seen.verdicts.items()):
        print(f"{count:>8,}  checker: {verdict}, brute force: {expected}")
    print(f"{len(seen.wrong)} wrong or open", *seen.wrong[:20], sep="\n")
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
