"""Volumes cut for the viewer: the right voxels, the right edges, exact values where there are any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomlab import MediaSet
from dicomlab.errors import UsageError
from dicomlab.notebook.cutting import block_of, labels_on, views_of
from dicomlab.samples.phantom import phantom_datasets


@pytest.fixture
def volume(tmp_path: Path):
    for number, dataset in enumerate(phantom_datasets(patients=1, slices=6)):
        dataset.save_as(tmp_path / f"{number}.dcm")
    return next(one for one in MediaSet(tmp_path).volumes(progress=False) if one.modality == "CT")


def test_codes_are_the_stored_values_and_give_the_rescaled_ones(volume) -> None:
    block = block_of(volume)
    assert block.exact
    assert block.codes.dtype.itemsize <= 2
    assert np.array_equal(block.codes[0] * block.slope + block.intercept, volume.array)
    assert block.value((0, 2, 30, 31)) == volume.array[2, 30, 31]


@pytest.mark.parametrize(("axis", "index"), [("z", 2), ("y", 30), ("x", 31)])
def test_a_plane_is_the_cut_of_the_array(volume, axis: str, index: int) -> None:
    block = block_of(volume)
    plane = block.plane(0, axis, index)
    expected = np.take(volume.array, index, "zyx".index(axis))
    assert plane.flags.c_contiguous
    assert np.array_equal(plane * block.slope + block.intercept, expected)


def test_edges_name_the_patients_sides(volume) -> None:
    axial, coronal, sagittal = views_of(volume)
    assert (axial.name, axial.edges) == ("axial", ("R", "L", "A", "P"))
    assert (coronal.name, coronal.edges) == ("coronal", ("R", "L", "H", "F"))
    assert (sagittal.name, sagittal.edges) == ("sagittal", ("A", "P", "H", "F"))
    assert coronal.flip == (True, False)  # slices go from the feet up, and the head belongs above
    assert (sagittal.rows, sagittal.columns) == (6, 64)


def test_gaps_are_no_values(tmp_path: Path) -> None:
    kept = [ds for ds in phantom_datasets(patients=1, slices=6) if ds.Modality == "CT" and ds.InstanceNumber != 3]
    for number, dataset in enumerate(kept):
        dataset.save_as(tmp_path / f"{number}.dcm")
    holed = MediaSet(tmp_path).volume(gaps="nan", progress=False)
    block = block_of(holed)
    assert block.missing is not None
    gone = np.flatnonzero(np.isnan(holed.array).all(axis=(1, 2)))
    assert len(gone) == 1
    assert (block.codes[0, gone[0]] == block.missing).all()
    known = np.delete(np.arange(6), gone)
    away = np.abs(block.codes[0, known] * block.slope + block.intercept - holed.array[known])
    assert away.max() <= block.slope


def test_an_overlay_must_fit(volume) -> None:
    labels = np.zeros(volume.shape, int)
    labels[2] = 3
    assert labels_on(labels, volume).dtype == np.uint8
    for wrong in (labels[:-1], labels + 300, labels.astype(float)):
        with pytest.raises(UsageError, match="overlay"):
            labels_on(wrong, volume)
