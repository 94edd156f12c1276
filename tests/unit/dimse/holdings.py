"""A small archive over a folder of files, for the tests of the DIMSE room: real files, no index, no mock."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite

from dicomlab.errors import ServiceError
from dicomlab.model.columns import UNIQUE_KEY
from dicomlab.model.matching import Row, answers, rows_at_level
from dicomlab.model.protocols import Arrival, Held
from dicomlab.model.query import Query
from dicomlab.part10.files import FileWriter, read_file_meta

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
CT, MR, SC, SR = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.11",
)
_NAMES = """PatientID PatientName PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime AccessionNumber
StudyID StudyDescription ReferringPhysicianName SeriesInstanceUID Modality SeriesNumber SeriesDescription
BodyPartExamined SOPInstanceUID SOPClassUID InstanceNumber Rows Columns NumberOfFrames""".split()


class FolderHoldings:
    """Satisfies ``Holdings`` and ``Sink``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refuse: Exception | None = None
        self.sources: list[str] = []
        self._lock = threading.Lock()

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.dcm"))

    def octets_of(self, uid: str) -> bytes:
        path = self.folder / f"{uid}.dcm"
        return path.read_bytes()[read_file_meta(path).length :]

    # --- Holdings

    def search(self, query: Query) -> Iterator[Row]:
        rows = []
        for path in self.files():
            dataset = dcmread(path, stop_before_pixels=True)
            row: dict[str, Sequence[object]] = {}
            for name in _NAMES:
                if name in dataset and dataset[name].value not in (None, ""):
                    value = dataset[name].value
                    row[name] = (value if isinstance(value, int) else str(value),)
            rows.append(row)
        for row in rows_at_level(query.level, rows):
            if answers(query.keys, row):
                yield row

    def select(self, level: str, uids: Sequence[str]) -> list[Held]:
        found = []
        for path in self.files():
            dataset = dcmread(path, stop_before_pixels=True)
            if str(dataset[UNIQUE_KEY[level]].value) in uids:
                meta = read_file_meta(path)
                found.append(
                    Held(
                        path, dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID,
                        dataset.SOPClassUID, meta.transfer_syntax_uid, meta.length, path.stat().st_size,
                    )
                )  # fmt: skip
        return found

    def sink(self, source: str) -> FolderHoldings:
        with self._lock:
            self.sources.append(source)
        return self

    def secure(self, held: Sequence[Held]) -> list[Held]:
        return list(held)

    def remove(self, held: Held) -> None:
        held.path.unlink(missing_ok=True)

    # --- Sink

    def begin(self, arrival: Arrival) -> FileWriter:
        if self.refuse is not None:
            raise self.refuse
        return FileWriter(self.folder / f"{arrival.sop_instance_uid}.dcm", arrival)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        raise ServiceError(f"{sop_instance_uid} {status}", status=0)


def instance(
    number: int,
    *,
    patient: str = "P1",
    name: str = "Müller^Jürgen",
    study: str = "1.2.3.1",
    series: str = "1.2.3.1.1",
    sop_class: str = CT,
    syntax: str = EXPLICIT,
    description: str = "Thorax",
    octets: int = 64,
    modality: str = "CT",
) -> Dataset:
    """One synthetic instance; what its pixels look like is of no concern here."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"{series}.{number}"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20260131", "101500", f"A{study[-1]}"
    dataset.Modality, dataset.StudyDescription = modality, description
    dataset.ReferringPhysicianName = ""
    dataset.PatientName, dataset.PatientID = name, patient
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", series.rsplit(".", maxsplit=1)[-1], number
    dataset.Rows = dataset.Columns = 8
    pixels = bytes(i % 251 for i in range(octets))
    if syntax in (JPEG, RLE):
        fragment = pixels + b"\0" * (len(pixels) % 2)
        item = b"\xfe\xff\x00\xe0" + len(fragment).to_bytes(4, "little") + fragment
        dataset.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + item  # pydicom writes the delimiter
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    else:
        dataset.PixelData = pixels
        dataset["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, sop_class
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def write(folder: Path, *datasets: Dataset) -> list[Path]:
    """Put instances into a folder as files, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for dataset in datasets:
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths
