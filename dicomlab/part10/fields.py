"""The elements of an encoded data set, or of one file's start, as fields for people to read. No I/O.

Each field has its octets, its place in the standard, and whether its value may name a patient. Octets that make no
sense end the reading, without an error.

Source
------
PS3.5 §7.1, §7.5; PS3.10 §7.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import keyword_for_tag

from dicomlab.errors import DicomlabError
from dicomlab.model.columns import column, format_tag
from dicomlab.model.reading import Field
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, PREFIX_END
from dicomlab.part10.walk import Element, Walker, elements

MAX_FIELDS = 400
"""Fields of one kind that are shown of one message; a data set can have more than anybody reads."""
MAX_DEPTH, MAX_ITEMS = 3, 50
"""How deep sequences are opened, and how many of their items."""
_SHOWN_TEXT = 200
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_BULK = frozenset("OB OD OF OL OV OW UN".split())

Octets = bytes | bytearray | memoryview


def data_set_fields(octets: Octets, start: int, end: int, transfer_syntax_uid: str, depth: int = 0) -> Iterator[Field]:
    """Take a data set apart, as far as it can be walked; sequences open to their items.

    Parameters
    ----------
    octets : bytes
        The message or file that it lies in; offsets count from its first octet.
    start, end : int
        Where it lies; its end may be missing.
    transfer_syntax_uid : str
        ``""`` where nobody knows it: nothing is guessed.

    Source
    ------
    PS3.5 §7.1, §7.5.
    """
    at = start
    for one in islice(_walked(octets[start:end], transfer_syntax_uid), MAX_FIELDS):
        yield _field(octets, one, start, transfer_syntax_uid, depth)
        at = start + one.end
    if at < end and transfer_syntax_uid and not depth:
        yield from _cut_sequence(octets, at, end, transfer_syntax_uid)


def private_parts(
    octets: Octets, start: int, end: int, transfer_syntax_uid: str, depth: int = 0
) -> Iterator[tuple[int, int]]:
    """Say which octets of a data set may name a patient: from, to.

    Those are the values of identifying attributes, within sequences too; bulk data, for names are burned into pictures;
    and all that can't be walked, for nobody knows what lies in it.

    Source
    ------
    PS3.15 Annex E (what identifies a patient); PS3.5 §7.5.
    """
    read = start
    for one in _walked(octets[start:end], transfer_syntax_uid):
        identifying, vr = _identifying(one.tag, one.vr)
        value, read = start + one.value, start + one.end
        if vr == "SQ":
            if depth < MAX_DEPTH:
                for _, inner, inner_end, after in _items(octets, value, read, transfer_syntax_uid):
                    yield from private_parts(octets, inner, inner_end, transfer_syntax_uid, depth + 1)
                    value = after
            identifying = True  # of what was not opened
        if value < read and identifying:
            yield value, read
    if read < end:
        yield read, end


def file_fields(octets: Octets, start: int = 0, transfer_syntax_uid: str = "") -> tuple[Field, ...]:
    """Take the start of a file apart: preamble, prefix, File Meta Information, and as much of the data set as is there.

    Parameters
    ----------
    octets : bytes
        Its end may be missing; offsets count from its first octet.
    start : int
        Where the file starts in `octets`.
    transfer_syntax_uid : str
        Of the data set; ``""``: what group 0002 says. (In an RTV Grain that is the encoding of other octets.)

    Source
    ------
    PS3.10 §7.1, PS3.22 §7.1.
    """
    prefix = start + PREFIX_END
    if bytes(octets[prefix - 4 : prefix]) != b"DICM":
        return ()
    at, syntax = _data_set_of(octets, prefix)
    head = (
        Field("Preamble", "128 octets", "free for any use; none in most files", "PS3.10 §7.1", start, prefix - 4),
        Field("Prefix", "DICM", "this is a DICOM file", "PS3.10 §7.1", prefix - 4, prefix),
    )
    meta = data_set_fields(octets, prefix, at, EXPLICIT_LE)
    return (*head, *meta, *data_set_fields(octets, at, len(octets), transfer_syntax_uid or syntax))


def private_of_file(octets: Octets, start: int = 0, transfer_syntax_uid: str = "") -> Iterator[tuple[int, int]]:
    """Say which octets of the start of a file may name a patient; the preamble too, where it is in use."""
    prefix = start + PREFIX_END
    if bytes(octets[prefix - 4 : prefix]) != b"DICM":
        yield start, len(octets)
        return
    at, syntax = _data_set_of(octets, prefix)
    if any(bytes(octets[start : prefix - 4])):
        yield start, prefix - 4
    yield from private_parts(octets, at, len(octets), transfer_syntax_uid or syntax)


def _data_set_of(octets: Octets, prefix: int) -> tuple[int, str]:
    """Where the data set starts, and its transfer syntax; ``""`` where group 0002 does not say."""
    at, syntax = prefix, ""
    data = octets[prefix:]
    with suppress(DicomlabError):
        for one in Walker(data, EXPLICIT_LE).elements(0):
            if one.tag >> 16 != 0x0002:
                break
            if one.tag == 0x00020010:
                syntax = bytes(data[one.value : one.end]).rstrip(b"\0 ").decode("ascii", "replace")
            at = prefix + one.end
    return at, syntax


def _walked(data: Octets, syntax: str) -> Iterator[Element]:
    if not syntax:
        return
    with suppress(DicomlabError):  # the fragment is cut, or starts in the middle of a data set
        yield from elements(data, syntax)


def _field(octets: Octets, element: Element, base: int, syntax: str, depth: int) -> Field:
    tag, start, end = element.tag, base + element.value, base + element.end
    identifying, vr = _identifying(tag, element.vr)
    body = bytes(octets[start : min(end, start + 4 * _SHOWN_TEXT)])
    children: tuple[Field, ...] = ()
    if vr == "SQ":
        children = tuple(_opened(octets, start, end, syntax, depth)) if depth < MAX_DEPTH else ()
        text, identifying = f"{len(children)} items" if children else f"{element.length:,} octets", False
    elif vr in _BULK:
        text, identifying = f"{element.length:,} octets", False
    elif vr in _NUMBERS:
        text = _numbers(body, vr, ">" if syntax == EXPLICIT_BE else "<")
    elif vr == "AT":
        text = body.hex(" ")
    else:
        text = _text(body)
    meaning = UID_dictionary[text][0] if vr == "UI" and text in UID_dictionary else ""
    name = f"{format_tag(tag)} {keyword_for_tag(tag) or ('private' if tag >> 16 & 1 else 'unknown')}"
    described = " ".join(filter(None, (vr, meaning)))
    return Field(name, text, described, "PS3.5 §7.1", base + element.offset, end, children, identifying)


def _identifying(tag: int, vr: str) -> tuple[bool, str]:
    """Whether a value may name a patient, and its VR."""
    if tag >> 16 == 0x0002:
        return False, vr
    try:
        known = column(tag)
    except DicomlabError:
        from pydicom.datadict import dictionary_VR

        with suppress(KeyError):
            vr = vr or dictionary_VR(tag)
        private = bool(tag >> 16 & 1)
        return private or vr not in _NUMBERS, vr  # binary or unknown: nobody knows what lies in it
    return known.identifying, vr or known.vr


def _items(octets: Octets, start: int, end: int, syntax: str) -> Iterator[tuple[int, int, int, int]]:
    with suppress(DicomlabError):
        yield from islice(Walker(octets[:end], syntax).items(start, end), MAX_ITEMS)


def _cut_sequence(octets: Octets, at: int, end: int, syntax: str) -> Iterator[Field]:
    """A sequence whose end is missing, as far as its items go: the records of a long DICOMDIR."""
    with suppress(DicomlabError):
        walker = Walker(octets[:end], syntax)
        tag, vr, value, _ = walker.header(at, implicit=walker.implicit)
        if _identifying(tag, vr)[1] == "SQ":
            yield _field(octets, Element(tag, "SQ", at, value, end - value), 0, syntax, 0)


def _opened(octets: Octets, start: int, end: int, syntax: str, depth: int) -> Iterator[Field]:
    for number, (at, inner, inner_end, after) in enumerate(_items(octets, start, end, syntax), 1):
        fields = tuple(data_set_fields(octets, inner, inner_end, syntax, depth + 1))
        yield Field(f"Item {number}", f"{len(fields)} elements", "", "PS3.5 §7.5", at, after, fields)


def _numbers(body: bytes, vr: str, order: str) -> str:
    kind = _NUMBERS[vr]
    size = {"H": 2, "L": 4, "f": 4, "d": 8, "Q": 8}[kind.upper() if kind not in "fd" else kind]
    with suppress(struct.error):
        values = struct.unpack_from(f"{order}{min(len(body) // size, 8)}{kind}", body)
        more = "…" if len(body) // size > len(values) else ""
        return "\\".join(f"{one:.9g}" if vr in ("FL", "FD") else str(one) for one in values) + more
    return body.hex(" ")


def _text(octets: bytes) -> str:
    text = octets[: _SHOWN_TEXT + 1].decode("utf-8", "replace").strip(" \0")
    return text if len(octets) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…"
