"""What a trace keeps of P-DATA-TF PDUs: commands whole, of a data set how it begins, of pixels what a view shows."""

from __future__ import annotations

import pytest

from dicomlab.dimse import pdu
from dicomlab.dimse.dissect import dissect
from dicomlab.dimse.tap import Tap
from dicomlab.model.trace import CAP_OCTETS, SHOWN_OCTETS, Channel, Trace

ROOM = 10_000


def data(octets: bytes, control: int = 0) -> bytes:
    return pdu.data_header(1, control, len(octets)) + octets


def kept(*pdus: bytes) -> list[tuple[int, int]]:
    """How many octets of each are kept, and how many there were."""
    wire = Trace()
    channel, tap = Channel("DIMSE", ("a", "b"), dissect, wire), Tap("received")
    for one in pdus:
        tap.pdu(channel, memoryview(bytearray(one)), len(one))
    assert all(one.startswith(event.octets) for one, event in zip(pdus, wire, strict=True))
    return [(len(event.octets), event.size) for event in wire]


@pytest.mark.parametrize("split", [False, True])
def test_of_a_data_set_its_beginning_is_kept_and_of_what_follows_the_start(split: bool) -> None:
    command, picture = data(bytes(100), pdu.COMMAND | pdu.LAST), data(bytes(ROOM))
    pdus = [command, picture, picture, picture, picture, command, picture]
    expected = [112, ROOM + 12, (CAP_OCTETS - ROOM - 12) // 4, SHOWN_OCTETS, SHOWN_OCTETS, 112, ROOM + 12]
    if not split:
        assert kept(*pdus) == list(zip(expected, map(len, pdus), strict=True))
        return
    wire = Trace()
    channel, tap = Channel("DIMSE", ("a", "b"), dissect, wire), Tap("sent")
    for some in (pdus[:2], pdus[2:]):
        tap.message(channel, [part for one in some for part in (one[:12], memoryview(one)[12:])])
    assert [len(event.octets) for event in wire] == expected
    assert [event.size for event in wire] == [*map(len, pdus)]
    assert all(one.startswith(event.octets) for one, event in zip(pdus, wire, strict=True))


def test_a_pdu_in_which_a_command_may_follow_is_kept_as_far_as_the_cap_goes() -> None:
    values = (pdu.PDV(1, 0, bytes(CAP_OCTETS)), pdu.PDV(1, pdu.LAST, bytes(ROOM)))
    last = pdu.encode(pdu.DataTransfer((pdu.PDV(1, pdu.LAST, bytes(ROOM)), pdu.PDV(1, 3, bytes(90)))))
    both = pdu.encode(pdu.DataTransfer(values))
    pixels = data(bytes(2 * CAP_OCTETS))
    assert kept(pixels, last, both, pixels, pixels) == [
        (CAP_OCTETS // 4, len(pixels)), (len(last), len(last)), (CAP_OCTETS, len(both)), (CAP_OCTETS // 4, len(pixels)),
        (SHOWN_OCTETS, len(pixels)),
    ]  # fmt: skip


def test_hostile_lengths_are_no_error() -> None:
    for one in (b"\4\0\0\0\0\0", b"\4\0\0\0\0\5\0\0\0\1\1", b"\4\0\0\0\0\6\xff\xff\xff\xff\1\0", data(b"")):
        assert kept(one) == [(len(one), len(one))]
    lying = b"\4\0\0\0\x10\0\xff\xff\xff\xff\1\0" + bytes(0x1000 - 6)
    assert kept(lying) == [(len(lying), len(lying))]


def test_no_pdu_is_kept_beyond_the_cap_of_its_trace_and_what_falls_out_is_counted() -> None:
    wire = Trace(max_events=2, cap_octets=300)
    channel, tap = Channel("DIMSE", ("a", "b"), dissect, wire), Tap("received")
    pdus = data(bytes(1000), pdu.COMMAND), data(bytes(1000)), pdu.encode(pdu.ReleaseRequest())
    for one, expected in zip(pdus, (300, SHOWN_OCTETS, 10), strict=True):
        tap.pdu(channel, one, len(one))
        assert len(next(reversed([*wire])).octets) == expected
    assert (len(wire), wire.dropped) == (2, 1)
    tap.message(channel, [pdus[0][:12], pdus[0][12:], pdus[1][:12], pdus[1][12:], data(b""), b""])
    assert ([(len(e.octets), e.size) for e in wire], wire.dropped) == ([(SHOWN_OCTETS, 1012), (12, 12)], 4)
    wire.cap_octets = 5
    tap.message(channel, [pdus[0][:12], pdus[0][12:], pdus[1][:12], pdus[1][12:]])
    assert [(len(e.octets), e.size) for e in wire] == [(5, 1012), (5, 1012)]
    none = Channel("DIMSE", ("a", "b"), dissect, None)
    tap.pdu(none, data(b""), 12)
    tap.message(none, [data(b""), b""])
    assert (len(wire), wire.dropped) == (2, 6)
