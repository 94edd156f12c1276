"""Instances that were sent as metadata and bulk values, put together as DICOM files.

Source
------
PS3.18 §10.5.1.2 (store request: metadata and bulkdata), §F.2 (DICOM JSON Model), PS3.10 §7.1.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.web.datasets import UNCOMPRESSED
from dicomlab.web.media_types import MediaType
from dicomlab.web.origin.stored import DECODING_FAILED

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_DEPTH = 64
_PIXEL_DATA, _PIXEL_DATA_TAG = "7FE00010", 0x7FE00010
_CHARACTER_SET = 0x00080005
_TAG, _VR = re.compile("[0-9A-Fa-f]{8}"), re.compile("[A-Z]{2}")
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_BINARY = frozenset("OB OD OF OL OV OW UN".split())
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_SECTION = "PS3.18 §10.5.1.2"
_DEFAULT_SYNTAX = {
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
}
"""The transfer syntax of a media type that names none (PS3.18 Table 8.7.3-2 ff.)."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """Bulk values that came under one Content-Location, in the order they came, and what they are."""

    kind: MediaType
    parts: Sequence[Callable[[], bytes]]


BulkOf = Callable[[Mapping[str, Any]], Bulk | None]
"""Finds the bulk value that an element names; None where it did not come."""


def identity(model: Mapping[str, Any]) -> tuple[str, str]:
    """The SOP Class and SOP Instance UIDs that metadata names; ``""`` where it doesn't."""

    def uid(tag: str) -> str:
        element = model.get(tag)
        values = element.get("Value") if isinstance(element, dict) else None
        return str(values[0])[:64] if isinstance(values, list) and values else ""

    return uid("00080016"), uid("00080018")


def assemble(model: Mapping[str, Any], bulk: Mapping[str, Bulk], base_url: str) -> bytes:
    """Write one instance as a DICOM file.

    What a BulkDataURI names must have come in the same request: nothing is ever fetched.

    Parameters
    ----------
    model : mapping
        The data set in the JSON Model.
    bulk : mapping of str to Bulk
        By Content-Location.
    base_url : str
        Against which relative locations are resolved.

    Raises
    ------
    RemoteProtocolError
        A bulk value is missing, or the data set can't be written.

    Source
    ------
    PS3.18 §10.5.1.2, §8.7.3.3 (compressed bulkdata), PS3.5 §A.4 (encapsulation).
    """
    located = {urljoin(base_url + "/", location): one for location, one in bulk.items()}

    def bulk_of(element: Mapping[str, Any]) -> Bulk | None:
        uri = element.get("BulkDataURI")
        return (bulk.get(uri) or located.get(urljoin(base_url + "/", uri))) if isinstance(uri, str) else None

    pixels = model.get(_PIXEL_DATA)
    sent = bulk_of(pixels) if isinstance(pixels, dict) else None
    syntax = _syntax(sent.kind) if sent is not None else EXPLICIT_LE
    plain = {tag: element for tag, element in model.items() if not tag.startswith("0002") and tag != "00083002"}
    try:
        return _file(_dataset(plain, bulk_of, 0), syntax)
    except RemoteProtocolError:
        raise
    except DECODING_FAILED as error:
        raise RemoteProtocolError(f"the data set can't be written: {error}", section=_SECTION) from error


def _file(dataset: Dataset, syntax: str) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax not in UNCOMPRESSED and _PIXEL_DATA_TAG in dataset:
        dataset[_PIXEL_DATA_TAG].VR, dataset[_PIXEL_DATA_TAG].is_undefined_length = "OB", True
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _dataset(model: Mapping[str, Any], bulk_of: BulkOf, depth: int) -> Dataset:
    """A data set of the JSON Model; its text is Unicode, whatever its Specific Character Set says (PS3.18 §F.2.1)."""
    from pydicom import DataElement, Dataset, config

    if depth > MAX_DEPTH:
        raise RemoteProtocolError(f"sequences nested more than {MAX_DEPTH} deep", section=_SECTION)
    dataset = Dataset()
    for name, element in model.items():
        vr = element.get("vr") if isinstance(element, dict) else None
        if not _TAG.fullmatch(name) or not isinstance(vr, str) or not _VR.fullmatch(vr):
            raise RemoteProtocolError(f"{name[:20]!r} is no element of the JSON Model", section="PS3.18 §F.2.2")
        tag = int(name, 16)
        if tag & 0xFFFF == 0:
            continue  # group lengths
        if "BulkDataURI" in element:
            value: Any = _bulk_value(tag, vr, element, bulk_of)
        elif "InlineBinary" in element:
            value = _unpacked(base64.b64decode(str(element["InlineBinary"])), vr)
        elif vr == "SQ":
            value = [_dataset(item or {}, bulk_of, depth + 1) for item in element.get("Value") or ()]
        else:
            values = element.get("Value")
            many = values if isinstance(values, list) else [] if values is None else [values]
            converted = [_value(one, vr) for one in many]
            value = converted if len(converted) > 1 else converted[0] if converted else None
        dataset.add(DataElement(tag, vr, value, validation_mode=config.IGNORE))
    if _CHARACTER_SET in dataset or depth == 0:
        dataset.add(DataElement(_CHARACTER_SET, "CS", "ISO_IR 192"))
    return dataset


def _bulk_value(tag: int, vr: str, element: Mapping[str, Any], bulk_of: BulkOf) -> Any:
    found = bulk_of(element)
    if found is None:
        what = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        raise RemoteProtocolError(f"no part has the bulk value of {what}", section=_SECTION)
    octets = [one() for one in found.parts]
    if tag == _PIXEL_DATA_TAG and _syntax(found.kind) not in UNCOMPRESSED:
        from pydicom.encaps import encapsulate

        return encapsulate(octets)
    return _unpacked(b"".join(octets), vr)


def _unpacked(octets: bytes, vr: str) -> Any:
    if vr in _NUMBERS:
        return list(struct.unpack(f"<{len(octets) // struct.calcsize(_NUMBERS[vr])}{_NUMBERS[vr]}", octets))
    return octets if vr in _BINARY else octets.decode("utf-8", "replace")


def _value(one: Any, vr: str) -> Any:
    if one is None:
        return "" if vr not in _NUMBERS else None
    if vr == "PN":
        groups = [str(one.get(g) or "") for g in _GROUPS] if isinstance(one, dict) else [str(one)]
        return "=".join(groups).rstrip("=")
    if vr == "AT":
        return int(str(one), 16)
    if vr in _NUMBERS:
        return float(one) if vr in ("FL", "FD") else int(one)
    return str(one)


def _syntax(kind: MediaType) -> str:
    return kind.parameters.get("transfer-syntax") or _DEFAULT_SYNTAX.get(kind.name, EXPLICIT_LE)
