"""RTP headers, and sequence numbers that are lost, late, twice, wrapped."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.rtv.rtp import Jitter, RtpPacket, SequenceTracker, decode_rtp, dissect, encode_rtp
from tests.unit.rtv.vectors import vector

# V=2 X=1 CC=0 | M=1 PT=104 | 65535 | timestamp 832211767 = 319A8B37H | SSRC 12345678H | extension | payload
HEAD = bytes.fromhex("90 e8 ffff 319a8b37 12345678")


def test_a_header_field_by_field() -> None:
    octets = HEAD + vector("extension-a") + b"payload"
    packet = decode_rtp(octets)
    assert (packet.payload_type, packet.sequence, packet.timestamp) == (104, 65535, 832_211_767)
    assert (packet.ssrc, packet.marker, packet.csrcs) == (0x12345678, True, ())
    assert packet.extension == (0xBEDE, vector("extension-a")[4:])
    assert bytes(packet.payload) == b"payload"
    assert encode_rtp(packet) == octets


def test_sources_and_padding() -> None:
    octets = bytes.fromhex("a2 60 0001 00000002 00000003 0000000a 0000000b") + b"ab\0\0\x03"
    packet = decode_rtp(octets)
    assert packet.csrcs == (10, 11)
    assert bytes(packet.payload) == b"ab"


@pytest.mark.parametrize(
    "octets",
    [
        "", "80 60 0001 00000002 000000", "40 60 0001 00000002 00000003", "82 60 0001 00000002 00000003 0000000a",
        "90 60 0001 00000002 00000003 bede", "90 60 0001 00000002 00000003 bede 0002 00000000",
        "a0 60 0001 00000002 00000003 05", "a0 60 0001 00000002 00000003 00",
    ],
)  # fmt: skip
def test_what_is_no_rtp_packet(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_rtp(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "packet",
    [RtpPacket(128, 0, 0, 0), RtpPacket(96, 1 << 16, 0, 0), RtpPacket(96, 0, 0, 0, extension=(0xBEDE, b"abc")),
     RtpPacket(96, 0, 0, 0, csrcs=(1,) * 16), RtpPacket(96, 0, -1, 0)],
)  # fmt: skip
def test_what_can_not_be_encoded(packet: RtpPacket) -> None:
    with pytest.raises(LocalProtocolError):
        encode_rtp(packet)


@given(st.binary(max_size=60))
def test_any_octets_are_a_packet_or_an_error_of_ours(octets: bytes) -> None:
    try:
        packet = decode_rtp(octets)
    except RemoteProtocolError:
        return
    assert len(packet.payload) <= len(octets) - 12


@given(
    st.builds(
        RtpPacket, st.integers(0, 127), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
        st.binary(max_size=40), st.booleans(), st.lists(st.integers(0, 2**32 - 1), max_size=15).map(tuple),
        st.none() | st.tuples(st.integers(0, 65535), st.binary(max_size=8).map(lambda b: b + bytes(-len(b) % 4))),
    )
)  # fmt: skip
def test_packets_come_back(packet: RtpPacket) -> None:
    again = decode_rtp(encode_rtp(packet))
    assert (bytes(again.payload), again.csrcs, again.extension, again.marker) == (
        packet.payload, packet.csrcs, packet.extension, packet.marker,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- sequence


def feed(numbers: list[int]) -> tuple[SequenceTracker, list[int]]:
    """Feed 16-bit numbers one by one; the unwrapped ones that were fresh."""
    tracker = SequenceTracker()
    fresh = []
    for number in numbers:
        first, mask = tracker.observe(number & 0xFFFF)
        if first >= 0 and (mask is None or mask[0]):
            fresh.append(first - (1 << 16))
    return tracker, fresh


def test_the_wrap_is_no_loss() -> None:
    tracker, fresh = feed(list(range(65_530, 65_550)))
    assert fresh == list(range(65_530, 65_550))
    assert (tracker.received, tracker.lost, tracker.duplicates) == (20, 0, 0)


def test_lost_late_and_twice() -> None:
    tracker, fresh = feed([10, 11, 13, 12, 13, 15, 15, 11])
    assert fresh == [10, 11, 13, 12, 15]
    assert (tracker.received, tracker.lost, tracker.reordered, tracker.duplicates) == (5, 1, 1, 3)


def test_a_number_of_long_ago_is_no_duplicate() -> None:
    tracker, _ = feed([*range(70_000), 70_001, 70_000])
    assert (tracker.received, tracker.lost, tracker.duplicates) == (70_002, 0, 0)


def test_a_sender_that_began_anew_is_believed_at_its_second_packet() -> None:
    tracker, _ = feed([40_000, 40_001, 20_000, 40_002])
    assert (tracker.received, tracker.restarts) == (3, 0)
    tracker, _ = feed([40_000, 40_001, 20_000, 20_001, 20_002])
    assert (tracker.received, tracker.restarts, tracker.lost) == (4, 1, 0)


@given(st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_counts_are_exact_for_any_pattern_within_the_window(start: int, seed: int) -> None:
    """The reference counts with a set of numbers, one by one."""
    random_ = random.Random(seed)
    sent = [n for n in range(start, start + 2000) if random_.random() > 0.1]
    sent = [start, *sent, *random_.choices(sent, k=100), start + 2000]
    middle = sent[1:-1]
    middle.sort(key=lambda n: n + random_.uniform(0, 30))
    tracker, fresh = feed([sent[0], *middle, sent[-1]])
    assert sorted(fresh) == sorted(set(sent))
    assert tracker.received == len(set(sent))
    assert tracker.duplicates == len(sent) - len(set(sent))
    assert tracker.lost == 2001 - len(set(sent))


@given(st.integers(0, 2**32 - 1))
def test_runs_count_as_their_packets_do(seed: int) -> None:
    random_ = random.Random(seed)
    runs = []
    at = random_.randrange(65536)
    for _ in range(60):
        at += random_.choice([0, 0, 0, 3, -5])
        runs.append((at, random_.randrange(1, 40)))
        at += runs[-1][1]
    one, by_one = SequenceTracker(), []
    for first, count in runs:
        number, mask = one.observe(first & 0xFFFF, count)
        came = np.ones(count, bool) if mask is None else mask
        by_one += [number + i for i in np.flatnonzero(came)]
    other, single = feed([n for first, count in runs for n in range(first, first + count)])
    assert (one.received, one.lost, one.duplicates) == (other.received, other.lost, other.duplicates)
    assert [n - (1 << 16) for n in by_one] == single


def test_what_wrapped_unseen_is_counted_where_something_else_tells() -> None:
    tracker = SequenceTracker()
    tracker.observe(0, 10)
    first, _ = tracker.observe(10, 5, wraps=2)
    assert first - (1 << 16) == 10 + (2 << 16)
    assert tracker.lost == 2 << 16


def test_jitter_of_a_steady_stream_is_nothing_and_of_an_unsteady_one_something() -> None:
    steady, unsteady = Jitter(90_000), Jitter(90_000)
    for n in range(100):
        steady.observe(n * 1500, n * 16_666_667)
        unsteady.observe(n * 1500, n * 16_666_667 + (n % 2) * 1_000_000)
    assert steady.ticks < 1
    assert unsteady.ticks == pytest.approx(90, rel=0.05)  # 1 ms is 90 ticks


def test_a_packet_in_one_line() -> None:
    assert dissect(HEAD + vector("extension-a") + b"x") == "RTP 104: sequence 65535, timestamp 832211767, marker"
