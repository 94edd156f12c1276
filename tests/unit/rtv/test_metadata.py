"""Metadata Grains: writer and reader each against vectors by hand and against pydicom."""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.tag import Tag

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.rtv.metadata import (
    CURRENT_FRAME,
    MAX_GRAIN_OCTETS,
    VIDEO_ENDOSCOPIC,
    CameraPosition,
    FrameGroups,
    RtvMeta,
    decode_grain,
    element,
    encode_dataset,
    encode_dynamic,
    encode_meta,
)
from tests.unit.rtv.vectors import AT_NS, FLOW, SOURCE, vector

META = RtvMeta(VIDEO_ENDOSCOPIC, "1.2.826.0.1", SOURCE, FLOW, "1.2.840.10008.1.2.7.1", 90_000, 16.0)
GROUPS = FrameGroups(AT_NS, "20261124183000.123456+0000", 7, 16.0)
CAMERA = CameraPosition("PERSPECTIVE", (0, 0, 10), (0, 0, 0), (0, 1, 0), (-1, 1, 1, -1, 1, 100))


def static() -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = VIDEO_ENDOSCOPIC, "1.2.826.0.1"
    ds.PatientName, ds.PatientID = "Synthetic^Ada", "SYN-1"
    ds.AcquisitionContextSequence = []
    inner = Dataset()
    inner.SourceIdentifier = SOURCE.bytes
    ds.RealTimeBulkDataFlowSequence = [inner]
    return ds


WHOLE = vector("meta") + vector("dynamic") + encode_dataset(static())


def test_group_0002_is_the_vector() -> None:
    assert encode_meta(META) == vector("meta")
    assert decode_grain(vector("meta")).meta == META


def test_the_dynamic_part_is_the_vector() -> None:
    assert encode_dynamic(GROUPS) == vector("dynamic")
    assert vector("dynamic")[:6] == b"\x06\0\x01\0SQ"
    assert bytes.fromhex("000069248125075bcd15") in vector("dynamic")


def test_the_vectors_are_what_pydicom_reads_too() -> None:
    read: Any = dcmread(BytesIO(WHOLE))
    assert read.file_meta.RTVSourceIdentifier == SOURCE.bytes
    assert read.file_meta.RTVFlowIdentifier == FLOW.bytes
    assert read.file_meta.RTVFlowRTPSamplingRate == 90_000
    assert read.file_meta.RTVFlowActualFrameDuration == 16.0
    assert read.file_meta.FileMetaInformationGroupLength == 174
    (item,) = read[CURRENT_FRAME].value
    assert item.TimeOfFrameGroupSequence[0].FrameOriginTimestamp.hex() == "000069248125075bcd15"
    assert item.FrameContentSequence[0].FrameAcquisitionNumber == 7
    assert read.PatientName == "Synthetic^Ada"
    assert [tag for tag in read.keys()] == sorted(read.keys())  # noqa: C416, SIM118


def test_a_whole_grain_and_its_parts() -> None:
    grain = decode_grain(WHOLE)
    assert grain.meta == META
    assert grain.dynamic is not None
    assert grain.static == static()
    only_header = decode_grain(vector("meta"))
    assert (only_header.dynamic, only_header.static) == (None, None)
    no_dynamic = decode_grain(vector("meta") + encode_dataset(static()))
    assert no_dynamic.dynamic is None
    assert no_dynamic.static == static()
    assert decode_grain(vector("meta") + vector("dynamic")).static is None


def test_usefulness_and_camera_position_are_what_pydicom_reads() -> None:
    octets = vector("meta") + encode_dynamic(
        FrameGroups(AT_NS, includes_subject=False, includes_information=True, camera=CAMERA)
    )
    item: Any = decode_grain(octets).dynamic
    assert "FrameContentSequence" not in item
    useful = item.FrameUsefulnessGroupSequence[0]
    assert (useful.IncludesImagingSubject, useful.IncludesInformation) == ("NO", "YES")
    camera = item.CameraPositionGroupSequence[0]
    assert camera.RenderProjection == "PERSPECTIVE"
    assert list(camera.ViewpointPosition) == [0, 0, 10]
    assert list(camera.RenderFieldOfView) == [-1, 1, 1, -1, 1, 100]
    assert [int(tag) for tag in item.keys()] == [0x00340009, 0x0034000B, 0x0034000D]  # noqa: SIM118


