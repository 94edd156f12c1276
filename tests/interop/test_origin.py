"""Clients that are not ours, unmodified, on our origin server: dicomweb-client, and Orthanc's DICOMweb plugin."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames

from dicomlab import Archive
from dicomlab.part10.files import Parcel
from dicomlab.part10.meta import EXPLICIT_LE, IMPLICIT_LE
from dicomlab.web.datasets import NOT_ALLOWED, UNCOMPRESSED
from tests.interop.conftest import dataset_octets

STAR = (("application/dicom", "*"),)

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")  # real files are like that


@pytest.fixture(scope="module")
def ours(paths: list[Path]) -> Iterator[Archive]:
    with Archive() as archive:
        archive.add(paths, progress=False).raise_for_failures()
        yield archive


@pytest.fixture(scope="module")
def client(ours: Archive) -> DICOMwebClient:
    return DICOMwebClient(str(ours.web))


@pytest.fixture(scope="module")
def places(ours: Archive) -> dict[str, tuple[str, str, str]]:
    """SOP Instance UID to the three UIDs of its place."""
    found = ours.node.find("instance", progress=False)
    return {
        i.sop_instance_uid: (i.study_instance_uid, i.series_instance_uid, i.sop_instance_uid) for i in found.instances()
    }


def images(real: dict[str, Parcel]) -> Iterator[tuple[str, Parcel, Dataset]]:
    for uid, parcel in real.items():
        dataset = dcmread(str(parcel.path))
        if "PixelData" in dataset and "Rows" in dataset:
            yield uid, parcel, dataset


# --- dicomweb-client


def test_it_searches(client: DICOMwebClient, ours: Archive, places: Any) -> None:
    studies = client.search_for_studies()
    assert {row["0020000D"]["Value"][0] for row in studies} == {study for study, _, _ in places.values()}
    assert client.search_for_studies(limit=5, get_remaining=True) == studies
    assert len(client.search_for_instances(limit=7, get_remaining=True)) == len(places)
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY-AT-ALL"}) == []
    some = studies[0]["00100020"]["Value"][0]
    wild = client.search_for_studies(search_filters={"PatientID": some[:2] + "*"}, fields=["StudyDescription"])
    assert some in {row["00100020"]["Value"][0] for row in wild}
    for study in {study for study, _, _ in places.values()}:
        assert {row["0020000E"]["Value"][0] for row in client.search_for_series(study)} == {
            series for one, series, _ in places.values() if one == study
        }


def test_it_retrieves_what_was_stored(client: DICOMwebClient, real: Any, places: Any) -> None:
    for uid, parcel in real.items():
        got = client.retrieve_instance(*places[uid], media_types=STAR)
        stored = dcmread(str(parcel.path))
        expected = parcel.meta.transfer_syntax_uid
        assert got.file_meta.TransferSyntaxUID == (EXPLICIT_LE if expected in NOT_ALLOWED else expected)
        if expected not in NOT_ALLOWED:
            assert got == stored, uid
        assert got.SOPInstanceUID == uid


def test_whole_series_and_studies(client: DICOMwebClient, places: Any) -> None:
    study, series, _ = next(iter(places.values()))
    wanted = {uid for uid, place in places.items() if place[:2] == (study, series)}
    assert {one.SOPInstanceUID for one in client.retrieve_series(study, series, media_types=STAR)} == wanted
    assert {one.SOPInstanceUID for one in client.iter_series(study, series, media_types=STAR)} == wanted
    whole = {uid for uid, place in places.items() if place[0] == study}
    assert {one.SOPInstanceUID for one in client.retrieve_study(study, media_types=STAR)} == whole
    assert {row["00080018"]["Value"][0] for row in client.retrieve_study_metadata(study)} == whole


def test_frames_and_bulk_values_octet_for_octet(client: DICOMwebClient, real: Any, places: Any) -> None:
    compared = 0
    for uid, parcel, dataset in images(real):
        syntax = parcel.meta.transfer_syntax_uid
        count = int(dataset.get("NumberOfFrames") or 1)
        if syntax not in UNCOMPRESSED:
            frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
            media = tuple((kind, syntax) for kind in ("image/jpeg", "image/jp2", "image/jls", "image/dicom-rle"))
            try:
                (got,) = client.retrieve_instance_frames(*places[uid], frame_numbers=[count], media_types=media)
            except ValueError:
                continue  # it refuses to ask for this pair of media type and transfer syntax
            assert got == frames[-1], uid
        elif syntax in (EXPLICIT_LE, IMPLICIT_LE) and dataset.BitsAllocated >= 8:
            size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
            if len(dataset.PixelData) < size * count or dataset.PhotometricInterpretation == "YBR_FULL_422":
                continue
            (got,) = client.retrieve_instance_frames(*places[uid], frame_numbers=[count])
            assert got == dataset.PixelData[size * (count - 1) : size * count], uid
            metadata = client.retrieve_instance_metadata(*places[uid])
            (bulk,) = client.retrieve_bulkdata(metadata["7FE00010"]["BulkDataURI"])
            assert bulk == dataset.PixelData
            (some,) = client.retrieve_bulkdata(
                metadata["7FE00010"]["BulkDataURI"], media_types=("application/octet-stream",), byte_range=(0, 9)
            ) or (b"",)
            assert some[:10] == dataset.PixelData[:10]
        compared += 1
    assert compared > 15


def test_metadata_says_what_the_files_say(client: DICOMwebClient, real: Any, places: Any) -> None:
    for uid, parcel in real.items():
        said = client.retrieve_instance_metadata(*places[uid])
        dataset = dcmread(str(parcel.path))
        tags = {f"{tag:08X}" for tag in dataset.keys() if tag.element != 0}  # noqa: SIM118  (values stay raw)
        assert set(said) == tags
        if "PatientName" in dataset and dataset.PatientName:
            assert said["00100010"]["Value"][0].get("Alphabetic", "") == str(dataset.PatientName).split("=")[0]


def test_rendered_images(client: DICOMwebClient, real: Any, places: Any) -> None:
    shown = 0
    for uid, parcel, dataset in images(real):
        if parcel.meta.transfer_syntax_uid not in UNCOMPRESSED:
            continue
        octets = client.retrieve_instance_rendered(*places[uid], media_types=("image/png",))
        picture = np.asarray(Image.open(BytesIO(octets)))
        assert picture.shape[:2] == (dataset.Rows, dataset.Columns)
        jpeg = client.retrieve_instance_frames_rendered(*places[uid], frame_numbers=[1])
        assert Image.open(BytesIO(jpeg)).format == "JPEG"
        shown += 1
    assert shown > 10


def test_it_stores_and_deletes(real: Any) -> None:
    datasets = [dcmread(str(p.path)) for p in real.values() if p.meta.transfer_syntax_uid == EXPLICIT_LE][:5]
    with Archive() as archive:
        client = DICOMwebClient(str(archive.web))
        answer = client.store_instances(datasets)
        assert len(answer.ReferencedSOPSequence) == len(archive) == len(datasets)
        for one, item in zip(datasets, answer.ReferencedSOPSequence, strict=True):
            place = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
            assert item.ReferencedSOPInstanceUID == one.SOPInstanceUID
            assert client.retrieve_instance(*place, media_types=STAR) == one
        first = datasets[0]
        client.delete_instance(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)
        assert len(archive) == len(datasets) - 1
        for study in {one.StudyInstanceUID for one in datasets[1:]}:
            client.delete_study(study)
        assert len(archive) == 0


def test_without_a_port(ours: Archive, places: Any) -> None:
    with requests.Session() as session:
        client = DICOMwebClient(ours.mount(session), session=session)
        assert len(client.search_for_instances()) == len(places)


# --- Orthanc


@pytest.fixture
def ask(orthanc: Any, ours: Archive) -> Any:
    """Let Orthanc ask our server."""
    orthanc.reset()
    server = {"Url": f"{ours.web}/", "HasDelete": True}
    orthanc.ask("/dicom-web/servers/ours", server, method="PUT")

    def asked(what: str, body: Any) -> Any:
        return orthanc.ask(f"/dicom-web/servers/ours/{what}", body)

    return asked


def test_orthanc_searches(ask: Any, places: Any) -> None:
    every = ask("qido", {"Uri": "/instances"})
    assert {row["00080018"]["Value"] for row in every} == set(places)
    one = ask("qido", {"Uri": "/studies", "Arguments": {"PatientID": "NOBODY*"}})
    assert one in ([], None)


def test_orthanc_gets_metadata(ask: Any, places: Any) -> None:
    study, series, uid = next(iter(places.values()))
    path = f"/studies/{study}/series/{series}/instances/{uid}/metadata"
    said = ask("get", {"Uri": path, "HttpHeaders": {"Accept": "application/dicom+json"}})
    assert said[0]["00080018"]["Value"] == [uid]


def test_orthanc_retrieves_and_holds_what_we_hold(ask: Any, orthanc: Any, real: Any, places: Any) -> None:
    studies = {study for study, _, _ in places.values()}
    ask("retrieve", {"Resources": [{"Study": study} for study in sorted(studies)]})
    taken = {uid for uid in places if orthanc.ask("/tools/lookup", uid.encode())}
    assert len(taken) >= 0.9 * len(places)
    for uid in taken:
        if real[uid].meta.transfer_syntax_uid not in NOT_ALLOWED:
            octets = orthanc.octets(uid)
            assert octets.endswith(dataset_octets(real[uid].path)), uid


def test_orthanc_stores(orthanc: Any, real: Any) -> None:
    orthanc.reset()
    orthanc.add(*(p.path for p in real.values() if p.meta.transfer_syntax_uid == EXPLICIT_LE))
    with Archive() as archive:
        orthanc.ask("/dicom-web/servers/fresh", {"Url": f"{archive.web}/", "HasDelete": False}, method="PUT")
        orthanc.ask("/dicom-web/servers/fresh/stow", {"Resources": orthanc.ask("/instances"), "Synchronous": True})
        assert len(archive) == orthanc.count()
        for outcome in archive.folder.rglob("*.dcm"):
            uid = str(dcmread(outcome).SOPInstanceUID)
            assert dataset_octets(outcome) == dataset_octets(real[uid].path)


def canonical(row: dict[str, Any]) -> dict[str, Any]:
    """What two servers must agree on: names and text, numbers as numbers, no bulk values, no URLs."""
    found: dict[str, Any] = {}
    for tag, element in row.items():
        if element["vr"] in ("OB", "OW", "UN", "UR") or int(tag[:4], 16) % 2 or tag == "00080005":
            continue
        values = element.get("Value")
        if element["vr"] == "SQ":
            values = [canonical(item) for item in values or []]
        elif element["vr"] in ("IS", "DS", "FD", "FL", "US", "SS", "UL", "SL"):
            values = [None if one in (None, "") else float(one) for one in values or []]
        elif "InlineBinary" in element:
            values = [base64.b64decode(element["InlineBinary"])]
        if values and values not in ([""], [None], [{}]):
            found[tag] = values
    return found


def test_orthanc_and_we_say_the_same_of_the_same_files(ours: Archive, orthanc: Any, real: Any, places: Any) -> None:
    orthanc.reset()
    plain = {uid: p for uid, p in real.items() if p.meta.transfer_syntax_uid == EXPLICIT_LE}
    orthanc.add(*(p.path for p in plain.values()))
    compared = differ = 0
    for uid in plain:
        path = "/studies/{}/series/{}/instances/{}".format(*places[uid])
        theirs = requests.get(orthanc.url + path + "/metadata", timeout=30)
        if theirs.status_code != 200:
            continue
        ours_said, theirs_said = (
            canonical(one[0]) for one in (requests.get(f"{ours.web}{path}/metadata", timeout=30).json(), theirs.json())
        )
        shared = set(ours_said) & set(theirs_said)
        assert len(shared) > 10
        differ += sum(ours_said[tag] != theirs_said[tag] for tag in shared)
        compared += len(shared)
        accept = {"Accept": "multipart/related; type=application/octet-stream"}
        pixels = [
            requests.get(f"{root}{path}/frames/1", headers=accept, timeout=30) for root in (str(ours.web), orthanc.url)
        ]
        if [one.status_code for one in pixels] == [200, 200]:
            bodies = [one.content.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0] for one in pixels]
            assert bodies[0] == bodies[1]
    assert compared > 1000
    assert differ <= 0.002 * compared
