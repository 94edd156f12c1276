"""Received pictures and sound: packed as they came, converted when somebody asks. And the fixed pool they lie in."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import UsageError
from dicomlab.model.summary import Summarised, Summary
from dicomlab.rtv import samples
from dicomlab.rtv.audio import AudioFormat, decode_samples
from dicomlab.rtv.clock import decode_ptp
from dicomlab.rtv.metadata import CURRENT_FRAME, RtvMeta
from dicomlab.rtv.video import VideoFormat

if TYPE_CHECKING:
    from pydicom import Dataset

MISSING_COLOUR = (255, 0, 255)
"""What ``to_rgb`` paints where nothing came: a colour that no endoscope sees."""


class Lease:
    """A buffer of the pool, given back when nobody holds it or an array made of it any more."""

    __slots__ = ("__weakref__", "_pool", "buffer")

    def __init__(self, buffer: NDArray[np.uint8], pool: Pool) -> None:
        self.buffer = buffer
        self._pool = pool

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What numpy needs to make arrays that keep the lease."""
        return self.buffer.__array_interface__

    def __del__(self) -> None:
        self._pool.free.append(self.buffer)


class Pool:
    """A fixed number of buffers; when all are out there is none to be had."""

    def __init__(self, count: int, octets: int) -> None:
        self.count, self.octets = count, octets
        self.free: deque[NDArray[np.uint8]] = deque(np.zeros(octets, np.uint8) for _ in range(count))
        for buffer in self.free:
            buffer[::4096] = 0  # touched once, so that no page is first met while packets come

    def take(self) -> Lease | None:
        """Lease a buffer, with whatever is in it; None where all are out."""
        try:
            return Lease(self.free.pop(), self)
        except IndexError:
            return None


@dataclass(frozen=True, slots=True)
class FrameMetadata:
    """What the metadata Grain with the timestamp of a frame says.

    ``static`` is the static part of the same SOP Instance, None while that has not come.
    """

    meta: RtvMeta
    dynamic: Dataset | None
    static: Dataset | None
    dynamic_octets: bytes = b""


