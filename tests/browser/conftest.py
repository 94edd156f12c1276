"""One JupyterLab and one browser for all tests of this folder; they end before the other tests go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.lab import Chromium, Desk, Lab
from tests.peers.processes import need


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The browser."""
    need("chromium")
    with Chromium(tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The server."""
    need("chromium")
    with Lab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="package")
def desk(chromium: Chromium, lab: Lab) -> Iterator[Desk]:
    """JupyterLab in a page of the browser."""
    with chromium.page() as page:
        yield Desk(lab, page)
