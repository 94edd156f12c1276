"""The DICOM JSON Model, from files and to raw values; also what only broken servers send."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, dcmread
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import FileMetaDataset

from dicomlab.model.columns import columns
from dicomlab.web.json_columns import rows
from dicomlab.web.json_model import decode, decode_text, row_to_json, to_json, values_at


def reread(dataset: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Dataset:
    """The data set as raw elements, as a file gives it."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2", "1.3"
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def sample() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    dataset.ReferringPhysicianName = ""
    dataset.ImageType = ["ORIGINAL", "", "AXIAL"]
    dataset.Rows, dataset.NumberOfFrames, dataset.SliceThickness = 512, 3, "1.20E+02"
    dataset.PixelSpacing = ["0.5", "0.25"]
    dataset.FrameIncrementPointer = [0x00181063, 0x00181065]
    item = Dataset()
    item.CodeValue = "T-1"
    dataset.ProcedureCodeSequence = [item, Dataset()]
    dataset.add(DataElement(0x00091001, "OB", b"\x01\x02"))
    dataset.add(DataElement(0x00091002, "UN", b"\x00" * 5000))
    dataset.PixelData = b"\x00\x01"
    dataset["PixelData"].VR = "OW"
    return dataset


@pytest.mark.parametrize("raw", [False, True])
def test_forms_of_values(raw: bool) -> None:
    dataset = reread(sample()) if raw else sample()
    found = to_json(dataset, lambda way: "/".join(f"{step:X}" for step in way))
    assert found["00100010"]["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]
    assert found["00080090"] == {"vr": "PN"}
    assert found["00080008"]["Value"] == ["ORIGINAL", None, "AXIAL"]
    assert found["00280010"] == {"vr": "US", "Value": [512]}
    assert found["00280008"]["Value"] == [3]
    assert found["00180050"]["Value"] == [120.0]
    assert found["00280030"]["Value"] == [0.5, 0.25]
    assert found["00280009"] == {"vr": "AT", "Value": ["00181063", "00181065"]}
    assert found["00081032"]["Value"] == [{"00080100": {"vr": "SH", "Value": ["T-1"]}}, {}]
    assert found["00091001"] == {"vr": "OB", "InlineBinary": "AQI="}
    assert found["00091002"]["BulkDataURI"] == "91002"
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": "7FE00010"}
    assert list(found) == sorted(found)
    assert not any(tag.startswith("0002") for tag in found)


def test_without_bulk_uri_bulk_values_are_left_out() -> None:
    assert to_json(sample())["7FE00010"] == {"vr": "OW"}


def test_numbers_that_json_does_not_have() -> None:
    dataset = Dataset()
    dataset.RealWorldValueSlope = float("inf")
    dataset.RedPaletteColorLookupTableDescriptor = [1, 2, 3]
    assert to_json(reread(dataset), lambda way: "here")["00409225"] == {"vr": "FD", "BulkDataURI": "here"}
    assert to_json(dataset)["00409225"] == {"vr": "FD"}


def test_text_that_is_no_number_stays_text() -> None:
    found = to_json(dcmread(BytesIO(_with_bad_numbers())))
    assert found["00200013"]["Value"] == ["1.5x"]
    assert found["00180050"]["Value"] == ["nan"]
    json.dumps(found, allow_nan=False)


def _with_bad_numbers() -> bytes:
    dataset = Dataset()
    dataset.InstanceNumber, dataset.SliceThickness = 1111, "1.5"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2", "1.3"
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue().replace(b"1111", b"1.5x").replace(b"DS\x04\x001.5 ", b"DS\x04\x00nan ")


def test_a_group_length_is_left_out_and_un_of_a_known_attribute_is_named() -> None:
    octets = _with_bad_numbers()
    start = octets.index(b"\x18\x00\x50\x00DS")
    length = b"\x18\x00\x00\x00UL\x04\x00\x0c\x00\x00\x00"
    unknown = b"\x18\x00\x50\x00UN\x00\x00\x04\x00\x00\x002.5 "
    found = to_json(dcmread(BytesIO(octets[:start] + length + unknown + octets[start + 12 :])))
    assert "00180000" not in found
    assert found["00180050"] == {"vr": "DS", "Value": [2.5]}


@pytest.mark.parametrize("name", ["chrH31.dcm", "chrX1.dcm", "chrGerm.dcm", "chrKoreanMulti.dcm", "chrH32.dcm"])
def test_character_sets(name: str) -> None:
    (path,) = get_charset_files(name)
    expected = dcmread(path).PatientName
    found = to_json(dcmread(path))["00100010"]["Value"][0]
    assert found["Alphabetic"] == str(expected.alphabetic)
    assert found.get("Ideographic", "") == str(expected.ideographic)
    assert found.get("Phonetic", "") == str(expected.phonetic)


@given(st.binary(max_size=60), st.sampled_from([["ascii"], ["utf-8"], ["iso2022_jp", "shift_jis"], ["nonsense"]]))
def test_any_octets_decode(octets: bytes, encodings: list[str]) -> None:
    if b"\x1b" not in octets:  # pydicom warns about escape sequences that nobody knows
        assert isinstance(decode_text(octets, encodings), str)


def test_real_files_are_json(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm"):
        dataset = dcmread(get_testdata_file(name), defer_size=1024)
        json.dumps(to_json(dataset, lambda way: "uri"), allow_nan=False)


def test_decode_takes_infinity() -> None:
    assert decode(b"[1e999, NaN]")[0] == float("inf")


def test_values_at_nothing() -> None:
    assert values_at({}, (0x00100010,)) == []


def test_a_raw_row_becomes_an_answer_that_reads_back() -> None:
    asked = columns(
        ["PatientName", "Rows", "SliceThickness", "InstanceNumber", "ModalitiesInStudy", "FrameIncrementPointer",
         "RequestAttributesSequence.ScheduledProcedureStepID", "AccessionNumber", "RealWorldValueSlope",
         "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue"]
    )  # fmt: skip
    row: dict[str, list[object]] = {
        "PatientName": ["Yamada^Tarou=山田^太郎"],
        "Rows": ["no number"],
        "SliceThickness": ["2.5"],
        "InstanceNumber": ["seven"],
        "ModalitiesInStudy": ["CT", None],
        "FrameIncrementPointer": ["00181063"],
        "RealWorldValueSlope": [float("inf")],
        "RequestAttributesSequence.ScheduledProcedureStepID": ["S1", None],
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": ["C1", "C2", "C3"],
        "Beyond": ["x"],
    }
    found = row_to_json(asked, row)
    assert found["00100010"]["Value"] == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    assert found["00280010"] == {"vr": "US"}
    assert found["00409225"] == {"vr": "FD"}
    assert found["00180050"]["Value"] == [2.5]
    assert found["00200013"]["Value"] == ["seven"]
    assert "00080050" not in found
    (back,) = rows(json.dumps([found], allow_nan=False).encode(), asked)
    assert back["ModalitiesInStudy"] == ["CT", None]
    assert back["FrameIncrementPointer"] == ["00181063"]
    assert back["RequestAttributesSequence.ScheduledProcedureStepID"] == ["S1", None, None]
    assert back["RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue"] == ["C1", "C2", "C3"]
