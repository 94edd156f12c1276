"""The user agent against servers that cut, cap, lie, ignore and refuse."""

from __future__ import annotations

import gzip
import json
from contextlib import closing as closed
from pathlib import Path
from typing import Any

import pytest

from dicomlab.cohorts.folder import FolderSink, Layout
from dicomlab.cohorts.ledger import outcomes_of
from dicomlab.errors import Interrupted, Refused, ServiceError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Wanted
from dicomlab.model.trace import trace
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, encode_file_meta
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.multipart import closing, part_head
from dicomlab.web.store_answer import Failure, StoredInstance, build_store_answer
from tests.unit.dimse.holdings import instance
from tests.unit.web.scripted import INSTANCE, SERIES, STUDY, Asked, MemorySink, reply, rows, scripted, studies

CT = "1.2.840.10008.5.1.4.1.1.2"
ALL = [f"1.{n}" for n in range(25)]


def find(url: str, *args: Any, page: int = 1000, **keywords: Any) -> Any:
    return WebEndpoint(url, page=page).find(*args, progress=False, **keywords)


def window(asked: Asked, found: list[str], *, cap: int = 10_000, limit: bool = True, offset: bool = True) -> list[str]:
    start = int(asked.query.get("offset", ["0"])[0]) if offset else 0
    count = min(cap, int(asked.query.get("limit", ["10000"])[0]) if limit else cap)
    return found[start : start + count]


# --- paging


@pytest.mark.parametrize("cap", [1, 10, 24, 25, 26])
def test_a_silent_cap_is_paged_over(cap: int) -> None:
    with scripted(lambda asked: studies(*window(asked, ALL, cap=cap))) as server:
        found = find(server.url, "study")
    assert found["StudyInstanceUID"].tolist() == ALL
    assert found.complete


def test_an_ignored_offset_ends_and_is_told() -> None:
    with scripted(lambda asked: studies(*window(asked, ALL, offset=False))) as server:
        found = find(server.url, "study", page=10)
        assert len(server.asked) == 2
    assert len(found) == 10
    assert not found.complete
    assert "ignores offset" in found.note


@pytest.mark.parametrize("page", [10, 1000])
def test_ignored_limit_and_offset_give_everything(page: int) -> None:
    with scripted(lambda asked: studies(*ALL)) as server:
        found = find(server.url, "study", page=page)
        assert len(server.asked) == 2
    assert len(found) == 25
    assert found.complete


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found"])
def test_a_server_that_declines_to_go_on(status: str) -> None:
    def answer(asked: Asked) -> bytes:
        return reply(status) if "offset" in asked.query else studies(*window(asked, ALL))

    with scripted(answer) as server:
        assert not find(server.url, "study", page=10).complete
        assert find(server.url, "study", page=100).complete


def test_a_warning_of_more_that_never_comes() -> None:
    warning = "299 pacs: There are 15 additional results that can be requested"

    def answer(asked: Asked) -> bytes:
        return studies(*([] if "offset" in asked.query else ALL[:10]), Warning=warning)

    with scripted(answer) as server:
        found = find(server.url, "study")
    assert len(found) == 10
    assert not found.complete


def test_a_failure_on_the_way_keeps_what_had_arrived() -> None:
    def answer(asked: Asked) -> bytes:
        return reply("500 Oops") if "offset" in asked.query else studies(*window(asked, ALL))

    with scripted(answer) as server, pytest.raises(ServiceError) as caught:
        find(server.url, "study", page=10)
    assert len(caught.value.partial) == 10
    assert not caught.value.partial.complete


@pytest.mark.parametrize("nothing", [reply("204 No Content"), reply("200 OK"), rows(), reply("200 OK", b" \n")])
def test_forms_of_nothing(nothing: bytes) -> None:
    with scripted(lambda asked: nothing) as server:
        found = find(server.url, "study")
    assert len(found) == 0
    assert found.complete


def test_rows_that_were_not_asked_for_are_dropped() -> None:
    with scripted(lambda asked: studies(*window(asked, ALL))) as server:
        found = find(server.url, "study", StudyInstanceUID="1.7")
    assert found["StudyInstanceUID"].tolist() == ["1.7"]


