"""What WebEndpoint asks of Orthanc beside whole instances, and the lies of its DICOMweb plugin seen through."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicomlab import WebEndpoint
from dicomlab.errors import Refused, RemoteProtocolError, ServiceError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Wanted
from dicomlab.model.trace import trace
from dicomlab.web.json_model import to_json
from dicomlab.web.servers import ORTHANC
from tests.faults.plans import Cut, Plan
from tests.faults.proxy import TcpProxy
from tests.interop.conftest import dataset_octets
from tests.peers.processes import LOOPBACK
from tests.unit.web.scripted import MemorySink

CT, MULTI = Path(str(get_testdata_file("CT_small.dcm"))), Path(str(get_testdata_file("emri_small.dcm")))
SERIES = [f"1.2.826.0.1.3680043.8.498.77.{n}" for n in (1, 2, 3)]


@pytest.fixture(scope="module")
def web(orthanc: Any, tmp_path_factory: pytest.TempPathFactory) -> WebEndpoint:
    """Three series of eight slices, a CT slice, and a multi-frame instance."""
    folder = tmp_path_factory.mktemp("series")
    slice_ = dcmread(CT)
    for series in SERIES:
        for number in range(1, 9):
            slice_.StudyInstanceUID, slice_.SeriesInstanceUID = SERIES[0] + ".0", series
            slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
            slice_.InstanceNumber, slice_.PatientID, slice_.PatientName = number, "S*1", "Test^Pat001"
            slice_.save_as(folder / f"{slice_.SOPInstanceUID}.dcm")
    web = WebEndpoint(orthanc.url, server="orthanc")
    web.store([folder, CT, MULTI], progress=False).raise_for_failures()
    return web


def uids(path: Path) -> tuple[str, str, str]:
    dataset = dcmread(path, stop_before_pixels=True)
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def test_its_kind_is_detected_and_its_abilities_are_told(web: WebEndpoint, orthanc: Any) -> None:
    unknown = WebEndpoint(orthanc.url)
    found = unknown.capabilities()
    assert unknown.server is ORTHANC
    assert not found.described
    yes = (
        "search for study rows",
        "search for instances across studies",
        "retrieve",
        "metadata",
        "metadata in XML",
        "frames",
        "rendered",
        "offset",
    )
    no = "thumbnail", "bulkdata", "pixeldata", "retrieve single part", "description"
    assert all(found[what] is True for what in yes)
    assert all(found[what] is False for what in no)
    assert "orthanc" in repr(found)
    assert found._repr_html_()
    assert len(found.to_dataframe()) == len(found.abilities)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_metadata(web: WebEndpoint, form: Any) -> None:
    found = web.metadata((SERIES[0] + ".0", SERIES[0]), form=form)
    assert sorted(found.to_dataframe(["InstanceNumber"])["InstanceNumber"]) == list(range(1, 9))
    (ct,) = web.metadata(uids(CT), form=form).json
    held = to_json(dcmread(CT), exact=True)
    for tag in ("00080018", "00080060", "00100010", "00180050", "00200032", "00280030", "00080008"):
        assert [str(v) for v in ct[tag]["Value"]] == [str(v) for v in held[tag]["Value"]] or np.allclose(
            np.array(ct[tag]["Value"], float), np.array(held[tag]["Value"], float)
        )


def test_the_metadata_of_a_cohort_are_whole(web: WebEndpoint) -> None:
    series = web.find("series", StudyInstanceUID=SERIES[0] + ".0", progress=False)
    found = web.metadata(series)
    assert found.complete
    assert len(found) == 24
    frame = found.to_dataframe()
    assert {"SOPInstanceUID", "SliceThickness", "PixelSpacing"} <= set(frame.columns)


def test_frames(web: WebEndpoint) -> None:
    (frame,) = web.frames(uids(CT), 1)
    assert frame.octets == dcmread(CT).PixelData
    dose = dcmread(MULTI)
    size = len(dose.PixelData) // dose.NumberOfFrames
    found = web.frames(uids(MULTI), [3, 1])
    assert [one.octets for one in found] == [dose.PixelData[2 * size : 3 * size], dose.PixelData[:size]]
    assert len(web.frames(uids(MULTI), range(1, dose.NumberOfFrames + 1))) == dose.NumberOfFrames
    for number in (dose.NumberOfFrames + 1, 10_000):
        with pytest.raises(ServiceError):
            web.frames(uids(MULTI), number)


def test_whole_instances_transcoded(web: WebEndpoint, tmp_path: Path) -> None:
    one = web.find("instance", StudyInstanceUID=uids(CT)[0], progress=False)
    report = one.retrieve(tmp_path, transfer_syntax=["1.2.840.10008.1.2.4.70", "*"], progress=False)
    assert report.outcomes[0].transfer_syntax_uid == "1.2.840.10008.1.2.4.70"
    (path,) = tmp_path.rglob("*.dcm")
    assert np.array_equal(dcmread(path).pixel_array, dcmread(CT).pixel_array)


def test_several_streams_bring_octet_for_octet_what_one_does(web: WebEndpoint, tmp_path: Path) -> None:
    study = web.find("instance", StudyInstanceUID=SERIES[0] + ".0", progress=False)
    for streams in (1, 4):
        report = study.retrieve(tmp_path / str(streams), streams=streams, progress=False)
        assert report.count("done") == 24
    for path in (tmp_path / "1").rglob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "4" / path.relative_to(tmp_path / "1")).read_bytes()


@pytest.mark.parametrize("after", [0, 50, 2_000, 60_000, 150_000, 307_000])
def test_a_series_that_is_cut_is_made_whole(web: WebEndpoint, orthanc: Any, after: int) -> None:
    wanted = [Wanted(SERIES[0] + ".0", SERIES[0], f"{SERIES[0]}.{n}") for n in range(1, 9)]
    sink = MemorySink()
    with TcpProxy(orthanc.http_port, plans=[Plan(to_client=[Cut(after)])]) as proxy:
        WebEndpoint(f"http://{LOOPBACK}:{proxy.port}/dicom-web").deliver(wanted, sink, Control())
    assert {uid: octets for uid, (_, octets) in sink.arrived.items()} == {
        one.sop_instance_uid: dataset_octets_of(orthanc.octets(one.sop_instance_uid)) for one in wanted
    }


def dataset_octets_of(octets: bytes) -> bytes:
    from dicomlab.part10.meta import decode_file_meta

    return octets[decode_file_meta(octets, final=True).length :]


def test_rendered(web: WebEndpoint) -> None:
    (default,) = web.rendered(uids(CT), media_type="image/png")
    (windowed,) = web.rendered(uids(CT), media_type="image/png", window=(40, 400))
    assert default.octets != windowed.octets
    assert Image.open(BytesIO(windowed.octets)).size == (128, 128)
    (small,) = web.rendered(uids(CT), viewport=(32, 32), quality=50)
    assert small.media_type == "image/jpeg"
    assert max(Image.open(BytesIO(small.octets)).size) == 32
    with pytest.raises((ServiceError, Refused)):
        web.thumbnail(uids(CT))


def test_addresses_that_can_not_be_reached_are_put_right(web: WebEndpoint) -> None:
    (model,) = web.metadata(uids(CT)).json
    uris = [e["BulkDataURI"] for tag, e in model.items() if "BulkDataURI" in e and tag != "7FE00010"]
    assert uris
    for uri in uris:
        assert web.bulkdata(uri)[0].octets
    dataset = next(web.metadata(uids(CT)).datasets(bulk=True))
    assert dataset.PixelData == dcmread(CT).PixelData


def test_wado_uri_and_its_lies(web: WebEndpoint, orthanc: Any) -> None:
    part = web.wado_uri(uids(CT), transfer_syntax="1.2.840.10008.1.2.4.70")
    assert part.transfer_syntax == "1.2.840.10008.1.2.1"  # asked for another, and the File Meta Information tells
    image = web.wado_uri(uids(CT), media_type="image/jpeg")
    assert image.media_type == "image/jpeg"
    assert image.said == "image/png"


def test_it_does_not_delete(web: WebEndpoint, orthanc: Any) -> None:
    before = orthanc.count()
    with pytest.raises(ServiceError, match="does not delete"):
        web.delete(uids(CT), confirm=1)
    assert orthanc.count() == before


@pytest.mark.parametrize("server", ["orthanc", None])
def test_characters_that_it_does_not_decode(orthanc: Any, web: WebEndpoint, server: str | None) -> None:
    again = WebEndpoint(orthanc.url, server=server)
    assert set(again.find("study", PatientName="Test^Pat001", progress=False)["PatientID"]) == {"S*1"}
    assert len(again.find("study", PatientName="Test^*", progress=False)) == 1
    assert len(again.find("study", PatientName="TestxPat001", progress=False)) == 0
    with trace() as wire:
        again.find("study", PatientName="Test^Pat001", progress=False)
    asked = sum(event.octets.startswith(b"GET ") for event in wire)
    assert asked == (2 if server else 4) or asked < 5


def test_single_rows_by_page(orthanc: Any, web: WebEndpoint) -> None:
    for page in (1, 7, 24):
        found = WebEndpoint(orthanc.url, page=page).find("instance", StudyInstanceUID=SERIES[0] + ".0", progress=False)
        assert found.complete
        assert len(found) == 24


def test_what_is_stored_is_told_from_what_is_not(web: WebEndpoint, orthanc: Any, tmp_path: Path) -> None:
    """A good part and a bad one: the answer is 400, though the good one is there."""
    good = dcmread(CT)
    good.SOPInstanceUID = good.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.78.1"
    good.save_as(tmp_path / "1.dcm")
    octets = bytearray((tmp_path / "1.dcm").read_bytes())
    bad = octets.replace(b"8.498.78.1", b"8.498.78.2")
    from dicomlab.part10.files import Parcel
    from dicomlab.part10.meta import decode_file_meta

    meta = decode_file_meta(bytes(bad), final=True)
    broken = Parcel(meta, "broken", None, bytes(bad[: meta.length]) + b"\x08\x00\x05\x00CS\xff\xff")
    report = web.store([tmp_path / "1.dcm", broken], progress=False)
    assert [o.result for o in report] == ["done", "failed"]
    held = {row["MainDicomTags"]["SOPInstanceUID"] for row in orthanc.ask("/instances?expand")}
    assert "1.2.826.0.1.3680043.8.498.78.1" in held
    assert "1.2.826.0.1.3680043.8.498.78.2" not in held


def test_an_unknown_instance_is_no_silence(web: WebEndpoint) -> None:
    with pytest.raises((ServiceError, RemoteProtocolError)):
        web.metadata(("1.2", "1.2.3", "1.2.3.4"))
    assert dataset_octets(CT)
