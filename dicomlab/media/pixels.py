"""Pixels of images: native ones straight from the file, compressed ones through the fastest decoder installed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import Interrupted, MissingExtra, RemoteProtocolError, ServiceError, UsageError
from dicomlab.media.planes import Image
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE
from dicomlab.part10.walk import Octets

RLE = "1.2.840.10008.1.2.5"
FASTEST: dict[str, tuple[str, ...]] = {
    RLE: ("pylibjpeg", "pydicom"),
    **dict.fromkeys(("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), ("gdcm", "pylibjpeg")),
    **dict.fromkeys(("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"), ("pyjpegls", "gdcm", "pylibjpeg")),
    **dict.fromkeys(("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"), ("gdcm", "pylibjpeg", "pillow")),
    **dict.fromkeys(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"), ("gdcm", "pylibjpeg", "pillow")),
}
"""pydicom's decoding plugins for each transfer syntax, the fastest first, as measured (`bench/`)."""

_ITEM = Struct("<HHL")
_HEAD_OCTETS = 1 << 16
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Coded:
    """The compressed pixels of one file, ready to be decoded here or in another process."""

    octets: bytes
    transfer_syntax_uid: str
    options: dict[str, Any]
    name: str


def stored_type(image: Image) -> np.dtype[Any]:
    """The type of the stored values of an image.

    Raises
    ------
    RemoteProtocolError
        Bits Allocated is none of 1, 8, 16, 32 and 64.
    """
    if image.keyword != "PixelData":
        return np.dtype("<f4" if image.keyword == "FloatPixelData" else "<f8")
    bits = image.value("BitsAllocated", 16)
    if bits not in (1, 8, 16, 32, 64):
        raise RemoteProtocolError(f"{bits} bits allocated", section="PS3.3 §C.7.6.3.1")
    order = ">" if image.transfer_syntax_uid == EXPLICIT_BE else "<"
    return np.dtype(f"{order}{'i' if image.value('PixelRepresentation') == 1 else 'u'}{max(1, bits // 8)}")


def frame_octets(image: Image) -> int:
    """Octets of one native frame (of several single bits: of all frames together, which may share octets)."""
    rows, columns = image.value("Rows"), image.value("Columns")
    values = int(rows * columns * image.value("SamplesPerPixel", 1))
    if image.value("BitsAllocated") == 1:
        return (values * int(image.value("NumberOfFrames", 1)) + 7) // 8
    return values * int(stored_type(image).itemsize)


def check_length(image: Image, name: str) -> None:
    """See whether the native pixels that the header announces are all there.

    Raises
    ------
    RemoteProtocolError
        They aren't.
    """
    frames = 1 if image.value("BitsAllocated") == 1 else image.value("NumberOfFrames", 1)
    if (wanted := frame_octets(image) * frames) > image.length:
        raise RemoteProtocolError(
            f"{name}: the header announces {wanted} octets of pixels, {image.length} are there",
            section="PS3.3 §C.7.6.3",
        )


class NativeReader:
    """Reads native frames, one after the other, into an array of its own that the next frame overwrites.

    That array is small enough to stay in the processor's cache, where the frame is then masked, converted and
    rescaled on its way into the volume.
    """

    def __init__(self) -> None:
        self._raw: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def from_file(self, descriptor: int, at: int, image: Image, frame: int) -> NDArray[Any]:
        """Read one frame from an open file; `at` is where the pixels of the image begin in it.

        Raises
        ------
        OSError
            The file can't be read.
        ValueError
            It has become shorter.
        """
        octets = frame_octets(image)
        if len(self._raw) != octets:
            self._raw = np.empty(octets, dtype=np.uint8)
        first = 0 if image.value("BitsAllocated") == 1 else frame * octets
        done = 0
        view = memoryview(self._raw)  # type: ignore[arg-type]  # numpy's stubs lack the buffer protocol of 3.12
        while done < octets:
            got = os.preadv(descriptor, [view[done:]], at + first + done)
            if not got:
                raise ValueError(f"{octets - done} octets of pixels are gone")
            done += got
        return shaped(self._raw, image, frame)

    def from_octets(self, octets: Octets, image: Image, frame: int) -> NDArray[Any]:
        """Take one frame from a data set in memory."""
        size = frame_octets(image)
        start = image.offset + (0 if image.value("BitsAllocated") == 1 else frame * size)
        self._raw = np.frombuffer(octets, dtype=np.uint8, count=size, offset=start).copy()
        return shaped(self._raw, image, frame)


