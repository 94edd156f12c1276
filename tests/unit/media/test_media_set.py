"""``MediaSet``: find, deliver, store and write over folders; the verbs as such are tested in tests/contract."""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from pydicom import dcmread
from pydicom.fileset import FileSet

import dicomlab
from dicomlab.errors import Interrupted, Refused, Unreachable, UsageError
from dicomlab.media.found import UNSOUND
from dicomlab.media.look import META_KEYWORDS
from dicomlab.media.media_set import MediaSet
from dicomlab.model.columns import LEVELS, STANDARD
from dicomlab.model.progress import Control, Progress
from dicomlab.model.protocols import Arrival, Octets, Retrievable, Searchable, Wanted
from dicomlab.model.report import Outcome
from dicomlab.part10.files import Parcel, Unfit
from dicomlab.part10.meta import decode_file_meta
from dicomlab.samples import real_files
from dicomlab.samples.manifest import data_folder, load
from dicomlab.samples.phantom import write_phantom
from tests.peers.processes import need


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=2, slices=3)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every sample, and everything that is none, in one folder; but for those that only pydicom reads."""
    folder = tmp_path_factory.mktemp("real")
    others = [data_folder() / one.path for one in load().left_out if one.kind != "ts_mismatch"]
    for number, path in enumerate([*real_files(), *others]):
        shutil.copyfile(path, folder / f"{number:04d}")
    return folder


@pytest.fixture(scope="module")
def written(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("out") / "file-set"
    report = MediaSet(real).write(dest, progress=False)
    assert report.complete
    return dest


class Memory:
    """A sink that keeps what arrives."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, str] = {}

    def begin(self, arrival: Arrival) -> _Kept:
        return _Kept(self, arrival)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        self.failures[sop_instance_uid] = status


class _Kept:
    def __init__(self, memory: Memory, arrival: Arrival) -> None:
        self.memory, self.arrival, self.octets = memory, arrival, bytearray(arrival.file_meta or b"")

    def write(self, octets: Octets, /) -> None:
        self.octets += octets

    def finish(self) -> Outcome:
        self.memory.files[self.arrival.sop_instance_uid] = bytes(self.octets)
        return Outcome(self.arrival.sop_instance_uid, "done")

    def abandon(self) -> None:
        pass


def wanted(media: MediaSet) -> list[Wanted]:
    return [instance.wanted for instance in media.find("instance")]


# --- looking ------------------------------------------------------------------------------------------------------------


def test_constructing_and_showing_touch_nothing(tmp_path: Path) -> None:
    media = MediaSet(tmp_path / "absent")
    assert "not looked at yet" in repr(media)
    assert str(media) == str(tmp_path / "absent")
    assert isinstance(media, Searchable)
    assert isinstance(media, Retrievable)
    with pytest.raises(UsageError, match="update"):
        MediaSet(tmp_path, mode="w")  # type: ignore[arg-type]


def test_absent_is_unreachable_and_verify_says_it_without_raising(tmp_path: Path) -> None:
    media = MediaSet(tmp_path / "absent")
    for ask in (media.find, lambda: media.instances, lambda: media.paths, media.scan):
        with pytest.raises(Unreachable, match="mounted"):
            ask()
    checked = media.verify()
    assert not checked
    assert "mounted" in checked.advice


def test_every_file_is_a_row(real: Path) -> None:
    media = MediaSet(real)
    instances, errors = media.instances, media.errors
    directories = [path for path in real.iterdir() if path.name not in {*instances["path"], *errors["path"]}]
    assert len(list(real.iterdir())) == len(instances) + len(errors) + len(directories)
    assert all(dcmread(path).file_meta.MediaStorageSOPClassUID.endswith("1.3.10") for path in directories)
    assert list(errors.columns[:5]) == ["path", "kind", "message", "size", "offset"]
    assert instances["SOPInstanceUID"].is_unique
    assert set(map(str, media.instances.dtypes)) == {"str", "Int64", "Float64", "datetime64[s]", "object"}
    assert set(map(str, media.errors.dtypes)) == {"str", "Int64"}


def test_tables_have_the_standard_columns(phantom: Path) -> None:
    media = MediaSet(phantom)
    assert list(media.patients.columns) == list(STANDARD["patient"])
    assert list(media.studies.columns) == list(STANDARD["study"])
    assert list(media.series.columns) == list(STANDARD["series"])
    assert list(media.instances.columns)[:10] == ["path", *STANDARD["instance"], "TransferSyntaxUID"]
    assert {"PatientID", "Modality", "ImagePositionPatient", "pixel_offset"} < set(media.instances.columns)
    assert len(media.studies) == 4
    assert media.paths == [phantom / name for name in media.instances["path"]]
    for level in LEVELS:
        frame = media.find(level, progress=False).to_dataframe()
        table = {"patient": media.patients, "study": media.studies, "series": media.series}.get(level)
        assert_frame_equal(frame, media.instances[list(STANDARD["instance"])] if table is None else table)


