"""pytest plugin: a program that fails an assertion of ratel.testing is saved, with the command that shows it again.

`pytest_plugins = ["ratel.pytest_plugin"]` in a conftest.py, or `-p ratel.pytest_plugin`, takes it in. It is no entry
point, for then pytest would rewrite the assertions of all of ratel, and numba can compile none that is rewritten.

Programs go to the folder `ratel_failures` of the ini file, by default `ratel-failures`, each in a folder named by its
test.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from isa.errors import RatelError
from isa.visible import escaped


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "ratel_failures", "folder for programs that failed an assertion of ratel.testing", "string", "ratel-failures"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    outcome = yield
    # Whatever raised a failure has imported its class.
    testing = sys.modules.get("ratel.testing")
    if testing is None or call.excinfo is None:
        return
    failure = _failure(call.excinfo.value, testing.ProgramFailure)
    if failure is not None:
        folder = Path(item.config.rootpath, item.config.getini("ratel_failures"), re.sub(r"[^\w.-]+", "_", item.nodeid))
        try:
            said = save(failure, folder)
        except (RatelError, OSError) as error:
            # The failure is told all the same, and the tests after it run.
            said = f"the program could not be saved: {error}"
        outcome.get_result().sections.append(("ratel", escaped(said, "\n")))


def _failure(error: BaseException, kind: type) -> Any:
    """Return the first such failure in an error, which may be a group of several; None for none."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _failure(inner, kind))), None)
    return error if isinstance(error, kind) else None


def save(failure: Any, folder: Path) -> str:
    """Save a failing program as text, with its tensors; return where, and the command that shows the failure."""
    from assembler.disassemble import disassemble_files
    from isa.files import write_whole
    from isa.npy import npy

    folder.mkdir(parents=True, exist_ok=True)
    text, files = disassemble_files(failure.program, taken=failure.tensors)
    write_whole(folder / "program.npu", text.encode())
    # Those of the failure before, of this test, are replaced.
    for name, tensor in {**files, **failure.tensors}.items():
        write_whole(folder / name, npy(tensor))
    command = failure.command.replace("FILE", "program.npu", 1)
    return f"the program is in {folder}; to see it fail again:\n    cd {shlex.quote(str(folder))} && {command}"
