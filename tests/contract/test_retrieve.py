"""What every path promises of ``retrieve`` and ``store``."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

import dicomlab
from dicomlab import Archive, MediaSet, Report, UsageError
from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.part10.meta import decode_file_meta
from dicomlab.samples.phantom import phantom_datasets


def octets_of(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    whole = buffer.getvalue()
    return whole[decode_file_meta(whole).length :]


def check_whole(folder: Path, report: Report, wanted: list[Dataset]) -> None:
    """Every instance is there once, octets after the File Meta Information as they were stored."""
    assert {o.sop_instance_uid for o in report} == {ds.SOPInstanceUID for ds in wanted}
    by_uid = {ds.SOPInstanceUID: ds for ds in wanted}
    for outcome in report:
        parcel = parcel_of_file(folder / outcome.path)
        assert isinstance(parcel, Parcel)
        assert parcel.meta.sop_instance_uid == outcome.sop_instance_uid
        with parcel.dataset() as octets:
            assert bytes(octets) == octets_of(by_uid[outcome.sop_instance_uid])
    assert not [f for f in folder.rglob("*") if f.name.endswith(".part")]


def test_retrieve_into_a_folder(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    report = source.find("study").retrieve(tmp_path / "cohort", verify="sha256", progress=False)
    assert report.complete
    assert report.count("done") == len(instances)
    check_whole(tmp_path / "cohort", report, instances)
    digests = {ds.SOPInstanceUID: hashlib.sha256(octets_of(ds)).hexdigest() for ds in instances}
    assert {o.sop_instance_uid: o.sha256 for o in report} == digests
    frame = report.to_dataframe()
    assert frame["result"].eq("done").all()
    assert report.octets == sum(len(octets_of(ds)) for ds in instances)
    media = report.media
    assert isinstance(media, MediaSet)
    assert len(media.find("instance")) == len(instances)


def test_the_ledger_lies_beside_the_data(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    report = source.find("study").retrieve(tmp_path, progress=False)
    loaded = Report.load(tmp_path)
    assert set(loaded) == set(report)
    assert loaded.complete
    lines = (tmp_path / "dicomlab-ledger.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["dicomlab-ledger"] == 1
    assert len(lines) == len(instances) + 1
    names = {str(ds.PatientName) for ds in instances} | {ds.PatientID for ds in instances}
    assert not [n for n in names if n in "\n".join(lines)]


def test_the_same_call_again_fetches_nothing(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    cohort = source.find("study")
    cohort.retrieve(tmp_path, progress=False)
    stamps = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.dcm")}
    again = cohort.retrieve(tmp_path, progress=False)
    assert again.complete
    assert again.count("skipped") == len(instances)
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.dcm")} == stamps


def test_a_part_of_a_series_is_that_part(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    """However it is asked for, the rest of the series is neither stored nor given."""
    uids = Counter(ds.SeriesInstanceUID for ds in instances)
    series, count = uids.most_common(1)[0]
    assert count > 4
    every = source.find("instance", SeriesInstanceUID=series, progress=False)
    part = every[every["SOPInstanceUID"] != every["SOPInstanceUID"][0]]
    report = part.retrieve(tmp_path, progress=False)
    assert sorted(one.sop_instance_uid for one in report) == sorted(part["SOPInstanceUID"])
    assert report.count("done") == len(list(tmp_path.rglob("*.dcm"))) == len(part)
    assert sorted(ds.SOPInstanceUID for ds in part.datasets()) == sorted(part["SOPInstanceUID"])


def test_a_damaged_or_missing_file_is_fetched_again(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    cohort = source.find("study")
    report = cohort.retrieve(tmp_path, verify="sha256", progress=False)
    gone, cut, changed = (tmp_path / o.path for o in report.outcomes[:3])
    gone.unlink()
    os.truncate(cut, cut.stat().st_size - 7)
    octets = bytearray(changed.read_bytes())
    octets[-1] ^= 1
    changed.write_bytes(octets)
    again = cohort.retrieve(tmp_path, verify="sha256", progress=False)
    assert again.complete
    assert again.count("done") == 3
    check_whole(tmp_path, again, instances)


KILLED = """
import os, sys
import dicomlab
def die(progress):
    if progress.done == 5:
        os._exit(9)
