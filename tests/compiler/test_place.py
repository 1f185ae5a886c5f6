"""Places: apart while they live together, and together no more than there has to be, or nearly."""

from hypothesis import given
from hypothesis import strategies as st

from compiler.fit.place import aligned, greedy
from compiler.steps import Tensor

LIVES = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 6)), min_size=1, max_size=30)


@given(LIVES)
def test_what_lives_together_lies_apart(drawn: list[tuple[int, int, int]]) -> None:
    lives = {Tensor(f"t{k}", "i8", (size,)): (first, first + more) for k, (size, first, more) in enumerate(drawn)}
    places, total = greedy(lives)
    for one, (first, last) in lives.items():
        assert places[one] % 256 == 0 and places[one] + one.bytes <= total
        for other, (begin, end) in lives.items():
            if one is not other and first <= end and begin <= last:
                assert places[one] >= places[other] + other.bytes or places[other] >= places[one] + one.bytes
    least = max(sum(aligned(t.bytes) for t, (a, b) in lives.items() if a <= k <= b) for k in range(27))
    assert least <= total <= sum(aligned(tensor.bytes) for tensor in lives)
