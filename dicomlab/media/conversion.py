"""An instance as another file: rewritten in Explicit VR Little Endian, or decompressed; all else stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from struct import Struct
from typing import Any

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.pixels import coded, decode_as_stored
from dicomlab.media.planes import read_image
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_LE, FileMeta
from dicomlab.part10.transcode import UNCOMPRESSED, transcode
from dicomlab.part10.walk import Octets, elements, inflated

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sxxL")
_PIXEL_DATA, _OFFSETS, _LENGTHS = 0x7FE00010, 0x7FE00001, 0x7FE00002
_MAX_LENGTH = 0xFFFFFFFE
_PROPERTIES = {
    0x00280004: ("photometric_interpretation", b"CS"),
    0x00280006: ("planar_configuration", b"US"),
}
"""What decoding may change, by tag."""
_SAME = {
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
}
"""What it must not."""


def rewritten(dataset: Octets, meta: FileMeta) -> Iterator[Octets]:
    """The same instance in Explicit VR Little Endian: its data set in pieces.

    Parameters
    ----------
    dataset : bytes
        The data set, without File Meta Information, uncompressed or deflated.
    meta : FileMeta

    Raises
    ------
    RemoteProtocolError
        The data set is broken.
    """
    syntax = meta.transfer_syntax_uid
    if syntax == DEFLATED_LE:
        dataset, syntax = inflated(dataset), EXPLICIT_LE
    assert syntax in UNCOMPRESSED
    yield dataset if syntax == EXPLICIT_LE else transcode(dataset, syntax, EXPLICIT_LE)


def decompressed(dataset: Octets, meta: FileMeta, name: str) -> Iterator[Octets]:
    """The same instance with native pixels: its data set in pieces, one frame at a time.

    Colour stays in the colour space that the codestream has; no other value changes but what says so.

    Raises
    ------
    MissingExtra, RemoteProtocolError
        No decoder; pixels that can't be decoded, or are longer than a native image can be.

    Source
    ------
    PS3.5 §A.4 (encapsulated), §8.1.1 (native), PS3.3 §C.7.6.3.1.2 (Photometric Interpretation).
    """
    image = read_image(dataset, replace(meta, transfer_syntax_uid=EXPLICIT_LE))
    if image is None or not image.encapsulated or image.keyword != "PixelData":
        yield from rewritten(dataset, replace(meta, transfer_syntax_uid=EXPLICIT_LE))  # nothing in it is compressed
        return
    frames = int(image.value("NumberOfFrames", 1))
    given = replace(coded(dataset, image, name), transfer_syntax_uid=meta.transfer_syntax_uid)
    first, properties = decode_as_stored(given, 0)
    for key, keyword in _SAME.items():
        if properties[key] != image.value(keyword, 1):
            raise RemoteProtocolError(
                f"{name}: decoding gives {keyword} {properties[key]}, not {image.value(keyword)}", section="PS3.5 §8.2"
            )
    length = len(first) * frames
    if length > _MAX_LENGTH:
        raise RemoteProtocolError(
            f"{name}: {length} octets of native pixels, more than a length can say", section="PS3.5 §7.1"
        )
    yield from _before(dataset, properties)
    vr = b"OB" if properties["bits_allocated"] <= 8 else b"OW"
    yield _LONG.pack(_PIXEL_DATA >> 16, _PIXEL_DATA & 0xFFFF, vr, length + length % 2)
    yield first
    for frame in range(1, frames):
        octets, _ = decode_as_stored(given, frame)
        if len(octets) != len(first):
            raise RemoteProtocolError(f"{name}: frame {frame} is of another size", section="PS3.5 §8.2")
        yield octets
    if length % 2:
        yield b"\0"
    for element in elements(dataset, EXPLICIT_LE):
        if element.tag > _PIXEL_DATA:
            yield dataset[element.offset : element.end]


def _before(dataset: Octets, properties: dict[str, Any]) -> Iterator[Octets]:
    """Every element before the pixels, with what decoding changed."""
    for element in elements(dataset, EXPLICIT_LE):
        if element.tag >= _PIXEL_DATA:
            return
        if element.tag in (_OFFSETS, _LENGTHS):
            continue
        name, vr = _PROPERTIES.get(element.tag, ("", b""))
        if name in properties:
            value = properties[name]
            octets = value.to_bytes(2, "little") if vr == b"US" else value.encode("ascii")
            octets += b" " * (len(octets) % 2)
            yield _SHORT.pack(element.tag >> 16, element.tag & 0xFFFF, vr, len(octets)) + octets
        else:
            yield dataset[element.offset : element.end]
