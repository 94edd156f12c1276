"""Encoded data sets to the DICOM JSON Model, straight from their octets: metadata of many instances. No I/O.

It gives what :func:`dicomlab.web.json_model.to_json` gives of the same data set read by pydicom, or says that it can't.

Source
------
PS3.18 §F.2 (DICOM JSON Model), PS3.5 §7.1 (data elements), §7.5 (nested data sets).
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import MAX_DEPTH, Octets, Walker
from dicomlab.web.json_model import BULK_THRESHOLD, BulkURI, decode_text, json_value

NOT_THIS_WAY = frozenset({IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE})
"""Transfer syntaxes whose elements don't tell their VR, or lie in another order."""

_UNDEFINED = 0xFFFFFFFF
_CLOSED = b"\xfe\xff\x0d\xe0\0\0\0\0"
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHARACTER_SET, _PIXEL_DATA = 0x00080005, 0x7FE00010
_BINARY = frozenset("OB OD OF OL OV OW UN".split())
_TEXT = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_UNSPLIT = frozenset("LT ST UT UR".split())
_NUMBERS = {
    "US": struct.Struct("<H"), "SS": struct.Struct("<h"), "UL": struct.Struct("<I"), "SL": struct.Struct("<i"),
    "FL": struct.Struct("<f"), "FD": struct.Struct("<d"), "UV": struct.Struct("<Q"), "SV": struct.Struct("<q"),
}  # fmt: skip
_CODES = frozenset(python_encoding.values())


