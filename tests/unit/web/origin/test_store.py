"""Requests to store: slow ones, long ones, in the answer's media type; and what a crash in the middle leaves."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydicom import dcmread

from dicomlab import Archive
from dicomlab.web import origin
from dicomlab.web.store_answer import parse_store_answer
from dicomlab.web.xml_model import from_xml
from tests.peers.processes import Peer
from tests.unit.dimse.holdings import FolderHoldings, instance
from tests.unit.web.origin.conftest import Local
from tests.unit.web.origin.test_application import part10
from tests.unit.web.origin.test_receive import DICOM, body

PART = {"Content-Type": "application/dicom"}


def test_the_answer_in_xml(local: Local) -> None:
    answer = local.post("/studies", DICOM, body((PART, part10(instance(50)))), Accept="application/dicom+xml")
    assert answer.headers["Content-Type"] == "application/dicom+xml"
    assert from_xml(answer.content)["00081199"]["Value"][0]["00081155"]["Value"] == ["1.2.3.1.1.50"]


def test_a_body_that_comes_piece_by_piece(local: Local, holdings: FolderHoldings) -> None:
    octets = part10(instance(50, octets=3 << 20))

    def pieces() -> Iterator[bytes]:
        whole = body((PART, octets))
        yield from (whole[at : at + 100_003] for at in range(0, len(whole), 100_003))

    assert local.post("/studies", DICOM, pieces()).status_code == 200
    assert (holdings.folder / "1.2.3.1.1.50.dcm").read_bytes() == octets


def test_a_body_that_fails_on_the_way_stores_nothing(local: Local, holdings: FolderHoldings) -> None:
    def pieces() -> Iterator[bytes]:
        yield body((PART, part10(instance(50))))[:-20]
        raise ArithmeticError("the caller's own")

    before = holdings.files()
    with pytest.raises(ArithmeticError):
        local.post("/studies", DICOM, pieces())
    assert holdings.files() == before


def test_a_drip_is_not_a_body(holdings: FolderHoldings) -> None:
    """A client that sends an octet now and then is told so, and let go, though it never stands still."""
    with origin.serve(holdings, setting=origin.Setting(origin.Limits(idle_s=0.3))) as server:
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname or "", where.port or 0), 10) as client:
            head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {DICOM}\r\nContent-Length: 99999\r\n\r\n"
            client.sendall(head.encode())
            client.settimeout(0.05)
            answer = b""
            for _ in range(200):
                try:
                    client.sendall(b"x")
                    answer += client.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    break
                if answer:
                    break
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_request_that_is_too_long_is_cut_off(holdings: FolderHoldings, open_local: Callable[..., Local]) -> None:
    local = open_local(holdings, origin.Setting(origin.Limits(request_octets=5000)))
    answer = local.post(
        "/studies", DICOM, body((PART, part10(instance(50))), (PART, part10(instance(51, octets=9000))))
    )
    assert answer.status_code == 413
    assert set(parse_store_answer(answer.content).stored) <= {"1.2.3.1.1.50"}
    assert not (holdings.folder / "1.2.3.1.1.51.dcm").exists()


def test_deleting(local: Local, holdings: FolderHoldings) -> None:
    assert local.ask("DELETE", "/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1").status_code == 204
    assert local.ask("DELETE", "/studies/1.2.3.1/series/1.2.3.1.1/instances/1.2.3.1.1.1").status_code == 404
    assert local.ask("DELETE", "/studies/1.2.3.1/series/1.2.3.1.2").status_code == 204
    assert local.ask("DELETE", "/studies/1.2.3.1").status_code == 204
    assert len(holdings.files()) == 2
    assert local.ask("DELETE", "/studies").status_code == 405


CRASHING = """
import os, sys, requests
from dicomlab import Archive
from dicomlab.part10.files import FileWriter
count, write = 0, FileWriter.write
def dies(self, octets):
    global count
    write(self, octets)
    count += 1
    if count == 3:
        self._file.flush()
        os._exit(7)
FileWriter.write = dies
with Archive(sys.argv[1], web_port=None) as archive:
    session = requests.Session()
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    session.post(archive.mount(session) + "/studies", open(sys.argv[2], "rb"), headers=kind)
"""


def test_what_a_crash_in_the_middle_of_a_request_leaves(tmp_path: Path) -> None:
    """Whole instances stay, the one under way leaves no trace, and sending all again completes the archive."""
    octets = [part10(instance(number, octets=5000)) for number in (1, 2, 3, 4)]
    (tmp_path / "body").write_bytes(body(*((PART, one) for one in octets)))
    (tmp_path / "crash.py").write_text(CRASHING)
    done: list[int] = []

    class Crash(Peer):
        def stop(self) -> None:
            done.append(self._process.wait(60))

    root = str(Path(__file__).parents[4])
    arguments = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); exec(open('crash.py').read())"]
    with Crash([*arguments, str(tmp_path / "archive"), str(tmp_path / "body")], tmp_path, lambda: True):
        pass
    assert done == [7]
    with Archive(tmp_path / "archive", web_port=None) as archive:
        assert len(archive) == 2
        assert not list((tmp_path / "archive" / "incoming").iterdir())
        report: Any = archive.web.store([dcmread(path) for path in archive.folder.rglob("*.dcm")], progress=False)
        assert report.count("done") == 2
        import requests

        with requests.Session() as session:
            kind = {"Content-Type": DICOM}
            answer = session.post(f"{archive.mount(session)}/studies", (tmp_path / "body").read_bytes(), headers=kind)
        assert answer.status_code == 200
        assert len(archive) == 4
