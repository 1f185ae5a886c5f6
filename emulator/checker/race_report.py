"""Witness: a race as a finding: both accesses, why either can come first, and the smallest change that orders them."""

from emulator.checker.findings import Edit, Finding
from emulator.checker.races import Access, Race
from emulator.plan.plan import Plan
from isa.diagnostic import Note, Place
from isa.operand import TASK_COUNTER
from isa.row import WAIT_LETTERS


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
        edits: tuple[Edit, ...] = (Edit(second.core, second.index, "add wait", letter),)
        help = f"let it wait for engine {code[first.index].engine}: add the wait bit `{letter}`"
    else:
        edits = _semaphore(plan, first, second)
        queues = code[first.index].engine, plan.cores[second.core].core.code[second.index].engine
        if second.kind == "read" and _in_loops(plan, first, second) and first.counters > second.counters:
            # The write of a later iteration: this reads what an earlier one has brought.
            help = (
                f"let the write wait until this has read: signal a semaphore behind this, in queue {queues[1]}, and "
                f"wait for it before the write, in queue {queues[0]}; signal it once more in the beginning for each "
                "free buffer"
            )
        else:
            help = (
                f"signal a semaphore behind the {first.kind}, in queue {queues[0]}, and wait for it before this, "
                f"in queue {queues[1]}, equally often"
            )
    help += f"\n{_orders(plan, race)}"
    notes = (Note(note, _place(first)),)
    return Finding("C101", _place(second), message, help, notes, edits, _other_buffer(plan, first, second))


def _in_loops(plan: Plan, *accesses: Access) -> bool:
    return all(
        any(loop.first < access.index < loop.last for loop in plan.cores[access.core].core.loops) for access in accesses
    )


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
    known = set(plan.program.semaphores)
    name = next(f"ready{k}" for k in range(len(known) + 1) if f"ready{k}" not in known)
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
