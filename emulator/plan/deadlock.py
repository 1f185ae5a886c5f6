"""How a deadlock is reported: every waiting instruction, what it waits for, and what keeps that from coming."""

from collections.abc import Sequence

from emulator.plan.plan import Plan
from isa.diagnostic import Diagnostic, Note, Place
from isa.errors import Trap
from isa.synchronisation import Use

HELP = "waits are met in the program order of each core: a signal comes before whatever waits for its effects"


class Deadlock(Trap):
    """Raised where no core can go on."""

    @property
    def waiting(self) -> tuple[Note[Place], ...]:
        """The instructions that wait, and what each waits for."""
        return self.diagnostics[0].notes


def deadlock_trap(plan: Plan, places: Sequence[int]) -> Deadlock:
    """Return the trap of a program whose cores cannot go on; `places` are the next instructions of each."""
    found = plan.program.uses
    waiting = []
    for part, at in zip(plan.cores, places, strict=True):
        instruction = part.core.code[at]
        if instruction.row.engine != "sync":
            continue
        number = int(instruction.attributes[0][0])
        if instruction.row.mnemonic == "wait":
            what = f"a signal of semaphore `{plan.program.semaphores[number]}`"
            missing = _signaller(plan, found.get(("signal", number), []), places)
        else:
            what = f"the others at barrier `{plan.program.barriers[number]}`"
            missing = _absent(plan, found["barrier", number], number, places)
        message = f"core {part.number} waits for {what} at {part.where(at)}; {missing}"
        waiting.append(Note(message, Place(part.number, at)))
    first, what = waiting[0].place, f"{plan.program.name}: deadlock: no core can go on"
    return Deadlock(
        "\n".join([what, *(note.message for note in waiting)]),
        HELP,
        core=first.core,
        instruction=first.index,
        line=plan.cores[first.core].line(first.index).number,
        diagnostics=(Diagnostic("deadlock", first, what, HELP, tuple(waiting)),),
    )


def _signaller(plan: Plan, signals: Sequence[Use], places: Sequence[int]) -> str:
    if not signals:
        return "nobody signals it"
    use = signals[0]
    place = plan.cores[use.core].where(use.index)
    return f"core {use.core} would signal it at {place}, but {_stands(plan, use.core, places)}"


def _absent(plan: Plan, arrivals: Sequence[Use], barrier: int, places: Sequence[int]) -> str:
    """Return which cores are not at a barrier that they use."""
    absent = []
    for core in dict.fromkeys(use.core for use in arrivals):
        instruction = plan.cores[core].core.code[places[core]]
        if instruction.row.mnemonic != "barrier" or instruction.attributes[0] != (barrier,):
            absent.append(f"core {core} has not arrived: it {_stands(plan, core, places)}")
    return ", ".join(absent)


def _stands(plan: Plan, core: int, places: Sequence[int]) -> str:
    """Return what a core is doing."""
    part, at = plan.cores[core], places[core]
    if part.core.code[at].row.mnemonic == "end":
        return "has ended"
    return f"waits at {part.line(at).file}:{part.line(at).number}"
