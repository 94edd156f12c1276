"""One file's attributes as raw values by column. Bytes in, values out: no I/O; the octets may be a memory map.

The whole data set is walked, so that a file that is cut short or broken anywhere is found out, but only the values
asked for are decoded.

Source
------
PS3.10 §7 (file format), PS3.5 §7 (data elements), §A.5 (deflated transfer syntax).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct

from pydicom._dicom_dict import DicomDictionary

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import Column
from dicomlab.part10.charset import codecs_of, decode_text
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, FileMeta, decode_file_meta
from dicomlab.part10.walk import MAX_INFLATED, Element, Octets, elements, inflated

MAX_VALUE = 1 << 24
"""Octets beyond which a value can't be one cell of a table: 16 MiB."""

CHARSET = 0x00080005
_PIXEL_REPRESENTATION = 0x00280103
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF

NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})
WHOLE = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in whose values a backslash is a character."""
BY_CHARSET = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_META = {
    0x00020002: "sop_class_uid",
    0x00020003: "sop_instance_uid",
    0x00020010: "transfer_syntax_uid",
    0x00020013: "implementation_version_name",
    0x00020016: "source_ae_title",
}

Raws = tuple[object, ...]


def read_row(octets: Octets, columns: Iterable[Column]) -> dict[str, Raws]:
    """Read the attributes of one whole Part 10 file.

    Parameters
    ----------
    octets : bytes
        The file, preamble and all.
    columns : iterable of Column

    Returns
    -------
    dict
        Column name to raw values, absent and empty ones left out. DS and IS are text, PN is text with its groups,
        AT is eight hexadecimal digits; a path through a sequence gives one value for each item, ``None`` where an
        item has none, several values of one item joined by backslashes.

    Raises
    ------
    RemoteProtocolError
        Not a DICOM file, cut short, or broken. Nothing else is raised whatever the octets are; text that its
        character set can't explain is replaced, not refused.

    Source
    ------
    PS3.10 §7; PS3.5 §6.2 (value representations), §7.
    """
    meta = decode_file_meta(octets, final=True)
    return read_dataset_row(memoryview(octets)[meta.length :], meta, columns)


def read_dataset_row(octets: Octets, meta: FileMeta, columns: Iterable[Column]) -> dict[str, Raws]:
    """Read the attributes of one whole data set, its File Meta Information being known; see :func:`read_row`."""
    asked = tuple(columns)
    return row_of(reader_of(octets, meta, {one.tag for one in asked}), meta, asked)


def reader_of(octets: Octets, meta: FileMeta, tags: set[int]) -> DatasetReader:
    """Walk a data set in any transfer syntax and find what may be asked for.

    Raises
    ------
    RemoteProtocolError
        Cut short or broken; deflated, and inflating beyond 256 MiB.

    Source
    ------
    PS3.5 §A.5 (deflated), §7.1.
    """
    if meta.transfer_syntax_uid == DEFLATED_LE:
        return DatasetReader(inflated(octets, MAX_INFLATED), EXPLICIT_LE, tags)
    return DatasetReader(octets, meta.transfer_syntax_uid, tags)


def row_of(reader: DatasetReader, meta: FileMeta, columns: Iterable[Column]) -> dict[str, Raws]:
    """Decode the attributes that are asked for; see :func:`read_row`."""
    row: dict[str, Raws] = {}
    for one in columns:
        values: Raws
        if one.tag in _META:
            text = getattr(meta, _META[one.tag])
            values = (text,) if text else ()
        else:
            values = reader.values(one, one.path)
        if values:
            row[one.name] = values
    return row


class DatasetReader:
    """The elements of one data set or item that somebody wants, found; their values are decoded on demand.

    Parameters
    ----------
    octets : bytes
        The whole data set or item; all of it is walked.
    syntax : str
        Its Transfer Syntax UID; not deflated.
    tags : set of int
        What may be asked for.
    encodings : sequence of str
        Those of the data set around an item, which its own Specific Character Set overrules.
    """

    def __init__(self, octets: Octets, syntax: str, tags: set[int], encodings: Sequence[str] = ()) -> None:
        self.octets = memoryview(octets)
        self.syntax = syntax
        self._big = syntax == EXPLICIT_BE
        wanted = tags | {CHARSET, _PIXEL_REPRESENTATION}
        self._found: dict[int, Element] = {}
        self.end = 0
        """The octet after the last element: what follows is padding of the medium."""
        for element in elements(octets, syntax):
            self.end = element.end
            if element.tag in wanted:
                self._found.setdefault(element.tag, element)
        self._encodings: Sequence[str] = encodings or codecs_of([])
        if terms := self._decode("CS", self._found.get(CHARSET)):
            self._encodings = codecs_of([str(term) for term in terms])

    def element(self, tag: int) -> Element | None:
        """Where an element lies; only those asked for at the start are known."""
        return self._found.get(tag)

    def values(self, column: Column, path: Sequence[int]) -> Raws:
        """The raw values at the end of a path."""
        element = self._found.get(path[0])
        if element is None:
            return ()
        if len(path) == 1:
            return self._decode(self._vr(column, element), element)
        syntax = IMPLICIT_LE if element.vr == "UN" else self.syntax
        value = self.octets[element.value : element.end]
        return values_in_items(value, syntax, column, path[1:], self._encodings)

    def _vr(self, column: Column, element: Element) -> str:
        def signed() -> bool:
            return self._decode("US", self._found.get(_PIXEL_REPRESENTATION)) == (1,)

        return telling_vr(column, element.tag, element.vr, signed)

    def _decode(self, vr: str, element: Element | None) -> Raws:
        if element is None or not element.length:
            return ()
        if element.length > MAX_VALUE:
            raise RemoteProtocolError(
                f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) is {element.length} octets long",
                section="PS3.5 §6.2",
                offset=element.offset,
            )
        octets = bytes(self.octets[element.value : element.end])
        return decode_value(vr, octets, self._encodings, big=self._big)

    def items(self, element: Element, tags: set[int]) -> Iterator[tuple[int, DatasetReader]]:
        """The items of a sequence: where each item tag stands in this data set, and a reader of what is in it."""
        syntax = IMPLICIT_LE if element.vr == "UN" else self.syntax
        value = self.octets[element.value : element.end]
        for at, item in items_of(value, syntax, tags, self._encodings):
            yield element.value + at, item


def telling_vr(column: Column, tag: int, vr: str, signed: Callable[[], bool]) -> str:
    """The VR under which a value is read: that of the file where it is telling, else that of the dictionary.

    Source
    ------
    PS3.5 §6.2.2 (UN), PS3.6 §6 (US or SS, by Pixel Representation).
    """
    if vr and vr not in BINARY:
        return vr
    entry = DicomDictionary.get(tag)
    if column.vr == "US" and entry and "SS" in entry[0]:
        return "SS" if signed() else "US"
    return column.vr


def decode_value(vr: str, octets: bytes, encodings: Sequence[str], *, big: bool) -> Raws:
    """Decode one value; see :func:`read_row`.

    Source
    ------
    PS3.5 §6.2.
    """
    order = ">" if big else "<"
    if vr in NUMBERS:
        unit = Struct(order + NUMBERS[vr])
        if len(octets) % unit.size:
            return (f"0x{octets.hex()}",)  # no number: the column's typing says so and keeps this
        return tuple(value for (value,) in unit.iter_unpack(octets))
    if vr == "AT":
        if len(octets) % 4:
            return (f"0x{octets.hex()}",)
        return tuple(f"{group:04X}{number:04X}" for group, number in Struct(order + "HH").iter_unpack(octets))
    text = decode_text(octets, encodings if vr in BY_CHARSET else codecs_of([]), person=vr == "PN").rstrip(" \0")
    if not text:
        return ()
    return (text,) if vr in WHOLE else tuple(value.rstrip(" \0") for value in text.split("\\"))


def items_of(
    octets: Octets, syntax: str, tags: set[int], encodings: Sequence[str]
) -> Iterator[tuple[int, DatasetReader]]:
    """The items in the value of a sequence: where each item tag stands in it, and a reader of what is in it.

    Source
    ------
    PS3.5 §7.5 (nested data sets), §6.2.2 note 3 (a sequence as UN is in Implicit VR Little Endian).
    """
    header = Struct((">" if syntax == EXPLICIT_BE else "<") + "HHL")
    at, end = 0, len(octets)
    while at + 8 <= end:
        group, number, length = header.unpack_from(octets, at)
        tag = (group << 16) | number
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM:
            raise RemoteProtocolError("something other than an item in a sequence", section="PS3.5 §7.5", offset=at)
        start, rest = at + 8, octets[at + 8 :]
        after = start + length
        if length == _UNDEFINED:
            length = _length_of_item(rest, syntax)
            after = start + length + 8
        if after > end:
            raise RemoteProtocolError("an item is cut", section="PS3.5 §7.5", offset=at)
        yield at, DatasetReader(rest[:length], syntax, tags, encodings)
        at = after


def values_in_items(octets: Octets, syntax: str, column: Column, path: Sequence[int], encodings: Sequence[str]) -> Raws:
    """The raw values that a path finds in the value of a sequence; see :func:`read_row`.

    Source
    ------
    PS3.5 §7.5.
    """
    gathered: list[object] = []
    for _, item in items_of(octets, syntax, {path[0]}, encodings):
        inner = item.values(column, path)
        if len(path) > 1:
            gathered += inner
        else:
            gathered.append("\\".join(map(str, inner)) if len(inner) > 1 else inner[0] if inner else None)
    return tuple(gathered)


def _length_of_item(octets: Octets, syntax: str) -> int:
    """Octets up to the Item Delimitation of an item of undefined length."""
    for element in elements(octets, syntax):
        if element.tag == _ITEM_END:
            return element.offset
    raise RemoteProtocolError("an item without end", section="PS3.5 §7.5.2", offset=len(octets))
