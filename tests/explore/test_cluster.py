"""Clusters: a scheduler and its workers as real processes; workers die, one joins late, a client is killed."""

import json
import os
import random
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import create_connection
from threading import Timer
from time import monotonic, sleep

import pytest

import ratel
from explore.pools import outcomes
from tests.explore.programs import DIGITS, crashing, digits
from tests.longer.fuzz import fuzzer

pytest.importorskip("distributed")
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
# 500 points.
VARY = {"te.latency": "10..34/25", "te.vector_lanes": "64..512*2", "memory.lm": "8K,1M,2M,3M,4M"}


def started(*words: str) -> subprocess.Popen[bytes]:
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen([sys.executable, *words], env=ENVIRONMENT, **quiet)


class Cluster:
    """A scheduler, and workers by their order."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.file, self.stack, self.workers = folder / "scheduler.json", stack, list[subprocess.Popen[bytes]]()
        self.folder = folder
        words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file))
        self.scheduler = started("-m", "distributed.cli.dask_scheduler", *words)
        self.keep(self.scheduler)
        wait_for(self.file.exists)
        self.address = json.loads(self.file.read_text())["address"]

    def keep(self, process: subprocess.Popen[bytes]) -> None:
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

    def add_worker(self) -> None:
        words = ("--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self.folder))
        self.workers.append(started("-m", "distributed.cli.dask_worker", self.address, *words))
        self.keep(self.workers[-1])


def wait_for(condition: object, seconds: float = 60.0) -> None:
    assert callable(condition)
    until = monotonic() + seconds
    while not condition():
        assert monotonic() < until
        sleep(0.02)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, stack)


@pytest.mark.slow
def test_workers_die_and_join_and_nothing_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(3):
        cluster.add_worker()

    def disturb(done: int, total: int) -> None:
        assert total == 500
        if done == 150:
            cluster.workers[0].kill()
            cluster.workers[1].send_signal(signal.SIGKILL)
        if done == 200:
            cluster.add_worker()

    path = tmp_path / "results.parquet"
    found = ratel.sweep(digits(), VARY, scheduler=cluster.address, results=path, on_progress=disturb)
    assert [worker.poll() for worker in cluster.workers] == [-signal.SIGKILL, -signal.SIGKILL, None, None]
    assert found.computed == 500 and found.rows == ratel.sweep(digits(), VARY, processes=1).rows
    assert ratel.sweep(digits(), VARY, results=path, processes=1).computed == 0


@pytest.mark.slow
def test_all_workers_die_and_another_goes_on(cluster: Cluster) -> None:
    cluster.add_worker()

    def disturb(done: int, total: int) -> None:
        if done == 20:
            cluster.workers[0].kill()
            cluster.add_worker()

    found = ratel.sweep(digits(), VARY, scheduler=cluster.address, on_progress=disturb)
    assert found.rows == ratel.sweep(digits(), VARY, processes=1).rows


@pytest.mark.slow
def test_processes_of_this_computer_give_the_same() -> None:
    found = ratel.sweep(digits(), VARY, processes=2)
    assert found.rows == ratel.sweep(digits(), VARY, processes=1).rows
    search = {"search": 30, "minimise": ["cycles"]}
    assert ratel.sweep(digits(), VARY, processes=2, **search).rows == ratel.sweep(digits(), VARY, **search).rows


@pytest.mark.slow
def test_a_point_that_ends_its_process_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explore.pools.outcomes", crashing)
    found = ratel.sweep(digits(), {"te.latency": "10..19/10"}, processes=2)
    assert [row["te.latency"] for row in found.rows if row["error"]] == [13]
    assert "ended the process" in found.rows[3]["error"]


@pytest.mark.slow
def test_processes_speak_to_nobody_else_and_end(tmp_path: Path) -> None:
    """Another user of this computer could have them run what he likes, if they spoke to him."""
    path, vary = tmp_path / "results.parquet", {**VARY, "pe.latency": "1..40/40"}
    words = [f"--vary={key}={values}" for key, values in vary.items()]
    line = [sys.executable, "-m", "ratel", "sweep", str(DIGITS), *words, "-o", str(path), "--processes", "2"]
    with subprocess.Popen(line, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as sweep:
        wait_for(path.exists)
        mine = children(sweep.pid)
        assert mine
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ports = {int(one[1].partition(":")[2], 16) for one in listening if one[3] == "0A" and one[9] in sockets(mine)}
        assert len(ports) > 2
        for port in ports:
            with create_connection(("127.0.0.1", port), 1) as plain:
                plain.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
                with suppress(OSError):
                    assert b" 200 " not in plain.recv(999)
            with create_connection(("127.0.0.1", port), 1) as plain, pytest.raises(OSError):
                # Whoever has no certificate is not heard; what does not speak TLS has no pages.
                known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                known.check_hostname, known.verify_mode = False, ssl.CERT_NONE
                known.wrap_socket(plain).read()
        sweep.send_signal(signal.SIGINT)
        assert sweep.stderr is not None and "are in" in sweep.stderr.read()
    assert sweep.returncode == 130
    wait_for(lambda: not any(Path("/proc", str(one)).exists() for one in mine))


def children(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def sockets(pids: Sequence[int]) -> set[str]:
    links = [os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").glob("*") if link.is_symlink()]
    return {link[8:-1] for link in links if link.startswith("socket:[")}


@pytest.mark.slow
def test_a_killed_client_resumes(tmp_path: Path) -> None:
    path, vary = tmp_path / "results.parquet", {**VARY, "pe.latency": "1..20/20"}
    words = [f"--vary={key}={values}" for key, values in vary.items()]
    client = started("-m", "ratel", "sweep", str(DIGITS), *words, "-o", str(path), "--processes", "1")
    wait_for(path.exists)
    client.kill()
    client.wait()
    found = ratel.sweep(digits(), vary, results=path, processes=1)
    assert len(found.rows) == 10_000 and 0 < found.computed < 10_000
    for row in found.rows[::97]:
        if not row["error"]:
            assert row["cycles"] == ratel.time(digits(), found.chip(row)).cycles
    assert ratel.sweep(digits(), vary, results=path, processes=1).computed == 0


def test_a_worker_of_another_ratel_is_refused() -> None:
    sweep = ratel.sweep(digits(), {"te.latency": "1"}, processes=1)
    with pytest.raises(ratel.InputError, match="a worker has ratel"):
        outcomes(sweep.work, sweep.points, "0.0.9-1234")


@pytest.mark.slow
def test_a_scheduler_that_dies(cluster: Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cluster.add_worker()
    path = tmp_path / "results.parquet"

    def disturb(done: int, total: int) -> None:
        if done == 100:
            cluster.scheduler.kill()

    with pytest.raises(ratel.RatelError, match="is gone"):
        ratel.sweep(digits(), VARY, scheduler=cluster.address, results=path, on_progress=disturb)
    assert "Traceback" not in capfd.readouterr().err
    assert ratel.sweep(digits(), VARY, results=path, processes=1).computed <= 400


@pytest.mark.slow
def test_without_workers_it_waits_and_says_so(cluster: Cluster) -> None:
    late = Timer(3, cluster.add_worker)
    late.start()
    with pytest.warns(ratel.RatelWarning, match="has no workers"):
        assert ratel.sweep(digits(), {"te.latency": "1,2"}, scheduler=cluster.address).computed == 2
    late.join()


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explore.pools.ANSWER_SECONDS", 0.3)
    with pytest.raises(ratel.InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        ratel.sweep(digits(), VARY, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ratel.InputError, match="no Dask scheduler answers at nowhere"):
        ratel.sweep(digits(), VARY, scheduler="nowhere")


@pytest.mark.slow
def test_long_commands_are_shared_out(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()

    def printed(command: str, *words: str) -> str:
        line = [sys.executable, "-m", f"tests.longer.{command}", *words, "--scheduler", cluster.address]
        found = subprocess.run(line, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False)
        return found.stdout + found.stderr

    orders = printed("interleavings", "--programs", "5", "--interleavings", "3")
    assert "5 programs" in orders and "3 interleavings each" in orders and "'equal': " in orders
    mutants = printed("mutations", "--mutants", "20", "--interleavings", "5")
    assert "20 mutants" in mutants and "0 wrong or open" in mutants
    # What is found comes back, with its case.
    n = next(n for n in range(99) if fuzzer("faults").case(random.Random(f"faults 29 {n}")) == "crash")
    fuzzed = printed("fuzz", "--what", "texts:30,faults:1", "--seed", "29", "--first", str(n))
    assert "30 texts" in fuzzed and f"faults {n}: CRASH" in fuzzed and f"--seed 29 --first {n}" in fuzzed
    assert (tmp_path / f"fuzz-faults-29-{n}").read_text() == "crash"
