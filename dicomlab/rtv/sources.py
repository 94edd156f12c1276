"""Where a sender's pictures come from: arrays, generators, files, cameras, stored DICOM instances."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model.report import FRAMES_SUFFIX
from dicomlab.rtv import samples
from dicomlab.rtv.clock import decode_ptp
from dicomlab.rtv.video import VideoFormat

MAX_KEPT_OCTETS = 512 << 20
"""Of packed frames that are sent again and again."""
_VIDEO_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109))
Pictured = tuple[NDArray[np.uint8], int | None]
"""A packed frame, and when it was captured (TAI) where it was not now."""


@dataclass(slots=True)
class VideoSource:
    """Frames of one format, packed as they travel."""

    video: VideoFormat
    frames: Iterator[Pictured]
    endless: bool


def video_source(what: Any, wanted: VideoFormat | None, rate_hz: Fraction | None, *, loop: bool) -> VideoSource:
    """Make a source of whatever somebody has.

    Parameters
    ----------
    what : array, iterable of arrays, path of a video file or DICOM instance, or ``"/dev/video0"``
        Arrays are RGB (rows x columns x 3, or frames x rows x columns x 3, uint8), or packed frames (1-D uint8) when
        `wanted` says what they are.
    wanted : VideoFormat, optional
        The format on the wire; the default is YCbCr-4:2:2 of 10 bit in the size of the first frame.
    rate_hz : Fraction, optional
        Overrides what a file says.
    loop : bool
        Begin again at the end; for arrays and files.

    Raises
    ------
    UsageError
        No pictures in it, or of another size than `wanted`.
    MissingExtra, Unreachable, RemoteProtocolError
        A file or camera that can't be read.
    """
    if isinstance(what, str | Path):
        return _of_path(what, wanted, rate_hz, loop=loop)
    if isinstance(what, np.ndarray):
        what = list(what) if what.ndim in (2, 4) else [what]
    if isinstance(what, list | tuple):
        video = _format_of(what[0] if what else None, wanted, rate_hz)
        if len(what) * video.frame_octets <= MAX_KEPT_OCTETS:
            kept = [(_packed(one, video), None) for one in what]
            return VideoSource(video, itertools.cycle(kept) if loop else iter(kept), loop)
        chosen = itertools.cycle(what) if loop else iter(what)
        return VideoSource(video, ((_packed(one, video), None) for one in chosen), loop)
    if not isinstance(what, Iterable):
        raise UsageError(f"no pictures in a {type(what).__name__}: give arrays, a generator, a file or a camera")
    pictures = iter(what)
    first = next(pictures, None)
    video = _format_of(first, wanted, rate_hz)
    every = itertools.chain([first], pictures)
    return VideoSource(video, ((_packed(one, video), None) for one in every), False)


def _format_of(picture: Any, wanted: VideoFormat | None, rate_hz: Fraction | None) -> VideoFormat:
    if picture is None:
        raise UsageError("no pictures to send")
    if wanted is not None:
        return replace(wanted, rate_hz=rate_hz) if rate_hz is not None else wanted
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise UsageError("packed frames need format=VideoFormat(...); pictures are rows x columns x 3")
    return VideoFormat(picture.shape[1], picture.shape[0], rate_hz or Fraction(60))


def _packed(picture: Any, video: VideoFormat) -> NDArray[np.uint8]:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        raise UsageError("a picture is an array of uint8")
    if picture.ndim == 1:
        if picture.size != video.frame_octets:
            raise UsageError(f"a packed frame of {picture.size} octets, but the format has {video.frame_octets}")
        return np.ascontiguousarray(picture)
    if picture.shape != (video.height, video.width, 3):
        raise UsageError(f"a picture of shape {picture.shape}, but the format is {video.width} x {video.height}")
    return packed_rgb(picture, video)


def packed_rgb(rgb: NDArray[np.uint8], video: VideoFormat) -> NDArray[np.uint8]:
    """Pack an RGB picture of 8 bit, full range, in any format that has a matrix."""
    if video.sampling in ("RGB", "BGR"):
        step = 1 << (video.depth - 8)
        peak = (1 << video.depth) - 1
        low, span = (16 * step, 219 * step) if video.range == "NARROW" else (0, peak)
        if video.depth == 8 and not low:
            planes = [rgb[..., at] for at in range(3)]
        else:
            wide = np.rint(rgb.astype(np.float32) * np.float32(span / 255) + np.float32(low))
            wide = wide.astype(np.uint8 if video.depth == 8 else np.uint16)
            planes = [wide[..., at] for at in range(3)]
        return samples.packed_planes(planes, video)
    return samples.packed_planes(samples.yuv_planes(rgb, video, full=True), video)


# ------------------------------------------------------------------------------------------------------------- files


def _of_path(what: str | Path, wanted: VideoFormat | None, rate_hz: Fraction | None, *, loop: bool) -> VideoSource:
    from dicomlab.rtv.encode import open_video

    path = Path(what)
    if not path.exists():
        raise UsageError(f"there is no file or camera {str(path)[:200]!r}")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(132)[128:] == b"DICM":
                return _of_instance(path, wanted, rate_hz, loop=loop)
    camera = str(path).startswith("/dev/")
    width, height, rate, frames = open_video(path, camera=camera)
    video = wanted or VideoFormat(width, height, rate)
    video = replace(video, rate_hz=rate_hz) if rate_hz is not None else video
    if (video.width, video.height) != (width, height):
        raise UsageError(f"{path.name} has {width} x {height} pixels, the format {video.width} x {video.height}")

    def every() -> Iterator[Pictured]:
        yield from ((packed_rgb(rgb, video), None) for rgb in frames)
        while loop and not camera:
            again = open_video(path)[3]
            yield from ((packed_rgb(rgb, video), None) for rgb in again)

    return VideoSource(video, every(), loop or camera)


def _of_instance(path: Path, wanted: VideoFormat | None, rate_hz: Fraction | None, *, loop: bool) -> VideoSource:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        ds: Any = dcmread(path)
        rows, columns = int(ds.Rows), int(ds.Columns)
        frame_time_ms = float(ds.get("FrameTime") or 40.0)
    except (InvalidDicomError, AttributeError, ValueError, TypeError, OSError) as error:
        raise RemoteProtocolError(f"{path.name} holds no pictures: {error}", section="PS3.3 §C.7.6.3") from error
    rate = rate_hz or Fraction(round(100_000 / frame_time_ms), 100)
    video = replace(wanted, rate_hz=rate) if wanted is not None else VideoFormat(columns, rows, rate)
    if (video.width, video.height) != (columns, rows):
        raise UsageError(f"{path.name} has {columns} x {rows} pixels, the format {video.width} x {video.height}")
    origins = stored_origins(path, ds)

    def once() -> Iterator[Pictured]:
        for at, rgb in enumerate(_stored_pictures(ds)):
            yield packed_rgb(rgb, video), origins[at] if at < len(origins) else None

    def every() -> Iterator[Pictured]:
        yield from once()
        while loop:
            yield from once()

    return VideoSource(video, every(), loop)


def _stored_pictures(ds: Any) -> Iterator[NDArray[np.uint8]]:
    from pydicom.encaps import get_frame
    from pydicom.pixels.utils import iter_pixels

    from dicomlab.rtv.encode import decode_stream

    if ds.file_meta.TransferSyntaxUID in _VIDEO_SYNTAXES:
        yield from decode_stream(get_frame(ds.PixelData, 0, number_of_frames=1))
        return
    try:
        for frame in iter_pixels(ds):
            shown = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
            if shown.dtype != np.uint8:
                shown = (shown >> max(0, int(ds.BitsStored) - 8)).astype(np.uint8)
            yield shown
    except (AttributeError, ValueError, RuntimeError, NotImplementedError, TypeError) as error:
        raise RemoteProtocolError(f"pictures that can't be decoded: {error}", section="PS3.5 §8") from error


def stored_origins(path: Path, ds: Any) -> list[int]:
    """When each frame of a stored instance was captured, TAI: from its functional groups, or the table beside it."""
    origins = []
    for item in ds.get("PerFrameFunctionalGroupsSequence") or []:
        groups = item.get("TimeOfFrameGroupSequence")
        octets = groups[0].get("FrameOriginTimestamp") if groups else None
        if not isinstance(octets, bytes) or len(octets) != 10:
            return []
        origins.append(decode_ptp(octets))
    if origins:
        return origins
    table = path.with_suffix(FRAMES_SUFFIX)
    if not table.is_file():
        return []
    import pandas as pd

    try:
        frame = pd.read_parquet(table, columns=["SOPInstanceUID", "origin_tai_ns"])
    except (OSError, ValueError, KeyError) as error:
        raise RemoteProtocolError(
            f"{table.name} is no table of frames: {error}", section="dicomlab recording"
        ) from error
    own = frame[frame["SOPInstanceUID"] == str(ds.SOPInstanceUID)]["origin_tai_ns"]
    return [] if own.isna().any() else [int(value) for value in own]
