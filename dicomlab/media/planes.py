"""From the header of an image to its planes: plain images, enhanced multi-frame images, dose grids. No I/O.

Source
------
PS3.3 §C.7.6.2 (Image Plane), §C.7.6.16 (Multi-frame Functional Groups), §C.8.8.3 (RT Dose), §C.11.1 (Modality LUT).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.cells import Cells, plan_of, raws_of
from dicomlab.media.geometry import SAME_MM, Plane
from dicomlab.media.header import DatasetReader, reader_of, row_of
from dicomlab.media.walker import Read, Walked, grammar_of, walk
from dicomlab.model.columns import Column, column, columns, read
from dicomlab.part10.meta import EXPLICIT_BE, FileMeta
from dicomlab.part10.transcode import UNCOMPRESSED
from dicomlab.part10.walk import Octets

HEADER: tuple[Column, ...] = columns(
    """SOPClassUID SOPInstanceUID SeriesInstanceUID Modality SeriesDescription FrameOfReferenceUID InstanceNumber
    NumberOfFrames Rows Columns SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored
    HighBit PixelRepresentation ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness
    RescaleSlope RescaleIntercept RescaleType Units DoseGridScaling DoseUnits GridFrameOffsetVector ImageType EchoTime
    DiffusionBValue DiffusionGradientOrientation TemporalPositionIdentifier TriggerTime AcquisitionNumber
    AcquisitionTime ContentTime ModalityLUTSequence.ModalityLUTType""".split()
)
"""What is read of each image."""
PIXEL_DATA = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
MAX_FRAMES = 1 << 20
_FAR_MM = 1e9
"""Beyond which a number is no place, direction or distance."""
_AXIAL = 1e-3
"""How far the z of a normal may be from 1 where planes are axial."""

_LUT, _LUT_DESCRIPTOR, _LUT_DATA = 0x00283000, 0x00283002, 0x00283006
_SHARED, _PER_FRAME, _OFFSETS, _LENGTHS = 0x52009229, 0x52009230, 0x7FE00001, 0x7FE00002
_GROUPS: dict[int, tuple[str, ...]] = {
    0x00209113: ("ImagePositionPatient",),
    0x00209116: ("ImageOrientationPatient",),
    0x00289110: ("PixelSpacing", "SliceThickness"),
    0x00289145: ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    0x00209111: ("StackID", "TemporalPositionIndex"),
    0x00189226: ("FrameType",),  # MR Image Frame Type
    0x00189329: ("FrameType",),  # CT Image Frame Type
    0x00189751: ("FrameType",),  # PET Frame Type
    0x00189114: ("EffectiveEchoTime",),
    0x00189117: ("DiffusionBValue",),
    0x00189118: ("NominalCardiacTriggerDelayTime",),
}
"""Functional group macros, by the tag of their sequence, and what is read of each."""
_MACROS = {tag: columns(names) for tag, names in _GROUPS.items()}
_MULTI_FRAME_NAMES = {
    "FrameType": "ImageType", "EffectiveEchoTime": "EchoTime", "NominalCardiacTriggerDelayTime": "TriggerTime",
}  # fmt: skip

Values = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ModalityLUT:
    """A table from stored values to those of the modality.

    Source
    ------
    PS3.3 §C.11.1.1 (Modality LUT Module).
    """

    first: int
    """The stored value that the first entry is for; what lies below takes it too, what lies beyond takes the last."""
    entries: NDArray[np.uint16]

    def __call__(self, stored: NDArray[Any]) -> NDArray[np.uint16]:
        """The values of the modality."""
        places = np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[places]


@dataclass(frozen=True, slots=True)
class Image:
    """One image file: what its header says, its planes, and where its pixels lie."""

    values: Mapping[str, Any]
    """Cells of :data:`HEADER`; None where absent or unreadable."""
    transfer_syntax_uid: str
    planes: tuple[Plane, ...]
    keyword: str
    """Of the pixel data: ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``."""
    offset: int
    """Octets from the start of the data set (of the inflated one, where it is deflated) to the value."""
    length: int
    encapsulated: bool
    extended_offsets: tuple[bytes, bytes] | None = None
    """Extended Offset Table and its lengths, where they are."""
    lut: ModalityLUT | None = None
    """What gives the values of the modality where that is no slope and intercept."""

    def value(self, name: str, default: Any = None) -> Any:
        """One cell, or what stands for an absent one."""
        found = self.values.get(name)
        return default if found is None else found


def read_image(octets: Octets, meta: FileMeta, source: int = 0) -> Image | None:
    """Read what an image's volume needs to know; None for an instance that is no image.

    Parameters
    ----------
    octets : bytes
        The whole data set, without File Meta Information; only headers are looked at.
    meta : FileMeta
    source : int, optional
        The number that its planes get.

    Raises
    ------
    RemoteProtocolError
        The data set is broken, or says of its pixels what can't be.

    Source
    ------
    PS3.3 §C.7.6.3 (Image Pixel Module), §C.7.6.16.
    """
    tags = {one.tag for one in HEADER} | {*PIXEL_DATA, _SHARED, _PER_FRAME, _OFFSETS, _LENGTHS}
    reader = reader_of(octets, meta, tags)
    keyword, element = next(
        ((name, found) for tag, name in PIXEL_DATA.items() if (found := reader.element(tag)) is not None), ("", None)
    )
    if element is None:
        return None
    values = cells(row_of(reader, meta, HEADER))
    frames = 1 if values.get("NumberOfFrames") is None else values["NumberOfFrames"]
    rows, columns_ = values.get("Rows"), values.get("Columns")
    if not rows or not columns_ or not 0 < frames <= min(MAX_FRAMES, 8 * element.length):
        raise RemoteProtocolError(
            f"an image of {rows} rows, {columns_} columns and {frames} frames", section="PS3.3 §C.7.6.3"
        )
    undefined = element.length >= 8 and bytes(reader.octets[element.value - 4 : element.value]) == b"\xff" * 4
    return Image(
        values, meta.transfer_syntax_uid, tuple(_planes(reader, values, source, frames)), keyword, element.value,
        element.length, undefined, _table(reader), _modality_lut(reader, values, meta.transfer_syntax_uid),
    )  # fmt: skip


def _modality_lut(reader: DatasetReader, values: Values, syntax: str) -> ModalityLUT | None:
    """The Modality LUT; None where there is none.

    Raises
    ------
    RemoteProtocolError
        It is not what it says.
    """
    element = reader.element(_LUT)
    item = next((one for _, one in reader.items(element, {_LUT_DESCRIPTOR, _LUT_DATA})), None) if element else None
    if item is None:
        return None
    big = syntax == EXPLICIT_BE
    described, data = item.element(_LUT_DESCRIPTOR), item.element(_LUT_DATA)
    if described is None or data is None or described.length != 6:
        raise RemoteProtocolError("a Modality LUT without descriptor or data", section="PS3.3 §C.11.1.1")
    signed = values.get("PixelRepresentation") == 1
    units = Struct(">HhH" if big and signed else ">HHH" if big else "<HhH" if signed else "<HHH")
    count, first, bits = units.unpack(item.octets[described.value : described.end])
    count = count or 1 << 16
    width = 1 if bits <= 8 and data.length < 2 * count else 2
    if width * count > data.length:
        raise RemoteProtocolError(
            f"a Modality LUT of {count} entries in {data.length} octets", section="PS3.3 §C.11.1.1"
        )
    raw = bytes(item.octets[data.value : data.value + width * count])
    entries = np.frombuffer(raw, dtype=f"{'>' if big else '<'}u{width}").astype(np.uint16)
    return ModalityLUT(first, entries)


def _table(reader: DatasetReader) -> tuple[bytes, bytes] | None:
    offsets, lengths = reader.element(_OFFSETS), reader.element(_LENGTHS)
    if offsets is None or lengths is None or max(offsets.length, lengths.length) > 8 * MAX_FRAMES:
        return None
    return tuple(bytes(reader.octets[one.value : one.end]) for one in (offsets, lengths))  # type: ignore[return-value]


_PLAN = plan_of(HEADER)
_CELLS = Cells(HEADER, _PLAN)
_LUT_SLOT = _PLAN.tags.index(_LUT)


def walk_header(read: Read, size: int, head: bytes, meta: FileMeta) -> Walked:
    """Walk the data set of one whole file, for :func:`slices`.

    Parameters
    ----------
    read : callable
        Gives octets from an offset.
    size : int
        Octets of the file.
    head : bytes
        The first of them.
    meta : FileMeta

    Raises
    ------
    RemoteProtocolError
        The data set is broken.

    Source
    ------
    PS3.5 §7.1.
    """
    found = Walked(_PLAN.blank.copy())
    walk(found, read, (meta.length, size), grammar_of(meta.transfer_syntax_uid), _PLAN, head=head)
    return found


def slices(walked: Sequence[Walked], metas: Sequence[FileMeta], numbers: Sequence[int]) -> list[Image | None]:
    """Make images of many headers at once: each different value is decoded once.

    Parameters
    ----------
    walked : sequence of Walked
        By :func:`walk_header`.
    metas : sequence of FileMeta
    numbers : sequence of int
        The sources that their planes get.

    Returns
    -------
    list of Image or None
        None for whatever is no plain slice (several frames, colour, no position of its own, no pixels, a table instead
        of slope and intercept): that takes :func:`read_image`.

    Source
    ------
    PS3.3 §C.7.6.2, §C.7.6.3.
    """
    grammars = [grammar_of(meta.transfer_syntax_uid) for meta in metas]
    texts, *_ = _CELLS.texts(list(zip(grammars, walked, strict=True)))
    decoded = []
    for one, column_texts in zip(HEADER, texts, strict=True):
        known = {text: read(one, raws_of(one, text))[0] for text in set(column_texts)}
        decoded.append([known[text] for text in column_texts])
    names = [one.name for one in HEADER]
    images: list[Image | None] = []
    for found, meta, number, *cells_ in zip(walked, metas, numbers, *decoded, strict=True):
        values = {name: cell for name, cell in zip(names, cells_, strict=True) if cell is not None}
        plain = (
            found.pixel_offset and values.get("NumberOfFrames", 1) == 1 and values.get("SamplesPerPixel", 1) == 1
            and values.get("BitsAllocated") in (8, 16) and values.get("Rows") and values.get("Columns")
            and "ImagePositionPatient" in values and "GridFrameOffsetVector" not in values
            and found.values[_LUT_SLOT] is None
        )  # fmt: skip
        images.append(
            Image(
                values, meta.transfer_syntax_uid, (_plane(values, number, 0),), "PixelData",
                found.pixel_offset - meta.length, found.pixel_length, meta.transfer_syntax_uid not in UNCOMPRESSED,
            )
            if plain
            else None
        )  # fmt: skip
    return images


def cells(row: Mapping[str, Sequence[object]]) -> Values:
    """Typed cells of raw values, None where one can't be read.

    Source
    ------
    PS3.5 §6.2 (value representations).
    """
    return {name: read(column(name), raws)[0] for name, raws in row.items()}


def _planes(reader: DatasetReader, values: Values, source: int, frames: int) -> Iterator[Plane]:
    if reader.element(_PER_FRAME) is not None:
        yield from _functional(reader, values, source, frames)
        return
    offsets = values.get("GridFrameOffsetVector")
    for frame in range(frames):
        if frame and not (offsets and len(offsets) == frames):
            own = values | {"ImagePositionPatient": None}  # one position can't be that of several frames
        elif offsets and len(offsets) == frames:
            own = values | {"ImagePositionPatient": _shifted(values, offsets, frame)}
        elif frames > 1:
            own = values | {"ImagePositionPatient": None}
        else:
            own = values
        yield _plane(own, source, frame)


def _shifted(values: Values, offsets: Sequence[Any], frame: int) -> tuple[float, ...] | None:
    """Where a frame of a dose grid lies: so far along the normal or, in axial planes, at that z (PS3.3 §C.8.8.3.2)."""
    position, orientation = _floats(values, "ImagePositionPatient", 3), _floats(values, "ImageOrientationPatient", 6)
    if position is None or orientation is None or offsets[frame] is None or offsets[0] is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    if offsets[0] and abs(abs(normal[2]) - 1) < _AXIAL and abs(offsets[0] - position[2]) < SAME_MM:
        return (position[0], position[1], float(offsets[frame]))
    return tuple((np.array(position) + normal * (offsets[frame] - offsets[0])).tolist())


def _functional(reader: DatasetReader, values: Values, source: int, frames: int) -> Iterator[Plane]:
    """The planes of an enhanced image: shared functional groups, overruled by those of each frame."""
    shared: Values = {}
    element = reader.element(_SHARED)
    if element is not None:
        for _, item in reader.items(element, set(_MACROS)):
            shared |= _macros(item)
    per_frame = reader.element(_PER_FRAME)
    assert per_frame is not None
    count = 0
    alone = values | dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient"))
    for _, item in reader.items(per_frame, set(_MACROS)):
        if count == frames:
            break
        yield _plane(alone | shared | _macros(item), source, count)
        count += 1
    for frame in range(count, frames):
        yield _plane(alone | shared, source, frame)


def _macros(groups: DatasetReader) -> Values:
    found: Values = {}
    for tag, wanted in _MACROS.items():
        element = groups.element(tag)
        if element is None:
            continue
        for _, item in groups.items(element, {one.tag for one in wanted}):
            for one in wanted:
                if raws := item.values(one, one.path):
                    found[_MULTI_FRAME_NAMES.get(one.name, one.name)] = read(one, raws)[0]
            break
    return found


def _plane(values: Values, source: int, frame: int) -> Plane:
    scaling = values.get("DoseGridScaling") if values.get("Modality") == "RTDOSE" else None
    traits = {
        name: values.get(name)
        for name in (
            "ImageType", "StackID", "EchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TriggerTime",
            "AcquisitionNumber", "AcquisitionTime", "ContentTime",
        )
    }  # fmt: skip
    index = values.get("TemporalPositionIndex")
    traits["TemporalPositionIndex"] = values.get("TemporalPositionIdentifier") if index is None else index
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    return Plane(
        source,
        frame,
        (values["Rows"], values["Columns"]),
        _floats(values, "ImagePositionPatient", 3),
        _floats(values, "ImageOrientationPatient", 6),
        _spacing(values),
        values.get("SliceThickness"),
        values.get("FrameOfReferenceUID") or "",
        (values.get("SamplesPerPixel") or 1, values.get("PhotometricInterpretation") or ""),
        scaling if scaling is not None else 1.0 if slope is None else slope,
        0.0 if intercept is None or scaling is not None else intercept,
        values.get("InstanceNumber") or 0,
        traits,
    )


def _floats(values: Values, name: str, count: int) -> tuple[float, ...] | None:
    found = values.get(name)
    if not isinstance(found, tuple) or len(found) != count or any(one is None or abs(one) > _FAR_MM for one in found):
        return None
    return tuple(float(one) for one in found)


def _spacing(values: Values) -> tuple[float, ...] | None:
    found = _floats(values, "PixelSpacing", 2)
    return found if found and min(found) > 0 else None
