"""Octets to the JSON Model: what pydicom's way gives, or an answer that says to go that way."""

from __future__ import annotations

import warnings
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.dataset import FileMetaDataset

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.samples import real_files
from dicomlab.web.json_model import to_json
from dicomlab.web.json_octets import NOT_THIS_WAY, octets_to_json

REAL = [p for p in map(parcel_of_file, real_files()) if isinstance(p, Parcel)]


def uri(way: tuple[int, ...]) -> str:
    return "/".join(map(str, way))


def octets_of(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.file_meta = FileMetaDataset()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    return buffer.getvalue().removeprefix(b"\0" * 128 + b"DICM")


def read(octets: bytes) -> dict[str, Any]:
    return to_json(dcmread(BytesIO(octets), force=True), uri)


def test_real_files_say_the_same_both_ways() -> None:
    ways = {"octets": 0, "pydicom": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for parcel in REAL:
            syntax = parcel.meta.transfer_syntax_uid
            if syntax in NOT_THIS_WAY:
                continue
            try:
                with parcel.dataset() as octets:
                    found = octets_to_json(bytes(octets), syntax, uri)
            except RemoteProtocolError:
                ways["pydicom"] += 1
                continue
            ways["octets"] += 1
            assert found == to_json(dcmread(str(parcel.path), defer_size=1024), uri), parcel.path
    assert ways["octets"] > 60
    assert ways["pydicom"] < 6


def nested(depth: int) -> Dataset:
    dataset = Dataset()
    dataset.CodeMeaning = f"Tiefe {depth}"
    if depth:
        dataset.ContentSequence = Sequence([nested(depth - 1), Dataset()])
    return dataset


@pytest.mark.parametrize("depth", [0, 1, 5])
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_of_known_and_of_undefined_length(depth: int, undefined: bool) -> None:
    dataset = nested(depth)
    for item in dataset.get("ContentSequence", ()):
        item.is_undefined_length_sequence_item = undefined
    if depth:
        dataset["ContentSequence"].is_undefined_length = undefined
    octets = octets_of(dataset)
    assert octets_to_json(octets, EXPLICIT_LE, uri) == read(octets)


@pytest.mark.parametrize(
    "charset", ["ISO_IR 100", "ISO_IR 192", "ISO_IR 144", "ISO 2022 IR 87", ["", "ISO 2022 IR 87"]]
)
def test_character_sets_hold_below_too(charset: Any) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = charset
    text = {"ISO_IR 100": "Müller^J", "ISO_IR 144": "Люкceмбypг"}.get(
        str(charset), "山田^太郎" if "87" in str(charset) else "Zoë"
    )
    dataset.PatientName = text
    inside = Dataset()
    inside.PatientName = text
    dataset.ReferencedPatientSequence = Sequence([inside])
    octets = octets_of(dataset)
    found = octets_to_json(octets, EXPLICIT_LE, uri)
    assert found == read(octets)
    assert found["00081120"]["Value"][0]["00100010"] == found["00100010"]


def test_values_of_every_kind() -> None:
    dataset = Dataset()
    dataset.ImageType = ["ORIGINAL", "", "AXIAL"]
    dataset.FrameIncrementPointer = 0x00181063
    dataset.PixelPaddingValue = 5
    dataset["PixelPaddingValue"].VR = "US"
    dataset.add_new(0x00189073, "FD", [1.5, 2.5])
    dataset.add_new(0x00189074, "FL", float("inf"))
    dataset.add_new(0x00091001, "UN", b"12")
    dataset.add_new(0x00091002, "OB", b"x" * 2000)
    dataset.add_new(0x00091003, "UV", [2**64 - 1])
    dataset.add_new(0x00091004, "SV", -(2**63))
    dataset.add_new(0x00091005, "UT", "a\\b ")
    dataset.PatientComments = ""
    dataset.SliceThickness = "1.50"
    octets = octets_of(dataset)
    found = octets_to_json(octets, EXPLICIT_LE, uri)
    assert found == read(octets)
    assert found["00189074"] == {"vr": "FL", "BulkDataURI": str(0x00189074)}
    assert found["00091002"]["BulkDataURI"] == str(0x00091002)


@pytest.mark.parametrize("syntax", sorted(NOT_THIS_WAY))
def test_what_goes_another_way(syntax: str) -> None:
    with pytest.raises(RemoteProtocolError):
        octets_to_json(b"", syntax, uri)


def test_what_must_be_read_as_a_whole() -> None:
    first, second = Dataset(), Dataset()
    first.PatientID, second.StudyID = "1", "2"
    for octets in (octets_of(second) + octets_of(first), octets_of(first) * 2, octets_of(first)[:-1]):
        with pytest.raises(RemoteProtocolError):
            octets_to_json(octets, EXPLICIT_LE, uri)
    assert {IMPLICIT_LE, EXPLICIT_BE} <= NOT_THIS_WAY
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + octets_of(first)
    head = b"\x40\x00\x30\xa7SQ\0\0" + len(item).to_bytes(4, "little")
    with pytest.raises(RemoteProtocolError, match="elsewhere"):
        octets_to_json(head + item, EXPLICIT_LE, uri)  # an item that is never closed


@given(st.integers(0, len(octets_of(nested(3)))), st.binary(max_size=8))
def test_broken_octets_are_no_crash(at: int, octets: bytes) -> None:
    whole = octets_of(nested(3))
    with suppress(RemoteProtocolError):
        octets_to_json(whole[:at] + octets + whole[at + len(octets) :], EXPLICIT_LE, uri)


@given(st.binary(max_size=200))
def test_any_octets_are_no_crash(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        octets_to_json(octets, EXPLICIT_LE, uri)
