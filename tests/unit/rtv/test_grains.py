"""Grains cut into packets and put together again, whatever the network does to the packets."""

from __future__ import annotations

import random
import tracemalloc
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError
from dicomlab.rtv.extension import GrainItems, decode_items
from dicomlab.rtv.grains import Reassembly, fragments
from dicomlab.rtv.metadata import MAX_GRAIN_OCTETS
from dicomlab.rtv.rtp import encode_rtp
from tests.unit.rtv.vectors import AT_NS, FLOW, SOURCE

ITEMS = GrainItems(AT_NS, AT_NS, SOURCE, FLOW)
Packet = tuple[int, int, bytes, bool, bool]


def packets(grains: list[bytes], octets: int = 200, *, marked: bool = True) -> list[Packet]:
    """Number, timestamp, payload, ends, starts, as they would be sent."""
    sent: list[Packet] = []
    for at, grain in enumerate(grains):
        for one in fragments(grain, ITEMS, octets):
            items = decode_items(one.extension, None)
            ends, starts = marked and (one.marker or items.ends), marked and items.starts
            sent.append((len(sent), at * 1500, bytes(one.payload), ends, starts))
    return sent


def received(sent: list[Packet]) -> tuple[Reassembly, list[tuple[int, bytes]]]:
    reassembly = Reassembly()
    out = []
    for number, timestamp, payload, ends, starts in sent:
        out += reassembly.feed(number, timestamp, payload, ends=ends, starts=starts)
    return reassembly, out


def grain(parts: int, fill: int) -> bytes:
    """One that needs that many packets of 200 octets: 200-12-4-60 in the first, 200-12-4-4 in the others."""
    return bytes([fill]) * (124 + (parts - 1) * 180)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_packets_of_a_grain(parts: int) -> None:
    cut = list(fragments(grain(parts, 7), ITEMS, 200))
    assert len(cut) == parts
    assert [len(encode_rtp(one)) for one in cut] == [200] * parts
    items = [decode_items(one.extension, None) for one in cut]
    assert items[0].origin_ns == AT_NS
    assert items[0].flow == FLOW
    assert [one.starts for one in items] == [True] + [False] * (parts - 1)
    assert [one.ends for one in items] == [False] * (parts - 1) + [True]
    assert [one.marker for one in cut] == [False] * (parts - 1) + [True]
    assert all(one.extension is not None for one in cut)  # X shall be 1


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_grains_come_back_and_one_with_a_lost_packet_does_not(parts: int) -> None:
    grains = [grain(parts, n) for n in range(4)]
    sent = packets(grains)
    assert received(sent)[1] == [(n * 1500, one) for n, one in enumerate(grains)]
    for lost in range(parts, 2 * parts):
        late = [(n + 200, at + 10**6, payload, e, s) for n, at, payload, e, s in packets([grain(1, 9)] * 70)]
        reassembly, out = received(sent[:lost] + sent[lost + 1 :] + late)
        assert out[:3] == [(0, grains[0]), (3000, grains[2]), (4500, grains[3])]
        assert reassembly.broken == (parts > 1)


def test_any_order_of_the_packets_of_a_grain() -> None:
    sent = packets([grain(4, 1), grain(1, 2)])
    for order in permutations(sent[1:]):
        assert received([sent[0], *order])[1] == [(0, grain(4, 1)), (1500, grain(1, 2))]


def test_without_marker_and_flags_the_timestamp_ends_a_grain() -> None:
    grains = [b"\0" * 128 + b"DICM" + bytes([n]) * 400 for n in range(3)]
    _, out = received(packets(grains, marked=False))
    assert out == [(0, grains[0]), (1500, grains[1])]
    sent = packets(grains, marked=False)
    tail = [(n + len(sent), at + 4500, payload, e, s) for n, at, payload, e, s in packets(grains * 25, marked=False)]
    _, out = received(sent[:2] + sent[3:] + tail)  # the first grain has lost a packet
    assert out[:2] == [(1500, grains[1]), (3000, grains[2])]


def test_a_grain_without_end_takes_no_more_than_its_cap() -> None:
    reassembly = Reassembly()
    for number in range(2000):
        assert list(reassembly.feed(number, 0, bytes(1400), ends=False)) == []
        assert len(reassembly._octets) <= MAX_GRAIN_OCTETS
    assert list(reassembly.feed(2000, 0, b"", ends=True)) == []
    assert reassembly.broken == 1


@pytest.mark.parametrize("octets", [b"", b"xy"])
def test_packets_with_next_to_nothing_in_them_take_next_to_nothing(octets: bytes) -> None:
    reassembly = Reassembly()
    tracemalloc.start()
    try:
        for number in range(20_000):
            assert list(reassembly.feed(number, 0, bytes(bytearray(octets)), ends=False)) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000


def test_what_is_no_grain() -> None:
    for octets, size in ((b"", 1452), (bytes(MAX_GRAIN_OCTETS + 1), 1452), (b"x", 60)):
        with pytest.raises(LocalProtocolError):
            list(fragments(octets, ITEMS, size))


@given(st.integers(0, 2**32 - 1))
def test_for_any_losses_and_order_only_whole_grains_come_out_and_all_intact_ones(seed: int) -> None:
    random_ = random.Random(seed)
    grains = [grain(random_.randrange(1, 5), n) for n in range(30)]
    sent = packets(grains)
    lost = {n for n in range(1, len(sent)) if random_.random() < 0.08}
    kept = [one for one in sent if one[0] not in lost]
    kept[1:] = sorted(kept[1:], key=lambda one: one[0] + random_.uniform(0, 6))
    flush = [(len(sent) + n, 10**6 + n, b"f", True, True) for n in range(70)]
    reassembly, out = received(kept + flush)
    intact = {at for _, at, *_ in sent} - {sent[n][1] for n in lost}
    assert [(at, octets) for at, octets in out if at < 10**6] == [(at, grains[at // 1500]) for at in sorted(intact)]
    assert len(reassembly._early) <= Reassembly.WINDOW + 1
