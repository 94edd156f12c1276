"""Metadata, frames, bulk values, images: what is asked for, what comes, what is no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.instance import Instance
from dicomlab.web import arrivals
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.multipart import closing, part_head
from dicomlab.web.xml_model import to_xml
from tests.unit.web.scripted import Asked, reply, scripted
from tests.unit.web.test_endpoint_faults import part10

INSTANCE = ("1.2", "1.2.3", "1.2.3.4")
MODELS: list[dict[str, Any]] = [
    {
        "00080018": {"vr": "UI", "Value": [f"1.{n}"]},
        "00180050": {"vr": "DS", "Value": [1.25]},
        "00420011": {"vr": "OB", "BulkDataURI": "bulkdata/00420011"},
    }
    for n in range(3)
]
JPEG = b"\xff\xd8\xff\xe0" + b"x" * 20


def parts(*bodies: bytes, kind: str = "application/octet-stream", close: bool = True, **headers: str) -> bytes:
    heads = {"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"".join(part_head("b", heads, first=n == 0) + one for n, one in enumerate(bodies))
    return reply(
        "200 OK",
        body + (closing("b") if close else b""),
        Content_Type=f'multipart/related; type="{kind}"; boundary=b',
        length=False,
    )


def as_json(found: Any, kind: str = "application/dicom+json") -> bytes:
    return reply("200 OK", json.dumps(found).encode(), Content_Type=kind)


def served(answer: bytes | Callable[[Asked], bytes]) -> Any:
    return scripted(answer if callable(answer) else lambda asked: answer)


# --- metadata


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("1.2", "/studies/1.2/metadata"),
        (("1.2", "1.2.3"), "/studies/1.2/series/1.2.3/metadata"),
        (INSTANCE, "/studies/1.2/series/1.2.3/instances/1.2.3.4/metadata"),
        (Instance(*INSTANCE), "/studies/1.2/series/1.2.3/instances/1.2.3.4/metadata"),
    ],
)
def test_metadata_at_each_level(what: Any, path: str) -> None:
    with served(as_json(MODELS)) as server:
        found = WebEndpoint(server.url).metadata(what)
        assert server.requests == [f"GET {path}"]
    assert found.json == MODELS
    assert len(found) == 3
    assert found.complete
    frame = found.to_dataframe(["SOPInstanceUID", "SliceThickness"])
    assert frame["SliceThickness"].tolist() == [1.25] * 3
    assert list(found.to_dataframe().columns) == ["SOPInstanceUID", "SliceThickness"]
    assert [ds.SOPInstanceUID for ds in found.datasets()] == ["1.0", "1.1", "1.2"]
    assert "Metadata" in repr(found)


def test_metadata_in_xml_say_the_same() -> None:
    documents = parts(*(to_xml(one) for one in MODELS), kind="application/dicom+xml")
    with served(documents) as server:
        assert WebEndpoint(server.url).metadata("1.2", form="xml").json == MODELS
        assert server.asked[0].headers["accept"] == 'multipart/related; type="application/dicom+xml"'


@pytest.mark.parametrize("answer", [reply("204 No Content"), as_json([])])
def test_no_metadata(answer: bytes) -> None:
    with served(answer) as server:
        found = WebEndpoint(server.url).metadata("1.2")
    assert len(found) == 0
    assert found.to_dataframe(["Rows"]).empty


def test_metadata_of_a_cohort_are_counted() -> None:
    import pandas as pd

    rows = pd.DataFrame(
        {"StudyInstanceUID": ["1", "1"], "SeriesInstanceUID": ["1.1", "1.2"], "NumberOfSeriesRelatedInstances": [3, 4]}
    )
    with served(as_json(MODELS)) as server:
        web = WebEndpoint(server.url)
        found = web.metadata(Cohort.from_dataframe(rows, source=web))
        assert len(server.asked) == 2
    assert len(found) == 6
    assert not found.complete
    assert found.note == "6 of 7 instances came"
    assert "not complete" in repr(found)


def test_an_infinity_in_metadata_spoils_nothing() -> None:
    body = json.dumps(MODELS).replace("1.25", "1e999").encode()
    with served(reply("200 OK", body, Content_Type="application/dicom+json")) as server:
        found = WebEndpoint(server.url).metadata("1.2")
        frame = found.to_dataframe(["SOPInstanceUID", "SliceThickness"])
    assert frame["SOPInstanceUID"].tolist() == ["1.0", "1.1", "1.2"]
    assert [p.column for p in found.problems] == ["SliceThickness"] * 3


def test_bulk_values_of_metadata_come_from_where_they_are() -> None:
    def answer(asked: Asked) -> bytes:
        return as_json(MODELS[:1]) if asked.path.endswith("metadata") else parts(b"PDF!")

    with served(answer) as server:
        (dataset,) = WebEndpoint(server.url).metadata(INSTANCE).datasets(bulk=True)
        assert server.requests[1].endswith("/studies/1.2/series/1.2.3/instances/1.2.3.4/bulkdata/00420011")
    assert dataset.EncapsulatedDocument == b"PDF!"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (as_json("text"), RemoteProtocolError),
        (reply("200 OK", b"<html>", Content_Type="text/html"), RemoteProtocolError),
        (reply("404 Not Found"), ServiceError),
        (reply("401 No"), Refused),
        (parts(to_xml(MODELS[0]), kind="application/dicom+xml", close=False), Interrupted),
    ],
)
def test_what_is_no_metadata(answer: bytes, error: type[Exception]) -> None:
    with served(answer) as server, pytest.raises(error):
        WebEndpoint(server.url).metadata("1.2")


@pytest.mark.parametrize("what", ["x", "", (), ("1", "2", "3", "4"), 7, None, ("1", "../x"), ["1", 2]])
def test_what_names_nothing(what: Any) -> None:
    with pytest.raises(UsageError):
        WebEndpoint("http://127.0.0.1:1/x").metadata(what)


# --- frames


def test_frames_in_the_order_in_which_they_are_wanted() -> None:
    with served(
        parts(b"five", b"one", kind="image/jls; transfer-syntax=1.2.840.10008.1.2.4.80", Content_Location="f")
    ) as server:
        found = WebEndpoint(server.url).frames(INSTANCE, [5, 1], transfer_syntax=["1.2.840.10008.1.2.4.80", "*"])
        assert server.requests == ["GET /studies/1.2/series/1.2.3/instances/1.2.3.4/frames/5,1"]
        assert "transfer-syntax=1.2.840.10008.1.2.4.80, multipart" in server.asked[0].headers["accept"]
    assert [one.octets for one in found] == [b"five", b"one"]
    assert found[0].media_type == "image/jls"
    assert found[0].transfer_syntax == "1.2.840.10008.1.2.4.80"
    assert found[0].location == "f"


def test_many_frames_become_several_requests() -> None:
    def answer(asked: Asked) -> bytes:
        return parts(*(number.encode() for number in asked.path.rpartition("/")[2].split(",")))

    with served(answer) as server:
        found = WebEndpoint(server.url).frames(INSTANCE, range(1, 451))
        assert len(server.asked) == 3
        assert max(len(one.target) for one in server.asked) < 2000
    assert [int(one.octets) for one in found] == list(range(1, 451))


def test_fewer_frames_than_asked_for_are_no_answer() -> None:
    with served(parts(b"1")) as server, pytest.raises(RemoteProtocolError, match="1 frames came where 2"):
        WebEndpoint(server.url).frames(INSTANCE, [1, 2])
    with served(parts(b"1", b"2", close=False)) as server, pytest.raises(Interrupted, match="closing delimiter"):
        WebEndpoint(server.url).frames(INSTANCE, [1, 2])


@pytest.mark.parametrize("numbers", [0, -1, [], [1, 0], [True], [1.5], [2**31]])
def test_what_is_no_frame(numbers: Any) -> None:
    with pytest.raises(UsageError, match="numbered from 1"):
        WebEndpoint("http://127.0.0.1:1/x").frames(INSTANCE, numbers)


# --- bulk values


def test_a_bulk_value_at_a_uri() -> None:
    with served(reply("200 OK", b"octets", Content_Type="application/octet-stream")) as server:
        web = WebEndpoint(server.url)
        (one,) = web.bulkdata("studies/1.2/bulkdata/7FE00010")
        (two,) = web.bulkdata(server.url + "/there")
        assert server.requests == ["GET /studies/1.2/bulkdata/7FE00010", "GET /there"]
    assert one.octets == two.octets == b"octets"


def test_all_bulk_values_of_a_series() -> None:
    with served(parts(b"a", b"b")) as server:
        web = WebEndpoint(server.url)
        assert [p.octets for p in web.bulkdata(("1.2", "1.2.3"))] == [b"a", b"b"]
        assert [p.octets for p in web.pixeldata(("1.2", "1.2.3"))] == [b"a", b"b"]
        assert [r.rpartition("/")[2] for r in server.requests] == ["bulkdata", "pixeldata"]


@pytest.mark.parametrize("uri", ["http://[", "http://127.0.0.1:99999/x", "file:///etc/passwd", "gopher://127.0.0.1/"])
def test_addresses_of_values_that_are_none(uri: str) -> None:
    model = [{"00420011": {"vr": "OB", "BulkDataURI": uri}}]
    with scripted(lambda asked: reply("200 OK", json.dumps(model).encode())) as server:
        web = WebEndpoint(server.url)
        with pytest.raises(UsageError, match="no address"):
            web.bulkdata(uri)
        with pytest.raises(RemoteProtocolError, match=r"BulkDataURI of \(0042,0011\) is no address"):
            list(web.metadata("1.2").datasets(bulk=True))


@pytest.mark.parametrize(("answer", "count"), [(reply("204 No Content"), 0), (parts(b"a", b"b"), 2)])
def test_a_value_of_no_part_or_of_several(answer: bytes, count: int) -> None:
    def answering(asked: Asked) -> bytes:
        return reply("200 OK", json.dumps(MODELS[:1]).encode()) if "metadata" in asked.path else answer

    with scripted(answering) as server, pytest.raises(RemoteProtocolError, match=rf"{count} parts came"):
        list(WebEndpoint(server.url).metadata("1.2").datasets(bulk=True))


def test_credentials_do_not_go_to_another_origin() -> None:
    answer = reply("200 OK", b"octets", Content_Type="application/octet-stream")
    with served(answer) as elsewhere, served(answer) as server:
        web = WebEndpoint(server.url, auth=("user", "geheim"))
        web.bulkdata(elsewhere.url + "/x")
        web.bulkdata(server.url + "/x")
        assert "authorization" not in elsewhere.asked[0].headers
        assert "authorization" in server.asked[0].headers


def test_a_wrong_address_is_put_right_where_the_server_is_known_for_it() -> None:
    with served(reply("200 OK", b"octets", Content_Type="application/octet-stream")) as server:
        web = WebEndpoint(server.url, server="orthanc")
        assert web.bulkdata("http://127.0.0.1/dicom-web/studies/1/bulk/2")[0].octets == b"octets"
        assert server.requests == ["GET /studies/1/bulk/2"]
    with pytest.raises(UsageError, match="no address"):
        web.bulkdata("file:///etc/passwd")


def test_a_value_goes_into_a_file_as_it_comes(tmp_path: Path) -> None:
    octets = bytes(range(256)) * 5000
    to = tmp_path / "below" / "value.bin"
    with served(parts(octets)) as server:
        (part,) = WebEndpoint(server.url).bulkdata("x/y", to=to)
    assert to.read_bytes() == octets
    assert part.octets == b""
    with served(parts(octets, close=False)) as server, pytest.raises(Interrupted):
        WebEndpoint(server.url).bulkdata("x/y", to=tmp_path / "cut.bin")
    with served(parts(b"1", b"2")) as server, pytest.raises(RemoteProtocolError, match="several"):
        WebEndpoint(server.url).bulkdata("x/y", to=tmp_path / "two.bin")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["below"]


def test_what_is_kept_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "MAX_IN_MEMORY", 1 << 20)
    with served(parts(bytes(2 << 20))) as server, pytest.raises(ServiceError, match="more than 1 MiB came"):
        WebEndpoint(server.url).pixeldata(INSTANCE)


# --- images


def test_rendered() -> None:
    with served(reply("200 OK", JPEG, Content_Type="image/jpeg")) as server:
        web = WebEndpoint(server.url)
        (one,) = web.rendered(
            INSTANCE,
            window=(40, 400),
            viewport=(64, 64),
            quality=80,
            annotation=["patient"],
            iccprofile="no",
            frames=[1, 2],
        )
        web.thumbnail("1.2", viewport=(32, 32))
        web.thumbnail(INSTANCE, frame=3, media_type="image/png")
        asked = server.requests
    assert asked[0] == (
        "GET /studies/1.2/series/1.2.3/instances/1.2.3.4/frames/1,2/rendered"
        "?window=40,400,linear&viewport=64,64&quality=80&annotation=patient&iccprofile=no"
    )
    assert asked[1] == "GET /studies/1.2/thumbnail?viewport=32,32"
    assert asked[2].endswith("/frames/3/thumbnail")
    assert one.octets == JPEG
    assert one._repr_jpeg_() == JPEG
    assert one._repr_png_() is None
    assert "Part image/jpeg" in repr(one)


def test_a_wrong_label_is_seen_through() -> None:
    with served(reply("200 OK", JPEG, Content_Type="image/png")) as server:
        (one,) = WebEndpoint(server.url).rendered(INSTANCE, media_type="image/png")
    assert (one.media_type, one.said) == ("image/jpeg", "image/png")
    assert one._repr_png_() is None
    assert "the server says  image/png" in repr(one)


def test_a_rendered_document_does_not_show_itself() -> None:
    with served(reply("200 OK", b"<script>alert(1)</script>", Content_Type="text/html")) as server:
        (one,) = WebEndpoint(server.url).rendered(INSTANCE, media_type="text/html")
    assert "<script>" not in one._repr_html_()


@pytest.mark.parametrize("options", [{"media_type": "text/x"}, {"quality": 0}, {"frames": [0]}])
def test_what_can_not_be_rendered(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        WebEndpoint("http://127.0.0.1:1/x").rendered(INSTANCE, **options)


def test_a_web_page_where_an_image_is_due() -> None:
    page = reply("200 OK", b"<html>Log in", Content_Type="text/html")
    with served(page) as server, pytest.raises(RemoteProtocolError, match="log-in"):
        WebEndpoint(server.url).thumbnail(INSTANCE)


def test_a_single_part_without_its_end_is_no_answer() -> None:
    endless = reply("200 OK", JPEG, Content_Type="image/jpeg", length=False)
    with served(endless) as server, pytest.raises(RemoteProtocolError, match="whether it is whole"):
        WebEndpoint(server.url).rendered(INSTANCE)


# --- URI service


def test_wado_uri() -> None:
    with served(reply("200 OK", part10("1.2.3.4"), Content_Type="application/dicom")) as server:
        part = WebEndpoint(server.url).wado_uri(INSTANCE, transfer_syntax="1.2.840.10008.1.2.1")
        assert server.asked[0].query == {
            "requestType": ["WADO"], "studyUID": ["1.2"], "seriesUID": ["1.2.3"], "objectUID": ["1.2.3.4"],
            "contentType": ["application/dicom"], "transferSyntax": ["1.2.840.10008.1.2.1"],
        }  # fmt: skip
    assert part.transfer_syntax == "1.2.840.10008.1.2.1"
    with served(reply("200 OK", JPEG, Content_Type="image/png")) as server:
        web = WebEndpoint(server.url)
        part = web.wado_uri(
            INSTANCE,
            media_type="image/jpeg",
            frame=2,
            rows=64,
            columns=32,
            window=(40, 400),
            quality=5,
            annotation="patient",
            region=(0, 0.5, 1, 1),
            url="../wado",
        )
        assert server.asked[0].path == "/wado"
        assert server.asked[0].query["windowWidth"] == ["400"]
        assert server.asked[0].query["region"] == ["0,0.5,1,1"]
    assert part.media_type == "image/jpeg"


def test_another_instance_is_no_answer() -> None:
    other = reply("200 OK", part10("9.9"), Content_Type="application/dicom")
    with served(other) as server, pytest.raises(RemoteProtocolError, match=r"instance 9\.9 came"):
        WebEndpoint(server.url).wado_uri(INSTANCE)


@pytest.mark.parametrize(
    "options",
    [{"frame": 0}, {"rows": -1}, {"region": (0, 0, 2, 1)}, {"media_type": "image/png", "transfer_syntax": "1.2"}],
)
def test_what_the_uri_service_has_not(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        WebEndpoint("http://127.0.0.1:1/x").wado_uri(INSTANCE, **options)


# --- deletion


def test_nothing_is_deleted_by_mistake() -> None:
    with served(reply("204 No Content")) as server:
        web = WebEndpoint(server.url)
        for confirm in (0, 2, True):
            with pytest.raises(UsageError, match="confirm=1"):
                web.delete("1.2", confirm=confirm)
        assert server.asked == []
        report = web.delete("1.2", confirm=1)
        assert server.requests == ["DELETE /studies/1.2"]
    assert [(o.sop_instance_uid, o.result, o.status) for o in report] == [("1.2", "done", "204 No Content")]


@pytest.mark.parametrize(
    ("status", "result"),
    [("200 OK", "done"), ("202 Accepted", "pending"), ("404 Not Found", "failed"), ("409 Conflict", "failed")],
)
def test_what_the_server_says_of_a_deletion(status: str, result: str) -> None:
    with served(reply(status)) as server:
        report = WebEndpoint(server.url).delete(INSTANCE, confirm=1)
    assert report.outcomes[0].result == result
    assert report.complete == (result != "failed")


def test_a_server_that_does_not_delete() -> None:
    with served(reply("405 Method Not Allowed")) as server, pytest.raises(ServiceError, match="does not delete"):
        WebEndpoint(server.url).delete("1.2", confirm=1)
