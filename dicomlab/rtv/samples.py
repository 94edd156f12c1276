"""Packed video and its samples: unpack, pack, planes, colour. No I/O.

Source
------
SMPTE ST 2110-20 §6.2; ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4 (matrices and quantisation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import UsageError
from dicomlab.rtv.video import STRUCTURE, VideoFormat

Planes = tuple[NDArray[Any], ...]

_ORDERS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "4:2:2": ((1, 3), (0,), (2,)),
    "4:4:4": ((1,), (0,), (2,)),
    "4:2:0": ((0, 1, 2, 3), (4,), (5,)),
    "4:1:1": ((1, 2, 4, 5), (0,), (3,)),
}
"""Where Y, Cb and Cr stand among the samples of the smallest group."""
_CELLS = {"4:2:2": (4, 2, 1), "4:4:4": (3, 1, 1), "4:2:0": (6, 2, 2), "4:1:1": (6, 4, 1)}
"""Samples, pixels and rows of the smallest group."""
_LUMA = {
    "BT601": (0.299, 0.114),
    "SMPTE240M": (0.212, 0.087),
    "BT709": (0.2126, 0.0722),
    "BT2020": (0.2627, 0.0593),
    "BT2100": (0.2627, 0.0593),
}
"""KR and KB."""


def unpacked(octets: NDArray[np.uint8], depth: int) -> NDArray[Any]:
    """Unpack a run of samples, most significant bit first: uint8 for a depth of 8, else uint16.

    Source
    ------
    SMPTE ST 2110-20 §6.2.
    """
    flat = np.ascontiguousarray(octets).reshape(-1)
    if depth == 8:
        return flat
    if depth == 16:
        return flat.view(">u2").astype(np.uint16)
    step = 5 if depth == 10 else 3
    b = flat.reshape(-1, step).T.astype(np.uint16)
    if depth == 12:
        pair = (b[0] << 4 | b[1] >> 4, (b[1] & 15) << 8 | b[2])
        return np.stack(pair, axis=1).reshape(-1)
    four = (b[0] << 2 | b[1] >> 6, (b[1] & 63) << 4 | b[2] >> 4, (b[2] & 15) << 6 | b[3] >> 2, (b[3] & 3) << 8 | b[4])
    return np.stack(four, axis=1).reshape(-1)


def packed(samples: NDArray[Any], depth: int) -> NDArray[np.uint8]:
    """Pack a run of samples, most significant bit first.

    Source
    ------
    SMPTE ST 2110-20 §6.2.
    """
    flat = np.ascontiguousarray(samples).reshape(-1)
    if depth == 8:
        return flat.astype(np.uint8)
    if depth == 16:
        return flat.astype(">u2").view(np.uint8)
    count, step = (4, 5) if depth == 10 else (2, 3)
    groups = flat.reshape(-1, count).astype(np.uint64)
    word = np.zeros(len(groups), np.uint64)
    for column in range(count):
        word = word << np.uint64(depth) | groups[:, column] & np.uint64((1 << depth) - 1)
    return word.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - step :].reshape(-1)


def woven(rows: NDArray[Any], video: VideoFormat) -> NDArray[Any]:
    """Put the rows of a frame that keeps its fields one after the other into their places.

    Source
    ------
    SMPTE ST 2110-20 §6.1.4 (the first field has rows 0, 2, 4, ...).
    """
    if not video.interlaced:
        return rows
    frame = np.empty_like(rows)
    first = (len(rows) + 1) // 2
    frame[0::2], frame[1::2] = rows[:first], rows[first:]
    return frame


def in_fields(rows: NDArray[Any], video: VideoFormat) -> NDArray[Any]:
    """Put the rows of a frame field after field, as they travel.

    Source
    ------
    SMPTE ST 2110-20 §6.1.4.
    """
    return np.concatenate([rows[0::2], rows[1::2]]) if video.interlaced else rows


def planes_of(octets: NDArray[np.uint8], video: VideoFormat) -> Planes:
    """Unpack a frame into its components at their own resolution: (Y, Cb, Cr), (R, G, B), (R, G, B, A) or (K,).

    Source
    ------
    SMPTE ST 2110-20 §6.2; RFC 4175 §4.3.
    """
    structure = STRUCTURE[video.sampling]
    flat = unpacked(octets, video.depth)
    if video.floating:
        flat = flat.view(np.float16)
    if video.sampling in ("RGB", "BGR", "XYZ", "RGBA", "BGRA", "KEY"):
        samples = woven(flat.reshape(video.height, video.width, -1), video)
        order = (2, 1, 0, 3) if video.sampling.startswith("BGR") else (0, 1, 2, 3)
        return tuple(samples[..., at] for at in order[: samples.shape[2]])
    count, across, down = _CELLS[structure]
    cells = woven(flat.reshape(video.height // down, video.width // across, count), video)
    luma, blue, red = _ORDERS[structure]
    if down == 2:
        quads = cells[..., :4].reshape(video.height // 2, video.width // 2, 2, 2).transpose(0, 2, 1, 3)
        y = quads.reshape(video.height, video.width)
    else:
        y = cells[..., luma].reshape(video.height, video.width)
    return y, cells[..., blue[0]], cells[..., red[0]]


def packed_planes(planes: Sequence[NDArray[Any]], video: VideoFormat) -> NDArray[np.uint8]:
    """Pack components at their own resolution as a frame travels, field after field.

    Raises
    ------
    UsageError
        A plane of another shape than the format asks for.

    Source
    ------
    SMPTE ST 2110-20 §6.2; RFC 4175 §4.3.
    """
    structure = STRUCTURE[video.sampling]
    count, across, down = _CELLS.get(structure, (len(planes), 1, 1))
    height, width = video.height, video.width
    small = (height // down, width // across)
    wanted = [(height, width), small, small] if structure in _CELLS else [(height, width)] * len(planes)
    if [plane.shape for plane in planes] != wanted:
        got = [plane.shape for plane in planes]
        raise UsageError(f"planes of {got}, but {video.sampling} of {width} x {height} has {wanted}")
    kind = np.uint16 if video.depth > 8 else np.uint8
    parts = [plane.view(np.uint16) if video.floating else plane for plane in planes]
    if video.sampling in ("RGB", "BGR", "XYZ", "RGBA", "BGRA", "KEY"):
        order = (2, 1, 0, 3) if video.sampling.startswith("BGR") else (0, 1, 2, 3)
        cells = np.stack([parts[at] for at in order[: len(parts)]], axis=-1).astype(kind)
    else:
        cells = np.empty((*small, count), kind)
        y = parts[0].reshape(small[0], down, small[1], across).transpose(0, 2, 1, 3).reshape(*small, -1)
        luma, blue, red = _ORDERS[structure]
        cells[..., luma], cells[..., blue[0]], cells[..., red[0]] = y, parts[1], parts[2]
    return packed(in_fields(cells, video), video.depth)


def full_resolution(planes: Planes, video: VideoFormat) -> NDArray[Any]:
    """Bring components to one array of rows, columns, samples; chroma repeated, no value changed.

    Source
    ------
    PS3.3 §C.7.6.3.1.2 (YBR_FULL_422: each chroma value belongs to two pixels).
    """
    height, width = video.height, video.width
    whole = []
    for plane in planes:
        down, across = height // plane.shape[0], width // plane.shape[1]
        whole.append(plane.repeat(down, 0).repeat(across, 1) if down * across > 1 else plane)
    return np.stack(whole, axis=-1)


def _scale(video: VideoFormat) -> tuple[float, float, float]:
    """Offset and span of luma (or R, G, B), and span of chroma, in sample values."""
    step = 1 << (video.depth - 8)
    if video.range == "NARROW":
        return 16.0 * step, 219.0 * step, 224.0 * step
    peak = float((1 << video.depth) - 1)
    return 0.0, peak, peak


def rgb_of(octets: NDArray[np.uint8], video: VideoFormat) -> NDArray[np.uint8]:
    """Convert a frame to R'G'B' of 8 bit, full range, by its colorimetry and range.

    Raises
    ------
    UsageError
        A sampling or colorimetry without a matrix: CLYCbCr, ICtCp, XYZ, KEY, UNSPECIFIED.

    Source
    ------
    ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4.
    """
    planes = planes_of(octets, video)
    if video.floating:
        raise UsageError("floating-point samples are scene light: to_stored_values() has them")
    offset, span, chroma_span = _scale(video)
    if video.sampling in ("RGB", "BGR", "RGBA", "BGRA"):
        stacked = np.stack(planes[:3], axis=-1)
        if video.depth == 8 and video.range != "NARROW":
            return stacked
        return _to_octets((stacked.astype(np.float32) - offset) * np.float32(255 / span))
    red, blue = weights(video)
    y = (planes[0].astype(np.float32) - np.float32(offset)) * np.float32(255 / span)
    middle = np.float32(1 << (video.depth - 1))
    down, across = y.shape[0] // planes[1].shape[0], y.shape[1] // planes[1].shape[1]
    cb, cr = ((plane.astype(np.float32) - middle) * np.float32(255 / chroma_span) for plane in planes[1:])
    green = 1 - red - blue
    parts = (
        cr * np.float32(2 * (1 - red)),
        cb * np.float32(-2 * (1 - blue) * blue / green) - cr * np.float32(2 * (1 - red) * red / green),
        cb * np.float32(2 * (1 - blue)),
    )
    rgb = np.empty((*y.shape, 3), np.uint8)
    for channel, part in enumerate(parts):
        whole = part.repeat(across, 1) if across > 1 else part
        rgb[..., channel] = _to_octets(y + (whole.repeat(down, 0) if down > 1 else whole))
    return rgb


def yuv_of(octets: NDArray[np.uint8], video: VideoFormat) -> Planes:
    """Give a frame as Y, Cb, Cr at their own resolution, in stored values; R'G'B' is converted, in its own range.

    Source
    ------
    ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4.
    """
    planes = planes_of(octets, video)
    if video.sampling not in ("RGB", "BGR", "RGBA", "BGRA"):
        return planes
    return yuv_planes(np.stack(planes[:3], axis=-1), video, depth=video.depth)


def yuv_planes(rgb: NDArray[Any], video: VideoFormat, *, depth: int = 8, full: bool | None = None) -> Planes:
    """Convert R'G'B' of `depth` bit to Y, Cb, Cr of the format, chroma averaged to its resolution.

    Parameters
    ----------
    rgb : array of rows, columns, 3
    video : VideoFormat
        Its colorimetry, range, depth and sampling are those of the result.
    depth : int
        Bits of `rgb`.
    full : bool, optional
        Whether `rgb` takes the full range; else it is quantised as the format says.

    Source
    ------
    ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4.
    """
    offset, span, chroma_span = _scale(video)
    step = 1 << (depth - 8)
    low, width = (0.0, float((1 << depth) - 1)) if full or video.range != "NARROW" else (16.0 * step, 219.0 * step)
    values = (rgb.astype(np.float32) - np.float32(low)) / np.float32(width)
    red, blue = weights(video)
    y = values[..., 0] * red + values[..., 1] * (1 - red - blue) + values[..., 2] * blue
    cb, cr = (values[..., 2] - y) / (2 * (1 - blue)), (values[..., 0] - y) / (2 * (1 - red))
    _, across, down = _CELLS.get(STRUCTURE[video.sampling], (3, 1, 1))
    kind, peak = (np.uint8, 255) if video.depth == 8 else (np.uint16, (1 << video.depth) - 1)

    def quantised(plane: NDArray[Any], origin: float, by: float) -> NDArray[Any]:
        return np.clip(np.rint(plane * by + origin), 0, peak).astype(kind)

    middle = float(1 << (video.depth - 1))
    small = [c.reshape(c.shape[0] // down, down, c.shape[1] // across, across).mean(axis=(1, 3)) for c in (cb, cr)]
    return quantised(y, offset, span), *(quantised(plane, middle, chroma_span) for plane in small)


def weights(video: VideoFormat) -> tuple[float, float]:
    """KR and KB of its colorimetry.

    Raises
    ------
    UsageError
        It has none.

    Source
    ------
    ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4.
    """
    usual = video.sampling.startswith(("YCbCr", "RGB", "BGR"))
    if not usual or video.colorimetry not in _LUMA:
        raise UsageError(f"no matrix for {video.sampling} in {video.colorimetry}: to_stored_values() has its samples")
    return _LUMA[video.colorimetry]


def _to_octets(values: NDArray[Any]) -> NDArray[np.uint8]:
    octets: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return octets
