"""DICOMDIRs and volumes: ``MediaSet`` beside pydicom, DCMTK and SimpleITK, from a warm page cache.

Both sides start from files: ours reads the headers in each round too, keeps no index, and every check stays on.
dcmmkdir, which takes minutes, and pydicom's FileSet are timed once or twice only.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import Row, Size, main, side_by_side
from node_peers import write_series
from pydicom import dcmread
from pydicom.fileset import FileSet

from dicomlab import MediaSet
from tests.peers.dcmtk import run

INSTANCES = {3: 60, 60: 2_000, 400: 20_000}
PER_SERIES = 50
SIDE = 512
MUST = 50
"""How many times as fast as dcmmkdir, where both make up what is missing."""
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber")


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """Read and write a DICOMDIR, read a volume."""
    instances = INSTANCES[size.slices]
    large, small, one_series = scratch / "large", scratch / "small", scratch / "one-series"
    write_tree(large, instances)
    write_tree(small, instances // 4)
    yield from writing(size, large, small, instances)
    yield from reading(size, large, instances)
    for folder in (large, small):
        shutil.rmtree(folder)
    few = max(instances // 4, 1)
    write_tree(one_series, few, per_series=few)
    yield beside_dcmmkdir(f"write the DICOMDIR of {few} files, all of one series", one_series)
    shutil.rmtree(one_series)
    yield from volumes(size, scratch)


# --- DICOMDIR --------------------------------------------------------------------------------------------------------


def write_tree(folder: Path, instances: int, per_series: int = PER_SERIES) -> None:
    """Small CT slices under File IDs: one written by pydicom, the others patched copies of it."""
    write_series(folder.with_name("one"), 1, 1, 2)
    one = next(folder.with_name("one").iterdir())
    made = dcmread(one)
    uids = {
        "PatientID": "{patient:06d}", "StudyInstanceUID": "2.25.77{study:08d}", "InstanceNumber": "{place:06d}",
        "SeriesInstanceUID": "2.25.78{series:08d}", "SOPInstanceUID": "2.25.79{number:08d}",
    }  # fmt: skip
    blank = {"patient": 111_111, "study": 22_222_222, "series": 33_333_333, "number": 44_444_444, "place": 555_555}
    for keyword, pattern in uids.items():
        setattr(made, keyword, pattern.format(**blank))
    made.save_as(one, enforce_file_format=True)
    octets = one.read_bytes()
    for number in range(instances):
        series = number // per_series
        study, patient = series // 3, series // 6
        facts = {
            "patient": patient,
            "study": study,
            "series": series,
            "number": number,
            "place": number % per_series + 1,
        }
        patched = octets
        for pattern in uids.values():
            patched = patched.replace(pattern.format(**blank).encode(), pattern.format(**facts).encode())
        path = folder / f"PT{patient:06d}" / f"ST{study:06d}" / f"SE{series:06d}" / f"IM{number:06d}"
        if number % per_series == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(patched)
    shutil.rmtree(one.parent)


def write_directory(folder: Path) -> None:
    """A DICOMDIR over files that lie there."""
    MediaSet(folder, mode="update", cache=False).store([], progress=False)


def writing(size: Size, large: Path, small: Path, instances: int) -> Iterator[Row]:
    """The DICOMDIR of a tree that is there, headers read and all."""

    def clear() -> None:
        for folder in (large, small):
            (folder / "DICOMDIR").unlink(missing_ok=True)

    what = f"write the DICOMDIR of {instances} files"
    yield beside_dcmmkdir(f"{what}, {PER_SERIES} in a series", large)
    clear()
    must = MUST if size.slices == 400 else None
    yield beside_dcmmkdir(f"{what}, what a record lacks made up", large, "+I", must=must)
    again = max(3, size.rounds)
    few = (f"of {instances // 4} files", lambda: write_directory(small))
    yield side_by_side(f"{what}: linear is 4", ("MediaSet.store", lambda: write_directory(large)), few, again, clear)


def beside_dcmmkdir(what: str, folder: Path, *switches: str, must: float | None = None) -> Row:
    """Both over the same files.

    ``MediaSet`` always makes up the Type 1 keys that an instance leaves empty; dcmmkdir does with ``+I``, and leaves
    such instances out without it. With it, it takes quadratic time, whether anything is missing or not; a pile of mixed
    files, as that of ``corpus.py``, needs it. It also sorts each instance in among those of its series: many in one
    series, as functional MR has them, are a hard case of their own.
    """

    def clear() -> None:
        (folder / "DICOMDIR").unlink(missing_ok=True)

    def theirs() -> None:
        subprocess.run(["dcmmkdir", "-q", "+r", *switches], cwd=folder, check=True, capture_output=True)

    write_directory(folder)  # what is loaded on first use is loaded
    peer = " ".join(("dcmmkdir", *switches))
    row = side_by_side(what, ("MediaSet.store", lambda: write_directory(folder)), (peer, theirs), 1, clear)
    return replace(row, must=must)


def reading(size: Size, large: Path, instances: int) -> Iterator[Row]:
    """A DICOMDIR into a table."""
    directory = large / "DICOMDIR"

    def ours() -> None:
        table = MediaSet(directory).directory
        assert (table["DirectoryRecordType"] == "IMAGE").sum() == instances

    def with_fileset() -> None:
        import pandas as pd

        held = FileSet(directory)
        table = pd.DataFrame([{key: one[key].value if key in one else None for key in KEYS} for one in held])
        assert len(table) == instances

    def with_dcmdump() -> None:
        done = run("dcmdump", directory, timeout_s=600)
        assert done.stdout.count("ReferencedFileID") >= instances

    write_directory(large)
    ours()
    what = f"read a DICOMDIR of {instances} instances"
    few = min(2, size.rounds)
    yield side_by_side(what, ("MediaSet.directory", ours), ("pydicom FileSet", with_fileset), few)
    yield side_by_side(what, ("MediaSet.directory", ours), ("dcmdump", with_dcmdump), size.rounds)


# --- volumes ---------------------------------------------------------------------------------------------------------


def write_slices(folder: Path, slices: int, syntax: str = "") -> None:
    """A CT series with its geometry; compressed where a switch of dcmcjpeg and the like says so."""
    write_series(folder, 3, slices, SIDE)
    for number, path in enumerate(sorted(folder.iterdir())):
        one = dcmread(path)
        one.ImagePositionPatient, one.ImageOrientationPatient = [-200, -200, 1.5 * number], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness, one.FrameOfReferenceUID = [0.78, 0.78], 1.5, "2.25.9"
        one.RescaleSlope, one.RescaleIntercept = 1, -1024
        if syntax:
            one.compress(syntax, generate_instance_uid=False)
        one.save_as(path, enforce_file_format=True)


def volumes(size: Size, scratch: Path) -> Iterator[Row]:
    """A series into one float32 array in Hounsfield units."""
    folder = scratch / "slices"
    write_slices(folder, size.slices)
    what = f"{size.slices} slices to a float32 volume"
    pairs = (("a pydicom loop", lambda: with_pydicom(folder)), ("SimpleITK", lambda: with_itk(folder)))
    for name, theirs in pairs:
        yield side_by_side(what, ("MediaSet.volume", lambda: ours(folder, size.slices)), (name, theirs), size.rounds)
    for name, syntax in (
        ("JPEG 2000", "1.2.840.10008.1.2.4.90"),
        ("JPEG-LS", "1.2.840.10008.1.2.4.80"),
        ("RLE", "1.2.840.10008.1.2.5"),
    ):
        packed = scratch / name.replace(" ", "")
        write_slices(packed, max(1, size.slices // 10), syntax)
        few = f"{max(1, size.slices // 10)} slices of {name}"
        mine = ("MediaSet.volume", lambda packed=packed: ours(packed, size.slices // 10 or 1))
        peer = ("SimpleITK", lambda packed=packed: with_itk(packed))
        yield side_by_side(few, mine, peer, min(3, size.rounds))


def ours(folder: Path, slices: int) -> None:
    array = MediaSet(folder, cache=False).volume(progress=False).array
    assert (array.shape, array.dtype) == ((slices, SIDE, SIDE), np.float32)


def with_pydicom(folder: Path) -> None:
    """What everybody writes."""
    images = [dcmread(path) for path in folder.iterdir()]
    images.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    volume = np.empty((len(images), SIDE, SIDE), dtype=np.float32)
    for place, one in enumerate(images):
        volume[place] = one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept)


def with_itk(folder: Path) -> None:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.GetArrayFromImage(reader.Execute()).astype(np.float32)


if __name__ == "__main__":
    main(bench, peers=["dcmtk"])
