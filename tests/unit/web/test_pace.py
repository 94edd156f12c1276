"""Bodies straight from the socket into memory: no octet too many, none too few, all in the trace."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dicomlab.model.progress import Control
from dicomlab.model.protocols import Wanted
from dicomlab.model.trace import trace
from dicomlab.part10.meta import EXPLICIT_LE, encode_file_meta
from dicomlab.web.arrivals import parts_of
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.http import Conversation, Site
from dicomlab.web.pace import Paced
from tests.unit.web.scripted import MemorySink
from tests.unit.web.test_endpoint_faults import KIND, multipart


@contextmanager
def answered(octets: bytes) -> Iterator[Paced]:
    """A response whose head has been read; the server has said `octets` and left."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(octets)
        theirs.shutdown(socket.SHUT_WR)
        response = Paced(ours)
        response.begin()
        yield response
        response.close()


def test_what_follows_a_body_is_left_to_the_next_answer() -> None:
    room = memoryview(bytearray(100))
    with answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345HTTP/1.1 200 OK\r\n\r\n") as response:
        count = response.read_into(room)
        assert bytes(room[:count]) == b"12345"
        assert response.read_into(room) == 0


def test_a_body_that_ends_before_its_length_is_cut() -> None:
    room = memoryview(bytearray(100))
    with answered(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345") as response:
        assert response.read_into(room) == 5
        with pytest.raises(IncompleteRead, match="5 more expected"):
            response.read_into(room)


def large(uid: str) -> bytes:
    """An instance that the socket gives in many pieces."""
    value = random.Random(uid).randbytes(3 << 20)
    head = encode_file_meta("1.2.840.10008.5.1.4.1.1.7", uid, EXPLICIT_LE)
    return head + b"\xe0\x7f\x10\x00OW\0\0" + len(value).to_bytes(4, "little") + value


@contextmanager
def keeping() -> Iterator[tuple[str, list[object], list[int]]]:
    """A server that keeps connections: its URL, the connections that it got, and the octets of each body it sent."""
    connections: list[object] = []
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.client_address)

        def do_GET(self) -> None:
            body = multipart(large(self.path.rpartition("/")[2]))
            sent.append(len(body))
            self.send_response(200)
            self.send_header("Content-Type", KIND)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", connections, sent
        server.shutdown()
        thread.join()


def test_one_connection_serves_and_the_trace_has_every_octet() -> None:
    uids = ("1.1.0", "1.1.1", "1.1.2")
    sink = MemorySink()
    with keeping() as (url, connections, sent), trace() as wire:
        WebEndpoint(url).deliver([Wanted("1", "1.1", uid) for uid in uids], sink, Control(), streams=1)
    assert {uid: (arrival.file_meta or b"") + octets for uid, (arrival, octets) in sink.arrived.items()} == {
        uid: large(uid) for uid in uids
    }
    assert len(connections) == 1
    bodies = [e.size for e in wire if e.direction == "received" and not e.octets.startswith(b"HTTP/")]
    assert sum(bodies) == sum(sent)


def test_parts_kept_in_memory_are_as_they_came() -> None:
    """The memory that they came in is used again."""
    with keeping() as (url, _, _), Conversation(Site(url)) as http:
        (part,) = parts_of(http, "/1.1.0", [KIND], expected=KIND)
    assert part.octets == large("1.1.0")