def test_an_infinity_spoils_no_answer() -> None:
    body = b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00409225": {"vr": "FD", "Value": [1e999]}}]'
    answers = iter([reply("200 OK", body, Content_Type="application/dicom+json"), rows()])
    with scripted(lambda asked: next(answers)) as server:
        assert find(server.url, "study")["StudyInstanceUID"].tolist() == ["1.2"]


# --- what servers don't know


def test_a_server_that_does_not_decode_values() -> None:
    name = {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}
    other = {"vr": "PN", "Value": [{"Alphabetic": "DoesJane"}]}
    body = [{STUDY: {"vr": "UI", "Value": [f"1.{n}"]}, "00100010": one} for n, one in enumerate((name, other))]

    def answer(asked: Asked) -> bytes:
        hit = "PatientName=Doe?Jane" in asked.target and "offset" not in asked.query
        return reply("200 OK", json.dumps(body if hit else []).encode(), Content_Type="application/dicom+json")

    with scripted(answer) as server, trace() as wire:
        found = find(server.url, "study", PatientName="Doe^Jane")
        assert "PatientName=Doe%5EJane" in server.requests[0]
    assert found["StudyInstanceUID"].tolist() == ["1.0"]
    assert any(e.direction == "note" and "percent-encoded" in e.text for e in wire)


@pytest.mark.parametrize("declined", [rows(), reply("400 Bad Request")])
def test_a_server_without_lists_of_uids(declined: bytes) -> None:
    def answer(asked: Asked) -> bytes:
        uid = asked.query["StudyInstanceUID"][0]
        return declined if "," in uid else studies(*([] if "offset" in asked.query else [uid]))

    with scripted(answer) as server:
        found = find(server.url, "study", StudyInstanceUID=["1.1", "1.2"])
    assert found["StudyInstanceUID"].tolist() == ["1.1", "1.2"]


def test_urls_stay_short() -> None:
    uids = [f"1.2.826.0.1.3680043.8.498.{n:038d}" for n in range(100)]
    with scripted(lambda asked: studies()) as server:
        find(server.url, "series", SeriesInstanceUID=uids)
        assert max(len(one.target) for one in server.asked) < 2000


def tree(asked: Asked) -> bytes:
    """A server with two studies of two series of two instances, and hierarchical searches only."""
    parts = asked.path.removeprefix("/dicom-web/").split("/")
    if "offset" in asked.query:
        return rows()
    match parts:
        case ["studies"]:
            return rows({STUDY: "1", "00100020": "P"}, {STUDY: "2", "00100020": "P"})
        case ["studies", study, "series"]:
            return rows({SERIES: f"{study}.1"}, {SERIES: f"{study}.2"})
        case ["studies", study, "series", series, "instances"]:
            return rows({INSTANCE: f"{series}.1"}, {INSTANCE: f"{series}.2"})
    return reply("404 Not Found")


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "404 Not Found", "405 Method Not Allowed", "501 Not Implemented"]
)
def test_without_searches_across_parents_it_goes_down(status: str) -> None:
    def answer(asked: Asked) -> bytes:
        found = tree(asked)
        return reply(status) if b" 404 " in found[:20] else found

    with scripted(answer) as server:
        instances = find(server.url, "instance")
        assert sorted(instances["SOPInstanceUID"]) == [f"{a}.{b}.{c}" for a in (1, 2) for b in (1, 2) for c in (1, 2)]
        assert set(instances["StudyInstanceUID"]) == {"1", "2"}
        assert len(find(server.url, "series")) == 4
        assert len(find(server.url, "instance", StudyInstanceUID="2")) == 4
        assert find(server.url, "series", include=["PatientID"])["PatientID"].tolist() == ["P"] * 4
        assert len(find(server.url, "instance", SeriesInstanceUID="1.2")) >= 2


def test_a_relational_answer_without_parents_is_not_trusted() -> None:
    def answer(asked: Asked) -> bytes:
        if asked.path == "/dicom-web/series":
            return rows({SERIES: "1.1"})
        return tree(asked)

    with scripted(answer) as server:
        assert len(find(server.url, "series")) == 4


