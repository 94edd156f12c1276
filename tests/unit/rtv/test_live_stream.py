"""Sender and receiver end to end, on loopback: every picture with its own metadata, and nobody else's."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomlab import trace
from dicomlab.errors import Refused, RemoteProtocolError, Unreachable, UsageError
from dicomlab.rtv.broadcast import Broadcast
from dicomlab.rtv.frames import Frame
from dicomlab.rtv.iods import bulk_flows_of
from dicomlab.rtv.live_stream import LiveStream
from dicomlab.rtv.sdp import Session
from dicomlab.rtv.sources import packed_rgb
from dicomlab.rtv.udp import ReceivingSocket
from dicomlab.rtv.video import VideoFormat
from tests.peers.processes import free_port

SMALL = VideoFormat(64, 48, depth=8)
PICTURES = list(np.random.default_rng(3).integers(0, 256, (8, 48, 64, 3), np.uint8))
PACKED = [packed_rgb(picture, SMALL) for picture in PICTURES]
ADA = {"PatientName": "Synthetic^Ada", "PatientID": "SYN-1"}


@contextmanager
def on_air(**options: Any) -> Iterator[tuple[Broadcast, LiveStream]]:
    """A sender of small pictures at 50 Hz, and who receives it; the receiver is there first."""
    given = {"format": SMALL, "rate_hz": 50, "loop": True, "fictional": True, **ADA, **options}
    cast = Broadcast(given.pop("video", PACKED), **given)
    with LiveStream(cast, pool_frames=64, queue_frames=60) as live, cast:
        yield cast, live


def test_every_frame_comes_with_the_metadata_of_its_own_timestamp() -> None:
    with on_air() as (_, live):
        frames = [frame.copy() for frame in live.frames(20)]
    numbers = []
    for frame in frames:
        assert frame.complete
        dynamic: Any = frame.metadata.dynamic  # type: ignore[union-attr]
        number = dynamic.FrameContentSequence[0].FrameAcquisitionNumber
        numbers.append(number)
        assert frame.packed.tobytes() == PACKED[(number - 1) % 8].tobytes()
        assert frame.origin_ns == frame.sync_ns
        assert frame.latency_ms is not None
        assert frame.latency_ms > 0
        dataset: Any = frame.dataset
        assert dataset.PatientName == "Synthetic^Ada"
        assert dataset[0x00060001].value[0] == dynamic
        assert 0x00060001 not in frame.metadata.static  # type: ignore[union-attr]
        assert "Synthetic^Ada" in repr(frame)
    assert numbers == list(range(numbers[0], numbers[0] + 20))
    assert np.abs(frames[0].to_rgb().astype(int) - PICTURES[(numbers[0] - 1) % 8]).mean() < 60  # chroma is halved
    assert live.state == "ended"


def test_tables_of_frames_and_of_the_network() -> None:
    with on_air() as (_, live):
        for _ in live.frames(10):
            pass
        statistics = live.statistics()
        table = live.to_dataframe()
    assert list(statistics["flow"]) == ["video", "metadata"]
    assert statistics["lost"].tolist() == [0, 0]
    assert statistics["dropped_by_system"].tolist() == [0, 0]
    assert statistics.loc[0, "latency_ms"] > 0
    assert len(table) >= 10
    assert table["paired"].all()
    assert table["complete"].all()
    assert table["FrameAcquisitionNumber"].diff().dropna().eq(1).all()
    assert str(table["FrameOriginTimestamp"].dtype) == "datetime64[us]"
    assert set(table["PatientID"]) == {"SYN-1"}


def test_a_trace_reads_packets() -> None:
    with trace() as wire, on_air() as (_, live):
        for _ in live.frames(3):
            pass
    counts = wire.counts()
    assert counts["RTP 96"] > 3
    assert counts["RTP 104"] >= 3
    assert {event.direction for event in wire} == {"sent", "received"}
    assert "timestamp" in next(event.text for event in wire if event.channel.protocol == "RTP")
    assert next(event.text for event in wire).startswith("SDP: 2 flows")


def test_flows_on_air_stand_beside_their_instances() -> None:
    with on_air() as (cast, live):
        next(iter(live.frames(1)))
        table = live.flows()
    video, metadata = cast.flows
    assert table["FlowIdentifier"].tolist() == [str(video.flow)]
    assert table["SOPInstanceUID"].tolist() == [metadata.sop_instance_uid]
    assert table["FlowTransferSyntaxUID"].tolist() == ["1.2.840.10008.1.2.7.1"]


def test_callbacks_and_the_latest_frame() -> None:
    seen, enough = [], threading.Event()

    def take(frame: Any) -> None:
        seen.append(frame.timestamp)
        if len(seen) == 5:
            enough.set()
        if len(seen) == 8:
            raise ValueError("no more")

    with on_air() as (_, live):
        live.on_frame(take)
        assert enough.wait(10)
        assert live.latest is not None
        for _ in live.frames(10):
            pass
        assert any("no more" in warning for warning in live.warnings)
    assert seen == sorted(set(seen))


def test_audio_with_its_metadata_and_in_a_rendition_with_the_video() -> None:
    ramp = np.arange(-24_000, 24_000, dtype=np.int32)[:, None].repeat(2, 1)
    with on_air(audio=ramp) as (_, live):
        for _ in live.frames(40):
            pass
        renditions = live.renditions()
        blocks = live.audio
        assert live.verify()
    samples = np.concatenate([block.samples for block in blocks])
    steps = np.diff(samples[:, 0])
    assert set(steps.tolist()) <= {1, -47_999}
    assert len(samples) > 10_000
    assert sum(block.gap_samples for block in blocks) == 0
    paired = [block for block in blocks if block.metadata is not None]
    assert len(paired) > len(blocks) // 2
    assert {block.metadata.static.SOPClassUID for block in paired if block.metadata.static} == {"1.2.840.10008.10.3"}  # type: ignore[union-attr]
    ((title, flows),) = [(one["title"], one["flows"]) for one in renditions]
    assert title == "130371"
    assert [known.identity.uid for uid, known, _ in flows] == [uid for uid, *_ in flows]
    assert [bulk.sampling_rate_hz for _, _, (bulk,) in flows] == [90_000, 48_000]


def test_what_is_on_air_is_found_like_anything_else() -> None:
    with on_air(StudyDescription="Colonoscopy") as (_, live):
        next(iter(live.frames(1)))
        found = live.find("instance", PatientID="SYN-*", include=["StudyDescription"], progress=False)
        assert found.to_dataframe().loc[0, "StudyDescription"] == "Colonoscopy"
        assert found.to_dataframe().loc[0, "SOPClassUID"] == "1.2.840.10008.10.1"
        assert len(live.find("study", PatientID="OTHER", progress=False)) == 0
        assert len(live.find("study", PatientName="SYNTHETIC^*", progress=False)) == 1


def test_nothing_is_shown_before_the_first_static_part() -> None:
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, loop=True, **ADA)
    cast.faults.late_static(0.4)
    with LiveStream(cast) as live, cast:
        first = next(iter(live.frames(1)))
        assert first.dataset is not None
        hidden = live.statistics().loc[0, "before_static"]
        assert hidden >= 15
        assert len(live.to_dataframe()) <= cast.sent - hidden
    assert cast.faults.struck["late_static"] >= 15


def test_a_change_of_patient_blanks_the_identity_until_the_new_static_part_is_whole() -> None:
    with on_air() as (cast, live):
        frames = iter(live.frames())
        before = next(frames)
        cast.faults.late_static(0.3)
        cast.change_patient(PatientName="Synthetic^Ben", PatientID="SYN-2")
        shown: list[tuple[str, str | None]] = []
        while not shown or shown[-1][1] != "SYN-2":
            frame = next(frames)
            uid = frame.metadata.meta.sop_instance_uid if frame.metadata else ""
            shown.append((uid, frame.dataset.PatientID if frame.dataset is not None else None))
            del frame
        old: Any = before.metadata
        assert {who for uid, who in shown if uid == old.meta.sop_instance_uid} <= {"SYN-1"}
        new = [who for uid, who in shown if uid not in ("", old.meta.sop_instance_uid)]
        assert new.count(None) >= 10
        assert new == [None] * new.count(None) + ["SYN-2"]
        study = live.find("study", progress=False).to_dataframe()
    assert study["PatientID"].tolist() == ["SYN-2"]
    assert study["StudyInstanceUID"].tolist() != [before.dataset.StudyInstanceUID]  # type: ignore[union-attr]


def test_a_static_part_at_the_start_is_taken_at_once() -> None:
    """The first Grain of the new SOP Instance has it, and a new SSRC: no frame is without identity."""
    with on_air() as (cast, live):
        frames = iter(live.frames())
        next(frames)
        cast.change_patient(PatientName="Synthetic^Ben", PatientID="SYN-2")
        known = []
        while not known or known[-1] != "SYN-2":
            frame = next(frames)
            known.append(frame.dataset.PatientID if frame.dataset is not None else "")
        assert set(known) <= {"SYN-1", "SYN-2", ""}
        assert known.count("") <= 1
        assert live.statistics().loc[1, "restarts"] == 1


def test_lost_packets_are_counted_and_show_as_a_gap() -> None:
    with on_air() as (cast, live):
        next(iter(live.frames(1)))
        cast.faults.drop(every=70, flow="video")
        damaged = None
        for frame in live.frames(40):
            if frame.gaps:
                damaged = frame.copy()
                break
        assert damaged is not None
        lost = int(damaged.missing.sum())
        assert lost in range(64, 64 * 12)
        rgb = damaged.to_rgb()
        assert (rgb[damaged.missing] == (255, 0, 255)).all()
        assert "never came" in repr(damaged)
        cast.faults.clear()
        for _ in live.frames(5):
            pass
        assert live.statistics().loc[0, "lost"] == cast.faults.struck["drop"] > 0


def test_reordered_and_doubled_packets_change_nothing() -> None:
    with on_air(packet_octets=500) as (cast, live):
        cast.faults.reorder(every=7, overtaken_by=2, flow="video")
        cast.faults.duplicate(every=5)
        frames = [frame.copy() for frame in live.frames(30)]
        row = live.statistics().loc[0]
    known = {packed.tobytes() for packed in PACKED}
    whole = [frame for frame in frames if frame.complete]
    assert len(whole) > 20  # the last packet of a frame may be held back until the next one, and too long
    assert all(frame.packed.tobytes() in known for frame in whole)
    assert row["reordered"] > 0
    assert row["duplicates"] > 0
    assert row["lost"] <= 1  # one that is held back now


def test_lost_metadata_leaves_its_frame_without_any() -> None:
    with on_air() as (cast, live):
        next(iter(live.frames(1)))
        cast.faults.drop(every=5, flow="metadata")
        frames = [frame.copy() for frame in live.frames(25)]
    without = [frame for frame in frames if frame.metadata is None]
    assert without
    assert all(frame.dataset is None for frame in without)
    assert "metadata missing" in repr(without[0])
    for frame in frames:
        if frame.metadata is not None:
            dynamic: Any = frame.metadata.dynamic
            number = dynamic.FrameContentSequence[0].FrameAcquisitionNumber
            assert frame.packed.tobytes() == PACKED[(number - 1) % 8].tobytes()


def test_multicast_with_a_source_filter() -> None:
    with on_air(to="239.192.7.1", port=21_340 + os.getpid() % 1000 * 2, interface="127.0.0.1") as (cast, _):
        assert "a=source-filter: incl IN IP4 239.192.7.1 127.0.0.1" in cast.sdp
        with LiveStream(cast, interface="127.0.0.1") as again:
            assert next(iter(again.frames(1))).complete


def test_over_ipv6() -> None:
    with on_air(to="::1") as (cast, live):
        assert "c=IN IP6 ::1" in cast.sdp
        assert next(iter(live.frames(1))).metadata is not None


def test_two_paths_of_which_each_loses_much() -> None:
    """ST 2022-7: our own filter drops on one path only what the other still has."""
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, loop=True, to=["127.0.0.1", "127.0.0.2"], **ADA)
    assert "a=group:DUP video-1 video-2" in cast.sdp
    with LiveStream(cast) as live:
        with cast:
            assert all(frame.complete for frame in live.frames(20))
        row = live.statistics().loc[0]
        assert row["duplicates"] > 0
        assert row["lost"] == 0


def test_stereo_as_two_flows_is_paired() -> None:
    left, right = PACKED[:4], PACKED[4:]
    with on_air(video=left, right=right) as (_, live):
        pairs = [(a.copy(), b.copy()) for a, b in live.pairs(6)]
        (rendition,) = live.renditions() or [None]
    for a, b in pairs:
        assert a.timestamp == b.timestamp
        at = [packed.tobytes() for packed in left].index(a.packed.tobytes())
        assert b.packed.tobytes() == right[at].tobytes()
        assert a.metadata.meta.sop_instance_uid != b.metadata.meta.sop_instance_uid  # type: ignore[union-attr]
    assert rendition is None or rendition["title"] == "130372"


def test_a_flow_has_its_own_metadata_whatever_their_order_in_the_sdp() -> None:
    cast = Broadcast(PACKED, right=PACKED[::-1], format=SMALL, rate_hz=50, loop=True, **ADA)
    sessions = dict(cast.device.sessions_by_flow())
    swapped = [sessions[name] for name in ("left", "right", "right-metadata", "left-metadata")]
    with LiveStream(swapped, pool_frames=64, queue_frames=60) as live, cast:
        for frame in live.frames(20):
            if frame.metadata is not None:
                (told,) = bulk_flows_of(frame.metadata.static) if frame.metadata.static is not None else [frame]
                assert told.flow == frame.flow
        table = live.to_dataframe()
    assert table["paired"].sum() > 10
    assert table["FlowIdentifier"].nunique() == 2


def test_stereo_in_one_flow_says_so() -> None:
    with on_air(stereo=True) as (_, live):
        frame = next(iter(live.frames(1)))
        assert frame.dataset.StereoPairsPresent == "YES"  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="1 video flows"):
            next(live.pairs())


def test_the_static_part_comes_at_least_each_second() -> None:
    with on_air(static_every_s=0.3) as (_, live):
        for _ in live.frames(60):
            pass
        (metadata,) = live._opened().metadata
        assert 0 < metadata.longest_without_static_ns < 1_000_000_000


IPV6_GROUP = """
import numpy as np
from dicomlab import Broadcast, LiveStream
from dicomlab.rtv.video import VideoFormat
video = VideoFormat(64, 48, rate_hz=50)
frames = [np.zeros(video.frame_octets, np.uint8)]
cast = Broadcast(frames, format=video, loop=True, to="ff15::7:1", port=21340, interface="net0", PatientID="SYN-1")
assert "o=- " in cast.sdp and "IN IP6 fd00:7::1" in cast.sdp
assert "a=source-filter: incl IN IP6 ff15::7:1 fd00:7::1" in cast.sdp
other = cast.sdp.replace("ff15::7:1 fd00:7::1", "ff15::7:1 fd00:7::2")  # another sender is meant
with LiveStream(cast, interface="net0") as live, LiveStream(other, interface="net0") as deaf, cast:
    assert all(frame.complete and frame.metadata for frame in live.frames(5))
    assert deaf.latest is None and deaf.state == "waiting"
