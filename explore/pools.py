"""Where points are computed: in this process, in processes of this computer, on a cluster, all by `evaluate`.

Processes of this computer are a cluster of their own, with a scheduler in this process: what holds of one holds of the
other. Whoever can speak to these can have them run what he likes, so they speak TLS, with a certificate of this sweep
alone: no other user has it.

A worker gets the work once, from the scheduler or from another worker, and keeps it, and what is worked out of
it whichever chip it is loaded for. What a worker had not given back as it died is computed by another. A piece that
has ended its workers again and again is cut up, until the point that does so stands alone, and has that as its error.
"""

import logging
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, Protocol
from warnings import catch_warnings, simplefilter

from explore.evaluate import ROOT, Outcome, Work, outcome, version
from explore.extras import package
from explore.space import Point
from isa.errors import InputError, RatelError, RatelWarning, warn_outside

# Assumed: what is left is worth processes, which take some seconds to start; how long a piece takes, which costs a
# thousandth of a second to send; how many points it has at most; how many pieces for each thread are under way.
WORTH_SECONDS, PIECE_SECONDS, MOST_IN_PIECE, AHEAD = 10.0, 0.5, 1000, 3
HERE = "127.0.0.1"
# Seconds until a scheduler has answered; between two looks at who is there.
ANSWER_SECONDS, LOOK_SECONDS = 10, 1.0


class Pool(Protocol):
    """Where points are computed. A context manager: what it has started ends with it."""

    def __enter__(self) -> "Pool": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def compute(self, points: Sequence[Point], left: int) -> Iterator[tuple[int, Outcome]]:
        """Yield the place and the outcome of each point, in any order; so many are `left`, these among them."""
        ...


def pool_for(work: Work, processes: int | None, scheduler: str | None) -> Pool:
    """Return the pool that is asked for: a cluster by its address, else so many processes of this computer.

    By default they are as many as it has cores, and are started once they are worth it. Raises InputError.
    """
    if scheduler is not None and processes is not None:
        raise InputError("processes are of this computer, and the scheduler has its own", "give one of them")
    if scheduler is not None:
        return Workers(work, scheduler)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = cores if processes is None else processes
    return Local(work, wanted, WORTH_SECONDS if processes is None else 0.0)


class Local:
    """This process, and once what is left takes it more than `worth` seconds, so many processes of this computer."""

    def __init__(self, work: Work, processes: int, worth: float) -> None:
        self._work, self._processes, self._worth = work, processes, worth
        self._stack = ExitStack()
        self._workers: Workers | None = None
        self._took, self._done = 0.0, 0

    def __enter__(self) -> "Local":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def compute(self, points: Sequence[Point], left: int) -> Iterator[tuple[int, Outcome]]:
        for place, point in enumerate(points):
            if self._workers is None and self._is_worth(left - place):
                self._workers = self._stack.enter_context(Workers(self._work, None, self._processes))
            if self._workers is not None:
                for later, found in self._workers.compute(points[place:], left - place):
                    yield place + later, found
                return
            found = outcome(self._work, point)
            # The first is slow: what is loaded and worked out by it, the others find.
            self._took, self._done = (self._took + found.took, self._done + 1) if self._done else (0.0, 1)
            yield place, found

    def _is_worth(self, left: int) -> bool:
        if self._processes == 1 or left < 2:
            return False
        if not self._worth:
            return True
        return self._done > 1 and left * self._took / (self._done - 1) > self._worth