def test_columns_beyond_the_first_look_are_read_when_asked_for(phantom: Path) -> None:
    media = MediaSet(phantom)
    assert len(media.find("instance")) == 8
    found = media.find("instance", SliceThickness=5, include=["PixelSpacing", "TransferSyntaxUID"])
    assert found["SliceThickness"].eq(5).all()
    assert found["PixelSpacing"].eq(pd.Series([(4.0, 4.0)] * 8)).all()
    assert found["TransferSyntaxUID"].eq("1.2.840.10008.1.2.1").all()
    assert len(media.find("instance", SliceThickness=4)) == 0


def test_what_changed_is_seen_after_another_scan_only(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changing"
    shutil.copytree(phantom, folder)
    media = MediaSet(folder)
    assert len(media.find("instance")) == 8
    (folder / "0001.dcm").unlink()
    assert len(media.find("instance")) == 8
    media.scan(progress=False)
    assert len(media.find("instance")) == 7


def test_a_single_file_and_a_dicomdir(written: Path, phantom: Path) -> None:
    one = MediaSet(phantom / "0001.dcm")
    assert len(one.find("instance")) == 1
    assert one.verify()
    by_directory, by_folder = MediaSet(written / "DICOMDIR"), MediaSet(written)
    assert_frame_equal(by_directory.instances, by_folder.instances)
    assert by_directory.verify()


def test_an_interrupted_look_is_not_kept(phantom: Path) -> None:
    media, seen = MediaSet(phantom), []

    def interrupt(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)

    cohort = media.find("instance", progress=interrupt)
    assert (cohort.complete, cohort.note) == (False, "cancelled")
    assert seen[2].octets > 0
    assert len(media.find("instance")) == 8


def test_reprs_show_counts_and_no_patient(phantom: Path) -> None:
    media = MediaSet(phantom)
    media.find()
    assert "instances  8" in repr(media)
    assert "SYN-001" not in repr(media)
    assert "SYN-001" not in repr(media.find())
    media.fictional = True
    assert "SYN-001" in repr(media.find())


def test_the_trace_has_a_line_for_each_file_and_no_patient(phantom: Path) -> None:
    media = MediaSet(phantom)
    with dicomlab.trace() as wire:
        media.find()
        media.deliver(wanted(media)[:1], Memory(), Control())
    assert [event.text for event in wire] == [f"read: {n:04d}.dcm" for n in range(1, 9)] + ["read: 0001.dcm"]
    assert all(event.channel.protocol == "file" and event.size == 4096 for event in wire)
    assert "SYN-001" not in "".join(repr(message) for message in wire.read())
    assert wire.counts() == {"read": 9}


def test_the_trace_of_a_copy_shows_both_sides(phantom: Path, tmp_path: Path) -> None:
    with dicomlab.trace() as wire:
        MediaSet(phantom).find("study").retrieve(MediaSet(tmp_path / "set", mode="update"), progress=False)
    assert wire.counts() == {"read": 8 + 8, "written": 8 + 1}
    written = [event for event in wire if event.text == "written: DICOMDIR"]
    assert [event.parties for event in written] == [(str(phantom), str(tmp_path / "set"))]


# --- giving -------------------------------------------------------------------------------------------------------------


def test_deliver_gives_files_octet_for_octet(phantom: Path) -> None:
    media, memory = MediaSet(phantom), Memory()
    media.deliver([*wanted(media), Wanted("1", "2", "3")], memory, Control())
    assert memory.files == {dcmread(path).SOPInstanceUID: path.read_bytes() for path in phantom.iterdir()}
    assert memory.failures == {"3": "not on this medium"}


def test_deliver_stops_when_cancelled(phantom: Path) -> None:
    media, memory, control = MediaSet(phantom), Memory(), Control()
    control.cancel()
    asked = wanted(media)
    media.deliver(asked, memory, control)
    assert not memory.files


def test_padding_stays_behind(phantom: Path, tmp_path: Path) -> None:
    octets = (phantom / "0001.dcm").read_bytes()
    (tmp_path / "padded").write_bytes(octets + b"\0" * 512)
    media, memory = MediaSet(tmp_path), Memory()
    media.deliver(wanted(media), memory, Control())
    assert list(memory.files.values()) == [octets]


def test_files_that_went_away_are_told_and_the_rest_is_delivered(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "medium"
    shutil.copytree(phantom, folder)
    media, memory = MediaSet(folder), Memory()
    asked = wanted(media)
    (folder / "0002.dcm").unlink()
    with pytest.raises(Interrupted, match=r"1 files can't be read any more .*0002.dcm"):
        media.deliver(asked, memory, Control())
    assert len(memory.files) == 7


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_became_another_since_it_was_looked_at_is_not_given_under_the_old_name(
    phantom: Path, tmp_path: Path, packed: bool
) -> None:
    folder = tmp_path / "medium"
    shutil.copytree(phantom, folder)

    def pack() -> Path:
        return Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))

    media, memory = MediaSet(pack() if packed else folder), Memory()
    asked = wanted(media)
    first, second = (folder / "0001.dcm").read_bytes(), (folder / "0002.dcm").read_bytes()
    (folder / "0001.dcm").write_bytes(second)
    (folder / "0002.dcm").write_bytes(first)  # as large as before, under the other's name
    if packed:
        pack()
    media.deliver(asked, memory, Control())
    swapped = {dcmread(phantom / f"000{n}.dcm").SOPInstanceUID for n in (1, 2)}
    refused = {one.sop_instance_uid for one in asked} if packed else swapped
    assert set(memory.failures) == refused
    assert "has changed since it was looked at" in memory.failures[min(swapped)]
    report = media.write(tmp_path / "set", progress=False)
    assert {one.sop_instance_uid for one in report if one.result == "failed"} == refused
    media.scan(progress=False).deliver(asked, memory, Control())
    assert memory.files.keys() == {one.sop_instance_uid for one in asked}


