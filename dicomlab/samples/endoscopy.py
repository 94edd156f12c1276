"""A synthetic endoscopy: a tunnel of mucosa with folds, vessels and a polyp that comes nearer. Nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dicomlab.errors import UsageError
from dicomlab.samples.phantom import EXPLICIT_LE, derived_uid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

PATIENT: dict[str, Any] = {
    "PatientName": "Synthetic^Endo^^^1",
    "PatientID": "SYN-ENDO-1",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "StudyID": "1",
    "StudyDescription": "Synthetic colonoscopy",
}
"""Keywords for a ``Broadcast`` of it."""

VL_ENDOSCOPIC_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.1"


def endoscopy_frames(
    count: int = 50, width: int = 320, height: int = 240, rate_hz: float = 25.0, seed: int = 0
) -> Iterator[NDArray[Any]]:
    """Make the frames of a synthetic endoscopy, one at a time.

    Parameters
    ----------
    count : int
        How many; at least 1.
    width, height : int
        Pixels; even, at least 16.
    rate_hz : float
        Frames per second: how far the scope advances between two.
    seed : int
        The same seed gives the same pictures.

    Yields
    ------
    array of uint8, rows x columns x 3
        RGB, full range; round as an endoscope's picture is, black around it.

    Raises
    ------
    UsageError
        Too few frames or pixels.
    """
    if count < 1 or min(width, height) < 16 or width % 2 or height % 2 or rate_hz <= 0:
        raise UsageError("an endoscopy has at least one frame, and an even number of pixels, at least 16, each way")
    return _frames(count, width, height, rate_hz, seed)


def _frames(count: int, width: int, height: int, rate_hz: float, seed: int) -> Iterator[NDArray[Any]]:
    import numpy as np

    random = np.random.default_rng(seed)
    phases = random.uniform(0, 2 * np.pi, 6)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    unit = min(width, height) / 2
    x, y = (x - (width - 1) / 2) / unit, (y - (height - 1) / 2) / unit
    view = np.hypot(x, y) < 0.97
    grain = random.normal(0, 2.5, (height, width)).astype(np.float32)
    for number in range(count):
        time_s = number / rate_hz
        centre = 0.25 * np.sin(0.7 * time_s + phases[0]), 0.2 * np.cos(0.5 * time_s + phases[1])
        radius = np.hypot(x - centre[0], y - centre[1]) + 0.02
        angle = np.arctan2(y - centre[1], x - centre[0])
        depth = 0.35 / radius
        along = depth + 0.8 * time_s
        folds = np.maximum(0, np.sin(5.0 * along + 0.6 * np.sin(3 * angle + phases[2]))) ** 3
        vessels = np.abs(np.sin(7 * angle + 2 * np.sin(1.7 * along + phases[3]) + phases[4])) < 0.06
        light = np.clip(1.25 - 0.62 * depth, 0.03, 1.0) * (0.78 + 0.22 * folds)
        red, green, blue = 226 * light, 112 * light * (1 - 0.25 * folds), 92 * light * (1 - 0.25 * folds)
        green, blue = green * np.where(vessels, 0.55, 1), blue * np.where(vessels, 0.62, 1)
        near = 0.10 + 0.10 * (time_s % 4)
        polyp = np.hypot(x - 0.45 * np.cos(phases[5]), y - 0.45 * np.sin(phases[5])) / near
        bump = np.clip(1 - polyp, 0, 1)
        red, green, blue = red + 30 * bump, green + 26 * bump, blue + 34 * bump
        shine = np.exp(-(((polyp - 0.35) / 0.12) ** 2)) * (bump > 0) * 70
        picture = np.stack([red + shine, green + shine, blue + shine], axis=-1) + np.roll(grain, number, 1)[..., None]
        yield np.where(view[..., None], np.clip(np.rint(picture), 0, 255), 0).astype(np.uint8)


def endoscopy_image(width: int = 64, height: int = 64, seed: int = 0) -> Dataset:
    """Make one still picture of it, as an endoscope stores it: the one data set that can go on all four paths.

    Its pixels are RGB of 8 bit, colour by pixel: what a real-time flow of that sampling carries, octet for octet.

    Parameters
    ----------
    width, height : int
        Pixels; even, at least 16.
    seed : int
        UIDs and pixels follow from it alone.

    Returns
    -------
    Dataset
        With File Meta Information, in Explicit VR Little Endian, ready for ``store`` or ``save_as``.

    Raises
    ------
    UsageError
        Too few pixels.

    Source
    ------
    PS3.3 §A.32.1 (VL Endoscopic Image IOD), §C.8.12.1 (VL Image), §C.7.6.3.1.3 (Planar Configuration).
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    picture = next(endoscopy_frames(1, width, height, seed=seed))
    uids = {name: derived_uid("endoscopy", seed, width, height, name) for name in ("study", "series", "instance")}
    ds: Any = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = UID(VL_ENDOSCOPIC_STORAGE)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(uids["instance"])
    ds.file_meta.TransferSyntaxUID = UID(EXPLICIT_LE)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "090000"
    ds.AccessionNumber = "SYNES"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "ES", "dicomlab", "Endoscope"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", "1"
    ds.ReferringPhysicianName = "Synthetic^Referrer"
    for keyword, value in PATIENT.items():
        setattr(ds, keyword, value)
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = "Synthetic from the start: no such person"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids["study"], uids["series"]
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.Laterality = ds.PatientOrientation = ""
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = height, width
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "00"
    ds.AcquisitionContextSequence = []
    ds.PixelData = picture.tobytes()
    ds["PixelData"].VR = "OW"  # as in Implicit VR, so that both hold the same (PS3.5 §A.1, §A.2)
    return ds  # type: ignore[no-any-return]


def tone(seconds: float = 1.0, rate_hz: int = 48_000, pitch_hz: float = 440.0) -> NDArray[Any]:
    """A soft tone of 24 bit, stereo: samples x 2, int32; it ends where it begins, so that it can be repeated.

    Raises
    ------
    UsageError
        No time at all.
    """
    import numpy as np

    if seconds <= 0:
        raise UsageError("a tone lasts some time")
    whole = max(1, round(seconds * pitch_hz))
    count = round(whole * rate_hz / pitch_hz)
    wave = np.sin(2 * np.pi * whole * np.arange(count) / count) * (1 << 21)
    stereo: NDArray[Any] = np.rint(wave).astype(np.int32)[:, None].repeat(2, axis=1)
    return stereo
