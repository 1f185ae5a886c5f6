"""Witness: a race as a finding, with both accesses in words, and the smallest change that orders them."""

from emulator.findings import Edit, Finding, Place
from emulator.plan import Plan
from emulator.races import Access, Race
from isa.loops import find_loops
from isa.operand import TASK_COUNTER
from isa.row import WAIT_LETTERS


def race_finding(plan: Plan, race: Race) -> Finding:
    """Return a race in words, at its second access."""
    first, second = race.first, race.second
    code = plan.cores[first.core].core.code
    byte = tensor_byte(plan, race.place, race.address)
    message = f"its {second.kind} of {byte} races with a {first.kind} of another engine" + when(plan, second)
    if first.core != second.core:
        message = f"its {second.kind} of {byte} races with a {first.kind} of core {first.core}" + when(plan, second)
    note = f"the {first.kind}, which nothing orders before it" + when(plan, first)
    edits: tuple[Edit, ...] = ()
    if first.core == second.core:
        engine = code[first.index].engine
        letter = next(letter for letter, named in WAIT_LETTERS.items() if named == engine)
        edits = (Edit(second.core, second.index, "add wait", letter),)
        help = f"let it wait for {engine}: add the wait bit `{letter}`"
    else:
        help = (
            f"signal a semaphore of its own behind {plan.cores[first.core].where(first.index)}, in queue "
            f"{code[first.index].engine}, and wait for it before this instruction, in its queue"
        )
    place = Place(second.core, second.index, second.counters)
    return Finding("C101", place, message, help, ((note, Place(first.core, first.index, first.counters)),), edits)


def tensor_byte(plan: Plan, place: tuple[int, str], address: int) -> str:
    """Return a byte of a memory, by the innermost tensor that it is of where there is one."""
    core, memory = place
    held = [s for s in plan.cores[core].core.symbols if s.memory == memory and s.address <= address < s.end]
    return f"byte {address - held[-1].address:,} of {held[-1].name}" if held else f"byte {address:#x} of {memory}"


def when(plan: Plan, access: Access | Place) -> str:
    """Return the iteration, and the task of a stream, of an execution; nothing where there is but one."""
    loops = find_loops(plan.cores[access.core].core.code)
    around = [loop for loop in loops if loop.first < access.index < loop.last]
    said = [f"iteration {', '.join(str(access.counters[loop.depth]) for loop in around)}"] if around else []
    if plan.tasks > 1:
        said.append(f"task {access.counters[TASK_COUNTER]}")
    return f" [{', '.join(said)}]" if said else ""
