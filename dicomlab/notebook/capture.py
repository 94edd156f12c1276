"""A trace as a capture file for Wireshark and tshark, and a capture file as a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dicomlab.dimse.dissect import dissect as dissect_pdu
from dicomlab.dimse.reader import AssociationReader
from dicomlab.errors import UsageError
from dicomlab.model import pcapng
from dicomlab.model.pcapng import ACK, FIN, MAX_SEGMENT, PUSH, SYN, TCP, UDP, Packet
from dicomlab.model.reading import Direction
from dicomlab.model.trace import Channel, Message, Trace
from dicomlab.notebook.diagram import svg
from dicomlab.rtv.fields import payload_start
from dicomlab.rtv.reader import RtpReader, read_rtcp, rtcp_line
from dicomlab.rtv.rtp import dissect as dissect_rtp
from dicomlab.rtv.train import cars_of
from dicomlab.web.dissect import dissect as dissect_http
from dicomlab.web.fields import HttpReader

MAX_FILE = 256 << 20
"""Octets of a capture that are read."""
_MAX_WAITING = 8 << 20
"""Octets of one direction that wait for a gap to be filled, or for the rest of a message."""
_PORTS = {"DIMSE": 104, "HTTP": 80, "RTP": 5004, "RTCP": 5005}
_DATAGRAMS = ("RTP", "RTCP")
_BODY = 64 << 10
_VERBS = (b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"HTTP/1.")


# --- out -------------------------------------------------------------------------------------------------------------


@dataclass
class _Flow:
    """One made-up connection: its two ends, and how many octets each has sent."""

    client: tuple[str, int]
    server: tuple[str, int]
    protocol: int
    opens: str
    """The direction in which the client speaks: whoever spoke first."""
    sent: dict[tuple[str, int], int] = field(default_factory=dict)
    at_ns: int = 0

    def packet(self, source: tuple[str, int], octets: bytes, size: int, comment: str = "") -> Packet:
        """`size` octets from one end, of which `octets` are known."""
        return self._packet(source, PUSH | ACK, octets, size, comment)

    def mark(self, source: tuple[str, int], flags: int) -> Packet:
        """A segment without octets that opens, acknowledges or closes."""
        return self._packet(source, flags, b"", 0, "")

    def _packet(self, source: tuple[str, int], flags: int, octets: bytes, size: int, comment: str) -> Packet:
        other = self.server if source == self.client else self.client
        sequence, acknowledged = self.sent.setdefault(source, 0), self.sent.setdefault(other, 0)
        self.sent[source] += size + bool(flags & (SYN | FIN))
        return Packet(self.at_ns, source, other, octets, size, self.protocol, sequence, acknowledged, flags, comment)


def save(trace: Trace, path: str | Path) -> Path:
    """Write a trace as a pcapng file; as an SVG picture where the name says so.

    Values that may name a patient are written over with ``X`` unless the patients are made up or
    ``dicomlab.options.phi`` is ``"show"``; credentials were never recorded. Reads of files have no packets.

    Parameters
    ----------
    trace : Trace
    path : path
        Overwritten.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        The file can't be written.
    """
    path = Path(path)
    names: dict[str, str] = {}
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(svg(trace), encoding="utf-8")
            return path
        with path.open("wb") as file:
            file.writelines(pcapng.encode(list(_packets(trace, names)), ((ip, name) for name, ip in names.items())))
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from error
    return path


def _packets(trace: Trace, addresses: dict[str, str]) -> Iterator[Packet]:
    flows: dict[object, _Flow] = {}
    comments: list[str] = []
    for message in trace.read():
        event = message.event
        if event.direction == "note":
            comments.append(message.reading.text)
            continue
        if event.channel.protocol not in _PORTS:
            continue
        source, destination = (_address(name, addresses) for name in event.parties)
        flow = flows.get(event.channel.conversation)
        if flow is None:
            port = _PORTS[event.channel.protocol]
            client, server = (source, 49152 + len(flows) % 16000), (destination, port)
            flow = _Flow(client, server, UDP if event.channel.protocol in _DATAGRAMS else TCP, event.direction)
            flow.at_ns = trace.wall_ns(event)
            flows[event.channel.conversation] = flow
            if flow.protocol == TCP:
                yield from (flow.mark(client, SYN), flow.mark(server, SYN | ACK), flow.mark(client, ACK))
        flow.at_ns = trace.wall_ns(event)
        end = flow.client if event.direction == flow.opens else flow.server
        said = "; ".join(filter(None, (*comments, message.reading.sentence)))
        comments.clear()
        octets = _blanked(message)
        if flow.protocol == UDP:
            cars = cars_of(event.train)
            yield flow.packet(end, octets, event.size - sum(size for size, _ in cars), said)
            for size, head in cars:
                yield flow.packet(end, head, size)
            continue
        for start in range(0, max(event.size, 1), MAX_SEGMENT):
            part = octets[start : start + MAX_SEGMENT]
            yield flow.packet(end, part, min(MAX_SEGMENT, event.size - start), "" if start else said)
    for flow in flows.values():
        if flow.protocol == TCP:
            yield from (flow.mark(flow.client, FIN | ACK), flow.mark(flow.server, FIN | ACK))


def _address(name: str, addresses: dict[str, str]) -> str:
    return addresses.setdefault(name, f"192.0.2.{len(addresses) % 254 + 1}")


def _blanked(message: Message) -> bytes:
    octets = bytearray(message.event.octets)
    for start, end in message.private:
        octets[start:end] = b"X" * len(octets[start:end])
    return bytes(octets)


# --- in --------------------------------------------------------------------------------------------------------------


def load(path: str | Path) -> Trace:
    """Read a pcapng file as a trace: what DIMSE, HTTP/1.1 (without TLS) and RTP conversations in it said.

    Parameters
    ----------
    path : path
        At most 256 MiB.

    Returns
    -------
    Trace
        With a note where octets of a conversation are missing.

    Raises
    ------
    UsageError
        It can't be read, or is too large.
    RemoteProtocolError
        It is no pcapng file, or a broken one.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE:
            raise UsageError(
                f"{path} has more than {MAX_FILE >> 20} MiB; cut it with editcap, or filter it with tshark -Y"
            )
        octets = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
    trace = Trace()
    talks: dict[frozenset[tuple[str, int]], _Talk] = {}
    flows: dict[tuple[tuple[str, int], tuple[str, int]], Channel] = {}
    for packet in pcapng.decode(octets):
        ends = frozenset((packet.source, packet.destination))
        if len(ends) != 2:
            continue
        if packet.protocol == UDP:
            _datagram(trace, packet, flows)
            continue
        talk = talks.get(ends)
        if talk is None or (packet.flags & SYN and not packet.flags & ACK):
            talk = talks[ends] = _Talk(trace, packet)
        talk.take(packet)
    for talk in talks.values():
        talk.end()
    return trace


