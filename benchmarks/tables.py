"""Results as tables for people, on a terminal or in a file. Every number has its unit."""

from rich.table import Table

from benchmarks.results import AT_ONCE, ROUNDED_ONCE, THREADS, Measured, Results, Scheduling, targets
from programs.networks.onnx_model import FORMS
from ratel.show.tables import console, styled, table

RIVALS = (*FORMS, "sgemm")


def print_results(results: Results) -> None:
    """Print everything that was measured."""
    out = console()
    out.print("; ".join(f"{name} {value}" for name, value in results.machine.items()))
    for title, measured in (("layers", results.layers), ("networks", results.networks)):
        if measured:
            out.print(rates(title, measured))
            out.print(ratios(title, measured, results.limit))
    if results.limit:
        out.print(f"\nL1: the micro-kernel alone in the first-level cache, {results.limit:.1f} GMAC/s")
    if results.networks:
        out.print(details(results.networks))
        out.print(threads(results.networks))
    if results.instructions:
        small = table("small instructions in a hardware loop", [("instructions", "left"), ("million/s", "right")])
        for name, rate in results.instructions.items():
            small.add_row(name, f"{rate / 1e6:.2f}")
        out.print(small)
    if results.scheduling:
        out.print(scheduling(results.scheduling))
    if results.processes:
        processes = table("whole processes", [("command", "left"), ("s", "right")])
        for name, seconds in results.processes.items():
            processes.add_row(name, f"{seconds:.2f}")
        out.print(processes)
    if results.memory:
        memory = table("memory of a run of ResNet-50", [("what", "left"), ("MB", "right")])
        held = results.memory
        for name, size in (
            ("peak, above that of a run of digits", held.above),
            ("weights and constants", held.weights),
            ("activations", held.activations),
            ("packed weights", held.packed),
        ):
            memory.add_row(name, f"{size / 1e6:.1f}")
        out.print(memory)
    out.print(verdicts(results))


def scheduling(found: Scheduling) -> Table:
    """Return what scheduling takes as a table."""
    shown = table("scheduling, without data", [("what", "left"), ("", "right"), ("unit", "left")])
    for name, rate in found.rates.items():
        shown.add_row(f"{name} of a long loop", f"{rate / 1e6:.1f}", "million/s")
    network = f"ResNet-50 on four cores, {found.instructions:,} instructions"
    for what, seconds in (("costs", found.costs), ("tables", found.tables), ("the schedule itself", found.itself)):
        shown.add_row(f"{network}: {what}", f"{1e3 * seconds:.1f}", "ms")
    for count, peak in found.peaks.items():
        shown.add_row(f"peak memory of `ratel time`, a loop of {count:,} copies", f"{peak / 1e6:.0f}", "MB")
    if found.scalesim is not None:
        shown.add_row("SCALE-Sim, the products of one ResNet-50", f"{found.scalesim:.0f}", "s")
    return shown


def forms(measured: Measured) -> list[tuple[str, str]]:
    """Return the forms that the emulator ran: what stands behind the name, and before the contenders'."""
    once = [(", rounded once", ROUNDED_ONCE)] if f"{ROUNDED_ONCE}fp32" in measured.timings else []
    return [("", ""), *once]


def rates(title: str, measured: list[Measured]) -> Table:
    headings = ["ratel fp32", "ratel fp24", *FORMS, "sgemm"]
    shown = table(
        f"{title}: rates of ratel, of onnxruntime by types of activations and weights, and of numpy's sgemm",
        [("", "left"), ("unit", "left"), *((heading, "right") for heading in headings)],
    )
    for one in measured:
        for suffix, prefix in forms(one):
            keys = (f"{prefix}fp32", f"{prefix}fp24", *RIVALS)
            shown.add_row(one.name + suffix, one.unit, *(number(one.rate(key), 1) for key in keys))
    return shown


def ratios(title: str, measured: list[Measured], limit: float | None) -> Table:
    shown = table(
        f"{title}: ratel's fp32 rate to onnxruntime's and sgemm's; its fp24 rate to that; that to the limit, L1",
        [
            ("", "left"),
            *((f"{rival}, x", "right") for rival in RIVALS),
            ("fp24, %", "right"),
            ("L1, %", "right"),
        ],
    )
    for one in measured:
        for suffix, prefix in forms(one):
            key = f"{prefix}fp32"
            rate = one.rate(key)
            of_limit = 100 * rate / limit if rate and limit and one.unit == "GMAC/s" else None
            fp24 = one.ratio(f"{prefix}fp24", key)
            shown.add_row(
                one.name + suffix,
                *(number(one.ratio(key, rival), 2) for rival in RIVALS),
                number(fp24 and 100 * fp24, 0),
                number(of_limit, 0),
            )
    return shown


def details(measured: list[Measured]) -> Table:
    columns = ("median, ms", "between quartiles, %", "preparing, s", "packing, ms")
    shown = table(
        "networks: time of one computation; not in it: compiling or making a session, setting up and packing weights",
        [("network", "left"), ("contender", "left"), *((column, "right") for column in columns)],
    )
    for one in measured:
        for name, timing in one.timings.items():
            spread = 100 * timing.spread / timing.median
            set_up = f"{1e3 * timing.set_up:.1f}" if timing.set_up else "-"
            numbers = f"{1e3 * timing.median:.2f}", f"{spread:.1f}", f"{timing.prepared:.2f}", set_up
            shown.add_row(one.name, name, *numbers)
    return shown


def threads(measured: list[Measured]) -> Table:
    shown = table(
        "two threads: rates to one thread's, in the same turns; two runs at once show what the host allows",
        [
            ("network", "left"),
            (f"{THREADS}, x", "right"),
            (f"{AT_ONCE}, x", "right"),
            ("the one of the other, %", "right"),
        ],
    )
    for one in measured:
        shared, limit, reached = (
            one.ratio(*pair) for pair in ((THREADS, "fp32"), (AT_ONCE, "fp32"), (THREADS, AT_ONCE))
        )
        shown.add_row(one.name, number(shared, 2), number(limit, 2), number(reached and 100 * reached, 0))
    return shown


def verdicts(results: Results) -> Table:
    columns = [("what", "left"), ("asked", "right"), ("measured", "right"), ("unit", "left"), ("", "left")]
    shown = table("asked and measured", columns)
    for target in targets(results):
        if target.held is None:
            continue
        bound = f"{'at most' if target.most else 'at least'} {target.asked:g}"
        shown.add_row(
            target.what,
            bound,
            number(target.measured, 2),
            target.unit,
            styled(("held", "green") if target.held else ("missed", "red")),
        )
    return shown


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
