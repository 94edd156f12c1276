"""Rewriting between the uncompressed transfer syntaxes, with pydicom as the oracle."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, encode_file_meta
from dicomlab.part10.transcode import UNCOMPRESSED, transcode

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"


def uncompressed() -> list[Path]:
    found = []
    for path in sorted(FOLDER.glob("*.dcm")):
        parcel = parcel_of_file(path)
        if isinstance(parcel, Parcel) and parcel.meta.transfer_syntax_uid in UNCOMPRESSED:
            found.append(path)
    return found


def read(octets: bytes, syntax: str) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(encode_file_meta("1.2", "1.3", syntax) + octets))


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize("path", uncompressed(), ids=lambda p: p.name)
@pytest.mark.parametrize("target", [EXPLICIT_LE, IMPLICIT_LE], ids=["explicit", "implicit"])
def test_every_value_stays_as_it_was(path: Path, target: str) -> None:
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel)
    source = parcel.meta.transfer_syntax_uid
    with parcel.dataset() as octets:
        if source == target:
            assert transcode(octets, source, target) == bytes(octets)
            return
        rewritten = transcode(octets, source, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = pydicom.dcmread(path), read(rewritten, target)
        assert {e.tag for e in after} == {e.tag for e in before if e.tag.element != 0}
        for element in after:
            if element.tag.is_private or (source == EXPLICIT_BE and element.VR in ("OW", "OB", "OB or OW")):
                continue  # what a private value means, and the order of its octets, only its maker knows
            assert element.value == before[element.tag].value, element.tag


def test_big_endian_pixels_are_the_same_image() -> None:
    little = pydicom.dcmread(FOLDER / "MR_small.dcm").pixel_array
    parcel = parcel_of_file(FOLDER / "MR_small_bigendian.dcm")
    assert isinstance(parcel, Parcel)
    with parcel.dataset() as octets:
        rewritten = read(transcode(octets, EXPLICIT_BE, EXPLICIT_LE), EXPLICIT_LE)
    assert np.array_equal(rewritten.pixel_array, little)


@pytest.mark.parametrize(
    ("implicit", "explicit"),
    [
        # (0010,0010) PN "A^B "
        ("10001000 04000000 415E4220", "10001000 504E0400 415E4220"),
        # (0028,0106) US or SS, unsigned without (0028,0103)
        ("28000601 02000000 FFFF", "28000601 55530200 FFFF"),
        # (0028,0103) = 1, then (0028,0106) is SS
        ("28000301 02000000 0100 28000601 02000000 FFFF", "28000301 55530200 0100 28000601 53530200 FFFF"),
        # (0009,1001) private without a creator: UN, 32-bit length
        ("09000110 02000000 4142", "09000110 554E0000 02000000 4142"),
        # a retired group length goes
        ("10000000 04000000 0C000000 10002000 02000000 4142", "10002000 4C4F0200 4142"),
        # an empty sequence of defined length
        ("08001511 00000000", "08001511 53510000 FFFFFFFF FEFFDDE0 00000000"),
    ],
)
def test_implicit_to_explicit(implicit: str, explicit: str) -> None:
    assert transcode(hexed(implicit), IMPLICIT_LE, EXPLICIT_LE) == hexed(explicit)


def test_a_value_too_long_for_a_short_length_becomes_un() -> None:
    value = b"A" * 65_536
    out = transcode(hexed("10002000") + (65_536).to_bytes(4, "little") + value, IMPLICIT_LE, EXPLICIT_LE)
    assert out == hexed("10002000 554E0000 00000100") + value


def test_un_of_undefined_length_holds_implicit_items() -> None:
    inner = hexed("10002000 02000000 4142")
    octets = (
        hexed("09000110 554E0000 FFFFFFFF FEFF00E0 FFFFFFFF") + inner + hexed("FEFF0DE0 00000000 FEFFDDE0 00000000")
    )
    out = transcode(octets, EXPLICIT_LE, IMPLICIT_LE)
    assert out == hexed("09000110 FFFFFFFF FEFF00E0 FFFFFFFF") + inner + hexed("FEFF0DE0 00000000 FEFFDDE0 00000000")


@pytest.mark.parametrize(
    "octets",
    [
        "10001000 FF000000 4142",  # longer than what is there
        "10001000 0400",  # cut in the header
        "08001511 FFFFFFFF FEFF00E0 10000000 41424344",  # an item longer than what is there
        "08001511 FFFFFFFF 10001000 00000000",  # no item in a sequence
    ],
)
def test_broken_octets_are_told_apart(octets: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        transcode(hexed(octets), IMPLICIT_LE, EXPLICIT_LE)
    assert caught.value.offset is not None


def test_compressed_syntaxes_are_no_business_of_it() -> None:
    with pytest.raises(LocalProtocolError):
        transcode(b"", "1.2.840.10008.1.2.5", EXPLICIT_LE)
    with pytest.raises(LocalProtocolError):
        transcode(b"", EXPLICIT_LE, EXPLICIT_BE)


@given(st.binary(max_size=200), st.sampled_from(sorted(UNCOMPRESSED)))
def test_hostile_octets_fail_in_one_way(octets: bytes, source: str) -> None:
    for target in (IMPLICIT_LE, EXPLICIT_LE):
        try:
            transcode(octets, source, target)
        except RemoteProtocolError:
            continue


def test_nesting_without_end_is_refused() -> None:
    bomb = hexed("08001511 FFFFFFFF FEFF00E0 FFFFFFFF") * 5_000
    with pytest.raises(RemoteProtocolError):
        transcode(bomb, IMPLICIT_LE, EXPLICIT_LE)
