"""One data set as a table: sequences open, codes are told, patients masked, words found; whatever it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

import dicomlab
from dicomlab.errors import RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.options import MASK
from dicomlab.samples.phantom import phantom_datasets


def sample() -> Dataset:
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "51185008", "SCT", "Chest"
    item.ReferencedSOPClassUID, item.PatientName = "1.2.840.10008.5.1.4.1.1.2", "Doe^Jane"
    whole = Dataset()
    whole.Modality, whole.PatientName, whole.PixelData = "CT", "Doe^Jane", b"\0" * 64
    whole["PixelData"].VR = "OW"
    whole.AnatomicRegionSequence, whole.ReferencedImageSequence = [code], [item]
    whole.add_new(0x00091001, "LO", "secret")
    return whole


def rows(view: object) -> dict[str, tuple[str, ...]]:
    return {row[1]: row for row in view._summary_().rows}  # type: ignore[attr-defined]


def test_values_meanings_and_masks() -> None:
    told = rows(dicomlab.inspect(sample()))
    assert told["Modality"][3:] == ("CT", "Computed Tomography")
    assert told["PatientName"][3] == MASK
    assert told["private"][3] == MASK
    assert told["AnatomicRegionSequence"][3:] == ("1 item", "Chest (51185008, SCT)")
    assert told["ReferencedSOPClassUID"][4] == "CT Image Storage"
    assert told["PixelData"][3] == "64 octets"
    assert told["PixelData"][4].startswith("sha256 ")
    assert "Doe" not in dicomlab.inspect(sample())._repr_html_()
    assert rows(dicomlab.inspect(sample(), fictional=True))["PatientName"][3] == "Doe^Jane"


def test_a_search_keeps_the_sequences_around_what_it_finds() -> None:
    view = dicomlab.inspect(sample()).search("CT image")
    assert set(rows(view)) == {"ReferencedImageSequence", "", "ReferencedSOPClassUID"}
    assert "search 'CT image'" in repr(view)
    assert dicomlab.inspect(sample()).search("no such words").rows() == ()


def test_a_path_and_an_instance_are_taken_and_nothing_else(tmp_path: Path) -> None:
    next(phantom_datasets(1, 1)).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert rows(dicomlab.inspect(tmp_path / "a.dcm"))["Modality"][3] == "CT"
    with dicomlab.Archive(web_port=None) as archive:
        archive.add(phantom_datasets(1, 1), progress=False)
        archive.node.fictional = True
        instance = next(iter(archive.node.find("instance", progress=False)))
        assert "Synthetic" in rows(dicomlab.inspect(instance))["PatientName"][3]
    (tmp_path / "text").write_text("no DICOM at all")
    with pytest.raises(RemoteProtocolError):
        dicomlab.inspect(tmp_path / "text")
    with pytest.raises(Unreachable):
        dicomlab.inspect(tmp_path / "absent")
    with pytest.raises(UsageError, match="not int"):
        dicomlab.inspect(3)


def test_what_can_not_be_read_is_a_row_and_no_error() -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    whole = Dataset()
    whole._dict[Tag(0x00280010)] = RawDataElement(Tag(0x00280010), "US", 3, b"abc", 0, False, True)
    whole.Modality = "CT"
    told = dicomlab.inspect(whole)._summary_().rows
    assert [row[0] for row in told] == ["(0008,0060)", "(0028,0010)"]
    assert "can't be read" in told[1][4]


def test_depth_and_number_are_bounded() -> None:
    whole = inner = Dataset()
    for _ in range(60):
        nested = Dataset()
        nested.StudyDescription = "x" * 60
        inner.ReferencedStudySequence = [nested] * 30
        inner = nested
    html = dicomlab.inspect(whole)._repr_html_()
    assert len(html.encode()) <= 24_000
    assert "more elements" in html
