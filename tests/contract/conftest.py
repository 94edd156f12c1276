"""The same archive, reached three ways. Each path adds one builder here and nothing in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab import Archive, MediaSet
from dicomlab.samples.phantom import phantom_datasets

PATHS = ("node", "web", "media")


@pytest.fixture(scope="session")
def instances() -> list[Dataset]:
    """What every path holds."""
    return list(phantom_datasets(patients=3, slices=8, seed=0))


@pytest.fixture(scope="session")
def filled(instances: list[Dataset]) -> Iterator[Archive]:
    with Archive() as archive:
        archive.add(instances, progress=False).raise_for_failures()
        yield archive


@pytest.fixture(params=PATHS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(name: str, filled: Archive) -> Any:
    """The filled archive over one path."""
    return getattr(filled, name)


@pytest.fixture
def empty(name: str, tmp_path: Path) -> Iterator[Any]:
    """An empty place that can be stored into, over one path."""
    if name == "media":
        folder = tmp_path / "file-set"
        folder.mkdir()
        yield MediaSet(folder, mode="update")
        return
    with Archive() as archive:
        yield getattr(archive, name)


@dataclass
class Again:
    """How another process reaches the same source."""

    code: str


@pytest.fixture
def again(name: str, filled: Archive) -> Again:
    if name == "node":
        return Again(f"dicomlab.Node({str(filled.node.address)!r}, me={str(filled.node.me)!r})")
    if name == "web":
        return Again(f"dicomlab.WebEndpoint({str(filled.web)!r})")
    return Again(f"dicomlab.MediaSet({str(filled.media.path)!r})")


@pytest.fixture
def bag(instances: list[Dataset]) -> Callable[[str], list[Any]]:
    """The values of one attribute over all instances, each once, in order."""
    return lambda keyword: list(dict.fromkeys(ds[keyword].value for ds in instances))
