"""What is sent to be stored: DICOM files cut at every place, and metadata with bulk values in JSON and XML."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.media_types import parse_content_type
from dicomlab.web.multipart import closing, part_head
from dicomlab.web.origin import Limits, Setting
from dicomlab.web.origin import assemble as assembling
from dicomlab.web.origin.assemble import Allowance, assemble
from dicomlab.web.origin.receive import Receiver
from dicomlab.web.store_answer import parse_store_answer
from dicomlab.web.xml_model import to_xml
from tests.unit.dimse.holdings import FolderHoldings, instance
from tests.unit.web.origin.conftest import Local
from tests.unit.web.origin.test_application import part10

DICOM = 'multipart/related; type="application/dicom"; boundary=b'
JSON, XML = "application/dicom+json", "application/dicom+xml"


@pytest.fixture
def empty(tmp_path: Path) -> FolderHoldings:
    (tmp_path / "empty").mkdir()
    return FolderHoldings(tmp_path / "empty")


def body(*parts: tuple[dict[str, str], bytes]) -> bytes:
    heads = (part_head("b", headers, first=at == 0) + octets for at, (headers, octets) in enumerate(parts))
    return b"".join(heads) + closing("b")


def multipart(kind: str) -> str:
    return f'multipart/related; type="{kind}"; boundary=b'


# --- files, cut


def test_cut_anywhere_only_whole_instances_are_stored(empty: FolderHoldings) -> None:
    """Two instances, the body ending at each of its octets: what is stored is told, and nothing else is."""
    first, second = part10(instance(1, octets=20)), part10(instance(2, octets=20))
    whole = body(({"Content-Type": "application/dicom"}, first), ({"Content-Type": "application/dicom"}, second))
    after_first = whole.index(b"\r\n--b", len(first)) + len(b"\r\n--b\r\n")
    for end in range(0, len(whole) + 1, 7):
        for path in empty.files():
            path.unlink()
        receiver = Receiver(parse_content_type(DICOM), empty, "http://a", "")
        receiver.feed(whole[:end])
        receiver.close()
        receiver.drop()
        expected = 2 if end >= len(whole) - 2 else 1 if end >= after_first else 0
        stored = {path.stem for path in empty.files()}
        assert stored == {one.sop_instance_uid for one in receiver.stored}
        assert len(stored) == expected, end
        assert bool(receiver.problem) == (end < len(whole) - 2)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 17, 4096])
def test_in_chunks_of_any_size(empty: FolderHoldings, step: int) -> None:
    octets = [part10(instance(number, octets=50)) for number in (1, 2, 3)]
    whole = body(*(({"Content-Type": "application/dicom"}, one) for one in octets))
    receiver = Receiver(parse_content_type(DICOM), empty, "http://a", "")
    for at in range(0, len(whole), step):
        receiver.feed(whole[at : at + step])
    receiver.close()
    assert [path.read_bytes() for path in empty.files()] == octets


def test_a_bomb_of_parts(empty: FolderHoldings, open_local: Callable[..., Local]) -> None:
    local = open_local(empty, Setting(Limits(parts=10)))
    answer = local.post("/studies", DICOM, body(*[({}, b"x")] * 20))
    assert answer.status_code == 409
    assert "more than 10 parts" in answer.headers["Warning"]
    huge = local.post("/studies", DICOM, b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx" + closing("b"))
    assert huge.status_code == 409
    assert "64 KiB" in huge.headers["Warning"]


# --- metadata and bulk values


def model_of(dataset: Any, where: str = "") -> dict[str, Any]:
    """The JSON Model with pixel data by URI."""
    dataset = dataset.copy() if hasattr(dataset, "copy") else dataset
    found = dataset.to_json_dict(bulk_data_threshold=10_000_000, bulk_data_element_handler=lambda _: "")
    if where:
        found["7FE00010"] = {"vr": "OW", "BulkDataURI": where}
    return found


@pytest.mark.parametrize("where", ["http://archive.invalid/dicom-web/bulk/1", "bulk/1", "urn:x:1"])
@pytest.mark.parametrize("as_xml", [False, True])
@pytest.mark.parametrize("bulk_first", [False, True])
def test_metadata_and_bulk_values(
    empty: FolderHoldings, open_local: Callable[..., Local], where: str, as_xml: bool, bulk_first: bool
) -> None:
    dataset = instance(1, octets=300)
    model = model_of(dataset, where)
    kind = XML if as_xml else JSON
    text = to_xml(model) if as_xml else json.dumps([model]).encode()
    parts = [({"Content-Type": kind}, text)]
    bulk = ({"Content-Type": "application/octet-stream", "Content-Location": where}, dataset.PixelData)
    parts = [bulk, *parts] if bulk_first else [*parts, bulk]
    answer = open_local(empty).post("/studies", multipart(kind), body(*parts))
    assert answer.status_code == 200, answer.text
    (path,) = empty.files()
    stored = dcmread(path)
    assert stored.PixelData == dataset.PixelData
    assert stored.PatientName == "Müller^Jürgen"
    stored.file_meta = dataset.file_meta
    assert stored == dataset


def test_several_instances_and_one_that_lacks_its_bulk_value(
    empty: FolderHoldings, open_local: Callable[..., Local]
) -> None:
    datasets = [instance(number) for number in (1, 2, 3)]
    models = [model_of(one, f"b{n}") for n, one in enumerate(datasets)]
    parts = [({"Content-Type": JSON}, json.dumps(models).encode())]
    for n in (0, 2):
        kind = {"Content-Type": "application/octet-stream", "Content-Location": f"b{n}"}
        parts.append((kind, datasets[n].PixelData))
    answer = open_local(empty).post("/studies", multipart(JSON), body(*parts))
    assert answer.status_code == 202
    said = parse_store_answer(answer.content)
    assert set(said.stored) == {"1.2.3.1.1.1", "1.2.3.1.1.3"}
    assert set(said.failed) == {"1.2.3.1.1.2"}
    assert "(7FE0,0010)" in answer.headers["Warning"]


def test_compressed_frames_as_bulk_values(empty: FolderHoldings, open_local: Callable[..., Local]) -> None:
    dataset = dcmread(str(get_testdata_file("SC_rgb_rle_2frame.dcm")))
    frames = list(generate_frames(dataset.PixelData, number_of_frames=2))
    model = model_of(dataset, "px")
    kind = {"Content-Type": "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5", "Content-Location": "px"}
    parts = [({"Content-Type": JSON}, json.dumps([model]).encode()), *((kind, frame) for frame in frames)]
    assert open_local(empty).post("/studies", multipart(JSON), body(*parts)).status_code == 200
    (path,) = empty.files()
    stored = dcmread(path)
    assert stored.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
    assert np.array_equal(stored.pixel_array, dataset.pixel_array)


def test_inline_values_of_every_kind(empty: FolderHoldings, open_local: Callable[..., Local]) -> None:
    model = model_of(instance(1)) | {
        "7FE00010": {"vr": "OW", "InlineBinary": base64.b64encode(b"12").decode()},
        "00189073": {"vr": "FD", "Value": [1.5]},
        "00189074": {"vr": "DT"},
        "0018115E": {"vr": "DS", "Value": ["1.20E+02"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00081140": {"vr": "SQ", "Value": [{}, {"00081155": {"vr": "UI", "Value": ["1.2"]}}]},
        "00091001": {"vr": "AT", "Value": ["00100010"]},
        "00091002": {"vr": "UV", "Value": [2**63]},
        "00091003": {"vr": "FL", "InlineBinary": base64.b64encode(b"\0\0\x80\x7f").decode()},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山田^太郎"}]},
    }
    answer = open_local(empty).post(
        "/studies", multipart(JSON), body(({"Content-Type": JSON}, json.dumps([model]).encode()))
    )
    assert answer.status_code == 200, answer.text
    stored = dcmread(empty.files()[0])
    assert stored[0x0018115E].value == 120
    assert stored.ImageType == ["ORIGINAL", "", "AXIAL"]
    assert len(stored.ReferencedImageSequence) == 2
    assert stored[0x00091001].value == 0x00100010
    assert stored[0x00091002].value == 2**63
    assert stored[0x00091003].value == float("inf")
    assert stored.PatientName.ideographic == "山田^太郎"
    assert stored.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[", b"{", b"[1]", b"null", b'["x"]', b'[{"00100010": 5}]', b'[{"xyz": {"vr": "PN"}}]',
        b'[{"00100010": {"vr": "??"}}]', b'[{"00100010": {"vr": "US", "Value": ["x"]}}]', b"[{}]",
        b'[{"7FE00010": {"vr": "OW", "InlineBinary": "%%%"}}]', b'[{"00081140": {"vr": "SQ", "Value": [5]}}]',
        b'[{"00080018": {"vr": "UI", "Value": ["../../etc"]}}]',
        b'[{"00080018": {"vr": "UI", "Value": ["1.2"]}, "7FE00010": {"vr": "OW", "BulkDataURI": "file:///etc/passwd"}}]',
        b'[{"00080018": {"vr": "UI", "Value": ["1.2"]}, "7FE00010": {"vr": "OW", "BulkDataURI": "http://127.0.0.1:1/"}}]',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_metadata_that_is_none(empty: FolderHoldings, open_local: Callable[..., Local], text: bytes) -> None:
    answer = open_local(empty).post("/studies", multipart(JSON), body(({"Content-Type": JSON}, text)))
    assert answer.status_code in (400, 409), answer.text
    assert not empty.files()
    assert not [path for path in empty.folder.parent.rglob("*") if path.is_file()]


def test_xml_that_is_none(empty: FolderHoldings, open_local: Callable[..., Local]) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "xxxxxxxx">]><NativeDicomModel>&b;</NativeDicomModel>'
    for text in (b"<", b"<a/>", bomb):
        answer = open_local(empty).post("/studies", multipart(XML), body(({"Content-Type": XML}, text)))
        assert answer.status_code in (400, 409)
    assert not empty.files()


def test_nested_without_end(empty: FolderHoldings) -> None:
    model: dict[str, Any] = {}
    for _ in range(100):
        model = {"00081140": {"vr": "SQ", "Value": [model]}}
    with pytest.raises(RemoteProtocolError, match="nested"):
        assemble(model, {}, "http://a", Allowance(0))


@pytest.mark.parametrize("spread", [False, True])
def test_bulk_values_that_are_named_over_and_over(
    empty: FolderHoldings, open_local: Callable[..., Local], monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    monkeypatch.setattr(assembling, "REPEATED_OCTETS", 2500)
    models = [model_of(instance(number), "b") for number in range(1, 9 if spread else 2)]
    if not spread:
        models[0] |= {f"000910{n:02X}": {"vr": "OB", "BulkDataURI": "b"} for n in range(8)}
    kind = {"Content-Type": "application/octet-stream", "Content-Location": "b"}
    sent = body(({"Content-Type": JSON}, json.dumps(models).encode()), (kind, bytes(1000)))
    answer = open_local(empty).post("/studies", multipart(JSON), sent)
    assert "over and over" in answer.headers["Warning"]
    assert len(empty.files()) == (3 if spread else 0)  # what came, and two and a half times again


def test_more_instances_than_parts_may_be(empty: FolderHoldings, open_local: Callable[..., Local]) -> None:
    local = open_local(empty, Setting(Limits(parts=3)))
    answer = local.post("/studies", multipart(JSON), body(({"Content-Type": JSON}, b"[{},{},{},{}]")))
    assert answer.status_code == 409
    assert "more than 3 instances" in answer.headers["Warning"]


def test_a_coded_body_is_not_taken_for_a_cut_one(empty: FolderHoldings, open_local: Callable[..., Local]) -> None:
    local = open_local(empty)
    answer = local.post("/studies", DICOM, gzip.compress(b"x" * 100), Content_Encoding="gzip")
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert "gzip" in answer.json()["error"]
