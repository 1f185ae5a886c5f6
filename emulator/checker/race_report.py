"""Witness: a race as a finding: both accesses, why either can come first, and the smallest change that orders them."""

from emulator.checker.findings import Edit, Finding
from emulator.checker.races import Access, Race
from emulator.plan.plan import Plan
from isa.diagnostic import Note, Place
from isa.loops import Loop
from isa.operand import TASK_COUNTER
from isa.row import ENGINES, WAIT_LETTERS
from isa.synchronisation import Use

# Free buffers that are signalled ahead, a line each.
MOST_CREDITS = 4


def race_finding(plan: Plan, race: Race) -> Finding:
    """Return a race in words, at its second access; of two cores, at the read where one reads."""
    first, second = race.first, race.second
    if first.core != second.core and first.kind == "read":
        # Walked first, but what is read has to be written before.
        first, second = second, first
    code = plan.cores[first.core].core.code
    byte = tensor_byte(plan, race.place, race.address)
    by = f"core {first.core}" if first.core != second.core else f"engine {code[first.index].engine}"
    message = f"this {second.kind} of {byte} races with a {first.kind} by {by}{when(plan, second)}"
    note = f"the {first.kind}, which may come before it or after{when(plan, first)}"
    if first.core == second.core:
        letter = wait_letter(code[first.index].engine)
        edits: tuple[Edit, ...]
        instead: tuple[Edit, ...] = ()
        edits = (Edit(second.core, second.index, "add wait", letter),)
        help = f"let it wait for engine {code[first.index].engine}: add the wait bit `{letter}`"
    else:
        help, edits, instead = _between_cores(plan, first, second)
    help += f"\n{_orders(plan, race)}"
    notes = (Note(note, _place(first)),)
    other = _other_buffer(plan, first, second) or instead
    return Finding("C101", _place(second), message, help, notes, edits, other)


def _between_cores(plan: Plan, first: Access, second: Access) -> tuple[str, tuple[Edit, ...], tuple[Edit, ...]]:
    """Return how two accesses of different cores are ordered: in words, the edits, and other edits that may do it."""
    queues = tuple(plan.cores[access.core].core.code[access.index].engine for access in (first, second))
    in_loops = bool(second.kind == "read" and _loops(plan, first) and _loops(plan, second))
    if in_loops and first.counters > second.counters:
        # The write of a later iteration: this reads what an earlier one has brought.
        help = (
            f"let the write wait until this has read: signal a semaphore behind this, in queue {queues[1]}, and "
            f"wait for it before the write, in queue {queues[0]}; signal it once more in the beginning for each "
            "free buffer"
        )
        said, edits = _by_another(plan, second, first)
        return said or help, edits or _credits(plan, first, second), ()
    help = (
        f"signal a semaphore behind the {first.kind}, in queue {queues[0]}, and wait for it before this, "
        f"in queue {queues[1]}, equally often"
    )
    said, bits = _by_another(plan, first, second)
    semaphore = _semaphore(plan, first, second)
    edits = bits or semaphore
    credits = _credits(plan, first, second) if in_loops and edits else ()
    # The next write may come too early, too.
    return said or help, (*edits, *credits), edits if credits else semaphore if bits else ()


def _loops(plan: Plan, at: Access | Use) -> list[Loop]:
    """Return the loops around an instruction, from the outside in."""
    return [loop for loop in plan.cores[at.core].core.loops if loop.first < at.index < loop.last]


def _by_another(plan: Plan, first: Access, second: Access) -> tuple[str, tuple[Edit, ...]]:
    """Return which wait bits are missing for a semaphore to order two accesses: in words, and the edits; else nothing.

    It is signalled behind the first and waited for before the second, in the same loops, but in another queue.
    """

    def uses(mnemonic: str, number: int, access: Access) -> list[Use]:
        found = plan.program.uses.get((mnemonic, number), [])
        return [use for use in found if use.core == access.core and _loops(plan, use) == _loops(plan, access)]

    for number, name in enumerate(plan.program.semaphores):
        signals = [use for use in uses("signal", number, first) if use.index > first.index]
        waits = [use for use in uses("wait", number, second) if use.index < second.index]
        if not signals or not waits:
            continue
        signal, wait = signals[0], waits[-1]
        sides = (
            (signal, plan.cores[first.core].core.code[first.index].engine, "its signal"),
            (second, wait.engine, f"this {second.kind}"),
        )
        edits, said = [], []
        for at, engine, what in sides:
            own = plan.cores[at.core].core.code[at.index]
            if own.engine != engine and not own.waits >> ENGINES.index(engine) & 1:
                edits.append(Edit(at.core, at.index, "add wait", wait_letter(engine)))
                line = plan.cores[at.core].line(at.index).number
                said.append(
                    f"{what}, of queue {own.engine}, does not wait for queue {engine}: add the wait bit "
                    f"`{wait_letter(engine)}` in line {line}"
                )
        if edits:
            return f"the semaphore `{name}` is there for it, but {', and '.join(said)}", tuple(edits)
    return "", ()


