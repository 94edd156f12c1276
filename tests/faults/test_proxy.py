"""Each fault does what it says, over real sockets. Nothing here waits except for what is to come."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.faults import (
    Corrupt,
    Cut,
    Datagrams,
    Delay,
    Drip,
    Duplicate,
    HalfClose,
    Plan,
    Stall,
    TcpProxy,
    UdpProxy,
)

LOOPBACK = "127.0.0.1"
STREAM = bytes(range(256)) * 4


def everything(sock: socket.socket) -> tuple[bytes, str]:
    """All that comes, and how it ends."""
    got = bytearray()
    try:
        while octets := sock.recv(4096):
            got += octets
    except ConnectionResetError:
        return bytes(got), "RST"
    return bytes(got), "FIN"


def exactly(sock: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        got += sock.recv(count - len(got)) or pytest.fail(f"ended after {len(got)} octets")
    return bytes(got)


class Pair:
    """A client and a server with the proxy between them."""

    def __init__(self, stack: ExitStack, plans: list[Plan], others: Plan | None = None) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server((LOOPBACK, 0)))
        self._listener.settimeout(10)
        self.proxy = stack.enter_context(TcpProxy(self._listener.getsockname()[1], plans, others))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        client = self._stack.enter_context(socket.create_connection((LOOPBACK, self.proxy.port), timeout=10))
        server = self._stack.enter_context(self._listener.accept()[0])
        server.settimeout(10)
        return client, server


@pytest.fixture
def pair() -> Iterator[Callable[..., Pair]]:
    with ExitStack() as stack:
        yield lambda *plans, others=None: Pair(stack, list(plans), others)


def test_without_faults_everything_passes_both_ways_at_once(pair) -> None:
    client, server = (through := pair()).connect()
    long = STREAM * 4096  # more than all buffers hold
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: (client.sendall(long), client.shutdown(socket.SHUT_WR)))
        pool.submit(lambda: (server.sendall(long[::-1]), server.shutdown(socket.SHUT_WR)))
        at_server: Future[tuple[bytes, str]] = pool.submit(everything, server)
        assert everything(client) == (long[::-1], "FIN")
        assert at_server.result() == (long, "FIN")
    (connection,) = through.proxy.connections
    assert connection.wait_ended()
    assert connection.to_server.sent == connection.to_server.received == len(long)
    assert connection.to_client.sent == len(long)


@pytest.mark.parametrize(("reset", "how"), [(False, "FIN"), (True, "RST")])
@pytest.mark.parametrize("after", [1, 700])
def test_cut_gives_exactly_that_much_and_ends_both_sides(pair, reset: bool, how: str, after: int) -> None:
    client, server = (through := pair(Plan(to_client=[Cut(after, reset=reset)]))).connect()
    client.sendall(b"question")
    assert exactly(server, 8) == b"question"
    server.sendall(STREAM)
    assert everything(client) == (STREAM[:after], how)
    assert everything(server)[1] == how
    client.close()
    server.close()
    assert through.proxy.connections[0].wait_ended()
    assert through.proxy.connections[0].to_client.sent == after


def ask_at_once(port: int) -> tuple[bytes, str]:
    """Connect and take what comes; a reset may come while connecting already."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=10) as client:
            return everything(client)
    except ConnectionResetError:
        return b"", "RST"


@pytest.mark.parametrize(("reset", "how"), [(False, "FIN"), (True, "RST")])
def test_cut_at_nought_ends_it_before_anything_is_said(pair, reset: bool, how: str) -> None:
    proxy = pair(others=Plan(to_server=[Cut(0, reset=reset)])).proxy
    assert ask_at_once(proxy.port) == (b"", how)
    assert proxy.connections[0].to_client.sent == proxy.connections[0].to_server.sent == 0


def test_stall_keeps_the_rest_until_told(pair) -> None:
    client, server = (through := pair(Plan(to_server=[Stall(100)]))).connect()
    client.sendall(STREAM)
    assert exactly(server, 100) == STREAM[:100]
    server.sendall(b"the other direction goes on")
    assert exactly(client, 27) == b"the other direction goes on"
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1)
    server.settimeout(10)
    through.proxy.resume()
    assert exactly(server, len(STREAM) - 100) == STREAM[100:]


def test_stall_takes_nothing_more(pair) -> None:
    client, _server = (through := pair(Plan(to_server=[Stall(0)]))).connect()
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):  # the sender is held up once all buffers are full
        client.sendall(STREAM * 64_000)
    assert through.proxy.connections[0].to_server.sent == 0


def test_half_close_ends_one_direction(pair) -> None:
    client, server = pair(Plan(to_server=[HalfClose(10)])).connect()
    client.sendall(STREAM)
    assert everything(server) == (STREAM[:10], "FIN")
    server.sendall(b"still here")
    assert exactly(client, 10) == b"still here"
    server.shutdown(socket.SHUT_WR)
    assert everything(client) == (b"", "FIN")


def test_a_half_close_of_the_client_is_passed_on_as_such(pair) -> None:
    client, server = pair().connect()
    client.sendall(STREAM)
    client.shutdown(socket.SHUT_WR)
    assert everything(server) == (STREAM, "FIN")
    server.sendall(b"thanks")
    server.close()
    assert everything(client) == (b"thanks", "FIN")


