"""RTP packets and the order of their sequence numbers. No I/O.

Source
------
RFC 3550 §5.1 (header), §5.3.1 (extension), §6.4.1 and Appendix A.1, A.3 (loss), A.8 (jitter).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import LocalProtocolError, RemoteProtocolError

HEADER_OCTETS = 12
MAX_UDP_OCTETS = 1460
"""ST 2110-10 §6.3: a standard UDP datagram, its 8 octets of header counted."""
MAX_PACKET_OCTETS = MAX_UDP_OCTETS - 8

_HEADER = Struct(">BBHLL")
_WORDS = Struct(">HH")
_SECTION = "RFC 3550 §5.1"
Octets = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One RTP packet. ``extension`` is the profile's 16 bits and the octets after the length."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: Octets = b""
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None


def encode_rtp(packet: RtpPacket) -> bytes:
    """Encode a packet.

    Raises
    ------
    LocalProtocolError
        A value that does not fit its field, or an extension that is no whole number of words.

    Source
    ------
    RFC 3550 §5.1, §5.3.1.
    """
    try:
        csrcs = b"".join(csrc.to_bytes(4, "big") for csrc in packet.csrcs)
        first = 0x80 | (0x10 if packet.extension is not None else 0) | len(packet.csrcs)
        if len(packet.csrcs) > 15 or packet.payload_type > 127:
            raise ValueError("payload type or number of sources")
        head = _HEADER.pack(
            first,
            packet.payload_type | (0x80 if packet.marker else 0),
            packet.sequence,
            packet.timestamp,
            packet.ssrc,
        )
        extension = b""
        if packet.extension is not None:
            profile, octets = packet.extension
            if len(octets) % 4:
                raise ValueError("the extension is no whole number of words")
            extension = _WORDS.pack(profile, len(octets) // 4) + octets
    except (ValueError, OverflowError, struct.error) as error:
        raise LocalProtocolError(f"no such RTP packet: {error}", section=_SECTION) from error
    return head + csrcs + extension + bytes(packet.payload)


def decode_rtp(octets: Octets) -> RtpPacket:
    """Decode a packet; its payload is a view of `octets`, without padding.

    Raises
    ------
    RemoteProtocolError
        No version 2, or cut.

    Source
    ------
    RFC 3550 §5.1, §5.3.1.
    """
    size = len(octets)
    if size < HEADER_OCTETS:
        raise RemoteProtocolError(f"{size} octets are no RTP packet", section=_SECTION, offset=size)
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(octets)
    if first >> 6 != 2:
        raise RemoteProtocolError(f"version {first >> 6}, not 2", section=_SECTION, offset=0)
    at = HEADER_OCTETS + 4 * (first & 15)
    if at > size:
        raise RemoteProtocolError("cut in the list of contributing sources", section=_SECTION, offset=size)
    csrcs = tuple(int.from_bytes(octets[i : i + 4], "big") for i in range(HEADER_OCTETS, at, 4))
    extension = None
    if first & 0x10:
        if at + 4 > size:
            raise RemoteProtocolError("cut in the header extension", section="RFC 3550 §5.3.1", offset=size)
        profile, words = _WORDS.unpack_from(octets, at)
        start, at = at + 4, at + 4 + 4 * words
        if at > size:
            raise RemoteProtocolError("cut in the header extension", section="RFC 3550 §5.3.1", offset=size)
        extension = profile, bytes(octets[start:at])
    end = size
    if first & 0x20:
        padding = octets[size - 1]
        if not 0 < padding <= size - at:
            raise RemoteProtocolError(f"{padding} octets of padding", section=_SECTION, offset=size - 1)
        end -= padding
    view = memoryview(octets)[at:end]
    return RtpPacket(second & 0x7F, sequence, timestamp, ssrc, view, bool(second & 0x80), csrcs, extension)


def dissect(octets: bytes) -> str:
    """Say in one line what an RTP packet is.

    Source
    ------
    RFC 3550 §5.1.
    """
    packet = decode_rtp(octets)
    marker = ", marker" if packet.marker else ""
    return f"RTP {packet.payload_type}: sequence {packet.sequence}, timestamp {packet.timestamp}{marker}"


@dataclass(slots=True)
class SequenceTracker:
    """Unwraps sequence numbers and counts, exactly: what came, came twice, came late, and what is missing.

    It remembers which of the last 65,536 numbers came, so a duplicate is known for one, whatever path brought it.
    """

    received: int = 0
    """Packets that came for the first time."""
    duplicates: int = 0
    reordered: int = 0
    """Packets that came after one with a higher number."""
    restarts: int = 0
    """How often the numbers began anew: the sender did."""
    highest: int = -1
    """The highest number so far, unwrapped; -1 before the first packet."""
    _base: int = 0
    _floor: int = 1 << 16
    """Unwrapped numbers begin here; after a restart, beyond all before it: whoever waits for the next is not deaf."""
    _expected_before: int = 0
    _bad: int = -1
    _seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1 << 16, np.bool_))

    MAX_MISORDER = 16_384
    """Packets further behind than this are of a sender that began anew, once two follow one another."""

    @property
    def expected(self) -> int:
        """How many packets were sent, as far as the numbers tell."""
        return self._expected_before + (self.highest - self._base + 1 if self.highest >= 0 else 0)

    @property
    def lost(self) -> int:
        """How many have not come."""
        return self.expected - self.received

    def restart(self) -> None:
        """The sender began anew (a new SSRC): what is missing stays counted."""
        self._expected_before = self.expected
        self._floor = max(self._floor, (self.highest >> 16) + 2 << 16)
        self.highest, self._base, self._bad = -1, 0, -1
        self._seen[:] = False
        self.restarts += 1

    def observe(self, sequence: int, count: int = 1, wraps: int | None = None) -> tuple[int, NDArray[np.bool_] | None]:
        """Take `count` packets whose numbers follow one another, the first with that 16-bit `sequence`.

        Parameters
        ----------
        sequence : int
        count : int
            At most 32,768.
        wraps : int, optional
            How often the number has wrapped since the last packet did, where something else tells (RFC 4175's
            extended sequence number).

        Returns
        -------
        first : int
            The unwrapped number of the first; -1 where the run is of a sender that may have begun anew: drop it.
        fresh : array of bool, or None
            Which of them came for the first time; None where all did.
        """
        if self.highest < 0:
            self._base = sequence + self._floor
            self.highest = self._base - 1
        ahead = (sequence - self.highest - 1) & 0xFFFF
        if wraps:
            ahead += wraps << 16
        if wraps or ahead < 0x8000:
            first = self.highest + 1 + ahead
            if ahead:
                self._mark(self.highest + 1, min(ahead, 1 << 16), came=False)
            self._mark(first, count)
            self.highest = first + count - 1
            self.received += count
            self._bad = -1
            return first, None
        behind = 0x10000 - ahead
        if behind > self.MAX_MISORDER:
            if sequence != self._bad:
                self._bad = (sequence + count) & 0xFFFF
                if count < 2:
                    return -1, None
            self.restart()
            return self.observe(sequence, count)
        first = self.highest + 1 - behind
        late = min(count, behind)
        self._base = min(self._base, first)
        at = np.arange(first, first + late) & 0xFFFF
        fresh = np.ones(count, np.bool_)
        fresh[:late] = ~self._seen[at]
        self._seen[at] = True
        new = int(fresh.sum())
        self.duplicates += count - new
        self.reordered += new - (count - late)
        self.received += new
        if count > late:
            self._mark(self.highest + 1, count - late)
            self.highest += count - late
        return first, fresh

    def _mark(self, first: int, count: int, *, came: bool = True) -> None:
        start = first & 0xFFFF
        end = start + count
        self._seen[start:end] = came
        if end > 1 << 16:
            self._seen[: end - (1 << 16)] = came


@dataclass(slots=True)
class Jitter:
    """Interarrival jitter in ticks of the media clock, and nothing before the second packet."""

    rate_hz: int
    ticks: float = 0.0
    _transit: int | None = None

    def observe(self, timestamp: int, arrival_ns: int) -> None:
        """Take the arrival of a packet (video: of the first packet of a frame)."""
        transit = (arrival_ns * self.rate_hz // 1_000_000_000 - timestamp) & 0xFFFFFFFF
        if self._transit is not None:
            step = (transit - self._transit + 0x80000000) & 0xFFFFFFFF
            self.ticks += (abs(step - 0x80000000) - self.ticks) / 16
        self._transit = transit
