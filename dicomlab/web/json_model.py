"""The DICOM JSON Model: data sets to JSON, rows of a search to raw values. No I/O.

Source
------
PS3.18 Annex F; §F.2.2 (element), §F.2.3 Table F.2.3-1 (VR to JSON type).
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import Column

if TYPE_CHECKING:
    from pydicom import Dataset

BULK_THRESHOLD = 1024
"""Octets above which a binary value is given by BulkDataURI."""
MAX_DEPTH = 64
MAX_OBJECTS = 8_000_000
"""Objects of one document: each takes a hundred octets of memory and more, and may be no longer than two."""

_SECTION = "PS3.18 §F.2"
_PIXEL_DATA = 0x7FE00010
_BINARY = frozenset("OB OD OF OL OV OW UN".split())
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_UNSPLIT = frozenset("LT ST UT UR".split())
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_WORD_CODES = {2: "H", 4: "I", 8: "Q"}

BulkURI = Callable[[tuple[int, ...]], str]
"""Gives the URI of a bulk value by the way to it: tag, or tag, item number, tag, and so on."""

# --- data set to JSON ------------------------------------------------------------------------------------------------


def to_json(dataset: Dataset, bulk_uri: BulkURI | None = None, *, exact: bool = False) -> dict[str, Any]:
    """Write a data set as an object of the DICOM JSON Model.

    File Meta Information and group lengths are left out. Values are not judged: what a file holds is what JSON says.

    Parameters
    ----------
    dataset : Dataset
    bulk_uri : callable, optional
        Where bulk values are to be had: Pixel Data always, other binary values above 1024 octets, and FL and FD with
        NaN or infinity, for which JSON has no number. Without it they are left out, or null.
    exact : bool
        Lose nothing: every value stands in line (encapsulated Pixel Data excepted, which no text can hold), decimals
        keep their text where a number would be written otherwise, NaN and infinity stay the floats that they are. So
        :func:`dicomlab.web.json_datasets.from_json` gives the same data set again.

    Source
    ------
    PS3.18 §F.2.
    """
    return _object(dataset, bulk_uri, (), exact)


def row_to_json(columns: Sequence[Column], row: Mapping[str, Sequence[object]]) -> dict[str, Any]:
    """Write the raw values of one match as an object of the DICOM JSON Model: those columns that it has a value for.

    A path through sequences gives as many items of the first one as there are values.

    Source
    ------
    PS3.18 §F.2, §10.6.3.3 (search response).
    """
    found: dict[str, Any] = {}
    for column in columns:
        raws = row.get(column.name, ())
        if not raws:
            continue
        if len(column.path) == 1:
            found[f"{column.tag:08X}"] = _attribute(column.vr, raws)
            continue
        items = found.setdefault(f"{column.tag:08X}", {"vr": "SQ", "Value": []})["Value"]
        items += [{} for _ in range(len(raws) - len(items))]
        for item, raw in zip(items, raws, strict=False):
            place = item
            for tag in column.path[1:-1]:
                place = place.setdefault(f"{tag:08X}", {"vr": "SQ", "Value": [{}]})["Value"][0]
            place[f"{column.path[-1]:08X}"] = _attribute(column.vr, (raw,))
    return found


def _attribute(vr: str, raws: Sequence[object]) -> dict[str, Any]:
    values = [json_value(one, vr) for one in raws]
    if vr in _NUMBERS:  # a number that is none, or that JSON has no way to write, makes the attribute empty
        ok = all(isinstance(one, int | float) and math.isfinite(one) for one in values)
        values = values if ok else []
    return {"vr": vr, "Value": values} if any(one is not None for one in values) else {"vr": vr}


def _object(dataset: Dataset, bulk_uri: BulkURI | None, way: tuple[int, ...], exact: bool) -> dict[str, Any]:
    encodings = _encodings(dataset)
    found: dict[str, Any] = {}
    for tag in sorted(dataset.keys()):
        number = int(tag)
        if number >> 16 in (0x0000, 0x0002) or number & 0xFFFF == 0 or len(way) > 2 * MAX_DEPTH:
            continue
        element: Any = dataset.get_item(tag)
        vr = _vr(dataset, number, element)
        deferred = getattr(element, "is_raw", False) and element.value is None and element.length
        if deferred and (exact or vr not in _BINARY):
            element = dataset[tag]  # a long value of which only the place was read
        if vr == "SQ":
            items = dataset[tag].value or ()
            below = [_object(item, bulk_uri, (*way, number, at), exact) for at, item in enumerate(items)]
            found[f"{number:08X}"] = {"vr": "SQ", **({"Value": below} if below else {})}
        else:
            found[f"{number:08X}"] = {
                "vr": vr,
                **_element(element, vr, encodings, (*way, number), bulk_uri, exact=exact),
            }
    return found


def _vr(dataset: Dataset, tag: int, element: Any) -> str:
    vr = str(element.VR or "")
    if vr == "UN" and not (tag >> 16) % 2 and dictionary_has_tag(tag):
        vr = ""  # a standard attribute that passed through a system that did not know it (PS3.5 §6.2.2)
    if not vr:
        private = (tag >> 16) % 2
        try:
            vr = "UN" if private else dictionary_VR(tag)
        except KeyError:
            vr = "UN"
    if " or " not in vr:
        return vr
    if "OW" in vr:
        return "OW"
    return "SS" if dataset.get("PixelRepresentation") == 1 else "US"


def _element(
    element: Any, vr: str, encodings: Sequence[str], way: tuple[int, ...], bulk_uri: BulkURI | None, *, exact: bool
) -> dict[str, Any]:
    raw = getattr(element, "is_raw", False)
    value = element.value
    if vr in _BINARY:
        deferred = raw and value is None and element.length not in (0, None)
        octets = _little_endian(value, vr, element) if isinstance(value, bytes) else b""
        if exact and not getattr(element, "is_undefined_length", False) and element.VR != "SQ":
            return {"InlineBinary": base64.b64encode(octets).decode("ascii")} if octets else {}
        if deferred or way[-1] == _PIXEL_DATA or len(octets) > BULK_THRESHOLD:
            return {"BulkDataURI": bulk_uri(way)} if bulk_uri else {}
        return {"InlineBinary": base64.b64encode(octets).decode("ascii")} if octets else {}
    if raw and value is None:
        return {}
    as_it_lies = raw and isinstance(value, bytes)
    values = _decoded(value, vr, encodings, element) if as_it_lies else _converted(value)
    if exact:
        shown = [_exact(one, vr) for one in values]
        return {"Value": shown} if shown else {}
    if vr in ("FL", "FD") and any(isinstance(v, float) and not math.isfinite(v) for v in values):
        if bulk_uri:
            return {"BulkDataURI": bulk_uri(way)}
        values = [v if math.isfinite(v) else None for v in values]
    shown = [json_value(one, vr) for one in values]
    return {"Value": shown} if shown and any(one is not None for one in shown) else {}


def _decoded(octets: bytes, vr: str, encodings: Sequence[str], element: Any) -> list[Any]:
    """Split and decode the raw octets of a value, judging nothing."""
    order = "<" if element.is_little_endian else ">"
    if vr in _NUMBERS:
        size = struct.calcsize(order + _NUMBERS[vr])
        return list(struct.unpack_from(f"{order}{len(octets) // size}{_NUMBERS[vr]}", octets))
    if vr == "AT":
        halves = struct.unpack_from(f"{order}{len(octets) // 4 * 2}H", octets)
        return [f"{group:04X}{number:04X}" for group, number in zip(halves[::2], halves[1::2], strict=True)]
    text = decode_text(octets, encodings).rstrip(" \0")
    if not text:
        return []
    return [text] if vr in _UNSPLIT else [part.strip(" \0") for part in text.split("\\")]


def _converted(value: Any) -> list[Any]:
    """The values of an element that pydicom has decoded, or a program has made."""
    if value is None or value == "":
        return []
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__") or hasattr(value, "components"):
        value = [value]
    return [None if one is None or one == "" else one if isinstance(one, int | float) else str(one) for one in value]


def json_value(one: Any, vr: str) -> Any:
    """Write one value as the JSON Model has it; None for an empty one.

    Source
    ------
    PS3.18 Table F.2.3-1.
    """
    if one is None or one == "":
        return None
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), str(one).split("="), strict=False)
        return {name: group for name, group in groups if group} or None
    if vr in ("IS", "DS"):
        return _number(one, vr)
    if vr in _NUMBERS:
        return one
    if vr == "AT" and isinstance(one, int):
        return f"{one:08X}"
    return str(one)


def _exact(one: Any, vr: str) -> Any:
    value = json_value(one, vr)
    return str(one) if vr in ("IS", "DS") and value is not None and str(value) != str(one) else value


def _little_endian(octets: bytes, vr: str, element: Any) -> bytes:
    """Binary values as JSON has them, whatever the order of the file (PS3.18 §F.2.7)."""
    size = _WORDS.get(vr, 1)
    if size == 1 or getattr(element, "is_little_endian", True) or len(octets) % size:
        return octets
    words = struct.unpack(f">{len(octets) // size}{_WORD_CODES[size]}", octets)
    return struct.pack(f"<{len(words)}{_WORD_CODES[size]}", *words)


def _number(one: Any, vr: str) -> int | float | str:
    """IS and DS as numbers, which viewers count on; as text where they are none (Table F.2.3-1 allows both)."""
    try:
        number = int(one) if vr == "IS" else float(one)
    except (ValueError, OverflowError):
        return str(one)
    return number if math.isfinite(number) else str(one)


def _encodings(dataset: Dataset) -> list[str]:
    """The Python names of the Specific Character Set (PS3.3 §C.12.1.1.2); Latin-1 for what nobody knows."""
    found: Any = getattr(dataset, "original_character_set", None) or "ISO_IR 6"
    terms = [found] if isinstance(found, str) else list(found)
    known = set(python_encoding.values())
    return [term if term in known else python_encoding.get(str(term), "latin-1") for term in terms] or ["latin-1"]


def decode_text(octets: bytes, encodings: Sequence[str]) -> str:
    """Decode text; code extensions switch by escape sequences, and what can't be decoded is replaced.

    Source
    ------
    PS3.5 §6.1.2.5 (code extension techniques).
    """
    first = encodings[0]
    if b"\x1b" in octets and len(encodings) > 1:
        from pydicom.charset import decode_bytes

        try:
            return str(decode_bytes(octets, list(encodings), {0x5C, 0x5E, 0x3D}))
        except (LookupError, UnicodeError, UserWarning):
            return octets.decode("latin-1")
    try:
        return octets.decode("utf-8" if first == "ascii" else first)
    except (UnicodeError, LookupError):
        return octets.decode("latin-1")


# --- rows of a search ------------------------------------------------------------------------------------------------


def decode(octets: bytes) -> Any:
    """Parse JSON, also that of servers that write numbers beyond the range of a double.

    Raises
    ------
    RemoteProtocolError
        It is no JSON, or has more objects than anybody wants.

    Source
    ------
    RFC 8259.
    """
    require_few_objects(octets)
    try:
        return msgspec.json.decode(octets)
    except (msgspec.DecodeError, RecursionError):
        pass  # msgspec rejects the whole document for one infinity
    try:
        return json.loads(octets)
    except (ValueError, RecursionError) as error:
        offset = getattr(error, "pos", None)
        raise RemoteProtocolError(f"the answer is no JSON: {error}", section="RFC 8259", offset=offset) from error


def require_few_objects(octets: bytes) -> None:
    """See that a document makes no more of the memory than its length would have anybody think.

    Raises
    ------
    RemoteProtocolError
        It has more than :data:`MAX_OBJECTS` objects and lists of lists.

    Source
    ------
    RFC 8259 §9 (a parser may set limits).
    """
    count = octets.count(b"{") + octets.count(b"[[") + octets.count(b",[")
    if count > MAX_OBJECTS:
        raise RemoteProtocolError(f"an answer of {count} objects, the limit is {MAX_OBJECTS}", section="RFC 8259 §9")


def values_at(row: Mapping[str, Any], path: Sequence[int]) -> list[object]:
    """The raw values of an attribute; a path through sequences gives one value for each item.

    Names of persons stay objects, empty ones and gaps are None, and forms that only broken servers send (a value
    without its list, a person's name as text) are taken.

    Source
    ------
    PS3.18 §F.2.2, §F.2.5.
    """
    element = row.get(f"{path[0]:08X}")
    values = element.get("Value") if isinstance(element, dict) else None
    if values is None:
        return []
    if not isinstance(values, list):
        values = [values]
    if len(path) == 1:
        return [None if one in ("", {}) or isinstance(one, list) else one for one in values]
    found: list[object] = []
    for item in values:
        below = values_at(item, path[1:]) if isinstance(item, dict) else []
        found += below or [None]
    return found
