"""Seeded series of images for the tests of volumes: written with pydicom, as a scanner would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

STUDY, SERIES, FRAME = "2.25.100", "2.25.101", "2.25.102"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.9659258, 0.258819, 0.0, -0.1830127, 0.6830127, 0.7071068)
SIDE = (48, 40)


def pixels(number: int, size: tuple[int, int] = SIDE, dtype: str = "<u2") -> np.ndarray:
    """Seeded noise below 4096."""
    return np.random.default_rng([7, number]).integers(0, 4096, size).astype(dtype)


def image(number: int, position: Sequence[float] | None, *, orientation: Sequence[float] = AXIAL,
          series: str = SERIES, modality: str = "CT", **attributes: Any) -> Dataset:  # fmt: skip
    """One slice; `attributes` by keyword overrule, None removes."""
    one = Dataset()
    one.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    one.SOPInstanceUID = f"{series}.{number}"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, series, FRAME
    one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "VOL", "Volume^Test", "", ""
    one.StudyID, one.StudyDate, one.StudyTime, one.AccessionNumber = "1", "20260105", "101500", ""
    one.ReferringPhysicianName = ""
    one.Modality, one.SeriesNumber, one.InstanceNumber = modality, 1, number
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    if position is not None:
        one.ImagePositionPatient = [f"{value:.6f}"[:16] for value in position]
        one.ImageOrientationPatient = [f"{value:.8f}"[:16] for value in orientation]
    one.PixelSpacing, one.SliceThickness = [0.8, 0.5], 2.5
    one.Rows, one.Columns = SIDE
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 2, -1024, "HU"
    one.PixelData = pixels(number).tobytes()
    one["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        if value is None:
            if keyword in one:
                delattr(one, keyword)
        else:
            setattr(one, keyword, value)
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return one


def line(count: int, step: Sequence[float] = (0.0, 0.0, 2.5), start: Sequence[float] = (-20.0, 30.0, 5.0)) -> list[Any]:
    """Positions on a straight line."""
    return [tuple(np.array(start) + np.array(step) * number) for number in range(count)]


def write(folder: Path, images: Iterable[Dataset]) -> Path:
    """Write them as files, named against their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(images):
        one.save_as(folder / f"{999 - number:03}.dcm", enforce_file_format=True)
    return folder


def stack(count: int = 6, **attributes: Any) -> list[Dataset]:
    """A plain series; `step` and `orientation` may be given."""
    step = attributes.pop("step", (0.0, 0.0, 2.5))
    return [image(n, position, **attributes) for n, position in enumerate(line(count, step), start=1)]
