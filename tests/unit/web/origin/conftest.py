"""An origin server that is asked without a port: fast, and over the same octets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from pydicom import Dataset

from dicomlab.model.protocols import Holdings
from dicomlab.web.in_process import InProcessAdapter
from dicomlab.web.media_types import parse_content_type
from dicomlab.web.multipart import Begin, Data, PartReader
from dicomlab.web.origin import Setting, app
from dicomlab.web.origin.viewer import Viewer
from tests.unit.dimse.holdings import FolderHoldings, write

BASE = "http://archive.invalid/dicom-web"


class Local:
    """Asks an application. Paths begin below the base URL."""

    def __init__(self, holdings: Holdings, setting: Setting | None = None, viewer: Viewer | None = None) -> None:
        self.session = requests.Session()
        self.session.mount("http://", InProcessAdapter(app(holdings, setting, viewer)))

    def ask(self, method: str, path: str, accept: str | None = None, data: Any = None, **headers: str) -> Any:
        given = {"Accept": accept} if accept is not None else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = path if path.startswith("http") else BASE + path
        return self.session.request(method, url, headers=given | named, data=data, timeout=30)

    def get(self, path: str, accept: str | None = None, **headers: str) -> Any:
        return self.ask("GET", path, accept, **headers)

    def post(self, path: str, kind: str, data: Any, **headers: str) -> Any:
        return self.ask("POST", path, None, data, **{"Content_Type": kind, **headers})


@pytest.fixture
def open_local() -> Iterator[Callable[..., Local]]:
    """Open a server over holdings: ``open_local(holdings, Setting(...))``."""
    with ExitStack() as stack:

        def start(holdings: Holdings, setting: Setting | None = None, viewer: Viewer | None = None) -> Local:
            one = Local(holdings, setting, viewer)
            stack.callback(one.session.close)
            return one

        yield start


@pytest.fixture
def local(holdings: FolderHoldings, open_local: Callable[..., Local]) -> Local:
    return open_local(holdings)


@pytest.fixture
def hold(holdings: FolderHoldings) -> Callable[[Dataset], str]:
    """Put an instance into the holdings; gives its path below the base URL."""

    def put(dataset: Dataset) -> str:
        write(holdings.folder, dataset)
        return path_of(dataset)

    return put


def path_of(dataset: Dataset) -> str:
    return f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


def parts_of(response: Any) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart answer, complete and as long as they say."""
    reader = PartReader(parse_content_type(response.headers["Content-Type"]).boundary)
    found: list[tuple[dict[str, str], bytes]] = []
    for event in reader.feed(response.content):
        if isinstance(event, Begin):
            found.append((dict(event.headers), b""))
        elif isinstance(event, Data):
            found[-1] = (found[-1][0], found[-1][1] + bytes(event.octets))
    reader.close()
    assert all(int(headers["content-length"]) == len(body) for headers, body in found)
    return found
