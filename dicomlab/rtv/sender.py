"""Flows as they are sent: frames cut into packets, sound, metadata; each to one path or two."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dicomlab.model.trace import Channel
from dicomlab.rtv.audio import AudioFormat, encode_samples
from dicomlab.rtv.columns import stamp_heads
from dicomlab.rtv.extension import IDS, GrainItems, encode_items
from dicomlab.rtv.grains import fragments
from dicomlab.rtv.rfc4175 import PlannedPacket, plan
from dicomlab.rtv.rtcp import CNAME, Bye, Description, SenderReport, encode_rtcp
from dicomlab.rtv.rtp import HEADER_OCTETS, RtpPacket, encode_rtp
from dicomlab.rtv.train import train_of
from dicomlab.rtv.udp import SendingSocket, per_call
from dicomlab.rtv.video import VideoFormat

_CALLS = 4
"""Calls to the system whose packets are put together at once: what they fill stays in a cache."""
Filter = Callable[[str, bytes], list[bytes]]
"""What becomes of a packet of a flow, where faults are on."""


@dataclass(slots=True)
class Line:
    """One RTP stream on its way out: sequence numbers and counts."""

    name: str
    payload_type: int
    sockets: Sequence[SendingSocket]
    control: Sequence[SendingSocket] = ()
    ssrc: int = field(default_factory=lambda: secrets.randbits(32))
    sequence32: int = field(default_factory=lambda: secrets.randbits(15))
    packets: int = 0
    octets: int = 0
    filter: Filter | None = None
    channel: Channel | None = None
    control_channel: Channel | None = None

    def send(self, datagram: bytes) -> None:
        """Send one packet to every path."""
        self.packets += 1
        self.octets += len(datagram)
        for one in self.filter(self.name, datagram) if self.filter is not None else (datagram,):
            self.record(one)
            for path in self.sockets:
                path.send(one)

    def record(self, octets: bytes | memoryview, rows: NDArray[np.uint8] | None = None, last: int = 0) -> None:
        """Record what leaves, where somebody traces: one packet, or several as `rows`, the last with `last` octets."""
        if self.channel is not None:
            train, first = b"", len(octets)
            if rows is not None:
                first = rows.shape[1]
                train = train_of(rows[1:], (first, last))
            self.channel.tap("sent", octets[:first], size=len(octets), train=train)

    def send_packet(self, packet: RtpPacket, timestamp: int) -> None:
        """Number a packet and send it."""
        numbered = replace(
            packet,
            payload_type=self.payload_type,
            sequence=self.sequence32 & 0xFFFF,
            timestamp=timestamp,
            ssrc=self.ssrc,
        )
        self.sequence32 = (self.sequence32 + 1) & 0xFFFFFFFF
        self.send(encode_rtp(numbered))

    def report(self, ntp: int, timestamp: int) -> None:
        """Send an RTCP sender report."""
        name = Description(((self.ssrc, ((CNAME, "dicomlab"),)),))
        octets = max(0, self.octets - 12 * self.packets) & 0xFFFFFFFF
        self._control([SenderReport(self.ssrc, ntp, timestamp, self.packets & 0xFFFFFFFF, octets), name])

    def goodbye(self) -> None:
        """Say that the stream ends."""
        name = Description(((self.ssrc, ((CNAME, "dicomlab"),)),))
        self._control([SenderReport(self.ssrc, 0, 0, self.packets & 0xFFFFFFFF, 0), name, Bye((self.ssrc,))])

    def _control(self, reports: list[SenderReport | Description | Bye]) -> None:
        octets = encode_rtcp(reports)
        if self.control_channel is not None and self.control:
            self.control_channel.tap("sent", octets)
        for path in self.control:
            path.send(octets)

    def close(self) -> None:
        """Send nothing more."""
        for path in (*self.sockets, *self.control):
            path.close()


@dataclass(slots=True)
class _Run:
    """Packets one after the other with headers of one size and equally many octets; the last may have fewer."""

    first: int
    heads: NDArray[np.uint8]
    start: int
    length: int
    last: int
    field: int


class VideoSender:
    """Sends frames of one format. ``begin`` a frame, then ``advance`` until all of it is out."""

    def __init__(self, line: Line, video: VideoFormat, packet_octets: int, *, identified: bool = True) -> None:
        self.line, self.video = line, video
        self._identified = identified
        self._packets = plan(video, packet_octets - (68 if identified else 0))
        self.count = len(self._packets)
        self._runs = self._cut(self._packets)
        self._frame: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._at = self._run = self._in_run = 0
        self._first = b""
        largest = max(run.heads.shape[1] + run.length for run in self._runs)
        self._block = np.zeros(_CALLS * per_call(largest) * largest, np.uint8)

    def _cut(self, packets: Sequence[PlannedPacket]) -> list[_Run]:
        runs: list[_Run] = []
        at = 0
        while at < len(packets):
            first, end = packets[at], at + 1
            alone = self._identified and at == 0  # it has the header extension
            while end < len(packets) and not alone and not packets[end - 1].marker:
                one = packets[end]
                if len(one.header) != len(first.header) or one.length > first.length:
                    break
                end += 1
                if one.length < first.length:
                    break
            heads = np.zeros((end - at, HEADER_OCTETS + 2 + len(first.header)), np.uint8)
            heads[:, 0] = 0x80
            for row, one in enumerate(packets[at:end]):
                heads[row, 1] = self.line.payload_type | (0x80 if one.marker else 0)
                heads[row, HEADER_OCTETS + 2 :] = np.frombuffer(one.header, np.uint8)
            runs.append(_Run(at, heads, first.start, first.length, packets[end - 1].length, first.field))
            at = end
        return runs

    def begin(self, packed: NDArray[np.uint8], timestamps: Sequence[int], items: GrainItems) -> None:
        """Begin a frame; `timestamps` has one for each field that has its own."""
        self._frame = packed
        self._at = self._run = self._in_run = 0
        base = self.line.sequence32
        for run in self._runs:
            stamp_heads(run.heads, base + run.first, timestamps[min(run.field, len(timestamps) - 1)], self.line.ssrc)
        self.line.sequence32 = (base + self.count) & 0xFFFFFFFF
        if self._identified:
            profile, octets = encode_items(items)
            head = bytes(self._runs[0].heads[0])
            extension = profile.to_bytes(2, "big") + (len(octets) // 4).to_bytes(2, "big") + octets
            payload = self._frame[: self._runs[0].last].tobytes()
            self._first = bytes([0x90]) + head[1:12] + extension + head[12:] + payload

    @property
    def done(self) -> bool:
        """Whether the whole frame is out."""
        return self._at >= self.count

    def advance(self, until: int) -> None:
        """Send packets until that many of the frame are out, or a few more."""
        while self._at < min(until, self.count):
            run = self._runs[self._run]
            if self._first and self._at == 0:
                self.line.send(self._first)
                self._at = self._run = 1
                continue
            head = run.heads.shape[1]
            stride = head + run.length
            each = per_call(stride)
            calls = min(_CALLS, -(-(until - self._at) // each))
            count = min(len(run.heads) - self._in_run, calls * each)
            if self.line.filter is not None:
                count = 1
            self._send(run, head, stride, count)
            self._at += count
            self._in_run += count
            if self._in_run == len(run.heads):
                self._run, self._in_run = self._run + 1, 0

    def _send(self, run: _Run, head: int, stride: int, count: int) -> None:
        at = self._in_run
        start = run.start + at * run.length
        tail = run.last if at + count == len(run.heads) else run.length
        full = count if tail == run.length else count - 1
        rows = self._block[: count * stride].reshape(count, stride)
        rows[:, :head] = run.heads[at : at + count]
        if full:
            rows[:full, head:] = self._frame[start : start + full * run.length].reshape(full, run.length)
        if full < count:
            rows[full, head : head + tail] = self._frame[start + full * run.length : start + full * run.length + tail]
        size = (count - 1) * stride + head + tail
        octets = self._block[:size].data
        if self.line.filter is not None or count == 1:
            self.line.send(bytes(octets))
            return
        self.line.packets += count
        self.line.octets += size
        self.line.record(octets, rows, head + tail)
        part = per_call(stride) * stride
        for start in range(0, size, part):
            piece = octets[start : start + part]
            for path in self.line.sockets:
                path.send_many(piece, stride)


class AudioSender:
    """Sends sound of one format in packets of its packet time."""

    def __init__(self, line: Line, audio: AudioFormat, *, identified: bool = True) -> None:
        self.line, self.audio = line, audio
        self._identified = identified

    def send(self, samples: NDArray[np.int32], timestamp: int, items: GrainItems | None) -> None:
        """Send one packet; `items` for the first of a Grain."""
        extension = encode_items(items, IDS) if items is not None and self._identified else None
        payload = encode_samples(samples, self.audio)
        self.line.send_packet(RtpPacket(0, 0, 0, 0, payload, extension=extension), timestamp)


class MetadataSender:
    """Sends Grains of one metadata flow."""

    def __init__(self, line: Line, packet_octets: int) -> None:
        self.line = line
        self._packet_octets = packet_octets

    def send(self, grain: bytes, timestamp: int, items: GrainItems) -> None:
        """Send one Grain."""
        for packet in fragments(grain, items, self._packet_octets):
            self.line.send_packet(packet, timestamp)
