"""The fields of RTP and RTCP packets and of session descriptions, each with its octets, for people to read. No I/O.

Source
------
RFC 3550 §5.1, §5.3.1, §6.4 to §6.6; RFC 8285 §4.2, §4.3; RFC 4175 §4; RFC 8866 §5; PS3.22 §6.2, §7.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from dicomlab.errors import DicomlabError
from dicomlab.model.reading import Field
from dicomlab.part10.fields import file_fields
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.rtv.clock import PTP_OCTETS, decode_ptp, utc_of
from dicomlab.rtv.extension import IDS, ONE_BYTE, TWO_BYTE
from dicomlab.rtv.rtp import HEADER_OCTETS

MAX_FIELDS = 64
_LONGEST = 300
_RTP, _EXTENSION, _ROWS = "RFC 3550 §5.1", "RFC 8285 §4", "RFC 4175 §4.3"
_ITEMS = {number: item for item, number in IDS.items()}
_MEANINGS = {
    "origin": "when it was captured (TAI)",
    "sync": "the instant that belongs to the RTP timestamp (TAI)",
    "flow": "which flow this is",
    "source": "which device it comes from",
    "flags": "where in the Grain this packet stands",
    "timecode": "SMPTE time code",
    "duration": "of the Grain",
}
_REPORTS = {200: "Sender Report", 201: "Receiver Report", 202: "Source Description", 203: "Goodbye"}
_SDP = {
    "v": "version of the format", "o": "who made the session, and which version of it", "s": "name of the session",
    "i": "about the session", "c": "where the packets go", "t": "when it is on", "m": "one flow: kind, port, format",
    "a": "an attribute of what stands above it", "b": "bandwidth", "e": "e-mail address", "p": "telephone number",
    "u": "address of more about it",
}  # fmt: skip


def rtp_fields(octets: bytes, kind: str) -> tuple[Field, ...]:
    """Take one RTP packet apart.

    Parameters
    ----------
    octets : bytes
        From its first octet; its end may be missing.
    kind : str
        ``"video"``, ``"audio"`` or ``"metadata"``: how the payload is read.

    Source
    ------
    RFC 3550 §5.1; RFC 4175 §4.3; PS3.22 §6.2.2.
    """
    if len(octets) < HEADER_OCTETS:
        return ()
    first, second = octets[0], octets[1]
    sources = first & 15
    fields = [
        Field("Version", str(first >> 6), "RTP version 2" if first >> 6 == 2 else "no RTP", _RTP, 0, 1),
        Field("Marker", "1" if second & 0x80 else "0", _marker(kind, second), _RTP, 1, 2),
        Field("Payload type", str(second & 0x7F), "what the session description says it is", _RTP, 1, 2),
        Field("Sequence number", _number(octets, 2, 4), "one more with each packet: gaps are losses", _RTP, 2, 4),
        Field("Timestamp", _number(octets, 4, 8), "the same for all packets of a frame or Grain", _RTP, 4, 8),
        Field("SSRC", f"{octets[8:12].hex().upper()}H", "one sender of one stream", _RTP, 8, 12),
    ]
    at = payload_start(octets)
    start = min(HEADER_OCTETS + 4 * sources, len(octets))
    if sources:
        fields.append(Field("CSRC list", f"{sources} sources", "", _RTP, HEADER_OCTETS, start))
    if first & 0x10:
        items = tuple(_elements(octets, start, at))
        fields.append(Field("Header extension", f"{len(items)} items", "", "RFC 3550 §5.3.1", start, at, items))
    if kind == "video":
        fields += _rows(octets, at)
    elif kind == "metadata":
        fields.append(_grain(octets, at))
    elif at < len(octets):
        fields.append(Field("Samples", f"{len(octets) - at} octets", "of sound", "SMPTE ST 2110-30", at, len(octets)))
    return tuple(fields)


def payload_start(octets: bytes) -> int:
    """The octet at which the payload of an RTP packet starts; no further than it goes."""
    at = HEADER_OCTETS + 4 * (octets[0] & 15)
    if octets[0] & 0x10:
        at += 4 + 4 * int.from_bytes(octets[at + 2 : at + 4], "big")
    return min(at, len(octets))


def _marker(kind: str, second: int) -> str:
    if kind == "audio":
        return ""
    return f"the last packet of a {'Grain' if kind == 'metadata' else 'frame'}" if second & 0x80 else "more follow"


def _number(octets: bytes, start: int, end: int) -> str:
    return str(int.from_bytes(octets[start:end], "big"))


def _elements(octets: bytes, start: int, end: int) -> Iterator[Field]:
    """The elements of a header extension, as far as they make sense."""
    profile = int.from_bytes(octets[start : start + 2], "big")
    one_byte = profile == ONE_BYTE
    if not one_byte and profile & 0xFFF0 != TWO_BYTE:
        return
    at = start + 4
    while at < end:
        if octets[at] == 0:
            at += 1
            continue
        number, length = (octets[at] >> 4, (octets[at] & 15) + 1) if one_byte else (octets[at], _at(octets, at + 1))
        value = at + (1 if one_byte else 2)
        if value + length > end or (one_byte and number == 15):
            return
        item = _ITEMS.get(number, "")
        text = _item(item, octets[value : value + length])
        name = f"{number}: {item or 'not named by the session description'}"
        yield Field(name, text, _MEANINGS.get(item, ""), _EXTENSION, at, value + length)
        at = value + length


def _at(octets: bytes, at: int) -> int:
    return octets[at] if at < len(octets) else 0


def _item(item: str, octets: bytes) -> str:
    if item in ("origin", "sync") and len(octets) == PTP_OCTETS:
        try:
            return f"{decode_ptp(octets)} ns, {_when(decode_ptp(octets))}"
        except DicomlabError:
            return octets.hex(" ")
    if item in ("flow", "source") and len(octets) == 16:
        return str(UUID(bytes=octets))
    if item == "flags" and len(octets) == 1:
        known = [text for bit, text in ((0x80, "first packet"), (0x40, "last packet")) if octets[0] & bit]
        return f"{octets[0]:02X}H {', '.join(known) or 'in between'}"
    return octets.hex(" ")


def _when(tai_ns: int) -> str:
    try:
        found: datetime = utc_of(tai_ns)
    except (DicomlabError, ValueError, OverflowError, OSError):
        return "no date"
    return f"{found:%Y-%m-%d %H:%M:%S.%f} UTC"


def _rows(octets: bytes, at: int) -> Iterator[Field]:
    if at + 2 > len(octets):
        return
    yield Field(
        "Extended sequence number", _number(octets, at, at + 2), "the upper 16 bits of the number", _ROWS, at, at + 2
    )
    at, more = at + 2, True
    for _ in range(MAX_FIELDS):
        if not more or at + 6 > len(octets):
            break
        length, row, offset = (int.from_bytes(octets[i : i + 2], "big") for i in (at, at + 2, at + 4))
        where = f"row {row & 0x7FFF}{', second field' if row & 0x8000 else ''}, from pixel {offset & 0x7FFF}"
        yield Field("Sample row data", f"{length} octets", where, _ROWS, at, at + 6)
        more, at = bool(offset & 0x8000), at + 6
    if at < len(octets):
        yield Field("Pixels", f"{len(octets) - at} octets", "in pgroups", "SMPTE ST 2110-20", at, len(octets))


def _grain(octets: bytes, at: int) -> Field:
    """A part of a metadata Grain: its first packet opens to the elements in it."""
    children = file_fields(octets, at, EXPLICIT_LE)
    meaning = "a Grain begins: RTV Meta Information, then (0006,0001), then the static part" if children else ""
    meaning = meaning or "goes on with the Grain of this timestamp"
    return Field("Grain", f"{len(octets) - at} octets", meaning, "PS3.22 §6.2.2", at, len(octets), children)


# --- RTCP ------------------------------------------------------------------------------------------------------------


def rtcp_fields(octets: bytes) -> tuple[Field, ...]:
    """Take an RTCP compound packet apart.

    Source
    ------
    RFC 3550 §6.4 to §6.6.
    """
    fields: list[Field] = []
    at = 0
    while at + 8 <= len(octets) and len(fields) < MAX_FIELDS:
        kind, count = octets[at + 1], octets[at] & 31
        end = min(at + 4 + 4 * int.from_bytes(octets[at + 2 : at + 4], "big"), len(octets))
        inner = [Field("SSRC", f"{octets[at + 4 : at + 8].hex().upper()}H", "whose", "RFC 3550 §6", at + 4, at + 8)]
        if kind == 200 and at + 28 <= end:
            for name, start, stop, meaning in (
                ("NTP timestamp", 8, 16, "wall clock of the sender, in 1/2³² s since 1900"),
                ("RTP timestamp", 16, 20, "the same instant on the media clock"),
                ("Packets sent", 20, 24, "so far"),
                ("Octets sent", 24, 28, "so far, payload only"),
            ):
                value = _number(octets, at + start, at + stop)
                inner.append(Field(name, value, meaning, "RFC 3550 §6.4.1", at + start, at + stop))
        named = _REPORTS.get(kind, f"packet of type {kind}")
        fields.append(Field(named, f"{end - at} octets", f"{count} blocks", "RFC 3550 §6", at, end, tuple(inner)))
        at = max(end, at + 4)
    return tuple(fields)


# --- session description ---------------------------------------------------------------------------------------------


def sdp_fields(octets: bytes) -> tuple[Field, ...]:
    """Take a session description apart, line by line.

    Source
    ------
    RFC 8866 §5; PS3.22 §6.2.2.
    """
    fields = []
    at = 0
    for line in octets.split(b"\n")[:MAX_FIELDS]:
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        if text:
            shown = text[2 : 2 + _LONGEST]
            fields.append(Field(text[:2], shown, _SDP.get(text[:1], ""), "RFC 8866 §5", at, at + len(line)))
        at += len(line) + 1
    return tuple(fields)
