"""tests/longer/kills.py for some seconds, and that it finds who does not write whole."""

from pathlib import Path

import pytest

from tests.longer.kills import Found, Kill, kinds, run_kind


@pytest.fixture(scope="module")
def known() -> dict[str, Kill]:
    return kinds()


def killed(kill: Kill, what: str, times: int) -> None:
    found = Found()
    run_kind(what, kill, times, 3, found)
    assert found.broken == [] and found.seen.total() == 2 * times


@pytest.mark.parametrize("what", ["asm", "fmt"])
def test_what_is_written_is_whole(what: str, known: dict[str, Kill]) -> None:
    killed(known[what], what, 3)


@pytest.mark.slow
def test_what_every_command_writes_is_whole(known: dict[str, Kill]) -> None:
    for what, kill in known.items():
        killed(kill, what, 10)


def in_place() -> int:
    for _ in range(3):
        with Path("t").open("wb") as file:
            for _ in range(200):
                file.write(b"new")
                file.flush()
    return 0


def by_a_fixed_name() -> int:
    Path("t.part").write_bytes(b"new")
    Path("t.part").replace("t")
    return 0


@pytest.mark.parametrize(
    ("writer", "said"), [(in_place, "neither old nor new"), (by_a_fixed_name, "its name can be guessed")]
)
def test_who_does_not_write_whole_is_found(writer: object, said: str) -> None:
    found = Found()
    run_kind("wrong", Kill((writer, writer), {"t": b"old"}), 10, 1, found)  # type: ignore[arg-type]
    assert any(said in broken for broken in found.broken)
