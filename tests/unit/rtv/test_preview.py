"""The planes of a JPEG show the colours that the conversion to RGB gives, for every format that is looked at."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dicomlab.rtv import preview, samples
from dicomlab.rtv.preview import Planes, Preview
from dicomlab.rtv.video import VideoFormat


def rgb_of_jpeg(planes: Planes) -> np.ndarray:
    """By ITU-T T.871 §7, written apart."""
    y, blue, red = (plane.astype(float) for plane in planes)
    if blue.shape != y.shape:
        blue, red = (plane.repeat(2, 0).repeat(2, 1)[: y.shape[0], : y.shape[1]] for plane in (blue, red))
    blue, red = blue - 128, red - 128
    return np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], axis=-1)


@pytest.mark.parametrize("span", ["NARROW", "FULL"])
@pytest.mark.parametrize("colorimetry", ["BT601", "BT709", "BT2020"])
@pytest.mark.parametrize(
    ("sampling", "depth", "interlaced"),
    [("YCbCr-4:2:2", 8, False), ("YCbCr-4:2:2", 10, False), ("YCbCr-4:2:2", 10, True), ("YCbCr-4:2:2", 12, False),
     ("YCbCr-4:4:4", 8, False), ("RGB", 8, False), ("RGB", 10, False)],
)  # fmt: skip
def test_the_same_colours(sampling: str, depth: int, interlaced: bool, colorimetry: str, span: str) -> None:
    video = VideoFormat(
        64, 16, Fraction(30), sampling, depth, interlaced=interlaced, colorimetry=colorimetry, range=span
    )
    random = np.random.default_rng(7)
    peak, wide = (1 << depth) - 1, sampling != "YCbCr-4:2:2"
    tone = random.integers(peak // 4, 3 * peak // 4, (16, 64))
    rows = 16 if wide or depth == 12 else 8  # two rows share their chroma
    chroma = [peak // 2 + random.integers(-peak // 12, peak // 12, (rows, 64 if wide else 32)) for _ in range(2)]
    chroma = [plane.repeat(16 // rows, axis=0) for plane in chroma]
    octets = samples.packed_planes([plane.astype(np.uint16) for plane in (tone, *chroma)], video)
    ours = rgb_of_jpeg(Preview().planes(octets, video))
    assert np.abs(ours - samples.rgb_of(octets, video)).max() <= (
        3 if depth == 8 or wide else 6
    )  # two bits are cut off


def test_smaller_takes_each_nth_pixel() -> None:
    video = VideoFormat(64, 16, Fraction(30), "YCbCr-4:2:2", 10)
    octets = np.random.default_rng(1).integers(0, 256, 64 * 16 * 5 // 2, dtype=np.uint8)
    y, blue, red = Preview().planes(octets, video, shrink=2)
    assert y.shape == (8, 32)
    assert blue.shape == red.shape == (4, 16)


def test_smaller_by_an_odd_number_keeps_pairs_whole() -> None:
    video = VideoFormat(50, 30, Fraction(30), "YCbCr-4:2:2", 10)
    octets = np.random.default_rng(1).integers(0, 256, 50 * 30 * 5 // 2, dtype=np.uint8)
    y, blue, red = Preview().planes(octets, video, shrink=2)
    assert (y.shape, blue.shape, red.shape) == ((15, 24), (8, 12), (8, 12))


@pytest.mark.parametrize("span", ["NARROW", "FULL"])
@pytest.mark.parametrize("colorimetry", ["BT601", "SMPTE240M", "BT709", "BT2020"])
def test_no_octet_overflows(colorimetry: str, span: str) -> None:
    """Every pair of chroma values, with luma from end to end, against the matrices in floating point, clipped once."""
    video = VideoFormat(512, 256, Fraction(30), "YCbCr-4:2:2", 8, colorimetry=colorimetry, range=span)
    blue, red = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    luma = np.random.default_rng(3).choice([0, 16, 128, 235, 255], (256, 512))
    octets = samples.packed_planes([plane.astype(np.uint8) for plane in (luma, blue, red)], video)
    offset, luma_span, chroma_span = (16, 219, 224) if span == "NARROW" else (0, 255, 255)
    kr, kb = samples.weights(video)
    y = (luma - offset) / luma_span
    b_y, r_y = (2 * (1 - k) * (plane - 128) / chroma_span for k, plane in ((kb, blue), (kr, red)))
    g_y = -(kr * r_y + kb * b_y) / (1 - kr - kb)
    shift = 0.299 * r_y + 0.587 * g_y + 0.114 * b_y
    wanted = (
        (y + shift.repeat(2, axis=1)) * 255,
        *(
            (one.reshape(128, 2, 256).mean(axis=1) / span * 255 + 128)
            for one, span in ((b_y - shift, 1.772), (r_y - shift, 1.402))
        ),
    )
    for plane, exact in zip(Preview().planes(octets, video), wanted, strict=True):
        assert np.abs(plane - np.clip(np.rint(exact), 0, 255)).max() <= 2


def test_chroma_is_the_mean_of_two_rows_and_the_last_of_an_odd_number_its_own() -> None:
    video = VideoFormat(4, 3, Fraction(30), "YCbCr-4:2:2", 8, colorimetry="BT601", range="FULL")
    rows = np.array([100, 131, 77], np.uint8)[:, None]
    grey = np.full((3, 4), 128, np.uint8)
    blue, red = rows.repeat(2, axis=1), np.full((3, 2), 128, np.uint8)
    octets = samples.packed_planes([grey, blue, red], video)
    _, blue, red = Preview().planes(octets, video)
    assert blue.tolist() == [[116, 116], [77, 77]]
    assert red.tolist() == [[128, 128], [128, 128]]


def test_bands_and_kept_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One maker for frames of several sizes, a few rows at a time, against a new one for each whole frame."""
    random = np.random.default_rng(5)
    maker = Preview()
    for width, height, depth, interlaced, shrink in (
        (64, 37, 10, False, 1), (32, 16, 10, True, 1), (66, 50, 8, False, 2), (64, 37, 10, False, 3), (128, 9, 10, False, 1),
    ):  # fmt: skip
        video = VideoFormat(width, height, Fraction(30), "YCbCr-4:2:2", depth, interlaced=interlaced)
        octets = random.integers(0, 256, video.frame_octets, dtype=np.uint8)
        monkeypatch.setattr(preview, "_PIXELS", 1 << 18)
        whole = Preview().planes(octets, video, shrink)
        monkeypatch.setattr(preview, "_PIXELS", 5 * width)
        for banded, at_once in zip(maker.planes(octets, video, shrink), whole, strict=True):
            assert np.array_equal(banded, at_once)


def test_memory_is_kept() -> None:
    video = VideoFormat(64, 16, Fraction(30), "YCbCr-4:2:2", 10)
    octets = np.zeros(video.frame_octets, np.uint8)
    maker = Preview()
    first, second = maker.planes(octets, video), maker.planes(octets, video)
    assert all(np.shares_memory(one, other) for one, other in zip(first, second, strict=True))
