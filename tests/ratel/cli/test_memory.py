"""What a short text may take of this computer's memory: refused before it is taken, or bounded."""

import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import emulator.execute.session
import ratel
from emulator.execute.inputs import read_tensor
from emulator.execute.interleave import Interleaver
from emulator.jit.cache import cache_root
from emulator.plan.load import load
from isa.errors import InputError
from isa.memory import UNITS, free, hold, limited, shortage, size_of, spelled
from isa.object_file import ENTRY, HEADER, MAGIC, VERSION, to_sections
from ratel.cli.main import main
from ratel.kept import SUFFIX
from tests.compiler.oracle import network, noise

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


LONG = 3_000_000


@pytest.mark.parametrize(
    "line",
    [
        f'.name "{"a" * LONG}"',
        '"' + "a " * (LONG // 2) + '"',
        f".equ a = {'9' * LONG}",
        f".equ a = 1{'_1' * (LONG // 2)}",
        f".equ a = 1{'e+1' * (LONG // 3)}",
    ],
    ids=["a name", "words in quotes", "digits", "digits in groups", "exponents"],
)
def test_a_long_line_takes_some_bytes_a_character(line: str, tmp_path: Path) -> None:
    """Quotes and numbers took 130 to 170, so that the longest text took 2 GB."""
    path = tmp_path / "a.npu"
    path.write_text(f".output y i8[4]\n{line}\nfill y, value=1\nend\n")
    _, said, megabytes = measured("asm", str(path))
    assert "Traceback" not in said and megabytes < 80 + 25 * LONG // 10**6


def table(sections: dict[str, int]) -> bytes:
    """Return what an object file with sections of such lengths begins with; checksums of sections are 0."""
    at = HEADER.size + ENTRY.size * len(sections) + 4
    head = HEADER.pack(MAGIC, VERSION, len(sections))
    for name, length in sections.items():
        head += ENTRY.pack(name.encode(), at, length, 0, 0)
        at += length
    return head + struct.pack("<I", zlib.crc32(head))


LARGE = 5 * 2**30


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        (b"", "this is not an object file"),
        (b"RATELNPO", "the object file has version 0"),
        (table({"head": 100, "data.0": LARGE}), "10.0 GiB for what the object file holds; 100.0 MiB is the limit"),
        (table({"code.0": 2**23}), "it needs 200.0 MiB for what the object file holds"),
        (table({"head": 100}), "the object file's section 'head' is damaged"),
        (table({"data.0": 2**40}), "it is larger than 65,536 MiB"),
    ],
    ids=["no magic", "no version", "data", "code", "what follows", "too large"],
)
def test_an_object_is_refused_before_it_is_read(begin: bytes, said: str, tmp_path: Path) -> None:
    """A sparse file takes nothing of a disk, and any name may end in .npo: it was read whole, and twice."""
    path = tmp_path / "a.npo"
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(LARGE)
    status, found, megabytes = measured("dis", str(path), "--memory", "100M")
    assert status == 1 and said in found and megabytes < 90, found
    with pytest.raises(ratel.ObjectError, match=re.escape(said)), limited(100 * 2**20):
        ratel.Program.load(path)


def test_an_object_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "z.npo").symlink_to("/dev/zero")
    status, said, megabytes = measured("dis", str(tmp_path / "z.npo"), "--memory", "100M")
    assert status == 1 and "z.npo: this is not an object file" in said and megabytes < 90


def test_what_an_objects_json_becomes_is_counted(tmp_path: Path) -> None:
    """Lists of nothing took 27 times their text."""
    sections = to_sections(ratel.assemble(STREAM))
    sections["debug"] = b'{"files":[' + b"[]," * 10**6 + b'[]],"hashes":[],"lines":[]}'
    lengths = {name: len(data) for name, data in sections.items()}
    image = bytearray(table(lengths))
    at = HEADER.size
    for data in sections.values():
        struct.pack_into("<I", image, at + 24, zlib.crc32(data))
        at += ENTRY.size
    struct.pack_into("<I", image, at, zlib.crc32(image[:at]))
    (tmp_path / "a.npo").write_bytes(image + b"".join(sections.values()))
    status, said, megabytes = measured("dis", str(tmp_path / "a.npo"), "--memory", "100M")
    assert status == 1 and "MiB for what the object file holds" in said and megabytes < 100, said


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


