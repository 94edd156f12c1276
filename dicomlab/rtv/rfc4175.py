"""The payload of uncompressed video: which octets of a frame each packet carries. No I/O.

Source
------
RFC 4175 §4 (payload header); SMPTE ST 2110-20 §6.1 (fields, rows, at most three row headers), §6.3 (GPM, BPM).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.rtv.rtp import HEADER_OCTETS, MAX_PACKET_OCTETS
from dicomlab.rtv.video import VideoFormat

MAX_ROWS = 3
"""Row headers in one packet that we send, as ST 2110-20 has it."""
MAX_ROWS_TAKEN = 8
"""Row headers in one packet that we take: RFC 4175 has no limit, and GStreamer sends four."""
BLOCK_OCTETS = 180
_SEQUENCE_OCTETS, _ROW_OCTETS = 2, 6
_ROW = Struct(">HHH")
_SECTION = "RFC 4175 §4.3"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of octets of one row; ``field`` is 1 in the second field."""

    field: int
    row: int
    offset: int
    """In pixels."""
    length: int
    """In octets."""


@dataclass(frozen=True, slots=True)
class PlannedPacket:
    """What one packet of each frame carries: octets ``start`` to ``start + length`` of the packed frame."""

    start: int
    length: int
    header: bytes
    """The row headers, without the extended sequence number before them."""
    field: int
    marker: bool


def encode_segments(segments: list[Segment]) -> bytes:
    """Encode row headers, without the extended sequence number before them.

    Source
    ------
    RFC 4175 §4.3.
    """
    last = len(segments) - 1
    return b"".join(
        _ROW.pack(one.length, one.field << 15 | one.row, (0x8000 if at < last else 0) | one.offset)
        for at, one in enumerate(segments)
    )


def decode_segments(payload: bytes | bytearray | memoryview) -> tuple[int, list[Segment], int]:
    """Decode the payload header: extended sequence number, segments, and where their octets begin.

    Raises
    ------
    RemoteProtocolError
        Cut, more than eight row headers, or more octets announced than there are.

    Source
    ------
    RFC 4175 §4.2, §4.3; ST 2110-20 §6.1.4.
    """
    size = len(payload)
    segments: list[Segment] = []
    at, more = _SEQUENCE_OCTETS, True
    while more:
        if len(segments) == MAX_ROWS_TAKEN:
            raise RemoteProtocolError(f"more than {MAX_ROWS_TAKEN} row headers", section=_SECTION, offset=at)
        if at + _ROW_OCTETS > size:
            raise RemoteProtocolError("a row header is cut", section=_SECTION, offset=at)
        length, row, offset = _ROW.unpack_from(payload, at)
        segments.append(Segment(row >> 15, row & 0x7FFF, offset & 0x7FFF, length))
        more = bool(offset & 0x8000)
        at += _ROW_OCTETS
    if at + sum(one.length for one in segments) > size:
        raise RemoteProtocolError("a segment is cut", section=_SECTION, offset=size)
    return int.from_bytes(payload[:_SEQUENCE_OCTETS], "big"), segments, at


def place_of(segment: Segment, video: VideoFormat) -> int:
    """Say where a segment begins in the packed frame, whose fields lie one after the other.

    Raises
    ------
    RemoteProtocolError
        Beyond its row or its field, or not on the border of a pixel group.

    Source
    ------
    RFC 4175 §4.3; ST 2110-20 §6.1.4.
    """
    octets, across, down = video.pgroup
    rows = (video.height + 1 - segment.field) // 2 if video.interlaced else video.height
    within = segment.offset // across * octets
    whole = segment.offset % across == 0 and segment.length % octets == 0 and segment.row % down == 0
    if not whole or segment.row >= rows or within + segment.length > video.row_octets:
        raise RemoteProtocolError(f"a segment beyond the picture or its pixel groups: {segment}", section=_SECTION)
    if segment.field and not video.interlaced:
        raise RemoteProtocolError("a second field in progressive video", section=_SECTION)
    return video.field_starts[segment.field] + segment.row // down * video.row_octets + within


def plan(
    video: VideoFormat, packet_octets: int = MAX_PACKET_OCTETS, *, frame_rows: bool = False
) -> list[PlannedPacket]:
    """Cut a frame into packets.

    In general packing mode (GPM) all packets are equal where rows can be cut so; else, and in block packing mode
    (BPM: 180 octets times 7, the last packet of a field shorter), rows run on in the next packet.

    Parameters
    ----------
    video : VideoFormat
    packet_octets : int
        Most octets of an RTP packet.
    frame_rows : bool
        Number the rows of a field by their place in the frame, as GStreamer does.

    Raises
    ------
    UsageError
        Packets too small for a pixel group, or a field that does not consist of whole blocks' pixel groups.

    Source
    ------
    SMPTE ST 2110-20 §6.3.2 (GPM), §6.3.3 (BPM).
    """
    room = packet_octets - HEADER_OCTETS - _SEQUENCE_OCTETS - _ROW_OCTETS
    group = video.pgroup[0]
    if video.packing == "2110BPM":
        most = (
            (packet_octets - HEADER_OCTETS - _SEQUENCE_OCTETS - MAX_ROWS * _ROW_OCTETS) // BLOCK_OCTETS * BLOCK_OCTETS
        )
        if BLOCK_OCTETS % group:
            raise UsageError(f"blocks of 180 octets hold no whole pixel groups of {group} (ST 2110-20 §6.3.3)")
        three_rows = (2 * video.row_octets + group) // BLOCK_OCTETS * BLOCK_OCTETS
        most = min(most, 7 * BLOCK_OCTETS, max(three_rows, BLOCK_OCTETS))
    else:
        parts = next((n for n in range(1, 256) if _divides(video.row_octets, n, group, room)), 0)
        most = video.row_octets // parts if parts else (room - (MAX_ROWS - 1) * _ROW_OCTETS) // group * group
    if most < group:
        raise UsageError(f"packets of {packet_octets} octets hold no pixel group of {video.sampling}")
    ends = [*video.field_starts[1:], video.frame_octets]
    return [packet for field, end in enumerate(ends) for packet in _field(video, field, end, most, frame_rows)]


def _divides(row_octets: int, parts: int, group: int, room: int) -> bool:
    return row_octets % parts == 0 and row_octets // parts % group == 0 and row_octets // parts <= room


def _field(video: VideoFormat, field: int, end: int, most: int, frame_rows: bool) -> Iterator[PlannedPacket]:
    octets, across, down = video.pgroup
    at = start = video.field_starts[field]
    while at < end:
        length = min(most, end - at)
        segments: list[Segment] = []
        here = at
        while here < at + length:
            row, within = divmod(here - start, video.row_octets)
            if len(segments) == MAX_ROWS:  # rows so short that more would be needed: the rest is for the next packet
                length = here - at
                break
            run = min(at + length - here, video.row_octets - within)
            number = row * down if not frame_rows or not video.interlaced else 2 * row + field
            segments.append(Segment(field, number, within // octets * across, run))
            here += run
        yield PlannedPacket(at, length, encode_segments(segments), field, at + length >= end)
        at += length
