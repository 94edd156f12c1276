"""Identifiers: the keys of a query and the rows of its answer, values to octets and back. No I/O.

Rows are read straight into raw values by column, without a data set object for each. Text is decoded by the
Specific Character Set of its own row; text that can't be decoded so falls back and never fails.

Source
------
PS3.4 §C.2.2 (Identifier), §C.4.1.1.3; PS3.5 §6.1 (character repertoires), §7.1 (data elements).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from struct import Struct, error, unpack
from typing import TYPE_CHECKING, Any

from pydicom._dicom_dict import DicomDictionary

from dicomlab.dimse.pdu import Octets
from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.model.columns import Column, Level
from dicomlab.part10 import charset
from dicomlab.part10.charset import DEFAULT, codecs_of
from dicomlab.part10.meta import EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import LONG_VRS, SHORT_VRS, Element, elements

if TYPE_CHECKING:
    from pydicom import Dataset

_SECTION = "PS3.4 §C.4.1.1.3"
MAX_IDENTIFIER = 8 << 20
"""Octets of an Identifier beyond which it is called broken."""
MAX_DEPTH = 8
"""Nested sequences of an Identifier beyond which it is called broken."""

LEVEL_WORDS: dict[Level, str] = {"patient": "PATIENT", "study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
"""Query/Retrieve Level (0008,0052) of each level (PS3.4 Table C.6-1)."""

CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE = 0x00080005, 0x00080052, 0x00080054
FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
UTF_8 = "ISO_IR 192"

Tree = dict[int, tuple[str, list[Any]]]
"""A data set as plain values: tag to VR and values; those of SQ are trees."""

ITEM, ITEM_END, SEQUENCE_END, UNDEFINED = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF
_BY_CHARACTER_SET = frozenset("LO LT PN SH ST UC UT".split())
_ONE_VALUE = frozenset("LT ST UR UT".split())
TEXT = _BY_CHARACTER_SET | frozenset("AE AS CS DA DS DT IS TM UI UR".split())
"""The value representations that are text."""
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_VRS = frozenset(vr.decode() for vr in SHORT_VRS | LONG_VRS) - {"UN"}
_LONG = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

_IMPLICIT = Struct("<HHL")
_EXPLICIT_SHORT = Struct("<HH2sH")
_EXPLICIT_LONG = Struct("<HH2sxxL")


# --- encoding ------------------------------------------------------------------------------------------------------


def encode_query(level: Level, keys: Iterable[tuple[Column, str]], transfer_syntax: str) -> bytes:
    """Encode the Identifier of a C-FIND, C-GET or C-MOVE request.

    Parameters
    ----------
    level : str
    keys : iterable of (Column, str)
        What must match how, as it stands in an Identifier; ``""`` asks for the value.
    transfer_syntax : str
        Implicit or Explicit VR Little Endian.

    Source
    ------
    PS3.4 §C.4.1.1.3.1, §C.4.2.1.4, §C.4.3.1.3.
    """
    tree: Tree = {QUERY_RETRIEVE_LEVEL: ("CS", [LEVEL_WORDS[level]])}
    for column, text in keys:
        place = tree
        for tag in column.path[:-1]:
            items = place.setdefault(tag, ("SQ", [{}]))[1]
            place = items[0]
        place[column.path[-1]] = (column.vr, values_of_text(column.vr, text))
    return encode_tree(tree, transfer_syntax)


def values_of_text(vr: str, text: str) -> list[Any]:
    """The values of a key that stands as text between backslashes."""
    if not text:
        return []
    if vr in _ONE_VALUE:
        return [text]
    values = text.split("\\")
    if vr in ("FL", "FD"):
        return [float(value) for value in values]
    return [int(float(value)) for value in values] if vr in _NUMBERS else list(values)


def encode_tree(tree: Tree, transfer_syntax: str) -> bytes:
    """Encode plain values; text beyond ASCII is sent as UTF-8, and the Specific Character Set says so.

    Raises
    ------
    LocalProtocolError
        A value that its VR can't hold.

    Source
    ------
    PS3.5 §7.1, §6.1.2, §6.2.2 (UN, where a value is too long for the length field of its VR).
    """
    plain = {tag: entry for tag, entry in tree.items() if tag != CHARACTER_SET}
    if not _is_ascii(plain):
        plain[CHARACTER_SET] = ("CS", [UTF_8])
    return _encode(plain, explicit=transfer_syntax != IMPLICIT_LE)


def _is_ascii(tree: Tree) -> bool:
    for vr, values in tree.values():
        for value in values:
            if not (_is_ascii(value) if vr == "SQ" else str(value).isascii()):
                return False
    return True


def _encode(tree: Tree, *, explicit: bool) -> bytes:
    parts: list[bytes] = []
    for tag in sorted(tree):
        vr, values = tree[tag]
        octets = _encode_values(tag, vr, values, explicit=explicit)
        group, element = tag >> 16, tag & 0xFFFF
        if not explicit:
            parts.append(_IMPLICIT.pack(group, element, len(octets)))
        elif vr in _LONG:
            parts.append(_EXPLICIT_LONG.pack(group, element, vr.encode(), len(octets)))
        elif len(octets) > 0xFFFF:  # more than its VR has room for: a list of failed instances can be so long
            parts.append(_EXPLICIT_LONG.pack(group, element, b"UN", len(octets)))
        else:
            parts.append(_EXPLICIT_SHORT.pack(group, element, vr.encode(), len(octets)))
        parts.append(octets)
    return b"".join(parts)


def _encode_values(tag: int, vr: str, values: Sequence[Any], *, explicit: bool) -> bytes:
    try:
        if vr == "SQ":
            items = [_encode(item, explicit=explicit) for item in values]
            return b"".join(_IMPLICIT.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
        if vr in _NUMBERS:
            return Struct(f"<{len(values)}{_NUMBERS[vr]}").pack(*values)
        if values and isinstance(values[0], bytes):
            octets = b"".join(values)
            return octets + b"\0" * (len(octets) % 2)
        if vr == "AT":
            numbers = [value if isinstance(value, int) else int(str(value), 16) for value in values]
            return b"".join(Struct("<HH").pack(number >> 16, number & 0xFFFF) for number in numbers)
    except (ValueError, TypeError, error) as problem:
        raise LocalProtocolError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {vr}: {problem}", section=_SECTION) from problem
    text = "\\".join(str(value) for value in values)
    octets = text.encode("utf-8" if vr in _BY_CHARACTER_SET or vr == "UN" else "ascii", "replace")
    return octets + (b"\0" if vr == "UI" else b" ") * (len(octets) % 2)


def tree_of(dataset: Dataset, tags: Iterable[int] | None = None, depth: int = 0) -> Tree:
    """Take the plain values (of some tags) out of a pydicom data set; binary ones are left out.

    Values are taken as they stand, readable or not: an archive passes on what it was given.

    Source
    ------
    PS3.5 §6.2 (value representations).
    """
    tree: Tree = {}
    for one in dataset if tags is None else (dataset[tag] for tag in tags if tag in dataset):
        tag, vr, value = int(one.tag), str(one.VR), one.value
        if vr == "SQ":
            if depth < MAX_DEPTH:
                tree[tag] = (vr, [tree_of(item, None, depth + 1) for item in value])
        elif value is None or value == "":
            tree[tag] = (vr, [])
        elif vr in _NUMBERS or vr == "AT" or vr in TEXT:
            several = not isinstance(value, str | bytes) and isinstance(value, Sequence)
            tree[tag] = (vr, _plain(vr, list(value) if several else [value]))
    return tree


def tree_of_row(columns: Iterable[Column], row: Mapping[str, Sequence[object]]) -> Tree:
    """Build the answer to a query: its columns, those that the row has a value for.

    A path through sequences gives as many items of the first one as there are values.

    Source
    ------
    PS3.4 §C.4.1.1.3.2.
    """
    tree: Tree = {}
    for column in columns:
        raws = row.get(column.name, ())
        if not raws:
            continue
        if len(column.path) == 1:
            tree[column.tag] = (column.vr, _plain(column.vr, ["" if raw is None else raw for raw in raws]))
            continue
        items = tree.setdefault(column.tag, ("SQ", []))[1]
        items += [{} for _ in range(len(raws) - len(items))]
        for item, raw in zip(items, raws, strict=False):
            place = item
            for tag in column.path[1:-1]:
                place = place.setdefault(tag, ("SQ", [{}]))[1][0]
            place[column.path[-1]] = (column.vr, [] if raw is None else _plain(column.vr, [raw]))
    return tree


def _plain(vr: str, values: list[Any]) -> list[Any]:
    """Values as they can be encoded; a number that is none, or has no room in its VR, makes the attribute empty."""
    if vr not in _NUMBERS and vr != "AT":
        return [str(value) for value in values]
    try:
        if vr == "AT":
            return [int(value, 16) if isinstance(value, str) else int(value) for value in values]
        numbers = [float(value) if vr in ("FL", "FD") else int(value) for value in values]
        Struct(f"<{len(numbers)}{_NUMBERS[vr]}").pack(*numbers)
    except (ValueError, TypeError, OverflowError, error):
        return []
    return numbers


# --- decoding ------------------------------------------------------------------------------------------------------


def read_row(octets: Octets, transfer_syntax: str, columns: Sequence[Column]) -> dict[str, list[object]]:
    """Read an Identifier of an answer into raw values by column name.

    Parameters
    ----------
    octets : bytes
        The whole Identifier.
    transfer_syntax : str
        Implicit or Explicit VR Little Endian.
    columns : sequence of Column
        What is wanted; the rest is passed over. A path through sequences gives one value for each item, None where
        the item has none.

    Returns
    -------
    dict
        Text and numbers as they came; a name is absent where the attribute is, and has no values where it is empty.

    Raises
    ------
    RemoteProtocolError
        The Identifier is cut or broken. Text that can't be decoded is no error.

    Source
    ------
    PS3.5 §6.1, §6.2, §7.1.
    """
    row: dict[str, list[object]] = {}
    encodings = encodings_of(b"")
    wanted = _by_first_tag(tuple(columns))
    for element in elements(octets, transfer_syntax):
        if element.tag == CHARACTER_SET:
            encodings = encodings_of(bytes(octets[element.value : element.end]))
        for column in wanted.get(element.tag, ()):
            row[column.name] = read_element(octets, element, transfer_syntax, column, encodings)
    return row


def read_element(
    octets: Octets, element: Element, transfer_syntax: str, column: Column, encodings: tuple[str, ...]
) -> list[object]:
    """Read the raw values of one column out of the element that is the first of its path.

    Source
    ------
    PS3.5 §6.1, §6.2.
    """
    return _read(octets, element, transfer_syntax, path=column.path, vr=column.vr, encodings=encodings)


@lru_cache(maxsize=256)
def _by_first_tag(columns: tuple[Column, ...]) -> Mapping[int, tuple[Column, ...]]:
    found: dict[int, tuple[Column, ...]] = {}
    for column in columns:
        found[column.tag] = (*found.get(column.tag, ()), column)
    return found


def _read(
    octets: Octets, element: Element, syntax: str, *, path: tuple[int, ...], vr: str, encodings: tuple[str, ...]
) -> list[object]:
    if len(path) == 1:
        return decode_values(bytes(octets[element.value : element.end]), vr_of(element, vr), encodings)
    values: list[object] = []
    within = syntax_within(element, syntax)
    for item in items_of(octets, element, within):
        found: list[object] = []
        for inner in elements(item, within):
            if inner.tag == path[1]:
                found = _read(item, inner, within, path=path[1:], vr=vr, encodings=encodings)
        values += found or [None]
    return values


def keys_of(octets: Octets, transfer_syntax: str) -> list[tuple[tuple[int, ...], str]]:
    """Read the Identifier of a request: each key by its path of tags, and its text.

    Several values stay joined by backslashes. Of a sequence the first item counts; one without keys gives the
    sequence alone.

    Raises
    ------
    RemoteProtocolError
        The Identifier is cut or broken.

    Source
    ------
    PS3.4 §C.2.2.2.6 (sequence matching).
    """
    return list(_keys(octets, transfer_syntax, (), encodings_of(b"")))


def _keys(
    octets: Octets, syntax: str, path: tuple[int, ...], encodings: tuple[str, ...]
) -> Iterator[tuple[tuple[int, ...], str]]:
    if len(path) >= MAX_DEPTH:
        raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", section=_SECTION, offset=0)
    for element in elements(octets, syntax):
        here = (*path, element.tag)
        if element.tag == CHARACTER_SET:
            encodings = encodings_of(bytes(octets[element.value : element.end]))
        vr = vr_of(element, "")
        if vr != "SQ":
            values = decode_values(bytes(octets[element.value : element.end]), vr, encodings)
            yield here, "\\".join(map(str, values))
            continue
        within = syntax_within(element, syntax)
        first = next(items_of(octets, element, within), None)
        inner = list(_keys(first, within, here, encodings)) if first is not None else []
        yield from inner or [(here, "")]


def syntax_within(element: Element, syntax: str) -> str:
    """The transfer syntax of the items of a sequence: in one that came as UN they are in Implicit VR.

    Source
    ------
    PS3.5 §6.2.2 (UN).
    """
    return IMPLICIT_LE if element.vr == "UN" else syntax


def items_of(octets: Octets, element: Element, syntax: str) -> Iterator[memoryview]:
    """The items of a sequence, of defined or undefined length."""
    view = memoryview(octets)[: element.end]
    at = element.value
    while at + 8 <= element.end:
        group, number, length = _IMPLICIT.unpack_from(view, at)
        tag = group << 16 | number
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise RemoteProtocolError("something other than an item in a sequence", section="PS3.5 §7.5", offset=at)
        start, after = at + 8, at + 8 + length
        if length == UNDEFINED:
            end = next((e for e in elements(view[start:], syntax) if e.tag == ITEM_END), None)
            if end is None:
                raise RemoteProtocolError("an item without end", section="PS3.5 §7.5", offset=at)
            length, after = end.offset, start + end.end
        elif after > element.end:
            raise RemoteProtocolError("an item is cut", section="PS3.5 §7.5", offset=at)
        yield view[start : start + length]
        at = after


def vr_of(element: Element, known: str) -> str:
    """The VR of an element: its own where we know it (of no later edition), else `known`, else the dictionary's."""
    if element.vr in _VRS:
        return element.vr
    if known:
        return known
    entry = DicomDictionary.get(element.tag)
    return entry[0].split(" or ")[0] if entry else "UN"