def _datagram(trace: Trace, packet: Packet, flows: dict[tuple[tuple[str, int], tuple[str, int]], Channel]) -> None:
    """Record one datagram, if it is RTP or RTCP."""
    octets = packet.payload
    if len(octets) < 12 or octets[0] >> 6 != 2:
        return
    ends = packet.source, packet.destination
    channel = flows.get(ends)
    if channel is None:
        names = tuple(f"{host}:{port}" for host, port in ends)
        if 200 <= octets[1] <= 204:
            channel = Channel("RTCP", (names[0], names[1]), rtcp_line, trace, lambda: read_rtcp)
        else:
            kind = "metadata" if octets[payload_start(octets) :][128:132] == b"DICM" else "video"
            channel = Channel("RTP", (names[0], names[1]), dissect_rtp, trace, lambda: RtpReader(kind))
        flows[ends] = channel
    _record(channel, "sent", octets, packet.at_ns, packet.size)


def _record(channel: Channel, direction: Direction, octets: bytes, at_ns: int, size: int | None = None) -> None:
    channel.tap(direction, octets, size, at_ns=at_ns)


class _Talk:
    """One TCP connection of a capture, put together again."""

    def __init__(self, trace: Trace, first: Packet) -> None:
        answers = first.flags & SYN and first.flags & ACK
        self._client = first.destination if answers else first.source
        self._server = first.source if answers else first.destination
        self._trace, self._at_ns = trace, first.at_ns
        self._channel: Channel | None = None
        self._sides = {end: _Side() for end in (self._client, self._server)}

    def take(self, packet: Packet) -> None:
        """Take one segment."""
        self._at_ns = packet.at_ns
        self._sides[packet.source].take(packet)
        self._emit(packet.source)

    def end(self) -> None:
        """Say what never became whole."""
        for end, side in self._sides.items():
            if side.waiting and self._channel is not None:
                self._channel.note(f"octets of {self._name(end)} are missing in the capture")
            elif side.ready and self._channel is not None:
                self._record(end, bytes(side.ready))

    def _emit(self, end: tuple[str, int]) -> None:
        side = self._sides[end]
        if self._channel is None and len(side.ready) >= 8:
            self._channel = self._opened(bytes(side.ready))
        if self._channel is None:
            del side.ready[:-_MAX_WAITING]
            return
        cut = side.pdus() if self._channel.protocol == "DIMSE" else side.http()
        for octets in cut:
            self._record(end, octets)

    def _record(self, end: tuple[str, int], octets: bytes) -> None:
        if self._channel is not None:
            _record(self._channel, "sent" if end == self._client else "received", octets, self._at_ns)

    def _opened(self, start: bytes) -> Channel | None:
        client, server = self._name(self._client), self._name(self._server)
        if start[0] in range(1, 8) and start[1] == 0:
            if start[0] == 1 and len(start) >= 42:
                server, client = (start[at : at + 16].decode("ascii", "replace").strip() for at in (10, 26))
            return Channel("DIMSE", (client, server), dissect_pdu, self._trace, AssociationReader)
        if start.startswith(_VERBS):
            return Channel("HTTP", (client, server), dissect_http, self._trace, HttpReader)
        return None

    @staticmethod
    def _name(end: tuple[str, int]) -> str:
        return f"{end[0]}:{end[1]}"


