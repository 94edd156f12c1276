"""The plans as arithmetic: however the octets come in, the same comes out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.plans import Corrupt, Cut, Datagrams, Drip, Duplicate, Fault, HalfClose, Lane, Narrow, Order, Stall

STREAM = bytes(range(100))


def played(faults: list[Fault], cuts: list[int]) -> tuple[bytes, list[tuple[int, object]]]:
    """What comes out, and each stop with how much had come out before it."""
    lane, out, stops = Lane(faults), bytearray(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    while (stop := lane.stop_at_once()) is not None:
        stops.append((0, stop))
    for start, end in pairwise(edges):
        for item in lane.feed(STREAM[start:end]):
            if isinstance(item, bytes):
                out += item
            else:
                stops.append((len(out), item))
    return bytes(out), stops


anywhere = st.integers(0, 100)


@pytest.mark.parametrize(
    ("faults", "out", "stops"),
    [
        ([], STREAM, []),
        ([Corrupt(7, 0x01)], STREAM[:7] + bytes([6]) + STREAM[8:], []),
        ([Duplicate(10, 20)], STREAM[:20] + STREAM[10:20] + STREAM[20:], []),
        ([Duplicate(0, 5), Duplicate(3, 9)], STREAM[:5] + STREAM[:9] + STREAM[3:9] + STREAM[9:], []),
        ([Duplicate(90, 100), Corrupt(95, 0xFF)], STREAM[:95] + b"\xa0" + STREAM[96:] + STREAM[90:95] + b"\xa0" + STREAM[96:], []),
        ([Cut(40)], STREAM, [(40, Cut(40))]),
        ([Stall(0)], STREAM, [(0, Stall(0))]),
        ([HalfClose(100)], STREAM, [(100, HalfClose(100))]),
        ([Stall(30), Stall(10)], STREAM, [(10, Stall(10)), (30, Stall(30))]),
        ([Drip(3, 1.0)], STREAM, []),
        ([Narrow(7.0)], STREAM, []),
    ],
    ids=str,
)  # fmt: skip
@given(cuts=st.lists(anywhere, max_size=5))
def test_a_fault_does_not_depend_on_how_octets_come(faults, out, stops, cuts) -> None:
    assert played(faults, cuts) == (out, stops)


@given(cuts=st.lists(anywhere, max_size=5), pairs=st.lists(st.tuples(anywhere, anywhere), max_size=4))
def test_duplicates_come_where_one_feed_puts_them(cuts, pairs) -> None:
    faults: list[Fault] = [Duplicate(min(p), max(p)) for p in pairs]
    assert played(faults, cuts) == played(faults, [])
    assert len(played(faults, cuts)[0]) == 100 + sum(max(p) - min(p) for p in pairs)


def test_drip_gives_small_pieces() -> None:
    assert [len(piece) for piece in Lane([Drip(3, 1.0)]).feed(STREAM[:8])] == [3, 3, 2]


@given(pieces=st.lists(st.integers(1, 30), min_size=1))
def test_a_narrow_line_carries_octets_at_its_rate_whatever_pieces_they_come_in(pieces) -> None:
    lane = Lane([Narrow(10.0)])
    assert [lane.across_s(octets, 5.0) for octets in pieces][-1] == pytest.approx(5.0 + sum(pieces) / 10.0)
    assert lane.across_s(1, 1000.0) == pytest.approx(1000.1)  # nothing is saved up while nothing comes


def test_a_narrow_line_passes_on_a_packet_at_a_time() -> None:
    pieces = list(Lane([Narrow(1e9)]).feed(bytes(3_000)))
    assert [len(piece) for piece in pieces] == [1_400, 1_400, 200]


@pytest.mark.parametrize(
    ("plan", "order"),
    [
        (Datagrams(), "01234"),
        (Datagrams(lose=[False, True, False, True]), "024"),
        (Datagrams(duplicate=[0, 2]), "0111234"),
        (Datagrams(overtaken=[2]), "12034"),
        (Datagrams(overtaken=[0, 1, 0, 1]), "02143"),
        (Datagrams(overtaken=[1], lose=[False, True]), "2034"),
        (Datagrams(overtaken=[0, 0, 0, 0, 1]), "0123"),
        (Datagrams(overtaken=[1], duplicate=[1]), "100234"),
    ],
    ids=str,
)  # fmt: skip
def test_datagrams_leave_in_the_order_of_the_plan(plan: Datagrams, order: str) -> None:
    lane = Order(plan)
    assert "".join(d.decode() for n in range(5) for _, d in lane.feed(str(n).encode())) == order


def test_datagrams_are_delayed_one_by_one() -> None:
    lane = Order(Datagrams(delay_s=[0.0, 0.5]))
    assert [delay for n in b"abc" for delay, _ in lane.feed(bytes([n]))] == [0.0, 0.5, 0.0]
