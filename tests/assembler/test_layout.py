"""Placement, without text: a builder of programs uses it the same way."""

from hypothesis import given
from hypothesis import strategies as st

from assembler.layout import Request, place
from isa.operand import PLACEMENT_ALIGNMENT

SIZES = {"lm": 2**20, "cb": 4096, "host": 2**32, "dev": 0}


def test_tensors_follow_each_other_aligned() -> None:
    wanted = (("a", "lm", 100), ("b", "lm", 300), ("c", "cb", 4), ("d", "lm", 1))
    requests = [Request(name, memory, size, 1) for name, memory, size in wanted]
    layout = place(requests, SIZES, "chip")
    assert layout.addresses == {"a": 0, "b": 256, "c": 0, "d": 768}
    assert layout.ends == {"lm": 769, "cb": 4}
    assert layout.problems == []


def test_fixed_ranges_are_stepped_over() -> None:
    requests = [Request("a", "lm", 256, 1), Request("f", "lm", 10, 1, at=300), Request("b", "lm", 256, 1)]
    assert place(requests, SIZES, "chip").addresses == {"a": 0, "f": 300, "b": 512}


def test_aliases_lie_in_their_tensor() -> None:
    requests = [Request("a", "lm", 1000, 1), Request("b", "lm", 100, 4, at=400, base="a"), Request("c", "lm", 4, 1)]
    layout = place(requests, SIZES, "chip")
    assert layout.addresses == {"a": 0, "b": 400, "c": 1024}
    beyond = place([*requests, Request("d", "lm", 8, 1, at=1000, base="a")], SIZES, "chip")
    assert [(problem.place, problem.code) for problem in beyond.problems] == [("d", "base")]


def test_a_full_memory_shows_its_map() -> None:
    requests = [Request("a", "cb", 4000, 4), Request("b", "cb", 400, 4), Request("c", "cb", 1, 1)]
    (problem,) = place(requests, SIZES, "tiny").problems
    assert (problem.place, problem.code) == ("b", "full")
    assert "tiny has 4,096 bytes" in problem.message
    assert [line.split() for line in problem.help.splitlines()[1:3]] == [
        ["0x0000", "4,000", "a"],
        ["0x1000", "400", "b", "<-", "does", "not", "fit"],
    ]
    assert "96 bytes" in problem.help


def test_a_memory_that_is_not_there() -> None:
    (problem,) = place([Request("a", "dev", 4, 4)], SIZES, "chip").problems
    assert problem.code == "lacking"


def test_constants_share_no_bytes_with_data() -> None:
    def kinds(first: str, second: str, at: int) -> list[str]:
        requests = [Request("a", "lm", 64, 1, at=0, data=first), Request("b", "lm", 64, 1, at=at, data=second)]
        return [problem.code for problem in place(requests, SIZES, "chip").problems]

    assert kinds("constant", "constant", 63) == ["overlap"]
    assert kinds("constant", "input", 10) == ["overlap"]
    assert kinds("input", "constant", 10) == ["overlap"]
    assert kinds("input", "input", 10) == []
    assert kinds("constant", "", 10) == []
    assert kinds("constant", "constant", 64) == []


@given(st.lists(st.tuples(st.integers(1, 2000), st.sampled_from((None, None, 0, 100, 512, 4000))), max_size=12))
def test_free_tensors_overlap_nothing(wanted: list[tuple[int, int | None]]) -> None:
    requests = [Request(f"t{k}", "lm", size, 1, at=at) for k, (size, at) in enumerate(wanted)]
    addresses = place(requests, SIZES, "chip").addresses
    for request in requests:
        start = addresses[request.name]
        if request.at is not None:
            assert start == request.at
            continue
        assert start % PLACEMENT_ALIGNMENT == 0
        for other in requests:
            low = addresses[other.name]
            assert other is request or low + other.bytes <= start or start + request.bytes <= low
