"""An origin server over a folder of real files, and the endpoint that talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomlab.web import origin
from dicomlab.web.endpoint import WebEndpoint
from tests.unit.dimse.holdings import BIG_ENDIAN, IMPLICIT, JPEG, MR, FolderHoldings, instance, write


@pytest.fixture
def holdings(tmp_path: Path) -> FolderHoldings:
    """Two patients, three studies; one series with every kind of transfer syntax."""
    folder = tmp_path / "held"
    write(
        folder,
        *(instance(n, octets=5000) for n in range(1, 7)),
        instance(7, syntax=IMPLICIT),
        instance(8, syntax=BIG_ENDIAN),
        instance(9, syntax=JPEG),
        instance(1, series="1.2.3.1.2", sop_class=MR, modality="MR", description="Thorax"),
        instance(1, study="1.2.3.2", series="1.2.3.2.1", description="Knie links"),
        instance(1, patient="P2", name="O'Neil^Ann", study="1.2.3.3", series="1.2.3.3.1"),
    )
    return FolderHoldings(folder)


@pytest.fixture
def server(holdings: FolderHoldings) -> Iterator[origin.OriginServer]:
    with origin.serve(holdings) as running:
        yield running


@pytest.fixture
def web(server: origin.OriginServer) -> WebEndpoint:
    return WebEndpoint(server.url)
