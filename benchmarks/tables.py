"""Results as tables for people, on a terminal or in a file. Every number has its unit."""

from rich.table import Table

from benchmarks.results import (
    AT_ONCE,
    FLOAT16,
    FLOAT32,
    FLOAT_GROUPS,
    GROUPS,
    ROUNDED_ONCE,
    THREADS,
    FloatProducts,
    Host,
    Measured,
    Moved,
    Results,
    Scheduling,
    targets,
)
from programs.networks.onnx_model import FORMS
from ratel.show.tables import console, styled, table

RIVALS = (*FORMS, "sgemm")


def print_results(results: Results) -> None:
    """Print everything that was measured."""
    out = console()
    out.print("; ".join(f"{name} {value}" for name, value in results.machine.items()))
    if results.host:
        out.print(limits(results.host))
    for kind in dict.fromkeys(layer.kind for layer in results.layers):
        out.print(of_kind(kind, [layer for layer in results.layers if layer.kind == kind], results.host))
    if results.floats:
        out.print(float_products(results.floats))
    if results.moves:
        out.print(bytes_moved(results.moves, results.host))
    if results.networks:
        out.print(rates(results.networks))
        out.print(ratios(results.networks, results.host))
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
    for what, seconds in (
        ("costs", found.costs),
        ("tables", found.tables),
        ("the schedule itself", found.itself),
        ("another chip number, all of it", found.sweep),
    ):
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


def limits(host: Host) -> Table:
    shown = table("limits of this host, one thread", [("what", "left"), ("", "right"), ("unit", "left")])
    shown.add_row("the micro-kernel alone, in the first-level cache", number(host.products, 1), "GMAC/s")
    for name, (size, rate) in host.copies.items():
        shown.add_row(f"copies that read and write {size / 2**10:,.0f} KiB ({name})", number(rate, 1), "GB/s")
    return shown


def of_kind(kind: str, layers: list[Measured], host: Host | None) -> Table:
    """Return the layers of a kind, each beside its fastest exact peer, and beside the least time on this host."""
    columns = ("ratel fp32", "fp24, %", "peer", "", "to it, x", "bound", "by", "of it, %")
    shown = table(
        f"{kind}: rates of ratel and of the fastest exact onnxruntime; what bounds them here",
        [
            ("", "left"),
            ("unit", "left"),
            *((column, "left" if column in ("", "by") else "right") for column in columns),
        ],
    )
    for one in layers:
        rate, fp24 = one.rate("fp32"), one.ratio("fp24", "fp32")
        least, what = host.bound(one.macs, one.moved) if host else (None, "-")
        bound = one.work / least / 1e9 if least else None
        shown.add_row(
            one.name,
            one.unit,
            number(rate, 1),
            number(fp24 and 100 * fp24, 0),
            number(one.rate(one.peer) if one.peer else None, 1),
            one.peer or "-",
            number(one.of_peer(), 2),
            number(bound, 1),
            what,
            number(rate and bound and 100 * rate / bound, 0),
        )
    return shown


def float_products(found: FloatProducts) -> Table:
    kinds = ("f16", "bf16", GROUPS, FLOAT32, FLOAT16, FLOAT_GROUPS)
    title = f"products of floats, GMAC/s; memory is read at {found.read / 1e9:.1f} GB/s"
    columns = [*((kind, "right") for kind in kinds), ("f16, its weights of memory, %", "right")]
    shown = table(title, [("", "left"), *columns])
    for one in found.products:
        of_memory = 100 * found.of_memory(one, "f16")
        shown.add_row(one.name, *(number(one.rate(kind), 1) for kind in kinds), number(of_memory, 0))
    return shown


def bytes_moved(moves: list[Moved], host: Host | None) -> Table:
    columns = [("instruction", "left"), ("KB", "right"), ("ratel, GB/s", "right"), ("numpy, GB/s", "right")]
    shown = table("bytes read and written", [*columns, ("copies there, GB/s", "right"), ("of that, %", "right")])
    for one in moves:
        copied = one.moved / host.bound(0, one.moved)[0] / 1e9 if host else None
        of_copies = copied and 100 * one.rate / copied
        rates = (number(one.rate, 2), number(one.numpy, 2), number(copied, 1), number(of_copies, 0))
        shown.add_row(one.name, f"{one.moved / 1e3:,.0f}", *rates)
    return shown


def rates(measured: list[Measured]) -> Table:
    headings = ["ratel fp32", "ratel fp24", *FORMS, "sgemm"]
    shown = table(
        "networks: GMAC/s of ratel, of onnxruntime by types of activations and weights, and of numpy's sgemm",
        [("", "left"), *((heading, "right") for heading in headings)],
    )
    for one in measured:
        for suffix, prefix in forms(one):
            keys = (f"{prefix}fp32", f"{prefix}fp24", *RIVALS)
            shown.add_row(one.name + suffix, *(number(one.rate(key), 1) for key in keys))
    return shown


def ratios(measured: list[Measured], host: Host | None) -> Table:
    columns = ("fastest exact", "to it, x", *(f"{rival}, x" for rival in RIVALS), "fp24, %", "L1, %")
    shown = table(
        "networks: ratel's fp32 rate to others'; its fp24 rate to that; that to the micro-kernel's in L1",
        [("", "left"), *((column, "right") for column in columns)],
    )
    for one in measured:
        for suffix, prefix in forms(one):
            key = f"{prefix}fp32"
            rate, fp24 = one.rate(key), one.ratio(f"{prefix}fp24", key)
            shown.add_row(
                one.name + suffix,
                one.peer or "-",
                number(one.of_peer(key), 2),
                *(number(one.ratio(key, rival), 2) for rival in RIVALS),
                number(fp24 and 100 * fp24, 0),
                number(rate and host and 100 * rate / host.products, 0),
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
