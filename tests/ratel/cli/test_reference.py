"""`ratel chips` and `manual`."""

import pytest

from ratel.cli.main import main


def test_chips_and_manual(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chips"]) == 0
    shown = capsys.readouterr().out
    assert "hanguang800" in shown and "te.vector_format" in shown
    assert main(["chips", "hanguang800"]) == 0
    assert "assumed" in capsys.readouterr().out
    assert main(["manual", "conv"]) == 0
    assert "conv" in capsys.readouterr().out
    assert main(["manual", "chain"]) == 0
    shown = capsys.readouterr().out
    assert "reciprocal" in shown and "Order and waits" not in shown
