"""A loopback web server that answers octet for octet what a function says, lies included; and a sink in memory."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dicomlab.model.protocols import Arrival
from dicomlab.model.report import Outcome


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


Answering = Callable[[Asked], bytes]


class Scripted:
    """Serves until it is closed; one connection for each request. ``asked`` keeps every request."""

    def __init__(self, answer: Answering) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/dicom-web"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[str]:
        return [f"{one.method} {one.target.removeprefix('/dicom-web')}" for one in self.asked]

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(10)
                asked = self._read(connection)
                self.asked.append(asked)
                connection.sendall(self._answer(asked))
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)

    def _read(self, connection: socket.socket) -> Asked:
        octets = b""
        while b"\r\n\r\n" not in octets:
            octets += connection.recv(65536) or b"\r\n\r\n"
            if octets[:1] == b"\x16":  # a TLS hello, to which we answer in plain text
                return Asked("TLS", "/", {}, octets)
        head, _, body = octets.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        method, target, _ = first.split(" ")
        return Asked(method, target, headers, body)


@contextmanager
def scripted(answer: Answering) -> Iterator[Scripted]:
    server = Scripted(answer)
    try:
        yield server
    finally:
        server.close()


def reply(status: str, body: bytes = b"", *, length: bool = True, **headers: str) -> bytes:
    """A response; without a length it ends where the connection does."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if length:
        given["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n".encode("latin-1") + body


def rows(*found: dict[str, Any], **headers: str) -> bytes:
    """An answer to a search; each row as keyword tag to value."""
    body = [{tag: {"vr": "UI", "Value": [value]} for tag, value in row.items()} for row in found]
    return reply("200 OK", json.dumps(body).encode(), Content_Type="application/dicom+json", **headers)


STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"


def studies(*uids: str, **headers: str) -> bytes:
    return rows(*({STUDY: uid} for uid in uids), **headers)


@dataclass
class MemorySink:
    """Keeps what arrived whole. Satisfies ``Sink``."""

    arrived: dict[str, tuple[Arrival, bytes]] = field(default_factory=dict)
    abandoned: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    refuse: Exception | None = None
    on_begin: Callable[[Arrival], None] = lambda arrival: None

    def begin(self, arrival: Arrival) -> MemoryWriter:
        if self.refuse is not None:
            raise self.refuse
        self.on_begin(arrival)
        return MemoryWriter(self, arrival)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        self.reasons[sop_instance_uid] = status


@dataclass
class MemoryWriter:
    sink: MemorySink
    arrival: Arrival
    octets: bytearray = field(default_factory=bytearray)

    def write(self, octets: Any, /) -> None:
        self.octets += octets

    def finish(self) -> Outcome:
        self.sink.arrived[self.arrival.sop_instance_uid] = (self.arrival, bytes(self.octets))
        return Outcome(self.arrival.sop_instance_uid, "done")

    def abandon(self) -> None:
        self.sink.abandoned.append(self.arrival.sop_instance_uid)
