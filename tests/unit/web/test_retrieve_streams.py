"""Several series at once: they are under way together, whatever fails, and everything arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dicomlab.errors import Refused, UsageError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Wanted
from dicomlab.model.trace import trace
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.media_types import DICOM, accepting
from tests.unit.web.scripted import MemorySink
from tests.unit.web.test_endpoint_faults import KIND, multipart, part10


@contextmanager
def serving(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """A server that answers each request in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", KIND)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that leaves is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        server.shutdown()
        thread.join()


def wanted(series: int) -> list[Wanted]:
    return [Wanted("1", f"1.{s}", f"1.{s}.{n}") for s in range(series) for n in range(4)]


def whole(path: str) -> bytes:
    uid = path.split("/series/")[1].split("/", maxsplit=1)[0]
    return multipart(*(part10(f"{uid}.{n}") for n in range(4)))


def test_as_many_series_are_under_way_as_there_are_streams() -> None:
    together = threading.Barrier(3)

    def answer(path: str) -> tuple[int, bytes]:
        together.wait(10)  # nobody is answered before three ask
        return 200, whole(path)

    sink = MemorySink()
    with serving(answer) as url, trace() as wire:
        WebEndpoint(url).deliver(wanted(6), sink, Control(), streams=3)
    assert set(sink.arrived) == {one.sop_instance_uid for one in wanted(6)}
    assert sum(b"GET /" in event.octets[:5] for event in wire if event.direction == "sent") == 6  # all in one trace


def test_what_series_lack_is_asked_for_by_all_streams() -> None:
    asked: list[str] = []

    def answer(path: str) -> tuple[int, bytes]:
        asked.append(path)
        if "/instances/" not in path:
            return 200, multipart(part10(path.split("/series/")[1] + ".0"))
        return 200, multipart(part10(path.rpartition("/")[2]))

    sink = MemorySink()
    with serving(answer) as url:
        WebEndpoint(url).deliver(wanted(5), sink, Control(), streams=4)
    assert set(sink.arrived) == {one.sop_instance_uid for one in wanted(5)}
    assert len(asked) == len(set(asked)) == 5 + 5 * 3


def test_the_first_failure_ends_all_streams() -> None:
    with serving(lambda path: (403, b"")) as url, pytest.raises(Refused, match="403"):
        WebEndpoint(url).deliver(wanted(8), MemorySink(), Control(), streams=4)


def test_cancelling_ends_all_streams() -> None:
    control = Control()
    sink = MemorySink(on_begin=lambda arrival: control.cancel())
    with serving(lambda path: (200, whole(path))) as url:
        WebEndpoint(url).deliver(wanted(40), sink, control, streams=4)
    assert len(sink.arrived) < 160


def test_a_sink_is_called_by_one_thread_at_a_time() -> None:
    inside = threading.Semaphore(1)

    def begin(arrival: Arrival) -> None:
        assert inside.acquire(blocking=False)
        inside.release()

    sink = MemorySink(on_begin=begin)
    with serving(lambda path: (200, whole(path))) as url:
        WebEndpoint(url).deliver(wanted(10), sink, Control(), streams=8)
    assert len(sink.arrived) == 40


@pytest.mark.parametrize("streams", [0, -1, 33, 2.5, "4"])
def test_how_many_streams_there_may_be(streams: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 32"):
        WebEndpoint("http://127.0.0.1:1/x").deliver(wanted(1), MemorySink(), Control(), streams=streams)


def test_preferences_are_written_in_order() -> None:
    assert accepting(DICOM, "*") == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert accepting(DICOM, "", quoted=False) == "multipart/related; type=application/dicom"
    assert accepting(DICOM, ["1.2.840.10008.1.2.4.90", "*"]) == (
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90, '
        'multipart/related; type="application/dicom"; transfer-syntax=*; q=0.969'
    )
    for wrong in ("JPEG", ["*", 'x"'], [], "1" * 65):
        with pytest.raises(UsageError, match="transfer_syntax"):
            accepting(DICOM, wrong)
