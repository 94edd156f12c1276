"""Both sides of the web on the same data: our client and dicomweb-client, our origin server well and badly behaved."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from dicomlab import Archive, WebEndpoint
from dicomlab.errors import DicomlabError
from dicomlab.samples.phantom import phantom_datasets
from tests.interop.conftest import dataset_octets

SLICES = 12


@pytest.fixture(scope="module")
def instances() -> list[Any]:
    return list(phantom_datasets(patients=2, slices=SLICES, seed=4))


@pytest.fixture(scope="module")
def archive(instances: list[Any]) -> Iterator[Archive]:
    with Archive() as archive:
        archive.add(instances, progress=False).raise_for_failures()
        yield archive


@pytest.fixture(autouse=True)
def _well(archive: Archive) -> Iterator[None]:
    yield
    archive.faults.clear()


@pytest.fixture(scope="module", params=["orthanc", "ours"])
def url(request: pytest.FixtureRequest, archive: Archive, instances: list[Any], tmp_path_factory: Any) -> str:
    if request.param == "ours":
        return str(archive.web)
    orthanc = request.getfixturevalue("orthanc")
    WebEndpoint(orthanc.url).store(instances, progress=False).raise_for_failures()
    return str(orthanc.url)


# --- dicomweb-client and us


def test_both_clients_get_the_same(url: str, instances: list[Any], tmp_path: Path) -> None:
    web, client = WebEndpoint(url), DICOMwebClient(url)
    studies = web.find("study", progress=False)
    assert set(studies["StudyInstanceUID"]) == {row["0020000D"]["Value"][0] for row in client.search_for_studies()}
    assert studies.retrieve(tmp_path, progress=False).complete
    ours = {dcmread(path, stop_before_pixels=True).SOPInstanceUID: path for path in tmp_path.rglob("*.dcm")}
    series = web.find("series", progress=False)
    for study, uid in zip(series["StudyInstanceUID"], series["SeriesInstanceUID"], strict=True):
        kinds = (("application/dicom", "*"),)
        for theirs in client.iter_series(study, uid, media_types=kinds):
            buffer = BytesIO()
            theirs.save_as(buffer)
            read = dcmread(ours[theirs.SOPInstanceUID])
            assert read == theirs
            assert read.PixelData == theirs.PixelData
        metadata = {one["00080018"]["Value"][0]: one for one in client.retrieve_series_metadata(study, uid)}
        mine = {one["00080018"]["Value"][0]: one for one in web.metadata((study, uid)).json}
        for found in (mine, metadata):  # Orthanc writes addresses by the Host of each request
            for model in found.values():
                del model["7FE00010"]
        assert mine == metadata
    one = next(iter(web.find("instance", limit=1, progress=False)))
    uids = (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid)
    (frame,) = web.frames(uids, 1)
    kinds = (("application/octet-stream", "*"),)
    assert [frame.octets] == client.retrieve_instance_frames(*uids, [1], media_types=kinds)
    held = {ds.SOPInstanceUID: ds for ds in instances}
    assert frame.octets == held[one.sop_instance_uid].PixelData


def test_both_clients_store_the_same(instances: list[Any]) -> None:
    with Archive() as ours, Archive() as theirs:
        ours.web.store(instances, progress=False).raise_for_failures()
        whole = []
        for instance in instances:  # dicomweb-client writes no preamble where a data set has none
            buffer = BytesIO()
            instance.save_as(buffer, enforce_file_format=True)
            whole.append(dcmread(BytesIO(buffer.getvalue())))
        DICOMwebClient(str(theirs.web)).store_instances(whole)
        files = [
            {
                dcmread(p, stop_before_pixels=True).SOPInstanceUID: dataset_octets(p)
                for p in Path(a.media.path).rglob("*")
                if p.suffix == ".dcm"
            }
            for a in (ours, theirs)
        ]
    assert len(files[0]) == len(instances)
    assert files[0] == files[1]


# --- our origin server, badly behaved


FAULTS: dict[str, Any] = {
    "unavailable": lambda f: f.unavailable(door="web", times=2),
    "truncate": lambda f: f.truncate(100, door="web", times=1),
    "cap": lambda f: f.cap(3, door="web"),
    "no closing delimiter": lambda f: f.no_closing_delimiter(times=1),
    "unauthorized": lambda f: f.unauthorized(after=2, times=1),
    "slow": lambda f: f.slow(40_000_000, door="web"),
    "stall": lambda f: f.stall(70_000, door="web", after=1, times=1),
    "lie": lambda f: f.lie(door="web", times=1),
    "ignore offset": lambda f: f.ignore_offset(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("streams", [pytest.param(1, marks=pytest.mark.full), 4])
def test_a_retrieve_brings_everything_or_says_what_is_missing(
    archive: Archive, instances: list[Any], fault: str, streams: int, tmp_path: Path
) -> None:
    web = WebEndpoint(str(archive.web), auth=lambda: ("token", 3600.0), timeout_s=2.0)
    cohort = web.find("instance", progress=False)
    held = {ds.SOPInstanceUID: ds.PixelData for ds in instances}
    with FAULTS[fault](archive.faults) as on:
        try:
            report = cohort.retrieve(tmp_path, streams=streams, progress=False)
        except DicomlabError as error:
            report = error.partial
            assert report is not None
        struck = on.struck
    assert struck or fault in ("cap", "ignore offset")  # those are for searches
    there = {dcmread(tmp_path / o.path).SOPInstanceUID: dcmread(tmp_path / o.path).PixelData for o in report if o.path}
    assert all(held[uid] == octets for uid, octets in there.items())
    assert report.complete == (set(there) == set(held))
    again = cohort.retrieve(tmp_path, progress=False)  # the same call again fetches what is missing
    assert again.complete
    assert {o.sop_instance_uid for o in again if o.path} == set(held)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("page", [5, *(pytest.param(page, marks=pytest.mark.full) for page in (24, 1000))])
def test_a_search_finds_everything_or_says_that_it_is_cut(
    archive: Archive, instances: list[Any], fault: str, page: int
) -> None:
    web = WebEndpoint(str(archive.web), auth=lambda: ("token", 3600.0), page=page, timeout_s=2.0)
    with FAULTS[fault](archive.faults):
        try:
            found = web.find("instance", progress=False)
        except DicomlabError as error:
            found = error.partial
    if found is not None and found.complete and fault != "cap":  # what a server never finds nobody misses
        assert set(found["SOPInstanceUID"]) == {ds.SOPInstanceUID for ds in instances}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_tells_what_is_there(instances: list[Any], fault: str) -> None:
    with Archive() as target:
        web = WebEndpoint(str(target.web), auth=lambda: ("token", 3600.0), timeout_s=2.0)
        with FAULTS[fault](target.faults):
            try:
                report = web.store(instances, progress=False)
            except DicomlabError as error:
                report = error.partial
        there = {one.sop_instance_uid for one in target.node.find("instance", progress=False)}
    said = {o.sop_instance_uid for o in report if o.result in ("done", "warning")}
    assert said <= there if fault == "cap" else said == there  # a search that is cut short confirms less


@pytest.mark.full
@pytest.mark.parametrize("door", ["orthanc", "ours"])
def test_four_hundred_instances_octet_for_octet(door: str, archive: Archive, tmp_path: Path, request: Any) -> None:
    many = list(phantom_datasets(patients=1, slices=400, seed=9))
    web = WebEndpoint(request.getfixturevalue("orthanc").url) if door == "orthanc" else archive.web
    before = tmp_path / "before"
    with Archive(before) as first:
        first.add(many, progress=False).raise_for_failures()
        sent = {
            dcmread(p, stop_before_pixels=True).SOPInstanceUID: dataset_octets(p)
            for p in Path(first.media.path).rglob("*.dcm")
        }
    web.store(many, progress=False).raise_for_failures()
    study = many[0].StudyInstanceUID
    report = web.find("study", StudyInstanceUID=study, progress=False).retrieve(tmp_path / "after", progress=False)
    assert {o.sop_instance_uid: dataset_octets(tmp_path / "after" / o.path) for o in report} == sent
