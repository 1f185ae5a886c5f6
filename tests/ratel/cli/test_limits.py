"""Runs that are ended, by a number of cycles or the keyboard: what is known is said, and nothing is half-written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ratel
from isa.errors import Trap
from ratel.cli.main import main

LONG = """.chip edge
.input x i8[64] = 1
.output y i8[64]
loop i, 2147483647
copy y, x
brnz i
end
"""


@pytest.mark.parametrize("command", ["time", "run"])
def test_a_number_of_cycles_ends_a_schedule(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "long.npu"
    path.write_text(LONG.replace("2147483647", "100000000"))
    assert main([command, str(path), "--max-cycles", "10000"]) == 1
    said = capsys.readouterr().err.replace("\n", " ")
    assert "long: more than 10,000 cycles: at cycle" in said
    assert "of 100,000,000 instructions are issued; core 0 stands at long.npu:" in said


def test_a_finished_schedule_is_held_against_its_number() -> None:
    program = ratel.assemble(LONG.replace("2147483647", "10"))
    cycles = ratel.time(program).cycles
    assert ratel.time(program, max_cycles=cycles).cycles == cycles
    with pytest.raises(Trap, match=f"more than {cycles - 1:,} cycles: it takes {cycles:,}"):
        ratel.time(program, max_cycles=cycles - 1)
    stream = ratel.time(program, tasks=3).cycles
    with pytest.raises(Trap, match=f"more than {cycles:,} cycles: it takes {stream:,}"):
        ratel.time(program, tasks=3, max_cycles=cycles)


@pytest.mark.parametrize("command", ["run", "time"])
def test_the_keyboard_ends_a_command_with_what_is_known(command: str, tmp_path: Path) -> None:
    path, saved = tmp_path / "long.npu", tmp_path / "y.npy"
    # What it needs is compiled, so that the interrupt meets it at work.
    ratel.run(ratel.assemble(LONG.replace("2147483647", "2"))).timeline  # noqa: B018
    # A schedule of more instructions is refused.
    path.write_text(LONG.replace("2147483647", "1000000000"))
    saved.write_bytes(b"kept")
    output = ["--output", f"y={saved}"] if command == "run" else []
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import emulator.execute.walkers, emulator.timing.replay\n"
        "from ratel.cli.main import main\n"
        "for module in (emulator.execute.walkers, emulator.timing.replay):\n"
        "    def told(*given, budget=module.next_budget):\n"
        "        print('at work', flush=True)\n"
        "        return budget(*given)\n"
        "    module.next_budget = told\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", script, command, str(path), *output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert saved.read_bytes() == b"kept"
    assert "interrupted" in said and "Traceback" not in said
    assert "core 0 stands at long.npu:" in said and "of 1,000,000,000 instructions" in said
