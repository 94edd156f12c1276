"""Headers of many video packets at once, read as columns. No I/O.

Source
------
RFC 3550 §5.1, §5.3.1; RFC 4175 §4.2, §4.3; SMPTE ST 2110-20 §6.1.4.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError
from dicomlab.rtv.extension import GrainItems, decode_items
from dicomlab.rtv.rfc4175 import MAX_ROWS_TAKEN
from dicomlab.rtv.rtp import decode_rtp
from dicomlab.rtv.video import VideoFormat

HEAD_OCTETS = 20
"""RTP header, extended sequence number and one row header."""
_WIDEST = 14 + 6 * MAX_ROWS_TAKEN
Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Datagrams(Protocol):
    """Datagrams that came together: one row each, ``stride`` apart."""

    @property
    def octets(self) -> NDArray[np.uint8]:
        """All of them."""

    @property
    def stride(self) -> int:
        """From the start of one to that of the next."""

    @property
    def count(self) -> int:
        """How many."""

    @property
    def uniform(self) -> bool:
        """Whether all fill their stride but the last, which ends where ``octets`` end."""

    def sizes(self) -> NDArray[np.int64]:
        """Octets of each."""

    def datagram(self, row: int) -> memoryview:
        """One."""


def stamp_heads(heads: NDArray[np.uint8], sequence32: int, timestamp: int, ssrc: int | None = None) -> None:
    """Number the headers of packets that follow one another, in place: one row each, of RTP and payload header.

    Parameters
    ----------
    sequence32 : int
        The extended sequence number of the first.
    timestamp : int
        Of all of them.
    ssrc : int, optional
        None leaves what is there.

    Source
    ------
    RFC 3550 §5.1; RFC 4175 §4.2.
    """
    width = heads.shape[1]
    kinds = {"names": ["sequence", "timestamp", "ssrc", "extended"], "formats": [">u2", ">u4", ">u4", ">u2"]}
    columns = heads.view(np.dtype({**kinds, "offsets": [2, 4, 8, 12], "itemsize": width}))[:, 0]  # type: ignore[call-overload]
    numbers = np.arange(sequence32, sequence32 + len(heads), dtype=np.int64)
    columns["sequence"] = numbers & 0xFFFF
    columns["extended"] = numbers >> 16 & 0xFFFF
    columns["timestamp"] = timestamp
    if ssrc is not None:
        columns["ssrc"] = ssrc


class Columns:
    """The headers of a batch.

    Attributes
    ----------
    usable : array of bool
        Which are RTP packets with a payload header.
    plain : array of bool
        Of these, which have no extension, sources or padding; after :meth:`locate`, and one row header alone.
    places, runs : arrays of 8 columns
        Where each segment goes in the packed frame (-1: there is none), and its octets.
    data : array
        Where the octets of the first segment begin in the datagram.
    items : dict of int to GrainItems
        What header extensions say, by row.
    """

    def __init__(self, batch: Datagrams, extension_ids: dict[str, int] | None) -> None:
        count, stride, flat = batch.count, batch.stride, batch.octets
        self.lengths: Longs = batch.sizes()
        self.heads = np.zeros((count, _WIDEST), np.uint8)
        width = min(_WIDEST, stride)
        full = count if len(flat) >= (count - 1) * stride + width else count - 1
        if full:
            self.heads[:full, :width] = np.lib.stride_tricks.as_strided(flat, (full, width), (stride, 1))
        if full < count:
            rest = flat[full * stride :]
            self.heads[full, : len(rest)] = rest
        self.begin: Longs = np.full(count, 12, np.int64)
        self.plain: Flags = (self.heads[:, 0] == 0x80) & (self.lengths >= HEAD_OCTETS)
        self.items: dict[int, GrainItems] = {}
        for row in np.flatnonzero(~self.plain).tolist():
            self._normalise(batch.datagram(row), row, extension_ids)
        self.usable: Flags = self.lengths > 0
        self.words: Longs = self.heads.view(">u2").astype(np.int64)
        self.places = self.runs = np.zeros((count, MAX_ROWS_TAKEN), np.int64)
        self.data = self.begin

    def _normalise(self, datagram: memoryview, row: int, extension_ids: dict[str, int] | None) -> None:
        """Make a packet with extension, sources or padding look like one without; length 0: it is none."""
        try:
            packet = decode_rtp(datagram)
        except RemoteProtocolError:
            self.lengths[row] = 0
            return
        if packet.extension is not None:
            with suppress(RemoteProtocolError):  # what an extension says is extra: its packet is whole without it
                self.items[row] = decode_items(packet.extension, extension_ids)
        payload = packet.payload
        if len(payload) < HEAD_OCTETS - 12:
            self.lengths[row] = 0
            return
        head = bytes(payload[: _WIDEST - 12])
        self.heads[row, 0] = 0x80
        self.heads[row, 12:] = 0
        self.heads[row, 12 : 12 + len(head)] = np.frombuffer(head, np.uint8)
        padding = datagram[-1] if datagram[0] & 0x20 else 0
        self.begin[row] = len(datagram) - padding - len(payload)
        self.lengths[row] = len(datagram) - padding

    @property
    def payload_types(self) -> Longs:
        """Of each packet."""
        return self.words[:, 0] & 0x7F

    @property
    def sequences(self) -> Longs:
        """16 bits of each packet."""
        return self.words[:, 1]

    @property
    def timestamps(self) -> Longs:
        """32 bits of each packet."""
        return self.words[:, 2] << 16 | self.words[:, 3]

    @property
    def ssrcs(self) -> Longs:
        """Of each packet."""
        return self.words[:, 4] << 16 | self.words[:, 5]

    @property
    def extended(self) -> Longs:
        """The high 16 bits of each sequence number, where the sender keeps them."""
        return self.words[:, 6]

    @property
    def fields(self) -> Longs:
        """0, or 1 for the second field."""
        return self.words[:, 8] >> 15

    def numbers_frame_rows(self, video: VideoFormat) -> bool:
        """Whether interlaced rows are surely numbered by their place in the frame, as GStreamer does."""
        rows = self.words[:, 8] & 0x7FFF
        return bool(((rows & 1) == self.fields).all()) and bool((rows >= (video.height + 1) // 2).any())

    def locate(self, video: VideoFormat, *, frame_rows: bool) -> Flags:
        """Find where the segments of each packet go; gives which packets can be, whole."""
        octets, across, down = video.pgroup
        count = len(self.words)
        self.places = np.full((count, MAX_ROWS_TAKEN), -1, np.int64)
        self.runs = np.zeros((count, MAX_ROWS_TAKEN), np.int64)
        good: Flags = np.ones(count, np.bool_)
        more: Flags = np.ones(count, np.bool_)
        heads = np.zeros(count, np.int64)
        rows = (video.height + 1) // 2 if video.interlaced else video.height
        for number in range(MAX_ROWS_TAKEN):
            length, row, offset = (self.words[:, column + 3 * number] for column in (7, 8, 9))
            second, row, last, offset = row >> 15, row & 0x7FFF, offset >> 15 == 0, offset & 0x7FFF
            row = row >> 1 if frame_rows else row
            within = offset // across * octets
            can_be = (offset % across == 0) & (length % octets == 0) & (row % down == 0)
            can_be &= within + length <= video.row_octets
            start = row // down * video.row_octets + within
            if video.interlaced:
                can_be &= row < rows - second * (video.height % 2)
                start = start + second * video.field_starts[1]
            else:
                can_be &= (row < rows) & (second == 0)
            good &= can_be | ~more
            self.places[more, number], self.runs[more, number] = start[more], length[more]
            heads += more
            more = more & ~last
            if not more.any():
                break
        self.data = self.begin + 2 + 6 * heads
        end = self.data + self.runs.sum(axis=1)
        self.plain &= (heads == 1) & (end == self.lengths)
        can_be_whole: Flags = good & ~more & (end <= self.lengths)
        return can_be_whole

    def pieces(self, rows: Longs, stride: int) -> tuple[Longs, Longs, Longs]:
        """Give the runs of octets of some packets: where they are in the batch, where they go, how long they are.

        The segments of a packet usually follow one another in the frame, and are one run then.
        """
        places, runs = self.places[rows], self.runs[rows]
        starts = rows * stride + self.data[rows]
        ends = places + runs
        there = places[:, 1:] >= 0
        if bool(((places[:, 1:] == ends[:, :-1]) | ~there).all()):
            return starts, places[:, 0], runs.sum(axis=1)
        before = np.cumsum(runs, axis=1) - runs
        some = places >= 0
        return (starts[:, None] + before)[some], places[some], runs[some]
