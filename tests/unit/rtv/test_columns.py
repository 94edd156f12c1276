"""Headers read as columns say what the reader of one packet says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dicomlab.errors import RemoteProtocolError
from dicomlab.rtv.columns import Columns
from dicomlab.rtv.rfc4175 import decode_segments, place_of
from dicomlab.rtv.rtp import decode_rtp
from dicomlab.rtv.video import VideoFormat
from tests.unit.rtv.wire import datagrams, frames_of, many, rows, sent

VIDEO = VideoFormat(312, 34, packing="2110BPM")


def one_by_one(octets: bytes) -> tuple[int, ...] | None:
    """Sequence, timestamp, SSRC, payload type, places and lengths by the readers of one packet; None: it can't be."""
    try:
        packet = decode_rtp(octets)
        _, segments, begins = decode_segments(packet.payload)
        places = [place_of(segment, VIDEO) for segment in segments]
    except RemoteProtocolError:
        return None
    start = len(octets) - (octets[-1] if octets[0] & 0x20 else 0) - len(packet.payload) + begins
    lengths = [segment.length for segment in segments]
    return (packet.sequence, packet.timestamp, packet.ssrc, packet.payload_type, start, *places, *lengths)


def by_columns(columns: Columns, good: np.ndarray, row: int) -> tuple[int, ...] | None:  # type: ignore[type-arg]
    if not columns.usable[row] or not good[row]:
        return None
    some = columns.places[row] >= 0
    fields = (columns.sequences, columns.timestamps, columns.ssrcs, columns.payload_types, columns.data)
    return (*(int(f[row]) for f in fields), *columns.places[row][some].tolist(), *columns.runs[row][some].tolist())


@pytest.mark.parametrize("seed", range(8))
def test_a_second_reader_agrees_on_good_and_broken_packets(seed: int) -> None:
    random_ = random.Random(seed)
    (calls,) = sent(VIDEO, frames_of(VIDEO, 1))
    packets = []
    for datagram in random_.choices(datagrams(calls), k=60):
        changed = bytearray(datagram[: random_.choice([len(datagram)] * 3 + [random_.randrange(1, len(datagram))])])
        for _ in range(random_.randrange(3)):
            at = random_.randrange(min(len(changed), 40))
            changed[at] ^= 1 << random_.randrange(8)
        packets.append(bytes(changed))
    columns = Columns(rows(packets), None)
    good = columns.locate(VIDEO, frame_rows=False)
    for row, packet in enumerate(packets):
        expected = one_by_one(packet)
        found = by_columns(columns, good, row)
        if packet[0] & 0x10:
            assert found is None or found == expected  # an extension whose elements are cut is no packet here
        else:
            assert found == expected


def test_a_batch_of_many_and_rows_of_their_own_say_the_same() -> None:
    (calls,) = sent(VIDEO, frames_of(VIDEO, 1), identified=False)
    for octets, stride in calls:
        first, second = Columns(many(octets, stride), None), Columns(rows(datagrams([(octets, stride)])), None)
        assert (first.words == second.words).all()
        assert (first.locate(VIDEO, frame_rows=False) == second.locate(VIDEO, frame_rows=False)).all()
        assert (first.places == second.places).all()
