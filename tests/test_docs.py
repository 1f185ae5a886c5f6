"""What the pages say: each file that they, or docstrings, name is there, each link leads somewhere, examples are right.

An example is a block of ```npu: a program, and behind its `end` what it gives, one of these a line:

    ; y = [5, 3, 1]                 an output, to the sign of a zero; `hex:` for its bytes
    ; 61 cycles                     of the whole run
    ; E309, E601                    the errors that it ends in; C502: what `check` finds, and nothing else
    ; trap: overlaps a tensor       words of the trap that it ends in
    ; with memory.lm_blocks=3       numbers of the chip that are set for it

A block of ```python in PYTHON is run, and prints what stands behind the `#` of each `print`.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ratel

ROOT = Path(__file__).parents[1]
ROOMS = ("ratel", "explore", "isa", "compiler", "assembler", "emulator", "programs", "benchmarks", "docs", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("programs/**/*.md")])
PYTHON = [ROOT / "docs/language.md"]
CODE = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# A path from the top: a room, then folders and files. In examples people's own files have no room in front.
NAMED = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})(?:/[\w-]+)*/[\w*-]+(?:\.\w+)?")


def missing(text: str) -> list[str]:
    """Return the paths that a text names and that are not there; `*` stands for any name, NAME for the reader's."""
    return [path for path in NAMED.findall(text) if "NAME" not in path and not any(ROOT.glob(path))]


def docstrings(path: Path) -> str:
    """Return all docstrings of a file, and its comments."""
    text = path.read_text("utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    return "\n".join([*found, *re.findall(r"#.*", text)])


def test_the_guard_sees_what_is_missing() -> None:
    assert missing("see `emulator/timing/costs.py`, isa/rows_*.py and docs/") == []
    assert missing("in `emulator/costs.py`; isa/nothing_*.py") == ["emulator/costs.py", "isa/nothing_*.py"]
    assert len(PAGES) > 20 and len(CODE) > 200


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_are_there(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # It tells of what was.
        assert missing(page.read_text("utf-8")) == []


def test_files_that_docstrings_and_comments_name_are_there() -> None:
    found = {path.relative_to(ROOT).as_posix(): missing(docstrings(path)) for path in CODE if path != Path(__file__)}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(((?!https?:)[^)#\s]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
        to = (page.parent / target).resolve() if target else page
        assert to.exists(), f"{page.name} links to {target}"
        if anchor and to.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", to.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, anchor


def test_the_picture_of_the_house_is_fresh() -> None:
    """An arrow that points up, or a file that is in no layer, ends in an error."""
    done = subprocess.run(
        [sys.executable, "docs/architecture.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs/decisions"
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\((\w+\.md)\)", (folder / "README.md").read_text("utf-8")))
    for page in pages:
        text = (folder / page).read_text("utf-8")
        assert "**Context.**" in text and "**Decision.**" in text and "change our mind.**" in text, page
        assert 10 <= len(text.splitlines()) <= 32, page


def blocks(pages: list[Path], language: str) -> list[tuple[str, str]]:
    """Return (page and line, text) of each block of a language."""
    found = []
    for page in pages:
        text = page.read_text("utf-8")
        for block in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            found.append((f"{page.relative_to(ROOT).as_posix()}:{line}", block[1]))
    return found


def hold(output: np.ndarray, said: str) -> None:
    """Hold an output against what an example says of it: a list, or its bytes."""
    if said.startswith("hex:"):
        assert output.tobytes().hex() == said.removeprefix("hex:")
        return
    expected = np.array(eval(said, {"nan": np.nan, "inf": np.inf}))
    assert output.shape == expected.shape and np.array_equal(output, expected, equal_nan=True), output.tolist()
    numbers = expected == expected
    assert (np.signbit(output) == np.signbit(expected))[numbers].all(), output.tolist()


EXAMPLES = blocks(PAGES, "npu")


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[place for place, _ in EXAMPLES])
def test_an_example_gives_what_it_says(text: str) -> None:
    code, _, said = text.partition("\nend")
    claims = re.findall(r"^; (.*)$", said, re.MULTILINE)
    assert claims, "an example says what it gives"
    numbers = [setting.split("=") for claim in claims if claim.startswith("with ") for setting in claim.split()[1:]]
    for claim in claims:
        if re.fullmatch(r"E\d{3}(, E\d{3})*", claim):
            with pytest.raises(ratel.AssemblyError) as wrong:
                ratel.assemble(code + "\nend")
            assert [found.code for found in wrong.value.diagnostics] == claim.split(", ")
            return
    program = ratel.assemble(code + "\nend")
    chip = ratel.load_chip(program.chip, **{key: float(value) for key, value in numbers})
    for claim in claims:
        name, _, value = claim.partition(" = ")
        if value:
            hold(ratel.run(program, chip=chip).outputs[name], value)
        elif claim.endswith(" cycles"):
            assert f"{ratel.time(program, chip).cycles} cycles" == claim.replace(",", "")
        elif claim.startswith("trap: "):
            with pytest.raises(ratel.Trap, match=claim.removeprefix("trap: ")):
                ratel.run(program, chip=chip)
        elif re.fullmatch(r"C\d{3}(, C\d{3})*", claim):
            assert [found.code for found in ratel.check(program, chip).findings] == claim.split(", ")
        else:
            assert claim.startswith("with "), f"no claim that is known: {claim}"


PRINTING = blocks(PYTHON, "python")


@pytest.mark.parametrize("text", [text for _, text in PRINTING], ids=[place for place, _ in PRINTING])
def test_a_python_example_prints_what_it_says(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = re.findall(r"^\s*print\(.*\)  # (.*)$", text, re.MULTILINE)
    exec(text, {})
    assert said and capsys.readouterr().out.splitlines() == said