def decode_values(octets: bytes, vr: str, encodings: tuple[str, ...]) -> list[Any]:
    """The values of an element, text and numbers; of binary ones none."""
    if vr in _NUMBERS:
        size = Struct(f"<{_NUMBERS[vr]}").size
        return list(unpack(f"<{len(octets) // size}{_NUMBERS[vr]}", octets[: len(octets) // size * size]))
    if vr == "AT":
        words = unpack(f"<{len(octets) // 4 * 2}H", octets[: len(octets) // 4 * 4])
        return [f"{high:04X}{low:04X}" for high, low in zip(words[::2], words[1::2], strict=True)]
    if vr not in TEXT and vr != "UN":
        return []
    text = decode_text(octets, encodings if vr in _BY_CHARACTER_SET or vr == "UN" else (DEFAULT,), person=vr == "PN")
    if not text.rstrip(" \0"):
        return []
    return [without_padding(value, vr) for value in ([text] if vr in _ONE_VALUE else text.split("\\"))]


def without_padding(value: str, vr: str) -> str:
    """One value of text without its padding; LT, ST, UR and UT may begin with spaces."""
    return value.rstrip(" \0") if vr in _ONE_VALUE else value.strip(" \0")


# --- character sets --------------------------------------------------------------------------------------------------


_MAX_CHARACTER_SET = 1024
"""Octets of a Specific Character Set that are looked at; all defined terms together have fewer."""


def encodings_of(character_set: bytes) -> tuple[str, ...]:
    """Name the codecs of a Specific Character Set (0008,0005).

    Source
    ------
    PS3.3 §C.12.1.1.2.
    """
    return _encodings_of(character_set[:_MAX_CHARACTER_SET])


@lru_cache(maxsize=256)
def _encodings_of(character_set: bytes) -> tuple[str, ...]:
    return codecs_of(character_set.decode("ascii", "replace").strip(" \0").split("\\"))


def decode_text(octets: bytes, encodings: tuple[str, ...], *, person: bool = False) -> str:
    """Decode text, with code extensions where they stand; never fails.

    What the named character set can't read, and what is no ASCII where none is named, is read as UTF-8 if it is that,
    else as Latin-1.

    Source
    ------
    PS3.5 §6.1.2.4, §6.1.2.5 (code extension), PS3.3 §C.12.1.1.2.
    """
    escaped = b"\x1b" in octets
    if not escaped and octets.isascii():
        return octets.decode("ascii")
    if escaped or encodings[0] != DEFAULT:
        text = charset.decode_text(octets, encodings, person=person)
        if "\ufffd" not in text:
            return text
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def supported(transfer_syntax: str) -> bool:
    """Whether Identifiers are read and written in that transfer syntax."""
    return transfer_syntax in (IMPLICIT_LE, EXPLICIT_LE)
