"""The static parts of the four real-time SOP Classes, every attribute of Type 1 and 2 filled in. No I/O.

Source
------
PS3.22 Table 7.2-1; PS3.3 §A.32.9, §A.32.10, §A.34.11, §A.35.21, §C.7.6.26 (bulk data flows), §C.7.6.28; PS3.5 §A.8 to
§A.10; PS3.16 CID 7070, TID 2010.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dicomlab.errors import UsageError
from dicomlab.rtv.audio import PCM, AudioFormat
from dicomlab.rtv.clock import utc_of
from dicomlab.rtv.metadata import (
    AUDIO_WAVEFORM,
    RENDITION_SELECTION,
    SOP_CLASSES,
    VIDEO_ENDOSCOPIC,
    VIDEO_PHOTOGRAPHIC,
    RtvMeta,
)
from dicomlab.rtv.video import VideoFormat

if TYPE_CHECKING:
    from pydicom import Dataset

TITLES = {
    "130370": "RTV Rendition",
    "130371": "RTV Audio and Video Rendition",
    "130372": "RTV Stereo Video Rendition",
    "130373": "RTV Audio and Stereo Video Rendition",
}
"""CID 7070, coding scheme DCM."""
MODALITY = {VIDEO_ENDOSCOPIC: "ES", VIDEO_PHOTOGRAPHIC: "XC", AUDIO_WAVEFORM: "AU", RENDITION_SELECTION: "KO"}

_PATIENT_2 = "PatientName PatientID PatientBirthDate PatientSex"
_PATIENT_STUDY_2 = f"{_PATIENT_2} StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID"
_COMMON_1 = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID Modality SeriesInstanceUID Manufacturer ManufacturerModelName"
    " DeviceSerialNumber SoftwareVersions SynchronizationFrameOfReferenceUID SynchronizationTrigger"
    " AcquisitionTimeSynchronized"
)
_VIDEO_1 = (
    "ImageType SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored HighBit"
    " PixelRepresentation RealTimeBulkDataFlowSequence SharedFunctionalGroupsSequence StereoPairsPresent"
)
_VIDEO_2 = "SeriesNumber InstanceNumber LossyImageCompression AcquisitionContextSequence"

TYPE_1 = {
    VIDEO_ENDOSCOPIC: f"{_COMMON_1} {_VIDEO_1} ICCProfile".split(),
    VIDEO_PHOTOGRAPHIC: f"{_COMMON_1} {_VIDEO_1}".split(),
    AUDIO_WAVEFORM: (
        f"{_COMMON_1} RealTimeBulkDataFlowSequence InstanceNumber ContentDate ContentTime AcquisitionDateTime".split()
    ),
    RENDITION_SELECTION: (
        f"{_COMMON_1} SeriesNumber InstanceNumber ContentDate ContentTime CurrentRequestedProcedureEvidenceSequence"
        " ValueType ConceptNameCodeSequence ContinuityOfContent ContentTemplateSequence ContentSequence".split()
    ),
}
"""SOP Class to the attributes that must be there with a value."""
TYPE_2 = {
    VIDEO_ENDOSCOPIC: f"{_PATIENT_STUDY_2} {_VIDEO_2}".split(),
    VIDEO_PHOTOGRAPHIC: f"{_PATIENT_STUDY_2} {_VIDEO_2}".split(),
    AUDIO_WAVEFORM: f"{_PATIENT_STUDY_2} SeriesNumber AcquisitionContextSequence".split(),
    RENDITION_SELECTION: f"{_PATIENT_STUDY_2} ReferencedPerformedProcedureStepSequence".split(),
}
"""SOP Class to the attributes that must be there, with or without a value."""


@dataclass(frozen=True, slots=True)
class BulkFlow:
    """One bulk data flow that metadata tells of (PS3.3 §C.7.6.26)."""

    source: UUID
    flow: UUID
    transfer_syntax_uid: str
    sampling_rate_hz: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A metadata flow that a Rendition refers to, by its SOP Instance."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str

    @property
    def value_type(self) -> str:
        """Of the content item."""
        return "WAVEFORM" if self.sop_class_uid == AUDIO_WAVEFORM else "IMAGE"


def missing(static: Dataset, sop_class_uid: str) -> list[str]:
    """Name the attributes of Type 1 and 2 that a static part lacks.

    Source
    ------
    PS3.3 §A.32.9, §A.32.10, §A.34.11, §A.35.21 and the modules named there.
    """
    empty = [name for name in TYPE_1.get(sop_class_uid, ()) if _is_empty(static, name)]
    return empty + [name for name in TYPE_2.get(sop_class_uid, ()) if name not in static]


def _is_empty(static: Dataset, keyword: str) -> bool:
    return keyword not in static or static[keyword].value in (None, "", b"", [])


def _base(meta: RtvMeta, about: Dataset, started_ns: int, synchronized: str) -> Dataset:
    from pydicom import Dataset

    began = utc_of(started_ns)
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _PATIENT_STUDY_2.split():
        setattr(ds, keyword, "")
    ds.StudyDate, ds.StudyTime = began.strftime("%Y%m%d"), began.strftime("%H%M%S")
    ds.ContentDate, ds.ContentTime = began.strftime("%Y%m%d"), began.strftime("%H%M%S.%f")
    ds.TimezoneOffsetFromUTC = "+0000"
    ds.Manufacturer, ds.ManufacturerModelName = "dicomlab", "Broadcast"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "0.1.0"
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.SynchronizationTrigger = "NO TRIGGER"
    ds.AcquisitionTimeSynchronized = "Y" if synchronized else "N"
    if synchronized:
        ds.TimeSource, ds.TimeDistributionProtocol = _time_source(synchronized), "PTP"
    ds.update(copy.deepcopy(about))
    ds.SOPClassUID, ds.SOPInstanceUID = meta.sop_class_uid, meta.sop_instance_uid
    ds.Modality = MODALITY[meta.sop_class_uid]
    return ds


def _time_source(identity: str) -> str:
    """The 16 digits of a grandmaster's EUI-64, as far as there is one: Time Source has room for no more."""
    found = re.search(r"[0-9A-Fa-f]{2}(?:[-:]?[0-9A-Fa-f]{2}){7}", identity)
    return re.sub("[-:]", "", found[0]) if found else identity[:16]