print("received")
"""
NETWORK = (
    "ip link set lo up && ip link add net0 type bridge && ip link set net0 up &&"
    " ip -6 addr add fd00:7::1/64 dev net0 nodad && exec"
)


def test_an_ipv6_group_with_a_source_filter() -> None:
    """In a network of its own, which nothing leaves, where the system lets us make one; else no way leads there."""
    made = ["unshare", "-rn", "sh", "-c", f'{NETWORK} "$@"', "sh"]
    try:
        can = subprocess.run([*made, "true"], capture_output=True, timeout=30, check=False).returncode == 0
    except FileNotFoundError:
        can = False
    if not can:
        with pytest.raises(UsageError, match="no network"):
            Broadcast(PACKED, format=SMALL, to="ff15::7:1", port=21_340, interface="net0").start()
        return
    done = subprocess.run(
        [*made, sys.executable, "-c", IPV6_GROUP], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "received\n", done.stderr


@pytest.mark.full
def test_the_static_part_comes_at_least_each_second_for_ten_seconds() -> None:
    with on_air() as (_, live):
        for _ in live.frames(500):
            pass
        (metadata,) = live._opened().metadata
        assert 0 < metadata.longest_without_static_ns < 1_000_000_000


def test_the_end_is_heard() -> None:
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, **ADA)
    with LiveStream(cast) as live:
        with cast:
            assert len(list(live)) == 8
            assert cast.wait(10)
        assert live.state == "ended"


def test_an_sdp_file_a_text_and_one_file_for_each_flow(tmp_path: Path) -> None:
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, loop=True, **ADA)
    written = cast.write_sdp(tmp_path)
    assert [path.name for path in written] == ["all.sdp", "video.sdp", "video-metadata.sdp"]
    for source in (written[0], cast.sdp, written[1:]):
        with LiveStream(source) as live, Broadcast(
            PACKED, format=SMALL, rate_hz=50, port=cast.device.port, loop=True, **ADA
        ):  # fmt: skip
            assert next(iter(live.frames(1))).metadata is not None


def test_plain_st_2110_without_metadata() -> None:
    with on_air(metadata=False) as (_, live):
        frame = next(iter(live.frames(1)))
        assert frame.metadata is None
        assert frame.dataset is None
        assert live.verify()


def test_constructing_and_showing_open_nothing() -> None:
    live = LiveStream("/nowhere/at/all.sdp")
    assert "closed" in repr(live)
    assert live.state == "closed"
    with pytest.raises(UsageError, match="no session description"):
        live.start()


def test_what_can_not_be_received(tmp_path: Path) -> None:
    with pytest.raises(RemoteProtocolError):
        LiveStream("v=0\nc=IN IP4 127.0.0.1\nm=video 21000 RTP/AVP 96\na=rtpmap:96 jxsv/90000\n").start()
    with pytest.raises(RemoteProtocolError, match="no flow"):
        LiveStream("v=0\nc=IN IP4 127.0.0.1\nm=text 21000 RTP/AVP 96\na=rtpmap:96 t140/1000\n").start()
    with pytest.raises(UsageError):
        LiveStream(42).start()
    with pytest.raises(UsageError):
        LiveStream("x", pool_frames=4, queue_frames=3)
    cast = Broadcast(PACKED, format=SMALL)
    with LiveStream(cast):
        with pytest.raises(Refused, match="port"):
            LiveStream(cast).start()
        silent = LiveStream(cast)
        assert not silent.verify(timeout_s=0)


def test_flows_on_ports_that_follow_one_another_and_on_the_last_one() -> None:
    """The port after that of a flow is RTCP's, unless another flow has it, or there is none."""
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, loop=True, **ADA)
    video, metadata = cast.session.media
    first = free_port()
    for ports in ((first, first + 1), (65_535, 65_534)):
        media = (replace(video, port=ports[0]), replace(metadata, port=ports[1]))
        with LiveStream(Session(media)) as live:
            assert live._station is not None
            assert len(live._station.receptions) == 2


