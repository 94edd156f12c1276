"""File Meta Information: the preamble, ``DICM`` and group 0002 in front of a data set, as bytes. No I/O.

Source
------
PS3.10 §7.1, Table 7.1-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from dicomlab.errors import LocalProtocolError, RemoteProtocolError

_SECTION = "PS3.10 §7.1"
PREFIX_END = 132
"""Octets of preamble and prefix."""
MAX_META = 1 << 20
"""Octets of File Meta Information beyond which a file is called broken (it is usually under 500)."""

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"

IMPLEMENTATION_CLASS_UID = "2.25.246937093241062841376914305868230425581"
IMPLEMENTATION_VERSION_NAME = "DICOMLAB_0.1"

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sxxL")
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN", b"SV", b"UV"})


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the File Meta Information of one SOP Instance says; ``""`` where absent.

    ``length`` counts the octets from the start of the file to the data set.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    source_ae_title: str = ""
    implementation_version_name: str = ""


class NeedMore(Exception):
    """The octets so far end before the File Meta Information does."""


def encode_file_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, *, source_ae_title: str = ""
) -> bytes:
    """Write preamble, prefix and File Meta Information for one SOP Instance.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        At most 64 characters each.
    source_ae_title : str, optional
        The AE that sent it; left out if it is none (an address of the web, say).

    Returns
    -------
    bytes
        128 octets of zero, ``DICM`` and group 0002 in Explicit VR Little Endian, whatever the data set uses.

    Raises
    ------
    LocalProtocolError
        A UID that no file could hold: over 64 characters, or not of printable ASCII.

    Source
    ------
    PS3.10 §7.1, Table 7.1-1.
    """
    body = b"".join(
        (
            _LONG.pack(0x0002, 0x0001, b"OB", 2) + b"\x00\x01",
            _uid(0x0002, sop_class_uid),
            _uid(0x0003, sop_instance_uid),
            _uid(0x0010, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _text(0x0016, b"AE", source_ae_title) if _is_ae_title(source_ae_title) else b"",
        )
    )
    group_length = _SHORT.pack(0x0002, 0x0000, b"UL", 4) + len(body).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + group_length + body


def _is_ae_title(text: str) -> bool:
    return 0 < len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text and bool(text.strip())


@lru_cache(maxsize=64)
def _uid(element: int, value: str) -> bytes:
    if len(value) > 64 or not (value.isascii() and value.isprintable()):
        raise LocalProtocolError(f"(0002,{element:04X}) can't be {value[:80]!r}", section="PS3.5 §9.1")
    octets = value.encode("ascii")
    octets += b"\0" * (len(octets) % 2)
    return _SHORT.pack(0x0002, element, b"UI", len(octets)) + octets


@lru_cache(maxsize=16)
def _text(element: int, vr: bytes, value: str) -> bytes:
    octets = value.encode("ascii", "replace")
    octets += b" " * (len(octets) % 2)
    return _SHORT.pack(0x0002, element, vr, len(octets)) + octets


def decode_file_meta(octets: bytes | bytearray | memoryview, *, final: bool = False) -> FileMeta:
    """Read the File Meta Information from the start of a file.

    The group length (0002,0000) is not trusted: group 0002 ends where another group begins.

    Parameters
    ----------
    octets : bytes
        The start of the file; a few hundred octets are usually enough.
    final : bool
        The file ends where `octets` end: nothing more will come.

    Raises
    ------
    NeedMore
        `octets` end before the File Meta Information does and `final` is false: call again with more of the file.
    RemoteProtocolError
        Cut short, no ``DICM`` at octet 128, an element that can't be, no Transfer Syntax UID, or more than 1 MiB of it.

    Source
    ------
    PS3.10 §7.1, Table 7.1-1.
    """
    if len(octets) < PREFIX_END:
        if final:
            raise RemoteProtocolError(
                "too short for a preamble: not a DICOM file", section=_SECTION, offset=len(octets)
            )
        raise NeedMore
    if bytes(octets[128:PREFIX_END]) != b"DICM":
        raise RemoteProtocolError("no DICM after the preamble: not a DICOM file", section=_SECTION, offset=128)
    found: dict[int, str] = {}
    at = PREFIX_END
    while True:
        if at > MAX_META:
            raise RemoteProtocolError("File Meta Information beyond 1 MiB", section=_SECTION, offset=at)
        if at + 8 > len(octets):
            if _ends_here(octets, at) or (final and at == len(octets)):
                break
            raise _cut(at) if final else NeedMore
        group, element, vr, length = _SHORT.unpack_from(octets, at)
        if group != 0x0002:
            break
        if vr != b"UI" and not (vr.isalpha() and vr.isupper()):
            raise RemoteProtocolError(f"VR {vr!r} in group 0002", section=_SECTION, offset=at + 4)
        start = at + 8
        if vr in _LONG_VRS:
            if at + 12 > len(octets):
                raise _cut(at) if final else NeedMore
            length, start = _LONG.unpack_from(octets, at)[3], at + 12
        if length > MAX_META:
            raise RemoteProtocolError(f"(0002,{element:04X}) announces {length} octets", section=_SECTION, offset=at)
        if start + length > len(octets):
            if final:
                raise RemoteProtocolError(f"(0002,{element:04X}) is cut", section=_SECTION, offset=at)
            raise NeedMore
        if vr in (b"UI", b"AE", b"SH"):
            found[element] = bytes(octets[start : start + length]).decode("ascii", "replace").strip(" \0")
        at = start + length
    if not found.get(0x0010):
        raise RemoteProtocolError("no Transfer Syntax UID (0002,0010)", section=_SECTION, offset=at)
    return FileMeta(
        found.get(0x0002, ""), found.get(0x0003, ""), found[0x0010], at, found.get(0x0016, ""), found.get(0x0013, "")
    )


def _cut(at: int) -> RemoteProtocolError:
    return RemoteProtocolError("cut inside group 0002", section=_SECTION, offset=at)


def _ends_here(octets: bytes | bytearray | memoryview, at: int) -> bool:
    """Whether what is left shows another group already: a data set may be shorter than one header."""
    return len(octets) >= at + 2 and bytes(octets[at : at + 2]) != b"\x02\x00"
