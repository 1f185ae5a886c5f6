"""How long an instruction occupies its engine, and how long until its result is there; in cycles of the core's clock.

Each cost is the greatest of a few demands, all overlapping in the engine's pipeline: products, vector lanes, ports of
the local memory, memory outside. `limit` names the demand that decides, or all that do. Costs depend on shapes and the
chip, never on values or addresses: whoever has many instructions asks once for each of their shapes (`shape_of`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from emulator.timing.columns import FIRST_LINK, Resource
from emulator.timing.costs_tensor import fill_cycles, product_cycles, product_of, streamed_bytes
from isa.chip import Chip
from isa.instruction import Instruction
from isa.operand import Operand, run_length
from isa.row import ENGINES
from isa.table import by_opcode

# What limits signal, wait and barrier, which do no work.
SYNCHRONISATION = "synchronisation"


# Equal, and a key, where costs are equal on every chip.
Shape = tuple[object, ...]


@dataclass(frozen=True)
class Cost:
    """Cycles of one execution of an instruction, and the work that they do.

    occupancy: until the engine can begin its next; latency: until the result is written, at least the occupancy;
    limit: what decides the occupancy, all of them where they are equal; macs: products summed; read, written: bytes of
    operands; demands: (name, cycles) of each; launch: cycles of the latency in which the instruction is launched;
    lanes: elements that pass the vector or pooling lanes; lm, cb: bytes that pass ports of the local memory and of the
    constant buffer, as often as they do and in whole accesses.
    """

    occupancy: int
    latency: int
    limit: str
    macs: int = 0
    read: int = 0
    written: int = 0
    demands: tuple[tuple[str, float], ...] = ()
    launch: int = 0
    lanes: int = 0
    lm: int = 0
    cb: int = 0


def passing(instruction: Instruction) -> tuple[int, int, int]:
    """Return the bytes that an instruction reads, writes, and reads of constants: of each operand once."""
    read = written = constants = 0
    for access, operand, size in instruction.traffic():
        if access == "write":
            written += size
        elif operand.memory == "cb":
            constants += size
        else:
            read += size
    return read, written, constants


def cost(
    engine: str, chip: Chip, instruction: Instruction, demands: dict[str, float], lanes: int, macs: int = 0
) -> Cost:
    """Return the cost of an instruction on an engine with LM ports of its own, from its demands in cycles."""
    read, written, constants = passing(instruction)
    demands = {
        **demands,
        "LM read": read / chip[f"{engine}.read_bytes_per_cycle"],
        "LM write": written / chip[f"{engine}.write_bytes_per_cycle"],
    }
    work = {"macs": macs, "lanes": lanes, "lm": read + written, "cb": constants}
    return from_demands(demands, chip[f"{engine}.latency"], read, written, **work)


def from_demands(demands: dict[str, float], latency: int, read: int, written: int, **work: int) -> Cost:
    """Return the cost of the greatest of some demands; `work` is by the names of Cost."""
    greatest = max(demands.values())
    limit = ", ".join(name for name, demand in demands.items() if demand == greatest)
    occupancy = max(1, ceil(greatest))
    each = tuple(demands.items())
    return Cost(occupancy, occupancy + latency, limit, read=read, written=written, demands=each, **work)


def present(instruction: Instruction, name: str) -> Operand:
    operand = instruction.operand(name)
    assert operand is not None
    return operand


def tensor(chip: Chip, instruction: Instruction) -> Cost:
    """Return the cost of an instruction of the tensor engine; without a product it enters the pipeline at EW1."""
    product = product_of(instruction)
    out = present(instruction, "out")
    demands = {"vector lanes": out.elements / chip["te.vector_lanes"]}
    if product is None:
        return cost("te", chip, instruction, demands, out.elements)
    x, w = present(instruction, "x"), present(instruction, "w")
    cycles = product_cycles(chip, product) * chip.product_cycles(x.dtype)
    if w.stored:
        demands["weight expansion"] = w.elements * w.dtype.bytes / chip["te.expand_bytes_per_cycle"]
    macs = out.elements * product.length
    once = cost("te", chip, instruction, {"products": cycles, **demands}, out.elements, macs)
    # A tensor beyond what the engine holds at once passes the port again.
    again = streamed_bytes(chip, product, x.bytes, w.bytes) - x.bytes - w.bytes
    port = (once.read + again) / chip["te.read_bytes_per_cycle"]
    whole = from_demands({**dict(once.demands), "LM read": port}, chip["te.latency"], once.read, once.written)
    fill = fill_cycles(chip, product, x.dtype.bytes, w.dtype.bytes)
    # The demands stay those of each operand passed once: what the work needs, however the engine is built.
    return replace(once, occupancy=whole.occupancy, latency=whole.latency + fill, limit=whole.limit, lm=once.lm + again)


def rotate(chip: Chip, instruction: Instruction) -> Cost:
    # Assumed: two passes of the lanes, for each element has two products.
    passed = 2 * present(instruction, "out").elements
    return cost("te", chip, instruction, {"vector lanes": passed / chip["te.vector_lanes"]}, passed)


def pool(chip: Chip, instruction: Instruction) -> Cost:
    height, width = instruction.attribute("window")
    taps = present(instruction, "out").elements * int(height) * int(width)
    return cost("pe", chip, instruction, {"pooling lanes": taps / chip["pe.lanes"]}, taps)


def reduce(chip: Chip, instruction: Instruction) -> Cost:
    taps = present(instruction, "x").elements
    return cost("pe", chip, instruction, {"pooling lanes": taps / chip["pe.lanes"]}, taps)


def topk(chip: Chip, instruction: Instruction) -> Cost:
    # Assumed: an element is compared once, and once more for each doubling of what is kept.
    kept = present(instruction, "out").shape[-1]
    steps = present(instruction, "x").elements * (1 + (kept - 1).bit_length())
    return cost("pe", chip, instruction, {"pooling lanes": steps / chip["pe.lanes"]}, steps)


def resize(chip: Chip, instruction: Instruction) -> Cost:
    pixels = 4 if instruction.word("mode") == "linear" else 1
    taps = present(instruction, "out").elements * pixels
    return cost("pe", chip, instruction, {"pooling lanes": taps / chip["pe.lanes"]}, taps)


def regions(chip: Chip, instruction: Instruction, taps: int, read: int) -> Cost:
    """Return the cost of an instruction that looks at `taps` elements of x and reads so many bytes of it."""
    read += present(instruction, "rois").bytes + present(instruction, "index").bytes
    _, written, constants = passing(instruction)
    demands = {
        "pooling lanes": taps / chip["pe.lanes"],
        "LM read": read / chip["pe.read_bytes_per_cycle"],
        "LM write": written / chip["pe.write_bytes_per_cycle"],
    }
    work = {"lanes": taps, "lm": read + written, "cb": constants}
    return from_demands(demands, chip["pe.latency"], read, written, **work)


def roisample(chip: Chip, instruction: Instruction) -> Cost:
    # Four pixels a sample, each read by itself: where they lie is known only as it runs.
    taps = 4 * present(instruction, "out").elements
    return regions(chip, instruction, taps, taps * present(instruction, "x").dtype.bytes)


def roipool(chip: Chip, instruction: Instruction) -> Cost:
    # As if each region was a whole image; neighbouring bins share at most one line.
    out, x = present(instruction, "out"), present(instruction, "x")
    rois, rows, columns, channels = out.shape
    taps = rois * (x.shape[1] + rows - 1) * (x.shape[2] + columns - 1) * channels
    return regions(chip, instruction, taps, rois * x.bytes // x.shape[0])


def moved(chip: Chip, operand: Operand, run_bytes: int) -> int:
    """Return the bytes that a port of ME moves: each contiguous run in whole accesses."""
    access = chip["me.access_bytes"]
    return int(-(-operand.bytes // run_bytes) * -(-run_bytes // access) * access)


def by_ports(chip: Chip, read: int, written: int, moved_in: int, moved_out: int) -> Cost:
    """Return the cost of an instruction of ME in local memory, of operands of so many bytes; its ports move more."""
    port = chip["me.bytes_per_cycle"]
    demands = {"LM read": moved_in / port, "LM write": moved_out / port}
    return from_demands(demands, chip["me.latency"], read, written, lm=moved_in + moved_out)


def move(chip: Chip, instruction: Instruction) -> Cost:
    demands, latency, lm, cb = dict[str, float](), chip["me.latency"], 0, 0
    for access, operand in instruction.accesses():
        if operand.core is not None:
            # Into the other core's local memory, past its memory engine.
            bandwidth = min(chip.bytes_per_cycle("ring"), chip["me.bytes_per_cycle"])
            passed = moved(chip, operand, run_length(operand))
            demands["ring"] = passed / bandwidth
            lm += passed
            latency += chip.latency("ring")
        elif operand.memory in ("lm", "cb"):
            passed = moved(chip, operand, run_length(operand))
            demands[f"{operand.memory.upper()} {access}"] = passed / chip["me.bytes_per_cycle"]
            lm, cb = (lm + passed, cb) if operand.memory == "lm" else (lm, cb + passed)
        else:
            path = "pcie" if operand.memory == "host" else "dev"
            bandwidth = min(chip.bytes_per_cycle(path), chip["me.bytes_per_cycle"])
            demands[f"{operand.memory} {access}"] = operand.bytes / bandwidth
            latency += chip.latency(path)
    read, written, _ = passing(instruction)
    return from_demands(demands, latency, read, written, lm=lm, cb=cb)


def transpose(chip: Chip, instruction: Instruction) -> Cost:
    # Runs stay whole only as far as the innermost dimensions stay in place.
    out, x = present(instruction, "out"), present(instruction, "x")
    kept, axis = 1, x.rank - 1
    while axis >= 0 and instruction.attribute("perm")[axis] == axis:
        kept *= x.shape[axis]
        axis -= 1
    run = kept * x.dtype.bytes
    into, out_of = moved(chip, x, min(run, run_length(x))), moved(chip, out, min(run, run_length(out)))
    return by_ports(chip, x.bytes, out.bytes, into, out_of)


def by_index(chip: Chip, instruction: Instruction) -> Cost:
    # Row by row, whichever rows they are; along another dimension, by what lies behind it.
    at = next(k for k, spec in enumerate(instruction.row.operands) if spec.chosen)
    spec, chosen, index = instruction.row.operands[at], instruction.operands[at], present(instruction, "index")
    other, behind = present(instruction, spec.chosen), int(instruction.attribute("axis")[0]) + 1
    assert chosen is not None
    row = run_length(replace(chosen, shape=chosen.shape[behind:], strides=chosen.strides[behind:]))
    latency, bandwidth = chip["me.latency"], chip["me.bytes_per_cycle"]
    if chosen.memory == "dev":
        # Assumed: device memory is asked for rows in accesses of the engine, too.
        latency += chip.latency("dev")
        bandwidth = min(chip.bytes_per_cycle("dev"), bandwidth)
    port = chip["me.bytes_per_cycle"]
    rows, whole = moved(chip, other, row), moved(chip, other, min(row, run_length(other)))
    indices = moved(chip, index, run_length(index))
    demands = {"LM read": indices / port}
    for memory, access, cycles in (
        (chosen.memory.upper().replace("DEV", "dev"), spec.access, rows / bandwidth),
        ("LM", "write" if spec.access == "read" else "read", whole / port),
    ):
        demands[f"{memory} {access}"] = demands.get(f"{memory} {access}", 0) + cycles
    read, written, _ = passing(instruction)
    lm = indices + whole + (rows if chosen.memory == "lm" else 0)
    return from_demands(demands, latency, read, written, lm=lm)


def flatten(chip: Chip, instruction: Instruction) -> Cost:
    # Every tap is read for each window, padding like pixels; the taps of a line are one run where they touch.
    out, x = present(instruction, "out"), present(instruction, "x")
    width, spread = int(instruction.attribute("window")[1]), int(instruction.attribute("dilation")[1])
    line = replace(x, shape=(width, x.shape[3]), strides=(x.strides[2] * spread, x.strides[3]))
    into, out_of = moved(chip, out, run_length(line)), moved(chip, out, run_length(out))
    return by_ports(chip, out.bytes, out.bytes, into, out_of)


def toweight(chip: Chip, instruction: Instruction) -> Cost:
    # The innermost dimension moves: element by element.
    out, x = present(instruction, "out"), present(instruction, "x")
    return by_ports(chip, x.bytes, out.bytes, moved(chip, x, x.dtype.bytes), moved(chip, out, out.dtype.bytes))


COSTS: dict[int, Callable[[Chip, Instruction], Cost]] = by_opcode(
    "COSTS",
    {
        "conv": tensor,
        "dwconv": tensor,
        "matmul": tensor,
        "eltwise": tensor,
        "rotate": rotate,
        "maxpool": pool,
        "avgpool": pool,
        "reduce": reduce,
        "topk": topk,
        "resize": resize,
        "roisample": roisample,
        "roipool": roipool,
        "load": move,
        "store": move,
        "copy": move,
        "fill": move,
        "transpose": transpose,
        "gather": by_index,
        "scatter": by_index,
        "flatten": flatten,
        "toweight": toweight,
    },
    ENGINES,
)


def shape_of(instruction: Instruction) -> Shape:
    """Return all of an instruction that its cost and what it holds may follow: no address, term, float or wait bit."""
    operands = [
        one and (one.memory, one.dtype.code, one.shape, one.strides, one.core, one.stored, one.form, one.growth)
        for one in instruction.operands
    ]
    specs = instruction.row.attributes
    values = [value for spec, value in zip(specs, instruction.attributes, strict=True) if not spec.is_float]
    return instruction.opcode, *operands, *values


def cost_of(chip: Chip, instruction: Instruction) -> Cost | None:
    """Return the cost of an instruction in an engine's queue, None for the sequencer's own."""
    if instruction.row.engine == "sync":
        return Cost(chip["sync.cycles"], chip["sync.cycles"], SYNCHRONISATION)
    if instruction.opcode not in COSTS:
        return None
    # Launching is latency: an engine that is at work meanwhile launches the next one behind it.
    found, launch = COSTS[instruction.opcode](chip, instruction), chip["seq.launch_cycles"]
    return replace(found, latency=found.latency + launch, launch=launch)


def holds(chip: Chip, core: int, instruction: Instruction) -> tuple[tuple[int, int], ...]:
    """Return the shared resources that an instruction of a core holds from its start, each with its cycles.

    Resources are numbers, as `resource_names` has them; blocks of local memory, which follow addresses, are left out.
    Each is held for the bytes at its own bandwidth, for no longer than the engine is occupied.
    """
    if instruction.row.engine != "me":
        return ()
    held = []
    for access, operand, size in instruction.traffic():
        if operand.core is not None:
            cycles = ceil(size / chip.bytes_per_cycle("ring"))
            held += [(link, cycles) for link in ring_links(chip["chip.cores"], core, operand.core)]
        elif operand.memory == "host":
            resource = Resource.PCIE_IN if access == "read" else Resource.PCIE_OUT
            held.append((resource, ceil(size / chip.bytes_per_cycle("pcie"))))
        elif operand.memory == "dev":
            held.append((Resource.DEV, ceil(size / chip.bytes_per_cycle("dev"))))
    return tuple(held)


def ring_links(cores: int, source: int, target: int) -> list[int]:
    """Return the links from one core to another on the shorter way round, upwards where both are as long."""
    up, down = (target - source) % cores, (source - target) % cores
    if up <= down:
        return [FIRST_LINK + (source + k) % cores for k in range(up)]
    return [FIRST_LINK + cores + (source - k) % cores for k in range(down)]


def resource_names(chip: Chip) -> list[str]:
    """Return the names of a chip's shared resources: memory, PCIe, links of the ring each way, blocks of each core."""
    cores = chip["chip.cores"]
    ring = [f"ring {k}->{(k + way) % cores}" for way in (1, -1) for k in range(cores)]
    blocks = [f"core{k}.LM block {b}" for k in range(cores) for b in range(chip["memory.lm_blocks"])]
    return ["dev", "pcie in", "pcie out", *ring, *blocks]


def fetch_cycles(chip: Chip, size: int) -> int:
    """Return the least cycles that a core takes to fetch so many bytes of code; 0 for none."""
    return ceil(size / chip["seq.fetch_bytes_per_cycle"]) if size else 0


def transfer_cycles(chip: Chip, amounts: dict[str, int]) -> int:
    """Return the cycles of a DMA of so many bytes to or from each memory, over PCIe: latency, then the bytes."""
    cycles = transfer_occupancy(chip, amounts)
    return cycles + chip.latency("pcie") if cycles else 0


def transfer_occupancy(chip: Chip, amounts: dict[str, int]) -> int:
    """Return the cycles that a DMA of so many bytes to or from each memory holds the link; 0 for what is in the host.

    One memory after another: the bytes at the lesser of the link's and the memory's bandwidth.
    """
    cycles = 0
    for memory, size in amounts.items():
        if size and memory != "host":
            bandwidth = chip.bytes_per_cycle("pcie")
            if memory == "dev":
                bandwidth = min(bandwidth, chip.bytes_per_cycle("dev"))
            cycles += ceil(size / bandwidth)
    return cycles