def _flows(meta: RtvMeta, flows: Sequence[BulkFlow]) -> list[Dataset]:
    from pydicom import Dataset

    by_source: dict[UUID, list[Dataset]] = {}
    own = (meta.transfer_syntax_uid, meta.sampling_rate_hz)
    if own not in [(one.transfer_syntax_uid, one.sampling_rate_hz) for one in flows]:
        raise UsageError("no bulk data flow has the transfer syntax and the rate of the RTV Meta Information")
    for one in flows:
        item = Dataset()
        item.FlowIdentifier = one.flow.bytes
        item.FlowTransferSyntaxUID = one.transfer_syntax_uid
        item.FlowRTPSamplingRate = one.sampling_rate_hz
        by_source.setdefault(one.source, []).append(item)
    sources = []
    for source, items in by_source.items():
        item = Dataset()
        item.SourceIdentifier = source.bytes
        item.FlowIdentifierSequence = items
        sources.append(item)
    return sources


def video_static(
    meta: RtvMeta,
    flows: Sequence[BulkFlow],
    video: VideoFormat,
    about: Dataset,
    *,
    started_ns: int,
    icc_profile: bytes,
    stereo: bool = False,
    synchronized: str = "",
) -> Dataset:
    """Make the static part of Video Endoscopic or Video Photographic Image Real-Time Communication.

    Parameters
    ----------
    about : Dataset
        Patient, study, series and equipment; it overrides what is filled in here.
    started_ns : int
        When the flow started, TAI.
    icc_profile : bytes
        Of the colour; mandatory for endoscopy.
    stereo : bool
        Each frame holds a left and a right picture.
    synchronized : str
        The time source where the clock is locked to PTP; ``""``: it is not.

    Raises
    ------
    UsageError
        Another SOP Class, a sampling that DICOM-RTV has not, or a Type 1 attribute without a value.

    Source
    ------
    PS3.3 §A.32.9, §A.32.10, §C.7.6.26, §C.7.6.28, §C.8.12.1; PS3.5 Table A.8-1.
    """
    from pydicom import Dataset

    if meta.sop_class_uid not in (VIDEO_ENDOSCOPIC, VIDEO_PHOTOGRAPHIC):
        raise UsageError(f"{meta.sop_class_uid} is no SOP Class of real-time video")
    given: Any = Dataset()
    given.ImageType = ["ORIGINAL", "PRIMARY"]
    given.LossyImageCompression = "00"
    given.AcquisitionContextSequence = []
    given.ICCProfile = icc_profile + b"\0" * (len(icc_profile) % 2)
    given.update(about)
    ds: Any = _base(meta, given, started_ns, synchronized)
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PixelRepresentation = 3, 0, 0
    ds.PhotometricInterpretation = video.photometric_interpretation
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = video.bits_allocated, video.depth, video.depth - 1
    ds.RealTimeBulkDataFlowSequence = _flows(meta, flows)
    ds.SharedFunctionalGroupsSequence = ds.get("SharedFunctionalGroupsSequence") or [Dataset()]
    ds.StereoPairsPresent = "YES" if stereo else "NO"
    return _complete(ds)