def test_corrupt_and_duplicate_change_what_they_name(pair) -> None:
    client, server = pair(Plan(to_server=[Corrupt(3, 0x80), Duplicate(10, 12)])).connect()
    client.sendall(STREAM)
    client.shutdown(socket.SHUT_WR)
    expected = STREAM[:3] + b"\x83" + STREAM[4:12] + STREAM[10:12] + STREAM[12:]
    assert everything(server) == (expected, "FIN")


def test_drip_passes_small_pieces(pair) -> None:
    client, server = (through := pair(Plan(to_server=[Drip(100, 0.001)]))).connect()
    client.sendall(STREAM[:950])
    client.shutdown(socket.SHUT_WR)
    assert everything(server) == (STREAM[:950], "FIN")
    assert through.proxy.connections[0].to_server.pieces >= 10


def test_delay_is_at_least_that_long_and_in_its_direction_only(pair) -> None:
    client, server = pair(Plan(to_client=[Delay(0.2)])).connect()
    client.sendall(b"?")
    assert exactly(server, 1) == b"?"
    began = time.monotonic()
    server.sendall(b"!")
    assert exactly(client, 1) == b"!"
    assert time.monotonic() - began >= 0.2


def test_plans_are_taken_in_the_order_of_connections(pair) -> None:
    through = pair(Plan(), Plan(to_client=[Cut(0)]), others=Plan(to_client=[Corrupt(0)]))
    answers = []
    for _ in range(4):
        client, server = through.connect()
        server.sendall(b"\x01")
        server.shutdown(socket.SHUT_WR)
        answers.append(everything(client)[0])
    assert answers == [b"\x01", b"", b"\xfe", b"\xfe"]
    assert len(through.proxy.connections) == 4


def test_a_reset_is_passed_on(pair) -> None:
    client, server = pair().connect()
    client.sendall(b"x")
    exactly(server, 1)
    server.sendall(b"y")  # unread at the client when it closes: its kernel sends RST
    assert client.recv(1, socket.MSG_PEEK) == b"y"
    client.close()
    assert everything(server) == (b"", "RST")


def test_no_server_is_a_reset() -> None:
    with socket.create_server((LOOPBACK, 0)) as gone:
        port = gone.getsockname()[1]
    with TcpProxy(port) as proxy:
        assert ask_at_once(proxy.port) == (b"", "RST")


def test_the_end_of_the_block_ends_everything(pair) -> None:
    before = threading.active_count()
    with socket.create_server((LOOPBACK, 0)) as listener:
        with TcpProxy(listener.getsockname()[1], [Plan(to_server=[Stall(0)])]) as proxy:
            client = socket.create_connection((LOOPBACK, proxy.port), timeout=10)
            server, _ = listener.accept()
            client.sendall(STREAM)
        assert threading.active_count() == before
        server.settimeout(10)
        assert everything(server)[0] == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, proxy.port), timeout=10)
        client.close()
        server.close()


# -------------------------------------------------------------------------------------------------------------- UDP


@pytest.fixture
def udp() -> Iterator[Callable[..., tuple[socket.socket, socket.socket, UdpProxy]]]:
    with ExitStack() as stack:

        def make(**plans: Datagrams) -> tuple[socket.socket, socket.socket, UdpProxy]:
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind((LOOPBACK, 0))
            proxy = stack.enter_context(UdpProxy(server.getsockname()[1], **plans))
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.connect((LOOPBACK, proxy.port))
            server.settimeout(10)
            client.settimeout(10)
            return client, server, proxy

        yield make


def arrivals(sock: socket.socket, count: int) -> list[bytes]:
    return [sock.recv(2048) for _ in range(count)]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Datagrams(), b"0 1 2 3 4 end"),
        (Datagrams(lose=[True, False, True]), b"1 3 4 end"),
        (Datagrams(duplicate=[0, 2]), b"0 1 1 1 2 3 4 end"),
        (Datagrams(overtaken=[2]), b"1 2 0 3 4 end"),
        (Datagrams(delay_s=[0, 0, 0.5]), b"0 1 3 4 end 2"),
    ],
    ids=["clean", "loss", "duplicate", "reorder", "delay"],
)
def test_datagrams_arrive_as_planned(udp, plan: Datagrams, expected: bytes) -> None:
    client, server, proxy = udp(to_server=plan)
    for datagram in (b"0", b"1", b"2", b"3", b"4", b"end"):
        client.send(datagram)
    assert arrivals(server, len(expected.split())) == expected.split()
    assert proxy.to_server.received == 6
    assert proxy.to_server.sent == len(expected.split())
    assert list(proxy.clients.values()) == [6]


def test_answers_go_back_to_who_asked_by_their_own_plan(udp) -> None:
    client, server, proxy = udp(to_client=Datagrams(lose=[True]))
    client.send(b"question")
    _, back = server.recvfrom(2048)
    for answer in (b"lost", b"kept"):
        server.sendto(answer, back)
    assert arrivals(client, 1) == [b"kept"]
    assert (proxy.to_client.received, proxy.to_client.sent) == (2, 1)


def test_nobody_listening_loses_the_datagram_and_no_more(udp) -> None:
    client, server, _ = udp()
    port = server.getsockname()[1]
    server.close()
    client.send(b"lost")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.settimeout(10)
        again.bind((LOOPBACK, port))
        client.send(b"heard")
        while again.recv(2048) != b"heard":  # "lost" itself may still have been under way
            pass
