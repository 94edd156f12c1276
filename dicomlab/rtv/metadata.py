"""DICOM metadata as it travels: RTV Meta Information, dynamic part, static part. No I/O.

One Grain is one data set in Explicit VR Little Endian: preamble, ``DICM``, group 0002, then (0006,0001), then all
groups from 0008. The writer packs octets by hand; the reader stands on the walk over encoded data sets, and takes
nothing but a whole one.

Source
------
PS3.22 §6.2.2, §7.1, Table 7.1-1; PS3.3 §C.7.6.27 (Current Frame Functional Groups).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.part10.walk import Element, elements
from dicomlab.rtv.clock import decode_ptp, encode_ptp

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

MAX_GRAIN_OCTETS = 1 << 20
VERSION = b"\x00\x01"
_PREFIX = b"\0" * 128 + b"DICM"
_SECTION = "PS3.22 §7.1"

VIDEO_ENDOSCOPIC = "1.2.840.10008.10.1"
VIDEO_PHOTOGRAPHIC = "1.2.840.10008.10.2"
AUDIO_WAVEFORM = "1.2.840.10008.10.3"
RENDITION_SELECTION = "1.2.840.10008.10.4"
SOP_CLASSES = (VIDEO_ENDOSCOPIC, VIDEO_PHOTOGRAPHIC, AUDIO_WAVEFORM, RENDITION_SELECTION)
"""PS3.22 Table 7.2-1."""

CURRENT_FRAME = 0x00060001
"""Current Frame Functional Groups Sequence; pydicom 3.0.2 does not know it, so it goes by its tag everywhere."""

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHL")
_ITEM = Struct("<HHL")


@dataclass(frozen=True, slots=True)
class RtvMeta:
    """RTV Meta Information (group 0002).

    Attributes
    ----------
    sop_class_uid, sop_instance_uid : str
        Of this data set.
    source, flow : UUID
        Of the metadata, not of the bulk data.
    transfer_syntax_uid : str
        Of the bulk data flow that it describes.
    sampling_rate_hz : int, optional
        The RTP clock of that flow; where there is a dynamic part.
    frame_duration_ms : float, optional
    """

    sop_class_uid: str
    sop_instance_uid: str
    source: UUID
    flow: UUID
    transfer_syntax_uid: str
    sampling_rate_hz: int | None = None
    frame_duration_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Grain:
    """One metadata Grain; ``dynamic`` and ``static`` are None where it has no such part.

    ``dynamic`` is the one item of (0006,0001), ``static`` holds all groups from 0008; ``dynamic_octets`` is (0006,0001)
    as it came.
    """

    meta: RtvMeta
    dynamic: Dataset | None = None
    static: Dataset | None = None
    dynamic_octets: bytes = b""


# ------------------------------------------------------------------------------------------------------------ writing


def element(tag: int, vr: str, value: bytes) -> bytes:
    """Encode one element in Explicit VR Little Endian; `value` is padded to an even length.

    Raises
    ------
    LocalProtocolError
        The value is too long for its VR.

    Source
    ------
    PS3.5 §7.1.2.
    """
    octets = value + (b" " if vr in _PADDED_WITH_SPACE else b"\0") * (len(value) % 2)
    group, number = tag >> 16, tag & 0xFFFF
    if vr in _LONG_VRS:
        return _LONG.pack(group, number, vr.encode(), 0, len(octets)) + octets
    if len(octets) > 0xFFFF:
        raise LocalProtocolError(f"({group:04X},{number:04X}): {len(octets)} octets of {vr}", section="PS3.5 §7.1.2")
    return _SHORT.pack(group, number, vr.encode(), len(octets)) + octets


_LONG_VRS = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_PADDED_WITH_SPACE = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())


def sequence(tag: int, *items: bytes) -> bytes:
    """Encode a sequence of encoded items, every length defined.

    Source
    ------
    PS3.5 §7.5.
    """
    return element(tag, "SQ", b"".join(_ITEM.pack(0xFFFE, 0xE000, len(item)) + item for item in items))


def encode_meta(meta: RtvMeta) -> bytes:
    """Encode preamble, prefix and RTV Meta Information.

    Raises
    ------
    LocalProtocolError
        A UID that can't be.

    Source
    ------
    PS3.22 §7.1, Table 7.1-1.
    """
    body = b"".join(
        (
            element(0x00020010, "UI", _uid(meta.transfer_syntax_uid)),
            element(0x00020031, "OB", VERSION),
            element(0x00020032, "UI", _uid(meta.sop_class_uid)),
            element(0x00020033, "UI", _uid(meta.sop_instance_uid)),
            element(0x00020035, "OB", meta.source.bytes),
            element(0x00020036, "OB", meta.flow.bytes),
            b"" if meta.sampling_rate_hz is None else element(0x00020037, "UL", _UL.pack(meta.sampling_rate_hz)),
            b"" if meta.frame_duration_ms is None else element(0x00020038, "FD", _FD.pack(meta.frame_duration_ms)),
        )
    )
    return _PREFIX + element(0x00020000, "UL", _UL.pack(len(body))) + body


_UL = Struct("<L")
_FD = Struct("<d")
_US3 = Struct("<H")


def _uid(value: str) -> bytes:
    if not 0 < len(value) <= 64 or not set(value) <= set("0123456789."):
        raise LocalProtocolError(f"{value[:80]!r} is no UID", section="PS3.5 §9.1")
    return value.encode("ascii")


@dataclass(frozen=True, slots=True)
class FrameGroups:
    """What the dynamic part says of one frame.

    Parameters
    ----------
    origin_ns : int
        Frame Origin Timestamp, TAI.
    acquired : str, optional
        Frame Acquisition DateTime and Frame Reference DateTime, DT. None (audio): no Frame Content.
    number : int, optional
        Frame Acquisition Number, 1 to 65535.
    duration_ms : float, optional
        Frame Acquisition Duration.
    includes_subject, includes_information : bool, optional
        Frame Usefulness; None: left out.
    camera : CameraPosition, optional
    """

    origin_ns: int
    acquired: str | None = None
    number: int | None = None
    duration_ms: float | None = None
    includes_subject: bool | None = None
    includes_information: bool | None = None
    camera: CameraPosition | None = None


@dataclass(frozen=True, slots=True)
class CameraPosition:
    """The five attributes of the Camera Position macro."""

    projection: str
    position: tuple[float, float, float]
    look_at: tuple[float, float, float]
    up: tuple[float, float, float]
    field_of_view: tuple[float, float, float, float, float, float]


def encode_dynamic(groups: FrameGroups) -> bytes:
    """Encode (0006,0001) with its one item, every attribute in ascending order.

    Source
    ------
    PS3.3 §C.7.6.27, §C.7.6.16.2.2 (Frame Content), §C.7.6.16.2.27 to 29 (Usefulness, Camera Position, Time of Frame).
    """
    return sequence(CURRENT_FRAME, b"".join(_macros(groups)))


def _macros(groups: FrameGroups) -> Iterator[bytes]:
    if groups.acquired is not None:
        moment = groups.acquired.encode("ascii")
        content = [element(0x00189074, "DT", moment), element(0x00189151, "DT", moment)]
        if groups.duration_ms is not None:
            content.append(element(0x00189220, "FD", _FD.pack(groups.duration_ms)))
        if groups.number is not None:
            content.append(element(0x00209156, "US", _US3.pack(groups.number)))
        yield sequence(0x00209111, b"".join(content))
    if groups.includes_subject is not None or groups.includes_information is not None:
        flags = [
            element(tag, "CS", b"YES" if flag else b"NO")
            for tag, flag in ((0x00340008, groups.includes_subject), (0x0034000C, groups.includes_information))
            if flag is not None
        ]
        yield sequence(0x00340009, b"".join(flags))
    if groups.camera is not None:
        camera = groups.camera
        vectors = ((0x00701603, camera.position), (0x00701604, camera.look_at), (0x00701605, camera.up))
        content = [element(0x00701602, "CS", camera.projection.encode("ascii"))]
        content += [element(tag, "FD", b"".join(map(_FD.pack, v))) for tag, v in vectors]
        content.append(element(0x00701606, "FD", b"".join(map(_FD.pack, camera.field_of_view))))
        yield sequence(0x0034000B, b"".join(content))
    yield sequence(0x0034000D, element(0x00340007, "OB", encode_ptp(groups.origin_ns)))


def encode_dataset(dataset: Dataset) -> bytes:
    """Encode a data set (the static part) in Explicit VR Little Endian, every length defined.

    Raises
    ------
    LocalProtocolError
        It holds what can't be encoded, or a group below 0008.

    Source
    ------
    PS3.22 §6.2.2 (static part), §7.1; PS3.5 §7.
    """
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    if any(tag < 0x00080000 for tag in dataset.keys()):  # noqa: SIM118  (iterating would decode every element)
        raise LocalProtocolError("a static part with a group below 0008", section=_SECTION)
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, False
    try:
        write_dataset(target, dataset)
    except (TypeError, ValueError, AttributeError, OverflowError, KeyError, NotImplementedError) as error:
        raise LocalProtocolError(f"a static part that can't be encoded: {error}", section=_SECTION) from error
    return target.getvalue()


# ------------------------------------------------------------------------------------------------------------ reading


def decode_grain(octets: bytes) -> Grain:
    """Decode one metadata Grain, whole or not at all.

    The preamble is not looked at. The group length must be true, the data set must end where the octets end, and its
    parts must stand in their order. Unknown SOP Classes and transfer syntaxes are taken; a version without bit 0 is
    not.

    Raises
    ------
    RemoteProtocolError
        Anything else, or more than 1 MiB.

    Source
    ------
    PS3.22 §6.2.2, §7.1, Table 7.1-1.
    """
    if len(octets) > MAX_GRAIN_OCTETS:
        raise _broken(f"a Grain of {len(octets)} octets", 0)
    if octets[128:132] != b"DICM":
        raise _broken("no DICM after the preamble", 128)
    body = memoryview(octets)[132:]
    meta: dict[int, bytes] = {}
    current: Element | None = None
    static_at = len(body)
    end_of_meta = last = 0
    for one in elements(body, EXPLICIT_LE):
        if one.tag <= last and last:
            raise _broken(f"({one.tag >> 16:04X},{one.tag & 0xFFFF:04X}) is out of order", 132 + one.offset)
        last, group = one.tag, one.tag >> 16
        if group == 0x0002:
            meta[one.tag], end_of_meta = bytes(body[one.value : one.end]), one.end
        elif one.tag == CURRENT_FRAME:
            current = one
        elif group >= 0x0008:
            static_at = min(static_at, one.offset)
        else:
            raise _broken(f"({group:04X},{one.tag & 0xFFFF:04X}) stands where it can't", 132 + one.offset)
    first = meta.get(0x00020000, b"")
    if len(first) != 4 or _UL.unpack(first)[0] != end_of_meta - 12:
        raise _broken("the length of group 0002 is not true", 132)
    dynamic_octets = bytes(body[current.offset : current.end]) if current is not None else b""
    dynamic = _current(dynamic_octets) if current is not None else None
    static = _dataset(bytes(body[static_at:])) if static_at < len(body) else None
    return Grain(_meta(meta), dynamic, static, dynamic_octets)


def _meta(found: dict[int, bytes]) -> RtvMeta:
    version = found.get(0x00020031, b"")
    if len(version) != 2 or not version[1] & 1:
        raise _broken(f"RTV Meta Information of version {version.hex(' ')}", 132)
    duration = found.get(0x00020038, b"")
    rate = found.get(0x00020037, b"")
    return RtvMeta(
        sop_class_uid=_uid_of(found, 0x00020032),
        sop_instance_uid=_uid_of(found, 0x00020033),
        source=_uuid_of(found, 0x00020035),
        flow=_uuid_of(found, 0x00020036),
        transfer_syntax_uid=_uid_of(found, 0x00020010),
        sampling_rate_hz=int.from_bytes(rate, "little") if len(rate) == 4 else None,
        frame_duration_ms=_FD.unpack(duration)[0] if len(duration) == 8 else None,
    )


def _uid_of(found: dict[int, bytes], tag: int) -> str:
    text = found.get(tag, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if not 0 < len(text) <= 64 or not set(text) <= set("0123456789."):
        raise _broken(f"(0002,{tag & 0xFFFF:04X}) is no UID: {text[:80]!r}", 132)
    return text


def _uuid_of(found: dict[int, bytes], tag: int) -> UUID:
    octets = found.get(tag, b"")
    if len(octets) != 16:
        raise _broken(f"(0002,{tag & 0xFFFF:04X}) has {len(octets)} octets, not the 16 of a UUID", 132)
    return UUID(bytes=octets)


def _current(octets: bytes) -> Dataset:
    items: Any = _dataset(octets)[CURRENT_FRAME].value
    if not isinstance(items, MutableSequence) or len(items) != 1:
        raise _broken("(0006,0001) is no sequence of one item", 132)
    item: Dataset = items[0]
    for groups in item.get("TimeOfFrameGroupSequence") or ():
        origin = groups.get("FrameOriginTimestamp")
        if not isinstance(origin, bytes):
            raise _broken(f"a Frame Origin Timestamp that is no octets but {origin!r:.40}", 132)
        decode_ptp(origin)
    return item


def _dataset(octets: bytes) -> Dataset:
    """Read a data set to its exact end, nested ones too: half of one must never reach a display."""
    from pydicom.errors import BytesLengthException, InvalidDicomError
    from pydicom.filereader import read_dataset

    for one in elements(octets, EXPLICIT_LE):
        if one.vr == "SQ":
            _walk_items(memoryview(octets)[one.value : one.end], 1)
    try:
        dataset = read_dataset(BytesIO(octets), is_implicit_VR=False, is_little_endian=True)
        for one_more in dataset.iterall():
            _as_the_dictionary_has_it(one_more)
    except (ValueError, TypeError, LookupError, AttributeError, EOFError, OSError, ArithmeticError, RecursionError,
            NotImplementedError, struct.error, BytesLengthException, InvalidDicomError) as error:  # fmt: skip
        raise _broken(f"a data set that can't be read: {error}", 132) from error
    return dataset


def _as_the_dictionary_has_it(one: DataElement) -> None:
    """Refuse text where items are due, or items where they are not: who reads it goes by the keyword."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    if dictionary_has_tag(one.tag) and (dictionary_VR(one.tag) == "SQ") != (one.VR == "SQ"):
        raise _broken(f"{one.tag} {one.keyword} has VR {one.VR}", 132)


def _walk_items(octets: memoryview, depth: int) -> None:
    """Walk every item of a sequence to its exact end."""
    if depth > 16:
        raise _broken("nested deeper than 16", 0)
    at = 0
    while at < len(octets):
        if at + 8 > len(octets):
            raise _broken("an item's header is cut", at)
        group, number, length = _ITEM.unpack_from(octets, at)
        at += 8
        if (group, number) == (0xFFFE, 0xE0DD):
            return
        if (group, number) != (0xFFFE, 0xE000):
            raise _broken("something other than an item in a sequence", at)
        if length == 0xFFFFFFFF:
            return  # the walk over the level above has been through it
        if at + length > len(octets):
            raise _broken("an item is cut", at)
        inner = octets[at : at + length]
        for one in elements(inner, EXPLICIT_LE):
            if one.vr == "SQ":
                _walk_items(inner[one.value : one.end], depth + 1)
        at += length


def _broken(what: str, at: int) -> RemoteProtocolError:
    return RemoteProtocolError(what, section=_SECTION, offset=at)
