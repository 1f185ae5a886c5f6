"""Networks of the corpus, compiled for chips of all sizes: each tensor that the chip makes against onnxruntime's.

    python -m tests.longer.compare [--models resnet50,...] [--forms u8u8,s8s8,qdq] [--chips hanguang800,edge,...]
                                   [--orders hardware,compiler] [--cores 1,2,4] [--batch N] [--own-formats] [--json]

The corpus is made by `python -m tests.longer.models`. Vectors are float32, whatever the chip has, but with
--own-formats: then only outputs are compared. A network is compiled twice: as it is run, which is timed, checked, and
compared by its outputs; and with a place of its own for each tensor, where the chip has so much memory. `moved` are the
bytes to and from the memory behind, `bound` what would pass if each step's operands that lie there passed once: what
the same steps move at least, wherever they are cut. `busy` are shares of the cycles of a task
but for the host's transfers.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import numpy as np

import ratel
from compiler.compile import compile
from compiler.compiled import Compiled
from compiler.fit.homes import homes
from compiler.report import differences
from emulator.explain.roofline import roofline
from isa.chip import Chip, load_chip
from isa.errors import InputError, RatelError
from isa.program import ORDERS
from tests.compiler import oracle
from tests.longer.models import NETWORKS, example, model_path

CHIPS = ("hanguang800", "zhenwu810e", "edge", "gemmini-16")
FORMS = ("u8u8", "s8s8", "qdq")
FP32 = {"te__vector_format": "fp32", "pe__vector_format": "fp32"}


@dataclass
class Row:
    """What came of a network on a chip; `error` where nothing did. `wrong` are tensors, and `outputs` say how far."""

    network: str
    form: str
    chip: str
    order: str
    cores: int
    batch: int | None
    nodes: int = 0
    instructions: int = 0
    parts: int = 0
    host: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    unequal: int = 0
    cycles: int = 0
    busy: dict[str, float] = field(default_factory=dict)
    moved: int = 0
    bound: int = 0
    verdicts: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0
    error: str = ""

    @property
    def is_right(self) -> bool:
        return not (self.error or self.wrong or self.unequal) and set(self.verdicts) <= {"proven"}


def compare(
    network: str,
    form: str,
    chip: str,
    order: str = "hardware",
    cores: int = 1,
    batch: int | None = None,
    own: bool = False,
) -> Row:
    """Compile a network of the corpus and compare it; with `own` in the chip's own vector formats."""
    row = Row(network, form, chip, order, cores, batch)
    on, path = load_chip(chip, **({} if own else FP32)), model_path(network, form)
    began = time.monotonic()
    try:
        compiled = compile(path, on, order=order, cores=cores, batch=batch)
    except RatelError as error:
        row.error = str(error).splitlines()[0]
        return row
    row.seconds = time.monotonic() - began
    summary = compiled.summary()
    row.nodes, row.instructions, row.parts = summary["nodes"], summary["instructions"], len(compiled.parts)
    row.host = dict(Counter(f"{one['operator']}: {one['why']}" for one in summary["host"]).most_common())
    _measure(row, compiled)
    # With a batch cores have images of their own; each is compared with what onnxruntime makes of it alone.
    images = [example(network, 1 + k) for k in range(compiled.images)]
    fed = (
        images[0]
        if compiled.images == 1
        else {name: np.concatenate([one[name] for one in images]) for name in images[0]}
    )
    found = oracle.results(compiled, fed, check=False)
    shares = [np.split(array, compiled.images) if compiled.images > 1 else [array] for array in found]
    # What follows functions that the chip has in its own way is said, but is not wrong.
    inexact = [node for part in compiled.parts for plan in part.plans for node in plan.inexact]
    loose = oracle.of_its_own(compiled.graph, inexact)
    for k, image in enumerate(images):
        made = dict(zip(compiled.graph.outputs, (share[k] for share in shares)))
        for difference in differences(compiled.graph, image, made):
            row.compared += 1
            row.unequal += difference.unequal if difference.name not in loose else 0
            row.outputs.append(str(difference))
    if cores == 1 and not own:
        _each(row, path, on, images[0])
    return row


