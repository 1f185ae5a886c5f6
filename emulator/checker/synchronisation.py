"""Tokens: what is wrong or odd about waits, semaphores and barriers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from emulator.checker.findings import Edit, Finding, Verdict
from emulator.checker.race_report import wait_letter
from emulator.checker.races import Races, find_races, may_race
from emulator.plan.deadlock import Deadlock
from emulator.plan.plan import Plan
from isa.diagnostic import Note, Place
from isa.row import ENGINES, WAIT_LETTERS

# Instructions that are walked at most to try a program without its wait bits: 10 to 30 us each.
MOST_WALKED = 1_000_000
# A wait bit: core, index of the instruction, and which of its bits.
Bit = tuple[int, int, int]


def deadlock_finding(plan: Plan, deadlock: Deadlock) -> Finding:
    """Return a deadlock as a finding: each waiting instruction, and what it waits for."""
    first, *others = deadlock.waiting
    stopped = [(waits.place.core, waits.place.index) for waits in deadlock.waiting]
    message, notes = f"no core can go on: {first.message}", tuple(others)
    return Finding("C301", first.place, message, deadlock.help, notes, _swap(plan, stopped))


def _swap(plan: Plan, stopped: list[tuple[int, int]]) -> tuple[Edit, ...]:
    """Return the edits that signal before a wait what another stopped core waits for, where that stands behind it."""
    waited = {}
    for core, at in stopped:
        instruction = plan.cores[core].core.code[at]
        if instruction.row.mnemonic == "wait":
            waited[int(instruction.attributes[0][0])] = core
    for core, at in reversed(stopped):
        code = plan.cores[core].core.code
        for k in range(at + 1, len(code)):
            if code[k].row.mnemonic == "signal" and waited.get(int(code[k].attributes[0][0]), core) != core:
                name = plan.program.semaphores[int(code[k].attributes[0][0])]
                return (Edit(core, k, "drop"), Edit(core, at, "before", f"signal {name}, {code[k].engine}"))
    return ()


def left_signalled(plan: Plan, order: Verdict) -> list[Finding]:
    """Return the semaphores that a task signals more often than it waits for them, where that can be what is wrong.

    Credits are signalled ahead of the waits, and some are left at the end of a task, where they are forgotten. So it is
    odd only where nobody waits, in a deadlock, and where the cores that it orders race: a wait may pass too early.
    """
    found = plan.program.uses
    racing = {frozenset((of.place.core, *(note.place.core for note in of.notes))) for of in order.findings if of.place}
    findings = []
    for number, name in enumerate(plan.program.semaphores):
        signals, waits = found.get(("signal", number), []), found.get(("wait", number), [])
        given, taken = (sum(use.times for use in each) for each in (signals, waits))
        cores = frozenset(use.core for use in (*signals, *waits))
        if given <= taken or (taken and order.verdict != "deadlock" and cores not in racing):
            continue
        gone = [use for use in signals if use.times == given - taken and len(signals) > 1]
        drops = [(Edit(use.core, use.index, "drop"),) for use in (*gone[-1:], *gone[:1])]
        help = "signal it as often as it is waited for: one too many may let a wait pass too early"
        findings.append(
            Finding(
                "C302",
                signals[-1].place,
                f"semaphore `{name}` is signalled {_often(given)} and waited for {_often(taken)}",
                help if taken else "wait for it, or leave the signal out: it orders nothing",
                tuple(Note("signalled here too", use.place) for use in signals[:-1]),
                *drops,
                severity="warning",
            )
        )
    return findings


def _often(times: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(times, f"{times:,} times")


def useless_waits(plan: Plan) -> tuple[list[Finding], tuple[str, ...]]:
    """Return the wait bits without which, all of them gone, a plan that is free of races still is.

    And in words which were not tried, where that is too long. Without any, those are needed at which a race then ends,
    and some of these are not: of several at one instruction, for what another waits for, and in loops, for what waits
    behind them in the iteration before; those are tried one by one. Where they are not enough, the others are tried,
    many at once, fewer where some of them are needed, and all of these again.
    """
    bits = [
        (part.number, index, bit)
        for part in plan.cores
        for index, instruction in enumerate(part.core.code)
        for bit in range(len(ENGINES))
        if instruction.waits >> bit & 1
    ]
    tries = _Tries(plan)
    gone, kept, enough = bits, set[Bit](), not bits
    while not enough and tries.left >= 0:
        found = tries.without(gone)
        enough = found.verdict == "proven"
        ended = {
            (race.second.core, race.second.index, _engine(plan, race.first))
            for race in found.races
            if race.first.core == race.second.core
        }.intersection(gone)
        if not ended:
            break
        kept |= ended
        gone = [bit for bit in bits if bit not in kept]
    in_loops = {
        (part.number, index)
        for part in plan.cores
        for loop in part.core.loops
        for index in range(loop.first, loop.last)
    }
    several = Counter(bit[:2] for bit in kept)
    again = [bit for bit in sorted(kept) if not enough or bit[:2] in in_loops or several[bit[:2]] > 1]
    useless, untried = tries.more([], gone, len(gone)) if not enough else (gone, None)
    if untried is None:
        useless, untried = tries.more(useless, again, 1)
    findings = [_useless(*bit) for bit in sorted(useless)]
    if untried is None:
        return findings, ()
    return findings, (f"the wait bits from {plan.cores[untried[0]].where(untried[1])} on, for there are many",)


class _Tries:
    """Tries of a plan without some of its wait bits; `left` are the instructions that may still be walked."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._wanted, self.left = plan, may_race(plan), MOST_WALKED
        self._length = sum(len(part.core.code) for part in plan.cores)

    def without(self, bits: Sequence[Bit], first: bool = False) -> Races:
        """Return whether the plan is free of races without some wait bits."""
        found = find_races(_without(self._plan, bits), first=first, wanted=self._wanted)
        self.left -= found.walked + self._length
        return found

    def more(self, useless: list[Bit], bits: Sequence[Bit], many: int) -> tuple[list[Bit], Bit | None]:
        """Return those that are useless and others that are, too, tried so many at once; and the first not tried."""
        at = 0
        while at < len(bits):
            if self.left < 0:
                return useless, bits[at]
            tried = bits[at : at + many]
            if self.without([*useless, *tried], first=True).verdict == "proven":
                useless, at, many = [*useless, *tried], at + len(tried), 2 * many
            elif len(tried) > 1:
                many = len(tried) // 2
            else:
                at += 1
        return useless, None


