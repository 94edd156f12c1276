"""Data sets to JSON and XML and back: nothing is lost; what is no data set is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.json_datasets import from_json
from dicomlab.web.json_model import decode, to_json
from dicomlab.web.xml_model import from_xml, to_xml


def octets(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


MODEL: dict[str, Any] = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
    "00080063": {"vr": "UV", "Value": [2**64 - 1]},
    "00081115": {"vr": "SQ", "Value": [{}, {"0020000E": {"vr": "UI", "Value": ["1.2.3"]}}]},
    "00090010": {"vr": "LO", "Value": ["ACME"]},
    "00091001": {"vr": "UN", "InlineBinary": "AAECAw=="},
    "00091002": {"vr": "SV", "Value": [-(2**63)]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}]},
    "00100020": {"vr": "LO"},
    "00180050": {"vr": "DS", "Value": ["1.20E+02"]},
    "00181150": {"vr": "IS", "Value": ["+0012", 7]},
    "00189073": {"vr": "FD", "Value": [0.1, float("inf"), float("-inf")]},
    "00280009": {"vr": "AT", "Value": ["00181063"]},
    "00281052": {"vr": "DS", "Value": [-1024.5]},
    "00321060": {"vr": "LO", "Value": ["Zürich"]},
    "00400275": {"vr": "SQ"},
}  # fmt: skip


def test_a_data_set_of_everything_comes_back() -> None:
    dataset = from_json(MODEL)
    assert to_json(dataset, exact=True) == MODEL
    again = dcmread(BytesIO(octets(dataset)), force=True)
    assert to_json(again, exact=True) == MODEL
    assert str(dataset.PatientName.ideographic) == "山田^太郎"
    assert dataset.SliceThickness == 120


def test_json_and_xml_say_the_same() -> None:
    assert from_xml(to_xml(MODEL)) == MODEL


FILES = """CT_small.dcm MR_small_implicit.dcm MR_small_bigendian.dcm rtplan.dcm reportsi.dcm test-SR.dcm
chrH31.dcm chrX1.dcm chrGerm.dcm liver_1frame.dcm waveform_ecg.dcm""".split()


@pytest.mark.parametrize("name", FILES)
def test_real_files_through_json_and_xml(name: str) -> None:
    """The octets of the second trip are those of the first: whatever text, order or VR the file has."""
    path = get_charset_files(name)[0] if name.startswith("chr") else get_testdata_file(name)
    model = to_json(dcmread(path), exact=True)
    through_json = from_json(decode(json.dumps(model).encode()))
    through_xml = from_json(from_xml(to_xml(model)))
    assert octets(through_json) == octets(through_xml)
    assert to_json(through_json, exact=True) | {"00080005": 0} == model | {"00080005": 0}


@pytest.mark.parametrize(
    ("stated", "text", "kept"),
    [("ISO_IR 100", "Zürich", "ISO_IR 100"), ("ISO_IR 100", "山", "ISO_IR 192"), ("ISO_IR 100", "plain", "ISO_IR 100"), ("", "ü", "ISO_IR 192")],
)  # fmt: skip
def test_the_character_set_is_kept_where_it_can_write_the_text(stated: str, text: str, kept: str) -> None:
    model: dict[str, Any] = {"00321060": {"vr": "LO", "Value": [text]}}
    if stated:
        model["00080005"] = {"vr": "CS", "Value": [stated]}
    dataset = from_json(model)
    assert dataset.SpecificCharacterSet == kept
    assert dcmread(BytesIO(octets(dataset)), force=True).RequestedProcedureDescription == text


def test_bulk_values_are_fetched_or_left_out() -> None:
    model = {"7FE00010": {"vr": "OW", "BulkDataURI": "../bulk/1"}}
    assert len(from_json(model)) == 0
    asked = []

    def bulk(uri: str, vr: str, tag: int) -> bytes:
        asked.append((uri, vr, tag))
        return b"abc"

    assert from_json(model, bulk)["PixelData"].value == b"abc\0"
    assert asked == [("../bulk/1", "OW", 0x7FE00010)]


@pytest.mark.parametrize(
    "model",
    [
        {"x": {"vr": "LO"}},
        {"00100020": 7},
        {"00100020": {"vr": "XX", "Value": ["a"]}},
        {"00280010": {"vr": "US", "Value": [70000]}},
        {"00280010": {"vr": "US", "Value": ["a"]}},
        {"00280010": {"vr": "US", "Value": [None]}},
        {"00100020": {"vr": "LO", "Value": [{"a": 1}]}},
        {"7FE00010": {"vr": "OW", "Value": [1]}},
        {"7FE00010": {"vr": "OW", "InlineBinary": "§"}},
        {"00081115": {"vr": "SQ", "Value": ["x"]}},
    ],
)
def test_what_is_no_data_set(model: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        from_json(model)


def test_depth_is_bounded() -> None:
    model: dict[str, Any] = {}
    for _ in range(100):
        model = {"00081115": {"vr": "SQ", "Value": [model]}}
    with pytest.raises(RemoteProtocolError, match="nested"):
        from_json(model)


@given(
    st.dictionaries(
        st.sampled_from(["00100010", "00280010", "00081115", "00100020", "bad"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(),
            lambda c: (
                st.lists(c, max_size=2)
                | st.dictionaries(st.sampled_from(["vr", "Value", "InlineBinary", "00100020"]), c, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=3,
    )
)
def test_anything_is_read_or_refused(model: Any) -> None:
    with suppress(RemoteProtocolError):
        from_json(model)