def test_parcels_account_for_everything(real: Path) -> None:
    media = MediaSet(real)
    given = list(media.parcels())
    assert len([p for p in given if isinstance(p, Parcel)]) == len(media.instances)
    assert len([p for p in given if isinstance(p, Unfit)]) == len(media.errors)
    for parcel in given:
        if isinstance(parcel, Parcel):
            with parcel.open() as octets:
                assert len(octets) == parcel.size


def test_what_only_another_reader_understands_is_seen_and_not_handed_on(phantom: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom, tmp_path, dirs_exist_ok=True)
    for path in (data_folder() / one.path for one in load().left_out if one.kind == "ts_mismatch"):
        shutil.copyfile(path, tmp_path / path.name)
    media, memory = MediaSet(tmp_path), Memory()
    findings = media.findings
    assert findings["kind"].isin(UNSOUND).sum() == len(media.instances) - 8 == 1
    media.deliver(wanted(media), memory, Control())
    assert len(memory.files) == 8
    assert list(memory.failures.values()) == [str(one.reason) for one in media.parcels() if isinstance(one, Unfit)]
    assert not media.verify()
    assert media.write(tmp_path.with_name("other"), progress=False).count("failed") == 1


# --- writing ------------------------------------------------------------------------------------------------------------


def test_a_written_file_set_is_the_same_instances(real: Path, written: Path) -> None:
    before, after = MediaSet(real), MediaSet(written)
    theirs = ["path", "pixel_offset", *(name for name in META_KEYWORDS if name != "TransferSyntaxUID")]
    assert_frame_equal(before.instances.drop(columns=theirs), after.instances.drop(columns=theirs))
    for level in LEVELS:
        assert_frame_equal(before.find(level).to_dataframe(), after.find(level).to_dataframe())
    for old, new in zip(before.paths, after.paths, strict=True):
        if old.read_bytes()[128:132] == b"DICM":
            assert filecmp.cmp(old, new, shallow=False)  # none of these is padded
        else:  # a bare data set got its File Meta Information
            assert new.read_bytes().endswith(old.read_bytes())
    assert set(after.errors["kind"]) == {"missing_uid"}  # the palettes: they belong to no patient
    assert after.verify()


def test_a_written_file_set_says_what_it_made_up(written: Path) -> None:
    found = MediaSet(written).findings
    found = found[found["kind"] == "dicomdir"]
    assert found["text"].str.endswith("stands in the record only").any()
    assert not found["text"].str.contains("no record|not there|another").any()


def test_the_report_leads_to_the_new_media_set(phantom: Path, tmp_path: Path) -> None:
    seen = []
    report = MediaSet(phantom).write(tmp_path / "new", progress=seen.append)
    assert report.count("done") == 8
    assert seen[-1].done == seen[-1].total == 8
    assert report.octets == sum(
        path.stat().st_size - decode_file_meta(path.read_bytes()).length for path in phantom.iterdir()
    )
    assert isinstance(report.media, MediaSet)
    assert len(report.media.findings) == 0


