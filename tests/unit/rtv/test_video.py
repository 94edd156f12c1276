"""Formats of video: sizes by hand, what DICOM takes of them, what can't be."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dicomlab.errors import UsageError
from dicomlab.rtv.sdp import Media, parse_sdp
from dicomlab.rtv.video import INTERLACED, PROGRESSIVE, STRUCTURE, VideoFormat, video_format


@pytest.mark.parametrize(
    ("width", "height", "sampling", "depth", "octets"),
    [(640, 480, "YCbCr-4:2:2", 8, 614_400), (1280, 720, "YCbCr-4:2:2", 10, 2_304_000),
     (1920, 1080, "YCbCr-4:2:2", 10, 5_184_000), (1920, 1080, "RGB", 8, 6_220_800),
     (3840, 2160, "YCbCr-4:2:2", 10, 20_736_000), (8, 2, "YCbCr-4:2:0", 10, 30), (8, 2, "YCbCr-4:1:1", 10, 30),
     (8, 2, "KEY", 10, 20), (4, 1, "RGB", 10, 15), (2, 1, "RGBA", 12, 12), (2, 1, "YCbCr-4:4:4", 12, 9)],
)  # fmt: skip
def test_octets_of_a_frame(width: int, height: int, sampling: str, depth: int, octets: int) -> None:
    assert VideoFormat(width, height, sampling=sampling, depth=depth).frame_octets == octets


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("sampling", STRUCTURE)
def test_a_format_comes_back_from_its_sdp(sampling: str, depth: int) -> None:
    for more in ({}, {"interlaced": True}, {"interlaced": True, "segmented": True}, {"range": "FULL"}):
        if sampling.endswith("4:2:0") and "interlaced" in more:
            continue
        video = VideoFormat(16, 8, Fraction(60_000, 1001), sampling, depth, others={"TP": "2110TPW"}, **more)
        media = Media("video", 5000, 96, encoding="raw", parameters=video.parameters())
        from dicomlab.rtv.sdp import Session, write_sdp

        assert video_format(parse_sdp(write_sdp(Session((media,)))).media[0]) == video


def test_floating_point() -> None:
    video = VideoFormat(2, 2, sampling="RGB", depth=16, floating=True)
    assert video.parameters()["depth"] == "16f"


@pytest.mark.parametrize(
    ("sampling", "photometric"),
    [("YCbCr-4:4:4", "YBR_FULL"), ("RGB", "RGB"), ("YCbCr-4:2:2", "YBR_FULL_422"), ("YCbCr-4:2:0", "YBR_PARTIAL_420")],
)
def test_the_four_samplings_of_dicom(sampling: str, photometric: str) -> None:
    video = VideoFormat(16, 8, sampling=sampling, depth=10)
    assert video.photometric_interpretation == photometric
    assert (video.bits_allocated, video.transfer_syntax_uid) == (16, PROGRESSIVE)
    with pytest.raises(UsageError):
        _ = VideoFormat(16, 8, sampling="ICtCp-4:2:2").photometric_interpretation
    assert VideoFormat(16, 8, interlaced=True).transfer_syntax_uid == INTERLACED


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"width": 32_768}, {"height": 0}, {"width": 641}, {"depth": 9}, {"sampling": "YUV"},
     {"rate_hz": Fraction(0)}, {"sampling": "YCbCr-4:2:0", "interlaced": True}, {"floating": True},
     {"sampling": "YCbCr-4:2:0", "height": 481}, {"width": 32_766, "height": 32_766}],
)  # fmt: skip
def test_what_can_not_be(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        VideoFormat(**{"width": 640, "height": 480, **wrong})  # type: ignore[arg-type]
