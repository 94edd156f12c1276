"""Synthetic patients: a CT of a cylinder with inserts and one MR slice for each. The same seed gives the same data."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.errors import UsageError
from dicomlab.part10.medium import medium_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

SIZE = 64
"""Rows and columns of every image."""
SPACING_MM = 4.0
THICKNESS_MM = 5.0
NAMES = ("Synthetic^Ada", "Synthetic^Ben", "Synthetic^Cleo", "Synthetic^Dario", "Synthetic^Eve")
_FIRST_DAY = date(2026, 1, 5)


def phantom_datasets(patients: int = 3, slices: int = 8, seed: int = 0) -> Iterator[Dataset]:
    """Make the instances of synthetic patients, one at a time.

    Each patient (``SYN-001``, ``SYN-002``, ...) has two studies: a CT series of axial slices and, a week later, one MR
    slice. UIDs, dates, names and pixels follow from `seed` alone.

    Parameters
    ----------
    patients : int
        At least 1.
    slices : int
        CT slices for each patient, at least 1.
    seed : int

    Yields
    ------
    Dataset
        With File Meta Information, in Explicit VR Little Endian, ready for ``store`` or ``save_as``.

    Raises
    ------
    UsageError
        Fewer than one patient or slice.

    Source
    ------
    PS3.3 §A.3 (CT Image IOD), §A.4 (MR Image IOD), §C.7.6.2 (Image Plane).
    """
    if patients < 1 or slices < 1:
        raise UsageError("a phantom needs at least one patient and one slice")
    return _all(patients, slices, seed)


def write_phantom(folder: str | Path, patients: int = 3, slices: int = 8, seed: int = 0) -> list[Path]:
    """Write :func:`phantom_datasets` as Part 10 files, ``0001.dcm`` and so on, into a folder (made if absent).

    Raises
    ------
    UsageError
        Fewer than one patient or slice.
    Interrupted, Refused
        The folder can't be written.
    """
    target = Path(folder)
    written = []
    with medium_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        for number, dataset in enumerate(phantom_datasets(patients, slices, seed), start=1):
            path = target / f"{number:04d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            written.append(path)
    return written


def _all(patients: int, slices: int, seed: int) -> Iterator[Dataset]:
    for number in range(1, patients + 1):
        for index in range(slices):
            yield ct_slice(number, index, slices, seed)
        yield mr_slice(number, seed)


def derived_uid(*parts: object) -> str:
    """A UID that follows from what it names (PS3.5 §B.2: derived from a UUID, here a name-based one)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, ('dicomlab-phantom', *parts)))).int}"


def _common(number: int, modality: str, sop_class: str, index: int, seed: int) -> Dataset:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    day = _FIRST_DAY + timedelta(days=number - 1 + (7 if modality == "MR" else 0))
    instance_uid = derived_uid(seed, number, modality, "instance", index)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    ds.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = instance_uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day.strftime("%Y%m%d")
    ds.StudyTime = f"{8 + number % 10:02d}0000"
    ds.SeriesTime = f"{8 + number % 10:02d}0500"
    ds.AcquisitionTime = ds.ContentTime = f"{8 + number % 10:02d}05{index % 60:02d}"
    ds.AccessionNumber = f"SYN{number:03d}{modality}"
    ds.Modality = modality
    ds.Manufacturer = "dicomlab"
    ds.ManufacturerModelName = "Phantom"
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = "1"
    ds.ReferringPhysicianName = "Synthetic^Referrer"
    ds.StudyDescription = f"Synthetic {modality} study"
    ds.SeriesDescription = "Cylinder with inserts"
    ds.PatientName = f"{NAMES[(number - 1) % len(NAMES)]}^^^{number}"
    ds.PatientID = f"SYN-{number:03d}"
    ds.PatientBirthDate = date(1950 + (number * 7) % 50, 1 + number % 12, 1 + number % 28).strftime("%Y%m%d")
    ds.PatientSex = "FMO"[(number - 1) % 3]
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic from the start: no such person"
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = derived_uid(seed, number, modality, "study")
    ds.SeriesInstanceUID = derived_uid(seed, number, modality, "series")
    ds.FrameOfReferenceUID = derived_uid(seed, number, modality, "frame of reference")
    ds.StudyID = f"{number}{modality}"
    ds.SeriesNumber = 1
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = index + 1
    _set_geometry(ds, index)
    return ds


def _set_geometry(ds: Dataset, index: int) -> None:
    """Axial, square pixels, the axis of the cylinder at the origin (PS3.3 §C.7.6.2, §C.7.6.3)."""
    ds.PositionReferenceIndicator = ""
    corner_mm = -SPACING_MM * (SIZE - 1) / 2
    ds.ImagePositionPatient = [corner_mm, corner_mm, index * THICKNESS_MM]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = index * THICKNESS_MM
    ds.SliceThickness = THICKNESS_MM
    ds.PixelSpacing = [SPACING_MM, SPACING_MM]
    ds.Rows = ds.Columns = SIZE
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0


def ct_slice(number: int, index: int, slices: int, seed: int) -> Dataset:
    """One CT slice of a patient, by number (from 1) and place."""
    ds = _common(number, "CT", CT_STORAGE, index, seed)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.KVP = 120
    ds.ConvolutionKernel = "SMOOTH" if number % 2 else "SHARP"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    height = index / max(1, slices - 1)
    hounsfield = _cylinder(number, height, (-1000.0, 0.0, 60.0, 900.0), noise=10.0, key=(seed, number, index))
    _set_pixels(ds, hounsfield + 1024)
    return ds


def mr_slice(number: int, seed: int) -> Dataset:
    """The MR slice of a patient, by number (from 1)."""
    ds = _common(number, "MR", MR_STORAGE, 0, seed)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength, ds.MagneticFieldStrength = 500, 15, 1, 1.5
    ds.FlipAngle = 90
    ds.WindowCenter, ds.WindowWidth = 500, 1000
    _set_pixels(ds, _cylinder(number, 0.5, (20.0, 500.0, 800.0, 120.0), noise=15.0, key=(seed, number, 10_000)))
    return ds


def _cylinder(
    number: int, height: float, levels: tuple[float, float, float, float], *, noise: float, key: tuple[int, int, int]
) -> NDArray[Any]:
    """Background, cylinder, a round insert that wanders with the height, and a dense rod."""
    import numpy as np

    background, body, insert, rod = levels
    y, x = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
    image = np.full((SIZE, SIZE), background)
    image[np.hypot(x, y) < SIZE * 0.42] = body
    angle = 2 * np.pi * (height + number / 7)
    image[np.hypot(x - 12 * np.cos(angle), y - 12 * np.sin(angle)) < 6] = insert
    image[np.hypot(x + 14, y) < 3] = rod
    return image + np.random.default_rng([abs(part) for part in key]).normal(0, noise, image.shape)


def _set_pixels(ds: Dataset, values: NDArray[Any]) -> None:
    import numpy as np

    ds.PixelData = np.clip(np.rint(values), 0, 4095).astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
