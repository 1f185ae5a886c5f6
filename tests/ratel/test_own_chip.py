"""A program's own chip is the one it was assembled for, numbers and all, wherever it goes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ratel
from ratel.cli.main import main

TEXT = """
.input  x i8[4, 64]
.weight w i8[64, 32] = 1
.output y i32[4, 32]
matmul y, x, w
end
"""
SLOW = ratel.load_chip("edge", te__latency=1000)
GIVEN = {"x": np.ones((4, 64), np.int8)}


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)


def made(how: str, folder: Path) -> ratel.Program:
    """Return a program for SLOW, made in one of the ways there are."""
    if how == "text":
        return ratel.assemble(f".chip edge te.latency=1000{TEXT}")
    if how == "file":
        from isa.chip import CHIPS

        edge = (CHIPS / "edge.toml").read_text("utf-8")
        at = edge.index("\nlatency =", edge.index("[te]"))
        slow = edge[:at] + "\nlatency = 1000" + edge[edge.index("\n", at + 1) :]
        (folder / "slow.toml").write_text(slow, "utf-8")
        program = ratel.assemble(f'.chip "slow.toml"{TEXT}', folder / "p.npu")
        # What it was assembled for stays, whatever becomes of the file.
        (folder / "slow.toml").unlink()
        return program
    if how == "builder":
        b = ratel.Builder(chip=SLOW)
        y, x = b.output("y", "i32", (4, 32)), b.input("x", "i8", (4, 64))
        b.matmul(y, x, b.weight("w", 1, "i8", (64, 32)))
        return b.build()
    program = ratel.assemble(TEXT, chip=SLOW)
    if how == "object":
        program.save(folder / "p.npo")
        return ratel.Program.load(folder / "p.npo")
    return ratel.assemble(ratel.disassemble(program)) if how == "disassembled" else program


@pytest.mark.parametrize("how", ["call", "text", "file", "builder", "object", "disassembled"])
def test_changes_stay_with_the_program(how: str, tmp_path: Path) -> None:
    program = made(how, tmp_path)
    cycles = ratel.time(ratel.assemble(TEXT), SLOW).cycles
    assert cycles > ratel.time(ratel.assemble(TEXT), "edge").cycles + 900
    assert program.chip == SLOW
    assert ratel.time(program).cycles == ratel.run(program, GIVEN).cycles == cycles
    with ratel.Session(program) as session:
        assert session.run(GIVEN).cycles == cycles
    # A chip that is named takes its place.
    assert ratel.time(program, "edge").cycles == ratel.time(ratel.assemble(TEXT), "edge").cycles


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, kept = tmp_path / "p.npu", tmp_path / "p.npo"
    source.write_text(f".chip edge{TEXT}")
    cycles = ratel.time(ratel.assemble(TEXT), SLOW).cycles
    assert main(["asm", str(source), "--set", "te.latency=1000"]) == 0
    capsys.readouterr()
    found = printed(capsys, "time", kept, "--json")
    assert (found["cycles"], found["chip"], found["changed"]) == (cycles, "edge", {"te.latency": 1000})
    assert main(["time", str(kept)]) == 0
    assert "on edge (te.latency=1000): " in capsys.readouterr().out
    assert printed(capsys, "time", source, "--set", "te.latency=1000", "--json")["cycles"] == cycles
    both = ratel.time(ratel.assemble(TEXT), SLOW.replace(te__vector_lanes=1)).cycles
    assert printed(capsys, "time", kept, "--set", "te.vector_lanes=1", "--json")["cycles"] == both
    plain = ratel.time(ratel.assemble(TEXT), "edge").cycles
    assert printed(capsys, "time", kept, "--chip", "edge", "--json")["cycles"] == plain


def test_a_program_without_a_chip_is_refused() -> None:
    from dataclasses import replace

    program = replace(ratel.assemble(TEXT), chip="edge")  # type: ignore[arg-type]
    with pytest.raises(ratel.Trap, match="the program's chip is 'edge'"):
        ratel.time(program, "edge")
