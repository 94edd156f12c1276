"""Writing File-sets and taking out of them; what peers say of the result is in ``tests/interop/test_file_sets.py``."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import MPEG4HP41, JPEG2000Lossless, RLELossless

from dicomlab import MediaSet
from dicomlab.errors import Interrupted, UsageError
from dicomlab.media import targets
from dicomlab.media.dicomdir import decode_dicomdir
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta
from dicomlab.part10.walk import elements
from tests.unit.media.series import SERIES, SIDE, image, stack, write


def media(folder: Path, images: list[Dataset] | None = None, **options: Any) -> MediaSet:
    return MediaSet(write(folder, stack() if images is None else images), **options)


def compressed(count: int = 3) -> list[Dataset]:
    images = stack(count=count)
    for one in images:
        compress(one, RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return images


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- planning -------------------------------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_says_what_would_become_of_each(tmp_path: Path) -> None:
    video = image(50, (0, 0, 9), series="2.25.7", NumberOfFrames=1, PixelData=encapsulate([bytes(10)]))
    video["PixelData"].VR, video["PixelData"].is_undefined_length = "OB", True
    video.file_meta.TransferSyntaxUID = MPEG4HP41
    source = media(tmp_path / "in", [*compressed(2), video])
    plan = source.write(tmp_path / "out", profile="STD-GEN-CD", dry_run=True, progress=False)
    assert not (tmp_path / "out").exists()
    assert {(one.result, one.transfer_syntax_uid) for one in plan} == {("pending", EXPLICIT_LE), ("failed", MPEG4HP41)}
    assert "RLE Lossless decompressed, nothing lost" in {one.status for one in plan}
    assert any("video" in one.status for one in plan.failures)
    report = source.write(tmp_path / "out", profile="STD-GEN-CD", progress=False)
    assert [(one.sop_instance_uid, one.path) for one in report] == [(one.sop_instance_uid, one.path) for one in plan]
    assert (report.complete, report.count("done"), report.count("failed")) == (False, 2, 1)


def test_without_transcoding_it_is_refused(tmp_path: Path) -> None:
    report = media(tmp_path / "in", compressed()).write(
        tmp_path / "out", profile="STD-GEN-CD", transcode=False, progress=False
    )
    assert (report.count("failed"), report.complete, report.folder) == (3, False, None)
    assert "there is no File-set" in report.note
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out", "out.zip", "out.iso"])
def test_where_nothing_can_be_read_any_more_there_is_no_file_set(name: str, tmp_path: Path) -> None:
    source = media(tmp_path / "in")
    assert len(source.instances) == 6
    for path in (tmp_path / "in").rglob("*"):
        path.unlink()
    report = source.write(tmp_path / name, progress=False)
    assert (report.count("failed"), report.folder, report.complete) == (6, None, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_of_a_folder_without_instances_no_file_set_is_made(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("no DICOM")
    with pytest.raises(UsageError, match="no instance"):
        MediaSet(tmp_path / "in").write(tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_some_of_it(tmp_path: Path) -> None:
    source = media(tmp_path / "in", [*stack(), *stack(count=2, series="2.25.9")])
    cohort = source.find("series", SeriesInstanceUID=SERIES, progress=False)
    assert len(source.write(tmp_path / "a", cohort, progress=False)) == 6
    assert len(source.write(tmp_path / "b", [f"{SERIES}.1"], progress=False)) == 1
    with pytest.raises(UsageError, match=r"1 of these instances are not here, the first is 1\.2"):
        source.write(tmp_path / "c", ["1.2"], progress=False)
    with pytest.raises(UsageError, match="not a int"):
        source.write(tmp_path / "c", 7, progress=False)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("name", ["disc.zip", "disc.iso", "file"])
def test_what_is_there_is_not_written_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match="a File-set is written whole"):
        media(tmp_path / "in").write(tmp_path / name, progress=False)
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_name_for_the_medium(tmp_path: Path) -> None:
    media(tmp_path / "in").write(tmp_path / "out", file_set_id="CASE 7", progress=False)
    assert decode_dicomdir((tmp_path / "out" / "DICOMDIR").read_bytes()).file_set_id == "CASE 7"
    for name in ("x", "A" * 17, "A/B"):
        with pytest.raises(UsageError, match="no File-set ID"):
            media(tmp_path / "in").write(tmp_path / "no", file_set_id=name, progress=False)


# --- conversion -----------------------------------------------------------------------------------------------------


def test_decompressing_changes_the_pixels_encoding_and_nothing_else(tmp_path: Path) -> None:
    images = compressed()
    images[0].add_new(0x00091001, "OB", b"\x01\x02")
    images[0].add_new(0x7FE10010, "LO", "AFTER")
    media(tmp_path / "in", images).write(tmp_path / "out", profile="STD-GEN-CD", progress=False)
    before = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "in").iterdir())}
    for path in (tmp_path / "out").rglob("IM*"):
        after = dcmread(path)
        same = before[after.SOPInstanceUID]
        assert np.array_equal(after.pixel_array, same.pixel_array)
        assert after["PixelData"].VR == "OW"
        octets = path.read_bytes()
        start = decode_file_meta(octets, final=True).length
        assert not [one.tag for one in elements(octets[start:], EXPLICIT_LE) if one.length % 2]
        for one in (after, same):
            del one.PixelData
        assert after == same


def test_multi_frame_and_colour_are_decompressed(tmp_path: Path) -> None:
    colour = np.random.default_rng(3).integers(0, 255, (5, *SIDE, 3), dtype="u1")
    one = image(
        1, None, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsAllocated=8, BitsStored=8,
        HighBit=7, NumberOfFrames=5, PixelData=colour.tobytes(), RescaleSlope=None, RescaleIntercept=None,
    )  # fmt: skip
    one.PhotometricInterpretation = "YBR_RCT"  # how pydicom is told to take the colours apart
    compress(one, JPEG2000Lossless, generate_instance_uid=False)
    assert one.PhotometricInterpretation == "YBR_RCT"
    media(tmp_path / "in", [one]).write(tmp_path / "out", profile="STD-GEN-DVD-JPEG", progress=False)
    after = dcmread(next((tmp_path / "out").rglob("IM*")))
    assert (after.PhotometricInterpretation, after.PlanarConfiguration, after["PixelData"].VR) == ("RGB", 0, "OB")
    assert np.array_equal(after.pixel_array, colour)


def test_an_odd_number_of_octets_is_padded(tmp_path: Path) -> None:
    one = image(1, None, Rows=3, Columns=3, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(range(9)) + b"\0")
    compress(one, RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    media(tmp_path / "in", [one]).write(tmp_path / "out", profile="STD-GEN-CD", progress=False)
    after = dcmread(next((tmp_path / "out").rglob("IM*")))
    assert after.PixelData == bytes(range(9)) + b"\0"


def test_pixels_that_can_not_be_decoded_are_refused_and_stop_nothing(tmp_path: Path) -> None:
    images = compressed()
    images[1].PixelData = (
        images[1].PixelData[:70] + b"\xff" * (len(images[1].PixelData) - 78) + images[1].PixelData[-8:]
    )
    report = media(tmp_path / "in", images).write(tmp_path / "out", profile="STD-GEN-CD", progress=False)
    assert (report.count("done"), report.count("failed")) == (2, 1)
    assert "can't be decoded" in report.failures[0].status
    assert set(tree(tmp_path / "out")) == {"DICOMDIR", *(one.path for one in report if one.result == "done")}
    assert MediaSet(tmp_path / "out").verify()


def test_file_meta_that_names_another_instance_is_put_right_for_a_profile(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", stack(count=1))
    path = next(folder.iterdir())
    octets = path.read_bytes()
    lying = octets.replace(f"{SERIES}.1".encode(), f"{SERIES}.8".encode(), 1)
    path.write_bytes(lying)
    MediaSet(folder).write(tmp_path / "plain", progress=False)
    assert next((tmp_path / "plain").rglob("IM*")).read_bytes() == lying
    MediaSet(folder).write(tmp_path / "cd", profile="STD-GEN-CD", progress=False)
    after = dcmread(next((tmp_path / "cd").rglob("IM*")))
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID == f"{SERIES}.1"


# --- places ---------------------------------------------------------------------------------------------------------


def test_a_zip_is_the_same_every_time_but_for_the_directory(tmp_path: Path) -> None:
    source = media(tmp_path / "in")
    for name in ("a.zip", "b.zip"):
        source.write(tmp_path / name, progress=False)
    with zipfile.ZipFile(tmp_path / "a.zip") as a, zipfile.ZipFile(tmp_path / "b.zip") as b:
        assert a.namelist() == b.namelist()
        assert [one.CRC for one in a.infolist()[:-1]] == [one.CRC for one in b.infolist()[:-1]]
        assert all(one.date_time == (1980, 1, 1, 0, 0, 0) for one in a.infolist())
        assert all(one.extract_version < 45 for one in a.infolist())


@pytest.mark.parametrize("name", ["out", "out.zip", "out.iso"])
def test_a_full_disc_leaves_nothing_that_looks_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = media(tmp_path / "in")
    real, written = targets._write, []

    def full(path: Path, pieces: Any, root: Path) -> int:
        written.append(path)
        if len(written) > 3:
            with targets.medium_errors(root):
                raise OSError(errno.ENOSPC, "full")
        return real(path, pieces, root)

    monkeypatch.setattr(targets, "_write", full)
    with pytest.raises(Interrupted, match="no space left") as caught:
        source.write(tmp_path / name, progress=False)
    assert caught.value.partial.count("done") == 3
    left = {path.name for path in tmp_path.iterdir()}
    if name == "out":
        assert "DICOMDIR" not in os.listdir(tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.part"))
    else:
        assert left == {"in"}


def test_cancelled_it_holds_what_was_written(tmp_path: Path) -> None:
    source = media(tmp_path / "in")

    def stop(progress: Any) -> None:
        if progress.done == 2:
            operation.append(progress)
            control_of(source).cancel()

    operation: list[Any] = []
    from dicomlab.model import progress as module

    def control_of(_: Any) -> Any:
        return module._running.get()

    assert len(source.instances) == 6
    report = source.write(tmp_path / "out", progress=stop)
    assert (report.complete, report.note, report.count("done")) == (False, "cancelled", 2)
    assert MediaSet(tmp_path / "out").verify()


# --- updating -------------------------------------------------------------------------------------------------------


def test_removing_takes_records_and_files_and_empty_folders(tmp_path: Path) -> None:
    media(tmp_path / "in", [*stack(), *stack(count=2, series="2.25.9")]).write(tmp_path / "set", progress=False)
    ours = MediaSet(tmp_path / "set", mode="update")
    before = tree(tmp_path / "set")
    report = ours.remove(ours.find("series", SeriesInstanceUID="2.25.9", progress=False), progress=False)
    assert (report.complete, len(report), {one.result for one in report}) == (True, 2, {"done"})
    after = tree(tmp_path / "set")
    assert len(after) == len(before) - 2
    assert all(before[name] == octets for name, octets in after.items() if name != "DICOMDIR")
    assert not [path for path in (tmp_path / "set").rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert ours.verify()
    assert len(ours.instances) == 6
    assert set(ours.directory["DirectoryRecordType"]) == {"PATIENT", "STUDY", "SERIES", "IMAGE"}


def test_removing_needs_the_right_to_and_something_to_remove(tmp_path: Path) -> None:
    source = media(tmp_path / "in")
    with pytest.raises(UsageError, match=r'mode="update"'):
        source.remove(source.find("series", progress=False))
    with pytest.raises(UsageError, match="are not here"):
        MediaSet(tmp_path / "in", mode="update").remove(["1.2.3"], progress=False)
    single = next((tmp_path / "in").iterdir())
    with pytest.raises(UsageError, match="single file"):
        MediaSet(single, mode="update").remove([f"{SERIES}.1"], progress=False)


def test_where_the_directory_can_not_be_written_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media(tmp_path / "in").write(tmp_path / "set", progress=False)
    ours = MediaSet(tmp_path / "set", mode="update")
    before = tree(tmp_path / "set")

    def full(self: Path, octets: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Interrupted):
        ours.remove([f"{SERIES}.1"], progress=False)
    monkeypatch.undo()
    assert tree(tmp_path / "set") == before
    assert len(ours.instances) == 6


def test_an_instance_whose_file_is_gone_already_can_be_removed(tmp_path: Path) -> None:
    media(tmp_path / "in").write(tmp_path / "set", progress=False)
    ours = MediaSet(tmp_path / "set", mode="update")
    victim = next((tmp_path / "set").rglob("IM000003"))
    uid = dcmread(victim).SOPInstanceUID
    assert len(ours.instances) == 6
    victim.unlink()
    assert ours.remove([uid], progress=False).complete
    directory = decode_dicomdir((tmp_path / "set" / "DICOMDIR").read_bytes())
    assert uid not in {record.sop_instance_uid for record in directory.leaves}


def test_an_update_keeps_records_whose_files_are_gone(tmp_path: Path) -> None:
    media(tmp_path / "in").write(tmp_path / "set", progress=False)
    victim = next((tmp_path / "set").rglob("IM000003"))
    uid = dcmread(victim).SOPInstanceUID
    victim.unlink()
    ours = MediaSet(tmp_path / "set", mode="update")
    ours.remove([f"{SERIES}.1"], progress=False)
    directory = decode_dicomdir((tmp_path / "set" / "DICOMDIR").read_bytes())
    assert len(directory.leaves) == 5
    assert uid in {record.sop_instance_uid for record in directory.leaves}
    status = ours.reconcile(progress=False).set_index("SOPInstanceUID")["status"]
    assert status[uid] == "missing"


# --- instances of nobody --------------------------------------------------------------------------------------------


def palette(number: int) -> Dataset:
    """A colour palette, which belongs to no patient."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.39.1", f"2.25.888.{number}"
    one.ContentLabel, one.ContentDescription = "HOT_IRON", "Hot Iron"
    one.file_meta = image(1, None).file_meta
    return one


def test_instances_that_belong_to_no_patient_come_along(tmp_path: Path) -> None:
    source = media(tmp_path / "in", [*stack(count=2), palette(1), palette(2)])
    assert len(source.instances) == 2
    report = source.write(tmp_path / "set", profile="STD-GEN-CD", progress=False)
    assert (report.complete, len(report)) == (True, 4)
    assert {"NP000001", "NP000002"} <= set(tree(tmp_path / "set"))
    ours = MediaSet(tmp_path / "set", mode="update")
    table = ours.directory.set_index("DirectoryRecordType")
    assert table.loc["PALETTE", "ContentLabel"].tolist() == ["HOT_IRON"] * 2
    assert table.loc["PALETTE", "parent"].isna().all()
    assert ours.verify()
    assert set(ours.reconcile(progress=False)["status"]) == {"ok"}
    assert ours.validate("STD-GEN-CD", progress=False).empty
    ours.remove([f"{SERIES}.1"], progress=False)
    assert MediaSet(tmp_path / "set").directory["DirectoryRecordType"].tolist().count("PALETTE") == 2
