"""Bodies straight from the socket into memory: no octet too many, none too few, all in the trace."""

from __future__ import annotations

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
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.pace import Paced
from tests.unit.web.scripted import MemorySink
from tests.unit.web.test_endpoint_faults import KIND, multipart, part10


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


def test_one_connection_serves_and_the_trace_has_every_octet() -> None:
    uids = ("1.1.0", "1.1.1", "1.1.2")
    connections: list[object] = []
    sent: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.client_address)

        def do_GET(self) -> None:
            body = multipart(part10(self.path.rpartition("/")[2]))
            sent.append(len(body))
            self.send_response(200)
            self.send_header("Content-Type", KIND)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    sink = MemorySink()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        with trace() as wire:
            endpoint = WebEndpoint(f"http://127.0.0.1:{server.server_port}/dicom-web")
            endpoint.deliver([Wanted("1", "1.1", uid) for uid in uids], sink, Control(), streams=1)
        server.shutdown()
        thread.join()
    assert set(sink.arrived) == set(uids)
    assert len(connections) == 1
    bodies = [e.size for e in wire if e.direction == "received" and not e.octets.startswith(b"HTTP/")]
    assert sum(bodies) == sum(sent)
