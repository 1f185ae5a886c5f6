"""A program, and a command whose JSON is read."""

import json

import pytest

from ratel.cli.main import main

SOURCE = """\
.chip edge
.input  x i8[4, 8] scale=0.5
.output y i8[4, 8] scale=0.25
.local  t i8[2, 4, 8] scale=0.5
loop i, 3
    copy t[i % 2], x
brnz i
eltwise y, t[0], relu
end
"""


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capsys.readouterr().out)