def test_a_network_that_goes_away_is_told_to_who_iterates(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_air() as (_, live):
        frames = live.frames()
        next(frames)

        def down(*_: Any) -> None:
            raise OSError(errno.ENETDOWN, "Network is down")

        monkeypatch.setattr(ReceivingSocket, "receive", down)
        with pytest.raises(Unreachable, match="Network is down"):
            for _ in frames:
                pass


def test_who_ends_listening_costs_nobody_else_a_frame() -> None:
    live = LiveStream(Broadcast(PACKED, format=SMALL))
    heard: list[str] = []
    ends = {}
    for name in ("one", "two", "three"):

        def take(_: Any, name: str = name) -> None:
            heard.append(name)
            ends[name]()

        ends[name] = live.hear(take)
    for _ in range(2):
        live._take(Frame(SMALL, 0, PACKED[0]))
    assert heard == ["one", "two", "three"]


def test_silence_says_what_to_look_at() -> None:
    with LiveStream(Broadcast(PACKED, format=SMALL)) as live:
        with pytest.raises(Unreachable, match="no packet"):
            next(live.frames(1, timeout_s=0.01))
        found = live.verify(timeout_s=0)
        assert not found
        assert "nothing comes" in repr(found)


def test_a_slow_reader_loses_old_frames_and_is_told() -> None:
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, loop=True)
    with LiveStream(cast) as live, cast:
        frames = live.frames(12)
        next(frames)
        other = threading.Event()
        live.on_frame(lambda frame: other.set() if live.not_taken >= 3 else None)
        assert other.wait(10)
        for _ in frames:
            pass
    assert live.not_taken >= 3


def test_memory_is_the_pools(tmp_path: Path) -> None:
    cast = Broadcast(PACKED, format=SMALL, rate_hz=50, loop=True)
    with LiveStream(cast) as live, cast:
        kept = [frame for frame, _ in zip(live.frames(), range(12), strict=False)]
        assert len(kept) == 12
        for _ in range(3):
            assert live.latest is not None
        (video,) = [one for one in live._opened().receptions if hasattr(one, "pool")]
        assert len(video.pool.free) <= 4
        kept.clear()
