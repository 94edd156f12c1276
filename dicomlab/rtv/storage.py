"""What a recording becomes: instances of the storage SOP Classes, and a table of frames beside each.

Source
------
PS3.3 §A.32.5 (Video Endoscopic), §A.32.7 (Video Photographic), §A.8.5 (Multi-frame True Color SC); PS3.17
§PPPP.8.1; PS3.5 §A.4.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import MissingExtra, UsageError
from dicomlab.model.protocols import Arrival
from dicomlab.model.report import FRAMES_SUFFIX, Outcome
from dicomlab.part10.files import FileWriter
from dicomlab.part10.medium import medium_errors
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.rtv.clock import utc_of
from dicomlab.rtv.device import icc_profile, new_uid
from dicomlab.rtv.encode import VideoEncoder, can_encode
from dicomlab.rtv.frames import MISSING_COLOUR, Frame
from dicomlab.rtv.metadata import VIDEO_PHOTOGRAPHIC, encode_dataset
from dicomlab.rtv.samples import rgb_of
from dicomlab.rtv.udp import tai_now_ns
from dicomlab.rtv.video import VideoFormat

if TYPE_CHECKING:
    from pydicom import Dataset

VIDEO_ENDOSCOPIC_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
VIDEO_PHOTOGRAPHIC_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.4.1"
TRUE_COLOR_SC_STORAGE = "1.2.840.10008.5.1.4.1.1.7.4"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
MAX_FILLED_FRAMES = 600
"""Missing frames in a row that are filled in; after a longer hole a further instance begins."""
AHEAD_S = 2
"""By how much a stream's own time may be ahead of ours: more is no hole but a lie, and is not filled in."""

_PIXEL_DATA = b"\xe0\x7f\x10\x00OB\0\0"
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


@dataclass(frozen=True, slots=True)
class Stored:
    """What is kept of a frame beside its octets."""

    timestamp: int
    origin_ns: int | None
    sync_ns: int | None
    received_ns: int
    gaps: tuple[tuple[int, int], ...]
    dynamic_octets: bytes

    @classmethod
    def of(cls, frame: Frame) -> Stored:
        """Take it from a frame."""
        dynamic = frame.metadata.dynamic_octets if frame.metadata is not None else b""
        return cls(frame.timestamp, frame.origin_ns, frame.sync_ns, frame.received_ns, frame.gaps, dynamic)


