"""From headers to planes."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.planes import Image, read_image
from dicomlab.part10.meta import decode_file_meta
from tests.unit.media.series import image, pixels
from tests.unit.media.test_volume import enhanced


def octets_of(one: Dataset) -> bytes:
    buffer = BytesIO()
    one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def planes(octets: bytes) -> Image | None:
    meta = decode_file_meta(octets, final=True)
    return read_image(memoryview(octets)[meta.length :], meta)


def test_a_plain_slice() -> None:
    octets = octets_of(image(3, (1.5, -2, 7)))
    found = planes(octets)
    assert found is not None
    plane = found.planes[0]
    assert (plane.position_mm, plane.spacing_mm, plane.thickness_mm) == ((1.5, -2.0, 7.0), (0.8, 0.5), 2.5)
    assert (plane.slope, plane.intercept, plane.number, plane.size) == (2.0, -1024.0, 3, (48, 40))
    start = decode_file_meta(octets, final=True).length + found.offset
    assert octets[start : start + found.length] == pixels(3).tobytes()
    assert not found.encapsulated


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelSpacing": ["0", "1"]}, {"PixelSpacing": None}, {"ImagePositionPatient": ["1", "2"]},
        {"ImageOrientationPatient": None}, {"RescaleSlope": None},
    ],
)  # fmt: skip
def test_what_is_missing_is_none(attributes: dict[str, Any]) -> None:
    found = planes(octets_of(image(1, (0, 0, 0), **attributes)))
    assert found is not None
    plane = found.planes[0]
    blank = {
        "PixelSpacing": plane.spacing_mm, "ImagePositionPatient": plane.position_mm,
        "ImageOrientationPatient": plane.orientation, "RescaleSlope": None if plane.slope == 1 else plane.slope,
    }  # fmt: skip
    assert blank[next(iter(attributes))] is None


def test_no_image_is_none() -> None:
    assert planes(octets_of(image(1, (0, 0, 0), PixelData=None))) is None


@pytest.mark.parametrize(
    ("name", "value"), [("Rows", None), ("Columns", 0), ("NumberOfFrames", 0), ("NumberOfFrames", 10**6)]
)
def test_sizes_that_can_not_be(name: str, value: int | None) -> None:
    with pytest.raises(RemoteProtocolError, match="an image of"):
        planes(octets_of(image(1, (0, 0, 0), **{name: value})))


@pytest.mark.parametrize("implicit", [False, True])
def test_frames_overrule_what_they_share(implicit: bool) -> None:
    one = enhanced(frames=2, echoes=1)
    own = Dataset()
    own.PixelSpacing, own.SliceThickness = [9, 9], 4
    one.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = [own]
    if implicit:
        one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found = planes(octets_of(one))
    assert found is not None
    assert [plane.spacing_mm for plane in found.planes] == [(0.8, 0.5), (9.0, 9.0)]
    assert [plane.position_mm for plane in found.planes] == [(0, 0, 0), (0, 0, 3)]
    assert [plane.traits["EchoTime"] for plane in found.planes] == [10.0, 10.0]


def test_several_frames_with_one_position_have_none() -> None:
    found = planes(octets_of(image(1, (0, 0, 0), NumberOfFrames=2, PixelData=bytes(7680))))
    assert found is not None
    assert [plane.position_mm for plane in found.planes] == [None, None]


@given(st.data())
def test_damaged_anywhere_it_fails_only_in_one_way(data: st.DataObject) -> None:
    octets = bytearray(octets_of(enhanced(frames=2, echoes=2)))
    for _ in range(data.draw(st.integers(1, 8))):
        octets[data.draw(st.integers(132, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        planes(bytes(octets))
