"""Synthetic patients: the same every time, and right in the eyes of others."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicomlab.errors import UsageError
from dicomlab.media.media_set import MediaSet
from dicomlab.samples.phantom import phantom_datasets, write_phantom
from tests.peers.processes import need


def octets(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_same_seed_gives_the_same_octets() -> None:
    first, second, other = (list(map(octets, phantom_datasets(2, 2, seed))) for seed in (0, 0, 1))
    assert first == second
    assert not set(first) & set(other)


def test_what_is_there() -> None:
    datasets = list(phantom_datasets(patients=3, slices=8))
    assert len(datasets) == 3 * 9
    assert sorted({ds.PatientID for ds in datasets}) == ["SYN-001", "SYN-002", "SYN-003"]
    assert all("Synthetic" in str(ds.PatientName) for ds in datasets)
    assert len({ds.StudyInstanceUID for ds in datasets}) == len({ds.SeriesInstanceUID for ds in datasets}) == 6
    assert len({ds.SOPInstanceUID for ds in datasets}) == 27
    assert all(uids_fit(ds) for ds in datasets)


def uids_fit(ds: Dataset) -> bool:
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.FrameOfReferenceUID)
    return all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_the_geometry_is_that_of_a_stack() -> None:
    slices = [ds for ds in phantom_datasets(1, 5) if ds.Modality == "CT"]
    positions = np.array([ds.ImagePositionPatient for ds in slices], dtype=float)
    assert np.diff(positions[:, 2]) == pytest.approx([float(slices[0].SliceThickness)] * 4)
    assert np.ptp(positions[:, :2], axis=0) == pytest.approx([0, 0])
    center = positions[0, 0] + float(slices[0].PixelSpacing[0]) * (slices[0].Columns - 1) / 2
    assert center == pytest.approx(0)
    hounsfield = slices[0].pixel_array * float(slices[0].RescaleSlope) + float(slices[0].RescaleIntercept)
    assert hounsfield.shape == (64, 64)
    assert hounsfield[0, 0] == pytest.approx(-1000, abs=60)  # air around it
    assert hounsfield[32, 18] == pytest.approx(900, abs=60)  # the rod
    assert not np.array_equal(slices[0].pixel_array, slices[4].pixel_array)


def test_written_files_are_a_media_set(tmp_path: Path) -> None:
    paths = write_phantom(tmp_path / "phantom", patients=2, slices=2)
    assert [path.name for path in paths] == [f"{n:04d}.dcm" for n in range(1, 7)]
    assert [octets(dcmread(path)) for path in paths] == list(map(octets, phantom_datasets(2, 2)))
    media = MediaSet(tmp_path / "phantom")
    assert len(media.errors) == 0
    assert len(media.instances) == 6


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    need("dicom3tools")
    for path in write_phantom(tmp_path, patients=3, slices=1):
        judged = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert not [line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("arguments", [{"patients": 0}, {"slices": 0}])
def test_nothing_is_no_phantom(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        phantom_datasets(**arguments)