def _measure(row: Row, compiled: Compiled) -> None:
    busy, cycles = Counter[str](), 0
    for part in compiled.parts:
        if part.program is None:
            continue
        timeline = ratel.time(part.program)
        row.cycles += timeline.cycles
        cycles += timeline.compute_cycles
        busy.update({name: engine.busy for name, engine in timeline.engines.items()})
        moved = roofline(timeline).bytes
        row.moved += moved.get("dev", 0) + moved.get("host", 0)
        row.bound += sum(_bound(plan, compiled.chip) for plan in part.plans)
        verdict = ratel.check(part.program)
        row.verdicts.append(verdict.verdict)
        row.findings += [f"{finding.code} {finding.message}" for finding in verdict.findings]
    row.busy = {name: round(held / max(cycles, 1), 3) for name, held in sorted(busy.items())}


def _bound(plan: Any, chip: Chip) -> int:
    """Return the bytes of operands that lie behind local memory, each once for each step that reads or makes it."""
    memories = homes(plan, chip)
    views = [view for step in plan.steps for view in step.operands.values()]
    return sum(view.bytes for view in views if memories[view.tensor] in ("dev", "host"))


def _each(row: Row, path: Any, chip: Chip, given: Mapping[str, np.ndarray]) -> None:
    """Compare each tensor of a program in which none takes the place of another, where the chip has room for them."""
    try:
        kept = compile(path, chip, order=row.order, keep=True)
    except InputError:
        return
    said = oracle.compared(kept, given)
    row.compared += len(said)
    row.wrong = [one for one in said.values() if one]


def line(row: Row) -> str:
    """Return a row of the table."""
    name = f"{row.network} {row.form}"
    start = f"| {name} | {row.chip} | {row.order} | {row.cores} "
    if row.error:
        return f"{start}| {row.error} |"
    unequal = sum("differ" in said for said in row.outputs)
    shares = ", ".join(f"{engine.removeprefix('core0.')} {share:.0%}" for engine, share in row.busy.items() if share)
    over = f"{row.moved / 1e6:.1f} MB, {row.moved / row.bound:.2f} x" if row.bound else "-"
    verdict = ", ".join(sorted(set(row.verdicts))) or "-"
    return (
        f"{start}| {row.nodes} | {row.instructions} | {row.parts} | {sum(row.host.values())} "
        f"| {row.compared - len(row.wrong) - unequal}/{row.compared} | {row.cycles:,} | {shares} | {over} | {verdict} |"
    )


COLUMNS = (
    *("network", "chip", "order", "cores", "nodes", "instructions", "parts", "host", "equal", "cycles", "busy"),
    *("moved, over bound", "check"),
)
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def rows(asked: argparse.Namespace) -> Iterator[Row]:
    divided = set()
    for network, form, chip, order, cores in product(asked.models, asked.forms, asked.chips, asked.orders, asked.cores):
        # What the host has a part of is for one core.
        is_for_one = asked.batch and (network, form) in divided
        if is_for_one or cores > load_chip(chip)["chip.cores"] or not model_path(network, form).exists():
            continue
        row = compare(network, form, chip, order, cores, asked.batch, asked.own_formats)
        if row.parts > 1:
            divided.add((network, form))
        yield row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.compare", description=__doc__.splitlines()[0])
    listed: dict[str, tuple[Sequence[str], str]] = {
        "models": (tuple(NETWORKS), "networks of the corpus"),
        "forms": (FORMS, "how they are quantised"),
        "chips": (CHIPS, "chips by name"),
        "orders": (ORDERS, "orders"),
    }
    for name, (usual, help) in listed.items():
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=list(usual), help=help)
    parser.add_argument("--batch", type=int, help="images of its own for each core; else cores share one")
    parser.add_argument("--cores", type=lambda text: [int(one) for one in text.split(",")], default=[1], help="cores")
    parser.add_argument("--own-formats", action="store_true", help="the chips' own vector formats; outputs alone")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if unknown := [name for name in asked.models if name not in NETWORKS]:
        parser.error(f"there is no network {unknown[0]}; there are {', '.join(NETWORKS)}")
    found = []
    if not asked.json:
        print(HEAD)
    for row in rows(asked):
        found.append(row)
        if asked.json:
            continue
        print(line(row), flush=True)
        notes = [*row.wrong[:4], *(said for said in row.outputs if "differ" in said), *row.findings[:3]]
        for said in (*notes, *(f"{count} of the host: {why}" for why, count in row.host.items())):
            print(f"    {said}", flush=True)
    if asked.json:
        print(json.dumps([asdict(row) | {"right": row.is_right} for row in found], indent=1))
    if not found:
        parser.error("none of these is in the corpus: `python -m tests.longer.models`")
    return 0 if all(row.is_right or asked.own_formats for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
