"""The manual: complete, fresh, and with examples that assemble."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from isa.bounds_chip import ROOFLINE_FIELDS
from isa.chip import FIELDS
from isa.dtypes import DTYPES
from isa.manual import example_program, main, manual, section
from isa.operand import MEMORIES
from isa.row import ENGINE_NAMES, ENGINES, TRAPS
from isa.table import MNEMONICS, ROWS
from isa.words import WORD_FORMULAS

ROOT = Path(__file__).parents[2]


def test_docs_hold_the_manual_as_it_is_now():
    assert (ROOT / "docs" / "manual.md").read_text("utf-8") == manual(), "run `python -m isa.manual docs/manual.md`"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_a_section_says_all_that_the_table_does(row):
    text = section(row.mnemonic)
    assert text in manual()
    assert row.meaning in text and row.formula.strip() in text and row.example in text
    assert row.engine not in ENGINES or ENGINE_NAMES[row.engine] in text
    for spec in row.operands:
        assert re.search(
            rf"^\| `{spec.name}`( \(optional\))? \| {spec.access} \|.*{re.escape(spec.meaning)}", text, re.M
        )
    for attribute in row.attributes:
        assert re.search(rf"^\| `{attribute.name}` \|.*{re.escape(attribute.meaning)}", text, re.M)
    for name in ["opcode", *(spec.name for spec in row.operands + row.attributes)]:
        assert re.search(rf"^\| \d+ \| \d+ \| {name} \|", text, re.M)
    for trap in row.traps:
        assert f"`{trap}`: {TRAPS[trap]}" in text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_fields_fill_the_word(row):
    fields = re.findall(r"^\| (\d+) \| (\d+) \| ", section(row.mnemonic).split("Encoded as:")[1], re.M)
    at = 0
    for offset, size in fields:
        assert int(offset) == at
        at += int(size)
    assert at == 64


def test_manual_names_everything():
    text = manual()
    for name in (*MEMORIES, *DTYPES, "fp32", "fp24", "fp19", "(w.t)", "(w.p)", "(w.m)"):
        assert f"`{name}`" in text
    for key in (*FIELDS, *ROOFLINE_FIELDS):
        assert f"| `{key.split('.')[1]}` |" in text
    for spec in MNEMONICS["conv"].choices:
        assert tuple(WORD_FORMULAS[spec.name]) == spec.words


def test_links_lead_somewhere():
    text = manual()
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert links and links <= anchors


def test_tables_have_as_many_cells_as_heads():
    blocks = re.findall(r"(?:^\|.*\n)+", manual(), re.M)
    assert len(blocks) > len(MNEMONICS)
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block


def test_unknown_mnemonics():
    with pytest.raises(KeyError):
        section("convolve")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_examples_assemble(row):
    import ratel

    program = ratel.assemble(example_program(row.mnemonic))
    assert row.mnemonic in [instruction.row.mnemonic for core in program.cores for instruction in core.code]


def test_command_writes_and_checks(tmp_path, capsys):
    path = tmp_path / "manual.md"
    assert main(["--check", str(path)]) == 1
    assert capsys.readouterr().err == f"{path} is stale: run `python -m isa.manual {path}`\n"
    assert main([str(path)]) == 0
    assert path.read_text("utf-8") == manual()
    assert main(["--check", str(path)]) == 0
    path.write_text("old", "utf-8")
    assert main(["--check", str(path)]) == 1
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


def test_command_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "isa.manual", "--check", "docs/manual.md"], cwd=ROOT, check=False)
    assert done.returncode == 0
