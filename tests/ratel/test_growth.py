"""Tensors that grow with the task: what runs, takes and is proven, against the program that computes all and masks."""

from dataclasses import replace

import numpy as np
import pytest

import ratel
from isa.object_file import from_bytes, to_bytes
from isa.operand import Growth

# A decoder's attention, of one head: keys and values of the tokens so far, one more a task.
HEAD = """
.chip zhenwu810e
.tasks 7
.input  q f16[1, 8]
.input  kv f16[2, 1, 8]
.output y f16[1, 8]
.local  keys f16[5, 8]
.local  values f16[5, 8]
.local  scores f32[1, 5]
.local  share f16[1, 5]
.local  peak f32[1, 1]
.local  total f32[1, 1]
.local  part f32[1, 1]
"""
GROWING = f"""{HEAD}
copy keys[task % 5], kv[0, 0]
copy values[task % 5], kv[1, 0]
matmul scores[:, : task % 5 + 1], q, keys[: task % 5 + 1], transpose_w
reduce peak, scores[:, : task % 5 + 1], max
eltwise share[:, : task % 5 + 1], scores[:, : task % 5 + 1], sub=peak, exp
reduce total, share[:, : task % 5 + 1], sum
eltwise part, total, reciprocal
matmul y, share[:, : task % 5 + 1], values[: task % 5 + 1], mul=part
end
"""
PADDED = f"""{HEAD.replace("keys f16[5", "keys f16[10").replace("values f16[5", "values f16[10")}
.weight ahead f32[5, 5] = [
    [0, -1e30, -1e30, -1e30, -1e30], [0, 0, -1e30, -1e30, -1e30], [0, 0, 0, -1e30, -1e30], [0, 0, 0, 0, -1e30],
    [0, 0, 0, 0, 0]]
copy keys[task % 5], kv[0, 0]
copy values[task % 5], kv[1, 0]
fill keys[task % 5 + 1 : +5], value=0
fill values[task % 5 + 1 : +5], value=0
matmul scores, q, keys[:5], transpose_w, add=ahead[task % 5 : +1]
reduce peak, scores, max
eltwise share, scores, sub=peak, exp
reduce total, share, sum
eltwise part, total, reciprocal
matmul y, share, values[:5], mul=part
end
"""


@pytest.fixture(scope="module")
def growing() -> ratel.Program:
    return ratel.assemble(GROWING)


def inputs(tasks: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"q": (tasks, 1, 8), "kv": (tasks, 2, 1, 8)}
    return {name: rng.normal(0, 1, shape).astype(np.float16) for name, shape in shapes.items()}


def test_results_are_those_of_the_padded_program(growing: ratel.Program) -> None:
    given = inputs(7)
    found = ratel.run(growing, given).outputs["y"]
    assert np.array_equal(found, ratel.run(ratel.assemble(PADDED), given).outputs["y"])
    assert np.array_equal(found, ratel.run(growing, given, threads=2).outputs["y"])
    session = ratel.Session(growing)
    for task in range(7):
        one = session.run({name: value[task] for name, value in given.items()}, task=task)
        assert np.array_equal(one.outputs["y"], found[task])


def test_each_task_takes_what_its_sizes_take(growing: ratel.Program) -> None:
    """Five tasks of five sizes, and the sixth like the first."""
    stream = ratel.time(growing)
    read = [sum(cost.read for cost in timeline.costs[0].values()) for timeline in stream.timelines]
    # Keys and values are 16 bytes each a token; scores and shares, 4 and 2, pass six ports.
    assert len(read) == 5 and len(set(np.diff(read))) == 1 and read[1] - read[0] >= 32
    fixed = ratel.assemble(GROWING.replace("task % 5 + 1", "3"))
    assert ratel.time(fixed, tasks=1).cycles == stream.timelines[2].cycles
    bounds = ratel.bounds(growing, "a800")
    assert bounds.demands[2].amount == sum(2 * 2 * 8 * (task % 5 + 1) for task in range(7))


def test_it_is_proven(growing: ratel.Program) -> None:
    verdict = ratel.check(growing)
    assert verdict.passed and not verdict.findings
    early = GROWING.replace("copy values[task % 5], kv[1, 0]\n", "")
    assert [finding.code for finding in ratel.check(ratel.assemble(early)).findings] == ["C401"]


def test_text_and_object_come_back(growing: ratel.Program) -> None:
    assert from_bytes(to_bytes(growing)) == growing
    text = ratel.disassemble(growing)
    assert "keys[0 : 1 + task % 5]" in text
    assert ratel.assemble(text).cores[0].code == growing.cores[0].code
    raw = ratel.assemble(".chip edge\n.output y i8[5]\ncopy y[:task % 5 + 1], i8[1 + task % 5] in lm at 64\nend")
    assert raw.cores[0].code[0].operands[1].growth == (0, 5, 1)
    assert ratel.assemble(ratel.disassemble(raw)).cores[0].code == raw.cores[0].code


def test_from_python(growing: ratel.Program) -> None:
    b = ratel.Builder(chip="zhenwu810e", tasks=7)
    x, y = b.input("x", "f16", (1, 8)), b.output("y", "f16", (5, 8))
    b.copy(y[: b.task % 5 + 1], b.local("k", "f16", (5, 8))[: b.task % 5 + 1])
    assert b.build().cores[0].code[0].operands[0].growth == (0, 5, 1) and x is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("copy y[: task + 1], x[: task + 1]", "number of tasks is not known here|changes with a counter"),
        ("copy y[: task % 9 + 1], x[: task % 9 + 1]", "has 5 elements in dimension 0, but this is 0 : 9"),
        ("copy y[: task % 5 + 1], x", "in task"),
        ("copy y[: task % 5 + 1], x[: task % 4 + 1]", "grows with the task modulo"),
        ("copy y[: task % 3 + 1], x[: task % 3 * 2 + 1]", "in task 1"),
        ("maxpool z, w[:, : task % 2 + 1], window=1", "which maxpool does not take"),
        ("loop i, 3\ncopy y[: i + 1], x[: i + 1]\nbrnz i", "changes with a counter"),
    ],
)
def test_what_is_wrong_is_said(line: str, message: str) -> None:
    declared = ".chip edge\n.input x i8[5]\n.output y i8[5]\n.input w i8[1, 2, 2, 4]\n.output z i8[1, 2, 2, 4]\n"
    with pytest.raises(ratel.AssemblyError, match=message):
        ratel.assemble(f"{declared}{line}\nend\n")


@pytest.mark.parametrize("growth", [(0, 0, 1), (0, 1, 1), (0, 5, 0), (1, 5, 1), (0, 2**16, 1)])
def test_growth_that_no_text_says_is_refused(growth: tuple[int, int, int], growing: ratel.Program) -> None:
    code = growing.cores[0].code
    out = code[0].operands[0]
    assert out is not None
    broken = replace(code[0], operands=(replace(out, growth=Growth(*growth)), *code[0].operands[1:]))
    program = replace(growing, cores=(replace(growing.cores[0], code=(broken, *code[1:])),))
    with pytest.raises(ratel.Trap, match="impossible growth"):
        ratel.time(program)
