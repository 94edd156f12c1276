"""Walk the elements of an encoded data set without decoding values. No I/O; the octets may be a memory map.

Source
------
PS3.5 §7.1 (data elements), §7.5 (nested data sets), §A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

_SECTION = "PS3.5 §7"
MAX_DEPTH = 64
"""Nested sequences beyond which a data set is called broken."""

MAX_INFLATED = 256 << 20
MAX_RATIO, FREE_OF_RATIO = 100, 64 << 20
"""How many times its length a deflated data set may inflate to, and up to how many octets nobody asks."""
"""Octets beyond which a deflated data set is called a bomb."""

MAX_PADDING = 64 << 10
"""Octets of zero after the last element that are taken for the padding of a medium (a sector, a block of tape)."""

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
_LE = (Struct("<HH"), Struct("<H"), Struct("<L"))
_BE = (Struct(">HH"), Struct(">H"), Struct(">L"))

Octets = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Element:
    """One element at the top level of a data set: where it starts, and where its value lies.

    ``length`` counts the octets of the value; for a value of undefined length, those up to and including its
    delimiter. ``vr`` is ``""`` in Implicit VR.
    """

    tag: int
    vr: str
    offset: int
    value: int
    length: int

    @property
    def end(self) -> int:
        """The octet after it."""
        return self.value + self.length


class Walker:
    """Reads element headers of one transfer syntax from one buffer."""

    def __init__(self, octets: Octets, transfer_syntax_uid: str) -> None:
        self.octets = octets
        self.size = len(octets)
        self.implicit = transfer_syntax_uid == IMPLICIT_LE
        self._tag, self._u16, self._u32 = _BE if transfer_syntax_uid == EXPLICIT_BE else _LE

    @staticmethod
    def broken(what: str, at: int) -> RemoteProtocolError:
        """The error for octets that can't be, at that offset."""
        return RemoteProtocolError(what, section=_SECTION, offset=at)

    def header(self, at: int, *, implicit: bool) -> tuple[int, str, int, int]:
        """Read tag, VR, value offset and length field."""
        if at + 8 > self.size:
            raise RemoteProtocolError("cut inside an element's header", section=_SECTION, offset=at)
        group, element = self._tag.unpack_from(self.octets, at)
        tag = (group << 16) | element
        if implicit or group == 0xFFFE:
            return tag, "", at + 8, self._u32.unpack_from(self.octets, at + 4)[0]
        vr = bytes(self.octets[at + 4 : at + 6])
        if vr in SHORT_VRS:
            return tag, vr.decode(), at + 8, self._u16.unpack_from(self.octets, at + 6)[0]
        if vr not in LONG_VRS and not (vr.isalpha() and vr.isupper()):
            raise RemoteProtocolError(f"{vr!r} is no VR, at ({group:04X},{element:04X})", section=_SECTION, offset=at)
        if at + 12 > self.size:
            raise RemoteProtocolError("cut inside an element's header", section=_SECTION, offset=at)
        return tag, vr.decode(), at + 12, self._u32.unpack_from(self.octets, at + 8)[0]

    def padded(self, at: int) -> bool:
        """Whether all that is left is padding; an odd zero is the start of a cut header, in big endian."""
        left = self.size - at
        return left <= MAX_PADDING and left % 2 == 0 and not any(bytes(self.octets[at:]))

    def after(self, tag: int, value: int, length: int, vr: str, *, implicit: bool, depth: int) -> int:
        """Find the octet after a value."""
        if length != _UNDEFINED:
            if value + length > self.size:
                missing = value + length - self.size
                raise RemoteProtocolError(
                    f"({tag >> 16:04X},{tag & 0xFFFF:04X}) announces {length} octets, {missing} of them are missing",
                    section=_SECTION,
                    offset=value,
                )
            return value + length
        if depth >= MAX_DEPTH:
            raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", section=_SECTION, offset=value)
        # a UN of undefined length holds a sequence in Implicit VR (PS3.5 §6.2.2 note)
        return self._after_items(value, implicit=implicit or vr == "UN", depth=depth + 1)

    def elements(self, at: int) -> Iterator[Element]:
        """Give the elements from `at` on; :func:`elements` says what is raised."""
        while at < self.size:
            if not any(bytes(self.octets[at : at + 2])) and self.padded(at):
                return
            tag, vr, value, length = self.header(at, implicit=self.implicit)
            if not tag >> 16:
                raise self.broken("an element of group 0000, which no data set has", at)
            end = self.after(tag, value, length, vr, implicit=self.implicit, depth=0)
            yield Element(tag, vr, at, value, end - value)
            at = end

    def items(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Give the items of the sequence value from `at` to `end`: its start, its data set from and to, what follows.

        Raises
        ------
        RemoteProtocolError
            As :func:`elements`.
        """
        while at + 8 <= end:
            tag, _, value, length = self.header(at, implicit=True)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise self.broken("something other than an item in a sequence", at)
            open_ended = length == _UNDEFINED
            after = self._after_item(value, implicit=self.implicit, depth=1) if open_ended else value + length
            if after > end:
                raise self.broken("an item is cut", at)
            yield at, value, after - (8 if open_ended else 0), after
            at = after

    def _after_items(self, at: int, *, implicit: bool, depth: int) -> int:
        while True:
            tag, _, value, length = self.header(at, implicit=True)
            if tag == _SEQUENCE_END:
                return value
            if tag != _ITEM:
                raise RemoteProtocolError("something other than an item in a sequence", section=_SECTION, offset=at)
            at = self._after_item(value, implicit=implicit, depth=depth) if length == _UNDEFINED else value + length
            if at > self.size:
                raise RemoteProtocolError("an item is cut", section=_SECTION, offset=value)

    def _after_item(self, at: int, *, implicit: bool, depth: int) -> int:
        while True:
            tag, vr, value, length = self.header(at, implicit=implicit)
            if tag == _ITEM_END:
                return value
            at = self.after(tag, value, length, vr, implicit=implicit, depth=depth)


def elements(octets: Octets, transfer_syntax_uid: str) -> Iterator[Element]:
    """Walk the top level of a data set.

    Zeros after the last element end it: they are no element, for no data set has a group 0000. Devices and media pad
    files with them to the end of a sector.

    Parameters
    ----------
    octets : bytes
        The whole data set, without File Meta Information; not deflated.
    transfer_syntax_uid : str
        Implicit VR LE, Explicit VR BE, or anything else, which is Explicit VR LE.

    Raises
    ------
    RemoteProtocolError
        Cut short, a VR that can't be, nesting beyond 64, something after the last element that is neither an element
        nor padding, a deflated data set; ``offset`` counts from the start of the data set.

    Source
    ------
    PS3.5 §7.1, §7.5, §A.4.
    """
    if transfer_syntax_uid == DEFLATED_LE:
        raise RemoteProtocolError("a deflated data set can't be walked", section="PS3.5 §A.5", offset=0)
    yield from Walker(octets, transfer_syntax_uid).elements(0)


_PLAIN_IMPLICIT, _PLAIN_SHORT, _PLAIN_LONG = Struct("<HHL"), Struct("<HH2sH"), Struct("<L")


def _end_of_plain(octets: Octets, implicit: bool, size: int) -> int:
    """Pass over the plain elements that a little endian data set begins with: whole, of defined length, in order.

    `octets` may be the beginning of all `size` of them. What is out of the ordinary ends it, and is for
    :meth:`Walker.elements` to judge.
    """
    at, last = 0, len(octets) - 12
    while at <= last:
        if implicit:
            group, _, length = _PLAIN_IMPLICIT.unpack_from(octets, at)
            after = at + 8 + length
        else:
            group, _, vr, length = _PLAIN_SHORT.unpack_from(octets, at)
            after = at + 8 + length
            if vr in LONG_VRS:
                (length,) = _PLAIN_LONG.unpack_from(octets, at + 8)
                after = at + 12 + length
            elif vr not in SHORT_VRS:
                break
        if group in (0x0000, 0xFFFE) or length == _UNDEFINED or after > size:
            break
        at = after
    return at


def begins_whole(head: Octets, size: int, transfer_syntax_uid: str) -> bool:
    """Whether the beginning of a data set of `size` octets shows that it is whole, and nobody need look at the rest.

    It does where plain elements go on, from the first to one in `head` that ends where the data set does. Where it does
    not, nothing is said: :func:`length_of_whole` tells.

    Source
    ------
    PS3.5 §7.1, §A.1, §A.2.
    """
    if transfer_syntax_uid in (DEFLATED_LE, EXPLICIT_BE):
        return False
    return 0 < size == _end_of_plain(head, transfer_syntax_uid == IMPLICIT_LE, size)


def inflated(octets: Octets, cap: int = MAX_INFLATED) -> bytes:
    """Inflate a deflated data set, but never beyond `cap` octets: a few kilobytes can inflate to gigabytes.

    Raises
    ------
    RemoteProtocolError
        It inflates to more than `cap`, or to more than 64 MiB and 100 times its length; it is cut, or no stream.

    Source
    ------
    PS3.5 §A.5.
    """
    cap = min(cap, max(FREE_OF_RATIO, MAX_RATIO * len(octets)))
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = stream.decompress(octets, cap + 1)
    except zlib.error as error:
        raise RemoteProtocolError(f"no deflate stream: {error}", section="PS3.5 §A.5", offset=0) from error
    if len(result) > cap:
        raise RemoteProtocolError(f"inflates to more than {cap} octets", section="PS3.5 §A.5", offset=len(octets))
    if not stream.eof:
        raise RemoteProtocolError("the deflate stream is cut", section="PS3.5 §A.5", offset=len(octets))
    return result


def length_of_whole(octets: Octets, transfer_syntax_uid: str) -> int:
    """How many octets belong to a data set that must be whole: all of them but the padding of a medium after it.

    What follows a deflated stream counts as its own: writers leave check sums there, and every reader stops before.

    Raises
    ------
    RemoteProtocolError
        It is cut short or broken.

    Source
    ------
    PS3.5 §7.1, §A.5.
    """
    if transfer_syntax_uid != DEFLATED_LE:
        walker = Walker(octets, transfer_syntax_uid)
        at = 0 if transfer_syntax_uid == EXPLICIT_BE else _end_of_plain(octets, walker.implicit, len(octets))
        return max((element.end for element in walker.elements(at)), default=at)
    for _ in elements(inflated(octets), EXPLICIT_LE):
        pass
    return len(octets)
