"""One file's attributes as raw values."""

from __future__ import annotations

import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from dicomlab.errors import RemoteProtocolError
from dicomlab.media import header
from dicomlab.media.header import read_row
from dicomlab.model.columns import LEVELS, STANDARD, Column, columns, read
from dicomlab.model.matching import COMPUTED
from dicomlab.part10.meta import encode_file_meta
from dicomlab.samples.manifest import data_folder, load

IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".1.99", ".2"))
COLUMNS = columns(
    [
        *dict.fromkeys(n for level in LEVELS for n in STANDARD[level] if n not in COMPUTED),
        "TransferSyntaxUID", "SpecificCharacterSet", "ImageType", "PixelSpacing", "SliceThickness", "PatientComments",
        "WindowCenter", "SmallestImagePixelValue", "PixelPaddingValue", "FrameIncrementPointer", "OtherPatientIDs",
        "RequestAttributesSequence.ScheduledProcedureStepID", "ReferencedImageSequence.ReferencedSOPInstanceUID",
        "ReferencedStudySequence.ReferencedSOPInstanceUID", "InstitutionAddress",
    ]
)  # fmt: skip


def example() -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
    ds.PatientName, ds.PatientID = "Äneas^R", "P 1"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PixelSpacing = ["0.50", "0.5"]
    ds.InstanceNumber = "7"
    ds.Rows, ds.PixelRepresentation, ds.SmallestImagePixelValue = 512, 1, -3
    ds["SmallestImagePixelValue"].VR = "SS"
    ds.FrameIncrementPointer = 0x00181063
    ds.PatientComments = "one\\two"
    ds.add_new(0x00191010, "LO", "private")
    first, second, third = Dataset(), Dataset(), Dataset()
    first.ScheduledProcedureStepID = "S1"
    third.SpecificCharacterSet, third.ScheduledProcedureStepID = "ISO_IR 192", "Sü"
    deep = Dataset()
    deep.CodeValue = "D"
    first.ScheduledProtocolCodeSequence = [deep, deep]
    ds.RequestAttributesSequence = [first, second, third]
    ds.add_new(0x7FE00010, "OW", b"\0" * 64)
    return ds


def encoded(ds: Dataset, syntax: str, *, undefined: bool = False) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    if undefined:
        ds["RequestAttributesSequence"].is_undefined_length = True
        for item in ds.RequestAttributesSequence:
            item.is_undefined_length_sequence_item = True
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


ASKED = columns(
    [
        "PatientName", "PatientID", "ImageType", "PixelSpacing", "InstanceNumber", "Rows", "SmallestImagePixelValue",
        "FrameIncrementPointer", "PatientComments", 0x00191010, "TransferSyntaxUID", "StudyDate",
        "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue",
    ]
)  # fmt: skip


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG])
def test_raw_values(syntax: str, undefined: bool) -> None:
    row = read_row(encoded(example(), syntax, undefined=undefined), ASKED)
    assert row == {
        "PatientName": ("Äneas^R",),
        "PatientID": ("P 1",),
        "ImageType": ("ORIGINAL", "PRIMARY"),
        "PixelSpacing": ("0.50", "0.5"),
        "InstanceNumber": ("7",),
        "Rows": (512,),
        "SmallestImagePixelValue": (-3,),
        "FrameIncrementPointer": ("00181063",),
        "PatientComments": ("one\\two",),  # LT: no separator in it
        "00191010": ("private",),
        "TransferSyntaxUID": (syntax,),
        "RequestAttributesSequence.ScheduledProcedureStepID": ("S1", None, "Sü"),
        "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue": ("D", "D"),
    }


