"""ratel.testing: its page, its strategies, its assertions, interleavings, and what the pytest plugin saves."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ratel
from emulator.execute.interleave import MOST_INTERLEAVED
from isa.chip import CHIPS, Chip, load_chip
from isa.errors import InputError, Trap
from isa.program import Program
from isa.table import ROWS
from ratel import testing
from ratel.cli.main import main
from ratel.pytest_plugin import save
from tests.longer import mutations
from tests.longer.interleavings import hold_in_any_order, race_free

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
(KERNEL_TEST,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)

POOLED = """
.chip edge
.order compiler
.input x i8[1, 4, 4, 16]
.local a i8[1, 4, 4, 16]
.local b i8[1, 4, 4, 16]
.output y i8[1, 4, 4, 16]
copy a, x
(w.m) maxpool b, a, window=1
{}copy y, b
end
"""
POOLED_RACE, POOLED_RIGHT = ratel.assemble(POOLED.format("")), ratel.assemble(POOLED.format("(w.p) "))
X = np.arange(256, dtype=np.int8).reshape(1, 4, 4, 16)


def test_the_page_is_a_test() -> None:
    names: dict = {}
    shorter = KERNEL_TEST.replace("settings(deadline=None", "settings(deadline=None, max_examples=20")
    # Without it a first example that loads or compiles kernels exceeds hypothesis's 200 ms, which is a failure.
    assert shorter != KERNEL_TEST
    exec(shorter, names)
    names["test_kernel"]()


def test_a_failing_program_is_saved_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(KERNEL_TEST.replace("(w.m) ", ""))
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "ratel.pytest_plugin",
        "--rootdir",
        str(tmp_path),
        "test_it.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    folder = tmp_path / "ratel-failures" / "test_it.py_test_kernel"
    assert "error[C101]" in done.stdout and f"cd {folder} && ratel check program.npu" in done.stdout
    text = (folder / "program.npu").read_text()
    # The least that fails.
    assert "i8[1, 16]" in text
    assert ratel.check(ratel.assemble(text)).verdict == "race"


def renamed(program: ratel.Program, names: dict[str, str]) -> ratel.Program:
    """Return a program whose symbols are called otherwise, as no text could, and an object file can."""
    (core,) = program.cores
    symbols = tuple(replace(symbol, name=names.get(symbol.name, symbol.name)) for symbol in core.symbols)
    return replace(program, cores=(replace(core, symbols=symbols),))


def test_names_of_a_foreign_program_lead_nowhere_and_say_nothing_to_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor do two files come to have one name: that of a weight is chosen later, that of an output is made longer."""
    names = ["../../evil", str(tmp_path / "evil"), "a$(touch evil)b `touch evil`; 'c", "y_expected", "PROFILE", "w/w"]
    declared = "".join(f".input i{k} i8[4]\n" for k in range(len(names)))
    text = f".chip edge\n{declared}.weight w_w i8[300] = 1\n.output y i8[4]\neltwise y, i0, add=w_w[0:4]\nend\n"
    data = np.arange(300).astype(np.int8)
    program = renamed(ratel.assemble(text), {f"i{k}": name for k, name in enumerate(names)})
    (core,) = program.cores
    (segment,) = core.segments
    program = replace(program, cores=(replace(core, segments=(replace(segment, data=data.tobytes()),)),))
    inputs = {name: np.full(4, k, np.int8) for k, name in enumerate(names)}
    with pytest.raises(testing.ProgramFailure, match="output y: ") as raised:
        testing.assert_equivalent(program, lambda **_: np.full(4, 9, np.int8), inputs, chip=load_chip("edge"))
    folder = tmp_path / "a" / "b"
    said = save(raised.value, folder)
    assert {path.parent for path in tmp_path.rglob("*.*")} == {folder} and len(list(folder.iterdir())) == 9
    monkeypatch.chdir(folder)
    assert main(shlex.split(said.splitlines()[-1])[4:]) == 1
    assert "y: 4 of 4 elements differ, the first at [0]: 0, expected 9" in capsys.readouterr().out


