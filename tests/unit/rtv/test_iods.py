"""Static parts of the four SOP Classes: every Type 1 and 2 attribute, and what they refer to."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.uid import UID

from dicomlab.errors import UsageError
from dicomlab.rtv import iods
from dicomlab.rtv.audio import PCM, AudioFormat
from dicomlab.rtv.iods import TITLES, TYPE_1, TYPE_2, BulkFlow, Reference
from dicomlab.rtv.metadata import (
    AUDIO_WAVEFORM,
    RENDITION_SELECTION,
    SOP_CLASSES,
    VIDEO_ENDOSCOPIC,
    VIDEO_PHOTOGRAPHIC,
    RtvMeta,
    decode_grain,
    encode_dataset,
    encode_meta,
)
from dicomlab.rtv.video import PROGRESSIVE, VideoFormat
from tests.unit.rtv.vectors import AT_NS, FLOW, SOURCE

REFERENCES = [Reference(VIDEO_ENDOSCOPIC, "1.2.1", "1.2.9"), Reference(AUDIO_WAVEFORM, "1.2.2", "1.2.8")]


def about() -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SynchronizationFrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
    ds.PatientName = "Synthetic^Ada"
    return ds


def meta(sop_class: str, syntax: str = PROGRESSIVE, rate: int | None = 90_000) -> RtvMeta:
    return RtvMeta(sop_class, "1.2.1", SOURCE, FLOW, syntax, rate)


def static(sop_class: str) -> Dataset:
    if sop_class == AUDIO_WAVEFORM:
        flows = [BulkFlow(SOURCE, FLOW, PCM, 48_000)]
        return iods.audio_static(meta(sop_class, PCM, 48_000), flows, AudioFormat(), about(), started_ns=AT_NS)
    if sop_class == RENDITION_SELECTION:
        return iods.rendition_static(
            meta(sop_class, "1.2.840.10008.1.2.1", None), "130371", REFERENCES, about(), started_ns=AT_NS
        )
    flows = [BulkFlow(SOURCE, FLOW, PROGRESSIVE, 90_000)]
    video = VideoFormat(1920, 1080)
    return iods.video_static(meta(sop_class), flows, video, about(), started_ns=AT_NS, icc_profile=b"icc")


@pytest.mark.parametrize("sop_class", SOP_CLASSES)
def test_every_type_1_and_2_attribute_is_there_and_travels(sop_class: str) -> None:
    made = static(sop_class)
    assert iods.missing(made, sop_class) == []
    grain = decode_grain(encode_meta(meta(sop_class)) + encode_dataset(made))
    assert grain.static is not None
    assert iods.missing(grain.static, sop_class) == []
    assert grain.static == made
    assert UID(sop_class).name.endswith("Real-Time Communication")
    for keyword in [*TYPE_1[sop_class], *TYPE_2[sop_class]]:
        assert dictionary_VR(keyword)
        less = Dataset()
        less.update({k: made[k] for k in made.keys() if made[k].keyword != keyword})  # noqa: SIM118
        assert iods.missing(less, sop_class) == [keyword]
        assert iods.is_known(sop_class)


@pytest.mark.parametrize("sop_class", [VIDEO_ENDOSCOPIC, VIDEO_PHOTOGRAPHIC])
def test_video_says_what_table_a_8_1_says(sop_class: str) -> None:
    made: Any = static(sop_class)
    assert (made.BitsAllocated, made.BitsStored, made.HighBit, made.SamplesPerPixel) == (16, 10, 9, 3)
    assert made.PhotometricInterpretation == "YBR_FULL_422"
    assert made.Modality == ("ES" if sop_class == VIDEO_ENDOSCOPIC else "XC")
    assert made.StereoPairsPresent == "NO"
    assert len(made.SharedFunctionalGroupsSequence) == 1
    assert iods.bulk_flows_of(made) == [BulkFlow(SOURCE, FLOW, PROGRESSIVE, 90_000)]
    for keyword in ("Rows", "Columns", "NumberOfFrames", "PixelData"):
        assert keyword not in made


def test_the_icc_profile_is_mandatory_for_endoscopy_alone() -> None:
    flows, video = [BulkFlow(SOURCE, FLOW, PROGRESSIVE, 90_000)], VideoFormat(1920, 1080)
    with pytest.raises(UsageError, match="ICCProfile"):
        iods.video_static(meta(VIDEO_ENDOSCOPIC), flows, video, about(), started_ns=AT_NS, icc_profile=b"")
    iods.video_static(meta(VIDEO_PHOTOGRAPHIC), flows, video, about(), started_ns=AT_NS, icc_profile=b"")


@pytest.mark.parametrize("title", TITLES)
def test_a_rendition_of_each_title(title: str) -> None:
    made: Any = iods.rendition_static(meta(RENDITION_SELECTION), title, REFERENCES, about(), started_ns=AT_NS)
    assert iods.references_of(made) == (title, ["1.2.1", "1.2.2"])
    assert made.ConceptNameCodeSequence[0].CodeMeaning == TITLES[title]
    assert [item.ValueType for item in made.ContentSequence] == ["IMAGE", "WAVEFORM"]
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == "1.2.3"
    assert [s.SeriesInstanceUID for s in evidence.ReferencedSeriesSequence] == ["1.2.9", "1.2.8"]


def test_one_source_may_have_several_flows() -> None:
    other = BulkFlow(SOURCE, SOURCE, "1.2.840.10008.1.2.7.2", 90_000)
    flows = [BulkFlow(SOURCE, FLOW, PROGRESSIVE, 90_000), other]
    made = iods.video_static(
        meta(VIDEO_PHOTOGRAPHIC), flows, VideoFormat(640, 480), about(), started_ns=AT_NS, icc_profile=b"", stereo=True
    )
    assert len(made.RealTimeBulkDataFlowSequence) == 1
    assert iods.bulk_flows_of(made) == flows
    assert made.StereoPairsPresent == "YES"


def test_what_can_not_be_made() -> None:
    video, flows = VideoFormat(640, 480), [BulkFlow(SOURCE, FLOW, PROGRESSIVE, 90_000)]
    wrong = [
        lambda: iods.video_static(meta(AUDIO_WAVEFORM), flows, video, about(), started_ns=0, icc_profile=b""),
        lambda: iods.video_static(meta(VIDEO_PHOTOGRAPHIC), [], video, about(), started_ns=0, icc_profile=b""),
        lambda: iods.video_static(meta(VIDEO_PHOTOGRAPHIC), flows, video, Dataset(), started_ns=0, icc_profile=b""),
        lambda: iods.audio_static(meta(VIDEO_PHOTOGRAPHIC), flows, AudioFormat(), about(), started_ns=0),
        lambda: iods.audio_static(
            meta(AUDIO_WAVEFORM, PCM), [BulkFlow(SOURCE, FLOW, PCM, 90_000)], AudioFormat(), about(), started_ns=0
        ),
        lambda: iods.rendition_static(meta(RENDITION_SELECTION), "1", REFERENCES, about(), started_ns=0),
        lambda: iods.rendition_static(meta(RENDITION_SELECTION), "130370", [], about(), started_ns=0),
    ]
    for make in wrong:
        with pytest.raises(UsageError):
            make()


def test_flows_of_a_hostile_static_part_are_passed_over() -> None:
    made: Any = Dataset()
    source: Any = Dataset()
    source.SourceIdentifier = b"short"
    source.FlowIdentifierSequence = [Dataset()]
    made.RealTimeBulkDataFlowSequence = [source, Dataset()]
    made.ContentSequence = [Dataset()]
    assert iods.bulk_flows_of(made) == []
    assert iods.references_of(made) == ("", [])