def sparse(path: Path, dtype: str, *shape: int) -> None:
    """Write a tensor of zeros that takes next to nothing of the disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)) * np.dtype(dtype).itemsize)


@pytest.mark.parametrize(
    ("option", "rows", "dtype", "memory", "most", "said"),
    [
        (
            "--input x",
            512,
            "|i1",
            "150M",
            300,
            "cannot read t.npy: it needs 512.0 MiB for the tensor in t.npy, int8 [512",
        ),
        (
            "--input x",
            64,
            "<f4",
            "260M",
            500,
            "input x: it needs 258.0 MiB for what is held already, 64.0 MiB for what ",
        ),
        (
            "--expect y",
            512,
            "<f8",
            "150M",
            300,
            "cannot read t.npy: it needs 4.0 GiB for the tensor in t.npy, float64 [",
        ),
    ],
)
def test_tensors_are_refused_before_they_are_read_or_converted(
    option: str,
    rows: int,
    dtype: str,
    memory: str,
    most: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = ".chip hanguang800\n.input x i8[1M] scale=1 = 0\n.output y i8[4]\ncopy y, x[0:4]\nend\n"
    Path("a.npu").write_text(text)
    sparse(Path("t.npy"), dtype, rows, 2**20)
    status, found, megabytes = measured("run", "a.npu", *f"{option}=t.npy".split(), "--memory", memory)
    assert status == 1 and said in found and megabytes < most


def test_floats_that_a_text_names_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    declared = ".chip hanguang800\n.tasks 64\n.input x i8[1M] scale=1 = "
    Path("a.npu").write_text(f'{declared}"t.npy"\n.output y i8[4]\ncopy y, x[0:4]\nend\n')
    sparse(Path("t.npy"), "<f8", 64, 2**20)
    status, said, megabytes = measured("asm", "a.npu", "--memory", "600M")
    assert status == 1 and 'it needs 512.0 MiB for the tensor in "t.npy", 128.0 MiB for their integers' in said
    assert "E506" in said and megabytes < 300
    # As many integers and no more of anything else: 50 MB are Python and NumPy.
    status, said, megabytes = measured("asm", "a.npu", "--memory", "700M")
    assert status == 0 and megabytes < 640 + 150, said
    sparse(Path("t.npy"), "<f8", 8, 8, 2**20)
    status, said, megabytes = measured("asm", "a.npu")
    assert status == 1 and megabytes < 700, said


def test_all_that_takes_a_programs_data_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text, which is longer; as a file beside what is in memory; from a Builder; and dumped, as numbers."""
    monkeypatch.chdir(tmp_path)
    b = ratel.Builder("p", chip="hanguang800")
    w = b.weight("w", np.arange(10**6).astype(np.int8).reshape(10, -1))
    b.copy(b.output("y", "i8", (10, 10**5)), w)
    with pytest.raises(ratel.AssemblyError, match="for the data of 1 tensors"):
        b.build(memory=10**5)
    program = b.build(memory=3 * 10**6)
    with pytest.raises(ratel.RatelError, match=r"it needs 3.8 MiB for w as text; 2.9 MiB is the limit"):
        ratel.disassemble(program, memory=3 * 10**6)
    assert len(ratel.disassemble(program, memory=5 * 10**6)) > 2 * 10**6
    b.save("p.npu")
    # The data, and the file that they come from: 1 MB each. The object file is written from them.
    for memory, status in (("1800K", 1), ("2200K", 0)):
        assert main(["asm", "p.npu", "--memory", memory]) == status
    assert '976.6 KiB for the tensor in "p_w.npy"' in capsys.readouterr().err
    for memory, status in (("1800K", 1), ("2200K", 0)):
        assert main(["dis", "p.npo", "-o", "q.npu", "--memory", str(memory)]) == status, memory
    for memory, status in (("90M", 1), ("110M", 0)):
        assert main(["run", "p.npu", "--dump", "w", "--json", "--memory", memory]) == status
    assert "for the numbers of dumps, in JSON" in capsys.readouterr().err


