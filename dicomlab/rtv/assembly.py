"""Video packets in, frames out: headers are read as columns, payloads land in their places. No I/O.

A sender cuts each frame in the same way. Once a whole frame has come packet by packet, its plan is known; a batch of
equal datagrams that follows the plan then costs one comparison of headers and one strided copy, whatever its number.

Source
------
RFC 4175 §4; SMPTE ST 2110-20 §6.1; RFC 3550 §5.1.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dicomlab.rtv.columns import HEAD_OCTETS, Columns, Datagrams, Flags, Longs, stamp_heads
from dicomlab.rtv.extension import GrainItems
from dicomlab.rtv.rtp import Jitter, SequenceTracker
from dicomlab.rtv.video import VideoFormat

MAX_OPEN = 6
WINDOW_PACKETS = 64
WINDOW_NS = 20_000_000
ALONE_NS = 250_000_000
MAX_WRAPS = 256
"""Of the 16-bit sequence number, unseen, that are believed: a quarter of an hour of nothing at 4K60 is none."""

MANY_SPANS = 1024
"""Of octets of one frame, before those that touch are joined: a sender that repeats itself takes no memory."""
MAX_LEARNT = 65_536
"""Packets of one frame from which a plan is learnt."""

Spans = list[list[int]]


class Buffer(Protocol):
    """Where the octets of a frame are put."""

    buffer: NDArray[np.uint8]


class Buffers(Protocol):
    """Gives one, or None where all are out."""

    def take(self) -> Buffer | None:
        """Lease a buffer."""


@dataclass(slots=True)
class Assembled:
    """A frame that nothing more is waited for; ``gaps`` are octets that never came, set to 0."""

    timestamp: int
    lease: Buffer
    gaps: tuple[tuple[int, int], ...]
    items: GrainItems
    arrived_ns: int
    """When its last octet came."""


@dataclass(slots=True)
class _Open:
    timestamp: int
    lease: Buffer
    room: memoryview
    arrived_ns: int
    second: int | None = None
    spans: Spans = field(default_factory=list)
    most_spans: int = MANY_SPANS
    covered: int = 0
    base: int | None = None
    """The unwrapped number of the packet that the plan begins with."""
    expected: bytes = b""
    heads: list[_Heads] | None = field(default_factory=list)
    """Of its packets, as long as they come in order and one by one: the next plan."""
    learnt: int = 0
    overtaken: int = 0
    items: GrainItems = field(default_factory=GrainItems)
    whole: bool = False

    def put(self, start: int, stop: int) -> None:
        if self.spans and self.spans[-1][1] == start:
            self.spans[-1][1] = stop
        elif stop > start:
            self.spans.append([start, stop])
        self.covered += stop - start
        if len(self.spans) > self.most_spans:
            self.join()

    def join(self) -> None:
        """Join spans that touch or overlap, and count again what they cover."""
        joined: Spans = []
        for start, stop in sorted(self.spans):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], stop)
            else:
                joined.append([start, stop])
        self.spans, self.covered = joined, sum(stop - start for start, stop in joined)
        self.most_spans = max(MANY_SPANS, 2 * len(joined))


@dataclass(slots=True)
class _Heads:
    numbers: Longs
    heads: NDArray[np.uint8]
    plain: Flags
    """One row header, no extension, and all octets of the datagram used."""
    places: Longs
    lengths: Longs


@dataclass(frozen=True, slots=True)
class _Plan:
    heads: NDArray[np.uint8]
    start: int
    length: int
    last: int

    @property
    def stride(self) -> int:
        return self.length + HEAD_OCTETS

    def expected(self, index: int, sequence32: int, timestamp: bytes) -> bytes:
        """The headers of a frame whose packet `index` has that extended sequence number."""
        heads = self.heads.copy()
        stamp_heads(heads, sequence32 - index, int.from_bytes(timestamp, "big"))
        return heads.tobytes()


class FrameAssembler:
    """Assembles the frames of one flow, from one path or several. Frames come out in order.

    Parameters
    ----------
    pool : Buffers
        Where frames are put; while none is free, packets of new frames are counted and dropped.
    paths : int
        With more than one, a missing packet is waited for by time alone: the other path may bring it.
    """

    def __init__(
        self,
        video: VideoFormat,
        payload_type: int,
        pool: Buffers,
        extension_ids: dict[str, int] | None = None,
        *,
        paths: int = 1,
    ) -> None:
        self.video, self.payload_type, self.extension_ids = video, payload_type, extension_ids
        self.tracker = SequenceTracker()
        self.jitter = Jitter(90_000)
        self.ready: deque[Assembled] = deque()
        self.malformed = self.foreign = self.late = self.without_buffer = self.octets = 0
        self.whole = self.damaged = self.planned = 0
        self.ssrc = -1
        self._stray = (-1, -1)
        self._pool, self._paths = pool, paths
        self._open: list[_Open] = []
        self._done: deque[int] = deque(maxlen=32)
        self._plan: _Plan | None = None
        self._newest: bytes = b""
        self._es = -1
        self._es_moves = False
        self.frame_rows = False
        """Whether interlaced rows are numbered by their place in the frame, as GStreamer does."""

    # --- the plan ------------------------------------------------------------------------------------------------

    def feed(self, batch: Datagrams, arrival_ns: int) -> None:
        """Take datagrams that came together; frames that are finished go to ``ready``."""
        plan = self._plan
        follows = plan is not None and batch.uniform and batch.stride == plan.stride
        if not follows or plan is None or not self._follows(batch, plan, arrival_ns):
            self._by_columns(batch, arrival_ns)

    def _follows(self, batch: Datagrams, plan: _Plan, arrival_ns: int) -> bool:
        """Take the batch if it is what the plan foretells; else touch nothing."""
        octets, count, stride = batch.octets, batch.count, batch.stride
        first = octets[:HEAD_OCTETS].tobytes()
        sequence = first[2] << 8 | first[3]
        ahead = (sequence - self.tracker.highest - 1) & 0xFFFF
        if ahead > 0x4000 or self.tracker.highest < 0 or len(octets) < HEAD_OCTETS:
            return False
        number = self.tracker.highest + 1 + ahead
        stamp = first[4:8]
        one = self._open[-1] if self._open and stamp == self._newest else None
        index = 0
        if one is not None:
            if one.base is None or one.whole:
                return False
            index = number - one.base
        if index < 0 or index + count > len(plan.heads):
            return False
        sequence32 = first[12] << 24 | first[13] << 16 | sequence
        expected = one.expected if one is not None else b""
        expected = expected or plan.expected(index, sequence32, stamp)
        tail = len(octets) - (count - 1) * stride - HEAD_OCTETS
        if tail != (plan.last if index + count == len(plan.heads) else plan.length):
            return False
        full = count if tail == plan.length else count - 1
        rows = octets[: full * stride].reshape(full, stride)
        heads = rows[:, :HEAD_OCTETS].tobytes()
        if full < count:
            heads += octets[full * stride : full * stride + HEAD_OCTETS].tobytes()
        if heads != expected[index * HEAD_OCTETS : (index + count) * HEAD_OCTETS]:
            return False
        if one is None:
            one = self._begin(int.from_bytes(stamp, "big"), count, arrival_ns)
            if one is None:
                self.tracker.observe(sequence, count)
                return True
            one.base, one.heads = number, None
            self._newest = stamp
        one.expected = expected
        self.tracker.observe(sequence, count)
        self._es = (sequence32 + count - 1) >> 16 & 0xFFFF
        start = plan.start + index * plan.length
        length, buffer = plan.length, one.lease.buffer
        if full:
            buffer[start : start + full * length].reshape(full, length)[:] = rows[:, HEAD_OCTETS:]
        if full < count:
            buffer[start + full * length : start + full * length + tail] = octets[full * stride + HEAD_OCTETS :]
        one.put(start, start + (count - 1) * length + tail)
        one.heads = None
        self.planned += count
        self.octets += len(octets)
        self._after(one, count, arrival_ns)
        return True

    # --- by columns ----------------------------------------------------------------------------------------------

    def _by_columns(self, batch: Datagrams, arrival_ns: int) -> None:
        columns = Columns(batch, self.extension_ids)
        ours = self._ours(columns)
        self.malformed += int(batch.count - columns.usable.sum())
        if not ours.any():
            return
        self.octets += int(columns.lengths[ours].sum())
        if self.video.interlaced and not self.frame_rows:
            self.frame_rows = columns.numbers_frame_rows(self.video)
        good = columns.locate(self.video, frame_rows=self.frame_rows)
        self.malformed += int((ours & ~good).sum())
        rows = np.flatnonzero(ours)
        for run in np.split(rows, np.flatnonzero((np.diff(columns.sequences[rows]) & 0xFFFF) != 1) + 1):
            wraps = self._wraps(int(columns.sequences[run[0]]), int(columns.extended[run[0]]))
            first, fresh = self.tracker.observe(int(columns.sequences[run[0]]), len(run), wraps)
            if first + len(run) - 1 == self.tracker.highest:
                self._es = int(columns.extended[run[-1]])
            if first < 0:
                continue
            keep = good[run] if fresh is None else good[run] & fresh
            taken, numbers = run[keep], (first + np.arange(len(run)))[keep]
            if len(taken):
                cuts = np.flatnonzero(np.diff(columns.timestamps[taken]) | np.diff(columns.fields[taken])) + 1
                for part, of in zip(np.split(taken, cuts), np.split(numbers, cuts), strict=True):
                    self._put(batch, columns, part, of, arrival_ns)

    def _ours(self, columns: Columns) -> Flags:
        """Which packets are of this flow; a new SSRC counts from its second packet in order."""
        ssrcs = columns.ssrcs
        typed: Flags = columns.usable & (columns.payload_types == self.payload_type)
        for row in np.flatnonzero(typed & (ssrcs != self.ssrc)).tolist():
            ssrc, sequence = int(ssrcs[row]), int(columns.sequences[row])
            if self.ssrc < 0 or self._stray == (ssrc, sequence):
                if self.ssrc >= 0:
                    self._restart()
                self.ssrc = ssrc
                break
            self._stray = (ssrc, (sequence + 1) & 0xFFFF)
        mine: Flags = typed & (ssrcs == self.ssrc)
        self.foreign += int((columns.usable & ~mine).sum())
        return mine

    def _restart(self) -> None:
        self.tracker.restart()
        self.finish()
        self._plan, self._newest, self.frame_rows, self._es = None, b"", False, -1
        self._es_moves = False
        self._done.clear()

    def _wraps(self, sequence: int, extended: int) -> int | None:
        """How often the sequence number wrapped unseen, by the extended one where that is known to move."""
        if self._es < 0 or extended == self._es:
            return None
        steps = (extended - self._es) & 0xFFFF
        if not self._es_moves:
            self._es_moves = steps == 1
            return None
        steps -= sequence <= self.tracker.highest & 0xFFFF
        return steps if 0 < steps < MAX_WRAPS else None

    def _put(self, batch: Datagrams, columns: Columns, rows: Longs, numbers: Longs, arrival_ns: int) -> None:
        """Put packets of one frame and field into their places."""
        timestamp = int(columns.timestamps[rows[0]])
        one = self._frame_of(timestamp, int(columns.fields[rows[0]]), len(rows), arrival_ns)
        if one is None:
            return
        room, octets = one.room, batch.octets.data
        starts, places, lengths = columns.pieces(rows, batch.stride)
        for here, place, length in zip(starts.tolist(), places.tolist(), lengths.tolist(), strict=True):
            room[place : place + length] = octets[here : here + length]
        ends = places + lengths
        first = 0
        for last in (np.flatnonzero(places[1:] != ends[:-1]) + 1).tolist():
            one.put(int(places[first]), int(ends[last - 1]))
            first = last
        one.put(int(places[first]), int(ends[-1]))
        for row in columns.items.keys() & set(rows.tolist()) if columns.items else ():
            if columns.items[row].starts or columns.items[row].flow:
                one.items = columns.items[row]
        plan, end = self._plan, rows[-1]
        if plan is not None and one.base is None and columns.places[end, 1] < 0:
            index, off = divmod(int(columns.places[end, 0]) - plan.start, plan.length)
            one.base = int(numbers[-1]) - index if not off else None
        if one.heads is not None and not self.video.interlaced:
            heads = columns.heads[rows, :HEAD_OCTETS]
            one.heads.append(
                _Heads(numbers, heads, columns.plain[rows], columns.places[rows, 0], columns.runs[rows, 0])
            )
            one.learnt += len(rows)
            if one.learnt > MAX_LEARNT:
                one.heads = None
        if one is self._open[-1]:
            self._newest = timestamp.to_bytes(4, "big")
        self._after(one, len(rows), arrival_ns)

    # --- frames --------------------------------------------------------------------------------------------------

    def _frame_of(self, timestamp: int, second: int, count: int, arrival_ns: int) -> _Open | None:
        video = self.video
        apart = video.interlaced and not video.segmented
        if apart and second:
            ticks = int(90_000 / video.rate_hz) + 1
            for one in self._open:
                since = (timestamp - one.timestamp) & 0xFFFFFFFF
                if one.second == timestamp or (one.second is None and 0 < since < ticks):
                    one.second = timestamp
                    return one
        else:
            for one in self._open:
                if one.timestamp == timestamp:
                    return one
        if timestamp in self._done:
            self.late += count
            return None
        one_more = self._begin(timestamp, count, arrival_ns)
        if one_more is not None and apart and second:
            one_more.second = timestamp
        return one_more

    def _begin(self, timestamp: int, count: int, arrival_ns: int) -> _Open | None:
        self.jitter.observe(timestamp, arrival_ns)
        if len(self._open) >= MAX_OPEN:
            self._close(self._open[0])
            self._flush()
        lease = self._pool.take()
        if lease is None:
            self.without_buffer += count
            return None
        one = _Open(timestamp, lease, lease.buffer.data, arrival_ns)
        self._open.append(one)
        return one

    def _after(self, one: _Open, count: int, arrival_ns: int) -> None:
        """Look whether a frame is whole now that something was put into it, and how long older ones wait."""
        one.arrived_ns = arrival_ns
        if one.covered >= self.video.frame_octets and not one.whole:
            one.join()
            one.whole = one.covered >= self.video.frame_octets
        if self._open[0] is not one or one.whole:
            for other in self._open:
                if other is one:
                    break
                other.overtaken += count
                if self._paths == 1 and other.overtaken >= WINDOW_PACKETS:
                    other.whole = True  # nothing more is waited for
            self._flush()

    def expire(self, now_ns: int) -> None:
        """Give up on frames to which nothing was added for 20 ms; for 250 ms, where no later one has begun.

        Where the clock was set back meanwhile nobody knows how long it was: long enough.
        """
        for one in self._open:
            if not 0 <= now_ns - one.arrived_ns <= (ALONE_NS if one is self._open[-1] else WINDOW_NS):
                one.whole = True
        self._flush()

    def finish(self) -> None:
        """The stream has ended: what is there is all there is."""
        for one in self._open:
            one.whole = True
        self._flush()

    def _flush(self) -> None:
        while self._open and self._open[0].whole:
            self._close(self._open[0])

    def _close(self, one: _Open) -> None:
        self._open.remove(one)
        self._done.append(one.timestamp)
        if one.second is not None:
            self._done.append(one.second)
        one.join()
        gaps = tuple(_gaps(one.spans, self.video.frame_octets))
        for start, stop in gaps:
            one.lease.buffer[start:stop] = 0
        if gaps:
            self.damaged += 1
        else:
            self.whole += 1
            if one.heads:
                self._plan = _learnt(one.heads) or self._plan
        one.room.release()
        self.ready.append(Assembled(one.timestamp, one.lease, gaps, one.items, one.arrived_ns))


def _gaps(spans: Spans, size: int) -> list[tuple[int, int]]:
    """What no span covers, of spans that are joined."""
    ends = [0, *(end for span in spans for end in span), size]
    return [(start, stop) for start, stop in zip(ends[::2], ends[1::2], strict=True) if start < stop]


def _learnt(parts: list[_Heads]) -> _Plan | None:
    """The plan of a frame whose packets came one by one and in order; None where it is none."""
    numbers = np.concatenate([part.numbers for part in parts])
    heads = np.concatenate([part.heads for part in parts])
    plain = np.concatenate([part.plain for part in parts])
    places = np.concatenate([part.places for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    from_ = 0 if plain[0] else 1  # the first packet of a frame may have a header extension
    count = len(numbers) - from_
    if count < 8 or not bool(plain[from_:].all()) or not bool((np.diff(numbers) == 1).all()):
        return None
    even = lengths[from_:-1]
    if bool((even != even[0]).any()) or lengths[-1] > even[0] or bool((np.diff(places) != lengths[:-1]).any()):
        return None
    return _Plan(heads[from_:].copy(), int(places[from_]), int(even[0]), int(lengths[-1]))
