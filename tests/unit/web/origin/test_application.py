"""The embedded origin server: asked by requests, by dicomweb-client, and by whoever breaks the rules."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from dicomlab.errors import Interrupted, ServiceError, Unreachable
from dicomlab.model.protocols import Held
from dicomlab.part10.files import read_file_meta
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_LE, decode_file_meta, encode_file_meta
from dicomlab.web import origin
from dicomlab.web.datasets import SERIES as SERIES_UID
from dicomlab.web.datasets import SOP_INSTANCE, STUDY, uids_of
from dicomlab.web.media_types import parse_content_type
from dicomlab.web.multipart import Begin, Data, PartReader, closing, part_head
from dicomlab.web.store_answer import StoreAnswer, parse_store_answer
from tests.unit.dimse.holdings import BIG_ENDIAN, CT, IMPLICIT, JPEG, RLE, FolderHoldings, instance

SERIES = "/studies/1.2.3.1/series/1.2.3.1.1"
EVERYTHING = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def get(server: origin.OriginServer, path: str, accept: str | None = None, **headers: str) -> requests.Response:
    given = {"Accept": accept} if accept else {}
    return requests.get(server.url + path, headers=given | headers, timeout=30)


def parts(response: requests.Response) -> list[tuple[dict[str, str], bytes]]:
    reader = PartReader(parse_content_type(response.headers["Content-Type"]).boundary)
    found: list[tuple[dict[str, str], bytes]] = []
    for event in reader.feed(response.content):
        if isinstance(event, Begin):
            found.append((dict(event.headers), b""))
        elif isinstance(event, Data):
            found[-1] = (found[-1][0], found[-1][1] + event.octets)
    reader.close()
    assert all(int(headers["content-length"]) == len(body) for headers, body in found)
    return found


def part10(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# --- search


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/studies", 3),
        ("/studies?PatientID=P1", 2),
        ("/studies?00100020=P*&nonsense=1", 3),
        ("/studies?PatientID=NOBODY", 0),
        ("/studies?limit=2", 2),
        ("/studies?limit=2&offset=2", 1),
        ("/studies?offset=9", 0),
        ("/studies?limit=0", 0),
        ("/series", 4),
        ("/series?Modality=MR", 1),
        ("/studies/1.2.3.1/series", 2),
        ("/instances", 12),
        ("/studies/1.2.3.1/instances", 10),
        (SERIES + "/instances?InstanceNumber=3", 1),
        ("/studies/9.9/series", 0),
    ],
)
def test_searches(server: origin.OriginServer, path: str, count: int) -> None:
    response = get(server, path, "application/dicom+json")
    assert response.status_code == (200 if count else 204)
    assert len(response.json() if count else []) == count
    if count:
        assert response.headers["Content-Type"] == "application/dicom+json"


def test_rows_hold_what_the_standard_returns(server: origin.OriginServer) -> None:
    row = get(server, "/studies?PatientID=P2&includefield=StudyDescription").json()[0]
    assert row["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "O'Neil^Ann"}]}
    assert row["0020000D"]["Value"] == ["1.2.3.3"]
    assert row["00201208"]["Value"] == [1]
    assert row["00081030"]["Value"] == ["Thorax"]
    assert row["00081190"]["Value"] == [server.url + "/studies/1.2.3.3"]
    assert list(row) == sorted(row)
    relational = get(server, "/instances?PatientID=P2").json()[0]
    assert relational["00100020"]["Value"] == ["P2"]
    assert relational["00080060"]["Value"] == ["CT"]
    assert get(server, relational["00081190"]["Value"][0].removeprefix(server.url)).status_code == 200


def test_warnings_tell_what_is_more_and_what_is_ignored(server: origin.OriginServer) -> None:
    response = get(server, "/studies?limit=1&fuzzymatching=true")
    assert "additional results" in response.headers["Warning"]
    assert "fuzzymatching parameter is not supported" in response.headers["Warning"]
    assert "Warning" not in get(server, "/studies?limit=3").headers


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/studies?limit=x", None, 400),
        ("/studies?Modality=CT", None, 400),
        ("/studies?StudyDate=soon", None, 400),
        ("/patients", None, 404),
        ("/studies/abc", None, 404),
        ("/studies/9.9", None, 404),
        ("/studies/9.9/metadata", None, 404),
        ("/studies/1.2.3.2/series/1.2.3.1.1", None, 404),
        (SERIES + "/instances/1.2.3.1.1.1/frames/2", None, 404),
        (SERIES + "/instances/1.2.3.1.1.1/bulkdata/00091001", None, 404),
        (SERIES + "/instances/1.2.3.1.1.1/bulkdata/00100010", None, 404),
        ("/studies", "text/html", 406),
        (SERIES + "/metadata", "text/html", 406),
        (SERIES, "image/png", 406),
        (SERIES, 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.90', 406),
        (SERIES + "/instances/1.2.3.1.1.7", f'multipart/related; type="application/dicom"; transfer-syntax={IMPLICIT}', 406),
        (SERIES + "/instances/1.2.3.1.1.9/frames/1", 'multipart/related; type="image/png"', 406),
    ],
)  # fmt: skip
def test_errors_are_sentences(server: origin.OriginServer, path: str, accept: str | None, status: int) -> None:
    response = get(server, path, accept)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert len(response.json()["error"]) > 15
    assert "Traceback" not in response.text


# --- retrieve


def test_as_stored(server: origin.OriginServer, holdings: FolderHoldings) -> None:
    response = get(server, SERIES, EVERYTHING)
    found = {decode_file_meta(body).sop_instance_uid: (headers, body) for headers, body in parts(response)}
    assert len(found) == 9
    for uid, (headers, body) in found.items():
        stored = (holdings.folder / f"{uid}.dcm").read_bytes()
        syntax = decode_file_meta(stored).transfer_syntax_uid
        if syntax not in (IMPLICIT, BIG_ENDIAN):
            assert body == stored
            assert headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
        else:
            assert decode_file_meta(body).transfer_syntax_uid == EXPLICIT_LE


def test_a_length_is_told_where_it_is_known(server: origin.OriginServer) -> None:
    assert "Content-Length" in get(server, "/studies/1.2.3.3", EVERYTHING).headers
    assert (
        "Content-Length"
        in get(server, "/studies/1.2.3.3/series/1.2.3.3.1/instances/1.2.3.3.1.1", "application/dicom").headers
    )


@pytest.mark.parametrize("accept", [None, "*/*", 'multipart/related; type="application/dicom"', "application/dicom"])
@pytest.mark.parametrize("number", [1, 7, 8])
def test_explicit_little_endian_where_nothing_is_said(
    server: origin.OriginServer, accept: str | None, number: int
) -> None:
    response = get(server, f"{SERIES}/instances/1.2.3.1.1.{number}", accept)
    alone = accept == "application/dicom"
    body = response.content if alone else parts(response)[0][1]
    assert response.headers["Content-Type"].startswith("application/dicom" if alone else "multipart/related")
    found = dcmread(BytesIO(body))
    assert found.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert found.SOPInstanceUID == f"1.2.3.1.1.{number}"


def test_what_can_not_be_decoded_is_left_out_or_declined(server: origin.OriginServer) -> None:
    response = get(server, SERIES, 'multipart/related; type="application/dicom"')
    assert len(parts(response)) == 8  # the ninth is no JPEG in truth
    alone = get(server, SERIES + "/instances/1.2.3.1.1.9", 'multipart/related; type="application/dicom"')
    assert alone.status_code == 406
    assert JPEG in alone.json()["error"]


def test_metadata(server: origin.OriginServer, holdings: FolderHoldings) -> None:
    found = get(server, SERIES + "/metadata").json()
    assert len(found) == 9
    first = found[0]
    assert first["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    uri = first["7FE00010"]["BulkDataURI"]
    assert uri.startswith(server.url)
    assert (
        b"".join(body for _, body in parts(get(server, uri.removeprefix(server.url))))
        == holdings.octets_of("1.2.3.1.1.1")[-5000:]
    )
    assert len(get(server, "/studies/1.2.3.1/metadata").json()) == 10


def test_bulk_values_of_a_compressed_instance_are_its_frames(server: origin.OriginServer) -> None:
    path = SERIES + "/instances/1.2.3.1.1.9"
    ((headers, body),) = parts(get(server, path + "/bulkdata/7FE00010"))
    assert headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG}"
    assert body == bytes(range(64))
    star = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    assert parts(get(server, path + "/frames/1", star))[0][1] == bytes(range(64))
    assert parts(get(server, path + "/frames/1", 'multipart/related; type="image/jpeg"'))[0][1] == bytes(range(64))


@pytest.mark.parametrize(
    "name",
    [
        "rtdose_rle.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "CT_small.dcm",
        "image_dfl.dcm",
        "liver_1frame.dcm",
    ],
)
@pytest.mark.parametrize(
    "accept", ["multipart/related; type=application/octet-stream", "application/octet-stream", "*/*"]
)
def test_frames_of_real_files(server: origin.OriginServer, holdings: FolderHoldings, name: str, accept: str) -> None:
    path = get_testdata_file(name)
    assert path is not None
    dataset = dcmread(path)
    (holdings.folder / f"{dataset.SOPInstanceUID}.dcm").write_bytes(Path(str(path)).read_bytes())
    base = f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
    number = min(2, int(dataset.get("NumberOfFrames") or 1))
    response = get(server, f"{base}/frames/{number}", accept)
    assert response.status_code == 200, response.text
    single = accept == "application/octet-stream"
    headers, body = (dict(response.headers), response.content) if single else parts(response)[0]
    compressed = dataset.file_meta.TransferSyntaxUID == RLE
    if compressed and accept == "*/*":
        assert headers["content-type"] == f"image/dicom-rle; transfer-syntax={RLE}"
        assert body == get_frame(
            dataset.PixelData, number - 1, number_of_frames=int(dataset.get("NumberOfFrames") or 1)
        )
    elif dataset.BitsAllocated == 1:
        assert body == dataset.PixelData
    else:
        pixels = dataset.pixel_array[number - 1] if "NumberOfFrames" in dataset else dataset.pixel_array
        assert body[: pixels.nbytes] == pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()


def test_capabilities_and_pages_of_other_origins(server: origin.OriginServer) -> None:
    response = requests.options(server.url + "/", timeout=30)
    assert (response.status_code, response.headers["Content-Type"]) == (
        200,
        "application/vnd.sun.wadl+xml",
    )
    assert server.url in response.text
    local = get(server, "/studies", Origin="http://localhost:3000")
    assert local.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert "Warning" in local.headers["Access-Control-Expose-Headers"]
    foreign = get(server, "/studies", Origin="http://evil.example")
    assert "Access-Control-Allow-Origin" not in foreign.headers


def test_a_count_of_frames_that_is_none(server: origin.OriginServer, holdings: FolderHoldings) -> None:
    path = Path(str(get_testdata_file("badVR.dcm")))
    uids = {STUDY: "", SERIES_UID: "", SOP_INSTANCE: ""} | uids_of(
        path.read_bytes()[read_file_meta(path).length :], EXPLICIT_LE
    )
    meta = read_file_meta(path)
    study, series, uid = uids[STUDY], uids[SERIES_UID], uids[SOP_INSTANCE]
    held = Held(path, study, series, uid, meta.sop_class_uid, EXPLICIT_LE, meta.length, path.stat().st_size)
    holdings.select = lambda level, uids: [held]  # type: ignore[method-assign]
    response = get(server, f"/studies/{study}/series/{series}/instances/{uid}/frames/1")
    assert response.status_code == 406
    assert "(0028,0008)" in response.json()["error"]


# --- store


def post(server: origin.OriginServer, *bodies: bytes, path: str = "/studies", close: bool = True) -> requests.Response:
    body = b"".join(
        part_head("b", {"Content-Type": "application/dicom"}, first=n == 0) + b for n, b in enumerate(bodies)
    )
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return requests.post(
        server.url + path, body + (closing("b") if close else b""), headers={"Content-Type": kind}, timeout=30
    )


def said(response: requests.Response) -> StoreAnswer:
    return parse_store_answer(response.content)


@pytest.fixture
def new(holdings: FolderHoldings) -> list[bytes]:
    for path in holdings.files():
        path.unlink()
    return [part10(instance(n, octets=200)) for n in (1, 2, 3)]


def test_all_stored(server: origin.OriginServer, holdings: FolderHoldings, new: list[bytes]) -> None:
    response = post(server, *new)
    assert response.status_code == 200
    assert set(said(response).stored) == {"1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.3"}
    assert [path.read_bytes() for path in holdings.files()] == new
    item = response.json()["00081199"]["Value"][0]
    assert get(server, item["00081190"]["Value"][0].removeprefix(server.url)).status_code == 200


def test_some_stored(server: origin.OriginServer, holdings: FolderHoldings, new: list[bytes]) -> None:
    implicit, big = (part10(instance(n, syntax=s)) for n, s in ((4, IMPLICIT), (5, BIG_ENDIAN)))
    mismatch = encode_file_meta(CT, "9.9", EXPLICIT_LE) + new[0][decode_file_meta(new[0]).length :]
    response = post(server, new[0], implicit, big, new[1][:-50], b"no DICOM", mismatch, new[2])
    assert response.status_code == 202
    answer = said(response)
    assert set(answer.stored) == {"1.2.3.1.1.1", "1.2.3.1.1.3"}
    assert {uid: one.reason for uid, one in answer.failed.items()} == {
        "1.2.3.1.1.4": 0xC122, "1.2.3.1.1.5": 0xC122, "1.2.3.1.1.2": 0xC000, "9.9": 0xA900,
    }  # fmt: skip
    assert [one.reason for one in answer.others] == [0xC000]
    assert len(holdings.files()) == 2


def test_none_stored(server: origin.OriginServer, new: list[bytes]) -> None:
    response = post(server, new[0], path="/studies/9.9")
    assert response.status_code == 409
    assert said(response).failed["1.2.3.1.1.1"].reason == 0x0110


def test_without_its_closing_delimiter_the_last_part_is_not_stored(
    server: origin.OriginServer, holdings: FolderHoldings, new: list[bytes]
) -> None:
    response = post(server, *new, close=False)
    assert response.status_code == 202
    assert "closing delimiter" in response.headers["Warning"]
    assert set(said(response).stored) == {"1.2.3.1.1.1", "1.2.3.1.1.2"}
    assert len(said(response).others) == 1
    assert len(holdings.files()) == 2


def test_one_instance_alone(server: origin.OriginServer, new: list[bytes]) -> None:
    response = requests.post(server.url + "/studies", new[0], headers={"Content-Type": "application/dicom"}, timeout=30)
    assert set(said(response).stored) == {"1.2.3.1.1.1"}


def test_big_and_deflated_instances(server: origin.OriginServer, holdings: FolderHoldings, new: list[bytes]) -> None:
    big = part10(instance(8, octets=20 << 20))
    deflated = Path(str(get_testdata_file("image_dfl.dcm"))).read_bytes()
    uid = decode_file_meta(deflated).sop_instance_uid
    assert decode_file_meta(deflated).transfer_syntax_uid == DEFLATED_LE
    assert post(server, big, deflated).status_code == 200
    assert (holdings.folder / "1.2.3.1.1.8.dcm").read_bytes() == big
    assert (holdings.folder / f"{uid}.dcm").read_bytes() == deflated


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (Interrupted("no space", endpoint="disc"), 0xA700, 507),
        (ServiceError("another data set", status=0x0111), 0x0111, 409),
        (Unreachable("gone", endpoint="disc"), 0x0110, 409),
    ],
)
def test_what_the_holdings_say(
    server: origin.OriginServer, holdings: FolderHoldings, new: list[bytes], error: Exception, reason: int, status: int
) -> None:
    holdings.refuse = error
    response = post(server, new[0])
    assert response.status_code == status
    assert said(response).failed["1.2.3.1.1.1"].reason == reason


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("", b"x", 400),
        ("multipart/related", b"x", 400),
        ("application/json", b"{}", 415),
        ('multipart/related; type="application/dicom+json"; boundary=b', b"--b--", 400),
        ('multipart/related; type="image/png"; boundary=b', b"--b--", 415),
        ('multipart/related; type="application/dicom"; boundary=b', b"--b--", 400),
        (
            'multipart/related; type="application/dicom"; boundary=b',
            b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--",
            409,
        ),
        ('multipart/related; type="application/dicom"; boundary=b', b"x" * 100_000, 409),
        ("application/dicom", b"", 409),
    ],
)
def test_what_is_no_store_request(server: origin.OriginServer, kind: str, body: bytes, status: int) -> None:
    response = requests.post(server.url + "/studies", body, headers={"Content-Type": kind}, timeout=30)
    assert response.status_code == status


def test_instances_are_stored_to_studies_only(server: origin.OriginServer) -> None:
    assert requests.post(server.url + SERIES, b"x", timeout=30).status_code == 405
    assert requests.delete(server.url + SERIES + "/metadata", timeout=30).status_code == 405


def test_a_request_has_a_limit(holdings: FolderHoldings) -> None:
    with origin.serve(holdings, setting=origin.Setting(origin.Limits(request_octets=5000))) as server:
        small, big = part10(instance(21)), part10(instance(22, octets=1 << 20))
        assert post(server, small).status_code == 200
        assert post(server, big).status_code == 413
    assert not (holdings.folder / "1.2.3.1.1.22.dcm").exists()


def test_a_client_that_goes_away_stores_nothing(
    server: origin.OriginServer, holdings: FolderHoldings, new: list[bytes]
) -> None:
    where = urlsplit(server.url)
    head = f"POST {where.path}/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\nContent-Length: {len(new[0])}\r\n\r\n"
    with socket.create_connection((where.hostname or "", where.port or 0)) as client:
        client.sendall(head.encode() + new[0][:-10])
    assert get(server, "/studies").json() == []
    assert not holdings.files()


# --- dicomweb-client, which is not ours


def test_dicomweb_client(server: origin.OriginServer, holdings: FolderHoldings) -> None:
    client = DICOMwebClient(server.url)
    assert len(client.search_for_studies(search_filters={"PatientID": "P1"})) == 2
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY"}) == []
    assert len(client.search_for_series("1.2.3.1")) == 2
    assert len(client.search_for_instances("1.2.3.1", "1.2.3.1.1")) == 9
    assert len(client.search_for_studies(limit=1, get_remaining=True)) == 3
    found = client.retrieve_instance("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1")
    assert found.PatientName == "Müller^Jürgen"
    series = client.retrieve_series("1.2.3.1", "1.2.3.1.1", media_types=(("application/dicom", "*"),))
    assert len(series) == 9
    metadata = client.retrieve_series_metadata("1.2.3.1", "1.2.3.1.1")
    assert len(metadata) == 9
    (bulk,) = client.retrieve_bulkdata(metadata[0]["7FE00010"]["BulkDataURI"])
    assert bulk == found.PixelData
    answer = client.store_instances([dcmread(BytesIO(part10(instance(n)))) for n in (50, 51)])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.2.3.1.1.50", "1.2.3.1.1.51"]
    assert (holdings.folder / "1.2.3.1.1.50.dcm").exists()


# --- the server itself


def test_it_listens_here_only_and_ends(holdings: FolderHoldings) -> None:
    server = origin.serve(holdings)
    assert server.url == f"http://127.0.0.1:{server.port}/dicom-web"
    assert "running" in repr(server)
    names = {thread.name for thread in threading.enumerate()}
    assert f"dicomlab origin {server.port}" in names
    server.close()
    assert f"dicomlab origin {server.port}" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 1)
    server.close()


def test_a_port_that_is_taken(holdings: FolderHoldings) -> None:
    with origin.serve(holdings) as server, pytest.raises(Unreachable, match="can't listen"):
        origin.serve(holdings, port=server.port)


def test_it_closes_while_a_client_reads(holdings: FolderHoldings) -> None:
    server = origin.serve(holdings)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /dicom-web/stu")
        server.close()
    assert "closed" in repr(server)


def test_a_failure_of_the_holdings_is_a_sentence(holdings: FolderHoldings) -> None:
    class Broken(FolderHoldings):
        def search(self, query: Any) -> Any:
            raise KeyError("secret detail")

    with origin.serve(Broken(holdings.folder)) as server:
        response = get(server, "/studies")
    assert response.status_code == 500
    assert response.json() == {"error": "the server failed over this request"}


def test_a_file_that_is_gone_is_known_to_be_missing(server: origin.OriginServer, holdings: FolderHoldings) -> None:
    select = holdings.select

    def gone(level: str, uids: Any) -> Any:
        held = select(level, uids)
        held[-1].path.unlink()
        return held

    holdings.select = gone  # type: ignore[method-assign]
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(server, "/studies/1.2.3.3", EVERYTHING)


def test_sop_classes_are_told(server: origin.OriginServer, new: list[bytes]) -> None:
    item = post(server, new[0]).json()["00081199"]["Value"][0]
    assert item["00081150"]["Value"] == [CT]


# --- who may ask, and from where


@pytest.mark.parametrize(
    ("host", "known", "status"),
    [
        ("localhost:1", (), 200),
        ("127.0.0.1", (), 200),
        ("rebound.evil.example:8000", (), 421),
        ("hub.example", (), 421),
        ("hub.example", ("hub.example",), 200),
        ("other.example", ("hub.example",), 421),
        ("anything.example", ("*",), 200),
    ],
)
def test_a_name_that_is_not_ours_gets_nothing(
    holdings: FolderHoldings, open_local: Callable[..., Any], host: str, known: tuple[str, ...], status: int
) -> None:
    local = open_local(holdings, origin.Setting(hosts=known))
    answer = local.get("/studies", Host=host)
    assert answer.status_code == status
    assert ("Müller" in answer.text) == (status == 200)
    forged = local.get("/studies", Host=host, X_Forwarded_Host="localhost")
    assert forged.status_code == status  # a page may set this header, but not Host


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("page", "allowed"),
    [
        ("http://localhost:3000", True),
        ("https://viewer.example", True),
        ("http://archive.invalid", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
    ],
)
def test_pages_of_other_sites_change_nothing(
    holdings: FolderHoldings, open_local: Callable[..., Any], method: str, page: str, allowed: bool
) -> None:
    local = open_local(holdings, origin.Setting(origins=("https://viewer.example",)))
    before = len(holdings.files())
    answer = local.ask(method, "/studies/1.2.3.2", None, b"x", Origin=page, Content_Type="text/plain")
    assert (answer.status_code == 403) == (not allowed)
    assert (len(holdings.files()) < before) == (allowed and method == "DELETE")
    preflight = local.ask("OPTIONS", "/studies", None, Origin=page, Access_Control_Request_Method=method)
    said = preflight.headers.get("Access-Control-Allow-Origin")
    assert (said == page) == (allowed and page != "http://archive.invalid")
    read = local.get("/studies", Origin=page)
    assert (read.headers.get("Access-Control-Allow-Origin") == page) == (said == page)


@pytest.mark.parametrize(
    "path",
    [
        "/studies/../../etc/passwd", "/studies/1.2.3.1/../../../x", "/studies/%2e%2e/%2e%2e/etc", "/studies/1.2.3.1/series/..%2f..",
        "/studies/1.2.3.1%00", "/studies/" + "1" * 65, "/studies/" + "1." * 40, "/%00", "/\\..\\..", "/studies//series",
        SERIES + "/instances/1.2.3.1.1.1/bulkdata/../../../../x", SERIES + "/instances/1.2.3.1.1.1/frames/-1",
        SERIES + "/instances/1.2.3.1.1.1/frames/1e9", SERIES + "/instances/1.2.3.1.1.1/bulkdata/00081140/999999/00081155",
    ],
)  # fmt: skip
def test_hostile_paths(local: Any, path: str) -> None:
    prepared = requests.Request("GET", "http://archive.invalid/").prepare()
    prepared.url = "http://archive.invalid/dicom-web" + path
    answer = local.session.send(prepared)
    assert answer.status_code == 404
    assert "root:" not in answer.text


@given(st.text(max_size=60), st.text(max_size=30), st.sampled_from(["GET", "POST", "DELETE", "HEAD", "OPTIONS"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_asked_makes_it_fail(local: Any, path: str, query: str, method: str) -> None:
    url = f"http://archive.invalid/dicom-web/{quote(path)}?{quote(query, safe='=&')}"
    assert local.session.request(method, url, timeout=30).status_code < 500
