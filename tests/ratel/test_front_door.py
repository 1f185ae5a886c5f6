"""The front door: what is loaded lazily is what type checkers see, and every public name says what it does."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from types import FunctionType

import pytest

import ratel
from compiler.options import Options

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


def documented() -> Iterator[tuple[str, str]]:
    """Yield each public function, class, method and property of ratel by name, with what its docstring says."""
    for name in ratel.__all__:
        found = getattr(ratel, name)
        if inspect.ismodule(found):
            own = {word: value for word, value in vars(found).items() if word[0] != "_"}
            own = {word: value for word, value in own.items() if getattr(value, "__module__", "") == found.__name__}
            yield from ((f"{name}.{word}", value.__doc__ or "") for word, value in own.items())
        elif callable(found):
            yield name, found.__doc__ or ""
        if inspect.isclass(found):
            rooms = [vars(kind) for kind in found.__mro__ if kind.__module__.partition(".")[0] in ROOMS]
            words = {word for own in rooms for word in own if word[0] != "_" and isinstance(own[word], METHODS)}
            for word in sorted(words):
                # What overrides another may leave the words to it.
                docs = (own[word].__doc__ for own in rooms if word in own)
                yield f"{name}.{word}", next(filter(None, docs), "")


ROOMS = ("ratel", "isa", "assembler", "emulator")
METHODS = (FunctionType, staticmethod, classmethod, property, cached_property)
DOCUMENTED = dict(documented())


@pytest.mark.parametrize("entry", [ratel.compile, ratel.onnx.InferenceSession])
def test_options_of_networks_have_one_owner(entry: Callable[..., object]):
    """What users name is an option of the compiler, all but `keep`, with the compiler's default."""
    own = {one.name: one.default for one in fields(Options)} | {"shapes": None, "always": None}
    taken = {name: one.default for name, one in inspect.signature(entry).parameters.items() if name in own}
    assert taken == {name: default for name, default in own.items() if name != "keep"}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_name_says_what_it_does(name: str):
    first, *others = inspect.cleandoc(DOCUMENTED[name]).splitlines()
    assert first[0].isupper() and first[-1] in ".:", first
    assert not others or not others[0], "the first sentence stands alone"


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if inspect.isfunction(getattr(ratel, name, None))])
def test_a_public_function_says_what_it_raises(name: str):
    named = re.findall(r"\b(?:\w+Error|Trap)\b", DOCUMENTED[name])
    assert named and set(named) <= set(ratel.__all__)
