"""What a short text may take of this computer's memory: refused before it is taken, or bounded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ratel
from isa.errors import InputError
from isa.memory import UNITS, free, limited, shortage, size_of, spelled

SPLATS = "\n".join(f".weight w{k} i8[1024, 1024, 1024] = 3" for k in range(8)) + "\nend\n"
SIGNALS = ".semaphore s\nloop i, 2000000\nsignal s, me\nbrnz i\nend\n"
STRIDED = ".local a i8[40M]\ncopy a[0:40M-1:2], a[1:40M:2]\nend\n"
STREAM = ".input x i8[16] = 1\n.output y i8[16]\nloop i, 200\ncopy y, x\nbrnz i\nend\n"


# Runs the command line, and says on its last line of stderr the most that it held. That is a mark of the program,
# new with it, where the one that wait4 gives is at least what its parent holds.
PEAK = """
import sys
from pathlib import Path
from ratel.cli.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
marks = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(*marks, file=sys.stderr)
sys.exit(status)
"""


def measured(*arguments: str) -> tuple[int, str, int]:
    """Run the command line in a process; return its status, what it said, and the most megabytes that it held."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not say what a process has held")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PEAK, *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    said, _, mark = done.stderr.rstrip("\n").rpartition("VmHWM:")
    return done.returncode, said, int(mark.split()[0]) // 1024


def test_what_a_process_held_is_its_own() -> None:
    held = b"x" * 2**28
    status, said, megabytes = measured("--version")
    assert (status, said) == (0, "") and 0 < megabytes < len(held) // 2**20


@pytest.mark.parametrize(
    ("text", "command", "most"),
    [
        # Each held 0.8 to 10 GB before what it names was mended; 0.15 to 0.25 GB are Python, numba and LLVM.
        (SIGNALS, ["time"], 500),
        (STRIDED, ["time"], 400),
        (STREAM, ["report", "--tasks", "1000", "-o", "page.html"], 500),
    ],
    ids=["signals that nobody waits for", "a strided copy", "a report of a long stream"],
)
def test_memory_does_not_grow_with_the_run(
    text: str, command: list[str], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npu").write_text(text)
    ratel.time(ratel.assemble(STREAM))  # compiles
    status, said, megabytes = measured(command[0], "a.npu", *command[1:])
    assert status == 0, said
    assert megabytes < most


def test_data_that_need_more_than_the_limit_are_refused_before_they_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a.npu"
    path.write_text('.chip "big.toml"\n' + SPLATS)
    (tmp_path / "big.toml").write_text(big_chip())
    status, said, megabytes = measured("run", str(path), "--memory", "1G")
    assert status == 1 and megabytes < 300
    assert "it needs 8.0 GiB for the data of 8 tensors" in said and "1.0 GiB is the limit" in said
    assert "--memory SIZE" in said and "Traceback" not in said


def big_chip() -> str:
    import isa

    text = (Path(isa.__file__).parent / "chips" / "hanguang800.toml").read_text("utf-8")
    return text.replace("lm_bytes = 50_331_648", f"lm_bytes = {2**40}")


def test_a_run_that_needs_more_than_the_limit_says_how_much_and_what_for() -> None:
    program = ratel.assemble(STREAM)
    with pytest.raises(
        ratel.Trap, match=r"it needs .* for outputs of 1,000 tasks, .*; 10.0 KiB is the limit"
    ) as caught:
        ratel.run(program, tasks=1000, memory=10 * 1024)
    assert "memory=BYTES" in caught.value.help
    assert ratel.run(program, memory=10 * 1024).outputs["y"].tolist() == [1] * 16
    with pytest.raises(ratel.AssemblyError, match=r"it needs 1.0 MiB for the data of 1 tensors"):
        ratel.assemble(".weight w i8[1M] = 0\nend\n", memory=2**19)
    with pytest.raises(ratel.Trap, match="for records of 200 instructions"), limited(1000):
        ratel.time(program).records  # noqa: B018
    for wrong in (0, -1, "1G", 1.5):
        with pytest.raises(InputError, match="no limit of memory"):
            ratel.run(program, memory=wrong)


def test_what_a_product_without_end_needs_is_told_before_it_is_taken() -> None:
    """Lines of x are as long as K: no stripe makes them shorter."""
    text = ".input x i8[1, 20M] = 1\n.local w i8[20M, 1]\n.output y i32[1, 1]\nmatmul y, x, w\nend\n"
    with pytest.raises(ratel.Trap, match=r"for the working memory of <text>:4: matmul y, x, w"):
        ratel.run(ratel.assemble(text), memory=2**28)


def test_sizes_in_words() -> None:
    assert [size_of(text) for text in ("1", "3K", "800M", "4G", "2t")] == [1, 3072, 800 * 2**20, 2**32, 2**41]
    for wrong in ("", "G", "-1", "0", "1.5G", "4GB", "1e9", "9" * 30):
        with pytest.raises(InputError, match="no size of memory"):
            size_of(wrong)
    assert [spelled(size) for size in (1, 2048, 3 * 2**29)] == ["1 bytes", "2.0 KiB", "1.5 GiB"]
    assert set(UNITS) == {"", "K", "M", "G", "T"}


def test_what_is_free_is_the_limit_where_none_is_given() -> None:
    assert 0 < free() < 2**62
    assert shortage({"nothing much": 1}) is None
    assert "are free" in (shortage({"a galaxy": 2**61}) or "")
    with limited(2**62):
        assert shortage({"a galaxy": 2**61}) is None
        with limited(None):
            assert shortage({"a galaxy": 2**61}) is None
    status, said, _ = measured("run", "a.npu", "--memory", "much")
    assert status == 2 and "'much' is no size of memory" in said
