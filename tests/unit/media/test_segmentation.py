"""A segmentation lands on the voxels that it was drawn on, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import pack_bits

from dicomlab import MediaSet, Volume
from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.media.segmentation import SEGMENTATION, labels_of
from dicomlab.samples.phantom import phantom_datasets


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    for number, dataset in enumerate(phantom_datasets(patients=1, slices=4)):
        if dataset.Modality == "CT":
            dataset.save_as(tmp_path / f"{number}.dcm")
    return MediaSet(tmp_path).volume(progress=False)


def item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def segmentation(volume: Volume, masks: list[tuple[int, int, np.ndarray]], *, move_mm: float = 0.0) -> Dataset:
    """Of (slice, segment number, mask): what a scanner of ours would write, with what is looked at."""
    way = list(volume.header(0).ImageOrientationPatient)
    places = volume.frames[["x_mm", "y_mm", "z_mm"]].to_numpy()
    made = item(SOPClassUID=SEGMENTATION, Rows=64, Columns=64, NumberOfFrames=len(masks), SegmentationType="BINARY")
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    made.SegmentSequence = [item(SegmentNumber=1, SegmentLabel="insert"), item(SegmentNumber=2, SegmentLabel="bone")]
    made.SharedFunctionalGroupsSequence = [item(PlaneOrientationSequence=[item(ImageOrientationPatient=way)])]
    made.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[float(one) + move_mm for one in places[at]])],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
        )
        for at, number, _ in masks
    ]
    made.PixelData = pack_bits(np.concatenate([mask.ravel() for *_, mask in masks]).astype(np.uint8))
    made["PixelData"].VR = "OB"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    return made


def test_each_frame_lands_on_its_slice(volume: Volume) -> None:
    random = np.random.default_rng(2)
    first, second = (random.random((64, 64)) > 0.6 for _ in range(2))
    labels, names = labels_of(segmentation(volume, [(2, 1, first), (0, 2, second)]), volume)
    assert names == ["insert", "bone"]
    assert np.array_equal(labels[2], first.astype(np.uint8))
    assert np.array_equal(labels[0], 2 * second.astype(np.uint8))
    assert not labels[[1, 3]].any()


def test_the_viewer_takes_it(volume: Volume) -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:40] = True
    with volume.view(overlay=segmentation(volume, [(1, 1, mask)])) as viewer:
        assert viewer.state["names"] == ["insert"]
        assert viewer._labels is not None
        assert viewer._labels[1].sum() == 100


def test_what_does_not_meet_is_refused(volume: Volume) -> None:
    mask = np.ones((64, 64), bool)
    with pytest.raises(UsageError, match="no plane"):
        labels_of(segmentation(volume, [(0, 1, mask)], move_mm=1.0), volume)
    turned = segmentation(volume, [(0, 1, mask)])
    turned.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    with pytest.raises(UsageError, match="orientation"):
        labels_of(turned, volume)
    small = segmentation(volume, [(0, 1, mask)])
    small.Rows = 32
    with pytest.raises(UsageError, match="resampled"):
        labels_of(small, volume)
    with pytest.raises(UsageError, match="Segmentation"):
        labels_of(volume.header(0), volume)
    broken = segmentation(volume, [(0, 1, mask)])
    del broken.PerFrameFunctionalGroupsSequence
    with pytest.raises(RemoteProtocolError):
        labels_of(broken, volume)
