"""Recordings: what lies in the folder afterwards, what is missing from it, and where that is said."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydicom import Dataset, dcmread

from dicomlab import Archive, Broadcast, LiveStream
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.report import FRAMES_SUFFIX, Report
from dicomlab.rtv import clock, recorder, waveform
from dicomlab.rtv.audio import AudioFormat
from dicomlab.rtv.frames import AudioBlock, Frame, FrameMetadata
from dicomlab.rtv.samples import rgb_of
from dicomlab.rtv.sources import video_source
from dicomlab.rtv.storage import Part, Stored, _instances
from dicomlab.rtv.video import VideoFormat
from tests.peers.processes import need
from tests.unit.rtv.test_metadata import META

SMALL = VideoFormat(64, 48, depth=8, sampling="RGB", range="FULL")
MONO = AudioFormat(1, 48_000, 16)
PICTURES = list(np.random.default_rng(5).integers(0, 256, (6, 48, 64, 3), np.uint8))
STUDY = {
    "PatientName": "Synthetic^Ada", "PatientID": "SYN-1", "PatientBirthDate": "19800101", "PatientSex": "F",
    "StudyID": "1",
}  # fmt: skip


def recorded(to: Path, form: str, *, seconds: float = 0.4, **options: Any) -> Report:
    given = {"format": SMALL, "rate_hz": 50, "loop": True, **STUDY, **options}
    cast = Broadcast(given.pop("video", PICTURES), **given)
    with LiveStream(cast) as live, cast:
        next(live.frames(1))  # on a machine that is busy the first may come after the time of a recording
        report: Report = live.record(to, seconds=seconds, form=form, progress=False)
    return report


def only(report: Report, sop_class: str) -> tuple[Any, pd.DataFrame | None]:
    assert report.folder is not None
    (outcome,) = [one for one in report if one.sop_class_uid == sop_class]
    path = report.folder / outcome.path
    table = path.with_suffix(FRAMES_SUFFIX)
    return dcmread(path), pd.read_parquet(table) if table.exists() else None


@pytest.mark.parametrize("form", ["uncompressed", "lossless"])
def test_secondary_capture_holds_the_pictures_as_they_were(form: str, tmp_path: Path) -> None:
    report = recorded(tmp_path, form)
    ds, table = only(report, "1.2.840.10008.5.1.4.1.1.7.4")
    assert table is not None
    assert [one.result for one in report] == ["done" if table["present"].all() else "warning"]
    assert ds.NumberOfFrames == len(table) >= 5
    for at, item in enumerate(ds.PerFrameFunctionalGroupsSequence):
        if table["present"][at]:
            number = item.FrameContentSequence[0].FrameAcquisitionNumber
            assert (ds.pixel_array[at] == PICTURES[(number - 1) % 6]).all()
    origin = ds.PerFrameFunctionalGroupsSequence[0].TimeOfFrameGroupSequence[0].FrameOriginTimestamp
    assert int.from_bytes(origin[:6], "big") == table["origin_tai_ns"][0] // 10**9
    assert set(table["origin_tai_ns"].diff().dropna()) <= {20_000_000}
    assert (ds.PatientName, ds.Modality, ds.FrameTime, ds.PhotometricInterpretation) == (
        "Synthetic^Ada",
        "ES",
        20,
        "RGB",
    )
    for keyword in ("RealTimeBulkDataFlowSequence", "StereoPairsPresent"):
        assert keyword not in ds


@pytest.mark.parametrize(("form", "syntax"), [("h264", "1.2.840.10008.1.2.4.102"), ("hevc", "1.2.840.10008.1.2.4.107")])
@pytest.mark.parametrize("kind", ["endoscopic", "photographic"])
def test_video_goes_to_the_class_that_fits(form: str, syntax: str, kind: str, tmp_path: Path) -> None:
    y, x = np.mgrid[0:144, 0:192]
    smooth = [np.stack([(x + 5 * n) % 256, y % 256, (x + y) % 256], -1).astype(np.uint8) for n in range(5)]
    report = recorded(tmp_path, form, video=smooth, format=None, sop_class=kind)
    (outcome,) = report
    assert outcome.result == "warning"
    assert "10 bit stored as 8" in outcome.status
    assert "stored as 4:2:0" in outcome.status
    sop_class = {"endoscopic": "1.2.840.10008.5.1.4.1.1.77.1.1.1", "photographic": "1.2.840.10008.5.1.4.1.1.77.1.4.1"}
    ds, table = only(report, sop_class[kind])
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.LossyImageCompression == "01"
    assert ds.PhotometricInterpretation == "YBR_PARTIAL_420"
    source = video_source(tmp_path / outcome.path, None, None, loop=False)
    again = list(source.frames)
    assert table is not None
    assert len(again) == ds.NumberOfFrames == len(table)
    if table["present"].all():
        assert [origin for _, origin in again] == table["origin_tai_ns"].tolist()
    shown = [rgb_of(packed, source.video).astype(int) for packed, _ in again]
    assert min(float(np.abs(rgb - smooth[0]).mean()) for rgb in shown) < 12
    assert table["CurrentFrameFunctionalGroupsSequence"].map(len).min() > 100


def test_audio_is_kept_as_general_audio_waveform_and_says_what_it_lost(tmp_path: Path) -> None:
    ramp = (np.arange(48_000, dtype=np.int32) * 256)[:, None].repeat(2, 1) % (1 << 22)
    report = recorded(tmp_path, "uncompressed", audio=ramp)
    ds, _ = only(report, "1.2.840.10008.5.1.4.1.1.9.4.2")
    (item,) = ds.WaveformSequence
    samples = np.frombuffer(item.WaveformData, "<i2").reshape(-1, 2)
    assert len(samples) == item.NumberOfWaveformSamples > 5000
    assert set(np.diff(samples[:, 0].astype(int)).tolist()) <= {1, -16_383}
    assert ds.Modality == "AU"
    (outcome,) = [one for one in report if one.sop_class_uid == ds.SOPClassUID]
    assert "24 bit stored as 16" in outcome.status


def test_a_hole_is_never_silent(tmp_path: Path) -> None:
    """Frames that never came stand in their places, in magenta, and are named."""
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=50, loop=True, **STUDY)
    with LiveStream(cast) as live, cast:
        next(iter(live.frames(1)))
        cast.faults.drop(pattern=[False] * 300 + [True] * 100, flow="video")
        report = live.record(tmp_path, seconds=0.6, form="uncompressed", progress=False)
    ds, table = only(report, "1.2.840.10008.5.1.4.1.1.7.4")
    assert table is not None
    lost = table.index[~table["present"]]
    hurt = table.index[table["missing_octets"].fillna(0) > 0]
    assert len(lost)
    for at in lost:
        assert (ds.pixel_array[at] == (255, 0, 255)).all()
        assert "missing" in ds.PerFrameFunctionalGroupsSequence[at].FrameContentSequence[0].FrameComments
    for at in hurt:
        assert (ds.pixel_array[at] == (255, 0, 255)).all(axis=-1).any()
    (outcome,) = report
    assert f"{len(lost)} frames missing" in outcome.status
    ticks = table["RTPTimestamp"].astype("int64").diff().dropna()
    assert set(ticks) == {1800}


def test_two_patients_are_two_instances_in_picture_and_in_sound(tmp_path: Path) -> None:
    sound = itertools.repeat(np.ones((4800, 2), np.int32))
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=50, loop=True, audio=sound, **STUDY)
    with LiveStream(cast) as live, cast:
        next(iter(live.frames(1)))
        operation = live.record(tmp_path, seconds=30, form="uncompressed", progress=False, background=True)
        for _ in live.frames(8):
            pass
        cast.change_patient(PatientName="Synthetic^Ben", PatientID="SYN-2")
        for _ in live.frames(12):
            pass
        operation.cancel()
        report = operation.result(30)
    assert report.note == "cancelled"
    stored = [dcmread(tmp_path / one.path) for one in report if one.result != "failed"]
    found = [(ds.Modality, ds.PatientID, ds.PatientName) for ds in stored]
    who = [("SYN-1", "Synthetic^Ada"), ("SYN-2", "Synthetic^Ben")]
    assert found == [(modality, *one) for modality in ("ES", "AU") for one in who]
    began = [ds.ContentTime for ds in stored]
    assert began[:2] == sorted(began[:2])
    assert began[2:] == sorted(began[2:])
    for ds in stored[:2]:
        uids = {item.get("TimeOfFrameGroupSequence") is not None for item in ds.PerFrameFunctionalGroupsSequence}
        assert True in uids


def test_what_is_kept_or_changed_of_a_frame_is_not_changed_in_the_stream(tmp_path: Path) -> None:
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=50, loop=True, **STUDY)
    with LiveStream(cast) as live, cast:
        mine: Any = next(live.frames(1)).dataset
        mine.PatientName = "Changed^By^Hand"
        live.record(tmp_path, seconds=0.2, form="uncompressed", progress=False)
        later: Any = next(live.frames(1)).dataset
    assert later.PatientName == STUDY["PatientName"]
    assert (later.SOPClassUID, later.SOPInstanceUID) == (mine.SOPClassUID, mine.SOPInstanceUID)
    assert later.SOPClassUID == "1.2.840.10008.10.1"


def test_instances_roll_over(tmp_path: Path) -> None:
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=50, loop=True, **STUDY)
    with LiveStream(cast) as live, cast:
        report = live.record(
            tmp_path, seconds=0.4, form="uncompressed", max_instance_octets=48 * 64 * 3 * 4, progress=False
        )
    sizes = [int(dcmread(tmp_path / one.path).NumberOfFrames) for one in report]
    assert len(sizes) >= 3
    assert set(sizes[:-1]) == {4}


def test_frames_that_the_spool_can_not_take_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "QUEUE_FRAMES", 0)
    monkeypatch.setattr(recorder, "LEFT_FRAMES", 16)
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=50, loop=True, audio=np.zeros((4800, 2), np.int32), **STUDY)
    with LiveStream(cast) as live, cast:
        report = live.record(tmp_path, seconds=0.3, form="uncompressed", progress=False)
    assert not report.complete
    assert "frames dropped" in report.note
    assert "RTP timestamps" in report.note


def test_dciodvfy_finds_no_error_where_it_knows_the_object(tmp_path: Path) -> None:
    need("dicom3tools")
    for form, knows in (("h264", "VideoEndoscopicImage"), ("uncompressed", "MultiframeTrueColorSCImage")):
        video = [np.zeros((144, 192, 3), np.uint8)]
        report = recorded(tmp_path / form, form, video=video, format=None, seconds=0.2)
        (outcome,) = report
        said = subprocess.run(
            ["dciodvfy", tmp_path / form / outcome.path], capture_output=True, text=True, check=False, timeout=60
        )
        lines = (said.stdout + said.stderr).splitlines()
        assert knows in lines
        assert [line for line in lines if line.startswith("Error")] == []
        explained = (
            "is only permitted to be empty when actually unknown",  # Laterality of an unknown body part is unknown
            "not present in standard DICOM IOD",  # Synchronization and, in SC, the groups of the dynamic part
            "Standard Extended SOP Class",
        )
        assert [line for line in lines if line.startswith("Warning") and not any(e in line for e in explained)] == []


def test_both_doors_of_an_archive_take_it_and_find_it_again(tmp_path: Path) -> None:
    report = recorded(tmp_path, "h264", video=[np.zeros((144, 192, 3), np.uint8)], format=None,
                      audio=np.zeros((4800, 2), np.int32))  # fmt: skip
    with Archive() as archive:
        assert archive.node.store(report.media, progress=False).count("done") == 2
        assert archive.web.store(report.media, progress=False).count("done") == 2
        found = archive.node.find("instance", PatientID="SYN-1", progress=False).to_dataframe()
    assert sorted(found["SOPClassUID"]) == ["1.2.840.10008.5.1.4.1.1.77.1.1.1", "1.2.840.10008.5.1.4.1.1.9.4.2"]
    assert Report.load(tmp_path).counts == report.counts


def test_a_recording_is_replayed_with_its_own_origin_timestamps(tmp_path: Path) -> None:
    report = recorded(tmp_path, "uncompressed")
    _, table = only(report, "1.2.840.10008.5.1.4.1.1.7.4")
    assert table is not None
    (outcome,) = report
    cast = Broadcast(tmp_path / outcome.path, format=SMALL, **STUDY)
    with LiveStream(cast) as live, cast:
        frames = [frame.copy() for frame in live.frames(4)]
    origins = table["origin_tai_ns"].tolist()
    for frame in frames:
        assert frame.origin_ns in origins
        assert frame.sync_ns is not None
        assert frame.sync_ns > max(origins)
        number = origins.index(frame.origin_ns)
        want = (table["origin_tai_ns"][number], PICTURES)
        assert any((frame.to_rgb() == picture).all() for picture in want[1])


def test_plain_st_2110_is_recorded_without_a_patient(tmp_path: Path) -> None:
    report = recorded(tmp_path, "uncompressed", metadata=False)
    (outcome,) = report
    ds = dcmread(tmp_path / outcome.path)
    assert ds.PatientID == ""
    assert outcome.result in ("done", "warning")


@pytest.mark.parametrize(
    ("size", "form", "why"),
    [((2048, 1088), "h264", "level 4.2"), ((66, 49), "h264", "4:2:0"), ((64, 48), "uncompressed", "no matrix")],
)
def test_a_form_that_can_not_hold_the_stream_is_told_before_anything_is_recorded(
    size: tuple[int, int], form: str, why: str, tmp_path: Path
) -> None:
    colour = "UNSPECIFIED" if why == "no matrix" else "BT709"
    video = VideoFormat(*size, depth=8, colorimetry=colour)
    cast = Broadcast([np.zeros(video.frame_octets, np.uint8)], format=video, **STUDY)
    with LiveStream(cast) as live, pytest.raises(UsageError, match=why):
        live.record(tmp_path / "to", seconds=30, form=form, progress=False)
    assert not (tmp_path / "to").exists()


BEGAN_NS = 1_764_000_037_000_000_000


@contextmanager
def tape(folder: Path) -> Iterator[recorder.Tape]:
    """A tape to which a test writes."""
    with recorder._spooled(folder) as one:
        yield one


def written(one: recorder.Tape, *what: Frame | AudioBlock) -> None:
    for each in what:
        one._write(each)


def of_patient(number: int) -> FrameMetadata:
    static = Dataset()
    static.PatientID, static.SOPInstanceUID = f"SYN-{number}", f"1.2.{number}"
    static.StudyInstanceUID = "1.2.3"
    static.TimezoneOffsetFromUTC, static.StudyDate, static.StudyTime = "+0130", "20251124", "180000"
    return FrameMetadata(replace(META, sop_instance_uid=f"1.2.{number}"), None, static)


def block(at_ms: int, *, stamp: int | None = None, gap: int = 0, patient: int | None = 1) -> AudioBlock:
    """A millisecond of sound, which came when its time was."""
    ticks = clock.rtp_timestamp(BEGAN_NS, 48_000) + (48 * at_ms if stamp is None else stamp)
    metadata = of_patient(patient) if patient else None
    return AudioBlock(MONO, ticks % (1 << 32), b"\1\0" * 48, gap, metadata, BEGAN_NS + at_ms * 1_000_000)


def test_silence_is_filled_in_as_far_as_time_has_passed(tmp_path: Path) -> None:
    """Ten seconds at most, and none of it where a sender's timestamps run away from the clock."""
    lies = [block(n, stamp=n << 22, gap=1 << 20) for n in range(3001, 3101)]
    with tape(tmp_path) as one:
        written(one, block(0), block(1000, gap=47_952), *lies, block(60_000, gap=480_048))
        sounds = list(one.sounds())
    assert [(len(sound.octets) // 2, sound.gap_samples) for sound in sounds] == [
        (48_048, 47_952), *[(48, 0)] * 101
    ]  # fmt: skip
    assert sounds[0].origin_ns == BEGAN_NS


def test_sound_whose_timestamps_do_not_count_from_the_epoch_began_when_it_came(tmp_path: Path) -> None:
    with tape(tmp_path) as one:
        written(one, block(0, stamp=1 << 30))
        (sound,) = one.sounds()
    assert sound.origin_ns == BEGAN_NS


def test_times_are_told_in_the_zone_of_the_study(tmp_path: Path) -> None:
    with tape(tmp_path) as one:
        written(one, block(0))
        (outcome,) = waveform.store_audio(next(one.sounds()), tmp_path)
    ds = dcmread(tmp_path / outcome.path)
    assert (ds.StudyTime, ds.ContentDate, ds.ContentTime) == ("180000", "20251124", "173000.000000")
    assert ds.TimezoneOffsetFromUTC == "+0130"


def picture(at: int, stamp: int, patient: int | None) -> Frame:
    packed = np.zeros(SMALL.frame_octets, np.uint8)
    metadata = of_patient(patient) if patient else None
    return Frame(SMALL, stamp % (1 << 32), packed, (), metadata, received_ns=BEGAN_NS + at * 20_000_000)


def test_missing_frames_are_filled_in_as_far_as_time_has_passed() -> None:
    rate = replace(SMALL, rate_hz=Fraction(50))
    stamps = [0, 1800, 3 * 1800, *(n * 500 * 1800 for n in range(1, 40))]
    facts = [Stored.of(picture(at, stamp, None)) for at, stamp in enumerate(stamps)]
    parts = list(_instances(Part("", None, rate, facts, list(range(len(facts))), lambda at, size: np.zeros(1)), 10_000))
    assert [len(slots) for slots in parts] == [4, *[1] * 39]


def test_who_it_is_is_looked_for_once_however_long_nobody_is_told(tmp_path: Path) -> None:
    """An hour of plain pictures: what is asked of each frame does not grow with their number."""
    asked = 0

    class Counted(recorder.Entry):
        def __getattribute__(self, name: str) -> Any:
            nonlocal asked
            asked += name == "uid"
            return super().__getattribute__(name)

    entries = [Counted(0, 0, Stored(0, None, None, 0, (), b""), "") for _ in range(200_000)]
    ((uid, own),) = recorder._by_uid(entries)  # type: ignore[type-var]
    assert (uid, len(own), asked) == ("", 200_000, 200_000)


def test_one_that_can_not_be_stored_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sender says may be what no data set can hold: the sound beside it is kept."""

    def refuses(*_: Any) -> Any:
        raise RemoteProtocolError("pictures of nothing", section="PS3.3")

    monkeypatch.setattr(recorder, "store_video", refuses)
    report = recorded(tmp_path, "uncompressed", audio=np.zeros((48_000, 2), np.int32))
    assert sorted(one.result for one in report) == ["failed", "warning"]
    assert "pictures of nothing" in str([one.status for one in report])
    assert not report.complete


def test_what_can_not_be_recorded(tmp_path: Path) -> None:
    cast = Broadcast(PICTURES, format=SMALL)
    with LiveStream(cast) as live:
        for wrong in ({"form": "mp4"}, {"seconds": 0}):
            with pytest.raises(UsageError):
                live.record(tmp_path, **wrong)  # type: ignore[arg-type]
        with pytest.raises(Unreachable, match="no packet"):
            live.record(tmp_path, seconds=0.05, progress=False)
        (tmp_path / "file").touch()
        with pytest.raises((Refused, Interrupted)):
            live.record(tmp_path / "file" / "folder", seconds=0.05, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
