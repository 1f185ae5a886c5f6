"""The fuzzers of tests/longer/fuzz.py, for a few seconds; and that they would find what they look for."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.longer.fuzz import fuzz, fuzzer, supervise

COUNTS = {"texts": 600, "objects": 1000, "chips": 200, "tensors": 2000, "commands": 100, "fmt": 200}
# Both happen, so that neither side goes unseen: something right, and something wrong.
RIGHT = {"objects": "valid, and run", "tensors": "valid, and an input", "commands": "asm, 0", "fmt": "formatted"}
WRONG = {"texts": "E101", "objects": "ObjectError", "chips": "ChipError", "tensors": "damaged", "fmt": "E101"}


@pytest.mark.parametrize(("what", "count"), COUNTS.items())
def test_fuzzed_input_is_right_or_a_declared_error(what: str, count: int) -> None:
    seen: Counter[str] = Counter()
    assert fuzz(what, 0, count, seed=7, seen=seen) == []
    assert seen.total() == count
    assert seen[RIGHT.get(what, "valid")] and seen[WRONG.get(what, "run, 1")]


def test_a_supervisor_finds_what_goes_wrong_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exceptions, ends of processes, what is slow and what does not hear that it is, and memory."""
    cases = [fuzzer("faults").case(random.Random(f"faults 29 {n}")) for n in range(10)]
    assert len(set(cases)) == 7
    counts = supervise({"faults": len(cases)}, 0, 600, 29, 2, tmp_path, most=0.3)["faults"]
    wrong = [n for n, case in enumerate(cases) if case != "right"]
    assert counts.broken == counts.seen["BROKEN"] == len(wrong) and counts.seen.total() == len(cases)
    assert {path.name for path in tmp_path.iterdir()} == {f"fuzz-faults-29-{n}" for n in wrong}
    said = capsys.readouterr().out
    for n in wrong:
        expected = {
            "error": "RatelError: wrong",
            "crash": "CRASH: the process ended with -11",
            "exit": "CRASH: the process ended with 7",
            "slow": "Slow: more than 0.3 s",
            "deaf": "does not end: the process ended with -9",
            "memory": "more memory than it may: MemoryError",
        }[cases[n]]
        assert f"faults {n}: {expected}" in said
        assert f"python -m tests.longer.fuzz --what faults --seed 29 --first {n} --cases 1" in said
