"""Write an uncompressed data set in another uncompressed transfer syntax, value octets untouched. No I/O.

Only headers change, and the octet order of big endian values: what a value says is never decoded, so nothing that
an odd device wrote into it gets lost.

Source
------
PS3.5 §7.1 (data elements), §A.1 to §A.3 (transfer syntaxes), §6.2.2 (UN and values too long for a short length).
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from struct import Struct

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import private_dictionary_VR

from dicomlab.errors import LocalProtocolError
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import LONG_VRS, MAX_DEPTH, Octets, Walker

UNCOMPRESSED = frozenset({IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE})
"""The transfer syntaxes between which a data set can be rewritten without touching its pixels."""

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sxxL")
_IMPLICIT = Struct("<HHL")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_REPRESENTATION = 0x00280103
_UNDEFINED = 0xFFFFFFFF
_WIDTH = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
_TYPE_CODE = {2: "H", 4: "I", 8: "Q"}


def transcode(octets: Octets, source: str, target: str) -> bytes:
    """Rewrite a whole data set.

    Parameters
    ----------
    octets : bytes
        The data set, without File Meta Information.
    source : str
        Its transfer syntax: Implicit VR LE, Explicit VR LE or Explicit VR BE.
    target : str
        Implicit VR LE or Explicit VR LE.

    Returns
    -------
    bytes
        The same elements and values. From Implicit VR, an element that no dictionary knows becomes UN.

    Raises
    ------
    LocalProtocolError
        One of the two is none of these.
    RemoteProtocolError
        The data set is cut short or broken.

    Source
    ------
    PS3.5 §A.1, §A.2, §A.3.
    """
    if source not in UNCOMPRESSED or target not in (IMPLICIT_LE, EXPLICIT_LE):
        raise LocalProtocolError(f"no rewriting from {source} to {target}", section="PS3.5 §A")
    if source == target:
        return bytes(octets)
    return _Rewriter(octets, source, target).run()


@lru_cache(maxsize=4096)
def _dictionary_vr(tag: int) -> str:
    if tag & 0xFFFF == 0:
        return "UL"  # a group length
    entry = DicomDictionary.get(tag)
    return entry[0] if entry else _repeating_vr(tag)


def _repeating_vr(tag: int) -> str:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


class _Rewriter:
    def __init__(self, octets: Octets, source: str, target: str) -> None:
        self._walker = Walker(octets, source)
        self._octets = octets
        self._big = source == EXPLICIT_BE
        self._explicit = target == EXPLICIT_LE
        self._signed = False

    def run(self) -> bytes:
        out: list[bytes] = []
        self._elements(0, self._walker.size, out, 0, implicit=self._walker.implicit)
        return b"".join(out)

    def _elements(self, at: int, stop: int, out: list[bytes], depth: int, *, implicit: bool) -> int:
        """Rewrite elements up to `stop`, or up to an item delimiter; give the octet after them."""
        creators: dict[int, str] = {}
        while at < stop:
            tag, vr, value, length = self._walker.header(at, implicit=implicit)
            if tag == _ITEM_END:
                return value
            end = self._walker.after(tag, value, length, vr, implicit=implicit, depth=depth)
            if tag & 0xFFFF == 0 and tag >> 16 > 0x0002:
                at = end  # group lengths are retired, and would be wrong now
                continue
            if implicit:
                vr = self._vr(tag, value, end, creators, undefined=length == _UNDEFINED)
            if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
                creators[tag >> 16 << 8 | tag & 0xFF] = bytes(self._octets[value:end]).decode("latin-1").strip(" \0")
            if tag == _PIXEL_REPRESENTATION and end - value == 2:
                self._signed = self._octets[value] + self._octets[value + 1] == 1
            if length == _UNDEFINED and vr not in ("SQ", "UN"):
                raise self._walker.broken(f"{vr} of undefined length in an uncompressed data set", at)
            inner = implicit or (vr == "UN" and length == _UNDEFINED)
            if vr == "SQ" or (length == _UNDEFINED and vr == "UN"):
                body: list[bytes] = []
                self._items(value, end, body, depth + 1, implicit=inner)
                self._header(tag, "SQ", _UNDEFINED, out)
                out += body
                out.append(_IMPLICIT.pack(_SEQUENCE_END >> 16, _SEQUENCE_END & 0xFFFF, 0))
            else:
                out_value = self._value(vr, value, end)
                self._header(tag, vr, len(out_value), out)
                out.append(out_value)
            at = end
        return at

    def _items(self, at: int, end: int, out: list[bytes], depth: int, *, implicit: bool) -> None:
        if depth > MAX_DEPTH:
            raise self._walker.broken(f"nested deeper than {MAX_DEPTH}", at)
        while at < end:
            tag, _, value, length = self._walker.header(at, implicit=True)
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise self._walker.broken("something other than an item in a sequence", at)
            out.append(_IMPLICIT.pack(_ITEM >> 16, _ITEM & 0xFFFF, _UNDEFINED))
            stop = end if length == _UNDEFINED else value + length
            if stop > end:
                raise self._walker.broken("an item is longer than its sequence", at)
            at = self._elements(value, stop, out, depth, implicit=implicit)
            out.append(_IMPLICIT.pack(_ITEM_END >> 16, _ITEM_END & 0xFFFF, 0))

    def _vr(self, tag: int, value: int, end: int, creators: dict[int, str], *, undefined: bool) -> str:
        """The VR of an element that came in Implicit VR."""
        group, element = tag >> 16, tag & 0xFFFF
        if undefined:
            return "SQ"
        if group & 1:
            if element <= 0xFF:
                return "LO"
            creator = creators.get(group << 8 | element >> 8)
            try:
                vr = private_dictionary_VR(tag, creator) if creator else "UN"
            except KeyError:
                vr = "UN"
            return vr if vr in _WIDTH or vr in ("SQ", "UN") or " " not in vr else "UN"
        vr = _dictionary_vr(tag)
        if vr == "US or SS":
            return "SS" if self._signed else "US"
        if vr == "US or SS or OW":
            return "OW" if end - value > 6 else ("SS" if self._signed else "US")
        if vr in ("OB or OW", "US or OW"):
            return "OW"
        return vr if len(vr) == 2 else "UN"

    def _value(self, vr: str, value: int, end: int) -> bytes:
        octets = bytes(self._octets[value:end])
        width = _WIDTH.get(vr, 1) if self._big else 1
        if width == 1 or len(octets) % width:
            return octets
        swapped = array(_TYPE_CODE[width], octets)
        swapped.byteswap()
        return swapped.tobytes()

    def _header(self, tag: int, vr: str, length: int, out: list[bytes]) -> None:
        group, element = tag >> 16, tag & 0xFFFF
        if not self._explicit:
            out.append(_IMPLICIT.pack(group, element, length))
        elif vr.encode() in LONG_VRS:
            out.append(_LONG.pack(group, element, vr.encode(), length))
        elif length > 0xFFFF:
            out.append(_LONG.pack(group, element, b"UN", length))
        else:
            out.append(_SHORT.pack(group, element, vr.encode(), length))
