"""Clients that drip, stand still or never read: each is let go in time, and the others are served."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from dicomlab.web import origin
from dicomlab.web.origin.viewer import Viewer
from tests.unit.dimse.holdings import FolderHoldings

EXCHANGES = 200


@pytest.fixture
def hasty(holdings: FolderHoldings) -> Iterator[origin.OriginServer]:
    limits = origin.Limits(head_s=0.3, idle_s=0.3, keep_s=1, connections=12)
    with origin.serve(holdings, setting=origin.Setting(limits)) as server:
        yield server


def connect(server: origin.OriginServer) -> socket.socket:
    where = urlsplit(server.url)
    return socket.create_connection((where.hostname or "", where.port or 0), 10)


def drip(client: socket.socket, octets: bytes) -> bytes:
    """Send octet by octet until the server has had enough; what it said."""
    client.settimeout(0.05)
    said = b""
    for _ in range(EXCHANGES):
        try:
            client.sendall(octets)
            said += client.recv(4096)
            return said
        except TimeoutError:
            continue
        except OSError:
            return said
    pytest.fail("it listens for ever")


def test_a_connection_that_says_nothing(hasty: origin.OriginServer) -> None:
    with connect(hasty) as client:
        assert client.recv(100) == b""


def test_a_head_that_drips(hasty: origin.OriginServer) -> None:
    with connect(hasty) as client:
        client.sendall(b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert drip(client, b"y") == b""
    with connect(hasty) as client:  # the second request of a connection, too
        client.sendall(b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"]"):
            answer += client.recv(1 << 20)
        assert answer.startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /dicom-web")
        assert drip(client, b"y") == b""


def test_an_answer_that_nobody_reads(holdings: FolderHoldings) -> None:
    gone = threading.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        leaving = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        gone.set()

    limits = origin.Limits(idle_s=0.3)
    with origin.OriginServer(endless, "127.0.0.1", 0, limits, Viewer()) as server, connect(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert gone.wait(20)


def test_idle_connections_do_not_shut_others_out(hasty: origin.OriginServer) -> None:
    """As many as may be, all silent: the next is declined with 503, and soon after served."""
    silent = [connect(hasty) for _ in range(12)]
    try:
        statuses: list[int] = []
        for _ in range(EXCHANGES):
            statuses.append(requests.get(hasty.url + "/studies", timeout=10).status_code)
            if statuses[-1] == 200:
                break
            silent[0].settimeout(0.05)
            try:
                silent[0].recv(1)
            except TimeoutError:
                continue
        assert statuses[-1] == 200
        assert set(statuses) <= {200, 503}
    finally:
        for one in silent:
            one.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\0" * 100,
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
)  # fmt: skip
def test_what_is_no_request(hasty: origin.OriginServer, head: bytes) -> None:
    with connect(hasty) as client:
        said = b""
        try:
            client.sendall(head)
            while chunk := client.recv(1 << 16):
                said += chunk
        except ConnectionError:
            pass
        assert said == b"" or said.startswith(b"HTTP/1.1 4")
    assert requests.get(hasty.url + "/studies", timeout=10).status_code == 200


def test_many_at_once(holdings: FolderHoldings) -> None:
    with origin.serve(holdings) as server, ThreadPoolExecutor(8) as pool:
        paths = ["/studies", "/studies/1.2.3.1", "/studies/1.2.3.1/metadata", "/instances"] * 8

        def ask(path: str) -> Any:
            return requests.get(server.url + path, timeout=60)

        answers = list(pool.map(ask, paths))
    assert {one.status_code for one in answers} == {200}
    bodies = {path: {len(a.content) for p, a in zip(paths, answers, strict=True) if p == path} for path in set(paths)}
    assert all(len(sizes) == 1 for sizes in bodies.values())
