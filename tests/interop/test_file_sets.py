"""File-sets written by profile, judged by DCMTK, dicom3tools and pydicom."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.fileset import FileSet
from pydicom.pixels import compress
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicomlab import MediaSet
from dicomlab.media.profiles import PROFILES
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.dcmtk import run
from tests.peers.processes import need

SWITCH = {
    "STD-GEN-CD": "-Pgp", "STD-GEN-DVD-JPEG": "-Pdv", "STD-GEN-DVD-J2K": "-Pd2", "STD-GEN-USB-JPEG": "-Pfl",
    "STD-GEN-USB-J2K": "-Pf2",
}  # fmt: skip
"""dcmmkdir's name for each profile."""
ENCODINGS = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1,
)  # fmt: skip
FILE_ID = re.compile(r"[A-Z0-9_]{1,8}(/[A-Z0-9_]{1,8}){0,7}")


def encoded(one: Dataset, syntax: UID, folder: Path) -> None:
    """Write an instance in that transfer syntax."""
    path = folder / f"{one.SOPInstanceUID}.dcm"
    if syntax == ExplicitVRBigEndian:
        one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    if syntax == JPEGLosslessSV1:
        one.save_as(path.with_suffix(".raw"), enforce_file_format=True)
        run("dcmcjpeg", "+e1", path.with_suffix(".raw"), path)
        path.with_suffix(".raw").unlink()
        return
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        compress(one, syntax, generate_instance_uid=False)
    one.file_meta.TransferSyntaxUID = syntax
    one.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, every encoding."""
    need("dcmtk")
    folder = tmp_path_factory.mktemp("source")
    for number, one in enumerate(phantom_datasets(patients=2, slices=7)):
        encoded(one, ENCODINGS[number % len(ENCODINGS)], folder)
    return folder


@pytest.fixture(scope="module")
def images(source: Path) -> dict[str, np.ndarray]:
    """The pixels of each instance, before."""
    read = [dcmread(path) for path in source.iterdir()]
    return {one.SOPInstanceUID: one.pixel_array for one in read}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DICOMDIR")


def records(directory: Path) -> set[tuple[str, str]]:
    """Type and UID of each record, by pydicom."""
    uid = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
    return {
        (one.DirectoryRecordType, str(one[uid.get(one.DirectoryRecordType, "ReferencedSOPInstanceUIDInFile")].value))
        for one in dcmread(directory).DirectoryRecordSequence
    }


@pytest.fixture
def judge() -> None:
    need("dcmtk", "dicom3tools")


def conforms(folder: Path, switch: str, count: int) -> None:
    """Every judge says yes."""
    directory = folder / "DICOMDIR"
    run("dcdirdmp", directory)
    for path in (directory, *files_of(folder)):
        run("dcmdump", "-q", "+E", path)
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
    theirs = FileSet(directory)
    assert len(theirs) == count
    theirs._stage["t"].cleanup()
    ours = records(directory)
    again = folder.parent / f"{folder.name}-again"
    shutil.copytree(folder, again)
    (again / "DICOMDIR").unlink()
    subprocess.run(["dcmmkdir", "+r", switch, "--strict", "-a"], cwd=again, check=True, capture_output=True)
    assert records(again / "DICOMDIR") == ours
    shutil.rmtree(again)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile(name: str, source: Path, images: dict[str, np.ndarray], judge: None, tmp_path: Path) -> None:
    media = MediaSet(source)
    report = media.write(tmp_path / "set", profile=name, progress=False)
    assert report.complete
    assert len(report) == len(images) == 16
    assert MediaSet(tmp_path / "set").verify()
    for path in files_of(tmp_path / "set"):
        one = dcmread(path)
        assert one.file_meta.TransferSyntaxUID in PROFILES[name].transfer_syntaxes
        assert np.array_equal(one.pixel_array, images[one.SOPInstanceUID])
        assert FILE_ID.fullmatch(path.relative_to(tmp_path / "set").as_posix())
    conforms(tmp_path / "set", SWITCH[name], 16)


def test_without_profile_nothing_is_changed(source: Path, tmp_path: Path) -> None:
    report = MediaSet(source).write(tmp_path / "set", progress=False)
    assert report.complete
    before = sorted(path.read_bytes() for path in source.iterdir())
    assert sorted(path.read_bytes() for path in files_of(tmp_path / "set")) == before


@pytest.mark.parametrize("suffix", [".zip", ".iso"])
def test_archives_and_images_hold_the_same(suffix: str, source: Path, judge: None, tmp_path: Path) -> None:
    media = MediaSet(source)
    media.write(tmp_path / "set", profile="STD-GEN-CD", progress=False)
    report = media.write(tmp_path / f"disc{suffix}", profile="STD-GEN-CD", progress=False)
    assert report.complete
    unpacked = tmp_path / "unpacked"
    if suffix == ".zip":
        with zipfile.ZipFile(tmp_path / "disc.zip") as archive:
            assert archive.testzip() is None
            assert {one.compress_type for one in archive.infolist()} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
            assert archive.namelist()[-1] == "DICOMDIR"
            archive.extractall(unpacked)
    else:
        unpack_iso(tmp_path / "disc.iso", unpacked)
    for path in files_of(tmp_path / "set"):
        assert (unpacked / path.relative_to(tmp_path / "set")).read_bytes() == path.read_bytes()
    assert len(files_of(unpacked)) == 16
    conforms(unpacked, "-Pgp", 16)
    assert {path.name for path in tmp_path.iterdir()} == {"set", f"disc{suffix}", "unpacked"}


def unpack_iso(image: Path, to: Path) -> None:
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.open(str(image))
    for folder, _, names in iso.walk(iso_path="/"):
        for name in names:
            path = to / folder.strip("/") / name.split(";")[0].rstrip(".")
            path.parent.mkdir(parents=True, exist_ok=True)
            iso.get_file_from_iso(str(path), iso_path=f"{folder.rstrip('/')}/{name}")
    iso.close()


def test_an_updated_file_set_is_still_one(source: Path, judge: None, tmp_path: Path) -> None:
    MediaSet(source).write(tmp_path / "set", profile="STD-GEN-CD", progress=False)
    media = MediaSet(tmp_path / "set", mode="update")
    before = {path: path.stat().st_mtime_ns for path in files_of(tmp_path / "set")}
    gone = media.remove(media.find("study", ModalitiesInStudy=["MR"], progress=False), progress=False)
    assert (gone.complete, len(gone)) == (True, 2)
    extra = tmp_path / "extra"
    extra.mkdir()
    for one in phantom_datasets(patients=3, slices=1):
        if one.PatientID == "SYN-003":
            encoded(one, ExplicitVRLittleEndian, extra)
    assert media.store(extra, progress=False).count("done") == 2
    after = files_of(tmp_path / "set")
    assert len(after) == 16
    assert all(before[path] == path.stat().st_mtime_ns for path in after if path in before)
    assert not [path for path in (tmp_path / "set").rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert media.verify()
    conforms(tmp_path / "set", "-Pgp", 16)
