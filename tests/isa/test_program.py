"""What a program keeps of itself once it was asked for changes neither its value nor its hash."""

import pickle
from dataclasses import replace

from assembler.assemble import assemble
from isa.loops import trips_at
from isa.verify_program import check_program


def test_what_is_worked_out_once_changes_no_value() -> None:
    text = ".input x i8[4]\n.output y i8[4]\nloop i, 3\n    copy y, x\nbrnz i\nend"
    used, fresh = assemble(text), assemble(text)
    (core,) = used.cores
    assert core.trips(2) is core.trips(2) and core.trips(2) == trips_at(core.code, 2) and core.trips() != core.trips(2)
    assert core.loops is core.loops and used.uses is used.uses
    assert not list(check_program(used)) and not list(check_program(used))
    operand = core.code[1].operands[0]
    assert operand is not None and operand.extent(core.trips()[1]) == (operand.address, operand.address + 4)
    assert used == fresh and hash(operand) == hash(fresh.cores[0].code[1].operands[0])
    assert pickle.loads(pickle.dumps(used)) == fresh
    # A program made from one that was found well formed is looked at anew.
    assert list(check_program(replace(used, tasks=0)))
