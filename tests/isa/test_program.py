"""What a program keeps of itself once it was asked for changes neither its value nor its hash."""

import pickle
from dataclasses import fields, replace
from typing import NoReturn

import pytest

from assembler.assemble import assemble
from isa import verify_program
from isa.loops import trips_at
from isa.verify_program import check_program


def test_what_is_worked_out_once_changes_no_value() -> None:
    text = ".input x i8[4]\n.output y i8[4]\nloop i, 3\n    copy y, x\nbrnz i\nend"
    used, fresh = assemble(text), assemble(text)
    (core,) = used.cores
    assert core.trips(2) is core.trips(2) and core.trips(2) == trips_at(core.code, 2) and core.trips() != core.trips(2)
    assert core.times == [3, 3, 3, 1] and core.executions == 3
    assert core.loops is core.loops and used.uses is used.uses
    assert not list(check_program(used)) and not list(check_program(used))
    operand = core.code[1].operands[0]
    assert operand is not None and operand.extent(core.trips()[1]) == (operand.address, operand.address + 4)
    assert used == fresh and hash(operand) == hash(fresh.cores[0].code[1].operands[0])
    # A program made from one that was found well formed is looked at anew.
    assert list(check_program(replace(used, tasks=0)))


def test_pickles_hold_fields_alone() -> None:
    text = ".input x i8[4]\n.output y i8[4]\nloop i, 3\n    copy y, x\nbrnz i\nend"
    used, fresh = assemble(text), assemble(text)
    (core,) = used.cores
    operand = core.code[1].operands[0]
    assert operand is not None and used.is_well_formed and core.executions == 3 and core.loops
    assert core.of_kind("input") and not used.uses and operand.span() == (0, 4)
    copy = pickle.loads(pickle.dumps(used))
    assert copy == fresh
    for one in (copy, *copy.cores, copy.cores[0].code[1].operands[0]):
        assert list(vars(one)) == [field.name for field in fields(one)]


def test_what_is_wrong_is_looked_for_up_to_the_first_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def checked(*given: object) -> NoReturn:
        pytest.fail("a check was read behind the first problem")

    program = assemble(".output y i8[4]\nfill y, value=1\n.check y exact 1\nend")
    monkeypatch.setattr(verify_program, "check_check", checked)
    problem = next(verify_program.check_program(replace(program, order="none")))  # type: ignore[arg-type]
    assert problem.message == "the order is 'none'"
