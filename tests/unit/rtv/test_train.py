"""What a trace keeps of datagrams that crossed in one system call."""

from __future__ import annotations

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


def test_one_datagram_has_no_train_and_half_a_car_is_none() -> None:
    assert Batch(np.frombuffer(packet(1), np.uint8), 32, 1, None).train() == b""
    assert cars_of(b"\0\x20" + packet(1)[:12] + b"\0") == [(32, packet(1)[:12])]