source = {source}
source.find("study").retrieve({folder!r}, progress=die)
"""


def test_resume_after_a_kill(source: Any, again: Any, instances: list[Dataset], tmp_path: Path) -> None:
    code = KILLED.format(source=again.code, folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 9, ended.stderr
    report = source.find("study").retrieve(tmp_path, progress=False)
    assert report.complete
    assert report.count("skipped") >= 5
    assert report.count("done") == len(instances) - report.count("skipped")
    check_whole(tmp_path, report, instances)
    assert Report.load(tmp_path).complete


def test_the_first_interrupt_keeps_what_arrived(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    def interrupt(progress: Any) -> None:
        if progress.done == 4:
            signal.raise_signal(signal.SIGINT)

    report = source.find("study").retrieve(tmp_path, progress=interrupt)
    assert not report.complete
    assert "cancelled" in report.note
    assert 4 <= report.count("done") < len(instances)
    whole = source.find("study").retrieve(tmp_path, progress=False)
    assert whole.complete
    check_whole(tmp_path, whole, instances)


def test_retrieve_in_the_background_with_progress(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    seen: list[Any] = []
    operation = source.find("study").retrieve(tmp_path, background=True, progress=seen.append)
    report = operation.result(timeout_s=60)
    assert report.complete
    assert seen[-1].done == len(instances) == seen[-1].total
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_layout(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    report = source.find("study").retrieve(
        tmp_path, layout="{PatientID}/{StudyDate}/{SOPInstanceUID}.dcm", progress=False
    )
    expected = {f"{ds.PatientID}/{ds.StudyDate}/{ds.SOPInstanceUID}.dcm" for ds in instances}
    assert {o.path for o in report} == expected
    for bad in ("../{SOPInstanceUID}", "{NoSuchKeyword}/{SOPInstanceUID}", "{PatientID}.dcm", "/x/{SOPInstanceUID}"):
        with pytest.raises(UsageError):
            source.find("study").retrieve(tmp_path / "x", layout=bad)


def test_one_series_and_one_instance(source: Any, instances: list[Dataset], tmp_path: Path, bag: Any) -> None:
    uid = bag("SeriesInstanceUID")[0]
    wanted = [ds for ds in instances if ds.SeriesInstanceUID == uid]
    study = wanted[0].StudyInstanceUID
    report = source.find("series", StudyInstanceUID=study, SeriesInstanceUID=uid).retrieve(tmp_path / "a")
    check_whole(tmp_path / "a", report, wanted)
    some = source.find("instance", StudyInstanceUID=study, SeriesInstanceUID=uid)[1:3]
    report = some.retrieve(tmp_path / "b")
    assert {o.sop_instance_uid for o in report} == set(some["SOPInstanceUID"])


def test_retrieve_into_an_archive_and_into_a_file_set(source: Any, instances: list[Dataset], tmp_path: Path) -> None:
    cohort = source.find("study")
    with Archive() as other:
        report = cohort.retrieve(other, progress=False)
        assert report.complete
        assert len(other) == len(instances)
    folder = tmp_path / "set"
    folder.mkdir()
    media = MediaSet(folder, mode="update")
    report = cohort.retrieve(media, progress=False)
    assert report.complete
    assert (folder / "DICOMDIR").is_file()
    assert media.verify()
    assert len(MediaSet(folder).find("instance")) == len(instances)


def test_an_empty_cohort_retrieves_nothing(source: Any, tmp_path: Path) -> None:
    report = source.find("study", PatientID="NOBODY").retrieve(tmp_path)
    assert report.complete
    assert len(report) == 0


def test_an_option_that_the_path_has_not_fails_before_anything_is_sent(source: Any, tmp_path: Path) -> None:
    cohort = source.find("study")
    with dicomlab.trace() as wire, pytest.raises(UsageError, match="colour"):
        cohort.retrieve(tmp_path, colour="blue")
    assert len(wire) == 0


def test_store_datasets_files_folders_and_cohorts(
    empty: Any, source: Any, instances: list[Dataset], tmp_path: Path
) -> None:
    dcm = tmp_path / "in" / "one.dcm"
    dcm.parent.mkdir()
    instances[0].save_as(dcm, enforce_file_format=True)
    instances[1].save_as(tmp_path / "in" / "two", enforce_file_format=True)
    report = empty.store(dcm, progress=False)
    assert report.count("done") == 1
    report = empty.store(tmp_path / "in", progress=False)
    assert len(report) == 2
    assert not report.failures
    report = empty.store(instances[2:4], progress=False)
    assert report.count("done") == 2
    report = empty.store(source.find("study"), progress=False)
    assert not report.failures
    assert len(report) == len(instances)
    found = empty.find("instance")
    assert set(found["SOPInstanceUID"]) == {ds.SOPInstanceUID for ds in instances}
    folder = tmp_path / "back"
    check_whole(folder, found.retrieve(folder, progress=False), instances)


def test_what_is_no_dicom_file_is_a_row_and_stops_nothing(empty: Any, instances: list[Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    instances[0].save_as(folder / "a.dcm", enforce_file_format=True)
    (folder / "b.txt").write_text("no DICOM file")
    (folder / "c.dcm").write_bytes((folder / "a.dcm").read_bytes()[:-100])
    (folder / "d.dcm").write_bytes(b"")
    instances[1].save_as(folder / "e.dcm", enforce_file_format=True)
    report = empty.store(folder, progress=False)
    assert len(report) == 5
    assert report.count("done") == 2
    assert not report.complete
    reasons = " ".join(o.status for o in report.failures)
    assert "missing" in reasons
    assert "DICM" in reasons or "DICOM" in reasons
    assert len(empty.find("instance")) == 2


def test_store_of_nothing_that_exists_is_a_usage_error(empty: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        empty.store(tmp_path / "absent")
    with pytest.raises(UsageError, match="int"):
        empty.store(42)


def test_store_first_interrupt_returns_what_was_stored(empty: Any) -> None:
    instances = list(phantom_datasets(patients=20))  # more than are under way at once
    interrupts: list[int] = []

    def interrupt(progress: Any) -> None:
        if progress.done >= 2 and not interrupts:
            interrupts.append(progress.done)
            signal.raise_signal(signal.SIGINT)

    report = empty.store(instances, progress=interrupt)
    assert interrupts
    stored = set(empty.find("instance")["SOPInstanceUID"])
    assert {o.sop_instance_uid for o in report if o.result == "done"} == stored
    assert 2 <= len(stored) < len(instances)
    assert not report.complete
    assert empty.store(instances, progress=False).complete


def test_store_and_read_back_what_pydicom_reads(empty: Any, instances: list[Dataset], tmp_path: Path) -> None:
    empty.store(instances[:3], progress=False)
    report = empty.find("study").retrieve(tmp_path, progress=False)
    for outcome in report:
        assert dcmread(tmp_path / outcome.path).PatientName == instances[0].PatientName


def test_a_file_that_went_away_is_a_row_and_stops_nothing(empty: Any, instances: list[Dataset], tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.dcm" for number in range(3)]
    for file, dataset in zip(files, instances, strict=False):
        dataset.save_as(file, enforce_file_format=True)
    looked_at = [parcel_of_file(file) for file in files]
    files[1].unlink()
    report = empty.store(looked_at, progress=False)
    assert (report.count("done"), report.count("failed"), report.complete) == (2, 1, False)
    assert len(empty.find("instance")) == 2
