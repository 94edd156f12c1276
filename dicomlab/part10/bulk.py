"""A data set without its bulk data: pixels, waveforms, spectra, overlays, documents. No I/O.

Source
------
PS3.4 §Z.1.3 (attributes that are not sent), PS3.5 §7.1, §7.5.
"""

from __future__ import annotations

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE
from dicomlab.part10.walk import Octets, elements, inflated

_BULK = frozenset({0x00287FE0, 0x00420011, 0x56000020, 0x7FE00001, 0x7FE00002, 0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Pixel Data Provider URL, Encapsulated Document, Spectroscopy Data, Extended Offset Table and its lengths, Float,
Double Float and plain Pixel Data."""
_REPEATING = frozenset({(0x60, 0x3000), (0x50, 0x3000), (0x50, 0x200C)})
"""Overlay Data, Curve Data and Audio Sample Data, by the first octet of the group."""
_WAVEFORM_SEQUENCE, _WAVEFORM_DATA = 0x54000100, 0x54001010
_ITEM, _ITEM_END = 0xFFFEE000, 0xFFFEE00D


def without_bulk_data(octets: Octets, transfer_syntax_uid: str) -> bytes:
    """Leave out the bulk data of a data set.

    Parameters
    ----------
    octets : bytes
        The data set, without File Meta Information.
    transfer_syntax_uid : str
        Any; what is encapsulated or deflated comes back in Explicit VR Little Endian.

    Raises
    ------
    RemoteProtocolError
        The data set is cut short or broken.

    Source
    ------
    PS3.4 §Z.1.3.
    """
    if transfer_syntax_uid == DEFLATED_LE:
        octets, transfer_syntax_uid = inflated(octets), EXPLICIT_LE
    kept: list[bytes] = []
    for element in elements(octets, transfer_syntax_uid):
        if element.tag in _BULK or (element.tag >> 24, element.tag & 0xFFFF) in _REPEATING:
            continue
        whole = bytes(octets[element.offset : element.end])
        if element.tag == _WAVEFORM_SEQUENCE:
            header = element.value - element.offset
            whole = _waveforms(whole, header, transfer_syntax_uid)
        kept.append(whole)
    return b"".join(kept)


def _waveforms(whole: bytes, header: int, syntax: str) -> bytes:
    """A Waveform Sequence whose items keep everything but the samples; its lengths are written anew."""
    order = "big" if syntax == EXPLICIT_BE else "little"
    parts: list[bytes] = []
    for item in _items(whole, header, syntax):
        inner = b"".join(
            item[one.offset : one.end] for one in elements(item, syntax) if one.tag not in (_WAVEFORM_DATA, _ITEM_END)
        )
        parts.append(_tag(_ITEM, order) + len(inner).to_bytes(4, order) + inner)  # type: ignore[arg-type]
    body = b"".join(parts)
    return whole[: header - 4] + len(body).to_bytes(4, order) + body  # type: ignore[arg-type]


def _items(whole: bytes, at: int, syntax: str) -> list[bytes]:
    order = "big" if syntax == EXPLICIT_BE else "little"
    found: list[bytes] = []
    while at + 8 <= len(whole) and whole[at : at + 4] == _tag(_ITEM, order):
        length = int.from_bytes(whole[at + 4 : at + 8], order)  # type: ignore[arg-type]
        start = at + 8
        if length == 0xFFFFFFFF:
            end = next((one for one in elements(whole[start:], syntax) if one.tag == _ITEM_END), None)
            if end is None:
                raise RemoteProtocolError("an item without end", section="PS3.5 §7.5", offset=at)
            found.append(whole[start : start + end.offset])
            at = start + end.end
        else:
            found.append(whole[start : start + length])
            at = start + length
    return found


def _tag(tag: int, order: str) -> bytes:
    group, element = (tag >> 16).to_bytes(2, order), (tag & 0xFFFF).to_bytes(2, order)  # type: ignore[arg-type]
    return group + element
