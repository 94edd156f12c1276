"""The wheel, built once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, run


def built(folder: Path, kind: str) -> Path:
    """Build a wheel or an sdist as a packager does."""
    environment = {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": str(len(str(folder)))}
    run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder], ROOT, **environment)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return built(tmp_path_factory.mktemp("wheel"), "wheel")
