"""What codestreams say of their size, and single bits."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from dicomlab.media.geometry import Plane
from dicomlab.media.pixels import announced_size, decoders, shaped, without_unused_bits
from dicomlab.media.planes import Image
from dicomlab.samples.manifest import data_folder
from tests.unit.media.series import image

FILES = data_folder() / "test_files"


def bits(**values: int) -> Image:
    return Image(values, "1.2.840.10008.1.2.1", (Plane(0, 0, (3, 5)),), "PixelData", 0, 0, False)


@pytest.mark.parametrize(
    "name", ["JPEG-lossy.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPEGLSNearLossless_16.dcm", "693_J2KI.dcm"]
)
def test_codestreams_tell_their_size(name: str) -> None:
    one = dcmread(FILES / name)
    assert announced_size(get_frame(one.PixelData, 0, number_of_frames=1)) == (one.Rows, one.Columns)


def test_the_fastest_decoder_comes_first_and_of_rle_there_is_one() -> None:
    assert decoders("1.2.840.10008.1.2.4.80")[0] == "pyjpegls"
    assert decoders("1.2.840.10008.1.2.4.90")[0] == "gdcm"
    assert decoders("1.2.840.10008.1.2.5") == ["pylibjpeg"]
    assert decoders("1.2.840.10008.1.2.4.102") == decoders("1.2.3") == []


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_those_of_our_encoders_too(syntax: str) -> None:
    one = image(1, None)
    one.compress(syntax, generate_instance_uid=False)
    assert announced_size(get_frame(one.PixelData, 0, number_of_frames=1)) == (48, 40)


@pytest.mark.parametrize(
    "octets",
    [b"", b"\xff\xd8", b"\xff\xd8\xff\xda" + bytes(20), b"\xff\x4f\xff\x51", b"\xff\xd8" + b"\xff" * 40, bytes(50)],
)
def test_what_says_nothing(octets: bytes) -> None:
    assert announced_size(octets) is None


def test_single_bits_share_octets() -> None:
    values = np.random.default_rng(1).integers(0, 2, 45, dtype="u1")
    raw = np.packbits(values, bitorder="little")
    header = bits(BitsAllocated=1, Rows=3, Columns=5, SamplesPerPixel=1, NumberOfFrames=3)
    for frame in range(3):
        assert shaped(raw, header, frame).ravel().tolist() == values[frame * 15 : frame * 15 + 15].tolist()


@pytest.mark.parametrize(
    ("stored", "high", "signed", "given", "expected"),
    [
        (12, 11, 0, 0xF123, 0x0123), (12, 15, 0, 0x123F, 0x0123), (12, 11, 1, 0x0FFF, -1), (12, 15, 1, 0xFFF7, -1),
        (16, 15, 0, 0xF123, 0xF123), (99, 98, 0, 0xF123, 0xF123), (12, 5, 0, 0xF123, 0xF123),
    ],
)  # fmt: skip
def test_unused_bits(stored: int, high: int, signed: int, given: int, expected: int) -> None:
    values = np.array([given], dtype="<u2").view("<i2" if signed else "<u2")
    header = bits(BitsAllocated=16, BitsStored=stored, HighBit=high, PixelRepresentation=signed)
    assert without_unused_bits(values, header).tolist() == [expected]
