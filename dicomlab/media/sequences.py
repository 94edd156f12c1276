"""Sequences of an instance that its directory record repeats, in the encoding of a DICOMDIR. No I/O.

Source
------
PS3.3 §F.5 (keys of records), PS3.10 §8.6 (a DICOMDIR is in Explicit VR Little Endian).
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.header import CHARSET, DatasetReader, reader_of
from dicomlab.model.columns import column
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, FileMeta
from dicomlab.part10.transcode import transcode
from dicomlab.part10.walk import Octets

MAX_COPIED = 1 << 20
"""Octets of sequences beyond which no record is worth it: 1 MiB."""

_RELATIONSHIP = column("RelationshipType")
_TERMS = column("SpecificCharacterSet")
_CS = Struct("<HH2sH")


def read_sequences(octets: Octets, meta: FileMeta, keywords: Iterable[tuple[str, int]]) -> dict[str, tuple[bytes, ...]]:
    """Read the items of some sequences of a data set.

    Parameters
    ----------
    octets : bytes
        The whole data set, without File Meta Information.
    meta : FileMeta
    keywords : iterable of (keyword, tag)
        Which sequences. Of ``ContentSequence`` only the concept modifiers are taken (HAS CONCEPT MOD).

    Returns
    -------
    dict
        Keyword to items, each in Explicit VR Little Endian without item tag; an item with text beyond ASCII names the
        character set of its instance. Absent and empty sequences are left out.

    Raises
    ------
    RemoteProtocolError
        The data set is broken, or the sequences are longer than 1 MiB.

    Source
    ------
    PS3.3 §F.5, §C.12.1.1.2; PS3.5 §7.5.3 (a character set of an item).
    """
    wanted = dict(keywords)
    reader = reader_of(octets, meta, set(wanted.values()))
    terms = "\\".join(map(str, reader.values(_TERMS, _TERMS.path))).encode("ascii", "replace")
    found: dict[str, tuple[bytes, ...]] = {}
    for keyword, tag in wanted.items():
        element = reader.element(tag)
        if element is None:
            continue
        if element.length > MAX_COPIED and keyword != "ContentSequence":
            raise RemoteProtocolError(f"{keyword} is {element.length} octets long", section="PS3.3 §F.5")
        items = [
            _encoded(item, terms)
            for _, item in reader.items(element, {_RELATIONSHIP.tag})
            if keyword != "ContentSequence" or item.values(_RELATIONSHIP, _RELATIONSHIP.path) == ("HAS CONCEPT MOD",)
        ]
        if sum(map(len, items)) > MAX_COPIED:
            raise RemoteProtocolError(f"{keyword} is longer than {MAX_COPIED} octets", section="PS3.3 §F.5")
        if items:
            found[keyword] = tuple(items)
    return found


def _encoded(item: DatasetReader, terms: bytes) -> bytes:
    content = bytes(item.octets)
    if item.syntax in (IMPLICIT_LE, EXPLICIT_BE):
        content = transcode(content, item.syntax, EXPLICIT_LE)
    if terms and not content.isascii() and item.element(CHARSET) is None:
        terms += b" " * (len(terms) % 2)
        content = _CS.pack(CHARSET >> 16, CHARSET & 0xFFFF, b"CS", len(terms)) + terms + content
    return content
