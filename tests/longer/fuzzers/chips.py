"""Chip files of which keys are gone, there twice, of the wrong kind or absurd; those that are right are used."""

import random
from pathlib import Path

from assembler.assemble import assemble
from emulator.plan.load import load
from emulator.timing.timeline import schedule
from isa.chip import CHIPS, Chip, load_description
from isa.errors import RatelError
from tests.longer.fuzzers.words import NUMBERS, SHORT, SIGNS

VALUES = (*NUMBERS, "true", '""', '"x"', "[]", "{}", "1979-05-27", "1e400", "-0.0", '"?"', "0.1", "1e18", "\n")


class Chips:
    """Text of chip files; with those that are right a program is scheduled."""

    def __init__(self) -> None:
        self._texts = [path.read_text() for path in sorted(CHIPS.glob("*.toml"))]
        self._program = assemble(SHORT[0], "short.npu")

    def case(self, chance: random.Random) -> str:
        lines = chance.choice(self._texts).splitlines()
        keys = [k for k, line in enumerate(lines) if "=" in line and line[0] != "#"]
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            k = chance.choice(keys)
            name, _, _value = lines[k].partition("=")
            match chance.randrange(8):
                case 0:
                    lines[k] = ""
                case 1:
                    lines[k] += "\n" + lines[k]
                case 2:
                    lines[k] = name + "x = 1"
                case 3:
                    other = chance.choice(keys)
                    lines[k], lines[other] = lines[other], lines[k]
                case 4:
                    at = chance.randint(0, len(lines[k]))
                    lines[k] = lines[k][:at] + chance.choice(SIGNS) + lines[k][at:]
                case _:
                    lines[k] = f"{name}= {chance.choice(VALUES)}"
        return "\n".join(lines)

    def run(self, text: str) -> str:
        path = Path("case.toml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            chip = load_description(str(path))
        except RatelError as error:
            return type(error).__name__
        if not isinstance(chip, Chip):
            return "valid, of bounds"
        try:
            timeline = schedule(load(self._program, chip))
            assert timeline.cycles == sum(entry.cycles for entry in timeline.critical_path)
        except RatelError as error:
            return f"valid, {type(error).__name__} when used"
        return "valid"
