"""Values as they lie in files, and the text under which an index keeps them. No I/O.

An index keeps each value as one text: that of the file, its padding taken off; binary numbers in decimal; several
values between backslashes; the items of a sequence between record separators (1EH, which no text of DICOM may hold).
:func:`raws_of` makes of it again the raw values that all paths speak.

Source
------
PS3.5 §6.2 (value representations), §6.4 (multiplicity), §7.5 (nested data sets).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from pydicom._dicom_dict import DicomDictionary

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.header import BY_CHARSET, NUMBERS, WHOLE, Raws, decode_value, telling_vr, values_in_items
from dicomlab.media.walker import Grammar, Plan, Walked
from dicomlab.model.columns import Column
from dicomlab.part10.charset import codecs_of, decode_text
from dicomlab.part10.meta import IMPLICIT_LE

ITEM_SEPARATOR = "\x1e"
_ASCII = bytes(range(0x20, 0x7F))
REPLACED = "\ufffd"


def raws_of(column: Column, text: str | None) -> Raws:
    """The raw values of one text of an index; see :func:`dicomlab.media.header.read_row`.

    Source
    ------
    PS3.5 §6.4.
    """
    if text is None:
        return ()
    if len(column.path) > 1:
        return tuple(part or None for part in text.split(ITEM_SEPARATOR))
    if column.vr in WHOLE or "\\" not in text:
        return (text,)
    return tuple(part.rstrip(" \0") for part in text.split("\\"))


def text_of(column: Column, raws: Sequence[object]) -> str | None:
    """The text under which an index keeps raw values.

    Source
    ------
    PS3.5 §6.4.
    """
    if not raws:
        return None
    separator = ITEM_SEPARATOR if len(column.path) > 1 else "\\"
    parts = ["" if raw is None else _number(raw) for raw in raws]
    if len(column.path) > 1:
        parts = [part.replace(ITEM_SEPARATOR, REPLACED) for part in parts]
    return separator.join(parts) or None


def _number(raw: object) -> str:
    return repr(raw) if isinstance(raw, float) else str(raw)


def plan_of(columns: Iterable[Column]) -> Plan:
    """Which elements must be cut out for these columns.

    Source
    ------
    PS3.6 §6 (registry of data elements).
    """
    return Plan((one.tag, _expected(one)) for one in columns)


def _expected(column: Column) -> str:
    return "SQ" if len(column.path) > 1 else column.vr


class Texts(NamedTuple):
    """What the values of some files are as texts."""

    columns: list[list[str | None]]
    """One list for each column, one text for each file; None is absent."""
    doubtful: set[int]
    """The files, by number, some of whose text is none in their character set; what can't be decoded is U+FFFD."""
    broken: dict[int, RemoteProtocolError]
    """The files in which a sequence that was asked for is broken inside, and how."""


class Cells:
    """Makes texts of the values of many files, a column at a time: each different value is decoded once.

    Parameters
    ----------
    columns : sequence of Column
    plan : Plan
        Of these columns.
    """

    def __init__(self, columns: Sequence[Column], plan: Plan) -> None:
        slots = {tag: slot for slot, tag in enumerate(plan.tags)}
        self._columns = [(one, slots[one.tag]) for one in columns]

    def texts(self, files: Sequence[tuple[Grammar, Walked]]) -> Texts:
        """Decode.

        Parameters
        ----------
        files : sequence of (Grammar, Walked)

        Returns
        -------
        Texts
        """
        charsets = [walked.values[0] for _, walked in files]
        plain = {charset: _is_plain(charset) for charset in set(charsets)}
        odd = [n for n, (g, w) in enumerate(files) if g.big or w.vrs or not plain[w.values[0]]]
        transposed = list(zip(*(walked.values for _, walked in files), strict=True)) if files else []
        result: list[list[str | None]] = []
        doubtful: set[int] = set()
        broken: dict[int, RemoteProtocolError] = {}
        for column, slot in self._columns:
            values = transposed[slot] if transposed else ()
            table: dict[bytes | None, str | None] = {None: None}
            again: dict[int, None] = dict.fromkeys(odd)
            decode = _plain_decoder(column)
            hard = set()
            for value in set(values):
                if value is not None:
                    try:
                        table[value] = decode(value)
                    except UnicodeDecodeError:
                        hard.add(value)
            texts = list(map(table.get, values))
            if hard:
                again |= dict.fromkeys(n for n, value in enumerate(values) if value in hard)
            for number in again:
                try:
                    texts[number] = text = one_text(column, slot, *files[number])
                except RemoteProtocolError as error:  # an item of a sequence that a path leads through
                    texts[number] = text = None
                    broken.setdefault(number, error)
                if text and REPLACED in text:
                    doubtful.add(number)
            result.append(texts)
        return Texts(result, doubtful, broken)


@lru_cache(maxsize=256)
def _is_plain(charset: bytes | None) -> bool:
    """Whether text of ASCII alone, without escape sequence, is the same in this character set."""
    if charset is None:
        return True
    encodings = codecs_of(_terms(charset))
    return all(decode_text(_ASCII, (one,)) == _ASCII.decode() for one in encodings)


def _terms(charset: bytes | None) -> list[str]:
    return [] if charset is None else [term.strip(" \0") for term in charset.decode("latin-1").split("\\")]


def _plain_decoder(column: Column) -> Callable[[bytes], str | None]:
    """How values of this column are decoded in little endian, under the VR of the dictionary, in plain text."""
    if len(column.path) > 1 or column.vr == "AT" or _is_signed_or_not(column.tag):
        return _refused
    if column.vr in NUMBERS:
        return _numbers(column.vr)
    return _plain_text if column.vr in BY_CHARSET else _default_text


def _refused(octets: bytes) -> str | None:
    raise UnicodeDecodeError("ascii", octets, 0, 1, "needs to be looked at")


def _plain_text(octets: bytes) -> str | None:
    if b"\x1b" in octets:
        return _refused(octets)
    return octets.decode("ascii").rstrip(" \0") or None


def _default_text(octets: bytes) -> str | None:
    return octets.decode("latin-1").rstrip(" \0") or None


@lru_cache(maxsize=16)
def _numbers(vr: str) -> Callable[[bytes], str | None]:
    unit = Struct("<" + NUMBERS[vr])

    def decode(octets: bytes) -> str | None:
        if len(octets) == unit.size:
            return _number(unit.unpack(octets)[0])
        return _refused(octets)

    return decode


def _is_signed_or_not(tag: int) -> bool:
    entry = DicomDictionary.get(tag)
    return entry is not None and "SS" in entry[0] and "US" in entry[0]


def one_text(column: Column, slot: int, grammar: Grammar, walked: Walked) -> str | None:
    """Decode one value by all the rules.

    Source
    ------
    PS3.5 §6.2, §7.5, §A.3 (big endian).
    """
    octets = walked.values[slot]
    if octets is None:
        return None
    code = (walked.vrs or {}).get(slot)
    vr = "" if grammar.implicit else _expected(column) if code is None else grammar.vr(code)
    encodings = codecs_of(_terms(walked.values[0]))
    if len(column.path) > 1:
        syntax = IMPLICIT_LE if vr == "UN" else grammar.syntax
        return text_of(column, values_in_items(octets, syntax, column, column.path[1:], encodings))
    representation = walked.values[1] or b""

    def signed() -> bool:
        return int.from_bytes(representation, "big" if grammar.big else "little") == 1

    vr = telling_vr(column, column.tag, vr, signed)
    return text_of(column, decode_value(vr, octets, encodings, big=grammar.big))
