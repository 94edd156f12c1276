"""Identifiers: what we write, pydicom reads; what pydicom writes, we read, whatever it is written in."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, config
from pydicom.charset import python_encoding
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from dicomlab.dimse.identifier import (
    decode_text,
    encode_query,
    encode_tree,
    encodings_of,
    keys_of,
    read_row,
    tree_of,
    tree_of_row,
)
from dicomlab.dimse.tree import decode_tree
from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.model.columns import column, columns

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BOTH = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])


def written(dataset: Dataset, syntax: str, *, undefined: bool = False) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, syntax == IMPLICIT
    if undefined:
        for element in dataset:
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def read(octets: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(octets), is_implicit_VR=syntax == IMPLICIT, is_little_endian=True)


KEYS = [
    ("PatientName", "Müller*"), ("StudyDate", "20260101-20260131"), ("SeriesInstanceUID", "1.2\\1.3"),
    ("SeriesNumber", "7"), ("Rows", "512\\1024"), ("StudyInstanceUID", ""), ("RescaleSlope", "1.5"),
    ("RequestAttributesSequence.ScheduledProcedureStepID", "S1"), ("RequestAttributesSequence.RequestedProcedureID", ""),
]  # fmt: skip


@BOTH
def test_a_query_reads_as_it_was_meant(syntax: str) -> None:
    theirs = read(encode_query("series", [(column(name), text) for name, text in KEYS], syntax), syntax)
    assert theirs.QueryRetrieveLevel == "SERIES"
    assert theirs.SpecificCharacterSet == "ISO_IR 192"
    assert theirs.PatientName == "Müller*"
    assert theirs.StudyDate == "20260101-20260131"
    assert theirs.SeriesInstanceUID == ["1.2", "1.3"]
    assert theirs.Rows == [512, 1024]
    assert theirs["StudyInstanceUID"].is_empty
    assert theirs.RequestAttributesSequence[0].ScheduledProcedureStepID == "S1"
    assert theirs.RequestAttributesSequence[0]["RequestedProcedureID"].is_empty
    assert [int(element.tag) for element in theirs] == sorted(int(element.tag) for element in theirs)


@BOTH
def test_a_query_is_read_back_key_by_key(syntax: str) -> None:
    octets = encode_query("series", [(column(name), text) for name, text in KEYS], syntax)
    found = dict(keys_of(octets, syntax))
    for name, text in KEYS:
        assert found[column(name).path] == text
    assert found[(0x00080052,)] == "SERIES"


@BOTH
def test_plain_text_names_no_character_set(syntax: str) -> None:
    assert "SpecificCharacterSet" not in read(encode_query("image" and "study", [], syntax), syntax)


def answer() -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müller^Jürgen"
    dataset.ModalitiesInStudy = ["CT", "MR"]
    dataset.StudyDate = "20260131"
    dataset.SeriesNumber, dataset.Rows, dataset.SliceThickness = 7, 512, "1.50"
    dataset.StudyDescription = ""
    first, second, third = Dataset(), Dataset(), Dataset()
    first.ScheduledProcedureStepID, third.ScheduledProcedureStepID = "S1", "S3"
    dataset.RequestAttributesSequence = Sequence([first, second, third])
    return dataset


@BOTH
@pytest.mark.parametrize("undefined", [False, True])
def test_a_row_is_what_pydicom_wrote(syntax: str, undefined: bool) -> None:
    names = """PatientName ModalitiesInStudy StudyDate SeriesNumber Rows SliceThickness StudyDescription PatientID
    RequestAttributesSequence.ScheduledProcedureStepID""".split()
    assert read_row(written(answer(), syntax, undefined=undefined), syntax, columns(names)) == {
        "PatientName": ["Müller^Jürgen"],
        "ModalitiesInStudy": ["CT", "MR"],
        "StudyDate": ["20260131"],
        "SeriesNumber": ["7"],
        "Rows": [512],
        "SliceThickness": ["1.50"],
        "StudyDescription": [],
        "RequestAttributesSequence.ScheduledProcedureStepID": ["S1", None, "S3"],
    }


@BOTH
def test_a_data_set_survives_the_way_through_plain_values(syntax: str) -> None:
    dataset = answer()
    theirs = read(encode_tree(tree_of(dataset), syntax), syntax)
    dataset.SpecificCharacterSet = theirs.SpecificCharacterSet = "ISO_IR 192"
    assert theirs == dataset
    assert [f"{tag:08X}" for tag in tree_of(dataset, [0x00200011, 0x00100020])] == ["00200011"]


@pytest.mark.parametrize(
    ("character_set", "octets", "text"),
    [
        ("ISO_IR 100", "Äneas".encode("latin-1"), "Äneas"),
        ("ISO_IR 192", "Äneas 山田".encode(), "Äneas 山田"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        ("", "Äneas".encode(), "Äneas"),
        ("", "Äneas".encode("latin-1"), "Äneas"),
        ("ISO_IR 999", "Äneas".encode(), "Äneas"),
        ("ISO_IR 192", "Äneas".encode("latin-1"), "Äneas"),
        ("ISO_IR 100", b"\x1b$Zodd", "\x1b$Zodd"),
    ],
)
def test_text_is_read_by_its_own_character_set_and_never_fails(character_set: str, octets: bytes, text: str) -> None:
    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return (
            tag.to_bytes(4, "big")[1::-1]
            + tag.to_bytes(4, "big")[:1:-1]
            + vr
            + len(value).to_bytes(2, "little")
            + value
        )

    row = element(0x00080005, b"CS", character_set.encode()) + element(0x00100010, b"PN", octets)
    assert read_row(row, EXPLICIT, columns(["PatientName"])) == {"PatientName": [text]}


@pytest.mark.parametrize("undefined", [False, True])
def test_a_sequence_that_came_as_un_is_read_in_implicit_vr(undefined: bool) -> None:
    """PS3.5 §6.2.2: as a gateway writes what its dictionary does not know."""
    inner = encode_tree({0x00400009: ("SH", ["S1"])}, IMPLICIT)
    item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    item += b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else b""
    length = b"\xff" * 4 if undefined else len(item).to_bytes(4, "little")
    octets = b"\x40\0\x75\x02UN\0\0" + length + item
    path = "RequestAttributesSequence.ScheduledProcedureStepID"
    assert read_row(octets, EXPLICIT, columns([path])) == {path: ["S1"]}
    assert keys_of(octets, EXPLICIT) == [((0x00400275, 0x00400009), "S1")]
    assert decode_tree(octets, EXPLICIT) == {0x00400275: ("SQ", [{0x00400009: ("SH", ["S1"])}])}


@BOTH
def test_a_list_longer_than_its_vr_has_room_for_travels_all_the_same(syntax: str) -> None:
    uids = [f"1.2.3.{10**50 + number}" for number in range(1200)]
    octets = encode_tree({0x00080058: ("UI", list(uids))}, syntax)
    (element,) = read_dataset(BytesIO(octets), is_implicit_VR=syntax == IMPLICIT, is_little_endian=True)
    expected = "UI" if syntax == IMPLICIT else "UN"  # PS3.5 §6.2.2
    assert str(element.VR) == expected
    assert dict(keys_of(octets, syntax))[0x00080058,].split("\\") == uids


def test_a_character_set_is_looked_at_no_further_than_it_can_mean_something() -> None:
    every = [term for term in python_encoding if term.startswith("ISO 2022")]
    assert len(encodings_of("\\".join(["", *every]).encode())) == 1 + len(every)
    assert len(encodings_of(b"ISO 2022 IR 100\\" * 500_000)) < 100


def test_an_unreadable_number_of_an_archive_is_left_empty() -> None:
    tree = tree_of(answer())
    tree[0x00280010] = ("US", ["many"])
    with pytest.raises(LocalProtocolError):
        encode_tree(tree, EXPLICIT)
    dataset = Dataset()
    dataset.add(DataElement(0x00280010, "UL", -1, validation_mode=config.IGNORE))
    assert tree_of(dataset) == {0x00280010: ("UL", [])}


def test_numbers_come_as_numbers_and_tags_as_text() -> None:
    dataset = Dataset()
    dataset.Rows, dataset.FrameIncrementPointer, dataset.RealWorldValueSlope = 3, 0x00181063, 2.5
    row = read_row(
        written(dataset, IMPLICIT), IMPLICIT, columns(["Rows", "FrameIncrementPointer", "RealWorldValueSlope"])
    )
    assert row == {"Rows": [3], "FrameIncrementPointer": ["00181063"], "RealWorldValueSlope": [2.5]}


@BOTH
def test_a_cut_one_is_refused(syntax: str) -> None:
    octets = written(answer(), syntax)
    for end in (3, len(octets) // 2, len(octets) - 1):
        with pytest.raises(RemoteProtocolError):
            read_row(octets[:end], syntax, columns(["PatientName"]))
        with pytest.raises(RemoteProtocolError):
            keys_of(octets[:end], syntax)


def test_deep_nesting_is_refused() -> None:
    octets = b""
    for _ in range(20):
        item = b"\xfe\xff\x00\xe0" + len(octets).to_bytes(4, "little") + octets
        octets = b"\x40\x00\x75\x02" + len(item).to_bytes(4, "little") + item
    with pytest.raises(RemoteProtocolError, match="nested"):
        keys_of(octets, IMPLICIT)


@given(st.binary(max_size=200))
def test_no_octets_fail_in_another_way(octets: bytes) -> None:
    wanted = columns(["PatientName", "Rows", "RequestAttributesSequence.ScheduledProcedureStepID"])
    for syntax in (IMPLICIT, EXPLICIT):
        with suppress(RemoteProtocolError):
            keys_of(octets, syntax)
        with suppress(RemoteProtocolError):
            read_row(octets, syntax, wanted)


@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_no_mutation_fails_in_another_way(at: int, value: int, undefined: bool) -> None:
    wanted = columns(["PatientName", "Rows", "RequestAttributesSequence.ScheduledProcedureStepID"])
    for syntax in (IMPLICIT, EXPLICIT):
        octets = bytearray(written(answer(), syntax, undefined=undefined))
        octets[at % len(octets)] = value
        with suppress(RemoteProtocolError):
            keys_of(octets, syntax)
        with suppress(RemoteProtocolError):
            read_row(octets, syntax, wanted)


@given(st.binary(max_size=60), st.sampled_from(["ascii", "latin_1", "UTF8", "iso2022_jp", "euc_kr", "GB18030"]))
def test_text_never_fails(octets: bytes, encoding: str) -> None:
    assert isinstance(decode_text(octets, (encoding,)), str)


def test_a_raw_row_becomes_an_answer_that_reads_back() -> None:
    asked = columns(
        ["Modality", "Rows", "SliceThickness", "ModalitiesInStudy", "RequestAttributesSequence.ScheduledProcedureStepID",
         "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue", "AccessionNumber", "FrameIncrementPointer"]
    )  # fmt: skip
    row: dict[str, list[object]] = {
        "Modality": ["CT"],
        "Rows": ["no number"],
        "SliceThickness": ["thick"],
        "ModalitiesInStudy": ["CT", None],
        "RequestAttributesSequence.ScheduledProcedureStepID": ["S1", None],
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": ["C1", "C2", "C3"],
        "FrameIncrementPointer": ["00181063"],
        "Beyond": ["x"],
    }
    for syntax in (IMPLICIT, EXPLICIT):
        read_back = read_row(encode_tree(tree_of_row(asked, row), syntax), syntax, asked)
        assert read_back == {
            "Modality": ["CT"],
            "Rows": [],
            "SliceThickness": ["thick"],
            "ModalitiesInStudy": ["CT", ""],
            "RequestAttributesSequence.ScheduledProcedureStepID": ["S1", None, None],
            "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": ["C1", "C2", "C3"],
            "FrameIncrementPointer": ["00181063"],
        }
