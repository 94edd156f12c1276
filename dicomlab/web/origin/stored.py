"""What the origin server reads of a stored file: its header, its frames where they lie, its bulk values, metadata.

Source
------
PS3.18 §10.4 (retrieve), §8.7.3 (DICOM media types), PS3.5 §8 and §A.4 (pixel data).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.protocols import Held
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.web.datasets import UNCOMPRESSED, to_explicit_le
from dicomlab.web.json_model import BULK_THRESHOLD, to_json
from dicomlab.web.json_octets import NOT_THIS_WAY, octets_to_json
from dicomlab.web.media_types import DICOM, OCTETS, MediaType
from dicomlab.web.origin.answer import Piece, file_piece, made_piece, octets_piece
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.resources import Resource

if TYPE_CHECKING:
    from pydicom import Dataset

Link = Callable[[str], str]
"""Gives the URL of a resource by its path."""

MAX_FRAME_COUNT = 1_000_000
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
_PIXEL_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_PIXEL_DATA = 0x7FE00010
DECODING_FAILED = (
    ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError, EOFError, OSError,
    NotImplementedError, UserWarning, ArithmeticError, struct.error, MemoryError,
)  # fmt: skip
"""What pydicom and its decoders raise over broken pixel data."""


class NotHere(Exception):
    """The instance has no such frame or value."""


def resource_of(held: Held, kind: Any = "retrieve", **narrower: Any) -> Resource:
    """The resource of a held instance, or of something in it."""
    uids = (held.study_instance_uid, held.series_instance_uid, held.sop_instance_uid)
    return Resource(kind, "instance", *uids, **narrower)


# --- whole instances -------------------------------------------------------------------------------------------------


def instance_piece(held: Held, syntax: str) -> Piece:
    """The part that holds an instance: the file as it lies, or written anew when its turn comes."""
    headers = {"Content-Type": str(MediaType(DICOM, {"transfer-syntax": syntax}))}
    if syntax == held.transfer_syntax_uid:
        return file_piece(headers, held.path, 0, held.size)
    return made_piece(headers, lambda: rewritten(held.path))


def rewritten(path: Path) -> bytes:
    """The whole file anew, in Explicit VR Little Endian.

    Raises
    ------
    RemoteProtocolError
        It is broken, or its pixels can't be decoded here.
    """
    with _mapped(path) as octets:
        return to_explicit_le(bytes(octets))


def metadata(held: Held, link: Link) -> dict[str, Any]:
    """Give the data set of an instance in the JSON Model, bulk values by URI.

    Raises
    ------
    RemoteProtocolError
        It can't be read.

    Source
    ------
    PS3.18 §10.4.1.1.2 (metadata), §F.2.6 (BulkDataURI).
    """

    def uri(way: tuple[int, ...]) -> str:
        return link(resource_of(held, "bulkdata", element=way).path)

    if held.transfer_syntax_uid not in NOT_THIS_WAY:
        try:
            with _mapped(held.path) as octets, octets[held.meta_length :] as dataset:
                return octets_to_json(dataset, held.transfer_syntax_uid, uri)
        except (RemoteProtocolError, OSError, ValueError):
            pass  # odd enough to be read as a whole, or gone
    from pydicom.errors import InvalidDicomError

    try:
        return to_json(_read(held), uri)
    except (*DECODING_FAILED, InvalidDicomError) as error:
        raise RemoteProtocolError(f"the file can't be read: {error}", section="PS3.5 §7") from error


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as octets,
    ):
        yield octets


def _read(held: Held) -> Dataset:
    """The data set, long values left in the file until they are asked for."""
    from pydicom import dcmread

    if held.transfer_syntax_uid == EXPLICIT_BE:
        return dcmread(BytesIO(rewritten(held.path)))
    inflated = held.transfer_syntax_uid == DEFLATED_LE  # values of a deflated file can't be left for later
    return dcmread(held.path, defer_size=None if inflated else BULK_THRESHOLD)


# --- frames ----------------------------------------------------------------------------------------------------------


class Stored:
    """A held instance that is looked into: its header is read, its pixel data stays where it lies.

    Raises
    ------
    RemoteProtocolError
        It can't be read.
    """

    def __init__(self, held: Held) -> None:
        from pydicom import dcmread

        self.held = held
        self.syntax = held.transfer_syntax_uid
        self._octets: bytes | None = None
        if self.syntax in (EXPLICIT_BE, DEFLATED_LE):
            self._octets, self.syntax = rewritten(held.path), EXPLICIT_LE
        try:
            with self.open() as file:
                self.header: Dataset = dcmread(file, stop_before_pixels=True)
                self._pixels = self._find(file)
        except DECODING_FAILED as error:
            raise RemoteProtocolError(f"the file can't be read: {error}", section="PS3.5 §7") from error

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The octets of the file, in a transfer syntax whose frames can be found."""
        with BytesIO(self._octets) if self._octets is not None else self.held.path.open("rb") as file:
            yield file

    def _find(self, file: BinaryIO) -> tuple[int, str, int, int] | None:
        """Where the pixel data lies: its tag, VR, first octet and length."""
        head = file.read(12)
        if len(head) < 8:
            return None
        tag = int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little")
        if tag not in _PIXEL_KEYWORDS:
            return None
        if self.syntax == IMPLICIT_LE:
            return tag, "OW", file.tell() - len(head) + 8, int.from_bytes(head[4:8], "little")
        return tag, head[4:6].decode("latin-1"), file.tell(), int.from_bytes(head[8:12], "little")

    @property
    def has_pixels(self) -> bool:
        """Whether there is pixel data of any kind."""
        return self._pixels is not None

    @cached_property
    def frames(self) -> int:
        """How many frames it has.

        Raises
        ------
        RemoteProtocolError
            Nobody can tell.
        """
        try:
            count = int(self.header.get("NumberOfFrames") or 1)
        except (ValueError, TypeError, UserWarning) as error:
            raise RemoteProtocolError(f"Number of Frames (0028,0008): {error}", section="PS3.3 §C.7.6.6") from error
        return min(max(count, 1), MAX_FRAME_COUNT)

    def require(self, numbers: Sequence[int]) -> list[int]:
        """The frames that are meant: those, or all.

        Raises
        ------
        NotHere
            No such frame, or no pixel data at all.
        """
        if self._pixels is None:
            raise NotHere("the instance has no Pixel Data (7FE0,0010)")
        if beyond := [number for number in numbers if number > self.frames]:
            raise NotHere(f"the instance has {self.frames} frames, so no frame {beyond[0]}")
        return list(numbers) or list(range(1, self.frames + 1))

    def number(self, keyword: str, absent: int = 0) -> int:
        """A whole number of the header."""
        try:
            value = self.header.get(keyword)
            return absent if value is None or value == "" else int(value)
        except DECODING_FAILED as error:
            raise RemoteProtocolError(f"{keyword}: {error}", section="PS3.3 §C.7.6.3") from error

    # --- as stored

    def native(self, number: int, headers: dict[str, str]) -> Piece | None:
        """An uncompressed frame of whole octets, where it lies in the file; None where it must be decoded.

        Raises
        ------
        RemoteProtocolError
            The pixel data is shorter than its header says.
        """
        bits, pixels = self.number("BitsAllocated"), self._pixels
        plain = str(self.header.get("PhotometricInterpretation", "")) != "YBR_FULL_422"
        if self.syntax not in UNCOMPRESSED or pixels is None or bits % 8 or not bits or not plain:
            return None
        size = self.number("Rows") * self.number("Columns") * self.number("SamplesPerPixel", 1) * bits // 8
        _, _, offset, length = pixels
        if not size or size * number > length:
            raise RemoteProtocolError(f"{length} octets of pixel data hold no frame {number}", section="PS3.5 §8.1.1")
        start = offset + size * (number - 1)
        if self._octets is not None:
            return octets_piece(headers, self._octets[start : start + size])
        return file_piece(headers, self.held.path, start, size)

    def codestream(self, number: int) -> bytes:
        """A compressed frame as it is stored, its fragments joined.

        Raises
        ------
        RemoteProtocolError
            It can't be found.

        Source
        ------
        PS3.5 §A.4; PS3.18 §8.7.3.3 (the codestream alone).
        """
        from pydicom.encaps import get_frame

        table = self.header.get("ExtendedOffsetTable"), self.header.get("ExtendedOffsetTableLengths")
        offsets: Any = table if all(table) else None
        try:
            with self.open() as file:
                file.seek(self._pixels[2] if self._pixels else 0)
                return get_frame(file, number - 1, number_of_frames=self.frames, extended_offsets=offsets)
        except DECODING_FAILED as error:
            raise RemoteProtocolError(f"frame {number} can't be found: {error}", section="PS3.5 §A.4") from error

    # --- decoded

    def _options(self) -> dict[str, Any]:
        assert self._pixels is not None
        tag, vr, _, _ = self._pixels
        numbers = {
            "rows": self.number("Rows"),
            "columns": self.number("Columns"),
            "samples_per_pixel": self.number("SamplesPerPixel", 1),
            "bits_allocated": self.number("BitsAllocated"),
            "bits_stored": self.number("BitsStored"),
            "pixel_representation": self.number("PixelRepresentation"),
            "planar_configuration": self.number("PlanarConfiguration"),
        }
        table = self.header.get("ExtendedOffsetTable"), self.header.get("ExtendedOffsetTableLengths")
        return {
            **numbers,
            "number_of_frames": self.frames,
            "photometric_interpretation": str(self.header.get("PhotometricInterpretation", "")),
            "pixel_keyword": _PIXEL_KEYWORDS[tag],
            "pixel_vr": vr if vr in ("OB", "OW", "OF", "OD") else "OW",
            **({"extended_offsets": table} if all(table) else {}),
        }

    def decoded(self, number: int, *, raw: bool) -> Any:
        """A frame decoded: as octets in Explicit VR Little Endian (`raw`), or as an array, colours as RGB.

        Raises
        ------
        RemoteProtocolError
            It can't be decoded here.

        Source
        ------
        PS3.5 §8.2 (native and encapsulated pixel data).
        """
        from pydicom.pixels.decoders.base import get_decoder
        from pydicom.uid import UID

        try:
            with self.open() as file:
                file.seek(self._pixels[2] if self._pixels else 0)
                decoder, options = get_decoder(UID(self.syntax)), self._options()
                if raw:
                    buffer, _ = decoder.as_buffer(file, index=number - 1, raw=True, **options)
                    return bytes(buffer)
                array, facts = decoder.as_array(file, index=number - 1, **options)
                return array, facts
        except DECODING_FAILED as error:
            raise RemoteProtocolError(f"frame {number} can't be decoded: {error}", section="PS3.5 §8.2") from error


