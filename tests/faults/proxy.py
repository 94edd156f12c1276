"""The proxies: sockets on loopback, one thread each, ended with the ``with`` block."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.faults.plans import Cut, Datagrams, HalfClose, Lane, Order, Plan, Stall, Stop

LOOPBACK = "127.0.0.1"
_CHUNK_OCTETS = 64 * 1024
_CHUNKS_UNDER_WAY = 64


@dataclass(slots=True)
class Passed:
    """What went through in one direction. Counted before it leaves, so whoever has received something finds it here."""

    received: int = 0
    """Octets (TCP) or datagrams (UDP) taken from the source."""
    sent: int = 0
    """Octets or datagrams passed on."""
    pieces: int = 0
    """How many writes they were passed on in."""


@dataclass(slots=True)
class Connection:
    """One TCP connection through the proxy."""

    to_server: Passed = field(default_factory=Passed)
    to_client: Passed = field(default_factory=Passed)
    _ended: threading.Event = field(default_factory=threading.Event)

    def wait_ended(self, timeout_s: float = 10) -> bool:
        """Wait until both directions have ended; whether they did."""
        return self._ended.wait(timeout_s)


class _Proxy:
    """A socket on loopback that a thread of its own serves."""

    kind: socket.SocketKind

    def __init__(self, server_port: int) -> None:
        self._accepted: list[socket.socket] = []
        self._server = (LOOPBACK, server_port)
        self._error: Exception | None = None

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, self.kind)
        self._socket.setblocking(False)
        self._socket.bind((LOOPBACK, 0))
        if self.kind is socket.SOCK_STREAM:
            self._socket.listen()
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"fault proxy :{self.port}")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
        self._socket.close()
        if self._error is not None:
            raise RuntimeError("the fault proxy broke") from self._error

    def _run(self) -> None:
        async def until_stopped() -> None:
            async with _many(self._serve):
                await self._stop.wait()

        try:
            self._loop.run_until_complete(until_stopped())
        except Exception as error:  # noqa: BLE001  (carried to the thread that leaves the block)
            self._error = error
        for client in self._accepted:  # one whose relay was cancelled before it began is still open
            client.close()

    async def _serve(self, start: Callable[[Awaitable[None]], None]) -> None:
        raise NotImplementedError


@asynccontextmanager
async def _many(serve: Callable[[Callable[[Awaitable[None]], None]], Awaitable[None]]) -> AsyncIterator[None]:
    """Run `serve` and whatever it starts; cancel all of it at the end."""
    tasks: set[asyncio.Future[None]] = set()
    broken: list[BaseException] = []

    def ended(task: asyncio.Future[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            broken.append(error)

    def start(work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(ended)

    start(serve(start))
    try:
        yield
    finally:
        while running := list(tasks):
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if broken:
            raise broken[0]


# -------------------------------------------------------------------------------------------------------------- TCP


class TcpProxy(_Proxy):
    """Stands between a client and the server at `server_port`.

    Parameters
    ----------
    server_port : int
        Where the server listens, on loopback.
    plans : sequence of Plan
        What goes wrong on the first connection, the second, and so on.
    others : Plan
        What goes wrong on all further ones; nothing unless told.
    """

    kind = socket.SOCK_STREAM

    def __init__(self, server_port: int, plans: Sequence[Plan] = (), others: Plan | None = None) -> None:
        super().__init__(server_port)
        self._plans, self._others = plans, others or Plan()
        self.connections: list[Connection] = []

    def __enter__(self) -> Self:
        self._resumed = asyncio.Event()
        return super().__enter__()

    def from_now_on(self, plan: Plan) -> None:
        """What goes wrong on every connection that is yet to come."""
        self._plans, self._others = (), plan

    def resume(self) -> None:
        """Let everything that stalled, or will, go on."""
        self._loop.call_soon_threadsafe(self._resumed.set)

    async def _serve(self, start: Callable[[Awaitable[None]], None]) -> None:
        while True:
            client = await self._accept()
            self._accepted.append(client)
            number = len(self.connections)
            connection = Connection()
            self.connections.append(connection)
            plan = self._plans[number] if number < len(self._plans) else self._others
            start(self._relay(client, connection, plan))

    async def _accept(self) -> socket.socket:
        """The next connection. asyncio's own loses one that comes in the moment in which the wait for it is cancelled."""
        while True:
            comes = self._loop.create_future()
            self._loop.add_reader(self._socket, _come, comes)
            try:
                await comes
            finally:
                self._loop.remove_reader(self._socket)
            with suppress(BlockingIOError):
                return self._socket.accept()[0]

    async def _relay(self, client: socket.socket, connection: Connection, plan: Plan) -> None:
        server = socket.socket()
        for side in (client, server):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with suppress(ConnectionRefusedError):
                await self._loop.sock_connect(server, self._server)
                if await self._both_ways(client, server, connection, plan):
                    return
            for side in (client, server):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends RST
        finally:
            client.close()
            server.close()
            connection._ended.set()

    async def _both_ways(
        self, client: socket.socket, server: socket.socket, connection: Connection, plan: Plan
    ) -> bool:
        """Pass octets on until both directions have ended; whether they ended in good order."""
        lanes = {
            asyncio.ensure_future(self._one_way(client, server, Lane(plan.to_server), connection.to_server)),
            asyncio.ensure_future(self._one_way(server, client, Lane(plan.to_client), connection.to_client)),
        }
        try:
            running = set(lanes)
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                stops = [lane.result() for lane in done]
                if any(stop is not None and stop.reset for stop in stops):
                    return False
                if any(stop is not None for stop in stops):
                    await self._say_goodbye(client, server, running)
                    return True
            return True
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _say_goodbye(
        self, client: socket.socket, server: socket.socket, running: set[asyncio.Future[Cut | None]]
    ) -> None:
        """End both directions by FIN. What still comes is taken first, or closing would send RST instead."""
        for lane in running:
            lane.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for side in (client, server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_WR)
        await asyncio.gather(*(self._drain(side) for side in (client, server)))

    async def _drain(self, side: socket.socket) -> None:
        with suppress(OSError):
            while await self._loop.sock_recv(side, _CHUNK_OCTETS):
                pass

    async def _one_way(self, source: socket.socket, target: socket.socket, lane: Lane, passed: Passed) -> Cut | None:
        """Pass octets on until the source ends this direction (None) or the connection is to be cut (how)."""
        under_way: asyncio.Queue[tuple[float, bytes | Stop]] = asyncio.Queue(_CHUNKS_UNDER_WAY)
        reader = asyncio.ensure_future(self._read(source, lane, passed, under_way))
        try:
            while True:
                due, item = await under_way.get()
                if isinstance(item, bytes):
                    due = lane.across_s(len(item), due)
                if lane.delay_s or lane.narrow:
                    await asyncio.sleep(max(0.0, due - self._loop.time()))
                if isinstance(item, bytes):
                    passed.sent += len(item)
                    passed.pieces += 1
                    await self._loop.sock_sendall(target, item)
                    if lane.drip:
                        await asyncio.sleep(lane.drip.every_s)
                elif isinstance(item, Stall):
                    await self._resumed.wait()
                elif isinstance(item, HalfClose):
                    target.shutdown(socket.SHUT_WR)
                    reader.cancel()
                    await self._drain(source)
                    return None
                else:
                    await _delivered(target)
                    return item
        except OSError:  # the target is gone
            return Cut(0, reset=True)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(
        self, source: socket.socket, lane: Lane, passed: Passed, under_way: asyncio.Queue[tuple[float, bytes | Stop]]
    ) -> None:
        """Take octets from the source as they come, and put what the plan makes of them under way."""
        first = lane.stop_at_once()
        while first is not None:
            await self._put(under_way, lane, first)
            first = lane.stop_at_once()
        while True:
            try:
                octets = await self._loop.sock_recv(source, _CHUNK_OCTETS)
            except OSError:  # the source is gone
                await self._put(under_way, lane, Cut(0, reset=True))
                return
            if not octets:
                await self._put(under_way, lane, HalfClose(0))
                return
            passed.received += len(octets)
            for item in lane.feed(octets):
                await self._put(under_way, lane, item)

    async def _put(self, under_way: asyncio.Queue[tuple[float, bytes | Stop]], lane: Lane, item: bytes | Stop) -> None:
        await under_way.put((self._loop.time() + lane.delay_s, item))
        if isinstance(item, Stall):
            await self._resumed.wait()


