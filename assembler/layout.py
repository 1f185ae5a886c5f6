"""Placement of tensors in memories, and the memory map. Knows nothing of text: builders of programs use it too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isa.diagnostic import Diagnostic, Note
from isa.operand import MEMORY_MEANING, PLACEMENT_ALIGNMENT

# How many lines of a memory map a message shows.
MAP_LINES = 24


@dataclass(frozen=True)
class Request:
    """A tensor that wants a place: `bytes` at address `at`, or `at` bytes into tensor `base`, or anywhere (None).

    `data` says what it holds before the first instruction: "constant" for weights and constants, "input" for what the
    task brings in, "" for nothing.
    """

    name: str
    memory: str
    bytes: int
    alignment: int
    at: int | None = None
    base: str = ""
    data: str = ""


@dataclass
class Layout:
    """Where tensors lie. `ends` is the first byte of each memory that no tensor takes.

    `problems` are at the tensor that is misplaced, and note the one in the way; their code is one of full, lacking,
    beyond, overlap, base, align.
    """

    addresses: dict[str, int]
    ends: dict[str, int]
    problems: list[Diagnostic[str]]


def place(requests: Sequence[Request], sizes: Mapping[str, int], chip: str) -> Layout:
    """Place tensors: those with an address there, the others in their order, around them; `sizes` in bytes."""
    layout = Layout({}, {}, [])
    by_name = {request.name: request for request in requests}
    for request in requests:
        if request.at is not None and not request.base:
            layout.addresses[request.name] = request.at
    for memory in dict.fromkeys(request.memory for request in requests):
        _place_free([request for request in requests if request.memory == memory], layout)
    # Aliases last: what they lie in has its place now. Their bases stand before them, so one pass is enough.
    for request in requests:
        if request.base and request.base in layout.addresses:
            _place_within(request, by_name[request.base], layout)
    for request in requests:
        address = layout.addresses.get(request.name)
        if address is not None and address % request.alignment:
            message = f"`{request.name}` is placed at {address}, which is no multiple of {request.alignment}"
            layout.problems.append(Diagnostic("align", request.name, message, "addresses are aligned to the element"))
    for memory in dict.fromkeys(request.memory for request in requests):
        held = [r for r in requests if r.memory == memory and r.name in layout.addresses]
        layout.ends[memory] = max((layout.addresses[r.name] + r.bytes for r in held), default=0)
        layout.problems += _misfits(held, layout.addresses, sizes[memory], chip)
        layout.problems += _overlaps(held, layout.addresses)
    return layout


def _place_free(requests: Sequence[Request], layout: Layout) -> None:
    fixed = sorted(
        (request.at, request.at + request.bytes) for request in requests if request.at is not None and not request.base
    )
    cursor, next_fixed = 0, 0
    for request in requests:
        if request.at is not None or request.base:
            continue
        cursor += -cursor % PLACEMENT_ALIGNMENT
        while next_fixed < len(fixed) and fixed[next_fixed][0] < cursor + request.bytes:
            if fixed[next_fixed][1] > cursor:
                cursor = fixed[next_fixed][1]
                cursor += -cursor % PLACEMENT_ALIGNMENT
            next_fixed += 1
        layout.addresses[request.name] = cursor
        cursor += request.bytes


def _place_within(request: Request, base: Request, layout: Layout) -> None:
    offset = request.at or 0
    layout.addresses[request.name] = layout.addresses[base.name] + offset
    if offset < 0 or offset + request.bytes > base.bytes:
        message = (
            f"`{request.name}` takes bytes {offset} to {offset + request.bytes} of `{base.name}`, "
            f"which has {base.bytes}"
        )
        help = "a tensor placed at another one lies within it; an address of its own is a number"
        layout.problems.append(Diagnostic("base", request.name, message, help, _in_the_way(base)))


def _in_the_way(other: Request) -> tuple[Note[str]]:
    return (Note(f"`{other.name}` is declared here", other.name),)


def _overlaps(held: Iterable[Request], addresses: Mapping[str, int]) -> Iterable[Diagnostic[str]]:
    """Report constants that share bytes with other data."""
    loaded = sorted((r for r in held if r.data and r.bytes), key=lambda r: addresses[r.name])
    # The tensor that reaches furthest so far, and the constant that does.
    furthest: dict[str, Request] = {}
    for request in loaded:
        start, end = addresses[request.name], addresses[request.name] + request.bytes
        for kind in ("constant", "input") if request.data == "constant" else ("constant",):
            other = furthest.get(kind)
            if other and addresses[other.name] + other.bytes > start:
                shared = min(end, addresses[other.name] + other.bytes) - start
                message = f"`{request.name}` and `{other.name}` share {shared} bytes from address {start:#x}"
                help = "weights and constants are set up once, before the first task: nothing else may lie there"
                yield Diagnostic("overlap", request.name, message, help, _in_the_way(other))
                break
        other = furthest.get(request.data)
        if other is None or addresses[other.name] + other.bytes < end:
            furthest[request.data] = request


def _misfits(held: Sequence[Request], addresses: Mapping[str, int], size: int, chip: str) -> Iterable[Diagnostic[str]]:
    """Report the tensors of one memory whose own address is too high, and the first that finds no place."""
    beyond = [r for r in held if not r.base and addresses[r.name] + r.bytes > size]
    if not size:
        yield from (_full(r, held, addresses, size, chip) for r in beyond[:1])
        return
    for r in beyond:
        if r.at is not None:
            message = (
                f"`{r.name}` ({r.bytes:,} bytes at address {r.at:,}) would end at {r.at + r.bytes:,}, "
                f"but {r.memory} of {chip} has {size:,} bytes"
            )
            fits = f"the last address that it fits at is {size - r.bytes - (size - r.bytes) % r.alignment:,}"
            yield Diagnostic("beyond", r.name, message, fits if r.bytes <= size else "it fits at no address")
    placed = next((r for r in beyond if r.at is None), None)
    if placed:
        yield _full(placed, held, addresses, size, chip)


def _full(
    request: Request, held: Sequence[Request], addresses: Mapping[str, int], size: int, chip: str
) -> Diagnostic[str]:
    memory = request.memory
    if not size:
        help = f"{memory} is {MEMORY_MEANING[memory]}; choose another memory or another `.chip`"
        return Diagnostic("lacking", request.name, f"{chip} has no {memory} for `{request.name}`", help)
    end = addresses[request.name] + request.bytes
    message = (
        f"{memory} is full: `{request.name}` ({request.bytes:,} bytes) would end at {end:,}, "
        f"but {chip} has {size:,} bytes"
    )
    return Diagnostic("full", request.name, message, memory_map(held, addresses, size))


def memory_map(held: Sequence[Request], addresses: Mapping[str, int], size: int) -> str:
    """Return a table of who lies where in one memory, and the widest gap that is left."""
    rows = sorted(held, key=lambda r: (addresses[r.name], r.bytes))
    width = max(len(f"{addresses[r.name] + r.bytes:x}") for r in rows)
    lines = [f"{rows[0].memory} map: address, bytes, tensor"]
    for r in rows[:MAP_LINES]:
        beyond = "  <- does not fit" if addresses[r.name] + r.bytes > size else ""
        lines.append(f"  {addresses[r.name]:#0{width + 2}x} {r.bytes:>12,}  {r.name}{beyond}")
    if len(rows) > MAP_LINES:
        lines.append(f"  ... and {len(rows) - MAP_LINES} more")
    reach = 0
    gaps = []
    for r in rows:
        if addresses[r.name] + r.bytes <= size:
            gaps.append(addresses[r.name] - reach)
            reach = max(reach, addresses[r.name] + r.bytes)
    widest = max([*gaps, size - reach, 0])
    way = "tensors that are not alive together can share a place with `at`"
    if any(r.bytes > size for r in rows):
        way = "what is larger than all of it has to be worked on in parts"
        way += ": declare it `in dev` or `in host`, and `load` one at a time" if rows[0].memory == "lm" else ""
    lines.append(f"the widest gap left has {widest:,} bytes; {way}")
    return "\n".join(lines)
