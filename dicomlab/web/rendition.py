"""What the origin server makes of a stored file: metadata, frames, bulk values, and the choice of a representation.

Source
------
PS3.18 §8.7 (media types and transfer syntaxes), §10.4 (retrieve).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.errors import Interrupted, RemoteProtocolError
from dicomlab.model.protocols import Held
from dicomlab.part10.files import CHUNK_OCTETS
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE
from dicomlab.web.datasets import NOT_ALLOWED, UNCOMPRESSED, can_decode, to_explicit_le
from dicomlab.web.json_model import BULK_THRESHOLD, to_json
from dicomlab.web.media_types import DICOM, FRAME_MEDIA_TYPES, OCTETS, MediaType
from dicomlab.web.resources import Resource

if TYPE_CHECKING:
    from pydicom import Dataset

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of an answer: its headers, how many octets it has, and how to get them."""

    headers: dict[str, str]
    size: int
    octets: Callable[[], Iterator[bytes]]


class NotHere(Exception):
    """The instance has no such frame or value."""


# --- whole instances -------------------------------------------------------------------------------------------------


def syntax_for(held: Held, ranges: Sequence[MediaType]) -> str:
    """Choose the transfer syntax in which an instance is sent; ``""`` where none is acceptable.

    As stored where that was asked for, but never in one that web services must not use; Explicit VR Little Endian
    where nothing was said.

    Source
    ------
    PS3.18 §8.7.3.5.2.
    """
    stored = held.transfer_syntax_uid
    for one in ranges:
        if one.part not in (DICOM, "*/*", "application/*"):
            continue
        asked = one.parameters.get("transfer-syntax", "")
        if asked in ("*", stored) and stored not in NOT_ALLOWED:
            return stored
        if asked in ("", "*", EXPLICIT_LE) and can_decode(stored):
            return EXPLICIT_LE
        if not asked and one.name == "*/*" and stored not in NOT_ALLOWED:
            return stored
    return ""


def instance_piece(held: Held, syntax: str) -> Piece:
    """The part that holds an instance: the file as it lies, or written anew when its turn comes."""
    kind = str(MediaType(DICOM, {"transfer-syntax": syntax}))
    if syntax == held.transfer_syntax_uid:
        return Piece({"Content-Type": kind}, held.size, lambda: _file_chunks(held.path, held.size))
    return Piece({"Content-Type": kind}, -1, lambda: iter((_rewritten(held.path),)))


def _file_chunks(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(CHUNK_OCTETS, left))):
            left -= len(chunk)
            yield chunk
    if left:
        raise Interrupted("the file became shorter while it was sent", endpoint=path.name)


def _rewritten(path: Path) -> bytes:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return to_explicit_le(mapped[:])


# --- metadata --------------------------------------------------------------------------------------------------------


def metadata(held: Held, base_url: str) -> dict[str, Any]:
    """Give the data set of an instance in the JSON Model, bulk values by URI.

    Source
    ------
    PS3.18 §10.4.1.1.2 (metadata), §F.2.6 (BulkDataURI).
    """
    from pydicom import dcmread

    inflated = held.transfer_syntax_uid != DEFLATED_LE  # values of a deflated file can't be left for later
    dataset = dcmread(held.path, defer_size=BULK_THRESHOLD if inflated else None)

    def uri(way: tuple[int, ...]) -> str:
        uids = (held.study_instance_uid, held.series_instance_uid, held.sop_instance_uid)
        return base_url + Resource("bulkdata", "instance", *uids, element=way).path

    return to_json(dataset, uri)


# --- frames and bulk values ------------------------------------------------------------------------------------------


def _read(held: Held) -> Dataset:
    from pydicom import dcmread

    if held.transfer_syntax_uid == EXPLICIT_BE:
        return dcmread(BytesIO(_rewritten(held.path)))
    return dcmread(held.path)


