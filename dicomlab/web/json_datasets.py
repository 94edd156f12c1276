"""The DICOM JSON Model to data sets, losing nothing. No I/O.

Values become the octets that a file would hold, so a data set made here behaves like one that was read: its values are
decoded when somebody looks, and what is written is what came.

Source
------
PS3.18 §F.2.2 (element), §F.2.3 Table F.2.3-1 (VR to JSON type), §F.2.7 (InlineBinary).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.charset import python_encoding
from pydicom.tag import BaseTag

from dicomlab.errors import RemoteProtocolError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_DEPTH = 64
Bulk = Callable[[str, str, int], bytes]
"""Fetches a value by its BulkDataURI, its VR and its tag."""

_SECTION = "PS3.18 §F.2.2"
_CHARACTER_SET = 0x00080005
_UTF8 = "ISO_IR 192"
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_BINARY = frozenset("OB OD OF OL OV OW UN".split())
_TEXT = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def from_json(model: Mapping[str, Any], bulk: Bulk | None = None) -> Dataset:
    """Make a data set of an object of the DICOM JSON Model.

    Text keeps its Specific Character Set where that can write it; where it can't, the data set is in UTF-8 and says so
    (servers send UTF-8 and may still name the character set of the file).

    Parameters
    ----------
    model : mapping
        Tag (eight hexadecimal digits) to element.
    bulk : callable, optional
        Fetches values that are given by BulkDataURI. Without it those attributes are left out.

    Raises
    ------
    RemoteProtocolError
        A tag, VR or value that can't be.

    Source
    ------
    PS3.18 §F.2.
    """
    term = _character_set(model)
    return _dataset(model, _How(bulk, term, python_encoding.get(term, "ascii") if term else "ascii"), 0)


@dataclass(frozen=True, slots=True)
class _How:
    """How the values of one data set are made: by whom bulk values are fetched, the character set and its codec."""

    bulk: Bulk | None
    term: str
    encoding: str


def _character_set(model: Mapping[str, Any]) -> str:
    """The defined term in which every text of the data set can be written."""
    texts = "".join(_texts(model, 0))
    stated = model.get(f"{_CHARACTER_SET:08X}", {})
    values = stated.get("Value") if isinstance(stated, Mapping) else None
    term = str(values[0] or "") if isinstance(values, list) and len(values) == 1 else ""
    if texts.isascii() and not (isinstance(values, list) and len(values) > 1):
        return term
    try:
        if term and term in python_encoding:
            texts.encode(python_encoding[term])
            return term
    except (UnicodeError, LookupError):
        pass
    return _UTF8


def _texts(model: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Every text that is not ASCII."""
    for element in model.values():
        values = element.get("Value") if isinstance(element, Mapping) else None
        for one in values if isinstance(values, list) else ():
            if isinstance(one, str):
                if not one.isascii():
                    yield one
            elif isinstance(one, Mapping) and depth < MAX_DEPTH:
                if any(group in one for group in _GROUPS):
                    yield "".join(str(one.get(group) or "") for group in _GROUPS)
                else:
                    yield from _texts(one, depth + 1)


def _dataset(model: Mapping[str, Any], how: _How, depth: int) -> Dataset:
    from pydicom import Dataset

    if not isinstance(model, Mapping) or depth > MAX_DEPTH:
        raise RemoteProtocolError("no data set, or one nested beyond reason", section=_SECTION)
    elements: dict[BaseTag, Any] = {}
    for name in sorted(model):
        element = model[name]
        try:
            tag = BaseTag(int(name, 16)) if len(name) == 8 else None
        except ValueError:
            tag = None
        if tag is None or not isinstance(element, Mapping):
            raise RemoteProtocolError(f"{name[:80]!r} is no attribute", section=_SECTION)
        made = _element(tag, element, how, depth)
        if made is not None:
            elements[tag] = made
    if how.term and (depth == 0 or BaseTag(_CHARACTER_SET) in elements):
        stated = _raw(BaseTag(_CHARACTER_SET), "CS", _padded(how.term.encode("ascii"), b" "))
        elements = dict(sorted({**elements, BaseTag(_CHARACTER_SET): stated}.items()))
    dataset = Dataset(elements)
    dataset.set_original_encoding(False, True, [how.encoding] if how.term else ["iso8859"])
    return dataset


def _element(tag: BaseTag, element: Mapping[str, Any], how: _How, depth: int) -> Any:
    vr = str(element.get("vr") or "UN")
    if vr == "SQ":
        from pydicom import DataElement
        from pydicom import Sequence as Items

        items = element.get("Value") or []
        below = [_dataset(item or {}, how, depth + 1) for item in _listed(items)]
        return DataElement(tag, "SQ", Items(below))
    if "BulkDataURI" in element:
        if how.bulk is None:
            return None
        return _raw(tag, vr, _padded(how.bulk(str(element["BulkDataURI"]), vr, int(tag)), b"\0"))
    if "InlineBinary" in element:
        given = element["InlineBinary"]
        text = given[0] if isinstance(given, list) and given else given  # an old example of the standard has a list
        try:
            octets = base64.b64decode(str(text or ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise RemoteProtocolError(f"the InlineBinary of {tag} is not base64", section="PS3.18 §F.2.7") from error
        return _raw(tag, vr, _padded(octets, b"\0"))
    values = _listed(element.get("Value"))
    try:
        return _raw(tag, vr, _octets(values, vr, how.encoding))
    except (struct.error, ValueError, TypeError, OverflowError) as error:
        raise RemoteProtocolError(f"a value of {tag} can't be {vr}: {error}", section="PS3.18 §F.2.3") from error


def _listed(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, list) else [value]


def _octets(values: Sequence[Any], vr: str, encoding: str) -> bytes:
    """The octets of a value as a file in Explicit VR Little Endian has them."""
    if not values:
        return b""
    if vr in _NUMBERS:
        kind = float if vr in ("FL", "FD") else int
        return struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *(kind("nan" if one is None else one) for one in values))
    if vr == "AT":
        tags = [int(str(one), 16) for one in values]
        return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)
    if vr in _BINARY:
        raise ValueError("it is given as plain values")
    if vr not in _TEXT:
        raise ValueError("no such VR")
    text = "\\".join(_person(one) if vr == "PN" else _plain(one) for one in values)
    return _padded(text.encode(encoding if not text.isascii() else "ascii"), b"\0" if vr == "UI" else b" ")


def _plain(one: Any) -> str:
    if isinstance(one, Mapping | list | bool):
        raise TypeError("no text")
    return "" if one is None else str(one)


def _person(one: Any) -> str:
    if not isinstance(one, Mapping):
        return _plain(one)
    return "=".join(str(one.get(group) or "") for group in _GROUPS).rstrip("=")


def _padded(octets: bytes, padding: bytes) -> bytes:
    return octets + padding if len(octets) % 2 else octets


def _raw(tag: BaseTag, vr: str, octets: bytes) -> Any:
    from pydicom.dataelem import RawDataElement

    return RawDataElement(tag, vr, len(octets), octets, 0, False, True)
