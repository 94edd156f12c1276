"""What web services must know of an encoded data set, and the one change they make to it. No I/O.

Source
------
PS3.18 §8.7.3 (Implicit VR Little Endian and Explicit VR Big Endian shall not be used), PS3.5 §A.
"""

from __future__ import annotations

from io import BytesIO

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    decode_file_meta,
    encode_file_meta,
)
from dicomlab.part10.transcode import transcode
from dicomlab.part10.walk import Octets, elements, inflated

NOT_ALLOWED = frozenset({IMPLICIT_LE, EXPLICIT_BE})
"""Transfer syntaxes that shall not be used in web services."""
UNCOMPRESSED = frozenset({IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED_LE})

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E


def uids_of(octets: Octets, transfer_syntax_uid: str) -> dict[int, str]:
    """Walk a data set to its end and give its SOP Class, SOP Instance, Study and Series Instance UIDs by tag.

    Raises
    ------
    RemoteProtocolError
        It is cut short or broken.

    Source
    ------
    PS3.5 §7.1.
    """
    found: dict[int, str] = {}
    if transfer_syntax_uid == DEFLATED_LE:
        octets, transfer_syntax_uid = inflated(octets), EXPLICIT_LE
    for one in elements(octets, transfer_syntax_uid):
        if one.tag in (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES) and one.length <= 66:
            value = bytes(octets[one.value : one.value + one.length])
            found[one.tag] = value.decode("ascii", "replace").strip(" \0")
    return found


def series_of(octets: Octets, transfer_syntax_uid: str) -> tuple[str, str]:
    """Read the Study and Series Instance UIDs of a data set, and no further; ``""`` where there is none.

    Raises
    ------
    RemoteProtocolError
        It is cut short or broken before them.

    Source
    ------
    PS3.5 §7.1.
    """
    found = {STUDY: "", SERIES: ""}
    if transfer_syntax_uid == DEFLATED_LE:
        octets, transfer_syntax_uid = inflated(octets), EXPLICIT_LE
    for one in elements(octets, transfer_syntax_uid):
        if one.tag in found and one.length <= 66:
            value = bytes(octets[one.value : one.value + one.length])
            found[one.tag] = value.decode("ascii", "replace").strip(" \0")
        if one.tag >= SERIES:
            break
    return found[STUDY], found[SERIES]


def can_decode(transfer_syntax_uid: str) -> bool:
    """Whether Explicit VR Little Endian can be made of that transfer syntax here."""
    if transfer_syntax_uid in UNCOMPRESSED:
        return True
    from pydicom.pixels.decoders.base import get_decoder

    try:
        return bool(get_decoder(transfer_syntax_uid).is_available)
    except (NotImplementedError, ValueError):
        return False


def to_explicit_le(octets: Octets) -> bytes:
    """Write a whole Part 10 file anew in Explicit VR Little Endian, compressed pixels decompressed.

    Values of uncompressed data sets stay as they are, octet for octet but for their order.

    Raises
    ------
    RemoteProtocolError
        It is broken, or its pixels can't be decoded here.

    Source
    ------
    PS3.5 §A.2, PS3.10 §7.1.
    """
    meta = decode_file_meta(octets, final=True)
    if meta.transfer_syntax_uid not in UNCOMPRESSED:
        return _decompressed(octets)
    dataset = octets[meta.length :]
    if meta.transfer_syntax_uid == DEFLATED_LE:
        dataset = inflated(dataset)
    elif meta.transfer_syntax_uid != EXPLICIT_LE:
        dataset = transcode(dataset, meta.transfer_syntax_uid, EXPLICIT_LE)
    head = encode_file_meta(
        meta.sop_class_uid, meta.sop_instance_uid, EXPLICIT_LE, source_ae_title=meta.source_ae_title
    )
    return head + bytes(dataset)


def _decompressed(octets: Octets) -> bytes:
    from pydicom import dcmread

    try:
        dataset = dcmread(BytesIO(octets))
        dataset.decompress(as_rgb=False, generate_instance_uid=False)
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
    except (
        ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError, OverflowError, EOFError, OSError,
        UserWarning,
    ) as error:  # fmt: skip
        raise RemoteProtocolError(f"its pixels can't be decoded here: {error}", section="PS3.5 §A.4") from error
    return buffer.getvalue()
