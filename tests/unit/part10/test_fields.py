"""The elements of a data set as fields: where they lie, what is nested in them, and what may name a patient."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

from dicomlab.model.reading import Field
from dicomlab.part10.fields import data_set_fields, file_fields, private_of_file, private_parts
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

NAME = "Doe^Jane"


def written(syntax: str, *, undefined: bool = False) -> bytes:
    inner = Dataset()
    inner.PatientName, inner.ReferencedSOPInstanceUID = "Roe^Inner", "1.2.3"
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    ds.ReferencedImageSequence = [inner, inner]
    ds["ReferencedImageSequence"].is_undefined_length = undefined
    ds.ReferencedImageSequence[0].is_undefined_length_sequence_item = undefined
    ds.PatientName, ds.PatientID = NAME, "P1"
    ds.Rows, ds.SliceThickness, ds.SamplesPerPixel = 2, 1.5, 1
    ds.add_new(0x00091001, "LO", "private " + NAME)
    ds.add_new(0x7FE00010, "OW", b"\x01\x02")
    file = BytesIO()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def flat(fields: tuple[Field, ...]) -> list[Field]:
    return [one for field in fields for one in (field, *flat(field.children))]


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_file_opens_down_to_nested_items(syntax: str, undefined: bool) -> None:
    octets = written(syntax, undefined=undefined)
    fields = flat(file_fields(octets))
    values = {one.name: one.value for one in fields}
    assert values["Prefix"] == "DICM"
    assert values["(0008,1140) ReferencedImageSequence"] == "2 items"
    assert values["Item 1"] == "2 elements"
    assert values["(0028,0010) Rows"] == "2"
    inner = [one for one in fields if one.name.endswith("PatientName")]
    assert [one.value for one in inner] == ["Roe^Inner", "Roe^Inner", NAME]
    for one in inner:
        assert octets[one.start : one.end].rstrip(b"\0 ").endswith(one.value.encode())
        assert one.identifying


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 9, 40, 120])
def test_no_octet_of_a_patient_stays_open(syntax: str, undefined: bool, cut: int) -> None:
    octets = bytearray(written(syntax, undefined=undefined))
    octets = octets[: len(octets) - cut]
    for start, end in private_of_file(bytes(octets)):
        octets[start:end] = b"\xff" * (end - start)
    for secret in (NAME.encode(), b"Roe", b"P1", b"\x01\x02"):
        assert secret not in bytes(octets[132:]) or secret == b"\x01\x02"
    assert bytes(octets[-2:]) != b"\x01\x02"


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE])
def test_what_lies_too_deep_to_be_opened_is_private(syntax: str) -> None:
    ds = Dataset()
    ds.PatientName = NAME
    for _ in range(6):
        outer = Dataset()
        outer.ReferencedImageSequence = [ds]
        ds = outer
    file = BytesIO()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2", "1.2.3"
    dcmwrite(file, ds, enforce_file_format=True)
    octets = bytearray(file.getvalue())
    assert NAME.encode() in octets
    assert not any(one.value == NAME for one in flat(file_fields(bytes(octets))))
    for start, end in private_of_file(bytes(octets)):
        octets[start:end] = b"X" * (end - start)
    assert NAME.encode() not in octets


def test_what_nobody_can_read_is_private_as_a_whole() -> None:
    assert list(private_of_file(b"no file")) == [(0, 7)]
    assert list(private_parts(b"xxabcdef", 2, 8, "")) == [(2, 8)]
    assert file_fields(b"no file") == ()


def test_a_sequence_that_is_cut_shows_the_items_that_are_there() -> None:
    octets = written(EXPLICIT_LE)
    fields = {one.name: one for one in flat(file_fields(octets))}
    cut = octets[: fields["Item 2"].end - 3]
    assert [one.name for one in flat(file_fields(cut)) if one.name.startswith("Item")] == ["Item 1"]


@given(st.binary(max_size=150), st.sampled_from([IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]))
def test_nothing_makes_it_fail(octets: bytes, syntax: str) -> None:
    for one in flat(tuple(data_set_fields(octets, 0, len(octets), syntax))):
        assert 0 <= one.start <= one.end <= len(octets)
    places = list(private_parts(octets, 0, len(octets), syntax))
    assert places == sorted(places)
    whole = bytes(128) + b"DICM" + octets
    assert all(0 <= one.start <= one.end <= len(whole) for one in flat(file_fields(whole)))
