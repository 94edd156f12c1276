"""How the stored outputs are tested: kernels that reach nothing but this machine, draw no bars and stop in time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

CELL_TIMEOUT_S = 100
GUARD = Path(__file__).with_name("loopback.py")


def kernel_environment(folder: Path) -> dict[str, str]:
    """What a kernel needs in its environment: the guard, no progress bars, and a place for what it leaves when killed."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-loopback.py").write_text(GUARD.read_text())
    scratch = folder / "tmp"
    scratch.mkdir()
    return {"IPYTHONDIR": str(folder), "TMPDIR": str(scratch), "TQDM_DISABLE": "1"}


_environment: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what kernels start with."""
    if getattr(config.option, "nbval", False):
        folder = tempfile.TemporaryDirectory(prefix="notebooks-")
        config.add_cleanup(folder.cleanup)
        _environment.update(kernel_environment(Path(folder.name)))
        config.option.nbval_cell_timeout = CELL_TIMEOUT_S


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Iterator[None]:
    """The first cell of a notebook starts its kernel: in this environment, which the other tests don't see."""
    with patch.dict(os.environ, _environment):
        return (yield)
