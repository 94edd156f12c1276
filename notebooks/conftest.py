"""How the stored outputs are tested: kernels that reach nothing but this machine, draw no bars and stop in time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

CELL_TIMEOUT_S = 60
GUARD = Path(__file__).with_name("loopback.py")


def kernel_environment(folder: Path) -> dict[str, str]:
    """What a kernel needs in its environment so that it starts with the guard and without progress bars."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-loopback.py").write_text(GUARD.read_text())
    return {"IPYTHONDIR": str(folder), "TQDM_DISABLE": "1"}


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "nbval", False):
        folder = tempfile.TemporaryDirectory(prefix="notebooks-")
        config.add_cleanup(folder.cleanup)
        os.environ.update(kernel_environment(Path(folder.name)))
        config.option.nbval_cell_timeout = CELL_TIMEOUT_S