@dataclass(frozen=True, slots=True)
class Part:
    """Frames of one flow and one SOP Instance; ``static`` is a text where it can't be stored, and why."""

    uid: str
    static: Dataset | str | None
    video: VideoFormat
    facts: Sequence[Stored]
    places: Sequence[int]
    read: Callable[[int, int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Slot:
    """One frame of an instance: of the tape, or (``at`` is None) one that is missing."""

    facts: Stored | None
    at: int | None
    timestamp: int


def can_store(video: VideoFormat, form: str) -> None:
    """See whether video of that format can be stored in that form, before any of it is recorded.

    Raises
    ------
    MissingExtra
        The form needs a codec that is not installed.
    UsageError
        The form does not allow the size or rate, or the colours have no way to RGB.
    """
    small = replace(video, width=16, height=16)
    rgb_of(np.zeros(small.frame_octets, np.uint8), small)
    if form in ("h264", "hevc"):
        can_encode(form, video.width, video.height, video.rate_hz)
    elif form == "lossless":
        _jpeg_ls_encoder()


def fillable(passed: int, limit: int, there: int, since_ns: int, rate_hz: Fraction) -> bool:
    """Whether what is missing before something can be filled in: no more of it than time itself has passed for.

    Parameters
    ----------
    passed : int
        Frames or samples from the one before to this one, by their timestamps.
    limit : int
        Most of them that are filled in.
    there : int
        How many there are since the last hole.
    since_ns : int
        How long that took on the clock of this machine.
    rate_hz : Fraction
        Of frames or samples.
    """
    return passed == 1 or 0 < passed <= min(limit, int((since_ns / 1e9 + AHEAD_S) * rate_hz) - there)


# ------------------------------------------------------------------------------------------------------------- video


def store_video(part: Part, folder: Path, form: str, most_octets: int) -> Iterator[Outcome]:
    """Write the frames of a part; give an outcome for each instance.

    Raises
    ------
    MissingExtra
        The form needs a codec that is not installed.
    UsageError
        The form does not allow the size or rate.
    Interrupted, Refused
        The medium.
    """
    video = part.video
    raw = form in ("uncompressed", "lossless")
    limit = max(1, most_octets * (1 if raw else 4) // (video.width * video.height * 3))
    series_uid = new_uid()
    for number, slots in enumerate(_instances(part, limit), 1):
        yield _store(part, slots, folder, form, (series_uid, number))


def _instances(part: Part, limit: int) -> Iterator[list[_Slot]]:
    """Frames by their time: a slot for each frame period, so that what is missing leaves no silent hole."""
    ticks = Fraction(90_000) / part.video.rate_hz
    slots: list[_Slot] = []
    before: int | None = None
    there, began_ns = 0, part.facts[0].received_ns
    for facts, at in zip(part.facts, part.places, strict=True):
        passed = 1 if before is None else round(((facts.timestamp - before) & 0xFFFFFFFF) / ticks)
        if not fillable(passed, MAX_FILLED_FRAMES, there, facts.received_ns - began_ns, part.video.rate_hz):
            if slots:
                yield slots
            slots, passed, there, began_ns = [], 1, 0, facts.received_ns
        there += passed
        for step in range(1, passed):
            assert before is not None
            slots.append(_Slot(None, None, (before + int(step * ticks)) & 0xFFFFFFFF))
            if len(slots) == limit:
                yield slots
                slots = []
        slots.append(_Slot(facts, at, facts.timestamp))
        before = facts.timestamp
        if len(slots) == limit:
            yield slots
            slots = []
    if slots:
        yield slots


def _store(part: Part, slots: list[_Slot], folder: Path, form: str, series: tuple[str, int]) -> Outcome:
    video = part.video
    lossy = form in ("h264", "hevc")
    endoscopic = part.static is None or _text(part.static, "SOPClassUID") != VIDEO_PHOTOGRAPHIC
    sop_class = TRUE_COLOR_SC_STORAGE
    if lossy:
        sop_class = VIDEO_ENDOSCOPIC_STORAGE if endoscopic else VIDEO_PHOTOGRAPHIC_STORAGE
    ds: Any = common(part.static, sop_class, series, _origin(slots))
    ds.Modality = "ES" if endoscopic else "XC"
    _describe(ds, video, slots)
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    if lossy:
        written = _store_lossy(ds, part, slots, path, form)
    else:
        _secondary(ds, part, slots)
        written = _store_frames(ds, part, slots, path, compressed=form == "lossless")
    _write_table(path.with_suffix(FRAMES_SUFFIX), str(ds.SOPInstanceUID), slots)
    return judged(written, _shortcomings(part, slots, form))


def _shortcomings(part: Part, slots: Sequence[_Slot], form: str) -> list[str]:
    found = []
    absent = [str(at) for at, slot in enumerate(slots, 1) if slot.at is None]
    if absent:
        listed = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
        found.append(f"{len(absent)} frames missing, in magenta: {listed}")
    hurt = [str(at) for at, slot in enumerate(slots, 1) if slot.facts is not None and slot.facts.gaps]
    if hurt:
        found.append(f"{len(hurt)} frames with gaps, in magenta: {', '.join(hurt[:10])}")
    if part.video.depth > 8:
        found.append(f"{part.video.depth} bit stored as 8")
    if form in ("h264", "hevc") and not part.video.sampling.endswith("4:2:0"):
        found.append(f"{part.video.sampling} stored as 4:2:0")
    return found


def judged(written: Outcome, shortcomings: Sequence[str]) -> Outcome:
    """A warning, where it falls short of what was sent."""
    if not shortcomings:
        return written
    return replace(written, result="warning", status=f"0000H Success; {'; '.join(shortcomings)}")


_NOT_STORED = (
    "RealTimeBulkDataFlowSequence SharedFunctionalGroupsSequence StereoPairsPresent SamplesPerPixel BitsAllocated"
    " BitsStored HighBit PixelRepresentation PlanarConfiguration PhotometricInterpretation LossyImageCompression"
).split()
"""Of the static part: what belongs to the stream, or what the recorder says itself."""


def common(static: Any, sop_class: str, series: tuple[str, int], origin_ns: int) -> Dataset:
    """What every instance has: what the static part says of patient, study and equipment, and when it began."""
    from pydicom import Dataset

    ds: Any = copy.deepcopy(static) if static is not None else Dataset()  # the stream goes on with its own
    for keyword in _NOT_STORED:
        if keyword in ds:
            delattr(ds, keyword)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber",
                    "ReferringPhysicianName", "Manufacturer"):  # fmt: skip
        if keyword not in ds:
            setattr(ds, keyword, "")
    zone = str(ds.get("TimezoneOffsetFromUTC", ""))
    zone = zone if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", zone) else "+0000"  # the day of the study is in it too
    began = utc_of(origin_ns) + timedelta(minutes=int(f"{zone[0]}1") * (int(zone[1:3]) * 60 + int(zone[3:])))
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.TimezoneOffsetFromUTC = zone
    if "StudyInstanceUID" not in ds:
        ds.StudyInstanceUID = new_uid()
        ds.StudyDate, ds.StudyTime = began.strftime("%Y%m%d"), began.strftime("%H%M%S")
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, new_uid()
    ds.SeriesInstanceUID, ds.InstanceNumber = series
    ds.SeriesNumber = ds.get("SeriesNumber") or 1
    ds.ContentDate, ds.ContentTime = began.strftime("%Y%m%d"), began.strftime("%H%M%S.%f")
    ds.AcquisitionDateTime = began.strftime("%Y%m%d%H%M%S.%f")
    made = began + timedelta(microseconds=(tai_now_ns() - origin_ns) // 1000)
    ds.InstanceCreationDate, ds.InstanceCreationTime = made.strftime("%Y%m%d"), made.strftime("%H%M%S")
    return ds  # type: ignore[no-any-return]


def _origin(slots: Sequence[_Slot]) -> int:
    first = next((slot.facts for slot in slots if slot.facts is not None), None)
    if first is None:
        return tai_now_ns()
    return first.origin_ns if first.origin_ns is not None else first.received_ns


def _describe(ds: Any, video: VideoFormat, slots: Sequence[_Slot]) -> None:
    frame_time_ms = 1000 / video.rate_hz
    ds.ImageType = ds.get("ImageType") or ["ORIGINAL", "PRIMARY"]
    ds.PatientOrientation = ds.Laterality = ""
    ds.Rows, ds.Columns, ds.NumberOfFrames = video.height, video.width, len(slots)
    ds.FrameIncrementPointer = 0x00181063
    ds.FrameTime = f"{float(frame_time_ms):.10g}"
    ds.CineRate = ds.RecommendedDisplayFrameRate = round(video.rate_hz)
    ds.EffectiveDuration = f"{float(len(slots) * frame_time_ms / 1000):.10g}"
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PixelRepresentation = 3, 0, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.AcquisitionContextSequence = ds.get("AcquisitionContextSequence", [])
    ds.BurnedInAnnotation = "NO"
    if "AnatomicRegionSequence" not in ds:
        ds.AnatomicRegionSequence = [code("261665006", "SCT", "Unknown")]
    if "ICCProfile" not in ds:
        ds.ICCProfile = icc_profile()


def _secondary(ds: Any, part: Part, slots: Sequence[_Slot]) -> None:
    """What Secondary Capture adds; its per-frame functional groups keep what the dynamic part said."""
    from pydicom import Dataset

    ds.ConversionType = "DV"
    ds.PhotometricInterpretation = "RGB"
    ds.LossyImageCompression = "00"
    for keyword in ("ICCProfile", "AcquisitionContextSequence", "AnatomicRegionSequence"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.SharedFunctionalGroupsSequence = [Dataset()]
    ds.PerFrameFunctionalGroupsSequence = [_groups(slot, part.video) for slot in slots]


def _groups(slot: _Slot, video: VideoFormat) -> Dataset:
    from pydicom import Dataset

    item: Any = Dataset()
    dynamic = _dynamic(slot)
    if dynamic is not None:
        item.update(dynamic)
    if "FrameContentSequence" not in item:
        content: Any = Dataset()
        content.FrameAcquisitionDuration = float(1000 / video.rate_hz)
        item.FrameContentSequence = [content]
    if slot.at is None:
        item.FrameContentSequence[0].FrameComments = "missing: this frame never came"
    elif slot.facts is not None and slot.facts.gaps:
        item.FrameContentSequence[0].FrameComments = "damaged: parts of this frame never came"
    return item  # type: ignore[no-any-return]


def _dynamic(slot: _Slot) -> Dataset | None:
    from pydicom.filereader import read_dataset

    if slot.facts is None or not slot.facts.dynamic_octets:
        return None
    whole = read_dataset(BytesIO(slot.facts.dynamic_octets), is_implicit_VR=False, is_little_endian=True)
    item: Dataset = whole[0x00060001].value[0]
    return item


def pictures(part: Part, slots: Sequence[_Slot]) -> Iterator[NDArray[np.uint8]]:
    """The frames of an instance in RGB of 8 bit."""
    blank: NDArray[np.uint8] | None = None
    for slot in slots:
        if slot.at is None or slot.facts is None:
            if blank is None:
                blank = np.empty((part.video.height, part.video.width, 3), np.uint8)
                blank[:] = MISSING_COLOUR
            yield blank
        else:
            packed = part.read(slot.at, part.video.frame_octets)
            yield Frame(part.video, slot.timestamp, packed, slot.facts.gaps).to_rgb()


def _store_lossy(ds: Any, part: Part, slots: Sequence[_Slot], path: Path, codec: str) -> Outcome:
    video = part.video
    with medium_errors(path.parent), TemporaryDirectory(dir=path.parent, prefix=".encoding-") as scratch:
        stream = Path(scratch) / "stream"
        encoder = VideoEncoder(stream, codec, video.width, video.height, video.rate_hz)
        for rgb in pictures(part, slots):
            encoder.add(rgb)
        encoder.finish()
        size = stream.stat().st_size
        if size >= 0xFFFFFFFE:
            raise UsageError("a video stream beyond 4 GiB: give a smaller max_instance_octets")
        ds.PhotometricInterpretation = "YBR_PARTIAL_420"
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionMethod = "ISO_14496_10" if codec == "h264" else "ISO_23008_2"
        raw = video.frame_octets * sum(slot.at is not None for slot in slots)
        ds.LossyImageCompressionRatio = f"{raw / max(size, 1):.4g}"
        writer = begin(ds, encoder.transfer_syntax_uid, path)
        try:
            writer.write(_PIXEL_DATA + b"\xff\xff\xff\xff" + _ITEM + b"\0\0\0\0")
            writer.write(_ITEM + (size + size % 2).to_bytes(4, "little"))
            with stream.open("rb") as file:
                while octets := file.read(1 << 20):
                    writer.write(octets)
            writer.write(b"\0" * (size % 2) + _SEQUENCE_END)
        except BaseException:
            writer.abandon()
            raise
    return writer.finish()


def _store_frames(ds: Any, part: Part, slots: Sequence[_Slot], path: Path, *, compressed: bool) -> Outcome:
    encode = _jpeg_ls(ds) if compressed else None
    writer = begin(ds, JPEG_LS_LOSSLESS if compressed else EXPLICIT_LE, path)
    try:
        if encode is None:
            size = ds.Rows * ds.Columns * 3 * len(slots)
            writer.write(_PIXEL_DATA + (size + size % 2).to_bytes(4, "little"))
            for rgb in pictures(part, slots):
                writer.write(np.ascontiguousarray(rgb).data.cast("B"))
            writer.write(b"\0" * (size % 2))
        else:
            writer.write(_PIXEL_DATA + b"\xff\xff\xff\xff" + _ITEM + b"\0\0\0\0")
            for rgb in pictures(part, slots):
                octets = encode(rgb)
                writer.write(_ITEM + (len(octets) + len(octets) % 2).to_bytes(4, "little") + octets)
                writer.write(b"\0" * (len(octets) % 2))
            writer.write(_SEQUENCE_END)
    except BaseException:
        writer.abandon()
        raise
    return writer.finish()


def _jpeg_ls_encoder() -> Any:
    from pydicom.pixels.encoders.base import get_encoder
    from pydicom.uid import UID

    encoder = get_encoder(UID(JPEG_LS_LOSSLESS))
    if not encoder.is_available:
        raise MissingExtra("lossless recording needs a JPEG-LS encoder: pip install 'dicomlab[codecs]'")
    return encoder


def _jpeg_ls(ds: Any) -> Callable[[NDArray[np.uint8]], bytes]:
    encoder = _jpeg_ls_encoder()
    options = {
        "rows": ds.Rows, "columns": ds.Columns, "samples_per_pixel": 3, "number_of_frames": 1, "bits_allocated": 8,
        "bits_stored": 8, "pixel_representation": 0, "photometric_interpretation": "RGB", "planar_configuration": 0,
    }  # fmt: skip
    return lambda rgb: encoder.encode(np.ascontiguousarray(rgb), index=None, **options)


def begin(ds: Any, syntax: str, path: Path) -> FileWriter:
    """Write the data set up to its Pixel Data or Waveform Data."""
    writer = FileWriter(path, Arrival(str(ds.SOPClassUID), str(ds.SOPInstanceUID), syntax, None, "record"))
    try:
        writer.write(encode_dataset(ds))
    except BaseException:
        writer.abandon()
        raise
    return writer


def _write_table(path: Path, uid: str, slots: Sequence[_Slot]) -> None:
    import pandas as pd

    rows = [
        {
            "SOPInstanceUID": uid,
            "frame": at,
            "present": slot.at is not None,
            "RTPTimestamp": slot.timestamp,
            "origin_tai_ns": slot.facts.origin_ns if slot.facts else None,
            "sync_tai_ns": slot.facts.sync_ns if slot.facts else None,
            "received_tai_ns": slot.facts.received_ns if slot.facts else None,
            "missing_octets": sum(b - a for a, b in slot.facts.gaps) if slot.facts else None,
            "CurrentFrameFunctionalGroupsSequence": slot.facts.dynamic_octets if slot.facts else None,
        }
        for at, slot in enumerate(slots, 1)
    ]
    table = pd.DataFrame(rows)
    whole = ["RTPTimestamp", "origin_tai_ns", "sync_tai_ns", "received_tai_ns", "missing_octets"]
    table[whole] = table[whole].astype("Int64")
    with medium_errors(path.parent):
        table.to_parquet(path, index=False)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept (PS3.3 §8)."""
    from pydicom import Dataset

    item: Any = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item  # type: ignore[no-any-return]


def _text(static: Any, keyword: str) -> str:
    return str(static.get(keyword, ""))
