"""A medium under its judge."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomlab import MediaSet
from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.samples.manifest import data_folder
from dicomlab.samples.phantom import write_phantom
from tests.peers.processes import need


@pytest.fixture
def file_set(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "in", patients=1, slices=3)
    MediaSet(tmp_path / "in").write(tmp_path / "set", profile="STD-GEN-CD", progress=False)
    return tmp_path / "set"


def images(folder: Path) -> list[Path]:
    return sorted(folder.rglob("IM*"))


def statuses(folder: Path) -> list[str]:
    return sorted(MediaSet(folder).reconcile(progress=False)["status"])


def test_the_directory_is_read_without_the_files(file_set: Path) -> None:
    for path in images(file_set):
        path.write_bytes(b"")
    table = MediaSet(file_set).directory
    assert table["DirectoryRecordType"].tolist().count("IMAGE") == 4
    assert table["path"].dropna().is_unique
    with pytest.raises(UsageError, match="no DICOMDIR"):
        _ = MediaSet(file_set / "PT000001").directory
    (file_set / "DICOMDIR").write_bytes(b"rubbish")
    with pytest.raises(RemoteProtocolError):
        _ = MediaSet(file_set).directory


def test_every_way_to_disagree_has_its_status(file_set: Path) -> None:
    assert statuses(file_set) == ["ok"] * 4
    first, second, third, fourth = images(file_set)
    first.rename(first.with_name("im000001"))
    second.unlink()
    third.write_bytes(fourth.read_bytes())
    extra = dcmread(fourth)
    extra.SOPInstanceUID = "2.25.999"
    extra.save_as(file_set / "EXTRA")
    fourth.write_bytes(b"no instance")
    assert statuses(file_set) == ["case", "mismatch", "missing", "unlisted", "unreadable"]
    table = MediaSet(file_set).reconcile(progress=False).set_index("status")
    assert table.loc["unlisted", "SOPInstanceUID"] == "2.25.999"
    assert table.loc["case", "actual"].endswith("im000001")
    assert table.loc["mismatch", "found"] != table.loc["mismatch", "SOPInstanceUID"]


def test_without_directory_everything_is_unlisted(file_set: Path) -> None:
    (file_set / "DICOMDIR").unlink()
    assert statuses(file_set) == ["unlisted"] * 4
    (file_set / "DICOMDIR").symlink_to(images(file_set)[0])
    assert "unlisted" in statuses(file_set)


def test_a_good_file_set_has_no_breach(file_set: Path) -> None:
    for profile in (None, "STD-GEN-CD", "STD-GEN-USB-J2K"):
        assert MediaSet(file_set).validate(profile, progress=False).empty


def test_breaches_of_a_profile(file_set: Path) -> None:
    (file_set / "EMPTY").mkdir()
    (file_set / "PT000001" / "DICOMDIR").write_bytes((file_set / "DICOMDIR").read_bytes())
    one = dcmread(images(file_set)[0])
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = "2.25.999"
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    one.save_as(file_set / "extra.dcm")
    table = MediaSet(file_set).validate("STD-GEN-CD", progress=False)
    texts = " | ".join(table["severity"] + ": " + table["text"])
    assert "error: STD-GEN-CD allows no Implicit VR Little Endian" in texts
    assert "error: no record refers to extra.dcm" in texts
    assert "error: a second DICOMDIR" in texts
    assert "warning: an empty folder" in texts
    assert set(table["tool"]) == {"dicomlab"}
    with pytest.raises(UsageError, match="no profile"):
        MediaSet(file_set).validate("STD-GEN-FLOPPY")


def test_damage_is_an_error(file_set: Path) -> None:
    os.truncate(images(file_set)[0], 3000)
    table = MediaSet(file_set).validate(progress=False)
    assert {"error"} <= set(table["severity"])
    assert any("truncated" in text for text in table["text"])


def test_dciodvfy_looks_at_every_instance(file_set: Path) -> None:
    need("dicom3tools")
    one = dcmread(images(file_set)[0])
    del one.PatientSex
    del one.StudyInstanceUID
    one.StudyInstanceUID = "1.2.3"
    one.PixelSpacing = [4, 4]
    del one.RescaleSlope
    one.save_as(images(file_set)[0])
    table = MediaSet(file_set).validate(iod=True, progress=False)
    told = table[(table["tool"] == "dciodvfy") & (table["severity"] == "error")]
    assert set(told["path"]) == {images(file_set)[0].relative_to(file_set).as_posix()}
    assert told["text"].str.contains("RescaleSlope|PatientSex").any()


def test_without_dciodvfy_it_says_so(file_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    table = MediaSet(file_set).validate(iod=True, progress=False)
    assert table["severity"].tolist() == ["note"]
    assert "not installed" in table["text"][0]


def test_a_real_disc() -> None:
    folder = data_folder() / "test_files" / "dicomdirtests"
    media = MediaSet(folder / "DICOMDIR")
    assert len(media.directory) == 52
    assert (media.reconcile(progress=False)["status"] == "ok").sum() == 31
    table = media.validate(progress=False)
    assert table["text"].str.contains("is no File ID").any() or not table.empty


@pytest.mark.parametrize("name", ["..\\..\\ETC", "PT000001\\..\\..", "C:\\SECRET_"])
def test_no_file_id_leads_out_of_the_folder(name: str, file_set: Path) -> None:
    secret = file_set.parent / "secret"
    secret.write_bytes(images(file_set)[0].read_bytes())
    octets = (file_set / "DICOMDIR").read_bytes()
    good = b"PT000001\\ST000001\\SE000001\\IM000001 "
    assert good in octets
    (file_set / "DICOMDIR").write_bytes(octets.replace(good, name.encode().ljust(len(good)), 1))
    ours = MediaSet(file_set, mode="update")
    assert "leads_out" in set(ours.reconcile(progress=False)["status"])
    assert not ours.verify()
    ours.remove([dcmread(images(file_set)[1]).SOPInstanceUID], progress=False)
    assert secret.exists()
    assert {path.name for path in file_set.parent.iterdir()} == {"in", "set", "secret"}