# --- retrieve


def part10(uid: str, size: int = 1000) -> bytes:
    return encode_file_meta(CT, uid, EXPLICIT_LE) + b"\x08\x00\x60\x00CS\x02\x00CT" + bytes(size)


def multipart(*bodies: bytes, close: bool = True) -> bytes:
    out = b"".join(
        part_head("b", {"Content-Type": "application/dicom"}, first=n == 0) + b for n, b in enumerate(bodies)
    )
    return out + (closing("b") if close else b"")


KIND = 'multipart/related; type="application/dicom"; boundary=b'
WANTED = [Wanted("1", "1.1", f"1.1.{n}") for n in range(5)]
FILES = {one.sop_instance_uid: part10(one.sop_instance_uid) for one in WANTED}


def single(asked: Asked) -> bytes | None:
    uid = asked.path.rpartition("/instances/")[2]
    return reply("200 OK", multipart(FILES[uid]), Content_Type=KIND) if uid in FILES else None


@pytest.mark.parametrize("cut", [3, 70, 200, 1300, 1700, 2600, -3, -8])
def test_a_cut_series_is_completed_instance_by_instance(cut: int) -> None:
    whole = multipart(*FILES.values())

    def answer(asked: Asked) -> bytes:
        return single(asked) or reply("200 OK", whole[:cut], length=False, Content_Type=KIND)

    sink = MemorySink()
    with scripted(answer) as server, trace() as wire:
        WebEndpoint(server.url).deliver(WANTED, sink, Control())
    assert {uid: a.file_meta + o for uid, (a, o) in sink.arrived.items() if a.file_meta} == FILES
    assert any("one by one" in e.text for e in wire if e.direction == "note") or cut == -3
    assert not sink.reasons


@pytest.mark.parametrize("cut", [None, -9, -40, 200, 20])
@pytest.mark.parametrize("length", [True, False])
def test_a_multipart_may_be_compressed_as_a_whole(cut: int | None, length: bool) -> None:
    """Trees of static files are: nobody asked for it, and where it is cut the rest is asked for again."""
    packed = gzip.compress(multipart(*FILES.values()))[:cut]

    def answer(asked: Asked) -> bytes:
        whole = reply("200 OK", packed, length=length, Content_Type=KIND, Content_Encoding="gzip")
        return single(asked) or whole

    sink = MemorySink()
    with scripted(answer) as server:
        WebEndpoint(server.url).deliver(WANTED, sink, Control())
        assert (len(server.asked) == 1) is (cut in (None, -9))  # without its checksum alone, all of it is there
    assert {uid: a.file_meta + o for uid, (a, o) in sink.arrived.items() if a.file_meta} == FILES
    assert not sink.reasons


def test_a_cut_instance_is_interrupted_and_leaves_nothing() -> None:
    torso = multipart(FILES["1.1.0"])[:900]
    sink = MemorySink()
    answer = reply("200 OK", torso, length=False, Content_Type=KIND)
    with scripted(lambda asked: answer) as server, pytest.raises(Interrupted, match="closing delimiter"):
        WebEndpoint(server.url).deliver(WANTED[:1], sink, Control())
    assert not sink.arrived
    assert sink.abandoned == ["1.1.0"] * 2  # asked for once more


def test_a_part_without_its_delimiter_never_arrives() -> None:
    torso = multipart(*FILES.values(), close=False)
    answers = iter([reply("200 OK", torso, length=False, Content_Type=KIND), reply("404 Not Found")])
    sink = MemorySink()
    with scripted(lambda asked: next(answers)) as server:
        WebEndpoint(server.url).deliver(WANTED, sink, Control())
    assert set(sink.arrived) == {f"1.1.{n}" for n in range(4)}
    assert sink.reasons == {"1.1.4": "404 Not Found"}


