"""What a trace keeps of datagrams that crossed together."""

from __future__ import annotations

import itertools

import numpy as np

from dicomlab.rtv.rtp import RtpPacket, encode_rtp
from dicomlab.rtv.train import cars_of, train_of
from dicomlab.rtv.udp import Batch


def packet(sequence: int) -> bytes:
    return encode_rtp(RtpPacket(96, sequence, 9, 7, b"x" * 20))


def test_length_and_head_of_each() -> None:
    rows = np.frombuffer(packet(1) + packet(2), np.uint8).reshape(2, 32)
    assert cars_of(train_of(rows, (32, 5))) == [(32, packet(1)[:12]), (5, packet(2)[:5])]


def test_a_batch_of_many_sizes_gives_a_train() -> None:
    rows = np.zeros((3, 64), np.uint8)
    for at, octets in enumerate((packet(1), packet(2) + b"more", packet(3)[:20])):
        rows[at, : len(octets)] = np.frombuffer(octets, np.uint8)
    assert cars_of(Batch(rows.reshape(-1), 64, 3, [32, 36, 20]).train()) == [(36, packet(2)[:12]), (20, packet(3)[:12])]


def test_datagrams_of_one_size_give_a_train_whatever_the_size() -> None:
    for stride, last in ((32, 32), (32, 20), (32, 5), (8, 8), (8, 3), (1, 1)):
        octets = np.arange(3 * stride + last, dtype=np.uint8)
        ends = [stride * n for n in (1, 2, 3)] + [len(octets)]
        expected = [(b - a, bytes(octets[a : min(b, a + 12)])) for a, b in itertools.pairwise(ends)]
        assert cars_of(Batch(octets, stride, 4, None).train()) == expected


def test_one_datagram_has_no_train_and_half_a_car_is_none() -> None:
    assert Batch(np.frombuffer(packet(1), np.uint8), 32, 1, None).train() == b""
    assert cars_of(b"") == cars_of(b"\0") == cars_of(b"\0\0") == cars_of(b"\0\x20\0\x20") == []
    rows = np.frombuffer(packet(1), np.uint8).reshape(1, 32)
    assert cars_of(train_of(rows, (32, 32)) + b"\0") == cars_of(train_of(rows, [32]) + b"\0") == [(32, packet(1)[:12])]
