"""Texts made of lines of real programs, changed letter by letter and word by word."""

import random

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError
from isa.object_file import from_bytes, to_bytes
from tests.assembler.sources import GOOD, TWO_CORES
from tests.longer.fuzzers.objects import loaded
from tests.longer.fuzzers.words import HEADS, PROGRAMS, SHORT, changed


def program_lines() -> list[str]:
    """Return the lines of all programs of the house, each once."""
    texts = [GOOD, TWO_CORES, *(path.read_text() for path in sorted(PROGRAMS.glob("*/*.npu")))]
    return sorted({line.strip() for text in texts for line in text.splitlines() if line.strip() and line[0] != ";"})


class Texts:
    """Text of programs; those that assemble are written as objects, read again and checked."""

    def __init__(self) -> None:
        self._lines = program_lines()

    def case(self, chance: random.Random) -> str:
        if chance.random() < 0.02:
            lines = chance.choice((GOOD, TWO_CORES)).splitlines()
        elif chance.random() < 0.2:
            lines = [chance.choice(self._lines) for _ in range(chance.randint(1, 6))]
            lines = [*chance.choice(HEADS).splitlines(), *lines, chance.choice(("end", "end", "brnz i\nend"))]
        else:
            lines = chance.choice(SHORT).splitlines()
        for _ in range(chance.choice((0, 1, 1, 2, 5))):
            k = chance.randrange(len(lines))
            lines[k] = changed(lines[k], chance, self._lines)
        if chance.random() < 0.1:
            lines = [line for line in lines for _ in range(chance.choice((1, 1, 3)))]
        return "\n".join(lines)

    def run(self, text: str) -> str:
        try:
            program = assemble(text, "case.npu")
        except AssemblyError as error:
            assert error.diagnostics and str(error)
            return error.diagnostics[0].code
        assert from_bytes(to_bytes(program)) == program
        return loaded(program)
