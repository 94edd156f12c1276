"""What can be sent, from where, and what is refused before anything is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from dicomlab import Broadcast, LiveStream
from dicomlab.errors import Interrupted, RemoteProtocolError, Unreachable, UsageError
from dicomlab.rtv.encode import VideoEncoder, transfer_syntax
from dicomlab.rtv.extension import GrainItems
from dicomlab.rtv.faults import StreamFaults
from dicomlab.rtv.metadata import CameraPosition
from dicomlab.rtv.rfc4175 import decode_segments
from dicomlab.rtv.rtcp import Bye, SenderReport, decode_rtcp
from dicomlab.rtv.rtp import decode_rtp
from dicomlab.rtv.sender import Line, VideoSender
from dicomlab.rtv.sources import packed_rgb, video_source
from dicomlab.rtv.udp import ReceivingSocket
from dicomlab.rtv.video import VideoFormat
from dicomlab.samples.phantom import write_phantom

SMALL = VideoFormat(64, 48, depth=8, sampling="RGB", range="FULL")
PICTURES = list(np.random.default_rng(9).integers(0, 256, (5, 48, 64, 3), np.uint8))


def first_frames(cast: Broadcast, count: int) -> list[Any]:
    with LiveStream(cast, pool_frames=64, queue_frames=60) as live, cast:
        return [frame.copy() for frame in live.frames(count)]


def test_a_generator_is_sent_to_its_end() -> None:
    cast = Broadcast((picture for picture in PICTURES), format=SMALL, rate_hz=50)
    frames = first_frames(cast, 5)
    assert [any((f.to_rgb() == p).all() for p in PICTURES) for f in frames] == [True] * 5
    assert cast.wait(5)
    assert cast.sent == 5
    assert not cast.on_air


@pytest.mark.parametrize("where", ["pictures", "per_frame"])
def test_what_breaks_off_is_told_to_who_waits(where: str) -> None:
    def pictures() -> Iterator[Any]:
        yield from PICTURES[:2]
        raise KeyError("no camera")

    def facts(number: int) -> dict[str, Any]:
        return {} if number < 2 else {"no such": "fact"}

    video, more = (pictures(), {}) if where == "pictures" else (PICTURES, {"per_frame": facts})
    with Broadcast(video, rate_hz=50, **more) as cast, pytest.raises(Interrupted, match=r"no camera|no such"):
        cast.wait(20)
    assert cast.sent == 2


@pytest.mark.parametrize("sampling", ["YCbCr-4:2:2", "YCbCr-4:4:4", "YCbCr-4:2:0", "RGB", "BGR"])
@pytest.mark.parametrize("depth", [8, 10, 16])
def test_pictures_are_packed_in_any_format_and_come_back(sampling: str, depth: int) -> None:
    from dicomlab.rtv.samples import rgb_of

    y, x = np.mgrid[0:48, 0:64]
    smooth = np.stack([x * 3, y * 4, (x + y) * 2], axis=-1).astype(np.uint8)
    video = VideoFormat(64, 48, sampling=sampling, depth=depth)
    back = rgb_of(packed_rgb(smooth, video), video).astype(int)
    assert np.abs(back - smooth).mean() < 3


def test_a_video_file(tmp_path: Path) -> None:
    path = tmp_path / "film.ts"
    encoder = VideoEncoder(path, "h264", 64, 48, Fraction(25))
    for shade in range(10):
        encoder.add(np.full((48, 64, 3), shade * 20, np.uint8))
    encoder.finish()
    source = video_source(path, None, None, loop=False)
    assert (source.video.width, source.video.height, source.video.rate_hz) == (64, 48, 25)
    shades = [int(packed_rgb_mean(packed, source.video)) for packed, _ in source.frames]
    assert len(shades) == 10
    assert max(abs(a - b * 20) for b, a in enumerate(shades)) < 12
    looped = video_source(path, None, Fraction(50), loop=True)
    assert looped.video.rate_hz == 50
    assert len([one for one, _ in zip(looped.frames, range(25), strict=False)]) == 25


def packed_rgb_mean(packed: Any, video: VideoFormat) -> float:
    from dicomlab.rtv.samples import rgb_of

    return float(rgb_of(packed, video).mean())


def test_a_stored_single_frame_is_replayed_in_grey(tmp_path: Path) -> None:
    path = write_phantom(tmp_path, patients=1, slices=1)[0]
    source = video_source(path, None, Fraction(10), loop=False)
    ((packed, origin),) = list(source.frames)
    assert (source.video.width, origin) == (64, None)
    assert packed.size == source.video.frame_octets


def test_what_can_not_be_sent(tmp_path: Path) -> None:
    (tmp_path / "no.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 10)
    wrong: list[dict[str, Any]] = [
        {}, {"video": []}, {"video": 42}, {"video": "/nowhere.mp4"}, {"video": [np.zeros((48, 64), np.uint8)]},
        {"video": PICTURES, "format": VideoFormat(32, 32)}, {"video": PICTURES, "sop_class": "x"},
        {"video": PICTURES, "static_every_s": 2}, {"video": PICTURES, "PatientNam": "x"}, {"video": PICTURES, "to": []},
        {"video": PICTURES, "audio": np.zeros(4)}, {"video": PICTURES, "format": VideoFormat(64, 48, sampling="XYZ")},
        {"video": PICTURES, "to": "host.invalid"}, {"video": [PICTURES[0].astype(float)], "format": SMALL},
        {"video": [np.zeros(10, np.uint8)], "format": SMALL}, {"video": (p for p in [])},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(UsageError):
            Broadcast(**options)
    with pytest.raises(RemoteProtocolError):
        Broadcast(tmp_path / "no.dcm")


def test_what_each_frame_says_of_itself() -> None:
    camera = CameraPosition("PERSPECTIVE", (0, 0, 1), (0, 0, 0), (0, 1, 0), (-1, 1, 1, -1, 1, 100))
    cast = Broadcast(
        PICTURES, format=SMALL, rate_hz=50, loop=True, sop_class="photographic",
        per_frame=lambda number: {"includes_subject": number % 2 == 0, "camera": camera},
    )  # fmt: skip
    for frame in first_frames(cast, 4):
        item: Any = frame.metadata.dynamic
        number = item.FrameContentSequence[0].FrameAcquisitionNumber
        assert item.FrameUsefulnessGroupSequence[0].IncludesImagingSubject == ("YES" if number % 2 else "NO")
        assert list(item.CameraPositionGroupSequence[0].ViewpointPosition) == [0, 0, 1]
        assert frame.dataset.Modality == "XC"


def test_timestamps_of_frames_follow_the_clock_and_every_packet_of_a_frame_has_its_frames() -> None:
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=Fraction(60_000, 1001), metadata=False)
    (media,) = cast.session.media
    one = ReceivingSocket(media.address, media.port)
    with cast:
        assert cast.wait(10)
    packets = []
    while (batch := one.receive()) is not None:
        packets += [decode_rtp(bytes(batch.datagram(row))) for row in range(batch.count)]
    one.close()
    stamps = [packet.timestamp for packet in packets]
    distinct = list(dict.fromkeys(stamps))
    assert len(distinct) == 5
    steps = [(b - a) & 0xFFFFFFFF for a, b in pairwise(distinct)]
    assert all(step % 3003 in (0, 1501, 1502) for step in steps)  # more than one where this machine was busy
    assert [p.sequence for p in packets] == [(packets[0].sequence + n) & 0xFFFF for n in range(len(packets))]
    assert [p.marker for p in packets].count(True) == 5


def test_a_goodbye_is_said() -> None:
    cast = Broadcast(PICTURES, format=SMALL, rate_hz=50)
    video = cast.session.media[0]
    control = ReceivingSocket(video.address, video.port + 1)
    with cast:
        assert cast.wait(10)
    batch = control.receive()
    control.close()
    assert batch is not None
    report, _, bye = decode_rtcp(bytes(batch.datagram(0)))
    assert isinstance(report, SenderReport)
    assert report.packets == 5 * 49 or report.packets > 200
    assert bye == Bye((report.ssrc,))


def test_about_and_keywords_describe_the_patient() -> None:
    about = Dataset()
    about.PatientID = "SYN-1"
    cast = Broadcast(PICTURES, format=SMALL, about=about, PatientName="Synthetic^Ada")
    flow = cast.flows[1]
    static: Any = cast.device.static(flow, 0)
    assert (static.PatientID, static.PatientName) == ("SYN-1", "Synthetic^Ada")
    assert "PatientName" not in about
    first = flow.sop_instance_uid
    cast.change_patient(PatientID="SYN-2")
    assert flow.sop_instance_uid != first
    assert cast.device.static(flow, 0).PatientID == "SYN-2"
    assert "silent" in repr(cast)


def test_about_stays_its_owners_and_no_flow_changes_another() -> None:
    about: Any = Dataset()
    about.PatientID, about.SOPInstanceUID, about.SeriesInstanceUID = "SYN-1", "1.2.3", "1.2.4"
    before = copy.deepcopy(about)
    cast = Broadcast(PICTURES, right=PICTURES, format=SMALL, about=about, PatientID="SYN-2")
    flows = [flow for flow in cast.flows if flow.sop_class_uid]
    statics: list[Any] = [cast.device.static(flow, 0) for flow in flows]
    assert about == before
    assert [static.SOPInstanceUID for static in statics] == [flow.sop_instance_uid for flow in flows]
    assert len({static.SeriesInstanceUID for static in statics}) == len(flows) == 3


def test_ptp_is_only_claimed_where_it_is_there() -> None:
    free = Broadcast(PICTURES, format=SMALL)
    assert "a=mediaclk:sender" in free.sdp
    assert "ts-refclk:localmac" in free.sdp
    locked = Broadcast(PICTURES, format=SMALL, time_source="IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:0")
    assert "a=mediaclk:direct=0" in locked.sdp
    assert "a=ts-refclk:ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:0" in locked.sdp
    statics: list[Any] = [cast.device.static(cast.flows[1], 0) for cast in (free, locked)]
    assert [static.AcquisitionTimeSynchronized for static in statics] == ["N", "Y"]


def test_switches_of_faults() -> None:
    faults = StreamFaults()
    faults.drop(every=3)
    faults.duplicate(every=4)
    faults.reorder(every=5, overtaken_by=1)
    out = [octets for n in range(12) for octets in faults.filter("video", bytes([n]))]
    # 2, 5, 8, 11 are lost; 3 and 7 come twice; 4 and 9 come after the one that follows
    assert [one[0] for one in out] == [0, 1, 3, 3, 6, 4, 7, 7, 10, 9]
    assert faults.on_packets
    assert dict(faults.struck) == {"drop": 4, "duplicate": 2, "reorder": 2}
    faults.clear()
    assert not faults.on_packets
    assert faults.filter("video", b"x") == [b"x"]
    faults.reorder(every=2, overtaken_by=1)
    assert faults.filter("video", b"1") == [b"1"]
    assert faults.filter("video", b"2") == []
    faults.clear()
    assert faults.on_packets  # the second one is still held back
    assert faults.filter("video", b"3") == [b"3", b"2"]
    assert not faults.on_packets
    for wrong in (
        faults.drop, lambda: faults.drop(every=1), lambda: faults.drop(pattern=[True]),
        lambda: faults.drop(every=3, flow="x"), lambda: faults.reorder(1), lambda: faults.reorder(3, overtaken_by=3),
        lambda: faults.duplicate(0), lambda: faults.late_static(0),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.parametrize(
    ("codec", "width", "height", "rate", "syntax"),
    [("h264", 1920, 1080, 30, "102"), ("h264", 1920, 1080, 60, "104"), ("h264", 1280, 720, 60, "102"),
     ("hevc", 3840, 2160, 60, "107")],
)  # fmt: skip
def test_levels_of_video(codec: str, width: int, height: int, rate: int, syntax: str) -> None:
    assert transfer_syntax(codec, width, height, Fraction(rate)) == f"1.2.840.10008.1.2.4.{syntax}"
    for wrong in (("h264", 3840, 2160, 30), ("hevc", 7680, 4320, 30), ("av1", 64, 64, 30)):
        with pytest.raises(UsageError):
            transfer_syntax(*wrong[:3], Fraction(wrong[3]))


def test_a_camera_that_is_none_is_told_before_anything_is_sent() -> None:
    with pytest.raises(UsageError, match="no file or camera"):
        Broadcast("/dev/video-that-nobody-has")
    with pytest.raises(Unreachable, match="no camera that gives video"):
        Broadcast("/dev/null")


class Kept:
    """Keeps the datagrams that a socket would send."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.calls: list[int] = []

    def send(self, datagram: bytes) -> None:
        self.datagrams.append(bytes(datagram))

    def send_many(self, octets: memoryview, stride: int) -> None:
        self.calls.append(len(octets))
        self.datagrams += [bytes(octets[at : at + stride]) for at in range(0, len(octets), stride)]


