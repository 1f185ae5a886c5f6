"""The benchmarks run end to end on small networks, and say where a result is wrong. Nothing is asked of times."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import building, floats, host, loops, measure, moves, processes, scheduling, tables, timing
from benchmarks.results import Memory, Results, Wrong, targets
from benchmarks.workloads import Workload, added, conv, depthwise, layer, matmul, whole
from programs.networks.bert_layer import bert_layer
from programs.networks.graph import Network
from programs.networks.mobilenet_v2 import mobilenet_v2
from programs.networks.onnx_model import FORMS
from programs.networks.resnet50 import resnet50
from programs.networks.vgg16 import vgg16
from programs.training.networks import calibrated

SMALL: dict[str, Callable[[], Network]] = {
    "resnet50": lambda: resnet50(size=37, width=4, classes=10),
    "mobilenet_v2": lambda: mobilenet_v2(size=64, width=0.5, classes=40),
    "vgg16": lambda: vgg16(size=64, width=4, classes=10),
    "bert_layer": lambda: bert_layer(steps=16, model=48, heads=3, hidden=96),
}
LAYERS: dict[str, Callable[[], Workload]] = {
    "conv": lambda: conv(9, 5, 6, 3, 2),
    "depthwise": lambda: depthwise(9, 5),
    "matmul": lambda: matmul(7, 12, 5),
    "max pool": lambda: layer("pooling", "max pool", (1, 9, 9, 4), lambda made, x: made.maxpool("y", x, 3, 2, 1)),
    "add": lambda: added("add", (1, 9, 9, 4)),
}


def silent(_: str) -> None:
    pass


@pytest.mark.slow
def test_small_networks_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    results = Results({"machine": "any"})
    for build in SMALL.values():
        given = replace(whole(calibrated(build())), turn=0.0)
        results.networks.append(measure.workload(given, 2, silent))
    results.layers = [measure.workload(replace(build(), turn=0.0), 1, silent) for build in LAYERS.values()]
    results.instructions, results.host = loops.rates(1, share=1e-5), host.host(1)
    results.moves = moves.moves(1, share=1e-6)
    results.floats = floats.floats(1, share=1e-6)
    results.building = building.building(1, share=1e-3)
    results.memory, results.processes = Memory(3, 1, 1, 1), {"ratel run digits": 0.5}
    results.scheduling = replace(scheduling.of_network(calibrated(SMALL["resnet50"]()), 1), rates={"copies": 1e7})
    tables.print_results(results)
    printed = capsys.readouterr().out
    assert all(
        name in printed
        for part in (["the schedule itself"], SMALL, LAYERS, loops.LOOPS, moves.MOVES, floats.SIZES, FORMS)
        for name in part
    )
    # What can be measured without processes is there, and JSON holds it.
    assert {target.what for target in targets(results) if target.measured is not None} >= {*loops.LOOPS}
    assert "Builder, 10,000 convolutions, emitted and built" in printed
    timings = json.loads(json.dumps(results.summary()))["networks"][0]["timings"]
    assert timings.keys() >= {"fp32", "2 threads", "2 runs at once", "sgemm"}


def test_a_wrong_result_is_said_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = measure.contenders_of

    def wrong(given: Workload) -> dict[str, timing.Contender]:
        found = real(given)
        result = found["s8s8"].result.copy()
        result[0, 1] += 1
        return found | {"s8s8": replace(found["s8s8"], result=result)}

    monkeypatch.setattr(measure, "contenders_of", wrong)
    monkeypatch.setattr(measure, "layers", lambda: [LAYERS["matmul"]()])
    monkeypatch.setattr(measure, "interleaved", pytest.fail)
    assert command.main(["--only", "layers"]) == command.WRONG
    assert "onnxruntime s8s8: 1 of 35 results differ; the first, at [0, 1]" in capsys.readouterr().err


def test_without_onnxruntime_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("measure", "contenders", "loops"):
        monkeypatch.delitem(sys.modules, f"benchmarks.{name}")
        monkeypatch.delattr(sys.modules["benchmarks"], name)
    assert command.main([]) == command.USAGE
    assert "onnxruntime is not installed" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "everything", pytest.fail)
    assert command.main(["--json", "/nowhere/at/all.json"]) == command.USAGE
    assert "cannot write /nowhere/at/all.json" in capsys.readouterr().err


def test_processes_are_measured() -> None:
    done = processes.python("-c", "x = bytearray(50_000_000); import time; time.sleep(0.1)")
    assert done.seconds > 0.1 and 50e6 < done.peak < 200e6
    with pytest.raises(Wrong, match="hopeless"):
        processes.python("-c", "raise SystemExit('hopeless')")


def test_bytes_that_tensors_share_count_once() -> None:
    assert processes.covered([(0, 10, 0, "lm"), (5, 20, 0, "lm"), (5, 6, 0, "lm"), (0, 3, 1, "lm")]) == 23


def test_turns_alternate() -> None:
    order: list[str] = []
    contenders = {name: timing.Contender(lambda name=name: order.append(name), 2) for name in "ab"}
    timings = timing.interleaved(contenders, 3)
    assert order == ["a", "b"] * 3 and timings.keys() == {"a", "b"}
    assert timing.spread((1.0, 2.0, 3.0, 4.0, 5.0)) == 2.0
    assert np.isfinite(timings["a"].median)
