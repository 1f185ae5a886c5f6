"""What the tests of commands start from."""

from pathlib import Path

import numpy as np
import pytest

from tests.ratel.cli.commands import SOURCE


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.npu"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def x(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(-16, 16, dtype=np.int8).reshape(4, 8))
    return path