class _Side:
    """What one end of a connection sent, in order."""

    def __init__(self) -> None:
        self.ready = bytearray()
        self.waiting: dict[int, bytes] = {}
        self._next: int | None = None

    def take(self, packet: Packet) -> None:
        """Take a segment, in whatever order it comes; octets that came already are passed over."""
        if packet.flags & SYN:
            self._next = packet.sequence + 1 & 0xFFFFFFFF
            return
        payload = packet.payload + bytes(packet.size - len(packet.payload))  # not kept: zeros in their place
        if not payload:
            return
        if self._next is None:
            self._next = packet.sequence
        if sum(map(len, self.waiting.values())) < _MAX_WAITING:
            self.waiting.setdefault(packet.sequence, payload)
        while (ahead := next((s for s in self.waiting if (s - self._next + 2**31) % 2**32 <= 2**31), None)) is not None:
            octets = self.waiting.pop(ahead)
            known = (self._next - ahead) % 2**32
            self.ready += octets[known:]
            self._next = (self._next + max(len(octets) - known, 0)) % 2**32

    def pdus(self) -> Iterator[bytes]:
        """Give whole PDUs."""
        while len(self.ready) >= 6:
            size = 6 + int.from_bytes(self.ready[2:6], "big")
            if len(self.ready) < size:
                if size > _MAX_WAITING:
                    yield bytes(self.ready)
                    self.ready.clear()
                return
            yield bytes(self.ready[:size])
            del self.ready[:size]

    def http(self) -> Iterator[bytes]:
        """Give heads, and bodies in runs."""
        while self.ready:
            if self.ready.startswith(_VERBS):
                end = self.ready.find(b"\r\n\r\n")
                if end < 0:
                    if len(self.ready) < _BODY:
                        return
                    end = len(self.ready) - 4
                yield bytes(self.ready[: end + 4])
                del self.ready[: end + 4]
            else:
                yield bytes(self.ready[:_BODY])
                del self.ready[:_BODY]