def frame_pieces(held: Held, numbers: Sequence[int], accept: Accept, link: Link) -> list[Piece]:
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
    stored = Stored(held)
    wanted = stored.require(numbers)
    chosen = accept.frames_as(held.transfer_syntax_uid)
    if chosen is None:
        return []
    media, syntax = chosen
    kind = str(MediaType(media, {"transfer-syntax": syntax}))
    pieces = []
    for number in wanted:
        at = link(resource_of(held, "frames", frames=(number,)).path)
        headers = {"Content-Type": kind, "Content-Location": at}
        native = stored.native(number, headers) if media == OCTETS else None
        pieces.append(native or made_piece(headers, _frame_maker(stored, number, decode=media == OCTETS)))
    pieces[0] = pieces[0].made()  # what can't be read is told now, while a status can be
    return pieces


def _frame_maker(stored: Stored, number: int, *, decode: bool) -> Callable[[], bytes]:
    if decode:
        return lambda: bytes(stored.decoded(number, raw=True))
    return lambda: stored.codestream(number)


# --- bulk values -----------------------------------------------------------------------------------------------------


def bulk_pieces(held: Held, element: Sequence[int], accept: Accept, link: Link) -> list[Piece]:
    """Give a bulk value by the way to it, or all of them; compressed Pixel Data as its frames.

    Raises
    ------
    NotHere
        No such value.

    Source
    ------
    PS3.18 §10.4.1.1.5 (bulkdata).
    """
    if not element:
        ways = _bulk_ways(held)
        if not ways:
            raise NotHere("the instance has no bulk values")
        return [piece for way in ways for piece in bulk_pieces(held, way, accept, link)]
    if tuple(element) == (_PIXEL_DATA,):
        if held.transfer_syntax_uid not in UNCOMPRESSED:
            return frame_pieces(held, (), accept, link)
        if held.transfer_syntax_uid in (EXPLICIT_LE, IMPLICIT_LE) and accept.takes_octets():
            stored = Stored(held)
            stored.require(())
            where = stored._pixels
            if where is not None and where[0] == _PIXEL_DATA and where[2] + where[3] <= held.size:
                return [file_piece(_bulk_headers(held, element, link), held.path, where[2], where[3])]
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
    if not accept.takes_octets():
        return []
    return [octets_piece(_bulk_headers(held, element, link), value)]


def _bulk_headers(held: Held, element: Sequence[int], link: Link) -> dict[str, str]:
    at = link(resource_of(held, "bulkdata", element=tuple(element)).path)
    return {"Content-Type": str(MediaType(OCTETS, {"transfer-syntax": EXPLICIT_LE})), "Content-Location": at}


def _bulk_ways(held: Held) -> list[tuple[int, ...]]:
    """The ways to all bulk values of an instance, as its metadata names them."""
    ways: list[tuple[int, ...]] = []

    def uri(way: tuple[int, ...]) -> str:
        ways.append(way)
        return "-"

    to_json(_read(held), uri)
    return ways