def test_elements_are_padded_by_their_vr() -> None:
    assert element(0x00100020, "LO", b"abc") == bytes.fromhex("10002000 4c4f 0400") + b"abc "
    assert element(0x00080018, "UI", b"1.2") == bytes.fromhex("08001800 5549 0400") + b"1.2\0"
    assert element(0x00282000, "OB", b"abc") == bytes.fromhex("28000020 4f42 0000 04000000") + b"abc\0"
    with pytest.raises(LocalProtocolError):
        element(0x00100020, "LO", b"x" * 65_537)


def test_the_preamble_is_not_looked_at_and_the_version_is_a_mask() -> None:
    assert decode_grain(b"\xff" * 128 + WHOLE[128:]).meta == META
    at = WHOLE.index(b"\x02\0\x31\0") + 12
    assert decode_grain(WHOLE[:at] + b"\x00\x03" + WHOLE[at + 2 :]).meta == META
    with pytest.raises(RemoteProtocolError, match="version"):
        decode_grain(WHOLE[:at] + b"\x00\x02" + WHOLE[at + 2 :])


def test_unknown_classes_and_syntaxes_are_taken() -> None:
    other = RtvMeta("1.2.3", "1.2.4", SOURCE, FLOW, "1.2.5")
    assert decode_grain(encode_meta(other)).meta == other


def test_a_grain_cut_anywhere_is_none() -> None:
    """At the border of two parts, or of two elements of the static part, what is left is a data set."""
    whole_parts = set()
    from dicomlab.part10.walk import elements

    for one in elements(WHOLE[132:], "1.2.840.10008.1.2.1"):
        whole_parts.add(132 + one.end)
    for at in range(len(WHOLE)):
        if at in whole_parts and at >= len(vector("meta")):
            continue
        with pytest.raises(RemoteProtocolError):
            decode_grain(WHOLE[:at])


@pytest.mark.parametrize(
    "octets",
    [
        WHOLE[:128] + b"DICN" + WHOLE[132:],
        WHOLE[:140] + b"\xaf" + WHOLE[141:],  # group length one more than there is
        vector("meta") + encode_dataset(static()) + vector("dynamic"),  # dynamic part after the static one
        vector("meta") + vector("dynamic") * 2,
        vector("meta") + b"\x04\0\x00\0UL\x04\0\0\0\0\0",  # group 0004
        vector("meta") + element(CURRENT_FRAME, "OB", b""),
        vector("meta") + element(CURRENT_FRAME, "SQ", b""),  # no item
        vector("meta") + vector("dynamic")[:16] + b"\xff" + vector("dynamic")[17:],
        WHOLE + b"\0" * (MAX_GRAIN_OCTETS),
        WHOLE.replace(b"\x02\0\x35\0OB\0\0\x10", b"\x02\0\x34\0OB\0\0\x10"),
    ],
)
def test_grains_that_are_none(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_grain(octets)


def test_a_nested_data_set_is_read_to_its_exact_end() -> None:
    ds = static()
    octets = encode_dataset(ds)
    at = octets.index(b"\x34\0\x05\0OB")  # inside the flow sequence's item
    broken = octets[: at + 8] + b"\x0e" + octets[at + 9 :]  # two octets are left over
    with pytest.raises(RemoteProtocolError):
        decode_grain(vector("meta") + broken)


def test_what_can_not_be_sent() -> None:
    low: Any = Dataset()
    low.add_new(Tag(0x00060001), "SQ", [])
    with pytest.raises(LocalProtocolError):
        encode_dataset(low)
    for uid in ("", "1.2.x", "1" * 65):
        with pytest.raises(LocalProtocolError):
            encode_meta(RtvMeta(uid, "1.2", SOURCE, FLOW, "1.2"))


def mutated(seed: int, count: int) -> None:
    random_ = random.Random(seed)
    for _ in range(count):
        octets = bytearray(WHOLE)
        for _ in range(random_.randrange(1, 6)):
            at = random_.randrange(128, len(octets))
            octets[at] = random_.choice([0, 0xFF, octets[at] ^ 1 << random_.randrange(8), random_.randrange(256)])
        try:
            decode_grain(bytes(octets[: random_.choice([len(octets), random_.randrange(len(octets))])]))
        except RemoteProtocolError:
            continue


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")  # pydicom warns of values that can't be
def test_mutated_grains_give_a_grain_or_an_error_of_ours(seed: int) -> None:
    mutated(seed, 250)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.filterwarnings("ignore")
def test_mutated_grains_in_great_number(seed: int) -> None:
    mutated(100 + seed, 10_000)
