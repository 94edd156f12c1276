"""The user agent of the Worklist Service, against the embedded origin server and against ones that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

import dicomlab
from dicomlab import Archive, WebEndpoint
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, ServiceError, Unreachable, UsageError
from dicomlab.web.channel import WebSocketChannel
from dicomlab.web.http import Site
from dicomlab.web.origin.capabilities import WORK
from tests.unit.archive.test_workitems import PERFORMED


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with Archive() as opened:
        yield opened


def test_the_verbs_over_the_web_do_what_they_do_at_the_store(archive: Archive) -> None:
    web, straight = archive.web.workitems, archive.workitems
    made = web.create(ProcedureStepLabel="Read CT", PatientName="Müller^Jürgen", PatientID="W1")
    assert str(made) == "0000H Success"
    cohort = web.search(PatientID="W1", include=["PatientBirthDate", "ReferencedRequestSequence.AccessionNumber"])
    assert cohort.to_dataframe().equals(
        straight.search(
            PatientID="W1", include=["PatientBirthDate", "ReferencedRequestSequence.AccessionNumber"]
        ).to_dataframe()
    )
    assert (cohort.level, cohort.complete, list(cohort["PatientName"])) == ("workitem", True, ["Müller^Jürgen"])
    mine = web.claim(made.uid).transaction_uid
    web.update(made.uid, PERFORMED, mine)
    web.change_state(made.uid, "COMPLETED", mine)
    assert web.change_state(made.uid, "COMPLETED", mine).status == 0xB306
    assert web.retrieve(made.uid) == straight.retrieve(made.uid)
    assert straight.retrieve(made.uid).ProcedureStepState == "COMPLETED"


def test_pages_and_limits(archive: Archive) -> None:
    small = WebEndpoint(archive.web.url, page=2).workitems
    for at in range(5):
        small.create(ProcedureStepLabel=f"Page {at}", PatientID="PAGES")
    assert list(small.search(PatientID="PAGES")["ProcedureStepLabel"]) == [f"Page {at}" for at in range(5)]
    cut = small.search(PatientID="PAGES", limit=3)
    assert (len(cut), cut.complete) == (3, False)
    assert len(small.search(PatientID="NOBODY")) == 0


def test_what_was_created_with_modifications_says_so(archive: Archive) -> None:
    from dicomlab.model.workitems import scheduled

    lacking = scheduled({"ProcedureStepLabel": "Read"})
    del lacking.PatientName
    assert archive.web.workitems.create(lacking).status == 0xB300


@pytest.mark.parametrize(
    ("state", "transaction", "status", "words"),
    [
        ("COMPLETED", "1.2.3", 409, "C310H"),
        ("IN PROGRESS", "", 400, "Transaction UID is missing"),
        ("SCHEDULED", "1.2.3", 400, "C303H"),
    ],
)
def test_a_refusal_has_the_server_s_words(
    archive: Archive, state: str, transaction: str, status: int, words: str
) -> None:
    web = archive.web.workitems
    uid = web.create(ProcedureStepLabel="Read").uid
    with pytest.raises(ServiceError, match=words) as caught:
        web.change_state(uid, state, transaction)
    assert caught.value.status == status


def test_what_never_leaves(archive: Archive) -> None:
    web = archive.web.workitems
    for wrong in (
        lambda: web.retrieve("../studies"),
        lambda: web.change_state("1.2", "DONE", "1.2"),
        lambda: web.search(NoSuchThing=1),
        lambda: web.create(NoSuchThing=1),
        lambda: web.create(ProcedureStepLabel="x", uid="nonsense"),
        lambda: web.subscribe("1.2", PatientID="1"),
        lambda: WebEndpoint(archive.web.url, me="TOO LONG FOR AN AE TITLE"),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_events_come_as_things_happen(archive: Archive) -> None:
    reader = WebEndpoint(archive.web.url, me="READER").workitems
    assert reader.subscribe(PatientID="E1").status == 0
    with dicomlab.trace() as wire, reader.events(seconds=60) as events:
        uid = archive.workitems.create(ProcedureStepLabel="Read", PatientID="E1").uid
        event = next(events)
        assert (event.uid, event.name, event.receiver) == (uid, "UPS State Report", "READER")
        assert event.information.ProcedureStepState == "SCHEDULED"
        reader.claim(uid)
        assert next(events).information.ProcedureStepState == "IN PROGRESS"
        archive.workitems.request_cancel(uid, "why")
        assert next(events).information.ReasonForCancellation == "why"
        threading.Timer(0.05, events.close).start()
        assert list(events) == []
    text = str(wire)
    assert "UPS State Report of" in text
    assert "UPS Cancel Requested of" in text
    assert reader.unsubscribe().existed
    assert list(reader.events(seconds=0)) == []


def test_a_channel_ends_with_its_server() -> None:
    with Archive() as archive:
        events = archive.web.workitems.events()
    with pytest.raises(Interrupted, match="ended the notification connection"):
        next(events)


def test_an_archive_without_a_port_has_no_channel() -> None:
    with Archive(web_port=None) as archive:
        web = archive.web.workitems
        assert web.create(ProcedureStepLabel="Read").status == 0
        with pytest.raises(UsageError, match=r"archive\.workitems\.events"):
            web.events()


# --- servers that misbehave


class Canned(threading.Thread):
    """Answers one connection with what it is given, and keeps what it was sent."""

    def __init__(self, *answers: bytes, stay: bool = False) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._answers, self._stay = answers, stay
        self.heard = b""
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/rs"
        self.start()

    def run(self) -> None:
        connection, _ = self._socket.accept()
        with connection, self._socket:
            connection.settimeout(30)
            while b"\r\n\r\n" not in self.heard:
                self.heard += connection.recv(4096)
            for answer in self._answers:
                connection.sendall(answer.replace(b"ACCEPT", _accept(self.heard)))
            if self._stay:
                while connection.recv(4096):
                    pass


def _accept(request: bytes) -> bytes:
    import base64
    import hashlib
    import re

    key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    digest = hashlib.sha1((key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest)


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
EVENT = b'{"00001000":{"vr":"UI","Value":["1.2"]},"00001002":{"vr":"US","Value":[1]}}'


def text_frame(octets: bytes, first: int = 0x81) -> bytes:
    size = bytes([len(octets)]) if len(octets) < 126 else b"\x7e" + len(octets).to_bytes(2, "big")
    return bytes([first]) + size + octets


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ((b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",), Refused, "401"),
        ((b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",), ServiceError, "404"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), ServiceError, "200"),
        ((SWITCH.replace(b"ACCEPT", b"nonsense"),), RemoteProtocolError, "handshake"),
        ((b"SSH-2.0-x\r\n\r\n",), RemoteProtocolError, "handshake"),
        ((b"",), RemoteProtocolError, "handshake"),
        ((SWITCH,), Interrupted, "ended"),
        ((SWITCH, text_frame(b"hello")), RemoteProtocolError, "no JSON"),
        ((SWITCH, text_frame(b"{}")), RemoteProtocolError, "names no instance"),
        ((SWITCH, b"\xff\xff\xff\xff"), Interrupted, "ended"),
        ((SWITCH, b"\x81\x7f" + (1 << 40).to_bytes(8, "big")), Interrupted, "ended"),
        ((SWITCH, b"\x88\x02\x03\xe9"), Interrupted, "1001"),
    ],
)
def test_servers_that_are_no_good(answers: tuple[bytes, ...], error: type[Exception], words: str) -> None:
    server = Canned(*answers)
    with pytest.raises(error, match=words):
        next(WebEndpoint(server.url, timeout_s=20).workitems.events(seconds=20))
    server.join(30)


def test_pings_and_pieces() -> None:
    server = Canned(SWITCH + b"\x89\x02hi" + text_frame(EVENT[:9], 0x01), text_frame(EVENT[9:], 0x80), stay=True)
    with WebEndpoint(server.url).workitems.events(seconds=30) as events:
        assert next(events).uid == "1.2"
    server.join(30)


def test_what_comes_with_a_broken_message_is_not_lost() -> None:
    other = EVENT.replace(b"1.2", b"1.3")
    server = Canned(SWITCH + text_frame(EVENT) + text_frame(b"hello") + text_frame(other), stay=True)
    channel = WebSocketChannel(Site(server.url), "DICOMLAB")
    found: list[str] = []
    for _ in range(3):
        try:
            event = channel.next(30)
            found.append(event.uid if event else "")
        except RemoteProtocolError:
            found.append("broken")
    assert found == ["1.2", "broken", "1.3"]
    channel.close()
    server.join(30)


def test_a_message_in_many_small_frames_costs_no_more_than_it_is_long() -> None:
    pieces = [EVENT[at : at + 1] for at in range(len(EVENT))]
    begun = text_frame(pieces[0], 0x01) + b"\x00\x00" * 400_000  # frames of nothing
    sent = begun + b"".join(text_frame(one, 0x00) for one in pieces[1:-1]) + text_frame(pieces[-1], 0x80)
    server = Canned(SWITCH + sent, stay=True)
    channel = WebSocketChannel(Site(server.url), "DICOMLAB")
    event = channel.next(30)
    assert event is not None
    assert event.uid == "1.2"
    channel.close()
    server.join(30)


def test_a_server_that_falls_silent_is_asked_and_given_up() -> None:
    server = Canned(SWITCH, stay=True)
    events = WebEndpoint(server.url, timeout_s=0.2).workitems.events()
    with pytest.raises(Interrupted, match="no pong"):
        next(events)
    server.join(30)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable):
        WebEndpoint(f"http://127.0.0.1:{port}/rs").workitems.events()


def test_credentials_go_where_they_belong_and_are_never_shown() -> None:
    secret = "hunter2-token"
    server = Canned(SWITCH, text_frame(EVENT), stay=True)
    endpoint = WebEndpoint(server.url, auth=dicomlab.web.auth.Bearer(secret))
    with dicomlab.trace() as wire, endpoint.workitems.events(seconds=30) as events:
        next(events)
    server.join(30)
    assert f"Authorization: Bearer {secret}".encode() in server.heard
    kept = b"".join(wire[at].event.octets for at in range(len(wire)))
    assert secret.encode() not in kept
    assert "Authorization: •••".encode() in kept

    elsewhere = Canned(SWITCH, stay=True)
    told = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nContent-Location: {}\r\n\r\n".format(
        elsewhere.url.replace("http", "ws") + "/ws/DICOMLAB"
    )
    server = Canned(told.encode())
    endpoint = WebEndpoint(server.url, auth=dicomlab.web.auth.Bearer(secret))
    endpoint.workitems.subscribe()
    assert secret.encode() in server.heard
    endpoint.workitems.events().close()
    elsewhere.join(30)
    server.join(30)
    assert elsewhere.heard.startswith(b"GET /rs/ws/DICOMLAB HTTP/1.1")
    assert secret.encode() not in elsewhere.heard, "another origin"


def test_every_resource_of_work_that_is_described_is_there(archive: Archive) -> None:
    import requests

    wadl = requests.options(archive.web.url, headers={"Accept": "application/json"}, timeout=30).json()
    paths = {one["path"]: [m["name"] for m in one["methods"]] for one in wadl["resources"]["resource"]}
    assert set(WORK) <= set(paths)
    for path, methods in paths.items():
        if path in WORK and not path.startswith("/subscribers"):  # (that is a WebSocket)
            place = archive.web.url + path.replace("{workitem}", "9.9").replace("{aetitle}", "LAB1")
            for method in methods:
                answer = requests.request(method, place.replace("{transaction}", "9.9"), timeout=30)
                assert answer.status_code in (200, 204, 206, 400, 404, 415), (method, path)
            answer = requests.request("PATCH", place.replace("{transaction}", "9.9"), timeout=30)
            assert answer.status_code == 405
