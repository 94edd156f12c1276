"""One sending device: its flows, who they are, how the SDP and the metadata describe them."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dicomlab.errors import MissingExtra, UsageError
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.rtv.audio import PCM, AudioFormat
from dicomlab.rtv.extension import IDS, URIS
from dicomlab.rtv.iods import BulkFlow, Reference, audio_static, rendition_static, video_static
from dicomlab.rtv.metadata import AUDIO_WAVEFORM, RENDITION_SELECTION, RtvMeta
from dicomlab.rtv.sdp import Media, Session
from dicomlab.rtv.udp import own_address
from dicomlab.rtv.video import VideoFormat

if TYPE_CHECKING:
    from pydicom import Dataset

PAYLOAD_TYPES = {"video": 96, "audio": 97, "metadata": 104}
VIDEO_CLOCK_HZ = 90_000
_EXTENSION = ("origin", "flow", "source", "flags", "sync")


@dataclass
class Flow:
    """One flow: a bulk data flow, or the metadata of one, or of a Rendition.

    ``sop_instance_uid`` is that of the metadata, ``""`` for bulk data; ``of`` is the bulk flow that metadata describes.
    """

    kind: str
    name: str
    port: int
    paths: Sequence[str]
    clock_rate_hz: int
    what: str
    source: UUID = field(default_factory=uuid.uuid4)
    flow: UUID = field(default_factory=uuid.uuid4)
    of: Flow | None = None
    video: VideoFormat | None = None
    audio: AudioFormat | None = None
    sop_class_uid: str = ""
    sop_instance_uid: str = ""

    @property
    def transfer_syntax_uid(self) -> str:
        """Of a bulk data flow."""
        return self.video.transfer_syntax_uid if self.video is not None else PCM


@dataclass
class Device:
    """What one broadcast sends. ``change`` makes new SOP Instances for the metadata."""

    name: str
    formats: Sequence[VideoFormat]
    audio: AudioFormat | None
    sop_class_uid: str
    about: Dataset
    metadata: bool
    rendition: bool
    stereo: bool
    time_source: str
    paths: Sequence[str]
    port: int
    interface: str | None
    ttl: int
    identified: bool
    flows: list[Flow] = field(default_factory=list)
    generation: int = 0
    """Counts the patients."""

    def __post_init__(self) -> None:
        """Make the flows: bulk data first, then the metadata of each, then the Rendition."""
        for address in self.paths:
            _is_group(address)  # refuses what is no address
        names = ["left", "right"] if len(self.formats) > 1 else ["video"]
        bulk = [
            self._flow("video", name, VIDEO_CLOCK_HZ, _video_words(video), video=video)
            for name, video in zip(names, self.formats, strict=False)
        ]
        if self.audio is not None:
            words = f"{self.audio.encoding}, {self.audio.channels} channels"
            bulk.append(self._flow("audio", "audio", self.audio.rate_hz, words, audio=self.audio))
        self.flows = bulk
        for one in bulk if self.metadata else ():
            class_uid = AUDIO_WAVEFORM if one.kind == "audio" else self.sop_class_uid
            words = f"metadata of {one.name}"
            made = self._flow("metadata", f"{one.name}-metadata", one.clock_rate_hz, words, of=one)
            made.sop_class_uid = class_uid
            self.flows = [*self.flows, made]
        if self.rendition and self.metadata:
            made = self._flow("metadata", "rendition", VIDEO_CLOCK_HZ, "Rendition")
            made.sop_class_uid = RENDITION_SELECTION
            self.flows = [*self.flows, made]
        for at, one in enumerate(self.flows):
            one.port = self.port + 2 * at
        if self.metadata:
            for video in self.formats:
                _ = video.photometric_interpretation  # refuses what DICOM-RTV has not
        self._fill()
        self.change(None)

    def _flow(self, kind: str, name: str, clock_hz: int, what: str, **more: Any) -> Flow:
        return Flow(kind, name, 0, self.paths, clock_hz, what, **more)

    def _fill(self) -> None:
        """UIDs that nobody gave."""
        about: Any = self.about
        for keyword in ("StudyInstanceUID", "SynchronizationFrameOfReferenceUID"):
            if keyword not in about:
                setattr(about, keyword, new_uid())
        about.FrameOfReferenceUID = about.get("FrameOfReferenceUID") or new_uid()
        if "PositionReferenceIndicator" not in about:
            about.PositionReferenceIndicator = ""

    def change(self, about: Dataset | None) -> None:
        """New SOP Instances, of another patient where `about` says so."""
        if about is not None:
            self.about.update(about)
            if "StudyInstanceUID" not in about:
                self.about.StudyInstanceUID = new_uid()
        self._series = {flow.name: new_uid() for flow in self.flows}
        for flow in self.flows:
            if flow.sop_class_uid:
                flow.sop_instance_uid = new_uid()
        self.generation += 1

    # --- SDP -----------------------------------------------------------------------------------------------------

    def media(self, flow: Flow) -> list[Media]:
        """The media sections of a flow, one for each path."""
        kind = {"video": "video", "audio": "audio"}.get(flow.kind, "application")
        extended = flow.kind == "metadata" or self.identified
        clock = f"ptp={self.time_source}" if self.time_source else f"localmac={_mac()}"
        one = Media(
            kind=kind,
            port=flow.port,
            payload_type=PAYLOAD_TYPES[flow.kind],
            clock_rate_hz=flow.clock_rate_hz,
            encoding="raw" if flow.video else flow.audio.encoding if flow.audio else "dicom",
            channels=flow.audio.channels if flow.audio else 1,
            parameters=_parameters(flow),
            extmap={IDS[item]: URIS[item] for item in _EXTENSION} if extended else {},
            reference_clock=clock,
            media_clock="direct=0" if self.time_source else "sender",
            packet_time_ms=flow.audio.packet_time_ms if flow.audio else None,
        )
        sections = []
        for at, address in enumerate(flow.paths):
            port = flow.port + 64 * at if len(set(self.paths)) < len(self.paths) else flow.port
            mid = f"{flow.name}-{at + 1}" if len(flow.paths) > 1 else flow.name
            group = _is_group(address)
            sources = (self._own(address),) if group and self.interface else ()
            ttl = self.ttl if group and ":" not in address else None
            sections.append(replace(one, address=address, port=port, mid=mid, sources=sources, ttl=ttl))
        return sections

    def _session(self, flows: Sequence[Flow], name: str) -> Session:
        media = [self.media(flow) for flow in flows]
        double = [("DUP", tuple(one.mid for one in sections)) for sections in media if len(sections) > 1]
        return Session(
            tuple(one for sections in media for one in sections),
            name=name,
            session_id=int(self.flows[0].flow) >> 70,
            version=self.generation,
            origin_address=self._own(self.paths[0]),
            groups=tuple(double),
        )

    def _own(self, path: str) -> str:
        """Our address, as those who receive over a path see it."""
        if ":" not in path:
            return self.interface or "127.0.0.1"
        return own_address(path, self.interface) if self.interface and _is_group(path) else "::1"

    def session(self) -> Session:
        """The whole."""
        return self._session(self.flows, self.name)

    def sessions_by_flow(self) -> Iterator[tuple[str, Session]]:
        """One for each flow, with its name."""
        for flow in self.flows:
            yield flow.name, self._session([flow], f"{self.name} {flow.name}")

    # --- metadata ------------------------------------------------------------------------------------------------

    def meta(self, flow: Flow) -> RtvMeta:
        """The RTV Meta Information of a metadata flow."""
        of = flow.of
        return RtvMeta(
            flow.sop_class_uid,
            flow.sop_instance_uid,
            flow.source,
            flow.flow,
            of.transfer_syntax_uid if of is not None else EXPLICIT_LE,
            of.clock_rate_hz if of is not None else None,
            float(1000 / of.video.rate_hz) if of is not None and of.video is not None else None,
        )

    def static(self, flow: Flow, started_ns: int) -> Dataset:
        """The static part of a metadata flow.

        Raises
        ------
        UsageError
            A Type 1 attribute has no value.
        """
        meta = self.meta(flow)
        about: Any = copy.deepcopy(self.about)
        about.SeriesInstanceUID = self._series[flow.name]
        about.SeriesNumber = 1 + self.flows.index(flow)
        of = flow.of
        if of is None:
            about.pop("FrameOfReferenceUID", None)
            about.pop("PositionReferenceIndicator", None)
            described_flows = [one for one in self.flows if one.of is not None]
            references = [
                Reference(one.sop_class_uid, one.sop_instance_uid, self._series[one.name]) for one in described_flows
            ]
            return rendition_static(
                meta, self._title(), references, about, started_ns=started_ns, synchronized=self.time_source
            )
        flows = [BulkFlow(of.source, of.flow, of.transfer_syntax_uid, of.clock_rate_hz)]
        if of.video is not None:
            return video_static(
                meta, flows, of.video, about,
                started_ns=started_ns, icc_profile=icc_profile(), stereo=self.stereo, synchronized=self.time_source,
            )  # fmt: skip
        assert of.audio is not None
        about.pop("FrameOfReferenceUID", None)
        about.pop("PositionReferenceIndicator", None)
        return audio_static(meta, flows, of.audio, about, started_ns=started_ns, synchronized=self.time_source)

    def _title(self) -> str:
        pair = len(self.formats) > 1 or self.stereo
        if self.audio is not None:
            return "130373" if pair else "130371" if self.formats else "130370"
        return "130372" if pair else "130370"


def new_uid() -> str:
    """A UID of a random UUID (PS3.5 §B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def _is_group(address: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(address).is_multicast
    except ValueError as error:
        raise UsageError(f"{address!r} is no IP address") from error


def _video_words(video: VideoFormat) -> str:
    rate = f"{float(video.rate_hz):g}"
    return f"{video.width} x {video.height} at {rate} Hz, {video.sampling}, {video.depth} bit"


def _parameters(flow: Flow) -> Mapping[str, str]:
    if flow.video is not None:
        return {**flow.video.parameters(), "TP": "2110TPW"}
    return flow.audio.parameters if flow.audio is not None else {}


def _mac() -> str:
    node = uuid.getnode()
    return "-".join(f"{node >> shift & 0xFF:02X}" for shift in range(40, -1, -8))


def described(about: Dataset | None, keywords: Mapping[str, Any]) -> Dataset:
    """Make a data set of keywords.

    Raises
    ------
    UsageError
        One that PS3.6 does not have, or a value that it can't take.
    """
    from pydicom import Dataset
    from pydicom.datadict import tag_for_keyword

    found = Dataset()
    if about is not None:
        found.update(about)
        found = copy.deepcopy(found)  # two data sets that share an element both change with it
    for keyword, value in keywords.items():
        if tag_for_keyword(keyword) is None:
            raise UsageError(f"{keyword!r} is neither an option of Broadcast nor a keyword of PS3.6")
        try:
            setattr(found, keyword, value)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{keyword} can't be {value!r}: {error}") from error
    return found


def icc_profile() -> bytes:
    """An sRGB profile of an input device, as PS3.3 §C.11.15 asks for."""
    try:
        from PIL import ImageCms
    except ImportError as error:
        raise MissingExtra("the ICC profile needs pillow: pip install pillow") from error
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[12:16] = b"scnr"  # its class: pillow makes that of a display
    return bytes(made)