def test_a_batch_counts_as_it_is_converted() -> None:
    program = ratel.assemble(".input x i8[1000] scale=1\n.output y i8[4]\ncopy y, x[0:4]\nend\n")
    floats = np.ones((2000, 1000), np.float32)
    with pytest.raises(ratel.Trap, match=r"input x: it needs 1.9 MiB for what the run takes of input x, .* held"):
        ratel.run(program, {"x": floats}, memory=19 * 10**5)
    assert (ratel.run(program, {"x": floats}, memory=21 * 10**5).outputs["y"] == 1).all()
    # What is as the program takes it is not copied.
    assert (ratel.run(program, {"x": floats.astype(np.int8)}, memory=10**5).outputs["y"] == 1).all()


def grows() -> ratel.Program:
    """A program that adds what it is given to what it has."""
    text = ".input x i8[16] buffers=2\n.output y i8[16] buffers=2\n.local a i8[100K]\n"
    return ratel.assemble(f"{text}eltwise a[0:16], x, add=a[0:16]\ncopy y, a[0:16]\nend\n")


def test_a_session_that_grows_has_both_memories_for_a_while() -> None:
    one, two = np.ones(16, np.int8), np.ones((2, 16), np.int8)
    for memory, enough in ((150_000, False), (250_000, True)):
        with ratel.Session(grows(), memory=memory, check=False) as session:
            assert session.run({"x": one}).outputs["y"].tolist() == [1] * 16
            if enough:
                assert session.run({"x": two}).outputs["y"][:, 0].tolist() == [2, 3]
            else:
                with pytest.raises(ratel.Trap, match=r"it needs 100.* KiB for what is held already, 100.* KiB for the"):
                    session.run({"x": two})
                # It goes on as it was.
                assert session.run({"x": one}).outputs["y"].tolist() == [2] * 16


def test_a_session_that_is_interrupted_as_it_grows_goes_on_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = np.ones(16, np.int8), np.ones((2, 16), np.int8)
    lay_out = emulator.execute.session.Session._lay_out

    def interrupted(*given: Any) -> None:
        lay_out(*given)
        raise KeyboardInterrupt

    with ratel.Session(grows(), check=False) as session:
        assert session.run({"x": one}).outputs["y"][0] == 1
        with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
            context.setattr(emulator.execute.session.Session, "_lay_out", interrupted)
            session.run({"x": two})
        assert session.run({"x": one}).outputs["y"][0] == 2
        assert session.run({"x": two}).outputs["y"][:, 0].tolist() == [3, 4]


def test_an_order_of_ones_own_has_the_memories_twice_beside_its_outputs() -> None:
    """As they are, and as they were at first."""
    program = ratel.assemble(".output y i8[100K]\nfill y, value=1\nend\n")
    for memory, enough in ((250_000, False), (350_000, True)):
        with limited(memory), Interleaver(load(program, program.chip)) as interleaver:
            if enough:
                assert interleaver.interleaved(0, {}).outputs["y"].all()
            else:
                with pytest.raises(ratel.Trap, match=r"it needs 200.* KiB for what is held already, 100.* for outputs"):
                    interleaver.interleaved(0, {})


def test_the_times_of_a_long_stream_are_told_before_they_are_taken() -> None:
    with pytest.raises(ratel.Trap, match=r"it needs 152.6 MiB for the times of 1,000,000 tasks; 100.0 MiB"):
        ratel.time(ratel.assemble(STREAM), tasks=10**6, memory=100 * 2**20)


def test_tensors_that_are_read_add_up(tmp_path: Path) -> None:
    sparse(tmp_path / "t.npy", "|i1", 2**20)
    with limited(3 * 2**19):
        read_tensor(tmp_path / "t.npy")
        with pytest.raises(ratel.Trap, match=r"it needs 1.0 MiB for what is held already, 1.0 MiB for the tensor"):
            read_tensor(tmp_path / "t.npy")
    with limited(2**20):
        read_tensor(tmp_path / "t.npy")