class Workers:
    """The workers of a Dask scheduler: that at an address, or one of our own with so many processes."""

    def __init__(self, work: Work, address: str | None, processes: int = 0) -> None:
        self._work, self._address, self._processes = work, address, processes
        self._stack = ExitStack()
        self._seconds, self._threads, self._looked = 0.0, 1, 0.0
        # Whether it was said that there are no workers; of our own there are, soon.
        self._waits = address is None

    def __enter__(self) -> "Workers":
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _begin(self) -> None:
        self._dask = package("distributed", "points are computed in several processes")
        self._stack.enter_context(_quiet())
        address, security = self._address, None
        if address is None:
            package("cryptography", "processes of this computer know each other")
            security = self._dask.Security.temporary()
            # Neither are there pages for a browser, which anybody could open.
            with package("dask.config", "points are computed in several processes").set(
                {"distributed.scheduler.http.routes": []}
            ):
                cluster = self._dask.LocalCluster(
                    n_workers=0,
                    processes=True,
                    host=HERE,
                    protocol="tls",
                    security=security,
                    dashboard_address=f"{HERE}:0",
                    silence_logs="CRITICAL",
                )
            self._stack.enter_context(cluster)
            address = cluster.scheduler_address
            self._stack.callback(_end, _start(address, self._processes, security))
        try:
            # Without one of our own it is what Dask's settings say.
            self._client = self._dask.Client(address, timeout=ANSWER_SECONDS, set_as_default=False, security=security)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address}: {' '.join(str(error).split())}",
                "`dask scheduler` starts one, and prints its address; `dask worker ADDRESS` gives it a worker",
            ) from None
        self._stack.callback(self._client.close, 5)
        blob = pickle.dumps(self._work, pickle.HIGHEST_PROTOCOL)
        with catch_warnings():
            # That it is large: it goes once.
            simplefilter("ignore")
            # A task, and no mere data: when the workers that hold it have died, the scheduler has it made anew.
            self._shared = self._client.submit(pickle.loads, blob, pure=False)

    def compute(self, points: Sequence[Point], left: int) -> Iterator[tuple[int, Outcome]]:
        waiting = deque(range(len(points)))
        pieces: dict[Any, list[int]] = {}
        alone = deque[int]()
        try:
            while waiting or alone or pieces:
                while (waiting or alone) and len(pieces) < AHEAD * self._count_threads():
                    places = [alone.popleft()] if alone else self._cut(waiting)
                    piece = [points[place] for place in places]
                    task = self._client.submit(outcomes, self._shared, piece, self._work.version, pure=False, retries=0)
                    pieces[task] = places
                for task in self._finished(list(pieces)):
                    places = pieces.pop(task)
                    try:
                        found = task.result()
                    except Exception as error:
                        if not self._has_ended_workers(error):
                            raise
                        if len(places) > 1:
                            alone.extend(places)
                            continue
                        found = [Outcome({}, "it ended the process that computed it, again and again")]
                    self._seconds = max(sum(one.took for one in found) / len(found), 1e-6)
                    yield from zip(places, found, strict=True)
        finally:
            with suppress(Exception):
                self._client.cancel(list(pieces))

    def _cut(self, waiting: deque[int]) -> list[int]:
        """Take the places of a piece: of one point as long as nothing is known of the time that they take."""
        fair = len(waiting) // (2 * self._threads) + 1
        wanted = int(PIECE_SECONDS / self._seconds) if self._seconds else 1
        return [waiting.popleft() for _ in range(min(max(1, min(wanted, fair, MOST_IN_PIECE)), len(waiting)))]

    def _count_threads(self) -> int:
        if monotonic() - self._looked > LOOK_SECONDS:
            self._looked = monotonic()
            self._threads = max(1, sum(self._asked().values()))
        return self._threads

    def _finished(self, tasks: Sequence[Any]) -> list[Any]:
        """Return tasks that are done, of which there is one at least."""
        while True:
            with suppress(TimeoutError):
                # A cancelled one is done, too.
                with suppress(self._dask.CancelledError), self._client.as_current():
                    self._dask.wait(tasks, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
                if done := [task for task in tasks if task.done()]:
                    return done
            if not self._asked() and not self._waits:
                self._waits = True
                where = self._address or "this computer"
                warn_outside(RatelWarning(f"{where} has no workers (`dask worker ADDRESS` is one): waiting for some"))

    def _asked(self) -> dict[str, int]:
        """Return the threads of each worker by its address; raise RatelError where the scheduler is gone."""
        try:
            if self._client.status not in ("running", "connecting"):
                raise OSError(self._client.status)
            return dict(self._client.nthreads())
        except (OSError, TimeoutError, ValueError) as error:
            raise self._gone() from error

    def _gone(self) -> RatelError:
        return RatelError(
            f"the Dask scheduler at {self._address or 'this computer'} is gone",
            "what was computed is kept where `-o` says: run the same again, and it goes on",
        )

    def _has_ended_workers(self, error: Exception) -> bool:
        """Return whether a piece was given up since its workers died; raise what is wrong with all of them."""
        if isinstance(error, self._dask.KilledWorker):
            return True
        if isinstance(error, self._dask.CancelledError):
            raise self._gone() from error
        if isinstance(error, ImportError):
            raise InputError(
                f"a worker cannot compute it ({error})", "each needs the same: pip install 'ratel-npu[explore]'"
            ) from error
        return False


def outcomes(work: Work, points: Sequence[Point], expected: str) -> list[Outcome]:
    """Return what becomes of points, on a worker; raise InputError where its ratel is another."""
    here = version(bool(work.network))
    if here != expected:
        raise InputError(f"a worker has ratel {here}, and this is {expected}", "install the same on all of them")
    return [outcome(work, point) for point in points]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from printing what becomes of connections: that is said in our words, or mended without any."""
    names = [name for name in logging.root.manager.loggerDict if f"{name}.".startswith("distributed.")]
    loud = [log for name in names if not (log := logging.getLogger(name)).disabled]
    for log in loud:
        log.disabled = True
    try:
        yield
    finally:
        for log in loud:
            log.disabled = False


def _start(address: str, processes: int, security: Any) -> "subprocess.Popen[bytes]":
    """Start so many processes that work for a scheduler; what is ended by Ctrl-C is this process, and then they are."""
    known = security.get_tls_config_for_role("worker")
    settings = {"REQUIRE_ENCRYPTION": "True", "TLS__CA_FILE": known["ca_file"]}
    settings |= {f"TLS__WORKER__{part.upper()}": known[part] for part in ("cert", "key")}
    of_dask = {f"DASK_DISTRIBUTED__COMM__{name}": value for name, value in settings.items()}
    of_dask["DASK_DISTRIBUTED__WORKER__HTTP__ROUTES"] = of_dask["DASK_DISTRIBUTED__NANNY__HTTP__ROUTES"] = "[]"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # A session of their own, and no script of the caller's that would be run again, as spawned processes have it.
    words = ["--nworkers", str(processes), "--nthreads", "1", "--host", HERE, "--dashboard-address", f"{HERE}:0"]
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, *words, "--death-timeout", "60"],
        env={**os.environ, **of_dask, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end(started: "subprocess.Popen[bytes]") -> None:
    started.terminate()
    try:
        started.wait(10)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
