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

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


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
    luma, shift, blues, reds = _tables(video.range == "NARROW", *samples.weights(video))
    at = blue.astype(np.uint16)
    at <<= 8
    at |= red
    bright = luma[y]
    pairs = bright.reshape(*at.shape, 2)
    pairs += shift[at][..., None]
    np.clip(bright, 0, 255, out=bright)
    return bright.astype(np.uint8), blues[at], reds[at]


def _high_octets(octets: NDArray[np.uint8], video: VideoFormat) -> Planes:
    """The upper eight bits of Y, Cb, Cr."""
    height, half = video.height, video.width // 2
    cells = octets.reshape(-1, 4 if video.depth == 8 else 5).T
    y = np.empty((height * half, 2), np.uint8)
    if video.depth == 8:
        blue, y[:, 0], red, y[:, 1] = cells
    else:
        blue = cells[0]
        y[:, 0] = (cells[1] & 63) << 2 | cells[2] >> 6
        red = (cells[2] & 15) << 4 | cells[3] >> 4
        y[:, 1] = (cells[3] & 3) << 6 | cells[4] >> 2
    planes = (y.reshape(height, video.width), blue.reshape(height, half), red.reshape(height, half))
    y, blue, red = (samples.woven(plane, video) for plane in planes)
    return y, blue, red


@lru_cache(maxsize=8)
def _tables(narrow: bool, red: float, blue: float) -> tuple[NDArray[Any], ...]:
    """Luma by its octet; by (Cb << 8 | Cr): what chroma adds to luma, and both chroma values, in JFIF's terms."""
    offset, span, chroma = (16, 219, 224) if narrow else (0, 255, 255)
    green = 1 - red - blue
    b, r = np.meshgrid(*[(np.arange(256) - 128) / chroma] * 2, indexing="ij")
    from_red, from_blue = 2 * (1 - red) * r, 2 * (1 - blue) * b  # R - Y, B - Y
    from_green = -(red * from_red + blue * from_blue) / green
    shift = 0.299 * from_red + 0.587 * from_green + 0.114 * from_blue
    blues, reds = (from_blue - shift) / 1.772, (from_red - shift) / 1.402
    luma = np.rint((np.arange(256) - offset) * (255 / span)).astype(np.int16)
    return (
        luma,
        np.rint(shift.ravel() * 255).astype(np.int16),
        *(np.clip(np.rint(one.ravel() * 255 + 128), 0, 255).astype(np.uint8) for one in (blues, reds)),
    )


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
