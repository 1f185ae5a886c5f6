"""`ratel sweep`: a program or a network on many chips."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ratel.cli.files import always, check_targets, given, load_program, print_json, shapes
from ratel.cli.options import (
    DONE,
    WRONG,
    Declare,
    UsageError,
    add_chip,
    add_json,
    add_program,
    add_tasks,
    count,
    overrides,
    pairs,
    seed,
)


def declare(command: Declare) -> None:
    """Declare sweep with its options."""
    sub = command("sweep", sweep, "time a program on many chips: a grid of numbers, drawn ones, or a search")
    add_program(sub)
    sub.add_argument(
        "--vary",
        action="append",
        default=[],
        required=True,
        metavar="KEY=VALUES",
        help="a number of the chip and its values: te.channels=64,128,256 or memory.lm=8M..64M/5 (5 of them) or "
        "8..64*2 (each twice the one before); also chip, tasks, and of a network cores, batch, order, round_once",
    )
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--sample", type=count, metavar="N", help="draw N points (default: all of the grid)")
    how.add_argument("--search", type=count, metavar="N", help="let Optuna look for the best, among N points")
    sub.add_argument(
        "--minimise", default="cycles", metavar="GOALS", help="what is wanted less of: cycles,seconds (default: cycles)"
    )
    sub.add_argument("--seed", type=seed, default=0, metavar="N", help="of --sample and --search (default: 0)")
    sub.add_argument(
        "-o", dest="results", metavar="FILE.parquet", help="keep the results there, as they come, and go on from them"
    )
    sub.add_argument("--page", metavar="FILE.html", help="write a page of pictures; it loads nothing")
    where = sub.add_mutually_exclusive_group()
    where.add_argument("--processes", type=count, metavar="N", help="of this computer (default: one a core)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="compute on a Dask cluster: tcp://host:8786")
    add_chip(sub)
    add_json(sub)
    add_tasks(sub)


def sweep(options: argparse.Namespace) -> int:
    import ratel
    from isa.memory import limited
    from ratel.show.progress import Progress
    from ratel.show.sweeps import print_sweep

    vary = pairs(options.vary, "KEY=VALUES")
    targets = {options.results: ".parquet", options.page: ".html"}
    for path, suffix in targets.items():
        if path is not None:
            if Path(path).suffix != suffix:
                raise UsageError(f"{path} does not end in {suffix}")
            check_targets([path], suffix, None, options.file)
    read = given(options)
    program: Any = load_program(options) if isinstance(read, bytearray | str) else read
    name = program.name
    with Progress(name) as progress, limited(options.memory):
        found = ratel.sweep(
            program,
            vary,
            options.chip,
            minimise=options.minimise.split(","),
            samples=options.sample,
            search=options.search,
            seed=options.seed,
            results=options.results,
            processes=options.processes,
            scheduler=options.scheduler,
            tasks=options.tasks,
            numbers=overrides(options.set),
            shapes=shapes(options) or None,
            always=always(options) or None,
            order=options.order,
            cores=options.cores,
            batch=options.batch,
            round_once=options.round_once or None,
            host=False if options.no_host else None,
            on_progress=progress.sweeping,
        )
    if options.page is not None:
        found.plot(options.page)
    if options.json:
        print_json(found.summary())
    else:
        print_sweep(found, [path for path in targets if path is not None])
    return DONE if any(not one.error for one in found.outcomes) else WRONG
