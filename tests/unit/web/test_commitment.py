"""Storage commitment over the web, both roles; and over both doors, tomorrow and through an inbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from dicomlab import Archive, Node, Report, WebEndpoint
from dicomlab.archive.commitments import CommitmentStore
from dicomlab.errors import UsageError
from dicomlab.model.commitment import Committed
from dicomlab.samples.phantom import write_phantom
from tests.peers.processes import LOOPBACK, free_port

CT = "1.2.840.10008.5.1.4.1.1.2"
JSON = "application/dicom+json"


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=1, slices=2)


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with Archive() as opened:
        yield opened


def test_what_is_stored_is_committed_to(archive: Archive, slices: list[Path]) -> None:
    report = archive.web.store(slices, commit=True, progress=False)
    assert report.complete
    assert [one.status for one in report] == ["0000H Success; commitment: safe"] * len(slices)
    assert report.refresh_with is None
    assert not report.follow


# --- the origin server


def ask(archive: Archive, method: str, uid: str, body: Any = None) -> requests.Response:
    data = json.dumps(body) if body is not None else None
    return requests.request(
        method, f"{archive.web.url}/commitment-requests/{uid}", data=data, timeout=30,
        headers={"Content-Type": JSON, "Accept": JSON},
    )  # fmt: skip


def references(*pairs: tuple[str, str]) -> dict[str, Any]:
    items = [{"00081150": {"vr": "UI", "Value": [c]}, "00081155": {"vr": "UI", "Value": [u]}} for c, u in pairs]
    return {"00081199": {"vr": "SQ", "Value": items}}


def test_the_origin_server(archive: Archive, slices: list[Path]) -> None:
    held = archive.add(slices, progress=False).outcomes[0]
    body = references((held.sop_class_uid, held.sop_instance_uid), (CT, "9.9.9"), ("1.2.3", "9.9.8"))
    assert ask(archive, "GET", "1.2.3").status_code == 404
    made = ask(archive, "POST", "1.2.3", body)
    assert (made.status_code, made.headers["Content-Type"]) == (200, JSON)
    failed = {item["00081155"]["Value"][0]: item["00081197"]["Value"][0] for item in made.json()["00081198"]["Value"]}
    assert failed == {"9.9.9": 0x0112, "9.9.8": 0x0122}
    assert [i["00081155"]["Value"][0] for i in made.json()["00081199"]["Value"]] == [held.sop_instance_uid]
    assert "00081195" not in made.json(), "the answer has no Transaction UID"
    assert ask(archive, "POST", "1.2.3", body).status_code == 409
    assert ask(archive, "GET", "1.2.3").json() == made.json()
    assert ask(archive, "POST", "1.2.4", {}).status_code == 400
    assert ask(archive, "POST", "nonsense", body).status_code == 400
    assert ask(archive, "DELETE", "1.2.3").status_code == 405
    assert ask(archive, "GET", "1.2.4").status_code == 404


# --- a server that takes its time


class Slow:
    """An origin server that stores nothing itself, and answers requests for commitment when it is told to."""

    def __init__(self, archive: Archive) -> None:
        self.asked: dict[str, list[tuple[str, str]]] = {}
        self.ready, self.offers, self.forgets = False, True, False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                octets = self.rfile.read(int(self.headers["Content-Length"]))
                if not self.path.startswith("/rs/commitment"):
                    answer = requests.post(
                        archive.web.url + self.path.removeprefix("/rs"), data=octets, timeout=30,
                        headers={name: self.headers[name] for name in ("Content-Type", "Accept")},
                    )  # fmt: skip
                    self._say(answer.status_code, answer.content)
                elif not outer.offers:
                    self._say(404)
                else:
                    items = json.loads(octets)["00081199"]["Value"]
                    outer.asked[self.path.rpartition("/")[2]] = [
                        (one["00081150"]["Value"][0], one["00081155"]["Value"][0]) for one in items
                    ]
                    self._say(202)

            def do_GET(self) -> None:
                if not self.path.startswith("/rs/commitment"):
                    self._say(404)
                    return
                uid = self.path.rpartition("/")[2]
                if outer.forgets or uid not in outer.asked:
                    self._say(404)
                else:
                    self._say(200, json.dumps(references(*outer.asked[uid])).encode()) if outer.ready else self._say(
                        202
                    )

            def _say(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                self.send_header("Content-Type", JSON)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.block_on_close = True
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}/rs"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def slow(archive: Archive) -> Iterator[Slow]:
    server = Slow(archive)
    yield server
    server.close()


def test_tomorrow_over_the_web(slow: Slow, slices: list[Path], tmp_path: Path) -> None:
    report = WebEndpoint(slow.url).store(slices, commit=True, commit_timeout_s=0.2, progress=False)
    assert [one.result for one in report] == ["pending"] * len(slices)
    assert not report.complete
    path = report.save(tmp_path / "report.jsonl")
    loaded = Report.load(path)
    assert (loaded.title, loaded.outcomes) == (report.title, report.outcomes)
    with pytest.raises(UsageError, match="refresh it with that"):
        loaded.refresh(WebEndpoint("http://elsewhere.example/rs"))
    slow.ready = True
    done = loaded.refresh()
    assert done.complete
    assert [one.status for one in done] == ["0000H Success; commitment: safe"] * len(slices)
    assert loaded.refresh(WebEndpoint(slow.url)).complete
    assert len(slow.asked) == 1
    assert done.refresh() is done


def test_a_transaction_that_the_server_has_lost_is_asked_for_anew(slow: Slow, slices: list[Path]) -> None:
    report = WebEndpoint(slow.url).store(slices, commit=True, commit_timeout_s=0.2, progress=False)
    slow.asked.clear()
    slow.ready = True
    assert report.refresh().complete
    assert len(slow.asked) == 1


def test_a_server_without_commitment_says_so_in_the_rows(slow: Slow, slices: list[Path]) -> None:
    slow.offers = False
    report = WebEndpoint(slow.url).store(slices, commit=True, progress=False)
    assert [one.result for one in report] == ["warning"] * len(slices)
    assert all("not committed: 404" in one.status for one in report)


# --- over DIMSE, with an inbox


def test_a_report_that_comes_when_nobody_is_there(slices: list[Path], tmp_path: Path) -> None:
    """Who asked has gone, and an archive stands in its name; later both archives have gone too, and its file tells."""
    port, pacs_port = free_port(), free_port()
    known = {"STORER": (LOOPBACK, port)}
    with (
        Archive(tmp_path / "ours", f"STORER@{LOOPBACK}:{port}", web_port=None) as ours,
        Archive(tmp_path / "pacs", f"PACS@{LOOPBACK}:{pacs_port}", web_port=None, known=known),
    ):
        node = Node(f"PACS@{LOOPBACK}:{pacs_port}", me=f"STORER:{port}")
        report = node.store(slices, commit=True, commit_timeout_s=0.001, inbox=ours.inbox, progress=False)
        assert [one.result for one in report] == ["pending"] * len(slices)
        path = report.save(tmp_path / "report.jsonl")
        (uid,) = {one.transaction_uid for one in report}
        while ours.inbox.result(uid) is None:  # the report comes on an association of its own
            assert ours.node.verify()
    loaded = Report.load(path)
    assert loaded.follow["inbox"].endswith("commitments.sqlite")
    done = loaded.refresh()
    assert done.complete, done
    assert all(one.status.endswith("commitment: safe") for one in done)


def test_an_inbox_takes_what_was_asked_for_and_nothing_else(tmp_path: Path) -> None:
    inbox = CommitmentStore(tmp_path / "commitments.sqlite")
    inbox.expect("1.2", [(CT, "1.1"), (CT, "1.2")])
    assert inbox.result("1.2") is None
    assert not inbox.take("1.3", Committed(((CT, "1.1"),), {})), "a transaction of somebody else"
    assert inbox.take("1.2", Committed(((CT, "1.1"), (CT, "9.9")), {(CT, "1.2"): 0x0112}))
    assert inbox.take("1.2", Committed((), {(CT, "1.1"): 0x0110})), "known, and the first report stands"
    inbox.close()
    again = CommitmentStore(tmp_path / "commitments.sqlite")
    assert again.result("1.2") == Committed(((CT, "1.1"),), {(CT, "1.2"): 0x0112})
    again.close()
