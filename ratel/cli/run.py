"""`ratel run`: a program bit for bit."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ratel.cli.files import check_targets, given, load_program, must_be_known, print_json, save_tensor
from ratel.cli.networks import run_network
from ratel.cli.options import (
    DONE,
    WRONG,
    Declare,
    add_chip,
    add_json,
    add_max_cycles,
    add_program,
    add_tasks,
    count,
    pairs,
    seed,
)

if TYPE_CHECKING:
    import numpy as np

    from emulator.execute.saturation import Saturation
    from emulator.plan.plan import Plan
    from isa.program import Program
    from ratel.api import Run


def declare(command: Declare) -> None:
    """Declare run with its options."""
    sub = command("run", run, "run a program bit for bit")
    add_program(sub)
    add_chip(sub)
    add_json(sub)
    sub.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE.npy", help="an input's tensor, or a batch of them"
    )
    sub.add_argument("--output", action="append", default=[], metavar="NAME=FILE.npy", help="save an output there")
    sub.add_argument("--expect", action="append", default=[], metavar="NAME=FILE.npy", help="compare an output exactly")
    sub.add_argument(
        "--dump",
        action="append",
        default=[],
        metavar="LOCAL[@ITERATION]",
        help="print a tensor (coreK.NAME where cores share a name) at the end, or as an iteration of its outermost "
        "loop ends",
    )
    sub.add_argument("--poison", type=seed, metavar="SEED", help="fill unwritten memory with noise instead of 0")
    sub.add_argument(
        "--threads",
        type=count,
        default=1,
        metavar="N",
        help="let N threads of this computer share large instructions (default: 1; the results are the same)",
    )
    sub.add_argument(
        "--saturation", action="store_true", help="say how much of each quantised result is at an end of its type"
    )
    checks = sub.add_mutually_exclusive_group()
    checks.add_argument("--check", action="store_true", help="check it first, as `ratel check` does; stop at an error")
    checks.add_argument("--no-check", action="store_true", help="run without looking for races first, which it hides")
    add_max_cycles(sub)
    add_tasks(sub)


def run(options: argparse.Namespace) -> int:
    from emulator.execute.expectations import first_difference
    from emulator.execute.inputs import count_tasks, read_tensor
    from ratel.show.runs import print_run, print_saturation

    if not isinstance(given(options), bytearray | str):
        return run_network(options, partial(computed, options))
    inputs, outputs, expected = (
        pairs(values, "NAME=FILE.npy") for values in (options.input, options.output, options.expect)
    )
    program = load_program(options)
    known = [symbol.name for _, symbol in program.of_kind("output")]
    must_be_known([*outputs, *expected], known)
    tensors = {name: read_tensor(path) for name, path in inputs.items()}
    wanted = {name: read_tensor(path) for name, path in expected.items()}
    check_targets(list(outputs.values()), ".npy", program, options.file)
    tasks = count_tasks(program, tensors, options.tasks)
    found = computed(options, program, tensors, options.dump, tasks)
    if found is None:
        return WRONG
    result, saturation = found
    for name, path in outputs.items():
        save_tensor(path, result.outputs[name])
    differences = {name: first_difference(tensor, result.outputs[name]) for name, tensor in wanted.items()}
    if options.json:
        more = {} if saturation is None else {"saturation": [vars(one) for one in saturation]}
        print_json({**result.summary(differences), **more})
    else:
        print_run(result, differences)
        if saturation is not None:
            print_saturation(result.plan, saturation)
    wrong = not result.passed or any(difference is not None for difference in differences.values())
    return WRONG if wrong else DONE


def computed(
    options: argparse.Namespace,
    program: Program,
    tensors: Mapping[str, np.ndarray],
    dumps: Sequence[str],
    tasks: int,
) -> tuple[Run, Sequence[Saturation] | None] | None:
    """Run a program as the options say, and schedule it; return what saturated, too, where that is asked for.

    Returns None, and says why, where it is not run.
    """
    from emulator.execute.saturation import find_saturation
    from emulator.precompile import compile_run
    from ratel import api
    from ratel.show.progress import Progress

    if not options.no_check and not may_run(api.plan_for(program, None, tasks), options):
        return None
    with Progress(program.name) as progress:
        if options.max_cycles is not None:
            # Before anything is computed: cycles do not depend on it.
            api.time(
                program,
                tasks=tasks,
                max_cycles=options.max_cycles,
                on_compile=progress.compiling,
                on_progress=progress.advance,
            )
        saturation = None
        if options.saturation:
            # First, for it refuses what is too long.
            plan = api.plan_for(program, None, tasks)
            compile_run(plan, 1, progress.compiling)
            saturation = find_saturation(plan, tensors, options.poison, progress.compiling)
        result = api.run(
            program,
            tensors,
            tasks=tasks,
            poison=options.poison,
            dumps=dumps,
            threads=options.threads,
            on_compile=progress.compiling,
            on_progress=progress.advance,
            check=False,
        )
        # Scheduled now, while progress is shown.
        _ = result.untimed
    return result, saturation


def may_run(plan: Plan, options: argparse.Namespace) -> bool:
    """Return whether a plan has no race, with --check no error, and with --strict nothing odd; print what it has.

    Execution is in order, so a race would show in no result.
    """
    from emulator.checker.check import fixes, judge_run
    from ratel.api import not_proven
    from ratel.show.findings import print_findings, print_verdict
    from ratel.show.tables import to_stderr

    verdict, stops = judge_run(plan, bool(options.dump), options.check, options.strict)
    if stops:
        print_verdict(verdict)
        hides = "--no-check runs it in program order, which hides a race"
        said = "--check stops at an error" if options.check else hides
        if fixes(verdict.findings) and Path(options.file).suffix == ".npu":
            said = f"`ratel check --fix {shlex.quote(options.file)}` tries to mend it; {said}"
        to_stderr(f"not run; {said}")
        return False
    print_findings(verdict)
    if unproven := not_proven(verdict):
        to_stderr(f"warning: {unproven}")
    return True
