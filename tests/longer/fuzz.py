"""Fuzzers: texts, object files and chip files that are wrong in every way, each of which has to be a value or an error.

    python -m tests.longer.fuzz texts|objects|chips [--count N] [--seed 1] [--first 0]

Case number n of a seed is always the same. A text, an object file or a chip file is right, or ends in a declared error;
in no other exception, in at most SECONDS, with at most MEMORY bytes. What does otherwise is saved beside, with the
command that shows it again.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from assembler.assemble import assemble
from assembler.syntax.diagnostics import AssemblyError
from emulator.checker.check import check
from emulator.plan.load import load
from emulator.timing.timeline import schedule
from isa.chip import CHIPS, Chip, load_description
from isa.encoding import DESCRIPTOR, WORD_BYTES
from isa.errors import RatelError
from isa.object_file import from_bytes, to_bytes, to_sections
from isa.program import Program
from ratel.show.findings import rendered
from tests.assembler.sources import GOOD, TWO_CORES
from tests.isa.test_object_file import assemble as packed

PROGRAMS = Path(__file__).parents[2] / "programs"
SECONDS, MEMORY = 20, 4 * 2**30
NUMBERS = ("0", "-1", "1", "2", "255", "65536", "2147483647", "2147483648", "9223372036854775807", "1" + "0" * 30)
WORDS = (*NUMBERS, "1e999", "nan", "-inf", "0x", "1K", "1.5", "%", "//", ":", "::", "+1", "in", "host", "dev")
WORDS += ("core1.a", "strides", "at", "scale=0.1", "zero=3", "task", "value=1")
SIGNS = (*'()[],"\\;=.{}', "", "\n", "\t", "\0", "\ufeff", "\u2028", "é", "\U0001f9a1", "\x1b[31m")
HOSTILE = (None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, 0.5, "", "a", "\x1b[2J", "../x", [], {})
FIELDS = (0, 1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, 2**62, 2**63, 2**64 - 1)
VALUES = (*NUMBERS, "true", '""', '"x"', "[]", "{}", "1979-05-27", "1e400", "-0.0", '"?"', "0.1", "1e18", "\n")
HEADS = (
    "",
    ".chip edge\n.local a i8[2, 4, 8, 8, 8]\n.local l i8[8, 8]\n",
    ".chip hanguang800\n.order compiler\n.semaphore s\n.core 0\n.local a i8[8, 8]\n",
    ".chip edge\n.macro m x, y=1\ncopy x, x\n.endmacro\n.equ N = 4\n",
)
# Programs that are right, and short, so that what is changed in them is met late.
SHORT = (
    ".chip edge\n.local a i8[4]\n.local b i8[4]\nloop i, 2\ncopy b, a\nbrnz i\nend",
    ".chip edge\n.order compiler\n.input x i8[1, 4, 4, 8] scale=0.1\n.output y i8[1, 2, 2, 8] scale=0.1\n"
    "maxpool y, x, window=2, stride=2\n(w.p) fill x, value=3\nend",
    ".chip edge\n.equ N = 2\n.input x i8[N, 8] scale=0.1 = 1\n.weight w i8[8, 4] scale=0.5 = 2\n"
    ".const b i32[4] = [1, 2, 3, 4]\n.output y i8[N, 4] scale=1.0\n.check y exact 0\n"
    "matmul y, x, w, bias=b, relu\nend",
    '.chip edge\n.weight w i8[8, 8] = "w.npy"\n.include "part.inc"\n.local a i8[2, 8, 8]\nloop i, 4\n'
    "copy a[i % PART], w\nbrnz i\nend",
    ".chip edge\n.macro twice x, y\n.repeat k, 2\ncopy x[k], y\n.endrepeat\n.endmacro\n.local a i8[2, 8]\n"
    ".local b i8[8]\ntwice a, b\nend",
    ".chip hanguang800\n.semaphore s\n.barrier m\n.core 0\n.local a i8[8]\ncopy core1.b, a\nsignal s, me\n"
    "barrier m, me\nend\n.core 1\n.local b i8[8]\nwait s, me\ncopy b[0:4], b[4:8]\nbarrier m, te\nend",
    ".chip edge\n.tasks 3\n.input x f32[2, 4] buffers=2\n.output y f32[2, 4]\n.const t f32[256] = 0.5\n"
    "eltwise y, x[:, ::-1], tanh\neltwise y, x, table=t\nend",
)


class Slow(BaseException):
    """Raised where a case takes too long."""


def _lines() -> list[str]:
    texts = [GOOD, TWO_CORES, *(path.read_text() for path in sorted(PROGRAMS.glob("*/*.npu")))]
    return sorted({line.strip() for text in texts for line in text.splitlines() if line.strip() and line[0] != ";"})


class Texts:
    """Texts made of lines of real programs, changed letter by letter and word by word."""

    def __init__(self) -> None:
        self._lines = _lines()

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
            lines[k] = self._changed(lines[k], chance)
        if chance.random() < 0.1:
            lines = [line for line in lines for _ in range(chance.choice((1, 1, 3)))]
        return "\n".join(lines)

    def _changed(self, line: str, chance: random.Random) -> str:
        at = chance.randint(0, len(line))
        match chance.randrange(6):
            case 0:
                return line[:at] + chance.choice(SIGNS) * chance.choice((1, 1, 1, 40)) + line[at:]
            case 1:
                return line[:at] + line[at + chance.randint(1, 6) :]
            case 2:
                return (
                    line[:at] + chr(chance.choice((chance.randrange(128), chance.randrange(0xD800)))) + line[at + 1 :]
                )
            case 3:
                words = line.split(" ")
                words[chance.randrange(len(words))] = chance.choice(WORDS)
                return " ".join(words)
            case 4:
                words = line.split(" ")
                chance.shuffle(words)
                return " ".join(words)
        return line + " " + chance.choice(self._lines)

    def run(self, text: str) -> str:
        try:
            program = assemble(text, "case.npu")
        except AssemblyError as error:
            assert error.diagnostics and str(error)
            return error.diagnostics[0].code
        assert from_bytes(to_bytes(program)) == program
        return _loaded(program)


class Objects:
    """Object files of which fields are changed, each by its structure, with right checksums."""

    def __init__(self) -> None:
        made = [assemble(GOOD, "good.npu"), assemble(TWO_CORES, "two.npu")]
        path = PROGRAMS / "blocks" / "overlap.npu"
        small = assemble(
            ".chip edge\n.input x i8[4]\n.output y i8[4]\nloop i, 2\ncopy y, x\nbrnz i\nend\n", "small.npu"
        )
        made += [replace(assemble(path.read_text(), path), checks=()), small, small]
        self._sections = [to_sections(program) for program in made]

    def case(self, chance: random.Random) -> bytes:
        sections = dict(chance.choice(self._sections))
        for _ in range(chance.choice((1, 1, 2, 4))):
            name = chance.choice(sorted(sections))
            sections[name] = self._changed(name, sections[name], chance)
        if chance.random() < 0.02:
            del sections[chance.choice(sorted(sections))]
        data = packed(sections)
        if chance.random() < 0.05:
            at = chance.randrange(len(data))
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + chance.randint(0, 9) :]
        return data

    def _changed(self, name: str, body: bytes, chance: random.Random) -> bytes:
        kind = name.split(".")[0]
        if kind in ("head", "syms", "chck", "debug") and chance.random() < 0.9:
            try:
                value = json.loads(body)
            except ValueError:
                return body
            return json.dumps(_with_hostile(value, chance), sort_keys=True, separators=(",", ":")).encode()
        width = {"code": WORD_BYTES, "oper": DESCRIPTOR.itemsize}.get(kind, 1)
        changed = bytearray(body)
        if not changed:
            return bytes([chance.randrange(256)])
        first = chance.randrange(max(1, len(changed) // width)) * width
        if kind == "oper" and len(changed) >= first + width:
            field = chance.choice(DESCRIPTOR.names or ())
            dtype, offset = (DESCRIPTOR.fields or {})[field][:2]
            at, size = first + offset, dtype.itemsize
        else:
            size = chance.choice((1, 2, 4, 8))
            at = first + chance.randrange(width)
        value = chance.choice(
            (0, 1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, 2**62, 2**63, 2**64 - 1, chance.randrange(2**64))
        )
        changed[at : at + size] = value.to_bytes(8, "little")[:size].ljust(size, b"\0")
        if chance.random() < 0.05:
            changed = changed[:first] + changed[first + width :]
        return bytes(changed)

    def run(self, data: bytes) -> str:
        try:
            program = from_bytes(data)
        except RatelError as error:
            assert all(line.isprintable() for line in str(error).split("\n"))
            return type(error).__name__
        assert to_bytes(program) == data
        return _loaded(program)


def _loaded(program: Program) -> str:
    """Load a program and check it, and render what is found."""
    try:
        plan = load(program, program.chip)
    except RatelError as error:
        return f"valid, {type(error).__name__} at load"
    assert all(rendered(plan, finding) for finding in check(plan).findings)
    return "valid"


def _with_hostile(value: Any, chance: random.Random) -> Any:
    """Return a JSON value of which one place is something else, gone, or there twice."""
    if isinstance(value, dict) and value and chance.random() < 0.95:
        key = chance.choice(sorted(value))
        if chance.random() < 0.05:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _with_hostile(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.95:
        k = chance.randrange(len(value))
        match chance.randrange(20):
            case 0:
                return value[:k] + value[k + 1 :]
            case 1:
                return [*value[:k], value[k], *value[k:]]
        return [*value[:k], _with_hostile(value[k], chance), *value[k + 1 :]]
    if isinstance(value, int) and chance.random() < 0.5:
        return value + chance.choice((-1, 1, 8, 2**16))
    return chance.choice(HOSTILE)


class Chips:
    """Chip files of which keys are gone, there twice, of the wrong kind or absurd; those that are right are used."""

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


FUZZERS: dict[str, Callable[[], Any]] = {"texts": Texts, "objects": Objects, "chips": Chips}


@cache
def _fuzzer(what: str) -> Any:
    return FUZZERS[what]()


def fuzz(what: str, first: int, count: int, seed: int, seen: Counter[str]) -> list[tuple[int, str, Any]]:
    """Run cases and count their outcomes; return number, error and case of those that broke the rule."""
    fuzzer, broken = _fuzzer(what), []

    def alarm(number: int, frame: FrameType | None) -> None:
        raise Slow(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, alarm)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        np.save("w.npy", np.ones((8, 8), np.int8))
        Path("part.inc").write_text(".equ PART = 2\n")
        for n in range(first, first + count):
            case = fuzzer.case(random.Random(f"{what} {seed} {n}"))
            signal.alarm(SECONDS)
            try:
                seen[fuzzer.run(case)] += 1
            except (Exception, Slow) as error:
                seen["BROKEN"] += 1
                broken.append((n, f"{type(error).__name__}: {error}", case))
            signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.longer.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=FUZZERS)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seen, began, broken = Counter[str](), time.monotonic(), 0
    step = 1_000
    for first in range(options.first, options.first + options.count, step):
        count = min(step, options.first + options.count - first)
        for n, error, case in fuzz(options.what, first, count, options.seed, seen):
            broken += 1
            path = Path(f"fuzz-{options.what}-{options.seed}-{n}")
            path.write_bytes(case if isinstance(case, bytes) else case.encode("utf-8", "surrogatepass"))
            command = f"python -m tests.longer.fuzz {options.what} --seed {options.seed} --first {n} --count 1"
            print(f"\n{error}\n    saved as {path}; again: {command}")
        done, seconds = first + step - options.first, time.monotonic() - began
        print(f"\r{done:,} {options.what}, {done / seconds:,.0f} a second, {broken} broken", end="", file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\n{seen.total():,} {options.what}, {broken} broken, peak {peak / 1e6:.0f} MB")
    for outcome, times in seen.most_common():
        print(f"{times:>10,}  {outcome}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
