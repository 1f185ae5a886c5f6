"""Sessions in forked children, and in other threads than the one that opened them."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import emulator.jit.cache
import emulator.precompile
import ratel

# Large enough for walkers to share.
TEXT = """.input x i8[256, 256]
.weight w i8[256, 256] scale=1 = 1
.output y i32[256, 256]
matmul y, x, w
end
"""
X = np.arange(65536, dtype=np.int64).reshape(256, 256).astype(np.int8)
EXPECTED = np.broadcast_to(X.astype(np.int32).sum(axis=1, keepdims=True), (256, 256))


@pytest.fixture
def session():
    with ratel.Session(ratel.assemble(TEXT), threads=2) as session:
        np.testing.assert_array_equal(session.run({"x": X}).outputs["y"], EXPECTED)
        yield session


def in_a_fork(work: Callable[[], bool]) -> bool:
    """Return what work returns in a forked child; False where it does not end."""
    child = os.fork()
    if child == 0:
        right = False
        try:
            right = work()
        finally:
            os._exit(0 if right else 1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def test_a_forked_child_starts_walkers_of_its_own(session: ratel.Session) -> None:
    def runs() -> bool:
        return all(bool((session.run({"x": X}).outputs["y"] == EXPECTED).all()) for _ in range(3))

    assert in_a_fork(runs)
    assert in_a_fork(lambda: in_a_fork(runs))
    assert runs()

    def closes() -> bool:
        session.close()
        return True

    assert in_a_fork(closes)
    assert runs()


def test_a_child_forked_while_a_session_runs_is_not_told_that_it_runs(session: ratel.Session) -> None:
    running = session._session._running
    running.acquire()
    try:
        assert in_a_fork(lambda: bool((session.run({"x": X}).outputs["y"] == EXPECTED).all()))
        with pytest.raises(ratel.InputError, match="the session is running"):
            session.run({"x": X})
    finally:
        running.release()


def test_a_child_forked_while_a_thread_compiles_can_run() -> None:
    program = ratel.assemble(TEXT)
    with emulator.precompile._COMPILING:
        assert in_a_fork(lambda: bool((ratel.run(program, {"x": X}).outputs["y"] == EXPECTED).all()))


def test_processes_of_multiprocessing_use_the_session_of_their_parent(session: ratel.Session) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def work() -> None:
        results.put(int((session.run({"x": X}).outputs["y"] != EXPECTED).sum()))

    processes = [context.Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [0, 0]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


def test_a_session_runs_in_other_threads(session: ratel.Session) -> None:
    found: list[bool] = []

    def work() -> None:
        found.append(bool((session.run({"x": X}).outputs["y"] == EXPECTED).all()))

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
    assert found == [True, True]


def test_a_forked_child_compiles_though_a_thread_of_its_parent_opens_the_cache() -> None:
    program = ratel.assemble(TEXT)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with emulator.jit.cache._ENABLING:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_a_fork(lambda: bool((ratel.run(program, {"x": X}).outputs["y"] == EXPECTED).all()))
    finally:
        done.set()
        thread.join()


def test_a_forked_child_leaves_the_temporary_cache_of_its_parent(tmp_path: Path) -> None:
    def removes() -> bool:
        emulator.jit.cache._remove_own(tmp_path, os.getppid())
        return True

    assert in_a_fork(removes) and tmp_path.exists()
    emulator.jit.cache._remove_own(tmp_path, os.getpid())
    assert not tmp_path.exists()
