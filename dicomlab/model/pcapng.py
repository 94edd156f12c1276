"""pcapng files, octets and values: what a trace is written as for Wireshark, and read from. No I/O.

A trace knows messages, not packets. So each conversation becomes one TCP connection that is made up around them:
addresses of the documentation network 192.0.2.0/24 for the parties (their names stand in the file), a handshake, and
segments whose sequence numbers count the octets that crossed.

Source
------
IETF draft-ietf-opsawg-pcapng §4 (blocks); RFC 791 §3.1 (IPv4), RFC 9293 §3.1 (TCP), RFC 768 (UDP).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct, error, unpack_from

from dicomlab.errors import RemoteProtocolError

_SECTION = "pcapng §4"
_SECTION_HEADER, _INTERFACE, _NAMES, _PACKET = 0x0A0D0D0A, 1, 4, 6
_MAGIC = 0x1A2B3C4D
LINK_RAW, LINK_ETHERNET, LINK_NULL, LINK_COOKED = 101, 1, 0, 113
MAX_BLOCK = 16 << 20
"""Octets of a block beyond which a file is called broken."""
MAX_SEGMENT = 65_000
TCP, UDP = 6, 17
SYN, FIN, PUSH, ACK = 0x02, 0x01, 0x08, 0x10
_IP, _TCP = Struct(">BBHHHBBH4s4s"), Struct(">HHLLBBHHH")


@dataclass(frozen=True, slots=True)
class Packet:
    """One IPv4 packet with TCP or UDP inside: its time, its ends, and its payload.

    ``size`` is the length of the payload on the wire, more than ``len(payload)`` where it was not all kept.
    """

    at_ns: int
    """Nanoseconds since 1970-01-01T00:00:00Z."""
    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes
    size: int
    protocol: int = TCP
    sequence: int = 0
    acknowledgement: int = 0
    flags: int = PUSH | ACK
    comment: str = ""


# --- writing ---------------------------------------------------------------------------------------------------------


def encode(packets: Iterable[Packet], names: Iterable[tuple[str, str]] = ()) -> Iterator[bytes]:
    """Write a file, block by block.

    Parameters
    ----------
    packets : iterable of Packet
    names : iterable of (address, name)
        What the ends are called.

    Yields
    ------
    bytes
        One block each.

    Source
    ------
    pcapng §4.1 to §4.5.
    """
    yield _block(_SECTION_HEADER, Struct("<LHHq").pack(_MAGIC, 1, 0, -1) + _options((4, b"dicomlab")))
    yield _block(_INTERFACE, Struct("<HHL").pack(LINK_RAW, 0, 0) + _options((9, b"\x09")))
    records = b"".join(_record(address, name) for address, name in names)
    if records:
        yield _block(_NAMES, records + bytes(4))
    for packet in packets:
        octets, missing = _ip(packet), packet.size - len(packet.payload)
        head = Struct("<LLLLL").pack(
            0, packet.at_ns >> 32 & 0xFFFFFFFF, packet.at_ns & 0xFFFFFFFF, len(octets), len(octets) + missing
        )
        options = _options((1, packet.comment.encode("utf-8", "replace")[:1000])) if packet.comment else b""
        yield _block(_PACKET, head + _padded(octets) + options)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return Struct("<LL").pack(kind, size) + body + size.to_bytes(4, "little")


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(Struct("<HH").pack(code, len(value)) + _padded(value) for code, value in options) + bytes(4)


def _record(address: str, name: str) -> bytes:
    value = _address(address) + name.encode("utf-8", "replace").replace(b"\0", b"")[:250] + b"\0"
    return Struct("<HH").pack(1, len(value)) + _padded(value)


def _address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def _ip(packet: Packet) -> bytes:
    (source, source_port), (destination, destination_port) = packet.source, packet.destination
    if packet.protocol == TCP:
        head = _TCP.pack(
            source_port,
            destination_port,
            packet.sequence & 0xFFFFFFFF,
            packet.acknowledgement & 0xFFFFFFFF,
            0x50,
            packet.flags,
            0xFFFF,
            0,
            0,
        )
    else:
        head = Struct(">HHHH").pack(source_port, destination_port, 8 + packet.size, 0)
    ends = _address(source), _address(destination)
    total = min(20 + len(head) + packet.size, 0xFFFF)
    first = _IP.pack(0x45, 0, total, 0, 0x4000, 64, packet.protocol, 0, *ends)
    return _IP.pack(0x45, 0, total, 0, 0x4000, 64, packet.protocol, _checksum(first), *ends) + head + packet.payload


def _checksum(octets: bytes) -> int:
    total: int = sum(unpack_from(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


# --- reading ---------------------------------------------------------------------------------------------------------


def decode(octets: bytes | memoryview) -> Iterator[Packet]:
    """Read the TCP and UDP packets of a capture; whatever else is in it is passed over.

    Parameters
    ----------
    octets : bytes
        A whole pcapng file, of little or big endian sections; Ethernet, Linux cooked, loopback or raw IP.

    Raises
    ------
    RemoteProtocolError
        It is no pcapng file, or a block is broken.

    Source
    ------
    pcapng §4.
    """
    at, order = 0, "<"
    interfaces: list[tuple[int, int]] = []
    while at + 12 <= len(octets):
        kind = int.from_bytes(octets[at : at + 4], "little")
        if kind == _SECTION_HEADER:
            magic = bytes(octets[at + 8 : at + 12])
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(magic, "")
            interfaces = []
        if not order or (at == 0 and kind != _SECTION_HEADER):
            raise RemoteProtocolError("this is no pcapng file", section=_SECTION, offset=at)
        kind, size = unpack_from(order + "LL", octets, at)
        if size < 12 or size % 4 or size > MAX_BLOCK or at + size > len(octets):
            raise RemoteProtocolError(f"a block of {size} octets can't be", section=_SECTION, offset=at + 4)
        body = bytes(octets[at + 8 : at + size - 4])
        try:
            if kind == _INTERFACE:
                interfaces.append((unpack_from(order + "H", body)[0], _resolution(body[8:], order)))
            elif kind == _PACKET and (found := _packet(body, order, interfaces)) is not None:
                yield found
        except (error, IndexError) as broken:
            raise RemoteProtocolError("a block is cut", section=_SECTION, offset=at) from broken
        at += size


def _resolution(options: bytes, order: str) -> int:
    """Ticks of a second."""
    at = 0
    while at + 4 <= len(options):
        code, length = unpack_from(order + "HH", options, at)
        if code == 9 and length == 1:
            value: int = options[at + 4]
            return 1 << (value & 0x3F) if value & 0x80 else int(10.0 ** min(value, 18))
        if code == 0:
            break
        at += 4 + length + -length % 4
    return 1_000_000


def _packet(body: bytes, order: str, interfaces: list[tuple[int, int]]) -> Packet | None:
    number, high, low, kept, whole = unpack_from(order + "LLLLL", body)
    link, ticks = interfaces[number]
    data = body[20 : 20 + kept]
    skip = {LINK_RAW: 0, LINK_ETHERNET: 14, LINK_NULL: 4, LINK_COOKED: 16}.get(link)
    if skip is None or (link == LINK_ETHERNET and data[12:14] != b"\x08\x00"):
        return None
    return _inner(data[skip:], ((high << 32) | low) * 1_000_000_000 // ticks, max(whole - kept, 0))


def _inner(data: bytes, at_ns: int, missing: int) -> Packet | None:
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    start, protocol = (data[0] & 0x0F) * 4, data[9]
    total = int.from_bytes(data[2:4], "big")
    if not missing and total > start:
        data = data[:total]  # what an Ethernet frame was filled up with
    source, destination = (".".join(map(str, data[i : i + 4])) for i in (12, 16))
    inner = data[start:]
    if protocol == TCP and len(inner) >= 20:
        ports = unpack_from(">HHLL", inner)
        payload = inner[(inner[12] >> 4) * 4 :]
        ends = (source, ports[0]), (destination, ports[1])
        return Packet(at_ns, *ends, payload, len(payload) + missing, TCP, ports[2], ports[3], inner[13])
    if protocol == UDP and len(inner) >= 8:
        one, other = unpack_from(">HH", inner)
        return Packet(at_ns, (source, one), (destination, other), inner[8:], len(inner) - 8 + missing, UDP)
    return None
