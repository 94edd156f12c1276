"""``Node`` beside DCMTK and pynetdicom: sending, fetching and searching, all on loopback.

DCMTK runs with TCP_NODELAY=1 on both sides; without it, it would wait 40 ms for each message and be no match.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from measure import Row, Size, main, side_by_side
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomlab import Node
from tests.peers.dcmtk import QueryRetrieveScp, StoreScp, run
from tests.peers.processes import LOOPBACK

ROOT_UID = "2.25.314159265358979"
KEYS = ("SOPInstanceUID", "InstanceNumber", "SOPClassUID")


def write_series(folder: Path, study: int, instances: int, side: int) -> str:
    """Write a seeded CT-like series; give its Study Instance UID."""
    folder.mkdir()
    noise = np.random.default_rng(study)
    uid = f"{ROOT_UID}.{study}"
    for number in range(1, instances + 1):
        slice_ = Dataset()
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, f"{uid}.1.{number}"
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID = uid, f"{uid}.1"
        slice_.PatientID, slice_.PatientName, slice_.StudyID = f"BENCH{study}", "Bench^Synthetic", str(study)
        slice_.PatientBirthDate = slice_.PatientSex = slice_.AccessionNumber = slice_.ReferringPhysicianName = ""
        slice_.StudyDate, slice_.StudyTime, slice_.Modality = "20260101", "120000", "CT"
        slice_.SeriesNumber, slice_.InstanceNumber = "1", str(number)
        slice_.Rows = slice_.Columns = side
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation = 15, 1
        slice_.PixelData = noise.normal(0, 100, (side, side)).astype("<i2").tobytes()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / f"{number:05}.dcm", slice_, enforce_file_format=True)
    return uid


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """Store, C-GET and C-FIND."""
    study = write_series(scratch / "ct", 1, size.slices, 512)
    index = write_series(scratch / "index", 2, size.rows, 2)
    with ExitStack() as stack:
        for name in ("storescp", "dcmqrscp"):
            (scratch / name).mkdir()
        sink = stack.enter_context(StoreScp(scratch / "storescp"))
        archive = stack.enter_context(QueryRetrieveScp(scratch / "dcmqrscp"))
        run("storescu", "+sd", "-aec", archive.aet, LOOPBACK, archive.port, scratch / "ct", timeout_s=600)
        run("storescu", "+sd", "-aec", archive.aet, LOOPBACK, archive.port, scratch / "index", timeout_s=600)
        yield store(size, scratch / "ct", sink)
        yield get(size, scratch, archive, study)
        yield find(size, archive, index)


def store(size: Size, folder: Path, sink: StoreScp) -> Row:
    """The same folder to the same storescp."""
    node = Node(sink.ae)

    def theirs() -> None:
        run("storescu", "-R", "+sd", "-aec", sink.aet, LOOPBACK, sink.port, folder, timeout_s=600)
        assert len(sink.files) == size.slices

    def ours() -> None:
        assert node.store(folder, progress=False).count("done") == len(sink.files) == size.slices

    def empty() -> None:
        for file in sink.files:
            file.unlink()

    what = f"C-STORE, {size.slices} CT slices"
    return side_by_side(what, ("Node.store -> storescp", ours), ("storescu -> storescp", theirs), size.rounds, empty)


def get(size: Size, scratch: Path, archive: QueryRetrieveScp, study: str) -> Row:
    """The same study from the same dcmqrscp into an empty folder."""
    cohort = Node(archive.ae).find("instance", StudyInstanceUID=study, progress=False)
    at = scratch / "got"

    def theirs() -> None:
        keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
        run("getscu", "-S", "+B", "-od", at, "-aec", archive.aet, *keys, LOOPBACK, archive.port, timeout_s=600)
        assert len(list(at.iterdir())) == size.slices

    def ours() -> None:
        report = cohort.retrieve(at, method="get", progress=False)
        assert report.count("done") == size.slices

    def empty() -> None:
        shutil.rmtree(at, ignore_errors=True)
        at.mkdir()

    what = f"C-GET, {size.slices} CT slices"
    return side_by_side(what, ("cohort.retrieve", ours), ("getscu +B", theirs), size.rounds, empty)


def find(size: Size, archive: QueryRetrieveScp, study: str) -> Row:
    """The same rows from the same dcmqrscp, each into a DataFrame."""
    import pandas as pd
    from pynetdicom import AE
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

    node = Node(archive.ae)

    def ours() -> None:
        found = node.find("instance", StudyInstanceUID=study, include=KEYS, progress=False)
        assert len(found.to_dataframe()) == size.rows

    def theirs() -> None:
        asked = Dataset()
        asked.QueryRetrieveLevel, asked.StudyInstanceUID = "IMAGE", study
        asked.SeriesInstanceUID = f"{study}.1"
        for key in KEYS:
            setattr(asked, key, None)
        ae = AE()
        ae.add_requested_context(StudyRootFind)
        association = ae.associate(LOOPBACK, archive.port, ae_title=archive.aet)
        answers = [match for _, match in association.send_c_find(asked, StudyRootFind) if match is not None]
        association.release()
        assert len(pd.DataFrame([{key: match.get(key) for key in KEYS} for match in answers])) == size.rows

    what = f"C-FIND, {size.rows} rows to a DataFrame"
    return side_by_side(what, ("Node.find", ours), ("pynetdicom", theirs), size.rounds)


if __name__ == "__main__":
    main(bench, peers=["dcmtk"])
