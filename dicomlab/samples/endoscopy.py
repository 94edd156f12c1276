"""A synthetic endoscopy: a tunnel of mucosa with folds, vessels and a polyp that comes nearer. Nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dicomlab.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENT: dict[str, Any] = {
    "PatientName": "Synthetic^Endo^^^1",
    "PatientID": "SYN-ENDO-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "StudyID": "1",
    "StudyDescription": "Synthetic colonoscopy",
}
"""Keywords for a ``Broadcast`` of it."""


def endoscopy_frames(
    count: int = 50, width: int = 320, height: int = 240, rate_hz: float = 25.0, seed: int = 0
) -> Iterator[NDArray[Any]]:
    """Make the frames of a synthetic endoscopy, one at a time.

    Parameters
    ----------
    count : int
        How many; at least 1.
    width, height : int
        Pixels; even, at least 16.
    rate_hz : float
        Frames per second: how far the scope advances between two.
    seed : int
        The same seed gives the same pictures.

    Yields
    ------
    array of uint8, rows x columns x 3
        RGB, full range; round as an endoscope's picture is, black around it.

    Raises
    ------
    UsageError
        Too few frames or pixels.
    """
    if count < 1 or min(width, height) < 16 or width % 2 or height % 2 or rate_hz <= 0:
        raise UsageError("an endoscopy has at least one frame, and an even number of pixels, at least 16, each way")
    return _frames(count, width, height, rate_hz, seed)


def _frames(count: int, width: int, height: int, rate_hz: float, seed: int) -> Iterator[NDArray[Any]]:
    import numpy as np

    random = np.random.default_rng(seed)
    phases = random.uniform(0, 2 * np.pi, 6)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    unit = min(width, height) / 2
    x, y = (x - (width - 1) / 2) / unit, (y - (height - 1) / 2) / unit
    view = np.hypot(x, y) < 0.97
    grain = random.normal(0, 2.5, (height, width)).astype(np.float32)
    for number in range(count):
        time_s = number / rate_hz
        centre = 0.25 * np.sin(0.7 * time_s + phases[0]), 0.2 * np.cos(0.5 * time_s + phases[1])
        radius = np.hypot(x - centre[0], y - centre[1]) + 0.02
        angle = np.arctan2(y - centre[1], x - centre[0])
        depth = 0.35 / radius
        along = depth + 0.8 * time_s
        folds = np.maximum(0, np.sin(5.0 * along + 0.6 * np.sin(3 * angle + phases[2]))) ** 3
        vessels = np.abs(np.sin(7 * angle + 2 * np.sin(1.7 * along + phases[3]) + phases[4])) < 0.06
        light = np.clip(1.25 - 0.62 * depth, 0.03, 1.0) * (0.78 + 0.22 * folds)
        red, green, blue = 226 * light, 112 * light * (1 - 0.25 * folds), 92 * light * (1 - 0.25 * folds)
        green, blue = green * np.where(vessels, 0.55, 1), blue * np.where(vessels, 0.62, 1)
        near = 0.10 + 0.10 * (time_s % 4)
        polyp = np.hypot(x - 0.45 * np.cos(phases[5]), y - 0.45 * np.sin(phases[5])) / near
        bump = np.clip(1 - polyp, 0, 1)
        red, green, blue = red + 30 * bump, green + 26 * bump, blue + 34 * bump
        shine = np.exp(-(((polyp - 0.35) / 0.12) ** 2)) * (bump > 0) * 70
        picture = np.stack([red + shine, green + shine, blue + shine], axis=-1) + np.roll(grain, number, 1)[..., None]
        yield np.where(view[..., None], np.clip(np.rint(picture), 0, 255), 0).astype(np.uint8)


def tone(seconds: float = 1.0, rate_hz: int = 48_000, pitch_hz: float = 440.0) -> NDArray[Any]:
    """A soft tone of 24 bit, stereo: samples x 2, int32; it ends where it begins, so that it can be repeated.

    Raises
    ------
    UsageError
        No time at all.
    """
    import numpy as np

    if seconds <= 0:
        raise UsageError("a tone lasts some time")
    whole = max(1, round(seconds * pitch_hz))
    count = round(whole * rate_hz / pitch_hz)
    wave = np.sin(2 * np.pi * whole * np.arange(count) / count) * (1 << 21)
    stereo: NDArray[Any] = np.rint(wave).astype(np.int32)[:, None].repeat(2, axis=1)
    return stereo
