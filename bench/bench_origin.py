"""The origin server beside Orthanc's DICOMweb plugin: the same client asks both for the same data, on loopback.

Each is a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import requests
from measure import Row, Size, main, side_by_side
from node_peers import write_series

from dicomlab import Archive
from tests.peers.orthanc import Orthanc
from tests.peers.processes import LOOPBACK, Peer, free_port

STAR = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
JSON = {"Accept": "application/dicom+json"}


class Served(Peer):
    """Our archive, kept open by ``dicomlab serve``."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}/dicom-web"
        command = [sys.executable, "-m", "dicomlab", "serve", str(folder / "archive"), "--web-port", str(port)]
        super().__init__(command, folder, self._answers)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + "/studies?limit=1", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """A series, its metadata, and a search."""
    rows = 2 * size.rows
    series = write_series(scratch / "ct", 1, size.slices, 512)
    index = write_series(scratch / "index", 2, rows, 2)
    (scratch / "orthanc").mkdir()
    with ExitStack() as stack:
        orthanc = stack.enter_context(Orthanc(scratch / "orthanc"))
        with Archive(scratch / "archive", web_port=None) as archive:
            for folder in ("ct", "index"):
                orthanc.add(*sorted((scratch / folder).iterdir()))
                archive.add(scratch / folder, progress=False).raise_for_failures()
        ours, theirs = stack.enter_context(Served(scratch)).url, orthanc.url
        octets = sum(file.stat().st_size for file in (scratch / "ct").iterdir())
        yield compare(f"WADO-RS, {size.slices} CT slices", ours, theirs, f"/studies/{series}", STAR, octets, size)
        yield compare(f"metadata of {size.slices}", ours, theirs, f"/studies/{series}/metadata", JSON, 1000, size)
        search = f"/studies/{index}/series/{index}.1/instances?includefield=00080060"
        yield compare(f"QIDO-RS, {rows} rows", ours, theirs, search, JSON, 1000, size)


def compare(what: str, ours: str, theirs: str, path: str, headers: dict[str, str], least: int, size: Size) -> Row:
    """Read the same resource from both, to null."""

    def read(base: str) -> Callable[[], None]:
        def work() -> None:
            with requests.get(base + path, headers=headers, stream=True, timeout=300) as answer:
                assert answer.status_code == 200
                total = sum(len(chunk) for chunk in answer.iter_content(1 << 20))
            assert total >= least

        return work

    return side_by_side(what, ("Archive", read(ours)), ("Orthanc 1.10", read(theirs)), size.rounds)


if __name__ == "__main__":
    main(bench, peers=["orthanc"])
