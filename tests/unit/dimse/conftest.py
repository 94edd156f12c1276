"""An archive over files, served on a free port, and the node that talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab.dimse import retrieve
from dicomlab.dimse.listener import Listener
from dicomlab.dimse.node import Node
from dicomlab.dimse.services import serve
from tests.unit.dimse.holdings import BIG_ENDIAN, IMPLICIT, JPEG, MR, RLE, SC, FolderHoldings, instance, write


def cohort() -> list[Dataset]:
    """Two patients, three studies, five series, every family of transfer syntax, two SOP Classes in one series."""
    mixed = {"series": "1.2.3.1.3", "study": "1.2.3.1"}
    return [
        *(instance(i, series=f"1.2.3.{s}.{r}", study=f"1.2.3.{s}", patient=f"P{min(s, 2)}")
          for s in (1, 2, 3) for r in (1, 2) for i in (1, 2) if (s, r) != (3, 2)),
        instance(1, syntax=JPEG, **mixed), instance(2, syntax=IMPLICIT, **mixed),
        instance(3, syntax=BIG_ENDIAN, sop_class=SC, **mixed), instance(4, syntax=RLE, sop_class=MR, **mixed),
        instance(5, **mixed),
    ]  # fmt: skip


@dataclass
class Pacs:
    """The archive, its port, and a node for it."""

    holdings: FolderHoldings
    listener: Listener
    node: Node
    known: dict[str, tuple[str, int]]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is late is not waited for long."""
    monkeypatch.setattr(retrieve, "LATE_S", 0.2)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pacs]]:
    """Start an archive that holds some instances."""
    listeners: list[Listener] = []

    def start(*datasets: Dataset, me: str = "LAB1", **options: Any) -> Pacs:
        folder = tmp_path / f"pacs{len(listeners)}"
        folder.mkdir()
        write(folder, *datasets)
        holdings = FolderHoldings(folder)
        known: dict[str, tuple[str, int]] = {}
        listener = serve(holdings, ae_title="PACS", destination=known.get, **options)
        listeners.append(listener)
        node = Node(f"PACS@127.0.0.1:{listener.port}", me=me, timeout_s=10)
        return Pacs(holdings, listener, node, known)

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def filled(start: Callable[..., Pacs]) -> Pacs:
    """An archive that holds :func:`cohort`."""
    return start(*cohort())