def shaped(raw: NDArray[np.uint8], image: Image, frame: int) -> NDArray[Any]:
    """Octets as the stored values of one frame, (rows, columns) or (rows, columns, samples); unused bits are cleared.

    Luminance and chrominance become RGB, as decoders give it of compressed images. `raw` may be changed.
    """
    rows, columns, samples = image.value("Rows"), image.value("Columns"), image.value("SamplesPerPixel", 1)
    if image.value("BitsAllocated") == 1:
        first = frame * rows * columns
        bits = np.unpackbits(raw[first // 8 : (first + rows * columns + 7) // 8], bitorder="little")
        return bits[first % 8 : first % 8 + rows * columns].reshape(rows, columns)
    values = raw.view(stored_type(image))
    if image.keyword == "PixelData":
        values = without_unused_bits(values, image)
    if samples == 1:
        return values.reshape(rows, columns)
    if image.value("PlanarConfiguration") == 1:
        values = np.moveaxis(values.reshape(samples, rows, columns), 0, -1)
    else:
        values = values.reshape(rows, columns, samples)
    if image.value("PhotometricInterpretation") == "YBR_FULL" and samples == 3 and values.dtype == np.uint8:
        from pydicom.pixels.processing import convert_color_space

        return convert_color_space(values, "YBR_FULL", "RGB")
    return values


def without_unused_bits(values: NDArray[Any], image: Image) -> NDArray[Any]:
    """Clear the bits that hold no pixel (old overlays, rubbish), and carry the sign; in place.

    Source
    ------
    PS3.5 §8.1.1 (pixel cells).
    """
    allocated = image.value("BitsAllocated", 16)
    stored = image.value("BitsStored", allocated)
    high = image.value("HighBit", stored - 1)
    if not 0 < stored < allocated or not stored - 1 <= high < allocated:
        return values
    if image.value("PixelRepresentation") == 1:
        np.left_shift(values, allocated - 1 - high, out=values)
        np.right_shift(values, allocated - stored, out=values)
        return values
    if high >= stored:
        np.right_shift(values, high - stored + 1, out=values)
    np.bitwise_and(values, (1 << stored) - 1, out=values)
    return values


def coded(octets: Octets, image: Image, name: str) -> Coded:
    """The compressed pixels of an image.

    Parameters
    ----------
    octets : bytes
        The data set.
    image : Image
    name : str
        Of the file, for messages.
    """
    pixels = bytes(octets[image.offset : image.offset + image.length])
    samples = image.value("SamplesPerPixel", 1)
    allocated = image.value("BitsAllocated", 16)
    options = {
        "rows": image.value("Rows"),
        "columns": image.value("Columns"),
        "samples_per_pixel": samples,
        "bits_allocated": allocated,
        "bits_stored": image.value("BitsStored", allocated),
        "number_of_frames": image.value("NumberOfFrames", 1),
        "photometric_interpretation": image.value("PhotometricInterpretation", "MONOCHROME2"),
        "pixel_representation": image.value("PixelRepresentation", 0),
        "pixel_keyword": image.keyword,
    }
    if samples > 1:
        options["planar_configuration"] = image.value("PlanarConfiguration", 0)
    if image.extended_offsets is not None:
        options["extended_offsets"] = image.extended_offsets
    return Coded(pixels, image.transfer_syntax_uid, options, name)


def decode(given: Coded, frames: Sequence[int]) -> list[NDArray[Any]]:
    """Decode some frames: stored values, (rows, columns) or, in RGB, (rows, columns, samples).

    Runs in any process: what it takes and gives can be pickled.

    Raises
    ------
    MissingExtra
        No decoder for this transfer syntax is installed.
    RemoteProtocolError
        None of those that are can decode it; or its codestream is of another size than its header.
    """
    return [array for array, _ in _decoded(given, frames, as_rgb=True)]


def decode_as_stored(given: Coded, frame: int) -> tuple[bytes, dict[str, Any]]:
    """Decode one frame to the octets that a native image would hold, in the colour space of the codestream.

    Returns
    -------
    (octets, properties)
        Colour by pixel. Properties are those of the Image Pixel Module as they now are.

    Raises
    ------
    MissingExtra, RemoteProtocolError
        As for :func:`decode`.
    """
    array, properties = _decoded(given, [frame], as_rgb=False)[0]
    if properties["samples_per_pixel"] > 1:
        properties["planar_configuration"] = 0
        if properties["photometric_interpretation"] == "YBR_FULL_422":
            properties["photometric_interpretation"] = "YBR_FULL"  # decoders give chrominance for every pixel
    return array.tobytes(), properties


def decoders(transfer_syntax_uid: str) -> list[str]:
    """The installed decoders of a transfer syntax, the fastest first; none where nothing decodes it."""
    from pydicom.pixels.decoders.base import get_decoder

    try:
        available = get_decoder(transfer_syntax_uid).available_plugins
    except NotImplementedError:
        return []
    order = [name for name in FASTEST.get(transfer_syntax_uid, ()) if name in available]
    order += [name for name in available if name not in order]
    # there is one way to decode RLE: where one finds it broken, the next would only be less exact
    return order[:1] if transfer_syntax_uid == RLE else order


def _decoded(given: Coded, frames: Sequence[int], *, as_rgb: bool) -> list[tuple[Any, dict[str, Any]]]:
    from pydicom.pixels.decoders.base import get_decoder

    syntax = given.transfer_syntax_uid
    order = decoders(syntax)
    if not order:
        text = f'{given.name}: no decoder for {syntax} is installed: pip install "dicomlab[codecs]"'
        raise MissingExtra(text)
    check_codestreams(given)
    options = given.options | {"as_rgb": as_rgb}
    failures = []
    for plugin in order:
        call = get_decoder(syntax).iter_array
        try:
            return list(call(given.octets, indices=list(frames), decoding_plugin=plugin, **options))
        except Exception as error:  # noqa: BLE001  (a decoder's own, whatever it is: the next one may do better)
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            failures.append(lines[-1][:160] if lines else type(error).__name__)
    raise RemoteProtocolError(
        f"{given.name}: its pixels can't be decoded ({'; '.join(failures)})", section="PS3.5 §8.2"
    )


def check_codestreams(given: Coded) -> None:
    """See whether the codestreams are of the size that the header announces: decoders make room for what they say.

    Raises
    ------
    RemoteProtocolError
        One of them isn't.
    """
    wanted = given.options["rows"], given.options["columns"]
    for fragment in _fragments(given.octets):
        size = announced_size(fragment)
        if size is not None and size != wanted:
            raise RemoteProtocolError(
                f"{given.name}: a codestream of {size[0]} rows and {size[1]} columns in an image of"
                f" {wanted[0]} and {wanted[1]}",
                section="PS3.5 §8.2",
            )


def _fragments(octets: bytes) -> Iterator[memoryview]:
    """The start of each fragment."""
    view = memoryview(octets)
    at = 0
    while at + 8 <= len(view):
        group, element, length = _ITEM.unpack_from(view, at)
        if (group, element) != (0xFFFE, 0xE000) or length == 0xFFFFFFFF:
            return
        yield view[at + 8 : at + 8 + min(length, _HEAD_OCTETS)]
        at += 8 + length


def announced_size(codestream: Octets) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 codestream by its own header; None if that says nothing.

    Source
    ------
    ISO/IEC 10918-1 §B.2.2 (frame header), ISO/IEC 15444-1 §A.5.1 (SIZ).
    """
    octets = bytes(codestream[:_HEAD_OCTETS])
    siz = octets.find(b"\xff\x4f\xff\x51") if octets[:2] in (b"\xff\x4f", b"\0\0") else -1
    if siz >= 0 and siz + 24 <= len(octets):
        right, lower, left, upper = (int.from_bytes(octets[siz + n : siz + n + 4], "big") for n in (8, 12, 16, 20))
        return lower - upper, right - left
    if octets[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(octets):
        if octets[at] != 0xFF:
            return None
        marker = octets[at + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(octets[at + 5 : at + 7], "big"), int.from_bytes(octets[at + 7 : at + 9], "big")
        if marker == 0xFF:
            at += 1
        elif marker == 0xDA:
            return None
        else:
            at += 2 + int.from_bytes(octets[at + 2 : at + 4], "big")
    return None


def is_plain(image: Image, path: Path | None) -> bool:
    """Whether native pixels lie in a file of their own, where they can be read without what stands before them."""
    return path is not None and not image.encapsulated and image.transfer_syntax_uid != DEFLATED_LE


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Say what can't be read in the library's words.

    Raises
    ------
    Interrupted
        The file is gone or broken, or has changed since it was looked at.
    """
    try:
        yield
    except ServiceError as error:
        raise Interrupted(str(error), endpoint=name) from error
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise Interrupted(f"can't be read: {getattr(error, 'strerror', None) or error}", endpoint=name) from error