def test_a_single_part_is_taken_where_its_end_is_marked() -> None:
    octets = FILES["1.1.0"]
    sink = MemorySink()
    with scripted(lambda asked: reply("200 OK", octets, Content_Type="application/dicom")) as server:
        WebEndpoint(server.url).deliver(WANTED[:1], sink, Control())
    assert sink.arrived["1.1.0"][1] == octets[-len(sink.arrived["1.1.0"][1]) :]
    sink = MemorySink()
    with scripted(lambda asked: reply("200 OK", octets, length=False, Content_Type="application/dicom")) as server:
        WebEndpoint(server.url).deliver(WANTED[:1], sink, Control())
    assert "whether it is whole" in sink.reasons["1.1.0"]
    assert sink.abandoned == ["1.1.0"]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (multipart(b"no DICOM" * 50), KIND, "not a DICOM file"),
        (multipart(b"short"), KIND, "not a DICOM file"),
        (b"<html>", "text/html", "text/html"),
        (b"", "", "no media type"),
        (multipart(), "multipart/related", "boundary"),
        (multipart(FILES["1.1.3"]), KIND, "without the instance"),
    ],
)
def test_what_is_no_instance_is_told(body: bytes, kind: str, reason: str) -> None:
    headers = {"Content_Type": kind} if kind else {}
    sink = MemorySink()
    with scripted(lambda asked: reply("200 OK", body, **headers)) as server:
        WebEndpoint(server.url).deliver(WANTED[:1], sink, Control())
    assert reason in sink.reasons["1.1.0"]


def test_missing_credentials_end_it_at_once() -> None:
    with scripted(lambda asked: reply("401 Unauthorized")) as server:
        with pytest.raises(Refused, match="auth="):
            WebEndpoint(server.url).deliver(WANTED, MemorySink(), Control())
        assert len(server.asked) == 1


# --- store


def store_reply(status: str, stored: list[str], failed: dict[str, int] | None = None, **headers: str) -> bytes:
    failures = [Failure(reason, uid, CT) for uid, reason in (failed or {}).items()]
    body = build_store_answer([StoredInstance(CT, uid, "") for uid in stored], failures, "")
    given = {"Content_Type": "application/dicom+json; charset=utf-8", **headers}
    return reply(status, json.dumps(body).encode(), **given)


UIDS = [f"1.2.3.1.1.{n}" for n in (1, 2, 3)]


def store(url: str, count: int = 3, **options: Any) -> Any:
    return WebEndpoint(url).store([instance(n) for n in range(1, count + 1)], progress=False, **options)


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "409 Conflict", "400 Bad Request", "500 Oops"])
def test_the_body_counts_whatever_the_status_line_says(status: str) -> None:
    with scripted(lambda asked: store_reply(status, UIDS[:1], {UIDS[1]: 0xA900, UIDS[2]: 272})) as server:
        report = store(server.url)
    assert [(o.result, o.status) for o in report] == [
        ("done", "0000H Success"),
        ("failed", "A900H Data set does not match SOP Class"),
        ("failed", "0110H Processing failure"),
    ]


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_where_the_body_tells_nothing_a_search_does(status: str) -> None:
    def answer(asked: Asked) -> bytes:
        if asked.method == "POST":
            return reply(status, b"{}", Content_Type="application/dicom+json")
        return rows(*([{INSTANCE: UIDS[0]}] if UIDS[0] in asked.target and "offset" not in asked.query else []))

    with scripted(answer) as server:
        report = store(server.url)
    assert [o.result for o in report] == ["done", "failed", "failed"]
    assert "by a search" in report.outcomes[0].status
    assert status in report.outcomes[1].status


def test_success_that_names_nothing_is_no_success() -> None:
    with scripted(lambda asked: reply("200 OK") if asked.method == "POST" else rows()) as server:
        report = store(server.url)
    assert report.counts == {"failed": 3}


def test_later_sends_the_whole_body_again() -> None:
    answers = iter([reply("503 Later", Retry_After="0"), store_reply("200 OK", UIDS)])
    with scripted(lambda asked: next(answers, reply("404 No search"))) as server:
        report = store(server.url)
        first, second = (one.body for one in server.asked if one.method == "POST")
    assert report.counts == {"done": 3}
    assert len(first) == len(second) > 1000


