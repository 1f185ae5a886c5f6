"""The systolic array's cycles against SCALE-Sim 3.0.0's, layer by layer of ResNet-50."""

import csv
from pathlib import Path

import pytest

from emulator.timing.costs import COSTS
from isa.chip import load_chip
from isa.dtypes import I8
from isa.instruction import build
from isa.operand import dense

LINES = (Path(__file__).parent / "scalesim_resnet50.csv").read_text("utf-8").splitlines()
LAYERS = list(csv.DictReader(line for line in LINES if not line.startswith("#")))
DATAFLOWS = {"os": "output-stationary", "ws": "weight-stationary", "is": "input-stationary"}
TOTALS = {
    (128, 128): {"os": 611_615, "ws": 876_886, "is": 997_816},
    (32, 32): {"os": 4_434_222, "ws": 5_753_540, "is": 5_608_410},
}


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("rows", "columns"), [(128, 128), (32, 32), (16, 64)])
def test_every_layer_equals_scale_sim(rows: int, columns: int, dataflow: str) -> None:
    chip = load_chip(
        "edge",
        te__kind="systolic",
        te__rows=rows,
        te__columns=columns,
        te__dataflow=DATAFLOWS[dataflow],
        te__vector_lanes=2**20,
        te__read_bytes_per_cycle=1e9,
        te__write_bytes_per_cycle=1e9,
    )
    total = 0
    for layer in LAYERS:
        # As a matrix product: SCALE-Sim rounds the size of the image up where a stride does not divide it.
        pixels, filters, window = (int(layer[key]) for key in ("pixels", "filters", "window"))
        shapes = {"out": (pixels, filters), "x": (pixels, window), "w": (window, filters)}
        matmul = build("matmul", **{name: dense("lm", 0, I8, shape) for name, shape in shapes.items()})
        found = COSTS[matmul.opcode](chip, matmul)
        assert found.occupancy == int(layer[f"{rows}x{columns}_{dataflow}"]), layer["layer"]
        total += found.occupancy
    assert len(LAYERS) == 54
    if rows == columns:
        assert total == TOTALS[rows, columns][dataflow]
