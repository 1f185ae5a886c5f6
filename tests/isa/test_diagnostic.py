"""Diagnostics: all that is wrong comes as values of one type, and errors carry them."""

from dataclasses import replace

import numpy as np
import pytest

import ratel
from emulator.checker.check import check
from emulator.plan.deadlock import Deadlock
from emulator.plan.load import load
from isa.chip import load_chip
from isa.diagnostic import Diagnostic, Place
from isa.errors import InputError, RatelError, Trap
from isa.synchronisation import check_synchronisation

MOVES = ".chip edge\n.input a i8[4]\n.input b i8[4]\n.output y i8[4]\ncopy y, a\nend\n"
SIGNALS = ".chip edge\n.semaphore s\n.output y i8[4]\nfill y, value=0\nsignal s, pe\nend\n"
WAITS = ".chip edge\n.semaphore s\n.output y i8[4]\nfill y, value=0\nwait s, pe\nend\n"
OVERLAPS = """.chip hanguang800
.core 0
end
.core 1
.local a i8[8]
.local b i8[4] at a
.local c i8[4] at a + 1
copy c, b
end
"""


def test_an_error_is_a_diagnostic_of_its_own() -> None:
    assert RatelError("wrong", "mend it").diagnostics == (Diagnostic("", None, "wrong", "mend it"),)


def test_errors_of_texts_have_spans_and_notes() -> None:
    with pytest.raises(ratel.AssemblyError) as caught:
        ratel.assemble(".chip edge\n.local a i8[4]\n.local a i8[4]\nend\n")
    (found,) = caught.value.diagnostics
    assert isinstance(found, Diagnostic) and (found.severity, found.code, found.span.line) == ("error", "E202", 3)
    assert found.place is found.span and [(note.message, note.span.line) for note in found.notes] == [
        ("it was declared here first", 2)
    ]


def test_errors_of_programs_have_places() -> None:
    program = ratel.assemble(MOVES)
    (core,) = program.cores
    copy = core.code[0]
    short = replace(copy, operands=(copy.operands[0], replace(copy.operands[1], shape=(3,))))
    with pytest.raises(Trap) as caught:
        load(replace(program, cores=(replace(core, code=(short, core.code[1])),)), load_chip("edge"))
    (found,) = caught.value.diagnostics
    assert (found.code, found.place) == ("shape", Place(0, 0)) and found.message in caught.value.message


def test_traps_of_instructions_have_places() -> None:
    trap = Trap("wrong", "mend it", core=1, instruction=2)
    assert trap.diagnostics == (Diagnostic("", Place(1, 2), "wrong", "mend it"),)
    assert Trap("wrong", "mend it").diagnostics == (Diagnostic("", None, "wrong", "mend it"),)
    with pytest.raises(Trap, match="overlaps") as caught:
        ratel.check(ratel.assemble(OVERLAPS))
    (found,) = caught.value.diagnostics
    assert found.place == Place(1, 0) and (found.message, found.help) == (caught.value.message, caught.value.help)


def test_errors_of_inputs_come_one_by_one() -> None:
    with pytest.raises(InputError) as caught:
        ratel.run(ratel.assemble(MOVES), {"a": np.zeros(5, np.int8)})
    assert len(caught.value.diagnostics) == 2
    assert "\n".join(found.message for found in caught.value.diagnostics) == caught.value.message


def test_a_deadlock_has_what_waits() -> None:
    with pytest.raises(Deadlock) as caught:
        ratel.run(ratel.assemble(WAITS), {})
    ((message, place),) = caught.value.waiting
    assert place == Place(0, 1) and caught.value.message.endswith(message)


def test_queues_that_do_not_pair_up_name_each_other() -> None:
    code = ratel.assemble(SIGNALS).cores[0].code
    in_te = replace(code[1], attributes=(code[1].attributes[0], (0,)))
    (found,) = check_synchronisation([(code[1], in_te)], ["s"], [])
    assert (found.place, found.notes) == (Place(0, 1), (("this goes with it", Place(0, 0)),))


def test_what_is_odd_is_a_warning() -> None:
    verdict = check(load(ratel.assemble(SIGNALS), load_chip("edge")))
    assert [(found.code, found.severity, found.is_error) for found in verdict.findings] == [("C302", "warning", False)]
    assert verdict.passed and all(isinstance(found, Diagnostic) for found in verdict.findings)