def _engine(plan: Plan, place: Place) -> int:
    return ENGINES.index(plan.cores[place.core].core.code[place.index].engine)


def _useless(number: int, index: int, bit: int) -> Finding:
    letter = wait_letter(ENGINES[bit])
    return Finding(
        "C201",
        Place(number, index),
        f"the wait bit `{letter}` orders nothing that is not ordered without it",
        "take it away: what it waits for conflicts with nothing behind it, or is waited for anyway",
        (),
        (Edit(number, index, "drop wait", letter),),
        severity="warning",
    )


def without_waits(plan: Plan, useless: Sequence[Finding]) -> Plan:
    """Return a plan without the wait bits of such findings."""
    return _without(
        plan,
        [
            (edit.core, edit.index, ENGINES.index(WAIT_LETTERS[edit.text]))
            for finding in useless
            for edit in finding.edits
        ],
    )


def _without(plan: Plan, bits: Sequence[Bit]) -> Plan:
    """Return a plan without wait bits, each given by core, index and bit."""
    of_cores: dict[int, dict[int, int]] = {}
    for number, index, bit in bits:
        gone = of_cores.setdefault(number, {})
        gone[index] = gone.get(index, 0) | 1 << bit
    parts, cores = list(plan.cores), list(plan.program.cores)
    for number, gone in of_cores.items():
        code, waits = list(parts[number].core.code), parts[number].waits.copy()
        for index, mask in gone.items():
            code[index] = replace(code[index], waits=code[index].waits & ~mask)
            waits[index] = code[index].waits
        cores[number] = replace(parts[number].core, code=tuple(code))
        parts[number] = replace(parts[number], core=cores[number], waits=waits)
    return replace(plan, program=replace(plan.program, cores=tuple(cores)), cores=tuple(parts))
