"""From a packed frame to the planes of a JPEG, fast: 8 bit, full range, BT.601, chroma as it came. No I/O.

For pictures that are looked at: what is measured, stored or compared goes through ``samples``.

Source
------
SMPTE ST 2110-20 §6.2; ITU-T T.871 §7 (JFIF); ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.rtv import samples
from dicomlab.rtv.video import VideoFormat

_PLACES = 7
_ONE = 1 << _PLACES
_ZERO = 1 << 13
"""Where luma begins while it is reckoned, so that what is darker than black stays above 0."""

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
_Row = tuple[np.int16, ...]


def jpeg_planes(octets: NDArray[np.uint8], video: VideoFormat, shrink: int = 1) -> Planes:
    """Y, Cb and Cr of a packed frame as JFIF wants them; 4:2:2 keeps its own chroma, the rest goes by RGB to 4:4:4.

    Parameters
    ----------
    octets : array of uint8
        Packed as it came.
    video : VideoFormat
    shrink : int
        Take each n-th pixel, each way.

    Raises
    ------
    UsageError
        A colorimetry without a matrix, or floating-point samples.

    Source
    ------
    SMPTE ST 2110-20 §6.2.1 (4:2:2); ITU-T T.871 §7.
    """
    if video.sampling != "YCbCr-4:2:2" or video.depth not in (8, 10) or video.floating:
        return _of_rgb(samples.rgb_of(octets, video)[::shrink, ::shrink])
    y, blue, red = _high_octets(octets, video)
    if shrink > 1:
        y, blue, red = (plane[::shrink, ::shrink] for plane in (y, blue, red))
        half = min(y.shape[1] // 2, blue.shape[1])
        y, blue, red = y[:, : 2 * half], blue[:, :half], red[:, :half]
    gain, to_luma, to_blue, to_red = _matrix(video.range == "NARROW", *samples.weights(video))
    b, r = blue.astype(np.int16) - np.int16(128), red.astype(np.int16) - np.int16(128)
    bright = np.multiply(y, gain, dtype=np.uint16)
    pairs = bright.reshape(*b.shape, 2)
    pairs += (b * to_luma[0] + r * to_luma[1] + to_luma[2]).view(np.uint16)[..., None]
    np.clip(bright, _ZERO, _ZERO + 255 * _ONE, out=bright)
    bright -= _ZERO
    bright >>= _PLACES
    return bright.astype(np.uint8), _chroma(b, r, *to_blue), _chroma(b, r, *to_red)


def _chroma(b: NDArray[np.int16], r: NDArray[np.int16], of_b: np.int16, of_r: np.int16) -> NDArray[np.uint8]:
    made = b * of_b
    made += r * of_r
    made += np.int16(_ONE // 2)
    made >>= _PLACES
    np.clip(made, -128, 127, out=made)
    made += np.int16(128)
    return made.astype(np.uint8)


def _high_octets(octets: NDArray[np.uint8], video: VideoFormat) -> Planes:
    """The upper eight bits of Y, Cb, Cr."""
    height, half = video.height, video.width // 2
    cells: Any = octets.reshape(-1, 4 if video.depth == 8 else 5).T
    y = np.empty((height * half, 2), np.uint8)
    if video.depth == 8:
        blue, y[:, 0], red, y[:, 1] = cells
    else:  # what is shifted out of an octet is gone, and has to be
        first, second, third, fourth, fifth = map(np.ascontiguousarray, cells)
        blue = first
        red = third << 4 | fourth >> 4
        y[:, 0] = second << 2 | third >> 6
        y[:, 1] = fourth << 6 | fifth >> 2
    planes = (y.reshape(height, video.width), blue.reshape(height, half), red.reshape(height, half))
    y, blue, red = (samples.woven(plane, video) for plane in planes)
    return y, blue, red


@lru_cache(maxsize=8)
def _matrix(narrow: bool, red: float, blue: float) -> tuple[np.uint16, _Row, _Row, _Row]:
    """What luma, and what Cb and Cr, are multiplied by, in JFIF's terms and units of 1/128.

    The gain of luma; for luma: of Cb, of Cr, and what is added; for Cb and for Cr: of Cb, of Cr.
    """
    offset, span, chroma = (16, 219, 224) if narrow else (0, 255, 255)
    green = 1 - red - blue
    from_red, from_blue = 2 * (1 - red) / chroma, 2 * (1 - blue) / chroma  # R - Y, B - Y
    of_b = 0.114 * from_blue - 0.587 * blue * from_blue / green
    of_r = 0.299 * from_red - 0.587 * red * from_red / green
    rows = (
        (of_b, of_r),
        ((from_blue - of_b) / 1.772, -of_r / 1.772),
        (-of_b / 1.402, (from_red - of_r) / 1.402),
    )
    to_luma, to_blue, to_red = (tuple(np.int16(round(255 * one * _ONE)) for one in row) for row in rows)
    added = _ZERO + _ONE // 2 - round(offset * 255 / span * _ONE)
    return np.uint16(round(255 / span * _ONE)), (*to_luma, np.int16(added)), to_blue, to_red


def _of_rgb(rgb: NDArray[np.uint8]) -> Planes:
    """RGB of 8 bit to the planes of a JPEG, 4:4:4.

    Source
    ------
    ITU-T T.871 §7.
    """
    r, g, b = (rgb[..., at].astype(np.float32) for at in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    made = (y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128)
    y, blue, red = (np.clip(np.rint(one), 0, 255).astype(np.uint8) for one in made)
    return y, blue, red
