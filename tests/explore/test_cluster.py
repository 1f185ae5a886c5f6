"""Clusters: a scheduler and its workers as real processes; workers die, one joins late, a client is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

import ratel
from tests.explore.programs import DIGITS, digits

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
        self.keep(
            started(
                *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
                *("--no-dashboard", "--scheduler-file", str(self.file)),
            )
        )
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


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explore.pools.ANSWER_SECONDS", 0.3)
    with pytest.raises(ratel.InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        ratel.sweep(digits(), VARY, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ratel.InputError, match="no Dask scheduler answers at nowhere"):
        ratel.sweep(digits(), VARY, scheduler="nowhere")
