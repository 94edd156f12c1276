"""OHIF, a web viewer that is not ours: its prebuilt npm package."""

from __future__ import annotations

from pathlib import Path

from tests.peers.npm import package
from tests.peers.processes import need

VERSION = "3.12.10"


def ohif() -> Path:
    """The folder of the package ``@ohif/app``; the test is skipped where it can't be had."""
    need("chromium")
    return package("@ohif/app", VERSION)
