"""One file for each transfer syntax, and the sample of a long matrix that stays in the short run."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.processes import command, need

SEED = 20261124
CT, SC, VIDEO = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.77.1.1.1"

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big endian": "1.2.840.10008.1.2.2",
    "JPEG": "1.2.840.10008.1.2.4.50",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "J2K": "1.2.840.10008.1.2.4.90",
    "RLE": "1.2.840.10008.1.2.5",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
    "MPEG4": "1.2.840.10008.1.2.4.102",
}
"""Those of the matrix, by a name that reads well in the id of a test."""


class Specimen(NamedTuple):
    """One file, and what is true of it."""

    path: Path
    syntax: str
    sop_class: str
    study: str
    series: str
    uid: str
    digest: str


def digest_of(path: Path) -> str:
    """SHA-256 of what follows the File Meta Information."""
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel), parcel
    with parcel.dataset() as octets:
        return hashlib.sha256(octets).hexdigest()


def syntax_of(path: Path) -> str:
    """What the File Meta Information says, and that pydicom reads the file whole."""
    dataset = dcmread(path)
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    return str(dataset.file_meta.TransferSyntaxUID)


def make_specimens(folder: Path, study: str) -> dict[str, Specimen]:
    """All in one study; the images share one series, as mixed series do."""
    made = {}
    for number, (name, uid) in enumerate(SYNTAXES.items(), start=1):
        dataset = _video(number) if name == "MPEG4" else _image(name, number)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.{2 if name == 'MPEG4' else 1}"
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number}"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = folder / f"{name.replace(' ', '-')}.dcm"
        if name in ("J2K", "RLE", "JPEG-LS"):
            dataset.file_meta.TransferSyntaxUID = UID(SYNTAXES["explicit"])
            dataset.compress(UID(uid), generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = UID(uid)
        dataset.save_as(path, enforce_file_format=True)
        made[name] = Specimen(
            path, uid, str(dataset.SOPClassUID), str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID),
            str(dataset.SOPInstanceUID), digest_of(path),
        )  # fmt: skip
    return made


def _image(name: str, number: int) -> Dataset:
    dataset = _as_specimen(next(iter(phantom_datasets(1, 1, seed=number))), number)
    encapsulated = {"JPEG": _jpeg, "HTJ2K": _opaque}.get(name)
    if encapsulated is not None:
        if name == "JPEG":
            dataset.SOPClassUID = SC
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = encapsulate([encapsulated()])
        dataset["PixelData"].VR = "OB"
    return dataset


def _as_specimen(dataset: Dataset, number: int) -> Dataset:
    dataset.PatientName, dataset.PatientID = "Speci^Men", "SPECIMEN"
    dataset.InstanceNumber = number
    return dataset


def _video(number: int) -> Dataset:
    dataset = _as_specimen(next(iter(phantom_datasets(1, 1))), number)
    for keyword in ("RescaleIntercept", "RescaleSlope", "RescaleType", "ImagePositionPatient", "PixelSpacing"):
        del dataset[keyword]
    dataset.SOPClassUID, dataset.Modality = VIDEO, "ES"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_PARTIAL_420", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.NumberOfFrames, dataset.FrameTime = 5, 200
    need("ffmpeg")
    stream = subprocess.run(
        [str(command("ffmpeg")), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=5:duration=1",
         "-c:v", "libx264", "-profile:v", "high", "-level", "4.1", "-pix_fmt", "yuv420p", "-f", "h264", "-"],
        stdout=subprocess.PIPE, check=True, timeout=60,
    ).stdout  # fmt: skip
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    return dataset


def _jpeg() -> bytes:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    out = BytesIO()
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype("uint8")
    Image.fromarray(ramp).save(out, "JPEG", quality=90)
    return out.getvalue()


def _opaque() -> bytes:
    """No encoder for HTJ2K is at hand; what counts here is that octets which nobody can read travel unchanged."""
    return random.Random(SEED).randbytes(3001) + b"\0"


def some(values: Iterable[Any], keep: int) -> list[Any]:
    """A seeded sample of one axis; the others are ``full``."""
    values = tuple(values)
    kept = set(random.Random(SEED).sample(range(len(values)), keep))
    return [
        pytest.param(value, id=str(value), marks=() if number in kept else pytest.mark.full)
        for number, value in enumerate(values)
    ]


def matrix(*axes: Sequence[Any], keep: int) -> list[Any]:
    """The product of `axes`: a seeded sample of `keep` cases that has every value of every axis, the others ``full``."""
    cases = list(product(*axes))
    shuffled = random.Random(SEED).sample(cases, len(cases))
    kept: dict[tuple[Any, ...], None] = {}
    for number, axis in enumerate(axes):
        for value in axis:
            if not any(case[number] == value for case in kept):
                kept[next(case for case in shuffled if case[number] == value)] = None
    for case in shuffled:
        if len(kept) < keep:
            kept[case] = None
    return [
        pytest.param(*case, id="-".join(map(str, case)), marks=() if case in kept else pytest.mark.full)
        for case in cases
    ]