def frame_pieces(held: Held, numbers: Sequence[int], ranges: Sequence[MediaType]) -> list[Piece]:
    """Give frames (from 1; none means all) as stored or decoded, whatever is acceptable; none where nothing is.

    Raises
    ------
    NotHere
        No such frame, or no pixel data at all.
    RemoteProtocolError
        The pixel data can't be read.

    Source
    ------
    PS3.18 §10.4.1.1.3 (frames), §8.7.3.3 (compressed bulkdata).
    """
    dataset = _read(held)
    if _PIXEL_DATA not in dataset:
        raise NotHere("the instance has no Pixel Data (7FE0,0010)")
    try:
        count = int(dataset.get("NumberOfFrames") or 1)
    except (ValueError, TypeError, UserWarning) as error:
        raise RemoteProtocolError(f"Number of Frames (0028,0008): {error}", section="PS3.3 §C.7.6.6") from error
    wanted = list(numbers) or list(range(1, min(count, 1_000_000) + 1))
    if beyond := [number for number in wanted if number > count]:
        raise NotHere(f"the instance has {count} frames, so no frame {beyond[0]}")
    stored = held.transfer_syntax_uid
    compressed = stored not in UNCOMPRESSED
    media = FRAME_MEDIA_TYPES.get(stored, OCTETS)
    for one in ranges:
        asked = one.parameters.get("transfer-syntax", "")
        plain = one.part in (OCTETS, "*/*", "application/*")
        covered = plain or MediaType(one.part).covers(media)
        unasked = not asked and (one.name == "*/*" or (media != OCTETS and not plain))
        if compressed and covered and (asked in ("*", stored) or unasked):
            kind = str(MediaType(media, {"transfer-syntax": stored}))
            return [_piece(kind, _stored_frame(dataset, number, count)) for number in wanted]
        if plain and asked in ("", "*", EXPLICIT_LE) and can_decode(stored):
            kind = str(MediaType(OCTETS, {"transfer-syntax": EXPLICIT_LE}))
            return [_piece(kind, _decoded_frame(dataset, number)) for number in wanted]
    return []


def _piece(kind: str, octets: bytes) -> Piece:
    return Piece({"Content-Type": kind}, len(octets), lambda: iter((octets,)))


def _stored_frame(dataset: Dataset, number: int, count: int) -> bytes:
    from pydicom.encaps import get_frame

    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    table: Any = offsets if all(offsets) else None
    try:
        return get_frame(dataset.PixelData, number - 1, number_of_frames=count, extended_offsets=table)
    except (ValueError, IndexError, struct.error, OSError) as error:
        raise RemoteProtocolError(f"frame {number} can't be found: {error}", section="PS3.5 §A.4") from error


def _decoded_frame(dataset: Dataset, number: int) -> bytes:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        buffer, _ = get_decoder(syntax).as_buffer(dataset, index=number - 1, raw=True)
    except (ValueError, RuntimeError, AttributeError, TypeError, IndexError, NotImplementedError) as error:
        raise RemoteProtocolError(f"frame {number} can't be decoded: {error}", section="PS3.5 §8.2") from error
    return bytes(buffer)


def bulk_pieces(held: Held, element: Sequence[int], ranges: Sequence[MediaType]) -> list[Piece]:
    """Give a bulk value by the way to it; compressed Pixel Data as its frames.

    Raises
    ------
    NotHere
        No such value.

    Source
    ------
    PS3.18 §10.4.1.1.5 (bulkdata).
    """
    if tuple(element) == (_PIXEL_DATA,) and held.transfer_syntax_uid not in UNCOMPRESSED:
        return frame_pieces(held, (), ranges)
    found: Any = _read(held)
    try:
        for at, step in enumerate(element):
            found = found.value[step] if at % 2 else found[step]
        value, vr = found.value, str(found.VR)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise NotHere("the instance has no such value") from None
    if vr in _NUMBERS:
        many = list(value) if hasattr(value, "__iter__") else [value]
        value = struct.pack(f"<{len(many)}{_NUMBERS[vr]}", *many)
    if not isinstance(value, bytes):
        raise NotHere("the value is no bulk value: it stands in the metadata")
    if not any(one.part in (OCTETS, "*/*", "application/*") for one in ranges):
        return []
    return [_piece(str(MediaType(OCTETS, {"transfer-syntax": EXPLICIT_LE})), value)]
