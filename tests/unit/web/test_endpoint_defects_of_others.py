"""What the reference client for DICOM web services was seen to do wrong, one by one, and does not happen here.

Seven defects, each against a server that provokes it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import pytest
from urllib3.util import connection

from dicomlab.errors import Unreachable
from dicomlab.model.progress import Control
from dicomlab.web.endpoint import WebEndpoint
from tests.unit.dimse.holdings import instance
from tests.unit.web.scripted import INSTANCE, Asked, MemorySink, reply, rows, scripted, studies
from tests.unit.web.test_endpoint_faults import FILES, KIND, UIDS, WANTED, multipart, single, store, store_reply


def a_store_that_is_asked_again_sends_its_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: 0 octets after a 503, and success without a row."""
    answers = iter(
        [reply("503 Later", Retry_After="0"), reply("503 Later", Retry_After="0"), store_reply("200 OK", UIDS[:1])]
    )

    def answer(asked: Asked) -> bytes:
        return next(answers) if asked.method == "POST" else rows({INSTANCE: UIDS[0]})

    with scripted(answer) as server:
        report = WebEndpoint(server.url).store([instance(1, octets=1_100_000)], progress=False)
        sent = [len(one.body) for one in server.asked if one.method == "POST"]
    assert report.counts == {"done": 1}
    assert len(sent) == 3
    assert min(sent) == max(sent) > 1_100_000


def a_multipart_that_is_cut_gives_no_torso(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: the first 300 octets of a longer part as a part like others."""
    cut = multipart(*FILES.values())[:-700]
    sink = MemorySink()
    with scripted(lambda asked: single(asked) or reply("200 OK", cut, length=False, Content_Type=KIND)) as server:
        WebEndpoint(server.url).deliver(WANTED, sink, Control())
    assert {uid: a.file_meta + octets for uid, (a, octets) in sink.arrived.items() if a.file_meta} == FILES
    assert sink.abandoned == [WANTED[-1].sop_instance_uid]


def a_server_that_ignores_offset_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: without an end."""
    with scripted(lambda asked: studies(*(f"1.{n}" for n in range(10)))) as server:
        found = WebEndpoint(server.url, page=10).find("study", progress=False)
        assert len(server.asked) == 2
    assert (len(found), found.complete) == (10, False)
    assert "ignores offset" in found.note


def a_refused_connection_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: after 30 s, since every exception is tried again with pauses."""
    attempts: list[Any] = []
    connect = connection.create_connection

    def counted(address: Any, *args: Any, **options: Any) -> socket.socket:
        attempts.append(address)
        return connect(address, *args, **options)

    def no_pause(*_: object) -> None:
        raise AssertionError("somebody waits")

    monkeypatch.setattr(connection, "create_connection", counted)
    monkeypatch.setattr(time, "sleep", no_pause)
    monkeypatch.setattr(Control, "wait", no_pause)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for ask in (
        lambda web: web.find("study", progress=False),
        lambda web: web.store([instance(1)], progress=False),
        lambda web: web.deliver(WANTED, MemorySink(), Control(), streams=1),
    ):
        attempts.clear()
        with pytest.raises(Unreachable, match="is the server running, and are host and port right"):
            ask(WebEndpoint(f"http://127.0.0.1:{port}/dicom-web"))
        assert 1 <= len(attempts) <= 2


def what_a_failed_store_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: the status is raised before the body is looked at."""
    for status in ("409 Conflict", "400 Bad Request"):
        with scripted(
            lambda asked, status=status: store_reply(status, UIDS[:1], {UIDS[1]: 0x0110, UIDS[2]: 0xA900})
        ) as server:
            report = store(server.url)
        assert [one.status[:5] for one in report] == ["0000H", "0110H", "A900H"]


def a_charset_in_the_type_of_the_answer_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: types are compared as text, and the answer is empty."""
    kind = 'application/dicom+json; charset="utf-8"'
    with scripted(
        lambda asked: (
            store_reply("200 OK", UIDS, Content_Type=kind)
            if asked.method == "POST"
            else rows(*({INSTANCE: uid} for uid in UIDS))
        )
    ) as server:
        assert store(server.url).counts == {"done": 3}


def wild_cards_go_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: percent-encoded, which such servers don't decode, and nothing is found."""

    def answer(asked: Asked) -> bytes:
        raw = dict(pair.split("=", 1) for pair in urlsplit(asked.target).query.split("&"))
        assert unquote_plus(raw["PatientName"]) == "A*B?"
        return studies(*(["1.1"] if raw["PatientName"] == "A*B?" and "offset" not in raw else []))

    with scripted(answer) as server:
        assert len(WebEndpoint(server.url).find("study", PatientName="A*B?", progress=False)) == 1


DEFECTS: tuple[Callable[[pytest.MonkeyPatch], None], ...] = (
    a_store_that_is_asked_again_sends_its_whole_body,
    a_multipart_that_is_cut_gives_no_torso,
    a_server_that_ignores_offset_is_not_asked_for_ever,
    a_refused_connection_is_told_at_once,
    what_a_failed_store_says_is_read,
    a_charset_in_the_type_of_the_answer_does_not_matter,
    wild_cards_go_as_they_are,
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda one: one.__name__)
def test_a_defect_of_others(defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    defect(monkeypatch)
