"""Walls that no import shows: what a wing has and says, what is in the wheel, and what mypy looks at."""

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ratel", "explore", "isa", "compiler", "assembler", "emulator")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PACKAGES = [path.parent for path in FILES if path.name == "__init__.py"]
WINGS = [folder for folder in PACKAGES if folder.parent == ROOT / "emulator"]
GRAMMAR = ROOT / "assembler/syntax/grammar.lark"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]

MOST_FILES = 12
# Its files are alike, one for each kind of instruction, and beside them what those share.
ALIKE = {"kernels"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def stems(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.glob("*.py")) if not path.stem.startswith("__")]


def test_the_guards_see_rooms_and_wings() -> None:
    assert {folder.name for folder in WINGS} >= {"jit", "plan", "kernels", "execute", "timing", "checker", "explain"}
    assert len(FILES) > 140 and {name(folder) for folder in PACKAGES} >= {*ROOMS, "assembler/syntax", "ratel/cli"}


def test_every_file_says_what_it_is_for() -> None:
    assert [name(path) for path in FILES if not docstring(path)] == []


def test_every_folder_with_code_is_a_package() -> None:
    assert {path.parent for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize("folder", PACKAGES, ids=name)
def test_a_package_names_its_files(folder: Path) -> None:
    """In the order in which data passes them; the picture of the house takes it from there."""
    if folder in (ROOT / "ratel", ROOT / "ratel/testing"):
        return  # What users import: these speak of their names, not of files.
    named = set(re.findall(r"`(\w+)`", docstring(folder / "__init__.py")))
    assert [stem for stem in stems(folder) if stem not in named] == []


def test_stems_of_the_emulator_are_unique() -> None:
    """numba names its index files after a folder and a stem, and tracebacks and tables after a stem alone."""
    times = Counter(path.stem for path in FILES if name(path).startswith("emulator/"))
    assert [stem for stem, count in times.items() if count > 1 and stem != "__init__"] == []


@pytest.mark.parametrize("wing", WINGS, ids=name)
def test_a_wing_can_be_taken_in_at_a_glance(wing: Path) -> None:
    assert wing.name in ALIKE or len(stems(wing)) <= MOST_FILES


# Who opens files besides isa/files.py and the cache: the parser its grammar, a terminal that is closed, and memory what
# the system says of itself.
OPENERS = {"isa/files.py", "isa/memory.py", "assembler/syntax/parser.py", "ratel/show/terminal.py"}
OPENING = {"read_text", "read_bytes", "write_text", "write_bytes", "memmap", "fromfile", "tofile"}
# Ours have methods of these names, too.
OF_MODULES = {f"{module}.{function}" for module in ("np", "os", "io") for function in ("open", "load", "save", "savez")}


def test_files_are_opened_in_one_place() -> None:
    """And hence by its rules: which may be read, and how one is written."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        for call in (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
            words = ast.unparse(call.func)
            opens = words == "open" or words in OF_MODULES or (words.startswith("Path(") and words.endswith(".open"))
            if opens or words.rpartition(".")[1:] in {(".", word) for word in OPENING}:
                found.setdefault(name(path), set()).add(words)
    assert {path for path in found if not path.startswith("emulator/jit/")} == OPENERS, found


def patterns(path: Path) -> Iterator[str]:
    """Yield the texts in a file that regular expressions are made of, and those that have names of capitals."""
    if path.suffix == ".lark":
        yield from re.findall(r"(?m)^[A-Z.0-9]+:\s*/(.*)/$", path.read_text("utf-8"))
        return
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        made: ast.AST | None = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            made = node.args[0] if ast.unparse(node.func.value) == "re" and node.args else None
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).isupper():
            made = node.value
        if isinstance(made, ast.Constant | ast.JoinedStr):
            pieces = made.values if isinstance(made, ast.JoinedStr) else [made]
            yield "".join(str(piece.value) if isinstance(piece, ast.Constant) else "{}" for piece in pieces)


def keeps_turns(pattern: str) -> bool:
    """Whether a group repeats in it so that re keeps each of its turns, to come back to."""
    bare = re.sub(r"\\.|\[\]?[^\]]*\]", "x", re.sub(r"\\.", "x", pattern))
    return re.search(r"\)(?:[*+]|\{\d*,\})(?!\+)", bare) is not None


def test_no_pattern_takes_memory_for_each_turn_of_a_group() -> None:
    """A quoted text of 16 MB, or a number, took 2 GB: groups in what foreign text is read by repeat possessively."""
    assert all(map(keeps_turns, (r'"(?:a|b)*"', r"\d+(?:_\d+)*x", r"(?:ab)+", r"(ab){2,}")))
    assert not any(map(keeps_turns, (r"(?:a|b)*+x", r"\)*", r"[()*]+", r"(ab)?c+", r"(a\)[)]b)")))
    found = [(path, pattern) for path in (*FILES, GRAMMAR) for pattern in patterns(path)]
    assert len([path for path, _ in found if path == GRAMMAR]) > 15 and len(found) > 100
    assert [(name(path), pattern) for path, pattern in found if keeps_turns(pattern)] == []


def test_all_packages_are_in_the_wheel() -> None:
    include = SETTINGS["setuptools"]["packages"]["find"]["include"]
    packages = [name(folder).replace("/", ".") for folder in PACKAGES]
    assert [package for package in packages if not any(fnmatch(package, pattern) for pattern in include)] == []
    for room in ("tests", "benchmarks", "docs"):
        assert not any(fnmatch(room, pattern) for pattern in include), room


def test_mypy_looks_at_all_rooms() -> None:
    assert sorted(SETTINGS["mypy"]["packages"]) == sorted(ROOMS)
    for override in SETTINGS["mypy"]["overrides"]:
        for module in override["module"]:
            if module.partition(".")[0] in ROOMS:
                assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_import_linter_looks_at_all_rooms() -> None:
    assert {*ROOMS, "programs"} == set(SETTINGS["importlinter"]["root_packages"])
    containers = [c["containers"] for c in SETTINGS["importlinter"]["contracts"] if "containers" in c]
    # isa is flat, and may have no circle.
    assert sorted(containers) == [
        ["assembler"],
        ["compiler"],
        ["emulator"],
        ["explore"],
        ["explore.fleet"],
        ["ratel"],
    ]  # isa is flat, and may have no circle
    assert [path for path in (ROOT / "isa").rglob("*.py") if path.parent != ROOT / "isa"] == []
