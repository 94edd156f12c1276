"""What web services must know of an encoded data set, and the one change they make to it. No I/O.

Source
------
PS3.18 §8.7.3 (Implicit VR Little Endian and Explicit VR Big Endian shall not be used), PS3.5 §A.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import elements

NOT_ALLOWED = frozenset({IMPLICIT_LE, EXPLICIT_BE})
"""Transfer syntaxes that shall not be used in web services."""
UNCOMPRESSED = frozenset({IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED_LE})

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
_WORD = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}

Octets = bytes | bytearray | memoryview


def uids_of(octets: Octets, transfer_syntax_uid: str) -> dict[int, str]:
    """Walk a data set to its end and give its SOP Class, SOP Instance, Study and Series Instance UIDs by tag.

    Those of a deflated data set are not looked at.

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
        return found
    for one in elements(octets, transfer_syntax_uid):
        if one.tag in (SOP_CLASS, SOP_INSTANCE, STUDY, SERIES) and one.length <= 66:
            value = bytes(octets[one.value : one.value + one.length])
            found[one.tag] = value.decode("ascii", "replace").strip(" \0")
    return found


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

    Raises
    ------
    RemoteProtocolError
        It can't be read, or its pixels can't be decoded here.

    Source
    ------
    PS3.5 §A.2, PS3.10 §7.1.

    """
    from pydicom import dcmread, dcmwrite
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import UID

    try:
        dataset = dcmread(BytesIO(octets))
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax == EXPLICIT_BE:
            _swap(dataset)
        if syntax not in UNCOMPRESSED:
            dataset.decompress(generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
        buffer = BytesIO()
        # forced: pydicom declines to change the byte order, which _swap has made safe
        dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    except (
        InvalidDicomError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, OverflowError, EOFError,
        NotImplementedError, OSError, UserWarning,
    ) as error:  # fmt: skip
        raise RemoteProtocolError(
            f"can't be written in Explicit VR Little Endian: {error}", section="PS3.5 §A.2"
        ) from error
    return buffer.getvalue()


def _swap(dataset: Any) -> None:
    """Swap the octets of each word of values that are strings of words: pydicom leaves those as they lie."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _swap(item)
        elif (size := _WORD.get(element.VR)) and isinstance(element.value, bytes):
            whole = len(element.value) // size * size
            swapped = np.frombuffer(element.value[:whole], f">u{size}").astype(f"<u{size}").tobytes()
            element.value = swapped + element.value[whole:]