@pytest.mark.parametrize("step", [1, 70, 100_000])
def test_a_large_frame_goes_out_whole_and_in_calls_that_the_system_takes(step: int) -> None:
    video, kept = VideoFormat(640, 481), Kept()
    packed = np.random.default_rng(7).integers(0, 256, video.frame_octets, np.uint8)
    sender = VideoSender(Line("video", 96, [kept], sequence32=0xFFFE), video, 1452)  # type: ignore[list-item]
    sender.begin(packed, [1234], GrainItems(flags=0x80))
    until = 0
    while not sender.done:
        until += step
        sender.advance(until)
    packets = [decode_rtp(one) for one in kept.datagrams]
    assert max(kept.calls) <= 65_507
    assert [one.sequence for one in packets] == [(0xFFFE + at) & 0xFFFF for at in range(sender.count)]
    assert {one.timestamp for one in packets} == {1234}
    assert [one.marker for one in packets] == [False] * (sender.count - 1) + [True]
    parts = [decode_segments(one.payload) for one in packets]
    assert [number for number, _, _ in parts] == [0xFFFE + at >> 16 for at in range(sender.count)]
    octets = b"".join(bytes(one.payload[at:]) for one, (_, _, at) in zip(packets, parts, strict=True))
    assert octets == packed.tobytes()
    assert [segment.row for _, segments, _ in parts for segment in segments] == sorted(
        segment.row for _, segments, _ in parts for segment in segments
    )
