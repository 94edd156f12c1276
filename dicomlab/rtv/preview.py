"""From a packed frame to the planes of a JPEG, fast: 8 bit, full range, BT.601, chroma of half the size. No I/O.

For pictures that are looked at: what is measured, stored or compared goes through ``samples``.

Source
------
SMPTE ST 2110-20 §6.2; ITU-T T.871 §7 (JFIF); ITU-R BT.601-7 §2.5, BT.709-6 §3, BT.2020-2 §4.
"""

from __future__ import annotations

import math
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
_Matrix = tuple[np.uint16, _Row, _Row, _Row]
_PIXELS = 1 << 18
"""That are reckoned at once, in whole rows: what they take stays in a processor's cache."""


class Preview:
    """Makes the planes of a JPEG from one frame after the other, in memory that it keeps: for one thread at a time.

    Memory that is new for each frame costs as much as the reckoning: the system clears every page of it first.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def planes(self, octets: NDArray[np.uint8], video: VideoFormat, shrink: int = 1) -> Planes:
        """Y, Cb and Cr as JFIF wants them: of 4:2:2, whose chroma is halved, 4:2:0; the rest 4:4:4, by RGB.

        Parameters
        ----------
        octets : array of uint8
            Packed as it came.
        video : VideoFormat
        shrink : int
            Take each n-th pixel, each way.

        Returns
        -------
        tuple of three arrays of uint8
            (rows, columns) each; the next call overwrites them.

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
        matrix = _matrix(video.range == "NARROW", *samples.weights(video))
        height = -(-video.height // shrink)
        half = min(-(-video.width // shrink) // 2, -(-(video.width // 2) // shrink))
        y = self._kept("Y", np.uint8, height, 2 * half)
        blue, red = (self._kept(name, np.uint8, -(-height // 2), half) for name in ("Cb", "Cr"))
        step = 2 * shrink  # of so many rows come two of luma and one of chroma
        rows = video.height if video.interlaced else step * max(1, _PIXELS // (step * video.width))
        for top in range(0, video.height, rows):
            part = octets[top * video.row_octets : (top + rows) * video.row_octets]
            high = (samples.woven(plane, video)[::shrink, ::shrink] for plane in self._high_octets(part, video))
            bright, chroma_b, chroma_r = (
                plane[:, :wide] for plane, wide in zip(high, (2 * half, half, half), strict=True)
            )
            b, r = self._centred("b", chroma_b), self._centred("r", chroma_r)
            self._luma(bright, b, r, matrix, y[top // shrink :][: len(bright)])
            b, r = self._centred("b", self._mean("b", chroma_b)), self._centred("r", self._mean("r", chroma_r))
            self._chroma(b, r, matrix[2], blue[top // step :][: len(b)])
            self._chroma(b, r, matrix[3], red[top // step :][: len(b)])
        return y, blue, red

    def _kept(self, name: str, dtype: Any, *shape: int) -> NDArray[Any]:
        """An array of that name and shape, with whatever is in it."""
        size = math.prod(shape)
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = np.empty(size, dtype)
        return self._arrays[name][:size].reshape(shape)

    def _high_octets(self, octets: NDArray[np.uint8], video: VideoFormat) -> Planes:
        """The upper eight bits of Y, Cb, Cr."""
        half, each = video.width // 2, 4 if video.depth == 8 else 5
        cells = self._kept("cells", np.uint8, each, len(octets) // each)
        cells[:] = octets.reshape(-1, each).T
        if video.depth == 8:
            blue, left, red, right = cells
        else:  # what leaves an octet at its upper end is gone, and has to be; numpy multiplies sooner than it shifts
            blue, left, red, right, last = cells
            spare = self._kept("spare", np.uint8, len(blue))
            left *= 4
            left |= np.right_shift(red, 6, out=spare)
            red *= 16
            red |= np.right_shift(right, 4, out=spare)
            right *= 64
            right |= np.right_shift(last, 2, out=spare)
        pairs = self._kept("pairs", "<u2", len(blue))  # two octets that are written at once, the left one first
        pairs[:] = right
        pairs <<= 8
        pairs |= left
        return pairs.view(np.uint8).reshape(-1, video.width), blue.reshape(-1, half), red.reshape(-1, half)

    def _luma(
        self, y: NDArray[np.uint8], b: NDArray[np.int16], r: NDArray[np.int16], matrix: _Matrix, out: NDArray[np.uint8]
    ) -> None:
        gain, (of_b, of_r, added), *_ = matrix
        bright = np.multiply(y, gain, out=self._kept("bright", np.uint16, *y.shape))
        of_chroma = np.multiply(b, of_b, out=self._kept("of chroma", np.int16, *b.shape))
        of_chroma += np.multiply(r, of_r, out=self._kept("of r", np.int16, *b.shape))
        of_chroma += added
        pairs = bright.view(np.uint32)  # both pixels of a pair at once
        both = self._kept("of both", np.uint32, *b.shape)
        pairs += np.multiply(of_chroma.view(np.uint16), np.uint32(0x1_0001), out=both)
        np.clip(bright, _ZERO, _ZERO + 255 * _ONE, out=bright)
        bright -= _ZERO
        bright >>= _PLACES
        out[:] = bright

    def _centred(self, name: str, chroma: NDArray[Any]) -> NDArray[np.int16]:
        made = self._kept(name, np.int16, *chroma.shape)
        made[:] = chroma
        made -= 128
        return made

    def _mean(self, name: str, chroma: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Of each two rows; the last of an odd number stays alone."""
        made = self._kept(f"mean of {name}", np.uint16, -(-len(chroma) // 2), chroma.shape[1])
        below = chroma[1::2]
        made[:] = chroma[0::2]
        made[: len(below)] += below
        made[: len(below)] += 1
        made[: len(below)] >>= 1
        return made

    def _chroma(self, b: NDArray[np.int16], r: NDArray[np.int16], row: _Row, out: NDArray[np.uint8]) -> None:
        of_b, of_r = row
        made = np.multiply(b, of_b, out=self._kept("of chroma", np.int16, *b.shape))
        made += np.multiply(r, of_r, out=self._kept("of r", np.int16, *b.shape))
        made += _ONE // 2
        made >>= _PLACES
        np.clip(made, -128, 127, out=made)
        made += 128
        out[:] = made


@lru_cache(maxsize=8)
def _matrix(narrow: bool, red: float, blue: float) -> _Matrix:
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