@pytest.mark.parametrize("name", [sample.path for sample in load().taken] + [
    one.path for one in load().left_out if one.kind in ("duplicate", "missing_uid", "no_patient_id", "meta_uid")
])  # fmt: skip
def test_real_files_are_read_as_pydicom_reads_them(name: str, recwarn: pytest.WarningsRecorder) -> None:
    path = data_folder() / name
    row = read_row(path.read_bytes(), COLUMNS)
    assert not list(recwarn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # pydicom's own opinion of these files
        dataset = dcmread(path)
        for one in COLUMNS:
            if one.tag >> 16 != 2:
                assert read(one, row.get(one.name, ())) == read(one, pydicoms(dataset, one)), one.name


def pydicoms(dataset: Dataset, one: Column) -> tuple[object, ...]:
    if len(one.path) == 2:
        items = dataset.get(one.path[0])
        return tuple(next(iter(pydicoms(item, columns([one.path[1]])[0])), None) for item in items or ())
    element = dataset.get(one.tag)
    value: Any = None if element is None else element.value
    values = value if isinstance(value, MultiValue | list) else [] if value in (None, "") else [value]
    if one.vr == "AT":
        return tuple(f"{int(tag):08X}" for tag in values)
    return tuple(v if isinstance(v, int | float) and not hasattr(v, "original_string") else str(v) for v in values)


META = encode_file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT)
NAME = b"\x10\x00\x10\x00PN\x04\x00A^B "


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "too short"),
        (b"\0" * 200, "no DICM"),
        (META + NAME[:-1], "missing"),
        (META + NAME + b"\x10\x00", "cut inside"),
        (META + NAME + b"\x10\x00\x20\x00??\x02\x00AB", "no VR"),
        (META + b"\x40\x00\x75\x02SQ\0\0\x10\0\0\0" + b"\xfe\xff\x00\xe0\x40\0\0\0" + b"\0" * 8, "cut"),
        (META + b"\x40\x00\x75\x02SQ\0\0\x08\0\0\0" + b"ABCDEFGH", "other than an item"),
        (META + b"\x40\x00\x75\x02SQ\0\0\x08\0\0\0" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff", "without end"),
    ],
)
def test_broken_octets_are_named(octets: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text) as caught:
        read_row(octets, ASKED)
    assert caught.value.section.startswith("PS3.")


def test_nesting_without_end_is_refused() -> None:
    sequence = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(RemoteProtocolError, match="nested"):
        read_row(META + sequence * 5000, ASKED)


def test_a_number_of_the_wrong_size_is_kept_as_text() -> None:
    row = read_row(META + b"\x28\x00\x10\x00US\x03\x00\x01\x02\x03", ASKED)
    assert row["Rows"] == ("0x010203",)


@pytest.mark.parametrize(
    ("octets", "text"),
    [(b"\xff\xff\xff", "no deflate stream"), (zlib.compress(b"A" * 99, wbits=-15)[:-2], "cut")],
)
def test_a_broken_deflate_stream_is_named(octets: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        read_row(encode_file_meta("1.2", "1.3", DEFLATED) + octets, ASKED)


def test_a_bomb_is_not_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_INFLATED", 1 << 16)
    with pytest.raises(RemoteProtocolError, match="inflates to more"):
        read_row(encode_file_meta("1.2", "1.3", DEFLATED) + zlib.compress(b"\0" * (1 << 20), wbits=-15), ASKED)


def test_a_value_beyond_all_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_VALUE", 8)
    with pytest.raises(RemoteProtocolError, match="10 octets"):
        read_row(META + b"\x10\x00\x20\x00LO" + pack("<H", 10) + b"0123456789", ASKED)


def test_cut_anywhere_it_fails_only_in_one_way() -> None:
    whole = encoded(example(), EXPLICIT, undefined=True)
    for end in range(len(whole)):
        with suppress(RemoteProtocolError):
            read_row(whole[:end], ASKED)


@given(st.data())
def test_damaged_anywhere_it_fails_only_in_one_way(data: st.DataObject) -> None:
    whole = bytearray(encoded(example(), data.draw(st.sampled_from([IMPLICIT, EXPLICIT, DEFLATED, BIG]))))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(128, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        read_row(bytes(whole), ASKED)


@given(st.binary(max_size=200))
def test_anything_at_all_fails_only_in_one_way(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        read_row(META + octets, ASKED)


def test_every_file_of_the_folder_fails_only_in_one_way() -> None:
    for one in load().left_out:
        with suppress(RemoteProtocolError):
            read_row(Path(data_folder() / one.path).read_bytes(), COLUMNS)
