"""Sockets for RTP: many datagrams in one system call where the system can, one by one where it can't.

On Linux a socket that asks for UDP_GRO is handed up to 64 equal datagrams of one sender at once, and UDP_SEGMENT sends
as many from one buffer. Everywhere else, and from senders that send datagrams one by one, a plain loop fills the same
batch.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import Refused, Unreachable, UsageError
from dicomlab.rtv.clock import NS_PER_S, TAI_MINUS_UTC_S
from dicomlab.rtv.train import train_after_first, train_of

LINUX = sys.platform == "linux"
UDP_SEGMENT, UDP_GRO = 103, 104
MAX_SEGMENTS = 64
_DATAGRAM_OCTETS = 65_536
_CALLS = 6
"""Calls whose datagrams are handed on together, as long as they fit one another: what they fill stays in a cache."""
_ROW_OCTETS = _DATAGRAM_OCTETS + 128
"""Room for any datagram that comes alone; not a power of 2, so that the heads of all of them fit a cache together."""
_ROWS = 256
"""Datagrams that are taken one by one before they are looked at together."""
_SO_RCVBUFFORCE, _SO_MEMINFO, _MEMINFO_DROPS = 33, 55, 8
_IP_ADD_SOURCE_MEMBERSHIP, _MCAST_JOIN_SOURCE_GROUP = 39, 46
_PLAIN_AFTER = 64
"""Datagrams that come alone, one after the other, before a socket no longer asks for many at once."""
BUFFER_OCTETS, MAX_BUFFER_OCTETS = 32 << 20, 512 << 20
"""Of the receive buffer, where nobody says: room for a quarter of a second of a video flow, between these two."""


@dataclass(slots=True)
class Batch:
    """Datagrams that came together: one row each, ``stride`` apart; valid until the next one is received."""

    octets: NDArray[np.uint8]
    stride: int
    count: int
    lengths: Sequence[int] | None
    """Of each; None: all fill their stride but the last, which ends where ``octets`` end."""

    @property
    def uniform(self) -> bool:
        """Whether all fill their stride but the last."""
        return self.lengths is None

    def length(self, row: int) -> int:
        """Octets of one datagram."""
        if self.lengths is not None:
            return self.lengths[row]
        return self.stride if row < self.count - 1 else len(self.octets) - row * self.stride

    def sizes(self) -> NDArray[np.int64]:
        """Octets of each datagram."""
        if self.lengths is not None:
            return np.array(self.lengths, np.int64)
        sizes = np.full(self.count, self.stride, np.int64)
        sizes[-1] = len(self.octets) - (self.count - 1) * self.stride
        return sizes

    def datagram(self, row: int) -> memoryview:
        """The octets of one datagram."""
        start = row * self.stride
        return self.octets.data[start : start + self.length(row)]

    def train(self) -> bytes:
        """What a trace keeps of the datagrams after the first."""
        if self.count < 2:
            return b""
        if self.lengths is not None:
            return train_of(self.octets.reshape(self.count, -1)[1:], [*self.lengths[1:]])
        return train_after_first(self.octets, self.stride, self.count)


class ReceivingSocket:
    """One UDP port that receives, joined to its group where it is one.

    Raises
    ------
    Refused
        The port is taken, or not ours to take.
    Unreachable
        The address is not of this machine, or the group can't be joined.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        interface: str | None = None,
        sources: Sequence[str] = (),
        buffer_octets: int = BUFFER_OCTETS,
        many: bool = True,
    ) -> None:
        self.name = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        where = ip_address(address)
        self._socket = socket.socket(socket.AF_INET6 if where.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if where.is_multicast:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.buffer_octets = self._enlarge(buffer_octets)
            self._socket.bind((address, port))
            if where.is_multicast:
                self._join(address, interface, sources)
        except OSError as error:
            self._socket.close()
            raise _of_binding(error, self.name) from error
        self._many = many and LINUX and self._ask_for_many(1)
        self._alone = 0
        self._rows = np.empty((_ROWS, _ROW_OCTETS), np.uint8)
        self._views = [self._rows[row].data for row in range(_ROWS)]
        self._block = np.zeros(_CALLS * _DATAGRAM_OCTETS, np.uint8)
        self._pending: tuple[int, int, int] | None = None
        """Where in the block datagrams lie that did not fit those before them: from, octets, stride."""
        self._room = socket.CMSG_SPACE(4) if LINUX else 0

    def _enlarge(self, wanted: int) -> int:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        got = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // (2 if LINUX else 1)
        if LINUX and got < wanted:
            with suppress(OSError):  # only for those who may administer the network
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, wanted)
                got = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        return got

    def _join(self, group: str, interface: str | None, sources: Sequence[str]) -> None:
        if ":" in group:
            index = _index_of(interface) if interface else 0
            for source in sources if LINUX else ():
                request = struct.pack("@Q", index) + _address6(group) + _address6(source)
                self._socket.setsockopt(socket.IPPROTO_IPV6, _MCAST_JOIN_SOURCE_GROUP, request)
            if not (sources and LINUX):
                request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            return
        own = socket.inet_aton(interface or "0.0.0.0")
        for source in sources:
            request = socket.inet_aton(group) + own + socket.inet_aton(source)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_ADD_SOURCE_MEMBERSHIP, request)
        if not sources:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)

    def _ask_for_many(self, on: int) -> bool:
        try:
            self._socket.setsockopt(socket.IPPROTO_UDP, UDP_GRO, on)
        except OSError:
            return False
        return True

    def fileno(self) -> int:
        """For whoever waits until there is something to receive."""
        return self._socket.fileno()

    @property
    def dropped(self) -> int | None:
        """Datagrams that the system threw away since the buffer was full; None where it does not tell.

        Of those that would have come in one call, Linux counts one.
        """
        try:
            facts = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36) if LINUX else b""
        except OSError:
            return None
        return struct.unpack("9I", facts)[_MEMINFO_DROPS] if len(facts) == 36 else None

    def receive(self) -> Batch | None:
        """What has come, by at most a few calls to the system; None: nothing more now."""
        return self._receive_many() if self._many or self._pending is not None else self._receive_rows()

    def _receive_many(self) -> Batch | None:
        """Datagrams of one size, that of the first; one that is shorter is the last."""
        if self._pending is not None:
            (start, octets, stride), self._pending = self._pending, None
            return Batch(self._block[start : start + octets], stride, max(1, -(-octets // stride)), None)
        block, at, stride, room = self._block.data, 0, 0, self._room
        receive = self._socket.recvmsg_into
        for _ in range(_CALLS):
            try:
                size, ancillary, _, _ = receive([block[at:] if at else block], room)
            except (BlockingIOError, ConnectionRefusedError):
                break
            if ancillary:
                self._alone = 0
                each = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            else:
                self._alone += 1
                each = max(size, 1)
            if stride and each != stride and (ancillary or size > stride or not size):
                self._pending = at, size, each
                break
            stride = stride or each
            at += size
            if size % stride or not size or self._alone:
                break
        if self._alone > _PLAIN_AFTER and self._pending is None:
            self._many = not self._ask_for_many(0)
        return Batch(self._block[:at], stride, max(1, -(-at // stride)), None) if stride else None

    def _receive_rows(self) -> Batch | None:
        lengths: list[int] = []
        receive = self._socket.recv_into
        try:
            for view in self._views:
                lengths.append(receive(view))
        except (BlockingIOError, ConnectionRefusedError):
            if not lengths:
                return None
        count = len(lengths)
        return Batch(self._rows[:count].reshape(-1), _ROW_OCTETS, count, lengths)

    def close(self) -> None:
        """Leave the group and the port."""
        self._socket.close()


def _index_of(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise UsageError(f"there is no network {interface!r}: an IPv6 group needs its name, as in 'eth0'") from error


def _address6(address: str) -> bytes:
    """An IPv6 address as Linux takes it in a request for a group: a sockaddr_storage (RFC 3678 §5.1)."""
    head = struct.pack("@HHI", socket.AF_INET6, 0, 0)
    return (head + socket.inet_pton(socket.AF_INET6, address)).ljust(128, b"\0")


def own_address(group: str, interface: str) -> str:
    """Our address on the network over which an IPv6 group is reached.

    Raises
    ------
    UsageError
        No such network.
    Unreachable
        No way leads to the group over it.
    """
    sender = SendingSocket(group, 9, interface=interface)
    try:
        return sender.source
    finally:
        sender.close()


def _of_binding(error: OSError, name: str) -> Refused | Unreachable:
    if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM):
        return Refused(f"the port can't be had: {error.strerror}; who else receives there?", endpoint=name)
    what = f"no such address or group on this machine ({error.strerror}); give interface= for a multicast group"
    return Unreachable(what, endpoint=name)


class SendingSocket:
    """Sends to one address and port.

    Parameters
    ----------
    ttl : int
        Of multicast; unicast has the system's.
    interface : str, optional
        Our address on the network over which a multicast group is reached.

    Raises
    ------
    UsageError
        No such address.
    Unreachable
        No way leads there.
    """

    def __init__(self, address: str, port: int, *, ttl: int = 32, interface: str | None = None) -> None:
        self.name = f"{address}:{port}"
        try:
            where = ip_address(address)
        except ValueError as error:
            raise UsageError(f"{address!r} is no IP address") from error
        family = socket.AF_INET6 if where.version == 6 else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            if where.is_multicast and where.version == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
                if interface:
                    own = socket.inet_aton(interface)
                    self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            elif where.is_multicast:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
                if interface:
                    index = _index_of(interface)
                    self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self._socket.connect((address, port))
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"nothing can be sent there: {error.strerror}", endpoint=self.name) from error
        self.many = LINUX
        self._stride, self._message = 0, [(socket.IPPROTO_UDP, UDP_SEGMENT, b"")]

    @property
    def source(self) -> str:
        """Our own address, as the receivers see it."""
        return str(self._socket.getsockname()[0])

    def send(self, datagram: bytes | memoryview) -> None:
        """Send one datagram; to UDP, a receiver that is not there is a lost datagram."""
        while True:
            try:
                self._socket.send(datagram)
            except ConnectionRefusedError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return  # the system threw it away: lost, as anywhere else on its way
                raise Unreachable(f"nothing can be sent there: {error.strerror}", endpoint=self.name) from error
            return

    def send_many(self, octets: memoryview, stride: int) -> None:
        """Send one datagram of each `stride` octets, at most 64 and 65,507 octets; the last may be shorter."""
        if self.many and stride < len(octets):
            if stride != self._stride:
                self._stride, self._message = stride, [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", stride))]
            message = self._message
            try:
                self._socket.sendmsg([octets], message)
            except ConnectionRefusedError:
                self._socket.sendmsg([octets], message)  # that was the answer to what was sent before
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EMSGSIZE, errno.ENOBUFS):
                    raise Unreachable(f"nothing can be sent there: {error.strerror}", endpoint=self.name) from error
                self.many = error.errno == errno.ENOBUFS
            else:
                return
            if self.many:
                return
        for at in range(0, len(octets), stride):
            self.send(octets[at : at + stride])

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()


def per_call(packet_octets: int) -> int:
    """How many datagrams of that size one call of ``send_many`` takes."""
    return max(1, min(MAX_SEGMENTS, 65_507 // packet_octets))


def tai_now_ns(tai_minus_utc_s: int = TAI_MINUS_UTC_S) -> int:
    """Give TAI by this machine's clock: the kernel's where it knows the offset, else UTC and the offset."""
    utc = time.time_ns()
    if LINUX:
        tai = time.clock_gettime_ns(time.CLOCK_TAI)
        if tai - utc > NS_PER_S:
            return tai
    return utc + tai_minus_utc_s * NS_PER_S


def rest(seconds: float) -> None:
    """Let datagrams gather, or the time of the next ones come."""
    if seconds > 0:
        time.sleep(seconds)
