"""A session: set up once, run again and again on memories that stay."""

import numpy as np
import pytest

import ratel

# `total` grows by x in each task: it stays from one run to the next.
TEXT = """
.input  x i8[4]
.local  total i8[4]
.output y i8[4]

eltwise total, total, add=x
copy y, total
end
"""


def test_runs_take_the_memories_as_the_one_before_left_them() -> None:
    program = ratel.assemble(TEXT, chip="edge")
    ones = np.ones(4, np.int8)
    with ratel.Session(program) as session:
        runs = [session.run({"x": ones}) for _ in range(3)]
        assert [run.outputs["y"].tolist() for run in runs] == [[1] * 4, [2] * 4, [3] * 4]
        assert [run.instructions for run in runs] == [2, 2, 2]
        assert runs[0].cycles == ratel.run(program, {"x": ones}).cycles
    stream = ratel.run(program, {"x": np.ones((3, 4), np.int8)}).outputs["y"]
    np.testing.assert_array_equal(stream, [run.outputs["y"] for run in runs])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_takes_any_number_of_tasks(threads: int) -> None:
    program = ratel.assemble(TEXT, chip="edge")
    one, three = np.ones(4, np.int8), np.ones((3, 4), np.int8)
    with ratel.Session(program, threads=threads, poison=1) as session, ratel.Session(program, tasks=2) as of_two:
        # `total` begins as noise: what it holds has to come along into the longer stream.
        first = session.run({"x": one}).outputs["y"]
        longer = session.run({"x": three})
        assert [longer.outputs["y"].tolist(), longer.plan.tasks] == [[(first + n).tolist() for n in (1, 2, 3)], 3]
        assert longer.cycles == ratel.run(program, {"x": three}).cycles
        shorter = session.run({"x": one})
        assert [shorter.outputs["y"].tolist(), shorter.plan.tasks] == [(first + 4).tolist(), 1]
        assert shorter.cycles == ratel.run(program, {"x": one}).cycles
        with pytest.raises(ratel.InputError, match="input x is missing"):
            session.run()
        # What was refused has left nothing behind.
        assert of_two.run({"x": one}).outputs["y"].tolist() == [[1] * 4, [2] * 4]
        assert of_two.run({"x": three}).outputs["y"].tolist() == [[3] * 4, [4] * 4, [5] * 4]


def test_a_longer_stream_may_reach_further() -> None:
    """Each task has its own part of a table, and the memory of the first task alone is smaller."""
    text = """
.chip edge
.input  x i8[4]
.output y i8[4]
copy i8[4] in lm at 4096 + 4*task, x
copy y, i8[4] in lm at 4096
end
"""
    program = ratel.assemble(text)
    with ratel.Session(program) as session:
        assert session.run({"x": np.full(4, 5, np.int8)}).outputs["y"].tolist() == [5] * 4
        assert (
            session.run({"x": np.arange(12, dtype=np.int8).reshape(3, 4)}).outputs["y"].tolist() == [[0, 1, 2, 3]] * 3
        )


def test_dumps_of_a_session_are_those_of_each_run() -> None:
    program = ratel.assemble(TEXT, chip="edge")
    with ratel.Session(program, dumps=["total"]) as session:
        found = [session.run({"x": np.ones(4, np.int8)}).dumps["total"][0] for _ in range(2)]
    assert found == [1, 2]


def test_a_session_wants_a_program() -> None:
    with pytest.raises(TypeError, match=r"expected a Program, as ratel\.assemble or Program\.load give, not str"):
        ratel.Session(TEXT)  # type: ignore[arg-type]


# Core 1 may trap before the barrier, which core 0 has reached by then.
GATHERED = """
.core 0
.barrier b
.input  a i8[64, 256] = 3
.weight w i8[256, 64] = 2
.output z i8[64, 64]
matmul z, a, w, ew1_scale=s
.const s f32[1] = [0.001]
barrier b, me
end
.core 1
.input  x i8[64, 8] = 1
.input  index i32[4]
.output y i8[4, 8]
gather y, x, index
barrier b, me
end
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_goes_on_after_a_trap(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.execute.predecode.LEAST_SHARED", 0)
    program = ratel.assemble(GATHERED, chip="hanguang800")
    good, bad = (np.array([0, 1, last, 3], np.int32) for last in (2, 99))
    with ratel.Session(program, threads=threads) as session:
        for index in (good, bad, good, bad, good):
            if index is bad:
                with pytest.raises(ratel.Trap, match="99"):
                    session.run({"index": index})
            else:
                assert session.run({"index": index}).outputs["y"].tolist() == [[1] * 8] * 4


@pytest.mark.parametrize("threads", [1, 2])
def test_a_closed_session_says_so(threads: int) -> None:
    session = ratel.Session(ratel.assemble(TEXT, chip="edge"), threads=threads)
    session.close()
    with pytest.raises(ratel.InputError, match="the session is closed"):
        session.run({"x": np.ones(4, np.int8)})


def test_a_session_runs_one_thing_at_a_time() -> None:
    with ratel.Session(ratel.assemble(TEXT, chip="edge")) as session:
        refused = []

        def meanwhile(done: int, total: int) -> None:
            with pytest.raises(ratel.InputError) as caught:
                session.run({"x": np.ones(4, np.int8)})
            refused.append(str(caught.value))

        session.run({"x": np.ones(4, np.int8)}, on_progress=meanwhile)
    assert refused and all("the session is running" in message for message in refused)


def test_dumps_may_be_asked_for_by_what_is_gone_through_once() -> None:
    program = ratel.assemble(TEXT, chip="edge")
    assert set(ratel.run(program, {"x": np.ones(4, np.int8)}, dumps=iter(["total"])).dumps) == {"total"}


@pytest.mark.parametrize("dump", [1, None, b"y"])
def test_dumps_are_asked_for_by_names(dump: object) -> None:
    with pytest.raises(ratel.InputError, match="names no tensor to dump"):
        ratel.run(ratel.assemble(".chip edge\n.output y i8[4]\nfill y\nend\n"), dumps=[dump])


TASK_BY_TASK = """\
.chip edge
.tasks 5
.input x i8[4] buffers=2 = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]]
.local held i8[6, 4]
.output y i8[4] buffers=3
    copy held[task % 5 + 1], x
    eltwise y, held[task % 5 + 1], add=held[0]
    copy held[0], y
end
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_task_by_task(threads: int) -> None:
    """Each on its own inputs or defaults gives what the whole stream does, whose memory it goes on with."""
    program = ratel.assemble(TASK_BY_TASK)
    whole = ratel.run(program, threads=threads, check=False)
    with ratel.Session(program, threads=threads, check=False) as session:
        found = [session.run(task=k) for k in range(5)]
        assert [run.outputs["y"].tolist() for run in found] == whole.outputs["y"].tolist()
        given = np.array([1, 1, 1, 1], np.int8)
        again = session.run({"x": given}, task=3)
        assert again.outputs["y"].shape == (4,) and not again.checks and again.summary()["tasks"] == 1
        assert again.cycles == ratel.time(program, tasks=4).timelines[-1].cycles
        for task in (-1, 5, 1.5, "2"):
            with pytest.raises(ratel.InputError, match=r"no task of the session"):
                session.run(task=task)
        with pytest.raises(ratel.InputError, match="task 1 is one, and the inputs are batches of 2"):
            session.run({"x": np.ones((2, 4), np.int8)}, task=1)
        assert session.run({"x": given}, task=4).outputs["y"].shape == (4,)
