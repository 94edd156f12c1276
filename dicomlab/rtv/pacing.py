"""The sending thread: each frame at its time, its packets spread over the frame period, metadata before them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import DicomlabError, Interrupted
from dicomlab.model.trace import open_channel
from dicomlab.rtv.clock import (
    NS_PER_S,
    dicom_datetime,
    frame_number,
    frame_time,
    ntp_timestamp,
    rtp_timestamp,
)
from dicomlab.rtv.device import PAYLOAD_TYPES, Device, Flow
from dicomlab.rtv.extension import GrainItems
from dicomlab.rtv.faults import StreamFaults
from dicomlab.rtv.metadata import FrameGroups, encode_dataset, encode_dynamic, encode_meta
from dicomlab.rtv.reader import RtpReader, read_rtcp, rtcp_line
from dicomlab.rtv.rtp import dissect
from dicomlab.rtv.sender import AudioSender, Line, MetadataSender, VideoSender
from dicomlab.rtv.sources import VideoSource
from dicomlab.rtv.udp import SendingSocket, rest, tai_now_ns

ACTIVE = 0.8
"""The part of a frame period over which its packets are spread."""
STEP_S = 0.001
AUDIO_GRAIN_S = 0.02
"""One metadata Grain for so much sound."""
_LEAD_NS = 20_000_000
_RTCP_EVERY_NS = 5 * NS_PER_S
Groups = Callable[[int, FrameGroups], FrameGroups]


class Pacer:
    """Sends what a device has, from a thread of its own, until it ends or is closed."""

    def __init__(
        self,
        device: Device,
        videos: Sequence[VideoSource],
        audio: Any,
        *,
        faults: StreamFaults,
        per_frame: Groups | None,
        static_every_s: float,
        packet_octets: int,
        rtcp: bool,
        fictional: bool = False,
    ) -> None:
        self.device, self.error = device, None
        self._fictional = fictional
        self.frames = self.skipped = 0
        self._videos, self._per_frame, self._faults = videos, per_frame, faults
        self._static_every_ns, self._rtcp = int(static_every_s * NS_PER_S), rtcp
        self._lines: list[Line] = []
        try:
            lines = {flow.name: self._line(flow) for flow in device.flows}
        except BaseException:
            for line in self._lines:
                line.close()
            raise
        self._senders = [
            VideoSender(lines[flow.name], flow.video, packet_octets, identified=device.identified)
            for flow in device.flows
            if flow.video is not None
        ]
        self._bulk = [flow for flow in device.flows if flow.video is not None]
        sound = next((flow for flow in device.flows if flow.audio is not None), None)
        self._sound: _Sound | None = None
        if sound is not None and sound.audio is not None:
            sender = AudioSender(lines[sound.name], sound.audio, identified=device.identified)
            self._sound = _Sound(sound, sender, audio)
        self._metadata = [
            _Metadata(flow, MetadataSender(lines[flow.name], packet_octets), device)
            for flow in device.flows
            if flow.kind == "metadata"
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dicomlab broadcast", daemon=True)
        self._thread.start()

    error: DicomlabError | None

    def _line(self, flow: Flow) -> Line:
        sockets: list[SendingSocket] = []
        line = Line(flow.kind, PAYLOAD_TYPES[flow.kind], sockets)
        self._record(line, flow)
        self._lines.append(line)
        control: list[SendingSocket] = []
        line.control = control
        for media in self.device.media(flow):
            options: dict[str, Any] = {"ttl": self.device.ttl, "interface": self.device.interface}
            sockets.append(SendingSocket(media.address, media.port, **options))
            control.append(SendingSocket(media.address, media.port + 1, **options))
        return line

    def _record(self, line: Line, flow: Flow) -> None:
        """Have a line record what leaves, where somebody traces."""
        name, to = self.device.name, f"{flow.kind} {flow.paths[0]}:{flow.port}"
        reader = partial(RtpReader, flow.kind)
        channel = open_channel("RTP", name, to, dissect, reader, fictional=self._fictional)
        if channel.trace is not None:
            line.channel = channel
            line.control_channel = open_channel("RTCP", name, to, rtcp_line, lambda: read_rtcp)

    @property
    def running(self) -> bool:
        """Whether it sends."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the end; whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._senders:
                self._send_video()
            else:
                self._send_audio()
        except DicomlabError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  (somebody's pictures or per_frame: told by `wait`)
            self.error = Interrupted(f"what is to be sent broke off: {error!r}", endpoint=self.device.name)
            self.error.__cause__ = error
        finally:
            try:
                for line in self._lines:
                    line.goodbye()
            except DicomlabError as error:
                self.error = self.error or error
            for line in self._lines:
                line.close()

    def _send_video(self) -> None:
        rate = self._bulk[0].video.rate_hz if self._bulk[0].video is not None else None
        assert rate is not None
        period_ns = int(NS_PER_S / rate)
        number = frame_number(tai_now_ns() + _LEAD_NS, rate)
        self._begin(frame_time(number, rate))
        while not self._stop.is_set():
            pictures = [next(one.frames, None) for one in self._videos]
            if any(one is None for one in pictures):
                break
            at_ns = frame_time(number, rate)
            late = tai_now_ns() - at_ns
            if late > period_ns:  # this machine was busy: the stream stays in real time
                left_out = late // period_ns
                self.skipped += left_out
                number += left_out
                at_ns = frame_time(number, rate)
            if self._wait_until(at_ns):
                return
            stamps = [rtp_timestamp(at_ns, 90_000)]
            self._filtered()
            origins = [one[1] if one is not None and one[1] is not None else at_ns for one in pictures]
            self._tell(at_ns, origins[0], stamps[0])
            for sender, flow, one, origin in zip(self._senders, self._bulk, pictures, origins, strict=True):
                video = flow.video
                assert one is not None
                assert video is not None
                if video.interlaced and not video.segmented:
                    stamps = [stamps[0], rtp_timestamp(at_ns + period_ns // 2, 90_000)]
                flags = 0x80 | (0x40 if sender.count == 1 else 0)
                sender.begin(one[0], stamps, GrainItems(origin, at_ns, flow.source, flow.flow, flags))
            self._spread(at_ns, period_ns)
            self.frames += 1
            number += 1

    def _spread(self, at_ns: int, period_ns: int) -> None:
        """Send the packets of all video flows evenly, in groups."""
        active_ns = period_ns * ACTIVE
        while True:  # a frame that was begun is sent whole
            passed = (tai_now_ns() - at_ns) / active_ns
            for sender in self._senders:
                sender.advance(int(passed * sender.count) + 1)
            if self._sound is not None:
                self._sound.advance(tai_now_ns(), self._metadata)
            if all(sender.done for sender in self._senders):
                return
            rest(STEP_S)

    def _send_audio(self) -> None:
        assert self._sound is not None
        self._begin(tai_now_ns())
        while not self._stop.is_set() and not self._sound.ended:
            self._filtered()
            now_ns = tai_now_ns()
            for one in self._metadata:
                if one.flow.of is None:
                    self._rendition(one, now_ns)
            self._sound.advance(now_ns, self._metadata)
            rest(STEP_S)

    def _begin(self, at_ns: int) -> None:
        for at, one in enumerate(self._metadata):
            one.begin(at_ns, self._static_every_ns, self._faults, phase_ns=at * self._static_every_ns // 8)
        self._reported_ns = at_ns
        if self._sound is not None:
            self._sound.begin(at_ns)

    def _wait_until(self, at_ns: int) -> bool:
        """Wait for an instant; whether it is to stop."""
        while (left_ns := at_ns - tai_now_ns()) > 0:
            if self._sound is not None:
                self._sound.advance(tai_now_ns(), self._metadata)
                left_ns = min(left_ns, 1_000_000)
            if self._stop.wait(max(0, left_ns - 200_000) / NS_PER_S):
                return True
            if left_ns <= 200_000:
                rest(left_ns / NS_PER_S)
        return self._stop.is_set()

    def _filtered(self) -> None:
        tampered = self._faults.filter if self._faults.on_packets else None
        for line in self._lines:
            line.filter = tampered

    def _tell(self, at_ns: int, origin_ns: int, stamp: int) -> None:
        """Send the metadata of a frame, before its first packet."""
        for one in self._metadata:
            of = one.flow.of
            if of is None:
                self._rendition(one, at_ns)
            elif of.video is not None:
                groups = FrameGroups(
                    origin_ns,
                    dicom_datetime(origin_ns),
                    one.count % 65_535 + 1,
                    float(1000 / of.video.rate_hz),
                )
                if self._per_frame is not None:
                    groups = self._per_frame(one.count, groups)
                one.send(at_ns, stamp, origin_ns, encode_dynamic(groups))
        if self._rtcp and at_ns - self._reported_ns >= _RTCP_EVERY_NS:
            self._reported_ns = at_ns
            for line in self._lines:
                line.report(ntp_timestamp(at_ns), stamp)

    def _rendition(self, one: _Metadata, at_ns: int) -> None:
        if one.due(at_ns):
            one.send(at_ns, rtp_timestamp(at_ns, 90_000), at_ns, b"")


class _Metadata:
    """One metadata flow: what it says, and when its static part is due."""

    def __init__(self, flow: Flow, sender: MetadataSender, device: Device) -> None:
        self.flow, self._sender, self._device = flow, sender, device
        self.count = 0

    def begin(self, at_ns: int, every_ns: int, faults: StreamFaults, *, phase_ns: int) -> None:
        self._every_ns, self._faults, self._phase_ns = every_ns, faults, phase_ns
        self._generation = -1
        self._renew(at_ns)

    def _renew(self, at_ns: int) -> None:
        """Another SOP Instance: its static part is due at once, and its packets have another SSRC."""
        if self._generation >= 0:
            import secrets

            self._sender.line.ssrc = secrets.randbits(32)
        self._generation = self._device.generation
        self._head = encode_meta(self._device.meta(self.flow))
        self._static = encode_dataset(self._device.static(self.flow, at_ns))
        self._started_ns = self._due_ns = at_ns

    def due(self, at_ns: int) -> bool:
        """Whether the static part is due."""
        return at_ns >= self._due_ns or self._generation != self._device.generation

    def send(self, at_ns: int, stamp: int, origin_ns: int, dynamic: bytes) -> None:
        """Send one Grain."""
        if self._generation != self._device.generation:
            self._renew(at_ns)
        grain = self._head + dynamic
        if at_ns >= self._due_ns and not self._faults.holds_static((at_ns - self._started_ns) / NS_PER_S):
            grain += self._static
            first = self._due_ns == self._started_ns
            self._due_ns = at_ns + self._every_ns - (self._phase_ns if first else 0)
        self._sender.send(grain, stamp, GrainItems(origin_ns, at_ns, self.flow.source, self.flow.flow))
        self.count += 1


class _Sound:
    """The audio of a device: packets of its packet time, each when it is due."""

    def __init__(self, flow: Flow, sender: AudioSender, blocks: Any) -> None:
        self.flow, self._sender = flow, sender
        self._blocks: Iterator[NDArray[Any]] = iter(blocks)
        self._block: NDArray[Any] = np.zeros((0, sender.audio.channels), np.int32)
        self._at = 0
        self.ended = False
        self._count = sender.audio.packet_samples
        self._sent = 0

    def begin(self, at_ns: int) -> None:
        self._began_ns = at_ns
        self._tick = at_ns * self.flow.clock_rate_hz // NS_PER_S

    def advance(self, now_ns: int, metadata: Sequence[_Metadata]) -> None:
        """Send all that is due."""
        rate = self.flow.clock_rate_hz
        while not self.ended and self._began_ns + self._sent * NS_PER_S // rate <= now_ns:
            samples = self._next()
            if samples is None:
                self.ended = True
                return
            at_ns = self._began_ns + self._sent * NS_PER_S // rate
            stamp = (self._tick + self._sent) & 0xFFFFFFFF
            items = None
            if self._sent % max(self._count, int(rate * AUDIO_GRAIN_S) // self._count * self._count) == 0:
                items = GrainItems(at_ns, at_ns, self.flow.source, self.flow.flow, 0x80)
                for one in metadata:
                    if one.flow.of is self.flow:
                        one.send(at_ns, stamp, at_ns, encode_dynamic(FrameGroups(at_ns)))
            self._sender.send(samples, stamp, items)
            self._sent += len(samples)

    def _next(self) -> NDArray[Any] | None:
        while len(self._block) - self._at < self._count:
            more = next(self._blocks, None)
            if more is None:
                return None
            self._block, self._at = np.concatenate([self._block[self._at :], more]), 0
        found = self._block[self._at : self._at + self._count]
        self._at += self._count
        return found
