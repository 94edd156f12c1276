"""The manifest of real files: complete, true, and forgiving towards another pydicom."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID

from dicomlab import samples
from dicomlab.samples import manifest
from dicomlab.samples.manifest import Manifest, compiled, data_folder, load

NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID")


def test_every_file_of_the_folder_is_in_one_list_or_the_other() -> None:
    found = {
        path.relative_to(data_folder()).as_posix()
        for path in data_folder().rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    taken, left = [one.path for one in load().taken], [one.path for one in load().left_out]
    assert sorted(taken + left) == sorted(found)


def test_the_manifest_is_what_its_rules_give() -> None:
    assert compiled() == load()
    assert manifest.MANIFEST.read_text(encoding="utf-8") == load().to_json()


@pytest.mark.parametrize("sample", load().taken, ids=lambda sample: sample.path)
def test_pydicom_agrees(sample: manifest.Sample, recwarn: pytest.WarningsRecorder) -> None:
    path = data_folder() / sample.path
    dataset = dcmread(path, specific_tags=[*NEEDED, "SpecificCharacterSet"])
    assert all(dataset.get(keyword) for keyword in NEEDED)
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == sample.sop_instance_uid
    assert dataset.SOPClassUID == sample.sop_class_uid
    assert dataset.file_meta.TransferSyntaxUID == sample.transfer_syntax_uid
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sample.sha256


def test_each_instance_once_and_many_transfer_syntaxes() -> None:
    taken = load().taken
    assert len({one.sop_instance_uid for one in taken}) == len(taken) > 100
    syntaxes = {UID(one.transfer_syntax_uid) for one in taken}
    assert UID("1.2.840.10008.1.2.1.99") not in syntaxes
    assert len(syntaxes) >= 8
    assert {UID("1.2.840.10008.1.2"), UID("1.2.840.10008.1.2.1"), UID("1.2.840.10008.1.2.2")} < syntaxes


def test_every_reason_is_given() -> None:
    assert all(one.kind and len(one.reason) > 8 for one in load().left_out)
    assert {"duplicate", "missing_uid", "not_dicom", "truncated", "dicomdir", "no_patient_id"} <= {
        one.kind for one in load().left_out
    }


def test_real_files_in_the_order_of_the_manifest() -> None:
    assert samples.real_files() == [data_folder() / one.path for one in load().taken]
    assert samples.left_out() == [(data_folder() / one.path, one.reason) for one in load().left_out]


def test_another_pydicom_is_no_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *others = load().taken
    changed = Manifest((replace(first, path="gone.dcm"), replace(second, sha256="0" * 64), *others), load().left_out)
    monkeypatch.setattr(manifest, "load", lambda: changed)
    assert samples.real_files() == [data_folder() / one.path for one in others]
    rows = dict(samples.left_out())
    assert rows[data_folder() / "gone.dcm"] == "not in this version of pydicom"
    assert "another file" in rows[data_folder() / second.path]


def test_nothing_is_downloaded() -> None:
    assert data_folder().is_dir()
    assert all(Path(path).is_relative_to(data_folder()) for path in samples.real_files())