def test_what_cannot_be_saved_is_told_and_the_tests_behind_it_run(tmp_path: Path) -> None:
    (tmp_path / "ratel-failures").write_text("a file, where a folder would be")
    test = KERNEL_TEST.replace("(w.m) ", "") + "\n\ndef test_behind_it():\n    pass\n"
    (tmp_path / "test_it.py").write_text(test)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*f"{sys.executable} -m pytest -q -p ratel.pytest_plugin --rootdir".split(), str(tmp_path), "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "the program could not be saved: " in done.stdout and "error[C101]" in done.stdout
    assert "1 failed, 1 passed" in done.stdout and done.returncode == 1


def test_an_unequal_output_is_saved_with_its_tensors() -> None:
    with pytest.raises(testing.ProgramFailure, match=r"output y: 1 of 256 elements differ, the first at") as raised:
        testing.assert_equivalent(POOLED_RIGHT, lambda x: np.where(x == 5, 6, x).astype(np.int8), {"x": X})
    assert raised.value.command == "ratel run FILE --input x=x.npy --expect y=y_expected.npy"
    assert set(raised.value.tensors) == {"x.npy", "y_expected.npy"}


@pytest.mark.parametrize(
    ("chip", "said"),
    [
        ("my chip.toml", "--chip 'my chip.toml'"),
        (load_chip("edge"), "--chip edge"),
        (load_chip("edge", te__latency=20), "--chip edge --set te.latency=20"),
    ],
)
def test_the_command_names_the_chip(
    chip: str | Chip, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CHIPS / "edge.toml", "my chip.toml")
    with pytest.raises(testing.ProgramFailure) as raised:
        testing.assert_race_free(POOLED_RACE, chip)
    assert raised.value.command == f"ratel check FILE {said}"


def test_programs_are_held_against_each_other_and_interleaved() -> None:
    testing.assert_equivalent(POOLED_RIGHT, POOLED_RACE, {"x": X}, seeds=range(10))
    with pytest.raises(testing.ProgramFailure, match="interleaved by seed"):
        testing.assert_equivalent(POOLED_RACE, POOLED_RIGHT, {"x": X}, seeds=range(20))
    testing.assert_race_free(POOLED_RIGHT)
    with pytest.raises(testing.ProgramFailure, match="C101"):
        testing.assert_race_free(POOLED_RACE)


def test_a_reference_has_the_same_outputs() -> None:
    for reference in (lambda x: {}, lambda x: {"z": x}, lambda x: {"y": x, "z": x}):
        with pytest.raises(InputError, match="the program's outputs are y, the reference's "):
            testing.assert_equivalent(POOLED_RIGHT, reference, {"x": X})


def test_batches_are_held_and_interleaved() -> None:
    batch = np.stack([X, X + 1, X + 2])
    testing.assert_equivalent(POOLED_RIGHT, lambda x: x, {"x": batch}, seeds=[1])
    assert (testing.run_interleaved(POOLED_RIGHT, 2, {"x": batch})["y"] == batch).all()


def test_a_seed_is_an_order() -> None:
    outputs = [testing.run_interleaved(POOLED_RACE, seed, {"x": X})["y"].tobytes() for seed in range(20)]
    assert outputs == [testing.run_interleaved(POOLED_RACE, seed, {"x": X})["y"].tobytes() for seed in range(20)]
    assert len(set(outputs)) > 1


@pytest.mark.parametrize(
    ("behind", "declared"),
    [("signal s, me", ""), ("barrier b, me", ".barrier b\n"), ("signal s, me\nbarrier b, me", ".barrier b\n")],
)
def test_a_deadlock_of_any_order_is_a_trap(behind: str, declared: str) -> None:
    """What a wait bit holds back at the head of its queue does not wait for another core."""
    text = f".chip hanguang800\n.order compiler\n.semaphore s\n{declared}.core 0\n.output y i8[4]\nfill y, value=1\n"
    others = "barrier b, me\n" if declared else ""
    text += f"wait s, te\n(w.t) {behind}\nend\n.core 1\n.output z i8[4]\nfill z, value=1\n{others}end\n"
    program = ratel.assemble(text)
    assert ratel.check(program).verdict == "deadlock"
    for seed in range(5):
        with pytest.raises(Trap, match="core 0 waits for a signal of semaphore `s`") as caught:
            testing.run_interleaved(program, seed)
        assert ("core 1 waits for the others at barrier `b`" in caught.value.message) == bool(declared)


