"""The front door: what is loaded lazily is what type checkers see, and every public name says what it does."""

import ast
import inspect
from pathlib import Path

import ratel

SOURCE = Path(inspect.getfile(ratel)).read_text("utf-8")


def seen_by_checkers() -> dict[str, str]:
    """Return the module of each name that is imported under TYPE_CHECKING; of a module, itself."""
    (block,) = (node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    found = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom) and line.module
        for name in line.names:
            is_module = f"{line.module}.{name.name}" == ratel._MODULES.get(name.name)
            found[name.name] = f"{line.module}.{name.name}" if is_module else line.module
    return found


def test_checkers_see_what_is_loaded():
    assert seen_by_checkers() == {**ratel._HOMES, **ratel._MODULES}


def test_all_names_are_there_and_no_other():
    assert sorted(ratel.__all__) == sorted(["__version__", *ratel._HOMES, *ratel._MODULES])
    assert all(getattr(ratel, name) is not None for name in ratel.__all__)
    assert set(dir(ratel)) == set(ratel.__all__)
    assert not hasattr(ratel, "assembl")
