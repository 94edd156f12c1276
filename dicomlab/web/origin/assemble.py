"""Instances that were sent as metadata and bulk values, put together as DICOM files.

Source
------
PS3.18 §10.5.1.2 (store request: metadata and bulkdata), §F.2 (DICOM JSON Model), PS3.10 §7.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from pydicom.encaps import encapsulate

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.web.datasets import UNCOMPRESSED
from dicomlab.web.json_datasets import from_json
from dicomlab.web.media_types import MediaType
from dicomlab.web.origin.stored import DECODING_FAILED

if TYPE_CHECKING:
    from pydicom import Dataset

_PIXEL_DATA = 0x7FE00010
_NOT_OF_THE_FILE = frozenset({"00083002"})
"""Available Transfer Syntax UID: what a server says of itself."""
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
    size: int
    """Octets of all parts."""


REPEATED_OCTETS = 64 << 20
"""Octets of bulk values that a request may name more than once."""


class Allowance:
    """Octets that the instances of one request may be made of: what came, and a little of it again.

    Parameters
    ----------
    came : int
        Octets of the bulk values of the request.
    """

    def __init__(self, came: int) -> None:
        self._left = came + REPEATED_OCTETS

    def spend(self, octets: int) -> None:
        """Take some.

        Raises
        ------
        RemoteProtocolError
            There are not so many left: bulk values are named over and over.
        """
        self._left -= octets
        if self._left < 0:
            raise RemoteProtocolError("the same bulk values are named over and over", section=_SECTION)


def identity(model: Mapping[str, Any]) -> tuple[str, str]:
    """The SOP Class and SOP Instance UIDs that metadata names; ``""`` where it doesn't."""

    def uid(tag: str) -> str:
        element = model.get(tag)
        values = element.get("Value") if isinstance(element, dict) else None
        return str(values[0])[:64] if isinstance(values, list) and values else ""

    return uid("00080016"), uid("00080018")


def assemble(model: Mapping[str, Any], bulk: Mapping[str, Bulk], base_url: str, allowance: Allowance) -> bytes:
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
    allowance : Allowance
        Of the request.

    Raises
    ------
    RemoteProtocolError
        A bulk value is missing or repeated without end, or the data set can't be written.

    Source
    ------
    PS3.18 §10.5.1.2, §8.7.3.3 (compressed bulkdata), PS3.5 §A.4 (encapsulation).
    """
    located = {urljoin(base_url + "/", location): one for location, one in bulk.items()}

    def sent_as(uri: object) -> Bulk | None:
        return (bulk.get(uri) or located.get(urljoin(base_url + "/", uri))) if isinstance(uri, str) else None

    def value(uri: str, vr: str, tag: int) -> bytes:
        found = sent_as(uri)
        if found is None:
            what = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            raise RemoteProtocolError(f"no part has the bulk value of {what}", section=_SECTION)
        allowance.spend(found.size)
        octets = [one() for one in found.parts]
        if tag == _PIXEL_DATA and _syntax(found.kind) not in UNCOMPRESSED:
            return encapsulate(octets)
        return b"".join(octets)

    pixels = model.get(f"{_PIXEL_DATA:08X}")
    sent = sent_as(pixels.get("BulkDataURI")) if isinstance(pixels, Mapping) else None
    syntax = _syntax(sent.kind) if sent is not None else EXPLICIT_LE
    wanted = {
        tag: element for tag, element in model.items() if not tag.startswith("0002") and tag not in _NOT_OF_THE_FILE
    }
    try:
        return _file(from_json(wanted, value), syntax)
    except DECODING_FAILED as error:
        raise RemoteProtocolError(f"the data set can't be written: {error}", section=_SECTION) from error


def _file(dataset: Dataset, syntax: str) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    for tag in [tag for tag in dataset.keys() if tag.element == 0]:  # noqa: SIM118  (group lengths that are wrong now)
        del dataset[tag]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if syntax not in UNCOMPRESSED and _PIXEL_DATA in dataset:
        dataset[_PIXEL_DATA].VR, dataset[_PIXEL_DATA].is_undefined_length = "OB", True
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _syntax(kind: MediaType) -> str:
    return kind.parameters.get("transfer-syntax") or _DEFAULT_SYNTAX.get(kind.name, EXPLICIT_LE)
