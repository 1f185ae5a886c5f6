"""What commands cost, in calls of functions, for programs of n lines and of 4 n: some four times as much."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ratel.cli.main import main

HEAD = """
.chip hanguang800
.order {order}
.input x i8[1, 2, 2, 16]
.local a i8[1, 2, 2, 16]
.local b i8[1, 2, 2, 16]
.output y i8[1, 2, 2, 16]
"""


def straight(n: int, order: str = "compiler") -> str:
    body = n // 2 * "(w.m) maxpool b, a, window=1\n(w.p) copy a, b\n"
    return f"{HEAD.format(order=order)}copy a, x\n{body}(w.p) copy y, a\nend\n"


def racing(n: int) -> str:
    return straight(n).replace("(w.m) ", "").replace("(w.p) ", "")


def tensors(n: int, order: str = "compiler") -> str:
    chain = ["x", *(f"t{k}" for k in range(n)), "y"]
    moves = ("(w.p) copy {}, {}\n", "(w.m) maxpool {}, {}, window=1\n")
    body = "".join(moves[k % 2].format(to, of) for k, (of, to) in enumerate(pairwise(chain)))
    declared = "".join(f".local t{k} i8[1, 2, 2, 16]\n" for k in range(n))
    return f"{HEAD.format(order=order)}{declared}{body}end\n"


def constants(n: int) -> str:
    lines = [f".weight w{k} i8[4, 4] scale=0.5 = 1\n.const c{k} i32[4] = 3\n" for k in range(n // 2)]
    products = [f"matmul y{k % 2}, x, w{k}, bias=c{k}\n" for k in range(n // 2)]
    head = ".chip hanguang800\n.input x i8[1, 4] scale=0.5\n.output y0 f32[1, 4]\n.output y1 f32[1, 4]\n"
    return head + "".join(lines) + "".join(products) + "end\n"


def unwritten(n: int) -> str:
    return (
        ".chip hanguang800\n"
        + "".join(f".local t{k} i8[4]\n.local u{k} i8[4]\n" for k in range(n // 2))
        + "".join(f"copy u{k}, t{k}\n" for k in range(n // 2))
        + ".output y i8[4]\nfill y, value=0\nend\n"
    )


def loops(n: int) -> str:
    body = "".join(f"loop i{k}, 3\n(w.p) copy a, x\n(w.m) maxpool y, a, window=1\nbrnz i{k}\n" for k in range(n // 4))
    return f"{HEAD.format(order='compiler')}{body}end\n"


def macros(n: int) -> str:
    macro = ".macro both to, of\n(w.p) copy a, \\of\n(w.m) maxpool \\to, a, window=1\n.endmacro\n".replace("\\", "")
    return HEAD.format(order="hardware") + macro + n // 2 * "both y, x\n" + "end\n"


def cores(n: int) -> str:
    head = ".chip hanguang800\n.semaphore full\n.semaphore free\n"
    first = ".core 0\n.input x i8[4]\n" + n // 6 * "copy core1.b, x\nsignal full, me\nwait free, me\n" + "end\n"
    second = ".core 1\n.local b i8[4]\n.output y i8[4]\n" + n // 6 * "wait full, me\ncopy y, b\nsignal free, me\n"
    return head + first + second + "end\n"


def outputs(n: int) -> str:
    lines = "".join(f".input x{k} i8[4]\n.output y{k} i8[4]\n" for k in range(n // 2))
    return ".chip hanguang800\n" + lines + "".join(f"copy y{k}, x{k}\n" for k in range(n // 2)) + "end\n"


def idle_waits(n: int) -> str:
    head = ".chip hanguang800\n.order compiler\n.output y i8[4]\n"
    declared = "".join(f".local t{k} i8[1, 1, 1, 16]\n.local u{k} i8[1, 1, 1, 16]\n" for k in range(n // 2))
    body = "".join(f"(w.m) fill t{k}, value=2\n(w.p) fill u{k}, value=1\n" for k in range(n // 2))
    return f"{head}{declared}{body}fill y, value=1\nend\n"


TEXTS: dict[str, Callable[[int], str]] = {
    "straight": straight,
    "straight, hardware": lambda n: straight(n, "hardware"),
    "racing": racing,
    "tensors": tensors,
    "tensors, hardware": lambda n: tensors(n, "hardware"),
    "constants": constants,
    "unwritten": unwritten,
    "loops": loops,
    "macros": macros,
    "cores": cores,
    "outputs": outputs,
    "idle waits": idle_waits,
}
COMMANDS = {
    "asm": ["-o", "OUT"],
    "time": [],
    "check": [],
    "check --fix": [],
    "check --waits": [],
    "annotate": [],
    "report": ["-o", "OUT"],
}


def calls(command: str, path: Path, out: Path) -> int:
    counted = 0

    def count(frame: FrameType, event: str, of: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    verb, *options = command.split()
    arguments = [str(out) if word == "OUT" else word for word in (*options, *COMMANDS[command])]
    sys.setprofile(count)
    try:
        # Findings end in 1.
        assert main([verb, str(path), *arguments]) <= (verb == "check")
    finally:
        sys.setprofile(None)
    return counted


# Those that run each time; all of them are slow together.
QUICK = {("tensors", "check"), ("tensors", "annotate"), ("racing", "check"), ("racing", "check --fix")}
QUICK |= {("straight", "check --waits"), ("idle waits", "check --waits")}
ALL = [
    pytest.param(name, command, marks=() if (name, command) in QUICK else pytest.mark.slow)
    for name in TEXTS
    for command in COMMANDS
]


@pytest.mark.parametrize(("name", "command"), ALL)
def test_four_times_the_lines_are_some_four_times_the_work(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if (name, command) == ("loops", "check --waits"):
        # Each bit in a loop is tried, up to a bound that everything counts for.
        monkeypatch.setattr("emulator.checker.synchronisation.MOST_WALKED", 2_000)
    path, out = tmp_path / "it.npu", tmp_path / ("it.npo" if command == "asm" else "it.html")
    few, many = 120, 480
    found = []
    # The first compiles and imports.
    for lines in (few, few, many):
        path.write_text(TEXTS[name](lines))
        found.append(calls(command, path, out))
    assert found[2] < 4.6 * found[1], f"{found[1]:,} calls, {found[2]:,} for four times as much"