def test_write_refuses_what_would_end_badly(phantom: Path, tmp_path: Path) -> None:
    media = MediaSet(phantom)
    with pytest.raises(UsageError, match="lies in the folder"):
        media.write(phantom / "copy")
    with pytest.raises(UsageError, match="lies in the folder"):
        media.write(phantom)
    (tmp_path / "link").symlink_to(phantom)
    with pytest.raises(UsageError, match="lies in the folder"):
        media.write(tmp_path / "link" / "copy")
    (tmp_path / "link").unlink()
    (tmp_path / "something").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        media.write(tmp_path)
    with pytest.raises(UsageError, match="not an empty folder"):
        media.write(tmp_path / "something")
    assert sorted(path.name for path in phantom.iterdir()) == [f"{n:04d}.dcm" for n in range(1, 9)]


def test_a_single_file_may_be_written_beside_itself(phantom: Path, tmp_path: Path) -> None:
    shutil.copyfile(phantom / "0001.dcm", tmp_path / "one.dcm")
    report = MediaSet(tmp_path / "one.dcm").write(tmp_path / "set", progress=False)
    assert report.count("done") == 1


class TestOtherProgramsAgree:
    """The DICOMDIR over all real samples, before other people's readers."""

    @pytest.fixture
    def fileset(self, written: Path) -> Iterator[FileSet]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fileset = FileSet(written / "DICOMDIR")
        yield fileset
        fileset._stage["t"].cleanup()

    def test_pydicom(self, fileset: FileSet, written: Path) -> None:
        held = MediaSet(written)
        uids = {*held.instances["SOPInstanceUID"], *held.errors["SOPInstanceUID"]}
        assert {instance.ReferencedSOPInstanceUIDInFile for instance in fileset} == uids

    @pytest.mark.parametrize("command", [["dcdirdmp"], ["dcmdump", "-q", "+E"]], ids=lambda c: c[0])
    def test_dcmtk(self, command: list[str], written: Path) -> None:
        need("dcmtk")
        ended = subprocess.run([*command, written / "DICOMDIR"], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert "error" not in ended.stderr.lower()

    def test_every_file_parses(self, written: Path, phantom: Path, tmp_path: Path) -> None:
        need("dcmtk")
        MediaSet(phantom).write(tmp_path / "set", progress=False)
        ended = subprocess.run(
            ["dcmdump", "-q", "+E", "+sd", "+r", tmp_path / "set"], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr

    def test_dciodvfy(self, written: Path) -> None:
        need("dicom3tools")
        ended = subprocess.run(["dciodvfy", written / "DICOMDIR"], capture_output=True, text=True, check=False)
        assert not [line for line in (ended.stdout + ended.stderr).splitlines() if line.startswith("Error")]

    def test_dcmmkdir_makes_the_same_tree(self, phantom: Path, tmp_path: Path) -> None:
        need("dcmtk")
        MediaSet(phantom).write(tmp_path / "set", progress=False)
        ours = tree(tmp_path / "set" / "DICOMDIR")
        (tmp_path / "set" / "DICOMDIR").unlink()
        made = subprocess.run(
            ["dcmmkdir", "+r", "+id", ".", "+D", "DICOMDIR"], cwd=tmp_path / "set", capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        assert tree(tmp_path / "set" / "DICOMDIR") == ours


def tree(path: Path) -> set[tuple[str, ...]]:
    return {
        (item.DirectoryRecordType, str(item.get("ReferencedSOPInstanceUIDInFile", "")),
         str(item.get("SeriesInstanceUID", "")), str(item.get("StudyInstanceUID", "")), str(item.get("PatientID", "")),
         str(item.get("ReferencedFileID", "")))
        for item in dcmread(path).DirectoryRecordSequence
    }  # fmt: skip


# --- updating -----------------------------------------------------------------------------------------------------------


def test_read_only_refuses_to_be_written(phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='mode="update"'):
        MediaSet(tmp_path).store(phantom)
    with pytest.raises(UsageError, match='mode="update"'):
        MediaSet(tmp_path).sink()
    with pytest.raises(UsageError, match="single file"):
        MediaSet(phantom / "0001.dcm", mode="update").store(phantom)


def test_store_makes_the_folder_and_then_joins_it(phantom: Path, tmp_path: Path) -> None:
    media = MediaSet(tmp_path / "new" / "set", mode="update")
    first = media.store(phantom / "0001.dcm", progress=False)
    assert (first.count("done"), first.complete) == (1, True)
    second = media.store(MediaSet(phantom), progress=False)
    assert (second.count("done"), second.count("skipped")) == (7, 1)
    assert len(media.find("instance")) == 8
    assert media.verify()
    fresh = MediaSet(tmp_path / "new" / "set")
    assert_frame_equal(fresh.instances, media.instances)


def test_store_accounts_for_what_is_no_instance(tmp_path: Path) -> None:
    folder = data_folder() / "charset_files"
    report = MediaSet(tmp_path / "set", mode="update").store(folder, progress=False)
    assert len(report) == len(list(folder.iterdir()))
    assert not report.complete
    assert all(outcome.status for outcome in report.failures)


def test_store_in_the_background(phantom: Path, tmp_path: Path) -> None:
    media = MediaSet(tmp_path / "set", mode="update")
    report = media.store(phantom, background=True).result(timeout_s=30)
    assert report.count("done") == 8


def test_a_place_that_may_not_be_written(phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = MediaSet(tmp_path / "set", mode="update")

    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(Refused, match="not allowed") as caught:
        media.store(phantom, progress=False)
    assert len(caught.value.partial) == 0


# --- verify -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file_set(phantom: Path, tmp_path: Path) -> Path:
    MediaSet(phantom).write(tmp_path / "set", progress=False)
    return tmp_path / "set"


FIRST = "PT000001/ST000001/SE000001/IM000001"
SECOND = "PT000001/ST000001/SE000001/IM000002"


def facts(media: MediaSet) -> dict[str, str]:
    checked = media.verify()
    assert checked or checked.advice
    return {**dict(checked.facts), "ok": str(checked.ok)}


def test_verify_a_missing_file(file_set: Path) -> None:
    (file_set / FIRST).unlink()
    found = facts(MediaSet(file_set))
    assert (found["ok"], found["DICOMDIR: missing"], found["DICOMDIR: agreeing"]) == ("False", "1", "7")


def test_verify_files_that_changed_places(file_set: Path) -> None:
    octets = (file_set / FIRST).read_bytes()
    (file_set / FIRST).write_bytes((file_set / SECOND).read_bytes())
    (file_set / SECOND).write_bytes(octets)
    found = facts(MediaSet(file_set))
    assert (found["ok"], found["DICOMDIR: mismatched"]) == ("False", "2")


def test_verify_an_instance_without_record(file_set: Path, phantom: Path) -> None:
    (file_set / FIRST).rename(file_set / "EXTRA")
    found = facts(MediaSet(file_set))
    assert (found["DICOMDIR: missing"], found["DICOMDIR: unlisted"]) == ("1", "1")
    assert "no record refers to EXTRA" in set(MediaSet(file_set).findings["text"])


def test_verify_a_damaged_file(file_set: Path) -> None:
    os.truncate(file_set / FIRST, 3000)
    found = facts(MediaSet(file_set))
    assert (found["ok"], found["truncated"]) == ("False", "1")


def test_verify_a_broken_dicomdir(file_set: Path) -> None:
    os.truncate(file_set / "DICOMDIR", 1000)
    found = facts(MediaSet(file_set))
    assert (found["ok"], found["DICOMDIR"]) == ("False", "broken")
    assert len(MediaSet(file_set).find("instance")) == 8
    assert MediaSet(file_set).findings["text"].str.contains("broken").any()


def test_verify_without_dicomdir_and_an_empty_folder(phantom: Path, tmp_path: Path) -> None:
    assert facts(MediaSet(phantom))["DICOMDIR"] == "none"
    assert MediaSet(phantom).verify()
    assert facts(MediaSet(tmp_path))["ok"] == "False"


def test_verify_tells_two_data_sets_under_one_uid_from_a_copy(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "medium"
    shutil.copytree(phantom, folder)
    shutil.copy(folder / "0001.dcm", folder / "copy.dcm")
    assert MediaSet(folder).verify()
    octets = bytearray((folder / "0001.dcm").read_bytes())
    octets[-1] ^= 1
    (folder / "another.dcm").write_bytes(octets)
    found = MediaSet(folder).verify()
    assert not found
    assert "1 files hold ANOTHER data set with the same SOP Instance UID" in found.advice


def test_verify_looks_again(file_set: Path) -> None:
    media = MediaSet(file_set)
    assert media.verify()
    (file_set / FIRST).unlink()
    assert not media.verify()


def test_a_real_disc_in_pydicoms_data() -> None:
    found = facts(MediaSet(data_folder() / "test_files" / "dicomdirtests" / "TINY_ALPHA"))
    assert (found["instances"], found["DICOMDIR: agreeing"], found["ok"]) == ("50", "50", "True")
