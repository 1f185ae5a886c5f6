"""Object files of which fields are changed, each by its structure, with right checksums."""

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np

from assembler.assemble import assemble
from emulator.checker.check import check
from emulator.execute.session import execute
from emulator.plan.load import load
from isa.encoding import DESCRIPTOR, WORD_BYTES
from isa.errors import RatelError
from isa.object_file import from_bytes, to_bytes, to_sections
from isa.program import Program
from ratel.show.findings import rendered
from tests.assembler.sources import GOOD, TWO_CORES
from tests.isa.test_object_file import assemble as packed
from tests.longer.fuzzers.words import PROGRAMS, SHORT

# What is executed of the objects that load: so many instructions, inputs of so many bytes.
MOST_EXECUTED, MOST_BYTES = 5_000, 2**20
HOSTILE = (None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 1e308, 0.5, "", "a", "\x1b[2J", "../x", [], {})
FIELDS = (0, 1, 2, 255, 256, 2**15, 2**31 - 1, 2**31, 2**62, 2**63, 2**64 - 1)


class Objects:
    """Objects; those that load are checked and run, on noise."""

    def __init__(self) -> None:
        made = [assemble(GOOD, "good.npu"), assemble(TWO_CORES, "two.npu")]
        path = PROGRAMS / "blocks" / "overlap.npu"
        small = assemble(
            ".chip edge\n.input x i8[4]\n.output y i8[4]\nloop i, 2\ncopy y, x\nbrnz i\nend\n", "small.npu"
        )
        made += [replace(assemble(path.read_text(), path), checks=()), small, small]
        made += [assemble(text, f"short{k}.npu") for k, text in enumerate(SHORT) if "w.npy" not in text]
        for path in (PROGRAMS / "digits" / "digits.npu", PROGRAMS / "lstm" / "lstm.npu"):
            made.append(replace(assemble(path.read_text(), path), checks=()))
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
        # A number that is near to what was there is right more often.
        near = int.from_bytes(changed[at : at + size], "little") + chance.choice((-2, -1, 1, 2, 8))
        value = chance.choice((*FIELDS, *[near] * 6, chance.randrange(2**64))) % 2**64
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
        return loaded(program, runs=True)


def loaded(program: Program, runs: bool = False) -> str:
    """Load a program and check it, and render what is found; run it, where that is short."""
    try:
        plan = load(program, program.chip)
    except RatelError as error:
        return f"valid, {type(error).__name__} at load"
    assert all(rendered(plan, finding) for finding in check(plan).findings)
    size = sum(symbol.bytes for _, symbol in program.of_kind("input"))
    executed = sum(core.executions for core in program.cores) * program.tasks
    if not runs or executed > MOST_EXECUTED or size > MOST_BYTES:
        return "valid"
    noise = np.random.default_rng(size)
    given = {
        symbol.name: np.frombuffer(noise.bytes(symbol.bytes), symbol.dtype.numpy).reshape(symbol.host_shape)
        for _, symbol in program.of_kind("input")
    }
    try:
        execute(plan, given)
    except RatelError as error:
        return f"valid, {type(error).__name__} as it runs"
    return "valid, and run"


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