def audio_static(
    meta: RtvMeta,
    flows: Sequence[BulkFlow],
    audio: AudioFormat,
    about: Dataset,
    *,
    started_ns: int,
    synchronized: str = "",
) -> Dataset:
    """Make the static part of Audio Waveform Real-Time Communication.

    Raises
    ------
    UsageError
        Another SOP Class, a flow of another rate, or a Type 1 attribute without a value.

    Source
    ------
    PS3.3 §A.34.11, §C.7.6.26, §C.10.8; PS3.5 §A.10.
    """
    if meta.sop_class_uid != AUDIO_WAVEFORM:
        raise UsageError(f"{meta.sop_class_uid} is no SOP Class of real-time audio")
    if any(one.transfer_syntax_uid == PCM and one.sampling_rate_hz != audio.rate_hz for one in flows):
        raise UsageError("a flow whose RTP clock is not the sampling rate")
    ds: Any = _base(meta, about, started_ns, synchronized)
    ds.AcquisitionDateTime = utc_of(started_ns).strftime("%Y%m%d%H%M%S.%f+0000")
    ds.AcquisitionContextSequence = about.get("AcquisitionContextSequence", [])
    ds.RealTimeBulkDataFlowSequence = _flows(meta, flows)
    return _complete(ds)


def rendition_static(
    meta: RtvMeta,
    title: str,
    references: Sequence[Reference],
    about: Dataset,
    *,
    started_ns: int,
    synchronized: str = "",
) -> Dataset:
    """Make a Rendition Selection Document: which flows belong together.

    Parameters
    ----------
    title : str
        Code of CID 7070: ``"130370"`` to ``"130373"``.
    references : sequence of Reference
        The metadata flows, at least one.

    Raises
    ------
    UsageError
        Another SOP Class or title, or nothing that it refers to.

    Source
    ------
    PS3.3 §A.35.21, §C.17.6.1, §C.17.6.2, §C.17.3; PS3.16 TID 2010, CID 7070.
    """
    from pydicom import Dataset

    if meta.sop_class_uid != RENDITION_SELECTION or title not in TITLES or not references:
        raise UsageError(f"a Rendition has a title of {', '.join(TITLES)} and refers to at least one flow")
    ds: Any = _base(meta, about, started_ns, synchronized)
    ds.ReferencedPerformedProcedureStepSequence = []
    study = Dataset()
    study.StudyInstanceUID = ds.StudyInstanceUID
    series: dict[str, list[Dataset]] = {}
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [_code(title, TITLES[title])]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    ds.ContentTemplateSequence = [template]
    ds.ContentSequence = []
    for one in references:
        item: Any = Dataset()
        item.RelationshipType, item.ValueType = "CONTAINS", one.value_type
        item.ReferencedSOPSequence = [_referenced(one)]
        if one.value_type == "WAVEFORM":
            item.ReferencedSOPSequence[0].ReferencedWaveformChannels = [1, 0]
        ds.ContentSequence.append(item)
        series.setdefault(one.series_instance_uid, []).append(_referenced(one))
    study.ReferencedSeriesSequence = []
    for uid, instances in series.items():
        group: Any = Dataset()
        group.SeriesInstanceUID, group.ReferencedSOPSequence = uid, instances
        study.ReferencedSeriesSequence.append(group)
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    return _complete(ds)


def _referenced(one: Reference) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
    return item


def _code(value: str, meaning: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _complete(static: Dataset) -> Dataset:
    if absent := missing(static, str(static.SOPClassUID)):
        raise UsageError(f"the static part lacks {', '.join(absent)}: give them in `about`")
    return static


def references_of(rendition: Dataset) -> tuple[str, list[str]]:
    """Read a Rendition Selection Document: code of its title, and the SOP Instance UIDs of its flows.

    Source
    ------
    PS3.3 §A.35.21, §C.17.3; PS3.16 TID 2010.
    """
    titles = rendition.get("ConceptNameCodeSequence") or []
    title = str(titles[0].get("CodeValue", "")) if titles else ""
    uids = [
        str(reference.get("ReferencedSOPInstanceUID", ""))
        for item in rendition.get("ContentSequence") or []
        for reference in item.get("ReferencedSOPSequence") or []
    ]
    return title, [uid for uid in uids if uid]


def bulk_flows_of(static: Dataset) -> list[BulkFlow]:
    """Read which bulk data flows a static part tells of; what is no flow is passed over.

    Source
    ------
    PS3.3 §C.7.6.26.
    """
    found = []
    for source in static.get("RealTimeBulkDataFlowSequence") or []:
        for flow in source.get("FlowIdentifierSequence") or []:
            ids = source.get("SourceIdentifier"), flow.get("FlowIdentifier")
            rate = flow.get("FlowRTPSamplingRate")
            if all(isinstance(one, bytes) and len(one) == 16 for one in ids) and isinstance(rate, int):
                syntax = str(flow.get("FlowTransferSyntaxUID", ""))
                found.append(BulkFlow(UUID(bytes=ids[0]), UUID(bytes=ids[1]), syntax, rate))
    return found


def is_known(sop_class_uid: str) -> bool:
    """Whether it is one of the four SOP Classes of PS3.22 Table 7.2-1."""
    return sop_class_uid in SOP_CLASSES
