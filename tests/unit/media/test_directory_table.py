"""A DICOMDIR as a table."""

from __future__ import annotations

import pandas as pd
import pytest
from pydicom import dcmread

from dicomlab.media.dicomdir import decode_dicomdir
from dicomlab.media.dicomdir_writer import Leaf, encode_dicomdir
from dicomlab.media.directory_table import directory_frame
from dicomlab.samples.manifest import data_folder

FOLDER = data_folder() / "test_files" / "dicomdirtests"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered"])
def test_the_same_values_as_pydicom(name: str) -> None:
    frame = directory_frame(decode_dicomdir((FOLDER / name).read_bytes()))
    theirs = dcmread(FOLDER / name).DirectoryRecordSequence
    assert len(frame) == len(theirs)
    for row, record in zip(frame.to_dict("records"), theirs, strict=True):
        assert row["DirectoryRecordType"] == record.DirectoryRecordType
        assert row["offset"] == record.seq_item_tell
        if record.DirectoryRecordType == "IMAGE":
            assert row["path"] == "/".join(record.ReferencedFileID)
            assert row["ReferencedSOPInstanceUIDInFile"] == record.ReferencedSOPInstanceUIDInFile
            assert row["InstanceNumber"] == record.InstanceNumber


def test_leaves_inherit_what_stands_above_them() -> None:
    frame = directory_frame(decode_dicomdir((FOLDER / "DICOMDIR").read_bytes()))
    assert not frame["orphan"].any()
    leaves = frame[frame["DirectoryRecordType"] == "IMAGE"]
    assert set(leaves["PatientID"]) == {"77654033", "98890234"}
    assert leaves[["StudyInstanceUID", "SeriesInstanceUID", "Modality"]].notna().all().all()
    patient = frame[frame["DirectoryRecordType"] == "PATIENT"].iloc[0]
    assert pd.isna(patient["StudyInstanceUID"])
    assert pd.isna(patient["parent"])
    assert leaves["parent"].map(frame["DirectoryRecordType"]).eq("SERIES").all()


def test_typed_as_everywhere_and_in_the_character_set_of_each_record() -> None:
    row = {
        "PatientID": ("1",), "PatientName": ("Привет^Мир=漢字",), "StudyInstanceUID": ("1.1",), "StudyDate": ("20260105",),
        "StudyTime": ("1015",), "StudyID": ("S",), "SeriesInstanceUID": ("1.1.1",), "Modality": ("CT",),
        "SeriesNumber": ("4",), "InstanceNumber": ("1",), "SOPInstanceUID": ("1.1.1.1",),
    }  # fmt: skip
    octets, _ = encode_dicomdir([Leaf(("IM1",), CT, "1.1.1.1", "1.2.840.10008.1.2.1", row)], file_set_uid="1.9")
    frame = directory_frame(decode_dicomdir(octets))
    assert frame["PatientName"].tolist() == ["Привет^Мир"] * 4
    assert frame.dtypes[["StudyDate", "SeriesNumber", "path"]].astype(str).tolist() == ["datetime64[s]", "Int64", "str"]
    assert frame["StudyTime"].tolist()[1:] == ["10:15:00.000000"] * 3
    assert pd.isna(frame["StudyTime"][0])


def test_an_empty_one_is_an_empty_table() -> None:
    frame = directory_frame(decode_dicomdir(encode_dicomdir([], file_set_uid="1.9")[0]))
    assert len(frame) == 0
    assert "path" in frame.columns
