"""Saturation: results at the ends of their types, counted over all iterations."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import ratel
from emulator.execute.saturation import find_saturation
from emulator.plan.load import load
from isa.chip import load_chip
from isa.memory import limited
from ratel.cli.main import main

SCALED = """.chip edge
.input x i8[4, 8] = 1
.local t i8[4, 8]
.output y i8[4, 8]
.output z u8[4, 8]
.scales explicit
.const by f32[1] = 4
copy t, x
loop i, 4
    eltwise y[i], t[i], ew3_scale=by
    eltwise z[i], t[i], relu
brnz i
end
"""


def test_memories_that_are_kept_as_they_were_are_counted() -> None:
    plan = load(ratel.assemble(SCALED), load_chip("edge"), 1)
    for limit, is_enough in ((plan.arena_bytes, False), (3 * plan.arena_bytes, True)):
        with limited(limit), nullcontext() if is_enough else pytest.raises(ratel.Trap, match="as they were at first"):
            assert find_saturation(plan, {})


def test_ends_are_counted_over_iterations() -> None:
    x = np.arange(-40, 56, 3, dtype=np.int8).reshape(4, 8)
    program = ratel.assemble(SCALED)
    found = find_saturation(load(program, load_chip("edge"), 1), {"x": x})
    outputs = ratel.run(program, {"x": x}).outputs
    expected = [
        (32, int((outputs["y"] == -128).sum()), int((outputs["y"] == 127).sum())),
        (32, int((outputs["z"] == 0).sum()), int((outputs["z"] == 255).sum())),
    ]
    assert [(one.elements, one.at_low, one.at_high) for one in found] == expected
    # The copy cuts nothing off.
    assert [one.index for one in found] == [2, 3] and expected[0][1] and expected[0][2]


def test_the_command_prints_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scaled.npu"
    path.write_text(SCALED)
    assert main(["run", str(path), "--saturation"]) == 0
    shown = capsys.readouterr().out
    assert "scaled.npu:10" in shown and "0.0 %" in shown
    assert main(["run", str(path), "--saturation", "--json"]) == 0
    assert [one["elements"] for one in json.loads(capsys.readouterr().out)["saturation"]] == [32, 32]