@dataclass(frozen=True, repr=False, eq=False)
class Frame(Summarised):
    """One video frame, packed as it came, with the metadata of its own timestamp and no other.

    Attributes
    ----------
    video : VideoFormat
    timestamp : int
        RTP timestamp.
    packed : array of uint8
        The octets of ST 2110-20, field after field where it is interlaced. Missing octets are 0.
    gaps : tuple of (start, stop)
        Octets of ``packed`` that never came.
    metadata : FrameMetadata or None
        None: no Grain with this timestamp came.
    origin_ns : int or None
        When it was captured, TAI: the Frame Origin Timestamp, or that of the header extension.
    sync_ns : int or None
        When it was sent, TAI.
    received_ns : int
        When its last octet came, TAI by this machine's clock.
    """

    video: VideoFormat
    timestamp: int
    packed: NDArray[np.uint8]
    gaps: tuple[tuple[int, int], ...] = ()
    metadata: FrameMetadata | None = None
    sync_ns: int | None = None
    extension_origin_ns: int | None = None
    received_ns: int = 0
    source: UUID | None = None
    flow: UUID | None = None
    fictional: bool = False

    @property
    def complete(self) -> bool:
        """Whether every octet came."""
        return not self.gaps

    @property
    def origin_ns(self) -> int | None:
        """When it was captured, TAI."""
        item: Any = self.metadata.dynamic if self.metadata else None
        groups = item.get("TimeOfFrameGroupSequence") if item is not None else None
        return decode_ptp(groups[0].FrameOriginTimestamp) if groups else self.extension_origin_ns

    @property
    def latency_ms(self) -> float | None:
        """From capture to the last octet, by the clocks of both machines."""
        since = self.origin_ns
        return None if since is None else (self.received_ns - since) / 1e6

    @property
    def dataset(self) -> Dataset | None:
        """Static and dynamic part as one data set; None while the identity is not known."""
        if self.metadata is None or self.metadata.static is None:
            return None
        from pydicom.dataelem import DataElement
        from pydicom.sequence import Sequence

        whole = copy.deepcopy(self.metadata.static)  # what is known of the patient is not for this frame to change
        if self.metadata.dynamic is not None:
            whole.add(DataElement(CURRENT_FRAME, "SQ", Sequence([self.metadata.dynamic])))
        return whole

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Rows x columns: True where a pixel did not come whole."""
        octets, across, down = self.video.pgroup
        groups = np.zeros(self.video.frame_octets // octets, np.bool_)
        for start, stop in self.gaps:
            groups[start // octets : -(-stop // octets)] = True
        cells = groups.reshape(self.video.height // down, self.video.width // across)
        return samples.woven(cells, self.video).repeat(down, 0).repeat(across, 1)

    def to_rgb(self) -> NDArray[np.uint8]:
        """Rows x columns x 3, 8 bit, full range, by the colorimetry and range of the flow; gaps in magenta.

        Raises
        ------
        UsageError
            A colorimetry without a matrix, or floating-point samples.
        """
        rgb = samples.rgb_of(self.packed, self.video)
        if self.gaps:
            rgb[self.missing] = MISSING_COLOUR
        return rgb

    def to_yuv(self) -> samples.Planes:
        """Y, Cb, Cr at their own resolution, in stored values of the flow's depth."""
        return samples.yuv_of(self.packed, self.video)

    def to_stored_values(self) -> NDArray[Any]:
        """Rows x columns x samples in the flow's depth and colour; chroma repeated, no value changed."""
        return samples.full_resolution(samples.planes_of(self.packed, self.video), self.video)

    def copy(self) -> Frame:
        """A frame of its own, which holds no buffer of the stream's pool."""
        from dataclasses import replace

        return replace(self, packed=self.packed.copy())

    def _summary_(self) -> Summary:
        from dicomlab.model.options import options

        facts = [
            ("format", f"{self.video.width} x {self.video.height}, {self.video.sampling}, {self.video.depth} bit"),
            ("RTP timestamp", str(self.timestamp)),
        ]
        if self.latency_ms is not None:
            facts.append(("latency", f"{self.latency_ms:.1f} ms"))
        if self.metadata is not None and self.metadata.static is not None:
            name = str(self.metadata.static.get("PatientName", ""))
            facts.append(("PatientName", options.shown(name, fictional=self.fictional)))
        notes = []
        if self.gaps:
            notes.append(f"{sum(b - a for a, b in self.gaps)} octets never came: magenta in to_rgb()")
        if self.metadata is None:
            notes.append("metadata missing: no Grain with this timestamp came")
        elif self.metadata.static is None:
            notes.append("identity unknown: the static part has not come yet")
        return Summary("Frame", tuple(facts), notes=tuple(notes))


@dataclass(frozen=True, repr=False, eq=False)
class AudioBlock(Summarised):
    """One packet of audio, with where it stands in the stream.

    ``gap_samples`` says how many samples before it never came.
    """

    audio: AudioFormat
    timestamp: int
    octets: bytes = field(repr=False)
    gap_samples: int = 0
    metadata: FrameMetadata | None = None
    received_ns: int = 0

    @property
    def samples(self) -> NDArray[Any]:
        """Samples x channels: int16, or int32 for 24 bit."""
        return decode_samples(self.octets, self.audio)

    def __len__(self) -> int:
        return len(self.octets) // self.audio.sample_octets

    def _summary_(self) -> Summary:
        facts = (("format", f"{self.audio.channels} x {self.audio.bits} bit at {self.audio.rate_hz} Hz"),)
        return Summary(f"Audio of {len(self)} samples", (*facts, ("RTP timestamp", str(self.timestamp))))


def checked_video(video: VideoFormat, packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check that a packed frame has the size of its format.

    Raises
    ------
    UsageError
        It has not.
    """
    if packed.dtype != np.uint8 or packed.size != video.frame_octets:
        raise UsageError(f"{packed.size} octets of {packed.dtype}, but a frame has {video.frame_octets}")
    return packed.reshape(-1)
