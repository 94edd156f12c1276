"""pcapng: octets by name, round trips, and nothing hostile gets far."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.pcapng import ACK, PUSH, SYN, TCP, UDP, Packet, decode, encode

ends = st.tuples(
    st.tuples(*[st.integers(0, 255)] * 4).map(lambda parts: ".".join(map(str, parts))), st.integers(0, 65535)
)
packets = st.builds(
    lambda at, source, destination, octets, protocol, sequence: Packet(
        at, source, destination, octets, len(octets), protocol, sequence if protocol == TCP else 0, 0, PUSH | ACK
    ),
    st.integers(0, 2**63),
    ends,
    ends,
    st.binary(max_size=200),
    st.sampled_from([TCP, UDP]),
    st.integers(0, 2**32 - 1),
)


@given(st.lists(packets, max_size=4))
def test_what_is_written_is_read(sent: list[Packet]) -> None:
    octets = b"".join(encode(sent, [("192.0.2.1", "PACS")]))
    assert len(octets) % 4 == 0
    got = [(p.at_ns, p.source, p.destination, p.payload, p.size, p.protocol, p.sequence) for p in decode(octets)]
    assert got == [(p.at_ns, p.source, p.destination, p.payload, p.size, p.protocol, p.sequence) for p in sent]


def test_the_blocks_are_those_of_the_draft() -> None:
    section, interface, packet = encode([Packet(5, ("192.0.2.1", 1), ("192.0.2.2", 104), b"abc", 10, flags=SYN)])
    assert section[:12].hex() == "0a0d0d0a2c0000004d3c2b1a"
    assert section[12:24].hex() == "01000000ffffffffffffffff"  # version 1.0, length not told
    assert interface[:16].hex() == "01000000200000006500000000000000"  # raw IP
    assert interface[16:24].hex() == "0900010009000000"  # nanoseconds
    assert packet[:4].hex() == "06000000"
    assert packet[20:28].hex() == pack("<LL", 43, 50).hex()  # 40 octets of headers; 3 of 10 octets kept
    assert packet[28:48].hex().startswith("45000032")
    total = sum(int.from_bytes(packet[28 + at : 30 + at], "big") for at in range(0, 20, 2))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # RFC 791: the checksum makes the sum all ones


def test_ethernet_big_endian_and_what_is_no_ip() -> None:
    ip = b"".join(encode([Packet(0, ("10.0.0.1", 7), ("10.0.0.2", 104), b"data", 4)]))
    inner = next(iter([ip[ip.index(b"\x45\x00") :][:44]]))
    frame = bytes(12) + b"\x08\x00" + inner + bytes(10)  # filled up, as short frames are

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return pack(">LL", kind, len(body) + 12) + body + pack(">L", len(body) + 12)

    head = block(0x0A0D0D0A, pack(">LHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, pack(">HHL", 1, 0, 0))
    arp = bytes(12) + b"\x08\x06" + bytes(30)
    body = [block(6, pack(">LLLLL", 0, 0, 1_000_000, len(f), len(f)) + f) for f in (arp, frame)]
    [packet] = decode(head + b"".join(body))
    assert (packet.payload, packet.size, packet.at_ns) == (b"data", 4, 1_000_000_000)


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"\xd4\xc3\xb2\xa1" + bytes(40), "no pcapng"),
        (bytes.fromhex("0a0d0d0a1c0000000000000001000000ffffffffffffffff1c000000"), "no pcapng"),
        (bytes.fromhex("0a0d0d0affffff7f4d3c2b1a01000000ffffffffffffffff1c000000"), "can't be"),
        (bytes.fromhex("0a0d0d0afcffff7f4d3c2b1a01000000ffffffffffffffff1c000000"), "can't be"),
        (bytes.fromhex("0a0d0d0a200000004d3c2b1a01000000ffffffffffffffff1c000000"), "can't be"),
        (bytes.fromhex("0a0d0d0a0b0000004d3c2b1a01000000ffffffffffffffff1c000000"), "can't be"),
    ],
)
def test_what_is_no_capture_is_said_to_be_none(octets: bytes, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        list(decode(octets))


def test_a_packet_of_an_interface_that_is_not_there_is_broken() -> None:
    octets = b"".join(encode([Packet(5, ("192.0.2.1", 1), ("192.0.2.2", 104), b"abc", 3)]))
    section = octets[: int.from_bytes(octets[4:8], "little")]
    packet = list(encode([Packet(5, ("192.0.2.1", 1), ("192.0.2.2", 104), b"abc", 3)]))[-1]
    with pytest.raises(RemoteProtocolError, match="cut"):
        list(decode(section + packet))


@given(st.data())
def test_nothing_hostile_fails_in_another_way(data: st.DataObject) -> None:
    octets = bytearray(b"".join(encode([Packet(5, ("192.0.2.1", 1), ("192.0.2.2", 104), b"abc" * 9, 27)] * 2)))
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    try:
        for packet in decode(cut):
            assert len(packet.payload) <= len(cut)
    except RemoteProtocolError:
        pass
