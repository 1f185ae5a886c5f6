"""`ratel fleet`: how many cards of which kind a service needs, and how long its queries wait."""

from __future__ import annotations

import argparse

from ratel.cli.files import check_targets, print_json
from ratel.cli.options import DONE, WRONG, Declare, add_json, count, seed


def declare(command: Declare) -> None:
    """Declare fleet with its options."""
    sub = command("fleet", fleet, "plan a fleet of cards: capacity, watts, cards needed, and latencies over load")
    sub.add_argument("file", metavar="FLEET.toml|NAME", help="the fleet, or one that comes along: qinghai")
    sub.add_argument("--seed", type=seed, metavar="N", help="what arrivals are drawn from (default: the file's, or 0)")
    sub.add_argument(
        "--queries", type=count, metavar="N", help="queries of each simulation, at least (default: 20,000)"
    )
    sub.add_argument("--picture", metavar="FILE.svg", help="draw load against latency, by kind")
    add_json(sub)


def fleet(options: argparse.Namespace) -> int:
    import ratel
    from isa.files import write_whole
    from ratel.show.fleets import print_fleet
    from ratel.show.progress import Progress

    if options.picture is not None:
        check_targets([options.picture], ".svg", None, options.file)
    with Progress(options.file) as progress:
        more = {} if options.queries is None else {"queries": options.queries}
        planned = ratel.fleet(options.file, seed=options.seed, on_progress=progress.planning, **more)
    if options.picture is not None:
        write_whole(options.picture, planned.picture().encode())
    if options.json:
        print_json(planned.summary())
    else:
        print_fleet(planned)
    return DONE if any(kind.station for kind in planned.kinds) else WRONG
