"""RTP header extensions: one-byte and two-byte elements, and the items that NMOS puts there. No I/O.

Source
------
RFC 8285 §4.2 (one-byte), §4.3 (two-byte); PS3.22 §6.2.1; NMOS "Mapping of Identity and Timing Information to RTP".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from uuid import UUID

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.rtv.clock import PTP_OCTETS, decode_ptp, encode_ptp

ONE_BYTE = 0xBEDE
TWO_BYTE = 0x1000
"""The low four bits are for the application."""

_ONE, _TWO = "RFC 8285 §4.2", "RFC 8285 §4.3"
_NMOS = "urn:x-nmos:rtp-hdrext:"

ITEMS = ("origin", "timecode", "flow", "source", "flags", "sync", "duration")
URIS: Mapping[str, str] = {
    "origin": _NMOS + "origin-timestamp",
    "timecode": "urn:ietf:params:rtp-hdrext:smpte-tc",
    "flow": _NMOS + "flow-id",
    "source": _NMOS + "source-id",
    "flags": _NMOS + "grain-flags",
    "sync": _NMOS + "sync-timestamp",
    "duration": _NMOS + "grain-duration",
}
"""Item to the URI of its ``a=extmap``."""
IDS: Mapping[str, int] = {"origin": 1, "timecode": 2, "flow": 3, "source": 4, "flags": 5, "sync": 7, "duration": 9}
"""The ids that we send, those of the public NMOS captures. A receiver goes by ``a=extmap``."""

START, END = 0x80, 0x40


@dataclass(frozen=True, slots=True)
class GrainItems:
    """What the header extension says of a Grain. Absent items are None."""

    origin_ns: int | None = None
    sync_ns: int | None = None
    source: UUID | None = None
    flow: UUID | None = None
    flags: int | None = None
    """Bit 7: first packet of the Grain; bit 6: last one."""
    duration_s: Fraction | None = None

    @property
    def starts(self) -> bool:
        """Whether the packet is the first of its Grain."""
        return bool((self.flags or 0) & START)

    @property
    def ends(self) -> bool:
        """Whether the packet is the last of its Grain."""
        return bool((self.flags or 0) & END)


def encode_elements(elements: Iterable[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Encode (id, data) as a header extension: its profile and its octets, padded to whole words.

    The one-byte form is taken where all of it fits: ids 1 to 14, 1 to 16 octets each.

    Raises
    ------
    LocalProtocolError
        An id beyond 1 to 255, or more than 255 octets.

    Source
    ------
    RFC 8285 §4.2, §4.3.
    """
    pairs = list(elements)
    if all(0 < number < 15 and 0 < len(data) <= 16 for number, data in pairs):
        profile = ONE_BYTE
        octets = b"".join(bytes([number << 4 | len(data) - 1]) + data for number, data in pairs)
    elif all(0 < number < 256 and len(data) < 256 for number, data in pairs):
        profile = TWO_BYTE
        octets = b"".join(bytes([number, len(data)]) + data for number, data in pairs)
    else:
        raise LocalProtocolError("an element that no header extension can hold", section=_TWO)
    return profile, octets + bytes(-len(octets) % 4)


def decode_elements(profile: int, octets: bytes) -> dict[int, bytes]:
    """Decode a header extension to id and data; of an id that comes twice the first counts.

    A profile that is neither form gives nothing: it belongs to somebody else.

    Raises
    ------
    RemoteProtocolError
        An element is cut.

    Source
    ------
    RFC 8285 §4.2 (id 0: padding, id 15: stop), §4.3 (id 0: padding).
    """
    found: dict[int, bytes] = {}
    if profile != ONE_BYTE and profile & 0xFFF0 != TWO_BYTE:
        return found
    at, size = 0, len(octets)
    while at < size:
        if octets[at] == 0:
            at += 1
            continue
        if profile == ONE_BYTE:
            number, length, section = octets[at] >> 4, (octets[at] & 15) + 1, _ONE
            at += 1
            if number == 15:
                break
        else:
            if at + 2 > size:
                raise RemoteProtocolError("an element's header is cut", section=_TWO, offset=at)
            number, length, section = octets[at], octets[at + 1], _TWO
            at += 2
        if at + length > size:
            raise RemoteProtocolError(f"element {number} is cut", section=section, offset=at)
        if number:  # in the one-byte form an id 0 with a length is padding too
            found.setdefault(number, octets[at : at + length])
        at += length
    return found


