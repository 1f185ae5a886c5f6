"""Loops made of steps are those steps again, one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compiler.fit.roll import Item, Loop, rolled
from compiler.steps import Step, Tensor


def unrolled(items: Sequence[Item], turns: dict[int, int]) -> Iterator[tuple[Any, ...]]:
    """Yield each step that items do, with where its operands begin."""
    for item in items:
        if isinstance(item, Loop):
            for turn in range(item.count):
                yield from unrolled(item.body, {**turns, item.height: turn})
        else:
            yield (
                item.mnemonic,
                *(
                    (
                        name,
                        view.tensor,
                        view.offset
                        + sum(
                            stride * (turns[height] % modulus if modulus else turns[height])
                            for height, modulus, stride, _ in view.terms
                        ),
                    )
                    for name, view in item.operands.items()
                ),
            )


def copies(tensor: Tensor, offsets: Sequence[int]) -> list[Step]:
    whole = tensor.view()
    return [Step("fill", {"out": replace(whole, shape=(1,), strides=(1,), offset=k)}, {}, None) for k in offsets]


TENSORS = [Tensor(name, "i8", (64,)) for name in "abc"]


@given(st.data())
def test_rolled_is_the_same(data: Any) -> None:
    steps: list[Step] = []
    for _ in range(data.draw(st.integers(1, 4))):
        body = [data.draw(st.sampled_from(TENSORS)) for _ in range(data.draw(st.integers(1, 3)))]
        begins = [data.draw(st.integers(0, 9)) for _ in body]
        strides = [data.draw(st.sampled_from((0, 1, 2, -1))) for _ in body]
        moduli = [data.draw(st.sampled_from((0, 0, 2, 3))) for _ in body]
        for outer in range(data.draw(st.integers(1, 4))):
            for turn in range(data.draw(st.integers(1, 6))):
                for tensor, begin, stride, modulus in zip(body, begins, strides, moduli):
                    at = turn % modulus if modulus else turn
                    steps += copies(tensor, [20 + begin + stride * at + outer * (stride + 1)])
    items = rolled(steps)
    assert list(unrolled(items, {})) == list(unrolled(steps, {}))


def test_what_repeats_is_a_loop() -> None:
    (loop,) = rolled(copies(TENSORS[0], range(0, 20, 2)))
    assert isinstance(loop, Loop) and loop.count == 10
    (loop,) = rolled(copies(TENSORS[0], [0, 8] * 4))
    assert isinstance(loop, Loop) and loop.count == 8
    rows = [step for row in range(5) for step in (*copies(TENSORS[0], range(8)), *copies(TENSORS[1], [row]))]
    (loop,) = rolled(rows)
    assert isinstance(loop, Loop) and loop.height == 2 and len(loop.body) == 2
