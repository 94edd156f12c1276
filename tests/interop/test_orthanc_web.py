"""WebEndpoint against Orthanc's DICOMweb plugin, and Orthanc and dicomweb-client against our origin server."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from pandas.testing import assert_frame_equal

from dicomlab import Archive, Node, WebEndpoint
from dicomlab.part10.meta import EXPLICIT_BE, IMPLICIT_LE
from tests.interop.conftest import dataset_octets

BARRED = {IMPLICIT_LE, EXPLICIT_BE}


@pytest.fixture(scope="module")
def web(orthanc: Any) -> WebEndpoint:
    return WebEndpoint(orthanc.url)


@pytest.fixture(scope="module")
def stored(web: WebEndpoint, orthanc: Any, real: Any, paths: list[Path]) -> set[str]:
    report = web.store(paths, progress=False)
    assert len(report) == len(real)
    done = {o.sop_instance_uid for o in report if o.result in ("done", "warning")}
    assert len(done) == orthanc.count()  # told stored means stored, told failed means failed
    assert len(done) >= 0.9 * len(real), [(o.sop_instance_uid, o.status) for o in report.failures]
    return done


def test_verify(web: WebEndpoint) -> None:
    assert web.verify()


def test_find(web: WebEndpoint, orthanc: Any, stored: set[str]) -> None:
    studies = web.find("study")
    assert studies.complete
    assert set(studies["StudyInstanceUID"]) == {
        s["MainDicomTags"]["StudyInstanceUID"] for s in orthanc.ask("/studies?expand")
    }
    assert {i.sop_instance_uid for i in studies.instances()} == stored
    first = studies["PatientID"].iloc[0]
    assert set(web.find(PatientID=first[:2] + "*")["PatientID"]) >= {first}
    assert len(web.find(PatientID="NOBODY-AT-ALL")) == 0
    over_dimse = Node(orthanc.ae, me=orthanc.me).find("series")
    keys = ["StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"]
    assert_frame_equal(
        *(c.to_dataframe()[keys].sort_values(keys[:2], ignore_index=True) for c in (web.find("series"), over_dimse))
    )


def test_retrieve(web: WebEndpoint, stored: set[str], real: Any, tmp_path: Path) -> None:
    report = web.find("study").retrieve(tmp_path, progress=False)
    arrived = {o.sop_instance_uid: o for o in report if o.result == "done"}
    assert set(arrived) == stored
    for uid, outcome in arrived.items():
        if real[uid].meta.transfer_syntax_uid not in BARRED:
            assert outcome.transfer_syntax_uid == real[uid].meta.transfer_syntax_uid
            assert dataset_octets(tmp_path / outcome.path) == dataset_octets(real[uid].path)


@pytest.fixture(scope="module")
def ours(real: Any, paths: list[Path]) -> Any:
    with Archive() as archive:
        archive.add(paths, progress=False).raise_for_failures()
        yield archive


def test_dicomweb_client_searches_and_retrieves_from_ours(ours: Archive, real: Any) -> None:
    client = DICOMwebClient(str(ours.web))
    studies = client.search_for_studies()
    assert len(studies) == len(ours.node.find("study"))
    some = next(p for p in real.values() if p.meta.transfer_syntax_uid == "1.2.840.10008.1.2.1")
    row = next(i for i in ours.node.find("instance") if i.sop_instance_uid == some.meta.sop_instance_uid)
    got = client.retrieve_instance(
        row.study_instance_uid,
        row.series_instance_uid,
        row.sop_instance_uid,
        media_types=(("application/dicom", "*"),),
    )
    assert got.SOPInstanceUID == row.sop_instance_uid
    metadata = client.retrieve_series_metadata(row.study_instance_uid, row.series_instance_uid)
    assert metadata[0]["0020000D"]["Value"] == [row.study_instance_uid]
    assert client.search_for_studies(search_filters={"PatientID": "NOBODY-AT-ALL"}) == []


def test_dicomweb_client_stores_into_ours(real: Any) -> None:
    from pydicom import dcmread

    parcel = next(p for p in real.values() if p.meta.transfer_syntax_uid == "1.2.840.10008.1.2.1")
    dataset = dcmread(BytesIO(parcel.path.read_bytes()))
    with Archive() as archive:
        answer = DICOMwebClient(str(archive.web)).store_instances([dataset])
        assert len(answer.ReferencedSOPSequence) == 1
        assert [i.sop_instance_uid for i in archive.web.find("instance")] == [parcel.meta.sop_instance_uid]


def test_orthanc_as_user_agent_of_ours(ours: Archive, orthanc: Any, real: Any) -> None:
    orthanc.reset()
    orthanc.ask("/dicom-web/servers/ours", {"Url": str(ours.web) + "/", "HasDelete": False}, method="PUT")
    study = ours.web.find("study", limit=1)["StudyInstanceUID"].iloc[0]
    wanted = {i.sop_instance_uid for i in ours.web.find("instance", StudyInstanceUID=study)}
    orthanc.ask("/dicom-web/servers/ours/retrieve", {"Resources": [{"Study": study}]})
    assert orthanc.count() == len(wanted)
    with Archive() as fresh:
        orthanc.ask("/dicom-web/servers/fresh", {"Url": str(fresh.web) + "/", "HasDelete": False}, method="PUT")
        names = orthanc.ask("/instances")
        orthanc.ask("/dicom-web/servers/fresh/stow", {"Resources": names, "Synchronous": True})
        assert {i.sop_instance_uid for i in fresh.web.find("instance")} == wanted
