"""What goes wrong on purpose, as requests sees it, which checks nothing, and as ``WebEndpoint``, which must find out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from dicomlab import Archive
from dicomlab.errors import DicomlabError, Interrupted, Refused
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.store_answer import parse_store_answer
from tests.unit.dimse.holdings import instance
from tests.unit.web.origin.test_application import part10
from tests.unit.web.origin.test_receive import DICOM, body

STAR = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
COUNT = 6


class Door:
    """An archive, a session that reaches it, and what ``WebEndpoint`` sees."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.faults, self.web = archive, archive.faults, archive.web
        self.session = requests.Session()
        self.base = archive.mount(self.session)

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.base + path, headers=headers, timeout=10)


@pytest.fixture
def door() -> Iterator[Door]:
    with Archive(web_port=None) as archive:
        archive.add([instance(n, octets=400) for n in range(1, COUNT + 1)], progress=False).raise_for_failures()
        door = Door(archive)
        with door.session:
            yield door


def test_503_some_times(door: Door) -> None:
    with door.faults.unavailable(7, times=1):
        first = door.get("/studies")
        assert (first.status_code, first.headers["Retry-After"]) == (503, "7")
        assert door.get("/studies").status_code == 200
    with door.faults.unavailable(door="web", times=1) as fault:
        assert len(door.web.find("study")) == 1  # asked again
        assert fault.struck == 1


def test_401_after_some(door: Door) -> None:
    with door.faults.unauthorized(after=1):
        assert door.get("/studies").status_code == 200
        expired = door.get("/studies")
        assert expired.status_code == 401
        assert "invalid_token" in expired.headers["WWW-Authenticate"]
        with pytest.raises(Refused, match="401"):
            door.web.find("study")
    assert len(door.web.find("study")) == 1


def test_a_cap_is_a_lie_that_only_counts_can_find_out(door: Door) -> None:
    with door.faults.cap(2, door="web"):
        answer = door.get("/instances")
        assert len(answer.json()) == 2
        assert "Warning" not in answer.headers
        assert len(door.web.find("instance", progress=False)) == 2
        (study,) = door.get("/studies").json()
        assert study["00201208"]["Value"] == [COUNT]


def test_offset_ignored(door: Door) -> None:
    with door.faults.ignore_offset():
        first, second = (door.get(f"/instances?limit=2&offset={n}").json() for n in (0, 2))
        assert first == second
        small = WebEndpoint(door.base, page=2, adapter=door.archive._opened().adapter())
        found = small.find("instance", progress=False)
        assert not found.complete
        assert len(set(found["SOPInstanceUID"])) == len(found)


def test_no_closing_delimiter(door: Door, tmp_path: Path) -> None:
    path = "/studies/1.2.3.1"
    whole = len(door.get(path, **STAR).content)
    with door.faults.no_closing_delimiter():
        torso = door.get(path, **STAR)
        assert torso.status_code == 200
        assert not torso.content.rstrip().endswith(b"--")
        assert len(torso.content) < whole
        with pytest.raises(DicomlabError):
            door.web.find("study").retrieve(tmp_path / "a", progress=False).raise_for_failures()
    with door.faults.no_closing_delimiter(times=1):
        report = door.web.find("study").retrieve(tmp_path / "b", progress=False)
        assert report.count("done") == COUNT  # asked again, one by one


def test_truncated_instances(door: Door, tmp_path: Path) -> None:
    with door.faults.truncate(30, door="web"):
        report = door.web.find("study").retrieve(tmp_path, progress=False)
        assert report.count("failed") == COUNT
        assert "missing" in report.failures[0].status
        cut = door.get(
            "/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1", Accept="application/dicom; transfer-syntax=*"
        )
        assert cut.status_code == 200
        assert int(cut.headers["Content-Length"]) == len(cut.content)
    whole = door.get(
        "/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1", Accept="application/dicom; transfer-syntax=*"
    )
    assert cut.content == whole.content[:-30]


def test_a_lie_about_a_retrieve(door: Door, tmp_path: Path) -> None:
    with door.faults.lie(door="web"):
        answer = door.get("/studies/1.2.3.1", **STAR)
        assert answer.status_code == 200
        assert b"DICM" not in answer.content
        report = door.web.find("study").retrieve(tmp_path, progress=False)
        assert report.count("failed") == COUNT


def test_a_lie_about_a_store(door: Door) -> None:
    octets = part10(instance(50))
    with door.faults.lie(door="web"):
        kind = {"Content-Type": DICOM}
        answer = door.session.post(door.base + "/studies", body(({}, octets)), headers=kind, timeout=10)
        assert answer.status_code == 200
        assert set(parse_store_answer(answer.content).stored) == {"1.2.3.1.1.50"}
        assert len(door.archive) == COUNT
        assert door.web.store([instance(51)], progress=False).count("pending") == 1  # named, and not found
    assert len(door.archive) == COUNT
    assert len(door.web.find("instance", SOPInstanceUID="1.2.3.1.1.51")) == 0


@pytest.mark.parametrize("octets", [0, 1, 500])
def test_standing_still(door: Door, octets: int) -> None:
    with door.faults.stall(octets, door="web"):
        with pytest.raises((requests.exceptions.Timeout, requests.exceptions.ConnectionError)):
            door.session.get(door.base + "/studies/1.2.3.1", headers=STAR, timeout=0.2)
        patient = WebEndpoint(door.base, timeout_s=0.2, adapter=door.archive._opened().adapter())
        with pytest.raises(Interrupted):
            patient.find("study")
    assert door.get("/studies").status_code == 200


def test_standing_still_on_a_port() -> None:
    with Archive() as archive:
        with archive.faults.stall(3, door="web"), pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"{archive.web}/", timeout=0.3).content  # noqa: B018
        assert requests.get(f"{archive.web}/", timeout=10).status_code == 200


def test_crawling(door: Door, monkeypatch: Any) -> None:
    """The pauses are counted instead of waited for."""
    from dicomlab.web.origin import faults

    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(faults, "asyncio", SimpleNamespace(sleep=sleep))  # in that room alone: servers sleep too
    whole = door.get("/studies/1.2.3.1", **STAR).content
    with door.faults.slow(1000, door="web"):
        crawled = door.get("/studies/1.2.3.1", **STAR).content
    assert len(crawled) == len(whole)
    assert abs(sum(paused) - len(whole) / 1000) < 0.2
