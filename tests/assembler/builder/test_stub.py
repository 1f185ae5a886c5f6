"""The types of the Builder's instructions: fresh, complete, and of the methods that there are."""

import ast
import inspect
from pathlib import Path

import pytest

import assembler
from assembler.builder.builder import Builder
from assembler.builder.stub import main, stub
from isa.row import Row
from isa.table import ROWS

FILE = Path(assembler.__path__[0]) / "builder" / "instructions.pyi"
INSTRUCTIONS = [row for row in ROWS if row.engine != "seq"]


def methods() -> dict[str, ast.FunctionDef]:
    (instructions,) = (node for node in ast.parse(stub()).body if isinstance(node, ast.ClassDef))
    return {node.name: node for node in instructions.body if isinstance(node, ast.FunctionDef)}


def test_file_holds_the_types_as_they_are_now():
    assert FILE.read_text("utf-8") == stub(), f"run `python -m assembler.builder.stub assembler/builder/{FILE.name}`"


def test_each_instruction_has_a_method():
    assert list(methods()) == [row.mnemonic for row in INSTRUCTIONS]


@pytest.mark.parametrize("row", INSTRUCTIONS, ids=lambda row: row.mnemonic)
def test_a_method_takes_and_says_what_it_does_when_it_runs(row: Row):
    typed, method = methods()[row.mnemonic], getattr(Builder, row.mnemonic)
    _, *parameters = inspect.signature(method).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    named = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert [argument.arg for argument in typed.args.args] == ["self", *positional]
    assert [argument.arg for argument in typed.args.kwonlyargs] == list(named)
    assert all(argument.annotation for argument in [*typed.args.args[1:], *typed.args.kwonlyargs])
    defaults = zip(named, typed.args.kw_defaults, strict=True)
    given = {name: ast.literal_eval(default) for name, default in defaults if default is not None}
    needed = {spec.name for spec in row.attributes if spec.default is None}
    assert given == {name: default for name, default in named.items() if name not in needed}
    assert ast.get_docstring(typed) == inspect.getdoc(method)


def test_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "instructions.pyi"
    assert main([str(path)]) == 0 and main(["--check", str(path)]) == 0
    path.write_text(stub().replace("conv", "convolve"))
    assert main(["--check", str(path)]) == 1 and "is stale: run" in capsys.readouterr().err
    assert main([]) == 2
