"""Which octets of a frame each packet carries: heads by hand, every plan covers its frame once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.rtv.rfc4175 import Segment, decode_segments, encode_segments, place_of, plan
from dicomlab.rtv.video import STRUCTURE, VideoFormat

HEAD = bytes.fromhex("0000 0500 0000 8000 0078 0001 0000")
"""640x480 in 4:2:2 of 8 bit, as GStreamer sends it: 1280 octets of row 0, then 120 of row 1."""
SEGMENTS = [Segment(0, 0, 0, 1280), Segment(0, 1, 0, 120)]


def test_a_head_of_two_rows() -> None:
    assert decode_segments(HEAD + bytes(1400)) == (0, SEGMENTS, 14)
    assert encode_segments(SEGMENTS) == HEAD[2:]
    second = Segment(1, 5, 630, 1260)
    assert encode_segments([second]).hex() == "04ec" + "8005" + "0276"
    assert decode_segments(b"\0\x07" + encode_segments([second]) + bytes(1260)) == (7, [second], 8)


@pytest.mark.parametrize(
    "octets",
    [b"", HEAD[:7], HEAD[:8], HEAD + bytes(1399), b"\0\0" + bytes.fromhex("000000008000") * 9],
)
def test_heads_that_are_cut_or_too_many(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_segments(octets)


def test_places() -> None:
    video = VideoFormat(640, 480, depth=8)
    assert place_of(Segment(0, 1, 0, 120), video) == 1280
    assert place_of(Segment(0, 479, 638, 4), video) == video.frame_octets - 4
    fields = VideoFormat(640, 481, depth=8, interlaced=True)
    assert place_of(Segment(1, 0, 2, 4), fields) == 241 * 1280 + 4
    small = VideoFormat(8, 4, sampling="YCbCr-4:2:0", depth=8)
    assert place_of(Segment(0, 2, 2, 6), small) == 24 + 6


@pytest.mark.parametrize(
    ("segment", "more"),
    [
        (Segment(0, 480, 0, 4), {}), (Segment(0, 0, 1, 4), {}), (Segment(0, 0, 0, 3), {}), (Segment(0, 0, 638, 8), {}),
        (Segment(1, 0, 0, 4), {}), (Segment(1, 240, 0, 4), {"interlaced": True}), (Segment(0, 0, 640, 4), {}),
        (Segment(0, 1, 0, 6), {"sampling": "YCbCr-4:2:0"}),
    ],
)  # fmt: skip
def test_segments_beyond_the_picture(segment: Segment, more: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        place_of(segment, VideoFormat(640, 480, depth=8, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", ["2110GPM", "2110BPM"])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("sampling", [s for s in STRUCTURE if s.startswith(("YCbCr", "RGB"))])
def test_a_plan_covers_a_frame_once_and_says_so_in_its_heads(sampling: str, depth: int, packing: str) -> None:
    for interlaced in (False, True):
        if sampling.endswith("4:2:0") and interlaced:
            continue
        video = VideoFormat(312, 34, sampling=sampling, depth=depth, packing=packing, interlaced=interlaced)
        if packing == "2110BPM" and 180 % video.pgroup[0]:
            with pytest.raises(UsageError):
                plan(video)
            continue
        at = 0
        packets = plan(video)
        for packet in packets:
            assert packet.start == at
            payload = b"\0\0" + packet.header + bytes(packet.length)
            assert len(payload) + 12 <= 1452
            _, segments, begins = decode_segments(payload)
            assert len(payload) - begins == packet.length
            for segment in segments:
                assert segment.field == packet.field
                assert place_of(segment, video) == at
                at += segment.length
        assert at == video.frame_octets
        assert [p.marker for p in packets].count(True) == video.fields
        if packing == "2110BPM":
            (length,) = {p.length for p in packets if not p.marker}
            assert length == 1260 or (length % 180 == 0 and video.row_octets < 630)


def test_the_usual_ones_are_uniform() -> None:
    for width, height, length in ((1920, 1080, 1200), (3840, 2160, 1200), (320, 240, 800), (1280, 720, 1066.66)):
        lengths = {p.length for p in plan(VideoFormat(width, height))}
        assert len(lengths) == 1
        assert length - 270 < lengths.pop() <= 1432


def test_gstreamers_numbers_of_interlaced_rows() -> None:
    video = VideoFormat(320, 240, depth=8, interlaced=True)
    heads = [decode_segments(b"\0\0" + p.header + bytes(p.length))[1][0] for p in plan(video, frame_rows=True)]
    assert {s.row % 2 for s in heads if s.field == 0} == {0}
    assert {s.row % 2 for s in heads if s.field == 1} == {1}
    assert max(s.row for s in heads) == 239


def test_packets_too_small_for_a_group() -> None:
    with pytest.raises(UsageError):
        plan(VideoFormat(320, 240), 24)
    with pytest.raises(UsageError):
        plan(VideoFormat(320, 240, packing="2110BPM"), 200)


@given(st.binary(max_size=40))
def test_any_octets(octets: bytes) -> None:
    video = VideoFormat(64, 64)
    try:
        for segment in decode_segments(octets)[1]:
            assert place_of(segment, video) + segment.length <= video.frame_octets
    except RemoteProtocolError:
        return