def _come(what: asyncio.Future[None]) -> None:
    if not what.done():
        what.set_result(None)


async def _delivered(target: socket.socket) -> None:
    """Wait until the target's kernel has everything; RST would overtake it."""
    left = bytearray(4)
    while True:
        fcntl.ioctl(target.fileno(), termios.TIOCOUTQ, left)
        if not any(left):
            return
        await asyncio.sleep(0.001)


# -------------------------------------------------------------------------------------------------------------- UDP


class UdpProxy(_Proxy):
    """Passes datagrams on to `server_port`, and the answers back to whoever asked.

    Parameters
    ----------
    server_port : int
        Where the receiver listens, on loopback.
    to_server, to_client : Datagrams
        What becomes of the datagrams of each direction, counted over all clients.
    """

    kind = socket.SOCK_DGRAM

    def __init__(
        self, server_port: int, to_server: Datagrams | None = None, to_client: Datagrams | None = None
    ) -> None:
        super().__init__(server_port)
        self._orders = Order(to_server or Datagrams()), Order(to_client or Datagrams())
        self.to_server, self.to_client = Passed(), Passed()
        self.clients: Counter[tuple[str, int]] = Counter()
        """How many datagrams came from each."""

    async def _serve(self, start: Callable[[Awaitable[None]], None]) -> None:
        doors: dict[tuple[str, int], socket.socket] = {}
        try:
            while True:
                datagram, client = await self._receive(self._socket)
                self.clients[client] += 1
                if client not in doors:
                    doors[client] = door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    door.setblocking(False)
                    door.connect(self._server)
                    start(self._answers(door, client, start))
                self.to_server.received += 1
                for delay_s, leaving in self._orders[0].feed(datagram):
                    start(self._send(doors[client], None, leaving, delay_s, self.to_server))
        finally:
            for door in doors.values():
                door.close()

    async def _answers(
        self, door: socket.socket, client: tuple[str, int], start: Callable[[Awaitable[None]], None]
    ) -> None:
        while True:
            datagram, _ = await self._receive(door)
            self.to_client.received += 1
            for delay_s, leaving in self._orders[1].feed(datagram):
                start(self._send(self._socket, client, leaving, delay_s, self.to_client))

    async def _receive(self, door: socket.socket) -> tuple[bytes, tuple[str, int]]:
        while True:
            with suppress(ConnectionRefusedError):  # nobody listens there: to UDP, a lost datagram
                return await self._loop.sock_recvfrom(door, _CHUNK_OCTETS)

    async def _send(
        self, door: socket.socket, to: tuple[str, int] | None, datagram: bytes, delay_s: float, passed: Passed
    ) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        passed.sent += 1
        passed.pieces += 1
        with suppress(ConnectionRefusedError):
            if to is None:
                await self._loop.sock_sendall(door, datagram)
            else:
                await self._loop.sock_sendto(door, datagram, to)
