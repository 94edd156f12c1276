"""What a receiver does with the datagrams of each flow: video, audio, metadata; and whose patient it is."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dicomlab.errors import RemoteProtocolError
from dicomlab.rtv.assembly import Assembled, FrameAssembler
from dicomlab.rtv.audio import AudioFormat
from dicomlab.rtv.extension import GrainItems, decode_items
from dicomlab.rtv.frames import AudioBlock, Frame, FrameMetadata, Pool
from dicomlab.rtv.grains import Reassembly
from dicomlab.rtv.iods import bulk_flows_of
from dicomlab.rtv.metadata import RENDITION_SELECTION, Grain, decode_grain
from dicomlab.rtv.rtcp import Bye, decode_rtcp
from dicomlab.rtv.rtp import Jitter, RtpPacket, SequenceTracker, decode_rtp
from dicomlab.rtv.sdp import Media
from dicomlab.rtv.video import VideoFormat

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.rtv.udp import Batch

KEPT_GRAINS = 128
KEPT_WARNINGS = 100
_AUDIO_WINDOW = 32


@dataclass(slots=True)
class Identity:
    """Whose pictures these are: the static part of the SOP Instance on air, whole or not at all."""

    warn: Callable[[str], None]
    uid: str = ""
    static: Dataset | None = None
    class_uid: str = ""
    transfer_syntax_uid: str = ""
    changes: int = 0

    def take(self, grain: Grain) -> FrameMetadata:
        """Take a Grain; a new SOP Instance blanks what was known until its own static part comes."""
        meta = grain.meta
        if meta.sop_instance_uid != self.uid:
            self.changes += bool(self.uid)
            self.uid, self.static = meta.sop_instance_uid, None
        self.class_uid, self.transfer_syntax_uid = meta.sop_class_uid, meta.transfer_syntax_uid
        static: Any = grain.static
        if static is not None:
            if str(static.get("SOPInstanceUID", self.uid)) != self.uid:
                self.warn("a static part of another SOP Instance than its header says: not taken")
            else:
                known: Any = self.static
                if known is not None and known.get("PatientID") != static.get("PatientID"):
                    self.warn("the patient changed within one SOP Instance: a new one was due (PS3.22 §7.1)")
                self.static = static
        return FrameMetadata(meta, grain.dynamic, self.static, grain.dynamic_octets)


@dataclass(slots=True)
class PacketFlow:
    """One RTP stream whose packets are looked at one by one: sequence, SSRC, counts."""

    media: Media
    tracker: SequenceTracker = field(default_factory=SequenceTracker)
    malformed: int = 0
    foreign: int = 0
    octets: int = 0
    ssrc: int = -1
    restarted: bool = False
    _stray: RtpPacket | None = None
    """The first packet of another sender: it counts once a second one follows it."""
    _held: RtpPacket | None = None

    def packets(self, batch: Batch) -> Iterator[tuple[int, RtpPacket]]:
        """Give each packet that came for the first time, with its unwrapped number."""
        for row in range(batch.count):
            try:
                packet = decode_rtp(batch.datagram(row))
            except RemoteProtocolError:
                self.malformed += 1
                continue
            if packet.payload_type != self.media.payload_type or not self._ours(packet):
                self.foreign += 1
                continue
            first = [self._held] if self._held is not None else []
            self._held = None
            for one in (*first, packet):
                number, fresh = self.tracker.observe(one.sequence)
                if number >= 0 and (fresh is None or fresh[0]):
                    self.octets += batch.length(row)
                    yield number, one

    def row(self, jitter: Jitter) -> dict[str, Any]:
        """What the statistics say of its packets."""
        tracker = self.tracker
        return {
            "received": tracker.received,
            "lost": tracker.lost,
            "reordered": tracker.reordered,
            "duplicates": tracker.duplicates,
            "malformed": self.malformed,
            "foreign": self.foreign,
            "restarts": tracker.restarts,
            "octets": self.octets,
            "jitter_ms": jitter.ticks * 1000 / jitter.rate_hz,
        }

    def _ours(self, packet: RtpPacket) -> bool:
        if packet.ssrc == self.ssrc:
            return True
        if self.ssrc >= 0:
            if self._stray is None or (self._stray.ssrc, (self._stray.sequence + 1) & 0xFFFF) != (
                packet.ssrc, packet.sequence,
            ):  # fmt: skip
                self._stray = replace(packet, payload=bytes(packet.payload))
                return False
            self.tracker.restart()
            self.restarted, self._held, self._stray = True, self._stray, None
        self.ssrc = packet.ssrc
        return True


class MetadataReception:
    """The metadata of one flow: Grains by timestamp, and the identity."""

    def __init__(self, paths: tuple[Media, ...], warn: Callable[[str], None]) -> None:
        self.paths = paths
        self.media = paths[0]
        self.flow = PacketFlow(self.media)
        self.reassembly = Reassembly()
        self.identity = Identity(warn)
        self.jitter = Jitter(self.media.clock_rate_hz)
        self.grains: OrderedDict[int, FrameMetadata] = OrderedDict()
        self.unreadable = 0
        self.last_static_ns = self.last_ns = 0
        self.longest_without_static_ns = 0
        self._warn = warn

    def feed(self, batch: Batch, arrival_ns: int) -> None:
        """Take datagrams."""
        for number, packet in self.flow.packets(batch):
            if self.flow.restarted:
                self.flow.restarted = False
                self.reassembly.reset()
            try:
                items = decode_items(packet.extension, self.media.extension_ids)
            except RemoteProtocolError:
                self.flow.malformed += 1
                items = GrainItems()
            ends = packet.marker or items.ends
            payload = bytes(packet.payload)
            for timestamp, octets in self.reassembly.feed(
                number, packet.timestamp, payload, ends=ends, starts=items.starts
            ):
                self._take(timestamp, octets, arrival_ns)

    def _take(self, timestamp: int, octets: bytes, arrival_ns: int) -> None:
        try:
            grain = decode_grain(octets)
        except RemoteProtocolError as error:
            self.unreadable += 1
            self._warn(f"a metadata Grain that can't be read: {error}")
            return
        self.jitter.observe(timestamp, arrival_ns)
        self.last_ns = arrival_ns
        if grain.static is not None:
            if self.last_static_ns:
                since = arrival_ns - self.last_static_ns
                self.longest_without_static_ns = max(self.longest_without_static_ns, since)
            self.last_static_ns = arrival_ns
        self.grains[timestamp] = self.identity.take(grain)
        while len(self.grains) > KEPT_GRAINS:
            self.grains.popitem(last=False)

    def covering(self, timestamp: int, ticks: int) -> FrameMetadata | None:
        """The Grain that covers a moment of audio: the latest that begins at or at most `ticks` before it."""
        best: tuple[int, FrameMetadata] | None = None
        for start, one in self.grains.items():
            since = (timestamp - start) & 0xFFFFFFFF
            if since <= ticks and (best is None or since < best[0]):
                best = since, one
        return best[1] if best else None

    def row(self) -> dict[str, Any]:
        """What the statistics say of it."""
        row = self.flow.row(self.jitter)
        row["malformed"] += self.unreadable
        return {**row, "grains": self.reassembly.whole, "damaged": self.reassembly.broken}


class VideoReception:
    """The video of one flow: frames assembled, and paired with the Grain of the same timestamp."""

    def __init__(
        self,
        paths: tuple[Media, ...],
        video: VideoFormat,
        pool_frames: int,
        deliver: Callable[[Frame], None],
        identified: Callable[[], None],
    ) -> None:
        self.paths = paths
        self.media, self.video = paths[0], video
        self.pool = Pool(pool_frames, video.frame_octets)
        self.assembler = FrameAssembler(
            video, self.media.payload_type, self.pool, self.media.extension_ids, paths=len(paths)
        )
        self.metadata: MetadataReception | None = None
        self.flow_id: UUID | None = None
        self.source_id: UUID | None = None
        self.fictional = False
        self.unpaired = self.before_static = 0
        self._deliver, self._identified = deliver, identified
        self._waiting: deque[Assembled] = deque()
        self._patience_ns = int(1_000_000_000 / video.rate_hz)

    def feed(self, batch: Batch, arrival_ns: int) -> None:
        """Take datagrams."""
        self.assembler.feed(batch, arrival_ns)
        if self.assembler.ready:
            self.pair(arrival_ns)

    def pair(self, now_ns: int) -> None:
        """Deliver frames in order, each with the Grain of its own timestamp; wait for a late one for a frame period."""
        self._waiting.extend(self.assembler.ready)
        self.assembler.ready.clear()
        while self._waiting:
            one = self._waiting[0]
            if one.items.flow is not None and one.items.flow != self.flow_id:
                self.flow_id, self.source_id = one.items.flow, one.items.source
                self._identified()
            found = self.metadata.grains.get(one.timestamp) if self.metadata else None
            waited_ns = now_ns - one.arrived_ns
            if found is None and self.metadata is not None and 0 <= waited_ns < self._patience_ns:
                return
            self._waiting.popleft()
            if self.metadata is not None and not self.metadata.last_static_ns:
                self.before_static += 1  # nothing may be shown before the first static part
                continue
            self.unpaired += found is None and self.metadata is not None
            self._deliver(self._frame(one, found))

    def _frame(self, one: Assembled, metadata: FrameMetadata | None) -> Frame:
        import numpy as np

        return Frame(
            self.video,
            one.timestamp,
            np.asarray(one.lease),
            one.gaps,
            metadata,
            one.items.sync_ns,
            one.items.origin_ns,
            one.arrived_ns,
            self.source_id,
            self.flow_id,
            self.fictional,
        )

    def row(self) -> dict[str, Any]:
        """What the statistics say of it."""
        assembler, tracker = self.assembler, self.assembler.tracker
        return {
            "received": tracker.received,
            "lost": tracker.lost,
            "reordered": tracker.reordered,
            "duplicates": tracker.duplicates,
            "malformed": assembler.malformed,
            "foreign": assembler.foreign,
            "restarts": tracker.restarts,
            "late": assembler.late,
            "octets": assembler.octets,
            "jitter_ms": assembler.jitter.ticks / 90,
            "frames": assembler.whole + assembler.damaged,
            "damaged": assembler.damaged,
            "unpaired": self.unpaired,
            "before_static": self.before_static,
            "without_buffer": assembler.without_buffer,
            "by_plan": assembler.planned,
        }


class AudioReception:
    """The audio of one flow: blocks in order, gaps named."""

    def __init__(self, paths: tuple[Media, ...], audio: AudioFormat, deliver: Callable[[AudioBlock], None]) -> None:
        self.paths = paths
        self.media, self.audio = paths[0], audio
        self.flow = PacketFlow(self.media)
        self.jitter = Jitter(audio.rate_hz)
        self.metadata: MetadataReception | None = None
        self.samples = self.gap_samples = 0
        self._deliver = deliver
        self._early: dict[int, tuple[RtpPacket, bytes, int]] = {}
        self._next: int | None = None
        self._due: int | None = None

    def feed(self, batch: Batch, arrival_ns: int) -> None:
        """Take datagrams; a missing one is waited for until 32 later ones have come."""
        for number, packet in self.flow.packets(batch):
            if self.flow.restarted:
                self.flow.restarted = False
                self.finish()  # what came of the sender before is not lost
                self._next = self._due = None
            if self._next is None:
                self._next = number
            if number < self._next:
                continue
            self._early[number] = (packet, bytes(packet.payload), arrival_ns)
            while self._early:
                if self._next not in self._early:
                    if len(self._early) <= _AUDIO_WINDOW:
                        break
                    self._next = min(self._early)
                self._take(*self._early.pop(self._next))
                self._next += 1

    def finish(self) -> None:
        """The stream has ended: what is held back is given now."""
        for number in sorted(self._early):
            self._take(*self._early.pop(number))

    def _take(self, packet: RtpPacket, payload: bytes, arrival_ns: int) -> None:
        count, rest = divmod(len(payload), self.audio.sample_octets)
        if rest or not count:
            self.flow.malformed += 1
            return
        gap = 0 if self._due is None else (packet.timestamp - self._due) & 0xFFFFFFFF
        gap = gap if gap < 1 << 31 else 0
        self._due = (packet.timestamp + count) & 0xFFFFFFFF
        self.samples += count
        self.gap_samples += gap
        self.jitter.observe(packet.timestamp, arrival_ns)
        found = self.metadata.covering(packet.timestamp, self.audio.rate_hz // 10) if self.metadata else None
        self._deliver(AudioBlock(self.audio, packet.timestamp, payload, gap, found, arrival_ns))

    def row(self) -> dict[str, Any]:
        """What the statistics say of it."""
        return {**self.flow.row(self.jitter), "samples": self.samples, "gap_samples": self.gap_samples}


Reception = VideoReception | AudioReception | MetadataReception


class ControlReception:
    """RTCP of one flow: taken and not needed, but a goodbye is heard."""

    def __init__(self, ended: Callable[[], None], ssrc: Callable[[], int]) -> None:
        self.reports = 0
        self._ended, self._ssrc = ended, ssrc

    def feed(self, batch: Batch, arrival_ns: int) -> None:
        """Take datagrams."""
        for row in range(batch.count):
            try:
                reports = decode_rtcp(batch.datagram(row))
            except RemoteProtocolError:
                continue
            self.reports += len(reports)
            if any(isinstance(one, Bye) and self._ssrc() in one.ssrcs for one in reports):
                self._ended()


def ssrc_of(reception: Reception) -> int:
    """The SSRC of the stream, -1 before its first packet."""
    return reception.assembler.ssrc if isinstance(reception, VideoReception) else reception.flow.ssrc


def identifier_of(reception: Reception) -> object:
    """By what it is joined with others: changes when that does."""
    if isinstance(reception, MetadataReception):
        return id(reception.identity.static)
    return reception.flow_id if isinstance(reception, VideoReception) else None


def paired(receptions: list[Reception]) -> None:
    """Join each bulk flow with its metadata: by the UUIDs once both are known, until then by their order in the SDP."""
    metadata = [
        one
        for one in receptions
        if isinstance(one, MetadataReception) and one.identity.class_uid != RENDITION_SELECTION
    ]
    told: dict[UUID, MetadataReception] = {}
    for known in metadata:
        for flow in bulk_flows_of(known.identity.static) if known.identity.static is not None else ():
            told[flow.flow] = known
    videos = [one for one in receptions if isinstance(one, VideoReception)]
    sounds = [one for one in receptions if isinstance(one, AudioReception)]
    for at, video in enumerate(videos):
        by_uuid = told.get(video.flow_id) if video.flow_id else None
        silent = [one for one in metadata if one.identity.static is None]  # what speaks of another flow is not ours
        others = silent if video.flow_id and silent else metadata
        video.metadata = by_uuid or _usual(others, at, video.media.clock_rate_hz)
    for at, sound in enumerate(sounds):
        sound.metadata = _usual(metadata, at, sound.media.clock_rate_hz)


def _usual(metadata: list[MetadataReception], at: int, rate_hz: int) -> MetadataReception | None:
    same = [one for one in metadata if one.media.clock_rate_hz == rate_hz]
    return same[min(at, len(same) - 1)] if same else None