def encode_items(items: GrainItems, ids: Mapping[str, int] = IDS) -> tuple[int, bytes]:
    """Encode what is to be said of a Grain: origin, sync, flow, source, flags, duration, in that order.

    Source
    ------
    PS3.22 §6.2.1; NMOS mapping, header extensions.
    """
    elements = []
    if items.origin_ns is not None:
        elements.append((ids["origin"], encode_ptp(items.origin_ns)))
    if items.sync_ns is not None:
        elements.append((ids["sync"], encode_ptp(items.sync_ns)))
    if items.flow is not None:
        elements.append((ids["flow"], items.flow.bytes))
    if items.source is not None:
        elements.append((ids["source"], items.source.bytes))
    if items.flags is not None:
        elements.append((ids["flags"], bytes([items.flags])))
    if items.duration_s is not None:
        duration = items.duration_s
        octets = duration.numerator.to_bytes(4, "big") + duration.denominator.to_bytes(4, "big")
        elements.append((ids["duration"], octets))
    return encode_elements(elements)


def decode_items(extension: tuple[int, bytes] | None, ids: Mapping[str, int] | None) -> GrainItems:
    """Decode what a header extension says of a Grain.

    Parameters
    ----------
    extension : (profile, octets), or None
        As :func:`~dicomlab.rtv.rtp.decode_rtp` gives it.
    ids : mapping of item to id, or None
        From the ``a=extmap`` of the SDP. Without one the items are known by their lengths, in the order of the
        elements: 10 octets origin then sync, 16 octets flow then source, 1 octet flags, 8 octets duration.

    Raises
    ------
    RemoteProtocolError
        An element is cut, or has a length that its item can't have.

    Source
    ------
    PS3.22 §6.2.1; NMOS mapping, header extensions.
    """
    if extension is None:
        return GrainItems()
    elements = decode_elements(*extension)
    if ids is None:
        found = _by_length(elements)
    else:
        found = {item: elements[number] for item, number in ids.items() if number in elements}
    for item, octets in found.items():
        if len(octets) != _LENGTHS.get(item, len(octets)):
            raise RemoteProtocolError(f"{item} of {len(octets)} octets", section="PS3.22 §6.2.1")
    duration = found.get("duration")
    return GrainItems(
        decode_ptp(found["origin"]) if "origin" in found else None,
        decode_ptp(found["sync"]) if "sync" in found else None,
        UUID(bytes=found["source"]) if "source" in found else None,
        UUID(bytes=found["flow"]) if "flow" in found else None,
        found["flags"][0] if "flags" in found else None,
        _fraction(duration) if duration is not None else None,
    )


_LENGTHS = {"origin": PTP_OCTETS, "sync": PTP_OCTETS, "source": 16, "flow": 16, "flags": 1, "duration": 8}


def _by_length(elements: Mapping[int, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for octets in elements.values():
        for item in {10: ("origin", "sync"), 16: ("flow", "source"), 1: ("flags",), 8: ("duration",)}.get(
            len(octets), ()
        ):
            if item not in found:
                found[item] = octets
                break
    return found


def _fraction(octets: bytes) -> Fraction:
    denominator = int.from_bytes(octets[4:], "big")
    if not denominator:
        raise RemoteProtocolError("a Grain duration of n/0", section="PS3.22 §6.2.1", offset=4)
    return Fraction(int.from_bytes(octets[:4], "big"), denominator)