def test_what_is_too_long_is_not_interleaved() -> None:
    text = f".chip edge\n.local a i8[4]\n.local b i8[4]\nloop n, {MOST_INTERLEAVED + 1}\ncopy a, b\nbrnz n\nend\n"
    program = ratel.assemble(text)
    with pytest.raises(Trap, match="at most 10,000 can be followed one by one"):
        testing.run_interleaved(program, 0)
    # In order it may be longer.
    testing.assert_equivalent(program, program)


@settings(max_examples=20, deadline=None)
@given(race_free())
def test_some_race_free_programs_are_the_same_in_any_order(program: Program) -> None:
    hold_in_any_order(program, interleavings=200)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(race_free())
def test_race_free_programs_are_the_same_in_any_order(program: Program) -> None:
    hold_in_any_order(program, interleavings=200)


def test_mutants_are_judged_as_by_brute_force() -> None:
    seen = mutations.Seen()
    mutations.run(200, 50, seed=1, seen=seen)
    assert seen.wrong == []
    assert {verdict for verdict, _ in seen.verdicts} >= {"proven", "race", "deadlock"}


# One or more of each strategy of the package.
STRATEGIES = {
    "chips": [testing.chips()],
    "inputs": [testing.inputs(POOLED_RIGHT)],
    "instructions": [testing.instructions(row.mnemonic) for row in ROWS] + [testing.instructions("conv", sf="tanh")],
    "looped_programs": [testing.looped_programs()],
    "networks": [testing.networks()],
    "programs": [testing.programs(), testing.programs(dev=False)],
    "programs_of_cores": [testing.programs_of_cores(), testing.programs_of_cores(least=2)],
    "quantisations": [testing.quantisations("i8"), testing.quantisations("f32")],
    "race_free_programs": [testing.race_free_programs(), testing.race_free_programs(cores=2)],
    "racy_programs": [testing.racy_programs()],
    "tensors": [testing.tensors("bf16", (3, 4)), testing.tensors("i8", st.tuples(st.integers(1, 64)))],
}
# Hypothesis's own, but for the number: its health checks look at the first ten.
AS_DELIVERED = settings(settings.get_profile("default"), max_examples=20)


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_pass_the_health_checks(name: str) -> None:
    assert not AS_DELIVERED.suppress_health_check and AS_DELIVERED.deadline
    for strategy in STRATEGIES[name]:

        @AS_DELIVERED
        @given(strategy)
        def draws(value: object) -> None:
            assert value is not None

        draws()


def test_every_strategy_is_tried() -> None:
    said = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.M)
    named = {name for row in said for name in re.findall(r"(\w+)\(", row)} & set(testing.__all__)
    assert {name for name in named if not name.startswith(("assert", "run"))} == set(STRATEGIES)


@settings(max_examples=15, deadline=None)
@given(testing.racy_programs())
def test_racy_programs_race(drawn: tuple[Program, int, str]) -> None:
    program, index, letter = drawn
    verdict = ratel.check(program)
    assert verdict.verdict == "race"
    # One of them is mended by the bit that was taken away.
    assert any((edit.index, edit.text) == (index, letter) for found in verdict.findings for edit in found.edits)


@settings(max_examples=15, deadline=None)
@given(testing.race_free_programs(), st.data())
def test_laws_of_time_hold_on_any_chip(program: Program, data: st.DataObject) -> None:
    testing.assert_laws_of_time(program, data.draw(testing.chips()))


@given(st.data())
def test_inputs_and_quantisations_fit(data: st.DataObject) -> None:
    given_tensors = data.draw(testing.inputs(POOLED_RIGHT))
    assert given_tensors["x"].shape == X.shape and given_tensors["x"].dtype == np.int8
    scale, zero = data.draw(testing.quantisations("u8"))
    assert 0 < scale <= 4 and 0 <= zero <= 255