def test_a_broken_connection_sends_the_whole_body_again() -> None:
    answers = iter([b"", store_reply("200 OK", UIDS)])
    with scripted(lambda asked: next(answers, reply("404 No search"))) as server:
        assert store(server.url).counts == {"done": 3}
        assert len({len(one.body) for one in server.asked if one.method == "POST"}) == 1


def test_too_much_is_halved() -> None:
    def answer(asked: Asked) -> bytes:
        found = [uid for uid in UIDS if uid.encode() in asked.body]
        return reply("413 Too Large") if len(found) > 1 else store_reply("200 OK", found)

    with scripted(answer) as server:
        assert store(server.url).counts == {"done": 3}
        assert sum(one.method == "POST" for one in server.asked) == 5


def test_broken_off_keeps_the_report() -> None:
    answers = iter([store_reply("200 OK", [f"1.2.3.1.1.{n}" for n in range(1, 26)])])

    def answer(asked: Asked) -> bytes:
        return next(answers, b"") if asked.method == "POST" else reply("404 No search")

    with scripted(answer) as server, pytest.raises(Interrupted) as caught:
        store(server.url, 30, streams=1)
    report = caught.value.partial
    assert report.counts == {"done": 25, "failed": 5}
    assert "broken off" in report.failures[0].status


@pytest.mark.parametrize(("status", "error"), [("401 No", Refused), ("415 No", Refused), ("404 No", ServiceError)])
def test_no_service_at_all(status: str, error: type[Exception]) -> None:
    with scripted(lambda asked: reply(status)) as server, pytest.raises(error):
        store(server.url)


def test_what_is_named_as_stored_and_is_not_there_is_told() -> None:
    def answer(asked: Asked) -> bytes:
        return store_reply("200 OK", UIDS) if asked.method == "POST" else rows(*({INSTANCE: uid} for uid in UIDS[:2]))

    with scripted(answer) as server:
        report = store(server.url)
    assert [o.result for o in report] == ["done", "done", "pending"]
    assert "a search does not find it" in report.outcomes[2].status
    assert not report.complete


def test_a_part_that_is_whole_and_holds_a_torn_instance() -> None:
    """Delimiters in order, the data set short: seen by its own lengths, and told."""
    whole = pixels("1.1.0")
    sink = MemorySink()
    with scripted(lambda asked: reply("200 OK", multipart(whole[:-100]), Content_Type=KIND)) as server:
        WebEndpoint(server.url).deliver(WANTED[:1], sink, Control())
    assert "100 octets are missing at its end" in sink.reasons["1.1.0"]
    assert sink.abandoned == ["1.1.0"]
    sink = MemorySink()
    with scripted(lambda asked: reply("200 OK", multipart(whole), Content_Type=KIND)) as server:
        WebEndpoint(server.url).deliver(WANTED[:1], sink, Control())
    assert set(sink.arrived) == {"1.1.0"}


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, EXPLICIT_BE])
def test_a_torn_instance_has_no_row_that_says_done(tmp_path: Path, syntax: str) -> None:
    """In a folder too, where it is looked at once: on its way, or in its file where that tells nothing."""
    whole = pixels("1.1.0", syntax)
    for octets, result in ((whole[:-100], "failed"), (whole, "done")):
        place = FolderSink(tmp_path / result, "TEST", Layout(None), {"1.1.0": {}}, Control())
        with closed(place), scripted(lambda asked: reply("200 OK", multipart(octets), Content_Type=KIND)) as server:  # noqa: B023
            WebEndpoint(server.url).deliver(WANTED[:1], place, Control())
        assert [o.result for o in place.outcomes.values()] == [result]
        assert outcomes_of(tmp_path / result) == place.outcomes


def pixels(uid: str, syntax: str = EXPLICIT_LE) -> bytes:
    value, order = bytes(range(256)) * 4, "little" if syntax == EXPLICIT_LE else "big"
    tag = b"".join(number.to_bytes(2, order) for number in (0x7FE0, 0x0010))
    return encode_file_meta(CT, uid, syntax) + tag + b"OW\0\0" + len(value).to_bytes(4, order) + value
