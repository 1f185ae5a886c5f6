"""The scratch memory that is planned for each instruction, against what its kernel takes."""

import json
import subprocess
import sys
from pathlib import Path

from emulator.kernels.table import KERNELS
from emulator.plan.blocks import LANES
from isa.table import TABLE

ROOT = Path(__file__).parents[3]
# What is not planned: a few numbers, and buffers that are as long as the longest part of a row.
FEW_BYTES, BUFFERS = 2048, 10 * 4 * LANES


def test_what_kernels_take_is_what_is_planned() -> None:
    """At most so much, and where columns are many not far below; what nothing is planned for grows with no row."""
    command = [sys.executable, "-m", "tests.emulator.plan.scratch_taken"]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=500).stdout)
    for held in found.values():
        assert {mnemonic for mnemonic, _, _ in held} == {TABLE[opcode].mnemonic for opcode in KERNELS}
    for mnemonic, taken, planned in found["few"]:
        assert taken <= planned + FEW_BYTES, mnemonic
    for mnemonic, taken, planned in found["wide"]:
        assert taken <= planned + (FEW_BYTES if planned else BUFFERS), mnemonic
        assert planned <= 1.5 * taken, mnemonic
