"""Sockets: many datagrams in one call or one by one, the same octets come out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicomlab.errors import Refused, Unreachable, UsageError
from dicomlab.rtv.udp import LINUX, ReceivingSocket, SendingSocket, per_call, tai_now_ns
from tests.peers.processes import LOOPBACK, free_port

BLOCK = bytes(range(256)) * 20


def received(one: ReceivingSocket) -> Iterator[bytes]:
    while (batch := one.receive()) is not None:
        yield from (bytes(batch.datagram(row)) for row in range(batch.count))


@pytest.mark.parametrize("receive_many", [True, False])
@pytest.mark.parametrize("send_many", [True, False])
@pytest.mark.parametrize(("size", "stride"), [(5120, 512), (5000, 512), (100, 512), (5120, 80)])
def test_the_same_octets_come_out(size: int, stride: int, send_many: bool, receive_many: bool) -> None:
    port = free_port()
    one, sender = ReceivingSocket(LOOPBACK, port, many=receive_many), SendingSocket(LOOPBACK, port)
    sender.many = sender.many and send_many
    octets = BLOCK[:size]
    sender.send_many(memoryview(octets), stride)
    sender.send(b"alone")
    assert list(received(one)) == [*[octets[at : at + stride] for at in range(0, size, stride)], b"alone"]
    one.close()
    sender.close()


@pytest.mark.skipif(not LINUX, reason="UDP_GRO is Linux's")
def test_many_come_in_one_call_and_a_socket_that_gets_single_ones_stops_asking() -> None:
    port = free_port()
    one, sender = ReceivingSocket(LOOPBACK, port), SendingSocket(LOOPBACK, port)
    sender.send_many(memoryview(BLOCK), 100)
    batch = one.receive()
    assert batch is not None
    assert (batch.count, batch.stride, batch.uniform) == (52, 100, True)
    assert len(batch.datagram(51)) == 20
    for _ in range(70):
        sender.send(b"one by one")
    assert len(list(received(one))) == 70
    for _ in range(10):
        sender.send(b"rows")
    batch = one.receive()
    assert batch is not None
    assert (batch.count, batch.uniform) == (10, False)
    sender.send_many(memoryview(BLOCK), 100)  # the system cuts them apart for a socket that does not ask
    assert b"".join(received(one)) == BLOCK
    one.close()
    sender.close()


def test_a_datagram_in_many_fragments_comes_whole_whatever_came_before() -> None:
    """A sender may leave the cutting of a large Grain to IP."""
    port = free_port()
    one, sender = ReceivingSocket(LOOPBACK, port), SendingSocket(LOOPBACK, port)
    for number in range(80):
        large = bytes([number]) * 60_000
        sender.send(large)
        assert list(received(one)) == [large]
    one.close()
    sender.close()


@pytest.mark.skipif(not LINUX, reason="UDP_GRO is Linux's")
def test_what_fits_together_comes_together_and_nothing_else_does() -> None:
    port = free_port()
    one, sender = ReceivingSocket(LOOPBACK, port), SendingSocket(LOOPBACK, port)
    for octets, stride in (
        (BLOCK, 512), (BLOCK, 512), (BLOCK[:5000], 512), (BLOCK, 512), (BLOCK, 80), (b"more than 80 octets " * 5, 200),
        (BLOCK, 80), (b"", 1), (BLOCK, 512), (b"tail", 8), (BLOCK, 512),
    ):  # fmt: skip
        sender.send_many(memoryview(octets), stride) if octets else sender.send(octets)
    batches = []
    while (batch := one.receive()) is not None:
        batches.append((batch.stride, batch.count, sum(batch.sizes().tolist()), bytes(batch.octets)))
    counts = [(stride, count) for stride, count, *_ in batches]
    assert counts == [(512, 30), (512, 10), (80, 64), (100, 1), (80, 64), (1, 1), (512, 11), (512, 10)]
    for stride, count, total, octets in batches:
        assert len(octets) == total > (count - 1) * stride or count == 1
    assert b"".join(octets for *_, octets in batches[:3]) == BLOCK * 2 + BLOCK[:5000] + BLOCK * 2
    one.close()
    sender.close()


def test_what_the_system_throws_away_is_known() -> None:
    port = free_port()
    one, sender = ReceivingSocket(LOOPBACK, port, buffer_octets=4096), SendingSocket(LOOPBACK, port)
    for _ in range(200):
        sender.send(bytes(1000))
    got = len(list(received(one)))
    assert got < 200
    if LINUX:
        assert one.dropped == 200 - got
    assert one.buffer_octets >= 2048
    one.close()
    sender.close()


def test_over_ipv6() -> None:
    port = free_port()
    one, sender = ReceivingSocket("::1", port), SendingSocket("::1", port)
    sender.send_many(memoryview(BLOCK), 500)
    assert b"".join(received(one)) == BLOCK
    assert one.name == f"[::1]:{port}"
    one.close()
    sender.close()


def test_ports_and_addresses_that_can_not_be_had() -> None:
    port = free_port()
    one = ReceivingSocket(LOOPBACK, port)
    with pytest.raises(Refused, match="who else receives there"):
        ReceivingSocket(LOOPBACK, port)
    with pytest.raises(Unreachable, match="no such address"):
        ReceivingSocket("192.0.2.1", port)
    with pytest.raises(UsageError):
        SendingSocket("nobody.invalid", port)
    one.close()


def test_nobody_there_is_a_lost_datagram() -> None:
    sender = SendingSocket(LOOPBACK, free_port())
    for _ in range(5):
        sender.send(b"x")
        sender.send_many(memoryview(BLOCK), 500)
    sender.close()


def test_tai_is_ahead_of_utc_and_calls_are_bounded() -> None:
    import time

    assert 36 < tai_now_ns() / 1e9 - time.time() < 39
    assert (per_call(1220), per_call(100), per_call(9000), per_call(70_000)) == (53, 64, 7, 1)
