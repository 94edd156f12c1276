"""What a DICOMDIR says against what is in the folder."""

from __future__ import annotations

from dataclasses import replace

from dicomlab.media.dicomdir import Directory, decode_dicomdir
from dicomlab.media.dicomdir_writer import Leaf, encode_dicomdir
from dicomlab.media.reconcile import compare, differences

ROW = {
    "PatientID": ("P1",), "PatientName": ("Doe^J",), "StudyInstanceUID": ("1.1",), "StudyDate": ("20260105",),
    "StudyTime": ("1015",), "StudyID": ("S",), "SeriesInstanceUID": ("1.1.1",), "Modality": ("CT",),
    "SeriesNumber": ("4",), "InstanceNumber": ("1",), "SOPInstanceUID": ("1.1.1.1",),
}  # fmt: skip
LEAF = Leaf(("PT000001", "IM000001"), "1.2.840.10008.5.1.4.1.1.2", "1.1.1.1", "1.2.840.10008.1.2.1", ROW)


def directory(*leaves: Leaf) -> Directory:
    return decode_dicomdir(encode_dicomdir(leaves or [LEAF], file_set_uid="1.9")[0])


def test_they_agree() -> None:
    found = compare(directory(), {"PT000001/IM000001": "1.1.1.1", "README": ""})
    assert found.ok
    assert (found.agreeing, found.missing, found.mismatched, found.unlisted) == (1, 0, 0, 0)
    assert found.findings == ()


def test_a_file_is_missing_and_another_unlisted() -> None:
    found = compare(directory(), {"PT000001/IM000002": "1.1.1.2"})
    assert not found.ok
    assert (found.missing, found.unlisted) == (1, 1)
    assert [f.uid for f in found.findings] == ["1.1.1.1", "1.1.1.2"]


def test_a_file_holds_something_else() -> None:
    found = compare(directory(), {"PT000001/IM000001": "1.1.1.7"})
    assert (found.agreeing, found.mismatched, found.unlisted) == (0, 1, 0)
    found = compare(directory(), {"PT000001/IM000001": ""})
    assert found.mismatched == 1
    assert "no readable instance" in found.findings[0].text


def test_names_of_a_mounted_disc_are_found() -> None:
    for name in ("pt000001/im000001", "PT000001/IM000001;1", "pt000001/im000001.;1"):
        found = compare(directory(), {name: "1.1.1.1"})
        assert found.ok
        assert len(found.findings) == 1


def test_a_record_that_leads_out_is_not_followed() -> None:
    hostile = replace(LEAF, file_id=("..", "..", "ETC", "PASSWD"))
    found = compare(directory(hostile), {"../../ETC/PASSWD": "1.1.1.1"})
    assert found.missing == 1
    assert "leads out" in found.findings[0].text


def test_made_up_and_other_keys_are_told_apart() -> None:
    row = {name: values for name, values in ROW.items() if name not in ("StudyID", "InstanceNumber")}
    written = directory(replace(LEAF, row=row))
    texts = [(f.record, f.text) for f in differences(written, {"1.1.1.1": row})]
    assert texts == [
        ("IMAGE", "InstanceNumber stands in the record only"),
        ("STUDY", "StudyID stands in the record only"),
    ]
    changed = {**ROW, "Modality": ("MR",)}
    assert [f.text for f in differences(directory(), {"1.1.1.1": changed})] == [
        "Modality is another than in the instance"
    ]
    assert list(differences(directory(), {"1.1.1.1": ROW})) == []
    assert list(differences(directory(), {})) == []


def test_no_finding_names_a_patient() -> None:
    changed = {**ROW, "PatientName": ("Roe^Jane",), "PatientID": ("P2",)}
    text = " ".join(f.text for f in differences(directory(), {"1.1.1.1": changed}))
    assert "PatientName" in text
    assert not any(value in text for value in ("Roe", "Doe", "P1", "P2"))
