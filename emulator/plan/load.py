"""Loading a program for a chip: the checks without which a kernel could leave its memory, then its arrays."""

from emulator.plan.layout import CoreLayout, layout_of
from emulator.plan.plan import Plan, where
from isa.chip import Chip
from isa.errors import Trap
from isa.operand import MEMORIES, MEMORY_MEANING, region
from isa.program import Program
from isa.row import TRAPS
from isa.verify_program import check_program

# What makes code shorter.
LOOPS = "put what repeats into hardware loops"


def load(program: Program, chip: Chip, tasks: int | None = None) -> Plan:
    """Return the plan of a program on a chip, for a stream of `tasks`: its own number where None.

    Raises Trap when the program is not well formed, when the chip lacks cores, semaphores, barriers, memory or
    instruction buffer, when an operand reaches outside its memory in some iteration, or when an instruction's result
    overlaps what it reads.
    """
    for problem in check_program(program):
        raise Trap(f"{program.name}: {problem.message}", problem.help, diagnostics=(problem,))
    tasks = program.tasks if tasks is None else tasks
    for key, held in (
        ("chip.cores", program.cores),
        ("sync.semaphores", program.semaphores),
        ("sync.barriers", program.barriers),
    ):
        if len(held) > chip[key]:
            what = key.split(".")[1]
            raise Trap(f"{program.name} has {len(held)} {what}, but {chip.name} has {chip[key]}", f"see {key}")
    # Whatever holds of the greatest tensors holds of those that have not grown so far.
    layout = layout_of(program.widest(tasks), tasks)
    fetches = [_fetches(part, chip) for part in layout.cores]
    for part in layout.cores:
        _check_memories(part, chip)
        _check_bounds(part, chip)
        _check_factors(part, chip)
    code = sum(int(part.fetched.sum()) for part, fetched in zip(layout.cores, fetches, strict=True) if fetched)
    tensors = layout.sizes[region(0, "dev")]
    if code and tensors + code > chip.memory_bytes("dev"):
        what = f"{program.name} has {code} bytes of code in dev, beside {tensors} of tensors"
        raise Trap(f"{what}, but {_has(chip, 'dev')}", LOOPS)
    return Plan(program, chip, layout.core_plans(chip.formats, fetches), layout.bases, layout.sizes, tasks)


def of_task(plan: Plan, task: int) -> Plan:
    """Return the plan of a program whose tensors have the sizes that they have in a task: `plan` where none grow."""
    return load(plan.program.at(task), plan.chip, plan.tasks) if plan.program.grows else plan


def _fetches(part: CoreLayout, chip: Chip) -> bool:
    """Return whether a core fetches its code, since the instruction buffer does not hold all."""
    buffer = chip["memory.ib_bytes"]
    if part.code_bytes <= buffer:
        return False
    if not chip.fetches:
        raise Trap(
            f"the code takes {part.code_bytes} bytes, but the instruction buffer of {chip.name} has {buffer}",
            f"{LOOPS}; {chip.name} does not fetch code from device memory, as others do",
            core=part.number,
        )
    longest = int(part.fetched.argmax())
    if part.fetched[longest] > buffer:
        what = f"{where(part.core, longest)}: {part.fetched[longest]} bytes of code are fetched together"
        raise Trap(
            f"{what}, but the instruction buffer of {chip.name} has {buffer}",
            "see memory.ib_bytes",
            core=part.number,
            instruction=longest,
            line=part.core.lines[longest].number,
        )
    return True


def _check_memories(part: CoreLayout, chip: Chip) -> None:
    sizes = {memory: chip.memory_bytes(memory) for memory in MEMORIES}
    for name, memory, end in part.held:
        if end > sizes[memory]:
            what = f"{name} ends at byte {end} of {memory}, but {_has(chip, memory)}"
            raise Trap(what, MEMORY_MEANING[memory], core=part.number)


def _check_factors(part: CoreLayout, chip: Chip) -> None:
    """Raise Trap where the chip has no multipliers for the type of a product."""
    for k, instruction in enumerate(part.core.code):
        x = instruction.operand("x") if "factors" in instruction.row.traps else None
        if x is not None and not chip.product_cycles(x.dtype):
            raise Trap(
                f"{where(part.core, k)}: {chip.name} multiplies no {x.dtype}",
                f"quantise x and w to i8, or run on a chip that does: see te.{x.dtype}_cycles in `ratel chips NAME`",
                core=part.number,
                instruction=k,
                line=part.core.lines[k].number,
            )


def _has(chip: Chip, memory: str) -> str:
    size = chip.memory_bytes(memory)
    return f"{chip.name} has {size} bytes of it" if size else f"{chip.name} has no {memory} memory"


def _check_bounds(part: CoreLayout, chip: Chip) -> None:
    if all(low >= 0 and high <= chip.memory_bytes(memory) for (_, memory), (low, high) in part.reach.items()):
        return
    for k, (instruction, extents) in enumerate(zip(part.core.code, part.extents, strict=True)):
        for spec, operand, extent in zip(instruction.row.operands, instruction.operands, extents, strict=True):
            if operand is None or extent is None:
                continue
            low, high = extent
            if low < 0 or high > chip.memory_bytes(operand.memory):
                raise Trap(
                    f"{where(part.core, k)}: `{spec.name}` reaches bytes {low} to {high} of {operand.memory} over all "
                    f"iterations, but {_has(chip, operand.memory)}",
                    TRAPS["bounds" if chip.memory_bytes(operand.memory) else "memory"],
                    core=part.number,
                    instruction=k,
                    line=part.core.lines[k].number,
                    address=low if low < 0 else high,
                )
