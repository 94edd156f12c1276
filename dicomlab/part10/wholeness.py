"""Whether a data set that passes by is whole: its element headers are looked at as they come, nothing is kept. No I/O.

An instance may lack its end although everything around it is in order: a multipart with all its delimiters, a message
with its last fragment. Only its own lengths tell.

Source
------
PS3.5 §7.1 (data elements), §7.5 (items and their delimiters), §A.4 (encapsulated pixel data).
"""

from __future__ import annotations

from struct import Struct

from dicomlab.part10.meta import EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import LONG_VRS, SHORT_VRS, Octets

_EXPLICIT, _LENGTH, _IMPLICIT = Struct("<HH2sH"), Struct("<L"), Struct("<HHL")
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ENDS = 0xE000, (0xE00D, 0xE0DD)
_NO_LITTLE_ENDIAN = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})


class Passing:
    """One data set on its way. ``feed`` all of it, then ask :meth:`lack`.

    Parameters
    ----------
    transfer_syntax_uid : str
        Big endian and deflated ones are let pass: of them nothing is told.

    Source
    ------
    PS3.5 §7.1.
    """

    __slots__ = ("_depth", "_implicit", "_kept", "_known", "_next", "_total")

    def __init__(self, transfer_syntax_uid: str = EXPLICIT_LE) -> None:
        self._implicit = transfer_syntax_uid == IMPLICIT_LE
        self._known = transfer_syntax_uid not in _NO_LITTLE_ENDIAN
        self._next = self._total = self._depth = 0
        self._kept = b""

    def feed(self, octets: Octets) -> None:
        """Look at the next octets."""
        base = self._total
        self._total = base + len(octets)
        if not self._known or self._next >= self._total:
            return
        if self._kept:
            octets, base = self._kept + octets, base - len(self._kept)
        at = self._headers(octets, self._next - base)
        self._next = base + at
        self._kept = bytes(octets[at:]) if self._known and at < len(octets) else b""

    def _headers(self, octets: Octets, at: int) -> int:
        """Pass over every element whose header is here; give where the next one begins."""
        size, implicit, depth = len(octets), self._implicit, self._depth
        explicit, length_of = _EXPLICIT.unpack_from, _LENGTH.unpack_from
        while at + 8 <= size:
            group, element, vr, length = explicit(octets, at)
            value = at + 8
            if group == 0xFFFE:
                (length,) = length_of(octets, at + 4)
                if element in _ENDS:
                    depth, at = depth - 1, value
                elif element == _ITEM and length == _UNDEFINED:
                    depth, at = depth + 1, value
                else:
                    at = value + length
                continue
            if implicit:
                (length,) = length_of(octets, at + 4)
            elif vr in LONG_VRS:
                value = at + 12
                if value > size:
                    break
                (length,) = length_of(octets, at + 8)
            elif vr not in SHORT_VRS:
                self._known = False  # padding, or what no rule of ours knows: somebody else judges that
                return size
            if not group:
                self._known = False
                return size
            if length == _UNDEFINED:
                if vr == b"UN" and not implicit:  # a sequence in Implicit VR
                    self._known = False
                    return size
                depth, at = depth + 1, value
            else:
                at = value + length
        self._depth = depth
        return at

    @property
    def told(self) -> bool:
        """Whether :meth:`lack` can tell: there is something, and nothing in it is beyond what is looked at."""
        return self._known and self._total > 0

    def lack(self) -> str:
        """Say what is missing; ``""`` where it is whole, or where it can't be told."""
        if not self._known:
            return ""
        if self._next > self._total:
            return f"{self._next - self._total} octets are missing at its end"
        if self._depth > 0:
            return "the end of a sequence, or of its pixels, is missing"
        return "it is cut inside an element's header" if self._kept.strip(b"\0") else ""
