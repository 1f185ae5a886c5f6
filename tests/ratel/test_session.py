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


def test_a_session_has_a_number_of_tasks() -> None:
    program = ratel.assemble(TEXT, chip="edge")
    with ratel.Session(program, tasks=2, threads=2) as session:
        assert session.run({"x": np.ones((2, 4), np.int8)}).outputs["y"].tolist() == [[1] * 4, [2] * 4]
        with pytest.raises(ratel.InputError, match="the run has 2 tasks, x is a batch of 3"):
            session.run({"x": np.ones((3, 4), np.int8)})
        with pytest.raises(ratel.InputError, match="input x is missing"):
            session.run()
        # What was refused has left nothing behind.
        assert session.run({"x": np.ones(4, np.int8)}).outputs["y"].tolist() == [[3] * 4, [4] * 4]


def test_dumps_of_a_session_are_those_of_each_run() -> None:
    program = ratel.assemble(TEXT, chip="edge")
    with ratel.Session(program, dumps=["total"]) as session:
        found = [session.run({"x": np.ones(4, np.int8)}).dumps["total"][0] for _ in range(2)]
    assert found == [1, 2]


def test_a_session_wants_a_program() -> None:
    with pytest.raises(TypeError, match=r"expected a Program, as ratel\.assemble or Program\.load give, not str"):
        ratel.Session(TEXT)  # type: ignore[arg-type]