def _credits(plan: Plan, write: Access, read: Access) -> tuple[Edit, ...]:
    """Return the edits by which a write into one of some buffers waits until it has been read; none where unknown."""
    out = plan.cores[write.core].core.code[write.index].operand("out")
    sides = [(plan.cores[access.core].core, access.index) for access in (write, read)]
    if write.kind != "write" or out is None or len({core.times[index] for core, index in sides}) > 1:
        return ()
    moduli = {term.modulus for term in out.terms if term.counter != TASK_COUNTER} or {1}
    (buffers,) = moduli if len(moduli) == 1 else (0,)
    if not 1 <= buffers <= MOST_CREDITS:
        return ()
    queues = [core.code[index].engine for core, index in sides]
    name = _new_name(plan, "free")
    signal = f"signal {name}, {queues[1]}"
    return (
        Edit(0, 0, "declare", f".semaphore {name}"),
        Edit(write.core, write.index, "before", f"wait {name}, {queues[0]}"),
        Edit(read.core, read.index, "after", signal),
        Edit(read.core, _loops(plan, read)[0].first, "before", "\n".join([signal] * buffers)),
    )


def _new_name(plan: Plan, stem: str) -> str:
    known = set(plan.program.semaphores)
    return next(f"{stem}{k}" for k in range(len(known) + 1) if f"{stem}{k}" not in known)


def _place(access: Access) -> Place:
    return Place(access.core, access.index, access.counters)


def wait_letter(engine: str) -> str:
    return next(letter for letter, named in WAIT_LETTERS.items() if named == engine)


def _orders(plan: Plan, race: Race) -> str:
    """Return two orders that the program allows, of the last that its second access follows, and of both."""

    def line(place: Place) -> str:
        of_core = f"core {place.core} " if len(plan.cores) > 1 else ""
        return f"{of_core}line {plan.cores[place.core].line(place.index).number}{when(plan, place)}"

    before = [line(place) for place in race.follows]
    first, second = line(race.first), line(race.second)
    return f"one order: {', '.join([*before, first, second])}\nanother: {', '.join([*before, second, first])}"


def _other_buffer(plan: Plan, *accesses: Access) -> tuple[Edit, ...]:
    """Return the edit that writes the other of two buffers, where a loop writes them in turn."""
    for access in accesses:
        out = plan.cores[access.core].core.code[access.index].operand("out") if access.kind == "write" else None
        if out is not None and any(term.modulus == 2 for term in out.terms):
            return (Edit(access.core, access.index, "flip parity"),)
    return ()


def _semaphore(plan: Plan, first: Access, second: Access) -> tuple[Edit, ...]:
    """Return the edits that signal behind one access and wait before the other; none where they are not as many."""
    sides = [(plan.cores[access.core].core, access.index) for access in (first, second)]
    times = [core.times[index] for core, index in sides]
    if times[0] != times[1]:
        return ()
    name = _new_name(plan, "ready")
    queues = [core.code[index].engine for core, index in sides]
    return (
        Edit(0, 0, "declare", f".semaphore {name}"),
        Edit(first.core, first.index, "after", f"signal {name}, {queues[0]}"),
        Edit(second.core, second.index, "before", f"wait {name}, {queues[1]}"),
    )


def tensor_byte(plan: Plan, place: tuple[int, str], address: int) -> str:
    """Return a byte of a memory, by the innermost tensor that it is of where there is one."""
    core, memory = place
    held = plan.cores[core].core.around(memory, address, address + 1)
    return f"byte {address - held[-1].address:,} of {held[-1].name}" if held else f"byte {address:#x} of {memory}"


def when(plan: Plan, access: Access | Place) -> str:
    """Return the iteration, and the task of a stream, of an execution; nothing where there is but one."""
    loops = plan.cores[access.core].core.loops
    around = [loop for loop in loops if loop.first < access.index < loop.last]
    said = [f"iteration {', '.join(str(access.counters[loop.depth]) for loop in around)}"] if around else []
    if plan.tasks > 1:
        said.append(f"task {access.counters[TASK_COUNTER]}")
    return f" [{', '.join(said)}]" if said else ""
