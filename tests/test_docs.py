"""What the pages say of our own files: each that they, or docstrings, name is there; each link leads somewhere."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ratel", "isa", "assembler", "emulator", "programs", "benchmarks", "docs", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("programs/**/*.md")])
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
