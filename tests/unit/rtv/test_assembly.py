"""Frames out of packets: every format, any loss, order and repetition; packets that lie."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomlab.rtv.assembly import WINDOW_NS, FrameAssembler
from dicomlab.rtv.rfc4175 import encode_segments, plan
from dicomlab.rtv.rtp import decode_rtp
from dicomlab.rtv.video import VideoFormat
from tests.unit.rtv.vectors import FLOW
from tests.unit.rtv.wire import assembled, assembler, datagrams, frames_of, many, rows, sent

SMALL = VideoFormat(320, 60, depth=8)
FORMATS = [
    SMALL,
    VideoFormat(1920, 8),
    VideoFormat(312, 34, packing="2110BPM"),
    VideoFormat(320, 60, sampling="RGB", depth=8),
    VideoFormat(320, 60, sampling="YCbCr-4:2:0", depth=8),
    VideoFormat(320, 61, Fraction(25), depth=8, interlaced=True),
    VideoFormat(320, 60, Fraction(25), depth=10, interlaced=True, segmented=True),
    VideoFormat(320, 60, Fraction(25), interlaced=True, packing="2110BPM"),
    VideoFormat(30, 40, sampling="YCbCr-4:2:2", depth=16),
]


def feed_rows(one: FrameAssembler, single: Sequence[bytes], at_once: int = 64) -> None:
    for at in range(0, len(single), at_once):
        one.feed(rows(single[at : at + at_once]), at)


@pytest.mark.parametrize(
    "video", FORMATS, ids=lambda v: f"{v.sampling}-{v.depth}-{v.packing}-{v.interlaced}-{v.segmented}"
)
@pytest.mark.parametrize("at_once", [1, 7, 64])
def test_frames_come_back_octet_for_octet(video: VideoFormat, at_once: int) -> None:
    frames = frames_of(video, 5)
    calls = sent(video, frames, sequence32=65_500)
    one = assembler(video)
    for frame in calls:
        feed_rows(one, datagrams(frame), at_once)
    found = list(assembled(one))
    assert [timestamp for timestamp, *_ in found] == [n * 1500 for n in range(5)]
    for (_, octets, rest), frame in zip(found, frames, strict=True):
        assert octets.tobytes() == frame.tobytes()
        assert rest.gaps == ()
        assert rest.items.flow == FLOW
    tracker = one.tracker
    assert (tracker.received, tracker.lost, tracker.duplicates) == (sum(len(datagrams(c)) for c in calls), 0, 0)
    assert (one.whole, one.damaged, one.malformed, one.foreign) == (5, 0, 0, 0)


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize("video", [FORMATS[0], FORMATS[1], FORMATS[3], FORMATS[4]], ids=str)
def test_batches_that_follow_the_plan_give_the_same(video: VideoFormat, identified: bool) -> None:
    frames = frames_of(video, 6)
    calls = sent(video, frames, sequence32=(7 << 16) + 65_400, identified=identified)
    one = assembler(video)
    for frame in calls:
        for octets, stride in frame:
            one.feed(many(octets, stride), 0)
    assert [octets.tobytes() for _, octets, _ in assembled(one)] == [frame.tobytes() for frame in frames]
    per_frame = len(plan(video, 1452 - (68 if identified else 0)))
    assert one.planned >= 4 * (per_frame - 1)
    assert (one.tracker.received, one.tracker.lost) == (6 * per_frame, 0)


def test_a_batch_that_does_not_follow_the_plan_is_read_by_columns() -> None:
    """One octet of one header differs: no octet goes where the plan had it."""
    video = VideoFormat(320, 64, depth=8)
    frames = frames_of(video, 4)
    calls = sent(video, frames, identified=False)
    for place in range(20):
        one = assembler(video)
        for frame in calls[:3]:
            for octets, stride in frame:
                one.feed(many(octets, stride), 0)
        planned = one.planned
        assert planned > 0
        octets, stride = calls[3][0]
        wrong = bytearray(octets)
        wrong[3 * stride + place] ^= 1
        one.feed(many(bytes(wrong), stride), 0)
        assert one.planned == planned, place


@pytest.mark.parametrize("lost", ["first", "middle", "last", "many", "half a batch"])
@pytest.mark.parametrize("video", [FORMATS[0], FORMATS[1], FORMATS[2], FORMATS[5]], ids=str)
def test_a_lost_packet_is_a_gap_and_never_an_old_picture(video: VideoFormat, lost: str) -> None:
    frames = frames_of(video, 8)
    single = [datagrams(frame) for frame in sent(video, frames)]
    packets = plan(video, 1452 - 68)
    gone = {
        "first": [0], "middle": [len(packets) // 2], "last": [len(packets) - 1],
        "many": list(range(1, len(packets), 3)), "half a batch": list(range(5, len(packets) // 2)),
    }[lost]  # fmt: skip
    one = assembler(video, pool=4)
    results = {}
    for number, frame in enumerate(single):
        feed_rows(one, [d for at, d in enumerate(frame) if number != 5 or at not in gone], 16)
        for timestamp, octets, rest in assembled(one):
            results[timestamp] = octets, rest.gaps
    one.finish()
    for timestamp, octets, rest in assembled(one):
        results[timestamp] = octets, rest.gaps
    assert sorted(results) == [n * 1500 for n in range(8)]
    missing = np.zeros(video.frame_octets, bool)
    for at in gone:
        missing[packets[at].start : packets[at].start + packets[at].length] = True
    octets, gaps = results[5 * 1500]
    assert (octets[missing] == 0).all()
    assert (octets[~missing] == frames[5][~missing]).all()
    assert sum(stop - start for start, stop in gaps) == missing.sum()
    for number in (0, 1, 2, 3, 4, 6, 7):
        assert results[number * 1500][0].tobytes() == frames[number].tobytes()
    assert one.tracker.lost == len(gone)
    assert one.damaged == 1


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_every_intact_frame_is_delivered_and_every_lost_packet_counted(seed: int) -> None:
    random_ = random.Random(seed)
    video = FORMATS[random_.randrange(len(FORMATS))]
    frames = frames_of(video, 6, seed)
    per_frame = [datagrams(frame) for frame in sent(video, frames, sequence32=random_.randrange(1 << 32))]
    numbered = [(frame, d) for frame, packets in enumerate(per_frame) for d in packets]
    lost = {n for n in range(1, len(numbered) - 1) if random_.random() < 0.02}
    order = [n for n in range(len(numbered)) if n not in lost]
    order += random_.choices(order, k=10)
    order[1:] = sorted(order[1:], key=lambda n: n + random_.uniform(0, 20))
    order = [0, *[n for n in order if n], len(numbered) - 1]
    one = assembler(video)
    feed_rows(one, [numbered[n][1] for n in order], random_.randrange(1, 65))
    one.finish()
    found = {timestamp: (octets, rest) for timestamp, octets, rest in assembled(one)}
    hurt = {numbered[n][0] for n in lost}
    for number, frame in enumerate(frames):
        if number not in hurt:
            assert found[number * 1500][0].tobytes() == frame.tobytes()
            assert found[number * 1500][1].gaps == ()
        elif number * 1500 in found:
            assert found[number * 1500][1].gaps
    assert one.tracker.lost == len(lost)
    assert one.tracker.received == len(numbered) - len(lost)
    assert list(found) == sorted(found)


def test_two_paths_with_disjoint_losses_give_every_frame() -> None:
    """ST 2022-7: the second copy comes a frame later and fills what the first has lost."""
    video = FORMATS[0]
    frames = frames_of(video, 8)
    single = [datagrams(frame) for frame in sent(video, frames)]
    one = assembler(video, paths=2)
    for number in range(9):
        if number < 8:
            feed_rows(one, [d for at, d in enumerate(single[number]) if at % 3])
        if number:
            feed_rows(one, [d for at, d in enumerate(single[number - 1]) if at % 3 != 1])
    found = list(assembled(one))
    assert [octets.tobytes() for _, octets, _ in found] == [frame.tobytes() for frame in frames]
    assert one.tracker.lost == 0
    assert one.tracker.duplicates > 0


def test_a_missing_packet_is_waited_for_64_packets_on_one_path_and_20_ms_on_two() -> None:
    video = FORMATS[0]
    single = [datagrams(frame) for frame in sent(video, frames_of(video, 4))]
    one = assembler(video)
    feed_rows(one, single[0][1:])
    assert not one.ready
    feed_rows(one, [*single[1], *single[2]][:63], 1)
    assert [t for t, *_ in assembled(one)] == [] if len(single[1]) > 63 else True
    feed_rows(one, [*single[1], *single[2]][63:70], 1)
    assert next(iter(assembled(one)))[0] == 0
    two = assembler(video, paths=2)
    two.feed(rows(single[0][1:50]), 0)
    for frame in single[1:3]:
        feed_rows(two, frame, 16)
    assert not two.ready
    two.expire(WINDOW_NS)
    two.expire(WINDOW_NS + 100)
    assert next(iter(assembled(two)))[0] == 0


def test_gstreamers_interlaced_rows_are_known_after_one_frame() -> None:
    video = VideoFormat(320, 60, Fraction(25), depth=8, interlaced=True)
    frames = frames_of(video, 4)
    one = assembler(video)
    single = [datagrams(frame) for frame in sent(video, frames, identified=False)]
    heads = [p.header for p in plan(video, frame_rows=True)]
    for frame in single:
        feed_rows(one, [d[:14] + head + d[14 + len(head) :] for d, head in zip(frame, heads, strict=True)])
    one.finish()
    assert one.frame_rows
    found = {t: octets.tobytes() for t, octets, rest in assembled(one) if not rest.gaps}
    assert [found.get(n * 1500) for n in (1, 2, 3)] == [frame.tobytes() for frame in frames[1:]]


def test_no_more_buffers_than_the_pool_has() -> None:
    video = FORMATS[0]
    single = [datagrams(frame) for frame in sent(video, frames_of(video, 12))]
    one = assembler(video, pool=4)
    kept = []
    for frame in single:
        feed_rows(one, frame)
        kept += [one.ready.popleft() for _ in range(len(one.ready))]
    assert len(kept) == 4
    assert one.without_buffer == 8 * len(single[0])
    array = np.asarray(kept[0].lease)
    kept.clear()
    assert len(one._pool.free) == 3  # type: ignore[attr-defined]
    view = array[10:20]
    del array
    assert len(one._pool.free) == 3  # type: ignore[attr-defined]
    del view
    assert len(one._pool.free) == 4  # type: ignore[attr-defined]


def test_another_sender_is_foreign_until_it_has_sent_two_in_order() -> None:
    video = FORMATS[0]
    frames = frames_of(video, 3)
    ours = [datagrams(f) for f in sent(video, frames, ssrc=7)]
    theirs = [datagrams(f) for f in sent(video, frames, ssrc=8, sequence32=500)]
    one = assembler(video)
    for n, datagram in enumerate(ours[0]):
        one.feed(rows([datagram, theirs[0][0]] if n % 10 == 5 else [datagram]), 0)
    assert [octets.tobytes() for _, octets, _ in assembled(one)] == [frames[0].tobytes()]
    assert one.foreign == len(ours[0]) // 10
    for frame in theirs:
        feed_rows(one, frame)
    one.finish()
    assert one.ssrc == 8
    assert one.tracker.restarts == 1
    assert [octets.tobytes() for _, octets, rest in assembled(one) if not rest.gaps][-2:] == [
        f.tobytes() for f in frames[1:]
    ]


def test_wraps_of_the_sequence_number_that_nobody_saw_are_counted() -> None:
    video = FORMATS[0]
    frames = frames_of(video, 4)
    one = assembler(video)
    count = len(plan(video, 1452 - 68))
    start = 65_536 * 5 + 10
    for at, frame in zip((0, count, 2 * count + (3 << 16), 3 * count + (3 << 16)), frames, strict=True):
        (calls,) = sent(video, [frame], sequence32=start + at)
        feed_rows(one, [d[:4] + at.to_bytes(4, "big") + d[8:] for d in datagrams(calls)])
    assert one.tracker.lost in (3 << 16, 0)  # 0: the number had not been seen to move before
    one = assembler(video)
    for at in (65_536 - count, 65_536, 65_536 + count + (3 << 16), 65_536 + 2 * count + (3 << 16)):
        (calls,) = sent(video, frames[:1], sequence32=at)
        feed_rows(one, [d[:4] + at.to_bytes(4, "big") + d[8:] for d in datagrams(calls)])
    assert one.tracker.lost == 3 << 16


LIES = {
    "row beyond": encode_segments([]) + bytes.fromhex("0280 003c 0000"),
    "offset beyond": bytes.fromhex("0280 0000 0002"),
    "half a group": bytes.fromhex("027e 0000 0000"),
    "second field": bytes.fromhex("0280 8000 0000"),
    "longer than the packet": bytes.fromhex("0284 0000 0000"),
    "more heads than eight": bytes.fromhex("0004 0000 8000") * 9,
}


@pytest.mark.parametrize("lie", LIES)
def test_packets_that_lie_touch_nothing(lie: str) -> None:
    video = FORMATS[0]
    (calls,) = sent(video, frames_of(video, 1), identified=False)
    single = datagrams(calls)
    one = assembler(video)
    head = LIES[lie]
    feed_rows(one, [single[0], single[1][:14] + head + single[1][20 : 20 + 640 + 6 - len(head)], *single[2:]])
    one.finish()
    ((_, _, rest),) = assembled(one)
    assert one.malformed == 1
    assert rest.gaps == ((640, 1280),)
    assert one.tracker.lost == 0


@pytest.mark.parametrize("cut", [0, 1, 11, 12, 13, 19, 20])
def test_packets_too_short_to_be_any(cut: int) -> None:
    video = FORMATS[0]
    (calls,) = sent(video, frames_of(video, 1), identified=False)
    single = datagrams(calls)
    one = assembler(video)
    feed_rows(one, [single[0], single[1][:cut], *single[2:]])
    one.feed(many(single[1][:cut] or b"x", max(cut, 1)), 0)
    one.finish()
    ((_, _, rest),) = assembled(one)
    assert rest.gaps == ((640, 1280),)
    assert one.malformed >= 1


def mutated(seed: int, rounds: int) -> None:
    video = FORMATS[seed % len(FORMATS)]
    random_ = random.Random(seed)
    per_frame = [datagrams(frame) for frame in sent(video, frames_of(video, 4))]
    one = assembler(video, pool=4)
    for turn in range(rounds):
        batch = []
        for datagram in random_.choices(per_frame[turn % 4], k=random_.randrange(1, 9)):
            changed = bytearray(datagram[: random_.choice([len(datagram), random_.randrange(len(datagram) + 1)])])
            for _ in range(random_.randrange(4)):
                if changed:
                    at = random_.randrange(min(len(changed), 90))
                    changed[at] = random_.choice([0, 0xFF, changed[at] ^ 1 << random_.randrange(8)])
            batch.append(bytes(changed))
        if turn % 2:
            one.feed(rows(batch), turn)
        else:
            octets = b"".join(batch)
            one.feed(many(octets or b"\0", random_.choice([len(batch[0]) or 1, 1 + len(octets) // 2])), turn)
        one.ready.clear()
        one.expire(turn * 10_000)
        assert len(one._open) <= 6
    one.finish()
    one.ready.clear()
    assert len(one._pool.free) == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(6))
def test_mutated_packets(seed: int) -> None:
    mutated(seed, 150)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(9))
def test_mutated_packets_in_great_number(seed: int) -> None:
    mutated(seed, 3000)


def test_our_header_fields_are_those_of_rfc_3550() -> None:
    (calls,) = sent(SMALL, frames_of(SMALL, 1), sequence32=0x0001FFFE)
    packets = [decode_rtp(d) for d in datagrams(calls)]
    assert [p.sequence for p in packets[:3]] == [0xFFFE, 0xFFFF, 0]
    assert [bytes(p.payload[:2]).hex() for p in packets[:3]] == ["0001", "0001", "0002"]
    assert [p.marker for p in packets] == [False] * (len(packets) - 1) + [True]
    assert {p.payload_type for p in packets} == {96}
