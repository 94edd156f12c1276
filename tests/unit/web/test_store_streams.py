"""Several store requests at once: under way together, finished when somebody cancels, told in the order given."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dicomlab.errors import Interrupted, Refused, UsageError
from dicomlab.part10.files import parcel_of_file
from dicomlab.part10.meta import decode_file_meta
from dicomlab.web import store as store_module
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.media_types import parse_content_type
from dicomlab.web.multipart import Data, PartReader
from dicomlab.web.store_answer import StoredInstance, build_store_answer
from tests.unit.dimse.holdings import instance

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES = "1.2.3.1.1"


def uid_of(number: int) -> str:
    return f"{SERIES}.{number}"


class Origin:
    """Stores in a thread for each request, and finds what it stored unless it ``loses`` it."""

    def __init__(self, *, status: int = 200, loses: frozenset[str] = frozenset(), had: int = 0) -> None:
        self.stored: set[str] = {f"{SERIES}.99.{n}" for n in range(had)}
        self.searches: list[str] = []
        self.batches: list[list[str]] = []
        self.status, self.loses = status, loses
        self.before_answer: Callable[[], object] = lambda: None

    def store(self, boundary: str, body: bytes) -> tuple[int, bytes]:
        events = PartReader(boundary).feed(body)
        parts = [bytes(event.octets) for event in events if isinstance(event, Data)]
        found = [decode_file_meta(part, final=True).sop_instance_uid for part in parts]
        self.batches.append(found)
        self.before_answer()
        self.stored.update(found)
        return self.status, json.dumps(
            build_store_answer([StoredInstance(CT, uid, "") for uid in found], [], "")
        ).encode()

    def search(self, path: str) -> tuple[int, bytes]:
        found = sorted(self.stored - self.loses)
        level = "instances" if path.split("?", maxsplit=1)[0].endswith("/instances") else "series"
        self.searches.append(level)
        if level == "series":
            row = {"0020000E": {"vr": "UI", "Value": [SERIES]}, "00201209": {"vr": "IS", "Value": [len(found)]}}
            return 200, json.dumps([row] if found else []).encode()
        return 200, json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in found]).encode()


@contextmanager
def serving(origin: Origin) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            boundary = parse_content_type(self.headers["Content-Type"]).boundary
            self._answer(*origin.store(boundary, self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._answer(*origin.search(self.path))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
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


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH_INSTANCES", 5)


def many(count: int) -> list[Any]:
    return [instance(n) for n in range(1, count + 1)]


def test_as_many_requests_are_under_way_as_there_are_streams() -> None:
    origin, together = Origin(), threading.Barrier(3)
    origin.before_answer = lambda: together.wait(10)  # nobody is answered before three ask
    with serving(origin) as url:
        report = WebEndpoint(url).store(many(30), streams=3, progress=False)
    assert report.counts == {"done": 30}
    assert [one.sop_instance_uid for one in report] == [uid_of(n) for n in range(1, 31)]  # as given
    assert len(origin.batches) == 6


def test_one_stream_keeps_the_order() -> None:
    origin = Origin()
    with serving(origin) as url:
        WebEndpoint(url).store(many(12), streams=1, progress=False)
    assert [uid for batch in origin.batches for uid in batch] == [uid_of(n) for n in range(1, 13)]


@pytest.mark.parametrize("streams", [1, 2])
def test_cancelling_finishes_what_is_under_way_and_begins_nothing(streams: int) -> None:
    origin, together = Origin(), threading.Barrier(streams)
    given = threading.Event()

    def cancel() -> None:
        given.wait(10)
        together.wait(10)
        operation.cancel()

    origin.before_answer = cancel
    with serving(origin) as url:
        operation = WebEndpoint(url).store(many(40), streams=streams, progress=False, background=True)
        given.set()
        report = operation.result(30)
    assert report.counts == {"done": 5 * streams}
    assert (report.complete, report.note) == (False, "cancelled")


def test_the_first_failure_ends_all_and_every_instance_that_was_sent_has_its_row() -> None:
    origin, together = Origin(status=403), threading.Barrier(2)
    origin.before_answer = lambda: together.wait(10)
    with serving(origin) as url, pytest.raises(Refused, match="403") as caught:
        WebEndpoint(url).store(many(40), streams=2, progress=False)
    assert caught.value.partial.counts == {"failed": 10}
    assert len(origin.batches) == 2


def test_what_breaks_off_where_it_comes_from_leaves_the_report() -> None:
    def some() -> Iterator[Any]:
        yield from many(11)
        raise Interrupted("the medium is gone", endpoint="here")

    origin = Origin()
    with serving(origin) as url, pytest.raises(Interrupted, match="the medium is gone") as caught:
        WebEndpoint(url).store(some(), streams=2, progress=False)
    assert caught.value.partial.counts == {"done": 10}


@pytest.mark.parametrize("streams", [1, 4])
def test_a_file_that_shrinks_fails_alone(tmp_path: Path, streams: int) -> None:
    parcels = []
    for number, dataset in enumerate(many(6)):
        path = tmp_path / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        parcels.append(parcel_of_file(path))
    with (tmp_path / "2.dcm").open("r+b") as file:
        file.truncate((tmp_path / "2.dcm").stat().st_size - 2)
    origin = Origin()
    with serving(origin) as url:
        report = WebEndpoint(url).store(parcels, streams=streams, progress=False)
    assert [one.result for one in report] == ["done", "done", "failed", "done", "done", "done"]
    assert "shorter" in report.outcomes[2].status
    assert not report.complete


def test_what_only_one_of_the_batches_lost_is_told() -> None:
    origin = Origin(loses=frozenset({uid_of(7)}))
    with serving(origin) as url:
        report = WebEndpoint(url).store(many(15), streams=3, progress=False)
    assert report.counts == {"done": 14, "pending": 1}
    assert report.outcomes[6].result == "pending"
    assert origin.searches[:2] == ["series", "series"]  # before and after: one is missing, so
    assert set(origin.searches[2:]) == {"instances"}


def test_a_series_that_was_not_there_is_counted() -> None:
    origin = Origin()
    with serving(origin) as url:
        assert WebEndpoint(url).store(many(15), progress=False).counts == {"done": 15}
    assert origin.searches == ["series", "series"]


def test_a_count_proves_nothing_of_a_series_that_was_there() -> None:
    """As many as were sent are there, but they are others."""
    origin = Origin(had=15, loses=frozenset(uid_of(n) for n in range(200)))
    with serving(origin) as url:
        assert WebEndpoint(url).store(many(15), progress=False).counts == {"pending": 15}


@pytest.mark.parametrize("streams", [0, -1, 33, 2.5, "4", True])
def test_how_many_streams_there_may_be(streams: Any) -> None:
    with pytest.raises(UsageError, match="from 1 to 32"):
        WebEndpoint("http://127.0.0.1:1/x").store([], streams=streams, progress=False)
