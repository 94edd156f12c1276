"""RTCP: sender and receiver reports, source descriptions, goodbye. No I/O.

Source
------
RFC 3550 §6.1 (compound packets), §6.4 (SR, RR), §6.5 (SDES), §6.6 (BYE).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from dicomlab.errors import LocalProtocolError, RemoteProtocolError

SR, RR, SDES, BYE = 200, 201, 202, 203
MAX_OCTETS = 1500
CNAME = 1

_HEADER = Struct(">BBH")
_SENDER = Struct(">LQLLL")
_BLOCK = Struct(">6L")
Octets = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What one receiver says of one source. ``lost`` is cumulative and may be negative (duplicates)."""

    ssrc: int
    fraction_lost: int
    """Lost since the last report, in 1/256."""
    lost: int
    highest: int
    """Extended highest sequence number received."""
    jitter: int
    last_sr: int = 0
    since_last_sr: int = 0
    """In 1/65536 s."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    """What a sender says of its own stream."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What a receiver says of what it gets."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """Who a source is: items by their number, 1 is CNAME."""

    chunks: tuple[tuple[int, tuple[tuple[int, str], ...]], ...]


@dataclass(frozen=True, slots=True)
class Bye:
    """Sources that leave."""

    ssrcs: tuple[int, ...]
    reason: str = ""


Report = SenderReport | ReceiverReport | Description | Bye


def encode_rtcp(reports: Iterable[Report]) -> bytes:
    """Encode a compound packet.

    Raises
    ------
    LocalProtocolError
        A value that does not fit its field.

    Source
    ------
    RFC 3550 §6.1, §6.4 to §6.6.
    """
    try:
        return b"".join(_encoded(report) for report in reports)
    except (struct.error, OverflowError, ValueError) as error:
        raise LocalProtocolError(f"no such RTCP packet: {error}", section="RFC 3550 §6") from error


def _encoded(report: Report) -> bytes:
    if isinstance(report, SenderReport):
        body = _SENDER.pack(report.ssrc, report.ntp, report.timestamp, report.packets, report.octets)
        return _packet(SR, len(report.blocks), body + _blocks(report.blocks))
    if isinstance(report, ReceiverReport):
        return _packet(RR, len(report.blocks), report.ssrc.to_bytes(4, "big") + _blocks(report.blocks))
    if isinstance(report, Description):
        return _packet(SDES, len(report.chunks), b"".join(_chunk(*chunk) for chunk in report.chunks))
    body = b"".join(ssrc.to_bytes(4, "big") for ssrc in report.ssrcs)
    if report.reason:
        text = report.reason.encode()
        body += bytes([len(text)]) + text
    return _packet(BYE, len(report.ssrcs), body + bytes(-len(body) % 4))


def _packet(kind: int, count: int, body: bytes) -> bytes:
    if count > 31:
        raise ValueError(f"{count} blocks in one packet")
    return _HEADER.pack(0x80 | count, kind, len(body) // 4) + body


def _blocks(blocks: Iterable[ReportBlock]) -> bytes:
    return b"".join(
        _BLOCK.pack(b.ssrc, b.fraction_lost << 24 | b.lost & 0xFFFFFF, b.highest, b.jitter, b.last_sr, b.since_last_sr)
        for b in blocks
    )


def _chunk(ssrc: int, items: Iterable[tuple[int, str]]) -> bytes:
    octets = ssrc.to_bytes(4, "big")
    for kind, text in items:
        encoded = text.encode()
        octets += bytes([kind, len(encoded)]) + encoded
    octets += b"\0"
    return octets + bytes(-len(octets) % 4)


def decode_rtcp(octets: Octets) -> list[Report]:
    """Decode a compound packet; packets of other types (APP, feedback) are passed over.

    Raises
    ------
    RemoteProtocolError
        Cut, no version 2, or beyond 1500 octets.

    Source
    ------
    RFC 3550 §6.1, §6.4 to §6.6.
    """
    if len(octets) > MAX_OCTETS:
        raise _broken(f"{len(octets)} octets of RTCP in one datagram", 0)
    data = bytes(octets)
    reports: list[Report] = []
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise _broken("a header is cut", at)
        first, kind, words = _HEADER.unpack_from(data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2:
            raise _broken(f"version {first >> 6}, not 2", at)
        if end > len(data):
            raise _broken("a packet is cut", at)
        body, count = data[at + 4 : end], first & 31
        if first & 0x20:
            if not body or not 0 < body[-1] <= len(body):
                raise _broken("padding that can't be", end - 1)
            body = body[: -body[-1]]
        report = _decoded(kind, count, body, at)
        if report is not None:
            reports.append(report)
        at = end
    return reports


def _decoded(kind: int, count: int, body: bytes, at: int) -> Report | None:
    if kind == SR:
        if len(body) < _SENDER.size:
            raise _broken("a sender report is cut", at)
        ssrc, ntp, timestamp, packets, octets = _SENDER.unpack_from(body)
        blocks = _read_blocks(body[_SENDER.size :], count, at)
        return SenderReport(ssrc, ntp, timestamp, packets, octets, blocks)
    if kind == RR:
        if len(body) < 4:
            raise _broken("a receiver report is cut", at)
        return ReceiverReport(int.from_bytes(body[:4], "big"), _read_blocks(body[4:], count, at))
    if kind == SDES:
        return _description(body, count, at)
    if kind == BYE:
        if len(body) < 4 * count:
            raise _broken("a goodbye is cut", at)
        ssrcs = tuple(int.from_bytes(body[i : i + 4], "big") for i in range(0, 4 * count, 4))
        rest = body[4 * count :]
        if rest and 1 + rest[0] > len(rest):
            raise _broken("the reason of a goodbye is cut", at)
        return Bye(ssrcs, rest[1 : 1 + rest[0]].decode("utf-8", "replace") if rest else "")
    return None


def _read_blocks(body: bytes, count: int, at: int) -> tuple[ReportBlock, ...]:
    if len(body) < count * _BLOCK.size:
        raise _broken("report blocks are cut", at)
    blocks = []
    for start in range(0, count * _BLOCK.size, _BLOCK.size):
        ssrc, both, highest, jitter, last, since = _BLOCK.unpack_from(body, start)
        lost = (both & 0xFFFFFF) - (1 << 24 if both & 0x800000 else 0)
        blocks.append(ReportBlock(ssrc, both >> 24, lost, highest, jitter, last, since))
    return tuple(blocks)


def _description(body: bytes, count: int, at: int) -> Description:
    chunks = []
    where = 0
    for _ in range(count):
        if where + 4 > len(body):
            raise _broken("a source description is cut", at)
        ssrc, where, items = int.from_bytes(body[where : where + 4], "big"), where + 4, []
        while where < len(body) and body[where]:
            end = where + 2 + (body[where + 1] if where + 1 < len(body) else len(body))
            if end > len(body):
                raise _broken("an item of a source description is cut", at)
            items.append((body[where], body[where + 2 : end].decode("utf-8", "replace")))
            where = end
        where += 4 - where % 4
        chunks.append((ssrc, tuple(items)))
    return Description(tuple(chunks))


def _broken(what: str, at: int) -> RemoteProtocolError:
    return RemoteProtocolError(what, section="RFC 3550 §6", offset=at)
