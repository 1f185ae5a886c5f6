"""programs/qwen: the sum over cards is that of NumPy, and free of races; a token reads every weight once."""

import numpy as np
import pytest

import ratel
from programs.qwen import all_reduce as ring
from programs.qwen.__main__ import main
from programs.qwen.decoder import decoder
from programs.qwen.shapes import SHAPES, Shape


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


def weights(shape: Shape) -> int:
    """Return the weights that a token multiplies, from the shape alone."""
    attention = shape.layers // shape.every
    of_queries = shape.heads * shape.head * (2 if shape.gated else 1)
    of_attention = shape.width * (of_queries + (shape.heads + 2 * shape.groups) * shape.head)
    of_delta = shape.width * shape.states * (5 * shape.state + 2)
    of_units = 3 * shape.width * shape.inner
    rest = shape.layers * of_units + shape.width * shape.tokens
    return attention * of_attention + (shape.layers - attention) * of_delta + rest


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_reads_every_weight_once(name: str) -> None:
    shape = SHAPES[name]
    program = decoder(shape, context=1)
    read = next(one.amount for one in ratel.bounds(program, "h20").demands if one.name == "device memory")
    states = (shape.layers - shape.layers // shape.every) * shape.states * shape.state**2 * 4
    # Besides: keys and values of one token, states back and forth, the convolution's window.
    assert 0 <= read - 2 * weights(shape) - 2 * states < 4e6
    assert ratel.time(program).seconds > read / 2.257e12


def test_the_command_shows_chips(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["qwen", "qwen3-32b"])
    assert main() == 0
    shown = capsys.readouterr().out
    assert all(
        part in shown for part in ("zhenwu810e", "scheduled", "a bound, by device memory", "but metax has 64 GB")
    )
    monkeypatch.setattr("sys.argv", ["qwen", "qwen3.5-2b", "--context", "99999"])
    assert main() == 1 and "may have 1 to 25,781" in capsys.readouterr().err
