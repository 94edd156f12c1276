"""Text of a data set by its Specific Character Set. Never fails: what can't be decoded is replaced. No I/O.

Source
------
PS3.3 §C.12.1.1.2 (Specific Character Set), PS3.5 §6.1.2 (character repertoires, code extensions).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, handled_encodings, python_encoding

DEFAULT = "iso8859"
"""How pydicom, and so every path here, reads text that declares nothing: ISO IR 6 with lenient upper half."""

_FRAGMENT = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_TEXT_RESETS = re.compile(rb"[\\\r\n\t\x0c]")
_NAME_RESETS = re.compile(rb"[\^=\\]")


def codecs_of(terms: Sequence[str]) -> tuple[str, ...]:
    """Name the Python codecs of the defined terms in (0008,0005).

    An unknown term counts as the default repertoire; terms misspelt as ``ISO-IR 100`` or ``ISO 2022-IR 100`` count as
    meant; code extensions beside a term that allows none are dropped.

    Source
    ------
    PS3.3 Tables C.12-2 to C.12-5.
    """
    known = [_term(term) for term in terms] or [""]
    if known[0] in STAND_ALONE_ENCODINGS:
        known = known[:1]
    used = [known[0], *(term for term in known[1:] if term not in STAND_ALONE_ENCODINGS)]
    return tuple(python_encoding.get(term, DEFAULT) for term in used)


def _term(term: str) -> str:
    text = term.strip(" \0")
    if text in python_encoding:
        return text
    if found := re.fullmatch(r"ISO.2022.IR.(\d+)", text):
        return f"ISO 2022 IR {found[1]}"
    if found := re.fullmatch(r"ISO[^_]IR.(\d+)", text):
        return f"ISO_IR {found[1]}"
    return text


def decode_text(octets: bytes, encodings: Sequence[str], *, person: bool = False) -> str:
    """Decode one value (or several, still separated by backslashes).

    Parameters
    ----------
    octets : bytes
    encodings : sequence of str
        What :func:`codecs_of` gave.
    person : bool
        A person name: its component and group separators end a code extension too.

    Returns
    -------
    str
        With U+FFFD where the octets are no text in that repertoire.

    Source
    ------
    PS3.5 §6.1.2.5.3 (where a code extension ends).
    """
    if b"\x1b" not in octets:
        return _decode(octets, encodings[0])
    resets = _NAME_RESETS if person else _TEXT_RESETS
    return "".join(_decode_fragment(part, encodings, resets) for part in _FRAGMENT.findall(octets))


def _decode(octets: bytes, encoding: str) -> str:
    try:
        codecs.lookup(encoding)
    except LookupError:
        encoding = DEFAULT
    return octets.decode(encoding, errors="replace")


def _decode_fragment(octets: bytes, encodings: Sequence[str], resets: re.Pattern[bytes]) -> str:
    if not octets.startswith(b"\x1b"):
        return _decode(octets, encodings[0])
    size = 4 if octets.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(octets[:size], "")
    if not encoding or (encoding not in encodings and encoding != DEFAULT):
        return _decode(octets, encodings[0])
    if encoding in handled_encodings:
        return _decode(octets, encoding)  # Python's codec wants to see the escape sequence
    octets = octets[size:]
    found = resets.search(octets)
    end = found.start() if found else len(octets)
    return _decode(octets[:end], encoding) + _decode(octets[end:], encodings[0])
