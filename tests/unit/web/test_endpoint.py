"""The user agent against our own origin server: find, deliver, store; what reprs and traces show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from dicomlab.errors import Interrupted, UsageError
from dicomlab.model.progress import Control, Progress
from dicomlab.model.protocols import Wanted
from dicomlab.model.trace import trace
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta
from dicomlab.web.datasets import to_explicit_le
from dicomlab.web.endpoint import WebEndpoint
from tests.unit.dimse.holdings import BIG_ENDIAN, IMPLICIT, JPEG, FolderHoldings, instance, write
from tests.unit.web.scripted import MemorySink

SERIES = "1.2.3.1.1"


def find(web: WebEndpoint, *args: Any, **keywords: Any) -> Any:
    return web.find(*args, progress=False, **keywords)


def wanted(web: WebEndpoint, **keywords: Any) -> list[Wanted]:
    return [one.wanted for one in find(web, "instance", **keywords)]


# --- verify


def test_verify(web: WebEndpoint) -> None:
    found = web.verify()
    assert found
    assert dict(found.facts)["capabilities"] == "described"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/dicom-web", "http://no-such-host.invalid/dicom-web"])
def test_verify_never_raises(url: str) -> None:
    found = WebEndpoint(url).verify()
    assert not found
    assert "is the server running" in found.advice


def test_verify_of_a_wrong_base_url(web: WebEndpoint) -> None:
    found = WebEndpoint(web.url + "/nonsense").verify()
    assert not found
    assert "base URL" in found.advice


# --- find


def test_every_level(web: WebEndpoint) -> None:
    assert find(web, "study")["StudyInstanceUID"].tolist() == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert len(find(web, "series")) == 4
    assert len(find(web, "instance")) == 12
    patients = find(web, "patient").to_dataframe()
    assert patients["PatientID"].tolist() == ["P1", "P2"]
    assert patients["NumberOfPatientRelatedStudies"].tolist() == [2, 1]
    assert patients["NumberOfPatientRelatedSeries"].tolist() == [3, 1]
    assert patients["NumberOfPatientRelatedInstances"].tolist() == [11, 1]


@pytest.mark.parametrize(
    ("level", "keywords", "count"),
    [
        ("study", {"PatientName": "Müller^J*"}, 2),
        ("study", {"PatientName": "O'Neil^Ann"}, 1),
        ("study", {"StudyDescription": "Knie links"}, 1),
        ("study", {"PatientID": ["P1", "P2", "P3"]}, 3),
        ("study", {"StudyInstanceUID": ["1.2.3.1", "1.2.3.3", "9.9"]}, 2),
        ("study", {"StudyDate": ("2026-01-01", "2026-01-30")}, 0),
        ("study", {"StudyDate": ("2026-01-31", None)}, 3),
        ("patient", {"PatientID": ["P1", "P2"]}, 2),
        ("series", {"PatientID": "P1"}, 3),
        ("series", {"PatientID": "P1", "Modality": "MR"}, 1),
        ("series", {"Modality": ["MR", "CT"], "StudyInstanceUID": "1.2.3.1"}, 2),
        ("series", {"SeriesInstanceUID": SERIES}, 1),
        ("series", {"StudyInstanceUID": "7.7"}, 0),
        ("instance", {"StudyInstanceUID": "1.2.3.1"}, 10),
        ("instance", {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": SERIES}, 9),
        ("instance", {"StudyInstanceUID": ["1.2.3.1", "1.2.3.2"], "SeriesInstanceUID": [SERIES, "1.2.3.2.1"]}, 10),
        ("instance", {"SOPInstanceUID": [SERIES + ".2", SERIES + ".3"]}, 2),
        ("instance", {"SeriesInstanceUID": SERIES, "SOPInstanceUID": [f"{SERIES}.{n}" for n in range(1, 60)]}, 9),
        ("instance", {"Modality": "MR"}, 1),
        ("instance", {"PatientID": "P2"}, 1),
        ("instance", {"InstanceNumber": 3, "StudyInstanceUID": "1.2.3.1"}, 1),
    ],
)
def test_matching(web: WebEndpoint, level: str, keywords: dict[str, Any], count: int) -> None:
    found = find(web, level, **keywords)
    assert len(found) == count
    assert found.complete


def test_columns_of_upper_levels_come_along(web: WebEndpoint) -> None:
    series = find(web, "series", StudyInstanceUID=["1.2.3.2"], include=["PatientID", "StudyDescription"])
    assert series["PatientID"].tolist() == ["P1"]
    assert series["StudyDescription"].tolist() == ["Knie links"]
    instances = find(web, "instance", SeriesInstanceUID=SERIES, include=["PatientName", "Modality", "StudyDate"])
    assert set(instances["PatientName"]) == {"Müller^Jürgen"}
    assert set(instances["Modality"]) == {"CT"}
    assert instances["StudyDate"].notna().all()


@pytest.mark.parametrize("page", [1, 2, 3, 12, 13, 1000])
def test_paging_gives_everything_once(server: Any, page: int) -> None:
    found = find(WebEndpoint(server.url, page=page), "instance")
    assert len(found) == 12
    assert found["SOPInstanceUID"].is_unique
    assert found.complete


@pytest.mark.parametrize(("limit", "complete"), [(1, False), (2, False), (3, True), (4, True)])
def test_limit(web: WebEndpoint, limit: int, complete: bool) -> None:
    found = find(web, "study", limit=limit)
    assert (len(found), found.complete) == (min(limit, 3), complete)


def test_one_study_needs_few_requests(web: WebEndpoint) -> None:
    with trace() as wire:
        find(web, "series", StudyInstanceUID=["1.2.3.1", "1.2.3.2", "1.2.3.3"])
    assert wire.counts()["GET"] == 4  # one each, and one to learn that the server does not cap


# --- deliver


def test_octets_arrive_as_they_lie(web: WebEndpoint, holdings: FolderHoldings) -> None:
    sink = MemorySink()
    web.deliver(wanted(web), sink, Control())
    assert len(sink.arrived) == 12
    assert not sink.reasons
    for uid, (arrival, octets) in sink.arrived.items():
        stored = (holdings.folder / f"{uid}.dcm").read_bytes()
        meta = decode_file_meta(stored)
        if meta.transfer_syntax_uid in (IMPLICIT, BIG_ENDIAN):  # which the web does not carry
            stored = to_explicit_le(stored)
            meta = decode_file_meta(stored)
        assert arrival.transfer_syntax_uid == meta.transfer_syntax_uid
        assert arrival.file_meta == stored[: meta.length]
        assert octets == stored[meta.length :]
    assert sum(a.transfer_syntax_uid == JPEG for a, _ in sink.arrived.values()) == 1


def test_few_instances_are_asked_for_alone(web: WebEndpoint) -> None:
    sink = MemorySink()
    with trace() as wire:
        web.deliver(wanted(web, SeriesInstanceUID=SERIES)[:2], sink, Control())
    assert len(sink.arrived) == 2
    retrieved = [e.text for e in wire if e.text.startswith("GET") and "/instances/" in e.text]
    assert len(retrieved) == 2


def test_what_the_server_lacks_is_told(web: WebEndpoint) -> None:
    missing = [Wanted("1.2.3.1", SERIES, f"{SERIES}.{n}") for n in (1, 2, 3, 100)]
    nowhere = [Wanted("8.8", "8.8.1", f"8.8.1.{n}") for n in range(5)]
    sink = MemorySink()
    web.deliver([*missing, *nowhere], sink, Control())
    assert {f"{SERIES}.{n}" for n in (1, 2, 3)} <= set(sink.arrived)
    assert sink.reasons == dict.fromkeys((f"{SERIES}.100", *(one.sop_instance_uid for one in nowhere)), "404 Not Found")


def test_a_syntax_that_is_not_to_be_had_is_told(web: WebEndpoint) -> None:
    sink = MemorySink()
    web.deliver(wanted(web, SeriesInstanceUID="1.2.3.1.2"), sink, Control(), transfer_syntax="1.2.840.10008.1.2.4.90")
    assert list(sink.reasons.values()) == ["406 Not Acceptable"]


def test_cancelling_keeps_what_arrived_and_abandons_the_rest(web: WebEndpoint) -> None:
    control = Control()
    sink = MemorySink()
    sink.on_begin = lambda arrival: control.cancel() if len(sink.arrived) == 3 else None
    web.deliver(wanted(web, SeriesInstanceUID=SERIES), sink, control)
    assert len(sink.arrived) < 9
    assert len(sink.arrived) >= 3


def test_a_sink_that_is_full_is_not_the_servers_fault(web: WebEndpoint) -> None:
    sink = MemorySink(refuse=Interrupted("no space left", endpoint="/here"))
    asked = wanted(web, SeriesInstanceUID=SERIES)
    with trace() as wire, pytest.raises(Interrupted, match="/here: no space left"):
        web.deliver(asked, sink, Control())
    assert wire.counts()["GET"] == 1


# --- store


@pytest.fixture
def empty(server: Any, holdings: FolderHoldings) -> FolderHoldings:
    for path in holdings.files():
        path.unlink()
    return holdings


def test_files_are_stored_as_they_lie(web: WebEndpoint, empty: FolderHoldings, tmp_path: Path) -> None:
    paths = write(
        tmp_path / "new", *(instance(n, octets=100 * n) for n in range(1, 31)), instance(31, syntax=JPEG),
        instance(32, syntax=IMPLICIT), instance(33, syntax=BIG_ENDIAN),
    )  # fmt: skip
    told: list[Progress] = []
    report = web.store(paths, progress=told.append)
    assert report.complete
    assert report.counts == {"done": 33}
    assert told[-1].done == 33
    for path, outcome in zip(sorted(paths), sorted(report, key=lambda o: f"{o.sop_instance_uid}.dcm"), strict=True):
        before, after = path.read_bytes(), (empty.folder / path.name).read_bytes()
        meta = decode_file_meta(before)
        if meta.transfer_syntax_uid in (IMPLICIT, BIG_ENDIAN):
            assert "PS3.18 §8.7.3" in outcome.status
            assert outcome.transfer_syntax_uid == EXPLICIT_LE
            assert after == to_explicit_le(before)
        else:
            assert outcome.status == "0000H Success"
            assert before == after


def test_what_can_not_be_stored_stops_nothing(web: WebEndpoint, empty: FolderHoldings, tmp_path: Path) -> None:
    good = write(tmp_path / "new", instance(1), instance(2))
    bad = tmp_path / "new" / "bad.dcm"
    bad.write_bytes(good[0].read_bytes()[:-30])
    text = tmp_path / "new" / "readme.txt"
    text.write_text("hello")
    report = web.store(tmp_path / "new", progress=False)
    assert report.counts == {"done": 2, "failed": 2}
    assert not report.complete
    assert {"bad.dcm", "readme.txt"} == {o.status.partition(":")[0].rpartition("/")[2] for o in report.failures}


def test_data_sets_and_duplicates(web: WebEndpoint, empty: FolderHoldings) -> None:
    report = web.store([instance(1), instance(1), instance(2)], progress=False)
    assert report.counts == {"done": 3}
    assert len(empty.files()) == 2


def test_the_servers_reason_is_told(web: WebEndpoint, empty: FolderHoldings) -> None:
    empty.refuse = Interrupted("no space left", endpoint="disc")
    report = web.store([instance(1)], progress=False)
    assert [o.status for o in report] == ["A700H Out of resources"]


def test_real_compressed_files(web: WebEndpoint, empty: FolderHoldings) -> None:
    names = ["JPEG2000.dcm", "image_dfl.dcm", "MR_small_RLE.dcm", "CT_small.dcm"]
    report = web.store([str(get_testdata_file(name)) for name in names], progress=False)
    assert report.counts == {"done": 4}
    assert {o.transfer_syntax_uid for o in report} >= {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"}


def test_nothing_that_can_be_stored(web: WebEndpoint) -> None:
    with pytest.raises(UsageError):
        web.store(7, progress=False)


# --- faces


def test_the_trace_shows_no_patient(web: WebEndpoint) -> None:
    with trace() as wire:
        find(web, "study", PatientID="P1", PatientName="Müller*", AccessionNumber="A7")
    shown = repr(wire)
    for secret in ("P1", "M%C3", "Müller", "A7"):
        assert secret not in shown
    assert "PatientID=…" in shown


def test_reprs(web: WebEndpoint) -> None:
    assert str(web) == web.url
    assert web.url in repr(web)
    assert not web.fictional


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"connect_timeout_s": -1}, {"page": 0}])
def test_options_that_can_not_work(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        WebEndpoint("http://h/", **options)