def test_what_is_held_counts_to_the_end_of_its_limit() -> None:
    with limited(100):
        with limited(None):
            hold(60)
            assert shortage({"it": 40}) is None and shortage({"it": 41}) and shortage({"nothing": 0}) is None
            with limited(50):
                assert shortage({"it": 50}) is None
        assert shortage({"it": 100}) is None
    with limited(None):
        hold(2**61)
        assert shortage({"it": 2**24}) is None
        hold(2**61, taken=False)
        assert "for what is held already" in (shortage({"it": 2**24}) or "")


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


def written(root: Path, files: dict[str, str]) -> None:
    """Write files of a system, each by its path."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", "ascii")


GIB = 2**30


@pytest.mark.parametrize("version", ["2", "1", "1 in a container", "2 in a container"])
def test_what_is_free_is_what_the_groups_of_the_process_leave(version: str, tmp_path: Path) -> None:
    written(tmp_path, {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {64 * 2**20} kB"})
    assert free(tmp_path) == 64 * GIB
    names = ("max", "current", "inactive_file")
    base = tmp_path / "sys/fs/cgroup"
    line = "0::"
    if version[0] == "1":
        names, base = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"), base / "memory"
        line = "3:cpuset:/elsewhere\n4:memory,hugetlb:"
    written(tmp_path, {"proc/self/cgroup": f"{line}/{'pod/' * ('container' in version)}a/b"})

    def group(path: str, most: str, taken: int, cache: int) -> None:
        limit, usage, kept = names
        stat = f"anon 5\n{kept} {cache}\nactive_file 7"
        written(base / path, {f"memory.{limit}": most, f"memory.{usage}": str(taken), "memory.stat": stat})

    if version[0] == "2":
        group("", "max", 9 * GIB, GIB)
    else:
        group("", str(2**63 - 4096), 9 * GIB, GIB)
    if "container" in version:
        # All that is seen of the groups is the process's own, at the root.
        group("", str(4 * GIB), 3 * GIB, 2 * GIB)
        assert free(tmp_path) == 3 * GIB
        return
    group("a", str(10 * GIB), 6 * GIB, GIB)
    group("a/b", "max" if version[0] == "2" else str(2**63 - 4096), 6 * GIB, GIB)
    group("a/c", str(GIB), GIB, 0)
    assert free(tmp_path) == 5 * GIB
    group("a/b", str(2 * GIB), 2 * GIB, GIB // 2)
    assert free(tmp_path) == GIB // 2
    group("a/b", str(2 * GIB), 3 * GIB, GIB // 2)
    assert free(tmp_path) == 0
    written(tmp_path, {"proc/self/cgroup": f"{line}/../../c"})
    assert free(tmp_path) == 64 * GIB


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


@pytest.mark.slow
def test_a_network_is_compiled_kept_and_run_in_three_times_its_file(tmp_path: Path) -> None:
    """And 300 MB, of which 200 are Python, onnxruntime, numba and LLVM. Keeping it took its programs twice more."""
    width, layers = 5000, 4
    weights = {f"w{k}": noise(k, np.uint8, (width, width)) for k in range(layers)}
    constants = weights | {"s": np.float32(0.01), "z": np.uint8(128)}
    nodes = [("QLinearMatMul", f"x{k} s z w{k} s z s z", f"x{k + 1}") for k in range(layers)]
    # Of a name that nobody has kept a network by.
    path = tmp_path / f"{os.urandom(8).hex()}.onnx"
    onnx.save(network(*nodes, given={"x0": noise(9, np.uint8, (1, width))}, constants=constants).model, path)
    np.save(tmp_path / "x.npy", noise(9, np.uint8, (1, width)))
    most = 3 * path.stat().st_size // 10**6 + 300
    del weights, constants
    before = set(kept_networks())
    try:
        for command in ("run", "run", "compile"):
            more = ["--input", str(tmp_path / "x.npy")] if command == "run" else []
            status, said, megabytes = measured(command, str(path), *more)
            assert status == 0 and megabytes < most, (command, megabytes, said)
    finally:
        for file in set(kept_networks()) - before:
            if file.stat().st_size > 10**8:
                file.unlink()


def kept_networks() -> list[Path]:
    root = cache_root()
    return [] if root is None else list(root.glob(f"*/*{SUFFIX}"))
