"""Samples in and out of their packing, against octets by hand and against a reader bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import UsageError
from dicomlab.rtv.samples import (
    full_resolution,
    packed,
    packed_planes,
    planes_of,
    rgb_of,
    unpacked,
    woven,
    yuv_of,
    yuv_planes,
)
from dicomlab.rtv.video import STRUCTURE, VideoFormat

WHITE_10 = bytes.fromhex("80baf80baf")
"""As GStreamer sends white in 4:2:2 of 10 bit."""


def test_a_group_of_ten_bit() -> None:
    assert unpacked(np.frombuffer(WHITE_10, np.uint8), 10).tolist() == [514, 943, 514, 943]
    assert packed(np.array([514, 943, 514, 943]), 10).tobytes() == WHITE_10
    y, cb, cr = planes_of(np.frombuffer(WHITE_10, np.uint8), VideoFormat(2, 1))
    assert (y.tolist(), cb.tolist(), cr.tolist()) == ([[943, 943]], [[514]], [[514]])


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_samples_against_a_reader_bit_by_bit(depth: int) -> None:
    octets = np.random.default_rng(depth).integers(0, 256, 240, np.uint8)
    bits = "".join(f"{octet:08b}" for octet in octets)
    by_bits = [int(bits[at : at + depth], 2) for at in range(0, len(bits), depth)]
    assert unpacked(octets, depth).tolist() == by_bits
    assert packed(np.array(by_bits), depth).tobytes() == octets.tobytes()


ORDER = {  # octets of 8 bit, and where each sample of a picture goes
    "YCbCr-4:2:2": (2, 1, [10, 1, 20, 2], [[1, 2]], [[10]], [[20]]),
    "YCbCr-4:4:4": (1, 1, [10, 1, 20], [[1]], [[10]], [[20]]),
    "RGB": (1, 1, [1, 10, 20], [[1]], [[10]], [[20]]),
    "BGR": (1, 1, [20, 10, 1], [[1]], [[10]], [[20]]),
    "YCbCr-4:2:0": (2, 2, [1, 2, 3, 4, 10, 20], [[1, 2], [3, 4]], [[10]], [[20]]),
    "YCbCr-4:1:1": (4, 1, [10, 1, 2, 20, 3, 4], [[1, 2, 3, 4]], [[10]], [[20]]),
}


@pytest.mark.parametrize("sampling", ORDER)
def test_the_order_of_samples(sampling: str) -> None:
    width, height, octets, *planes = ORDER[sampling]
    video = VideoFormat(width, height, sampling=sampling, depth=8)
    found = planes_of(np.array(octets, np.uint8), video)
    assert [plane.tolist() for plane in found] == planes
    assert packed_planes(found, video).tolist() == octets


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("sampling", STRUCTURE)
def test_planes_come_back(sampling: str, depth: int, interlaced: bool) -> None:
    if sampling.endswith("4:2:0") and interlaced:
        interlaced = False
    video = VideoFormat(16, 6, sampling=sampling, depth=depth, interlaced=interlaced)
    octets = np.random.default_rng(1).integers(0, 256, video.frame_octets, np.uint8)
    planes = planes_of(octets, video)
    assert planes[0].shape == (6, 16)
    assert packed_planes(planes, video).tobytes() == octets.tobytes()
    assert full_resolution(planes, video).shape == (6, 16, len(planes))


def test_fields_are_woven() -> None:
    video = VideoFormat(2, 5, interlaced=True)
    assert woven(np.array([0, 2, 4, 1, 3]), video).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("colorimetry", ["BT601", "BT709", "BT2020"])
@pytest.mark.parametrize("range_", ["NARROW", "FULL"])
@pytest.mark.parametrize("depth", [8, 10, 12])
def test_colour_there_and_back(depth: int, range_: str, colorimetry: str) -> None:
    video = VideoFormat(16, 16, sampling="YCbCr-4:4:4", depth=depth, range=range_, colorimetry=colorimetry)
    rgb = np.random.default_rng(2).integers(0, 256, (16, 16, 3), np.uint8)
    again = rgb_of(packed_planes(yuv_planes(rgb, video, full=True), video), video)
    assert int(np.abs(again.astype(int) - rgb).max()) <= (2 if depth == 8 else 1)


def test_colour_by_numbers_of_bt_709() -> None:
    """100 % red, narrow range, 10 bit: Y = 64 + 876 * 0.2126, Cb = 512 - 896 * 0.2126 / 1.8556, Cr = 512 + 448."""
    video = VideoFormat(4, 1, sampling="YCbCr-4:4:4")
    planes = yuv_planes(np.full((1, 4, 3), (255, 0, 0), np.uint8), video, full=True)
    assert [int(plane[0, 0]) for plane in planes] == [250, 409, 960]
    white = packed_planes([np.full((1, 4), v, np.uint16) for v in (940, 512, 512)], video)
    assert rgb_of(white, video).tolist() == [[[255] * 3] * 4]
    black = packed_planes([np.full((1, 4), v, np.uint16) for v in (64, 512, 512)], video)
    assert rgb_of(black, video).tolist() == [[[0] * 3] * 4]


def test_rgb_is_only_stretched_where_its_range_is_narrow() -> None:
    octets = np.array([16, 128, 235], np.uint8)
    full = VideoFormat(1, 1, sampling="RGB", depth=8, range="FULL")
    assert rgb_of(octets, full).tolist() == [[[16, 128, 235]]]
    assert rgb_of(octets, VideoFormat(1, 1, sampling="RGB", depth=8)).tolist() == [[[0, 130, 255]]]
    assert [p.tolist() for p in yuv_of(octets, full)] == [[[112]], [[194]], [[67]]]


@pytest.mark.parametrize("sampling", ["ICtCp-4:2:2", "XYZ", "KEY"])
def test_what_has_no_matrix_says_so(sampling: str) -> None:
    video = VideoFormat(4, 2, sampling=sampling)
    with pytest.raises(UsageError):
        rgb_of(np.zeros(video.frame_octets, np.uint8), video)
    with pytest.raises(UsageError):
        packed_planes([np.zeros((1, 1))], video)


@given(st.sampled_from([10, 12]), st.integers(0, 2**32 - 1))
def test_writer_and_reader_agree(depth: int, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(0, 1 << depth, 40)
    assert unpacked(packed(samples, depth), depth).tolist() == samples.tolist()
