"""Answers that are asked for by condition, by range, by head; bulk values at every level; metadata in XML; links."""

from __future__ import annotations

from collections.abc import Callable
from shutil import copy
from typing import Any
from urllib.parse import urljoin

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicomlab.web.origin import Setting
from dicomlab.web.xml_model import from_xml
from tests.unit.dimse.holdings import CT, JPEG, FolderHoldings
from tests.unit.web.origin.conftest import BASE, Local, parts_of, path_of

SERIES = "/studies/1.2.3.1/series/1.2.3.1.1"
ONE = SERIES + "/instances/1.2.3.1.1.1"
STAR = 'multipart/related; type="application/dicom"; transfer-syntax=*'
XML = 'multipart/related; type="application/dicom+xml"'


@pytest.mark.parametrize("path", [ONE, SERIES, SERIES + "/metadata", ONE + "/bulkdata/7FE00010"])
def test_what_has_not_changed_is_not_sent_again(local: Local, holdings: FolderHoldings, path: str) -> None:
    first = local.get(path)
    tag = first.headers["ETag"]
    assert local.get(path).headers["ETag"] == tag
    again = local.get(path, If_None_Match=f'"other", {tag}')
    assert (again.status_code, again.content) == (304, b"")
    assert local.get(path, If_None_Match='"other"').status_code == 200
    assert local.get(path, "image/png, */*;q=0.5", If_None_Match=tag).status_code != 304
    file = holdings.folder / "1.2.3.1.1.1.dcm"
    file.write_bytes(file.read_bytes())
    assert local.get(path, If_None_Match=tag).status_code == 200


@pytest.mark.parametrize("path", [ONE, SERIES, SERIES + "/metadata", ONE + "/thumbnail", "/studies", "/studies/9.9"])
def test_a_head_is_that_of_the_answer(local: Local, path: str) -> None:
    whole, head = local.get(path), local.ask("HEAD", path)
    assert head.content == b""
    assert head.status_code == whole.status_code
    ours = {name: value for name, value in whole.headers.items() if name.lower() != "content-type"}
    assert {name: head.headers[name] for name in ours} == ours


def test_ranges_of_a_bulk_value_and_of_a_file(local: Local, holdings: FolderHoldings) -> None:
    path, file = ONE + "/bulkdata/7FE00010", (holdings.folder / "1.2.3.1.1.1.dcm").read_bytes()
    whole = local.get(path, "application/octet-stream")
    assert whole.headers["Accept-Ranges"] == "bytes"
    for given, start, stop in (("0-9", 0, 10), ("4990-", 4990, 5000), ("-5", 4995, 5000), ("10-99999", 10, 5000)):
        part = local.get(path, "application/octet-stream", Range=f"bytes={given}")
        assert part.status_code == 206
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/5000"
        assert part.content == whole.content[start:stop]
    assert local.get(path, "application/octet-stream", Range="bytes=5000-").status_code == 416
    assert local.get(path, "application/octet-stream", Range="bytes=9-3").status_code == 416
    assert local.get(path, "application/octet-stream", Range="lines=1-2").status_code == 200
    assert local.get(path, "application/octet-stream", Range="bytes=0-1,4-5").status_code == 200
    assert local.get(path, "application/octet-stream", Range="bytes=0-1", If_Range='"old"').status_code == 200
    assert local.get(ONE, "application/dicom; transfer-syntax=*", Range="bytes=128-131").content == b"DICM"
    assert local.get(ONE, "application/dicom; transfer-syntax=*", Range="bytes=-9").content == file[-9:]


@pytest.mark.parametrize(("level", "count"), [("/studies/1.2.3.1", 10), (SERIES, 9), (ONE, 1)])
@pytest.mark.parametrize("kind", ["bulkdata", "pixeldata"])
def test_bulk_values_at_every_level(local: Local, level: str, count: int, kind: str) -> None:
    found = parts_of(local.get(f"{level}/{kind}"))
    assert len(found) == count
    for headers, body in found:
        again = local.get(headers["content-location"])
        assert parts_of(again)[0][1] == body
    assert {headers["content-type"] for headers, _ in found} <= {
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1", f"image/jpeg; transfer-syntax={JPEG}",
    }  # fmt: skip


