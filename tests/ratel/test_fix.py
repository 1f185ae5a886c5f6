"""`check --fix` on programs of many findings: many edits a round, proven once, and a bound to all of it."""

from collections.abc import Callable

import pytest

import ratel
from isa.chip import load_chip
from ratel import fix
from ratel.api import plan_for

RACING = """
.chip hanguang800
.order compiler
.input x i8[1, 2, 2, 16]
.local a i8[1, 2, 2, 16]
.local b i8[1, 2, 2, 16]
.output y i8[1, 2, 2, 16]
copy a, x
{}copy y, a
end
"""
# Of each tile a copy into the memory of another core, which nothing orders with the copy out of it.
TOLD = """
.chip hanguang800
.core 0
.input x i8[4]
{copies}end
.core 1
{tiles}.output y i8[{tiles_of}, 4]
{reads}end
"""


def two_cores(count: int) -> str:
    lines = {
        "copies": "".join(f"copy core1.t{k}, x\n" for k in range(count)),
        "tiles": "".join(f".local t{k} i8[4]\n" for k in range(count)),
        "reads": "".join(f"copy y[{k}], t{k}\n" for k in range(count)),
    }
    return TOLD.format(tiles_of=count, **lines)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted = [0]
    check: Callable = fix.check

    def counting(*of: object) -> object:
        counted[0] += 1
        return check(*of)

    monkeypatch.setattr("ratel.fix.check", counting)
    return counted


def fixed(text: str, semaphores: int = 64) -> fix.Fixed:
    chip = load_chip("hanguang800", sync__semaphores=semaphores)
    return fix.fix(text, "it.npu", lambda text: plan_for(ratel.assemble(text, "it.npu"), chip))


@pytest.mark.parametrize("pairs", [20, 100])
def test_many_races_are_mended_in_a_round(pairs: int, checks: list[int]) -> None:
    found = fixed(RACING.format(pairs * "maxpool b, a, window=1\ncopy a, b\n"))
    assert found.verdict.passed and not found.ended and len(found.done) == 2 * pairs
    assert checks[0] == 2


def test_many_semaphores_are_declared_in_a_round(checks: list[int]) -> None:
    found = fixed(two_cores(6))
    assert found.verdict.passed and len(found.done) == 3 * 6
    names = {line.split()[1] for line in found.text.split("\n") if line.startswith(".semaphore")}
    assert names == {"ready0", *(f"ready0_{k}" for k in range(2, 7))}
    # All at once, and each by itself.
    assert checks[0] == 2 + 6


def test_what_helps_is_found_among_what_does_not() -> None:
    """As many semaphores as the chip has."""
    found = fixed(two_cores(8), semaphores=5)
    assert len(found.verdict.findings) == 3 and found.text.count(".semaphore") == 5


def test_it_ends_by_a_bound(monkeypatch: pytest.MonkeyPatch, checks: list[int]) -> None:
    monkeypatch.setattr("ratel.fix.MOST_WORK", 2_500)
    found = fixed(two_cores(8), semaphores=5)
    # All, which does not help, the first half, and no more.
    assert found.ended and len(found.done) == 3 * 4 and len(found.verdict.findings) == 4
    assert not fixed(two_cores(8)).ended


# Core 0 brings a tile in each iteration, or one for all, and core 1 reads it.
BROUGHT = """
.chip hanguang800
{declared}.core 0
.input x i8[8, 4, 64] = 1
loop i, 8
{before}copy core1.inbox{to}, x[i]
{behind}brnz i
end

.core 1
.local inbox i8[{buffers}4, 64]
.weight w i8[64, 8] = 2
.output y i32[8, 4, 8]
loop i, 8
{wait}matmul y[i], inbox{to}, w
brnz i
end
"""
PLAIN = {"declared": "", "before": "", "behind": "", "wait": "", "to": "", "buffers": ""}
READY = {"declared": ".semaphore ready\n", "behind": "signal ready, me\n", "wait": "wait ready, te\n"}
TWO = {"to": "[i % 2]", "buffers": "2, "}
LOOPS = {
    "nothing is ordered": (PLAIN, 7),
    "two buffers": (PLAIN | TWO, 7),
    "what is brought is waited for": (PLAIN | READY, 4),
    "and there are two buffers": (PLAIN | READY | TWO, 4),
    "but not by what reads it": (PLAIN | READY | {"wait": "wait ready, me\n"}, 5),
    "but not by the signal": (PLAIN | READY | {"behind": "signal ready, te\n"}, 5),
}


@pytest.mark.parametrize("case", LOOPS)
def test_the_loops_of_a_writer_and_a_reader_are_ordered(case: str) -> None:
    """By a signal that it is there, and by one that it is free again; what is there for it is used."""
    parts, edits = LOOPS[case]
    text = BROUGHT.format(**parts)
    found = fixed(text)
    assert found.verdict.passed and len(found.done) == edits, found.done
    assert found.text.count(".semaphore") == 2
    assert (ratel.run(ratel.assemble(found.text)).outputs["y"] == 128).all()


@pytest.mark.parametrize(
    ("signal", "wait", "said"),
    [
        ("me", "me", "but this read, of queue te, does not wait for queue me: add the wait bit `m` in line 11"),
        ("te", "te", "but its signal, of queue te, does not wait for queue me: add the wait bit `m` in line 5"),
        (
            "te",
            "me",
            "in line 5, and this read, of queue te, does not wait for queue me: add the wait bit `m` in line 11",
        ),
    ],
)
def test_a_semaphore_that_lacks_a_wait_bit_is_told_and_mended(signal: str, wait: str, said: str) -> None:
    text = f""".chip hanguang800
.semaphore ready
.core 0
copy core1.inbox, x
signal ready, {signal}
.input x i8[4, 64] = 1
end
.core 1
.local inbox i8[4, 64]
wait ready, {wait}
matmul y, inbox, w
.weight w i8[64, 8] = 2
.output y i32[4, 8]
end
"""
    (race,) = ratel.check(ratel.assemble(text)).findings
    assert race.help.startswith("the semaphore `ready` is there for it, but ") and said in race.help
    found = fixed(text)
    assert found.verdict.passed and len(found.done) == (signal != "me") + (wait != "te")
    assert "ready0" not in found.text