class OtherWay(RemoteProtocolError):
    """The data set must be read as a whole to be understood."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why, section="PS3.5 §7.1", offset=at)


def octets_to_json(octets: Octets, transfer_syntax_uid: str, bulk_uri: BulkURI) -> dict[str, Any]:
    """Write an encoded data set as an object of the DICOM JSON Model.

    Parameters
    ----------
    octets : bytes
        The whole data set, without File Meta Information.
    transfer_syntax_uid : str
        One in Explicit VR Little Endian, encapsulated or not.
    bulk_uri : callable
        Where bulk values are to be had, as for :func:`dicomlab.web.json_model.to_json`.

    Raises
    ------
    RemoteProtocolError
        It is broken, or can't be read in this way; ``to_json`` may still do.

    Source
    ------
    PS3.18 §F.2.
    """
    if transfer_syntax_uid in NOT_THIS_WAY:
        raise OtherWay(f"elements in {transfer_syntax_uid} are read otherwise", 0)
    reader = _Reader(octets, bulk_uri)
    return reader.object(0, reader.size, ("ascii",), ())[0]


class _Reader(Walker):
    """Walks a data set and all that is nested in it."""

    def __init__(self, octets: Octets, bulk_uri: BulkURI) -> None:
        super().__init__(octets, EXPLICIT_LE)
        self._bulk_uri = bulk_uri

    def object(self, at: int, end: int, encodings: Sequence[str], way: tuple[int, ...]) -> tuple[dict[str, Any], int]:
        """One data set, from its first octet to its end, or to the delimiter of its item; and the octet after it."""
        if len(way) > 2 * MAX_DEPTH:
            raise OtherWay(f"nested deeper than {MAX_DEPTH}", at)
        found: dict[str, Any] = {}
        last = 0
        while at < end:
            tag, vr, value, length = self.header(at, implicit=False)
            if tag == _ITEM_END and way:
                at = value
                break
            if tag <= last or tag >> 16 < 8:
                raise OtherWay("elements out of order, or of a group that no data set has", at)
            last = tag
            if vr == "UN":
                vr = _known(tag, at)
            name = _name(tag)
            if vr == "SQ":
                items, at = self._items(value, length, encodings, (*way, tag))
                found[name] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
                continue
            after = self.after(tag, value, length, vr, implicit=False, depth=len(way) // 2)
            if length == _UNDEFINED and tag != _PIXEL_DATA:
                raise OtherWay("a value of undefined length that is no sequence", at)
            at = after
            if tag & 0xFFFF == 0:
                continue
            if vr in _BINARY:
                if tag == _PIXEL_DATA or length > BULK_THRESHOLD:
                    found[name] = {"vr": vr, "BulkDataURI": self._bulk_uri((*way, tag))}
                    continue
                octets = bytes(self.octets[value:after])
                inline = {"InlineBinary": base64.b64encode(octets).decode("ascii")} if octets else {}
                found[name] = {"vr": vr, **inline}
                continue
            octets = bytes(self.octets[value:after])
            if tag == _CHARACTER_SET:
                encodings = _encodings(octets)
            found[name] = self._valued(octets, vr, encodings, (*way, tag))
        return found, at

    def _items(
        self, at: int, length: int, encodings: Sequence[str], way: tuple[int, ...]
    ) -> tuple[list[dict[str, Any]], int]:
        end = self.size if length == _UNDEFINED else at + length
        if end > self.size:
            raise OtherWay("a sequence is cut", at)
        items: list[dict[str, Any]] = []
        while at < end:
            tag, _, value, count = self.header(at, implicit=True)
            if tag == _SEQUENCE_END and length == _UNDEFINED:
                return items, value
            if tag != _ITEM or (count != _UNDEFINED and value + count > end):
                raise OtherWay("something other than an item in a sequence", at)
            stop = end if count == _UNDEFINED else value + count
            item, at = self.object(value, stop, encodings, (*way, len(items)))
            if at != stop if count != _UNDEFINED else bytes(self.octets[at - 8 : at]) != _CLOSED:
                raise OtherWay("an item ends elsewhere than it says", at)
            items.append(item)
        if length == _UNDEFINED:
            raise OtherWay("a sequence without its end", at)
        return items, at

    def _valued(self, octets: bytes, vr: str, encodings: Sequence[str], way: tuple[int, ...]) -> dict[str, Any]:
        values: list[Any]
        if vr in _TEXT:
            plain = octets.isascii() and 0x1B not in octets
            text = (octets.decode("ascii") if plain else decode_text(octets, encodings)).rstrip(" \0")
            if not text:
                return {"vr": vr}
            if vr not in _UNSPLIT and "\\" in text:
                values = [part.strip(" \0") for part in text.split("\\")]
            else:
                values = [text if vr in _UNSPLIT else text.strip(" \0")]
        elif number := _NUMBERS.get(vr):
            values = [one for (one,) in number.iter_unpack(octets[: len(octets) // number.size * number.size])]
            if vr in ("FL", "FD") and not all(map(math.isfinite, values)):
                return {"vr": vr, "BulkDataURI": self._bulk_uri(way)}
            return {"vr": vr, "Value": values} if values else {"vr": vr}
        elif vr == "AT":
            halves = struct.unpack_from(f"<{len(octets) // 4 * 2}H", octets)
            values = [f"{group:04X}{number:04X}" for group, number in zip(halves[::2], halves[1::2], strict=True)]
        else:
            raise OtherWay(f"{vr} is no VR that is known", 0)
        shown = [json_value(one, vr) for one in values]
        return {"vr": vr, "Value": shown} if any(one is not None for one in shown) else {"vr": vr}


def _known(tag: int, at: int) -> str:
    """The VR of an element that passed through a system which did not know it (PS3.5 §6.2.2)."""
    if (tag >> 16) % 2 or not dictionary_has_tag(tag):
        return "UN"
    vr = dictionary_VR(tag)
    if vr == "SQ" or " or " in vr:
        raise OtherWay("an element of unknown VR whose VR depends on others", at)
    return vr


@lru_cache(maxsize=4096)
def _name(tag: int) -> str:
    return f"{tag:08X}"


@lru_cache(maxsize=64)
def _encodings(octets: bytes) -> tuple[str, ...]:
    """The Python names of a Specific Character Set (PS3.3 §C.12.1.1.2)."""
    from pydicom.charset import convert_encodings

    terms = [term.strip(" \0") for term in octets.decode("latin-1").split("\\")]
    if not any(terms):
        return ("ascii",)
    if any(term and term not in python_encoding for term in terms):
        raise OtherWay("a character set that is not known", 0)
    found = convert_encodings(terms if len(terms) > 1 else terms[0])
    return tuple(one if one in _CODES else "latin-1" for one in found)