def test_instances_as_bulk_values_of_older_editions(local: Local) -> None:
    assert (
        len(parts_of(local.get(SERIES, 'multipart/related; type="application/octet-stream"; transfer-syntax=*'))) == 9
    )


def test_metadata_in_xml_says_what_json_says(local: Local) -> None:
    found = parts_of(local.get(SERIES + "/metadata", XML))
    assert [headers["content-type"] for headers, _ in found] == ["application/dicom+xml"] * 9
    assert [from_xml(body) for _, body in found] == local.get(SERIES + "/metadata").json()


@pytest.mark.parametrize("name", ["rtdose_rle_1frame.dcm", "UN_sequence.dcm", "JPEG2000.dcm"])
def test_metadata_of_what_must_be_read_as_a_whole(local: Local, holdings: FolderHoldings, name: str) -> None:
    copy(str(get_testdata_file(name)), holdings.folder / "odd.dcm")
    dataset = dcmread(holdings.folder / "odd.dcm", force=True)
    uids = {"StudyInstanceUID": "1.9", "SeriesInstanceUID": "1.9.1", "SOPInstanceUID": "1.9.1.1", "SOPClassUID": CT}
    for keyword, uid in uids.items():
        if not dataset.get(keyword):
            setattr(dataset, keyword, uid)
    dataset.save_as(holdings.folder / "odd.dcm", enforce_file_format=True)
    (said,) = local.get(f"{path_of(dataset)}/metadata").json()
    assert said["00080018"]["Value"] == [dataset.SOPInstanceUID]
    assert len(said) >= len(dataset) - 1


def test_matches_in_xml_say_what_json_says(local: Local) -> None:
    answer = local.get("/instances?limit=3", XML)
    assert "9 additional results" in answer.headers["Warning"]
    assert [from_xml(body) for _, body in parts_of(answer)] == local.get("/instances?limit=3").json()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hub.example", "X-Forwarded-Prefix": "/user/x/proxy/80"},
        {"Forwarded": "proto=https;host=hub.example:8443"},
    ],
)
@pytest.mark.parametrize("links", ["absolute", "relative"])
def test_every_link_leads_back_through_the_proxy(
    holdings: FolderHoldings, open_local: Callable[..., Local], headers: dict[str, str], links: Any
) -> None:
    """Follow what a client behind the proxy would see, and take off again what the proxy takes off."""
    local = open_local(holdings, Setting(links=links))
    outside = {
        "": BASE, "Forwarded": "https://hub.example:8443/dicom-web",
        "X-Forwarded-Proto": "https://hub.example/user/x/proxy/80/dicom-web",
    }[next(iter(headers), "")]  # fmt: skip
    for path, tag, key in ((SERIES + "/metadata", "7FE00010", "BulkDataURI"), ("/instances", "00081190", "Value")):
        for row in local.get(path, **headers).json():
            link = row[tag][key] if key == "BulkDataURI" else row[tag][key][0]
            assert link.startswith("http") == (links == "absolute")
            full = urljoin(outside + path, link)
            assert full.startswith(outside)
            assert (
                local.get(full.removeprefix(outside), STAR if key == "Value" else "*/*", **headers).status_code == 200
            )


def test_a_frame_is_read_where_it_lies(local: Local, holdings: FolderHoldings) -> None:
    dataset = dcmread(str(get_testdata_file("rtdose.dcm")))
    dataset.save_as(holdings.folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
    base = f"/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
    size = len(dataset.PixelData) // dataset.NumberOfFrames
    found = parts_of(local.get(base + "/frames/15,1,3"))
    assert [body for _, body in found] == [dataset.PixelData[size * n : size * (n + 1)] for n in (14, 0, 2)]
    assert [headers["content-location"].rpartition("/")[2] for headers, _ in found] == ["15", "1", "3"]
    assert "Content-Length" in local.get(base + "/frames/1,2").headers
    assert local.get(base + "/frames/16").status_code == 404
    assert local.get(base + "/frames/0").status_code == 404
    short = holdings.folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.NumberOfFrames = 99
    dataset.save_as(short, enforce_file_format=True)
    assert local.get(base + "/frames/99").status_code == 406
