"""programs/qwen: the sum over cards is that of NumPy, and free of races."""

import numpy as np
import pytest

import ratel
from programs.qwen import all_reduce as ring


@pytest.mark.parametrize(("elements", "piece"), [(64, 64), (8 * 40, 10)])
def test_all_cards_have_the_sum(elements: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whole numbers, whose sums are exact in any order; in one piece, and in four of which two are under way.
    monkeypatch.setattr(ring, "PIECE", piece)
    program = ring.all_reduce("m890", elements)
    drawn = np.random.default_rng(0)
    given = {
        symbol.name: drawn.integers(-8, 9, symbol.shape).astype(np.float16) for _, symbol in program.of_kind("input")
    }
    made = ratel.run(program, given).outputs
    assert len(made) == 8 and all(np.array_equal(one, sum(given.values())) for one in made.values())
    assert ratel.check(program).verdict == "proven"


def test_cards_have_as_many_each() -> None:
    with pytest.raises(ratel.InputError, match="63 elements for 8 cards"):
        ring.all_reduce("m890", 63)
