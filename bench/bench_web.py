"""``WebEndpoint`` beside requests, dicomweb-client and pydicom: retrieving, searching and storing, all on one Orthanc.

Jobs (``--only``): memory, files, peaks, qido, metadata, reader, slow, store.

Rows in seconds compare times of the same work in the same run; rows in MiB compare how far the peak of memory grows in
a fresh process. Completeness checks, ledger and the tap stay on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from dicomweb_client.api import DICOMwebClient
from measure import Row, Size, main, side_by_side
from node_peers import write_series
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

import dicomlab
from dicomlab import WebEndpoint
from dicomlab.model.columns import columns
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival
from dicomlab.model.report import Outcome
from dicomlab.part10.memory import Gathering
from dicomlab.web.json_columns import Table
from dicomlab.web.multipart import Data, End, PartReader, closing, part_head
from tests.faults.plans import Delay, Plan
from tests.faults.proxy import TcpProxy
from tests.peers.orthanc import Orthanc
from tests.peers.processes import LOOPBACK

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
JSON = "application/dicom+json"
BOUNDARY = "=" + "7" * 69
"""As long as a boundary may be, which Orthanc's are."""
SELECTED = (
    "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID", "InstanceNumber", "Modality", "Rows",
    "Columns",
)  # fmt: skip
CHOSEN = ("SOPInstanceUID", "InstanceNumber", "SliceThickness", "PixelSpacing", "ImagePositionPatient", "KVP")

SCANNED = {
    **dict.fromkeys("SeriesDate AcquisitionDate ContentDate PerformedProcedureStepStartDate".split(), "20260101"),
    **dict.fromkeys("SeriesTime AcquisitionTime ContentTime PerformedProcedureStepStartTime".split(), "120000.5"),
    **dict.fromkeys("Manufacturer ManufacturerModelName StudyDescription ProtocolName".split(), "ACME"),
    **dict.fromkeys("SliceThickness KVP DataCollectionDiameter ReconstructionDiameter TableHeight".split(), "1.25"),
    **dict.fromkeys("DistanceSourceToDetector DistanceSourceToPatient GantryDetectorTilt FocalSpots".split(), "500.5"),
    **dict.fromkeys("WindowCenter WindowWidth RescaleIntercept RescaleSlope SpatialResolution".split(), "40"),
    **dict.fromkeys("ExposureTime XRayTubeCurrent Exposure GeneratorPower AcquisitionNumber".split(), "200"),
    **dict.fromkeys("FilterType ConvolutionKernel StationName InstitutionName SoftwareVersions".split(), "B30f"),
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "BodyPartExamined": "CHEST", "PatientPosition": "HFS",
    "RotationDirection": "CW", "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "PixelSpacing": ["0.7", "0.7"], "SeriesDescription": "axial",
    "FrameOfReferenceUID": "1.2.3.4", "PositionReferenceIndicator": "", "PatientAge": "050Y", "RescaleType": "HU",
}  # fmt: skip


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """Every job of the table."""
    frames = size.slices // 2 + 1
    ct = write_series(scratch / "ct", 1, size.slices, 512)
    describe(scratch / "ct")
    index = write_index(scratch / "index", size.slices * 5 + 20 if size.slices < 100 else 2_000)
    big = write_big(scratch / "big", frames)
    (scratch / "orthanc").mkdir()
    with Orthanc(scratch / "orthanc") as orthanc:
        for folder in ("ct", "index", "big"):
            WebEndpoint(orthanc.url).store(scratch / folder, progress=False).raise_for_failures()
        jobs = {
            "memory": lambda: memory(size, orthanc, ct),
            "files": lambda: files(size, scratch, orthanc, ct),
            "peaks": lambda: peaks(scratch, orthanc, ct, big),
            "qido": lambda: qido(size, orthanc, index),
            "metadata": lambda: metadata(size, orthanc, ct),
            "reader": lambda: reader(size),
            "slow": lambda: slow(size, scratch, orthanc, index),
            "store": lambda: store(size, scratch, orthanc),
        }
        for job, rows in jobs.items():
            if size.chosen(job):
                yield from rows()


# --- data


def write_index(folder: Path, instances: int) -> str:
    """Small instances: ten series of one study."""
    uid = write_series(folder, 2, instances, 64)
    for number, path in enumerate(sorted(folder.iterdir())):
        dataset = dcmread(path)
        dataset.SeriesInstanceUID = f"{uid}.{number % 10 + 1}"
        dataset.save_as(path)
    return uid


def describe(folder: Path) -> None:
    """Write into each slice what a scanner does: 65 elements in all."""
    for number, path in enumerate(sorted(folder.iterdir())):
        dataset = dcmread(path)
        for keyword, value in SCANNED.items():
            setattr(dataset, keyword, value)
        dataset.ImagePositionPatient = [-170.0, -170.0, 1.25 * number]
        dataset.SliceLocation = 1.25 * number
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.3"
        dataset.ReferencedStudySequence = [item]
        dataset.save_as(path)


def write_big(folder: Path, frames: int) -> str:
    """One multi-frame instance of half a MiB a frame."""
    folder.mkdir()
    dataset = Dataset()
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "2.25.314159265358979.9"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "BENCH9", "Bench^Synthetic", "OT"
    dataset.Rows = dataset.Columns = 512
    dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = np.random.default_rng(9).integers(0, 4000, (frames, 512, 512), dtype="<u2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(folder / "big.dcm", dataset, enforce_file_format=True)
    return str(dataset.StudyInstanceUID)


def to_null(url: str, study: str) -> int:
    """Read the answer of a series and keep nothing."""
    headers = {"Accept": ACCEPT, "Accept-Encoding": "identity"}
    total = 0
    where = f"{url}/studies/{study}/series/{study}.1"
    with requests.get(where, headers=headers, stream=True, timeout=60) as answer:
        for chunk in answer.iter_content(1 << 20):
            total += len(chunk)
    return total


def to_list(url: str, study: str) -> list[bytes]:
    """Read the answer of a series and keep it, in pieces of any size: the least that keeping costs."""
    headers = {"Accept": ACCEPT, "Accept-Encoding": "identity"}
    where = f"{url}/studies/{study}/series/{study}.1"
    with requests.get(where, headers=headers, stream=True, timeout=60) as answer:
        return list(answer.iter_content(1 << 20))


class LetGo:
    """A sink in which each instance is in one piece of memory, and let go for the next one."""

    def __init__(self) -> None:
        self.count = 0

    def begin(self, arrival: Arrival) -> Passing:
        return Passing(arrival, self)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        raise AssertionError(status)


class Passing(Gathering):
    """One instance on its way through."""

    def __init__(self, arrival: Arrival, sink: LetGo) -> None:
        super().__init__(arrival)
        self._sink = sink

    def finish(self) -> Outcome:
        assert len(self.parcel().octets)
        self._sink.count += 1
        return Outcome("", "done")


class Kept(LetGo):
    """A sink that keeps every instance as octets."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[object] = []

    def begin(self, arrival: Arrival) -> Staying:
        return Staying(arrival, self)


class Staying(Gathering):
    """One instance that stays."""

    def __init__(self, arrival: Arrival, sink: Kept) -> None:
        super().__init__(arrival)
        self._sink = sink

    def finish(self) -> Outcome:
        self._sink.files.append(self.parcel().octets)
        self._sink.count += 1
        return Outcome("", "done")


# --- jobs


def memory(size: Size, orthanc: Orthanc, study: str) -> Iterator[Row]:
    """A series into memory as octets."""
    web = WebEndpoint(orthanc.url)
    wanted = [one.wanted for one in web.find("instance", StudyInstanceUID=study, progress=False)]
    client = DICOMwebClient(orthanc.url)

    held: list[object] = []

    def ours(sink: LetGo) -> None:
        with dicomlab.trace():
            web.deliver(wanted, sink, Control())
        assert sink.count == size.slices
        held.append(sink)

    def theirs() -> None:
        kinds = (("application/dicom", "*"),)
        held.append(client.retrieve_series(study, f"{study}.1", media_types=kinds))

    what = f"series to memory, {size.slices} x 0.5 MiB"
    null = ("requests to null", lambda: to_null(orthanc.url, study))
    raw = ("requests, all kept", lambda: held.append(to_list(orthanc.url, study)))
    peer = ("dicomweb-client retrieve_series", theirs)
    one_by_one, kept = ("deliver, one by one", lambda: ours(LetGo())), ("deliver, all kept", lambda: ours(Kept()))
    for mine, other in ((one_by_one, null), (kept, null), (raw, null), (kept, peer)):
        yield side_by_side(what, mine, other, size.rounds, held.clear)


def files(size: Size, scratch: Path, orthanc: Orthanc, study: str) -> Iterator[Row]:
    """A series into files."""
    cohort = WebEndpoint(orthanc.url).find("instance", StudyInstanceUID=study, progress=False)
    at = scratch / "got"

    def ours() -> None:
        with dicomlab.trace():
            assert cohort.retrieve(at, progress=False).count("done") == size.slices

    what = f"series to files, {size.slices} x 0.5 MiB"
    null = ("requests to null", lambda: to_null(orthanc.url, study))
    yield side_by_side(what, ("cohort.retrieve", ours), null, size.rounds, lambda: shutil.rmtree(at, True))
    shutil.rmtree(at, True)


def peaks(scratch: Path, orthanc: Orthanc, study: str, big: str) -> Iterator[Row]:
    """How far memory grows."""
    setup = "import dicomlab; web = dicomlab.WebEndpoint({url!r});"
    setup += "cohort = web.find('instance', StudyInstanceUID={uid!r}, progress=False)"
    for what, uid in (("series to files", study), ("one large instance to a file", big)):
        at = scratch / "peak"
        ours = peak_mib(
            setup.format(url=orthanc.url, uid=uid), f"cohort.retrieve({str(at)!r}, progress=False).raise_for_failures()"
        )
        series = f"{uid}.1" if uid == study else uid
        theirs = peak_mib(
            f"from dicomweb_client.api import DICOMwebClient; c = DICOMwebClient({orthanc.url!r})",
            f"c.retrieve_series({uid!r}, {series!r}, media_types=(('application/dicom', '*'),))",
        )
        shutil.rmtree(at, True)
        yield Row(f"{what}: growth of peak", "cohort.retrieve", "retrieve_series", ours, theirs, 1, unit="MiB")
    ours = peak_mib(
        f"import dicomlab; web = dicomlab.WebEndpoint({orthanc.url!r}); web.store([], progress=False)",
        f"web.store({str(scratch / 'ct')!r}, progress=False).raise_for_failures()",
    )
    load = f"from pathlib import Path; from pydicom import dcmread; f = sorted(Path({str(scratch / 'ct')!r}).iterdir())"
    theirs = peak_mib(
        f"from dicomweb_client.api import DICOMwebClient; c = DICOMwebClient({orthanc.url!r}); {load}",
        "c.store_instances([dcmread(one) for one in f])",
    )
    yield Row("store a series: growth of peak", "store", "store_instances", ours, theirs, 1, unit="MiB")


def peak_mib(before: str, work: str) -> float:
    """The growth of the peak of resident memory by `work`, in a process of its own."""
    script = f"""
import gc
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
{before}
gc.collect()
open("/proc/self/clear_refs", "w").write("5")
start = peak()
{work}
print(peak() - start)
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    return max(0.01, float(done.stdout.split()[-1]))


def by_pydicom(octets: bytes, keywords: tuple[str, ...] | None) -> pd.DataFrame:
    """What users of a client that gives JSON write."""
    rows = []
    for one in json.loads(octets):
        dataset = Dataset.from_json(one, bulk_data_uri_handler=lambda uri: b"")
        elements = dataset if keywords is None else (dataset[k] for k in keywords if k in dataset)
        rows.append({element.keyword or str(element.tag): element.value for element in elements})
    return pd.DataFrame(rows)


def qido(size: Size, orthanc: Orthanc, study: str) -> Iterator[Row]:
    """The answer to a search, to a DataFrame."""
    where = f"{orthanc.url}/studies/{study}/instances?includefield=all"
    octets = requests.get(where, headers={"Accept": JSON}, timeout=60).content
    count = len(json.loads(octets))
    yield from parsed(size, f"search, {count} rows", octets, SELECTED)
    web = WebEndpoint(orthanc.url, page=10_000)

    def ours() -> None:
        found = web.find("instance", StudyInstanceUID=study, progress=False)
        assert found.complete
        assert len(found) == count

    def theirs() -> None:
        answer = requests.get(f"{orthanc.url}/studies/{study}/instances", headers={"Accept": JSON}, timeout=60)
        assert len(by_pydicom(answer.content, None)) == count

    how = ("requests, from_json, DataFrame", theirs)
    yield side_by_side(f"search, {count} rows, end to end", ("find", ours), how, size.rounds)


def metadata(size: Size, orthanc: Orthanc, study: str) -> Iterator[Row]:
    """The metadata of a series, to a DataFrame."""
    where = f"{orthanc.url}/studies/{study}/series/{study}.1/metadata"
    octets = requests.get(where, headers={"Accept": JSON}, timeout=60).content
    count = len(json.loads(octets))
    yield from parsed(size, f"metadata of {count} instances", octets, CHOSEN)


def parsed(size: Size, what: str, octets: bytes, selected: tuple[str, ...]) -> Iterator[Row]:
    """From the octets of an answer to a DataFrame: everything, and selected columns."""
    rounds = max(3, size.rounds) if size.slices > 10 else 1

    def whole() -> None:
        assert len(Table(octets).read()[0]) > 0

    def chosen() -> None:
        assert len(Table(octets).read(columns(selected))[0]) > 0

    pydicom = ("pydicom from_json", lambda: by_pydicom(octets, None))
    yield side_by_side(f"{what}, parse and build", ("every column", whole), pydicom, rounds)
    few = ("pydicom from_json", lambda: by_pydicom(octets, selected))
    yield side_by_side(f"{what}, parse and build", (f"{len(selected)} columns", chosen), few, rounds)


class Canned:
    """A response whose body is in memory, for parsers that want one."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.headers = {"content-type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}

    def __enter__(self) -> Canned:
        return self

    def __exit__(self, *_: object) -> None:
        self.body = b""

    def iter_content(self, chunk_size: int) -> Iterator[bytes]:
        for at in range(0, len(self.body), chunk_size):
            yield self.body[at : at + chunk_size]


def reader(size: Size) -> Iterator[Row]:
    """The multipart reader alone."""
    noise = np.random.default_rng(0)
    client = DICOMwebClient("http://localhost")

    def body(parts: int, octets: int, *, length: bool) -> bytes:
        out = b""
        pieces = []
        for n in range(parts):
            headers = {"Content-Type": "application/dicom"} | ({"Content-Length": str(octets)} if length else {})
            pieces.append(part_head(BOUNDARY, headers, first=n == 0) + noise.bytes(octets))
        return out.join(pieces) + closing(BOUNDARY)

    def read(octets: bytes) -> int:
        parts = PartReader(BOUNDARY)
        total = 0
        for at in range(0, len(octets), 1 << 18):
            for event in parts.feed(octets[at : at + (1 << 18)]):
                if isinstance(event, Data):
                    total += len(event.octets)
        parts.close()
        return total

    def collect(octets: bytes) -> list[int]:
        """Every part in one piece, one after the other, as theirs gives them."""
        parts = PartReader(BOUNDARY)
        sizes = []
        pieces: list[bytes | memoryview] = []
        for at in range(0, len(octets), 1 << 18):
            for event in parts.feed(octets[at : at + (1 << 18)]):
                if isinstance(event, Data):
                    pieces.append(event.octets)
                elif isinstance(event, End):
                    sizes.append(len(b"".join(pieces)))
                    pieces.clear()
        parts.close()
        return sizes

    def theirs(octets: bytes) -> list[int]:
        return [len(part) for part in client._decode_multipart_message(Canned(octets), stream=True)]  # type: ignore[arg-type]

    for length in (True, False):
        whole = body(size.slices, 525_000, length=length)
        what = f"multipart reader, {size.slices} parts {'with' if length else 'without'} length"
        assert collect(whole) == theirs(whole)
        peer = ("dicomweb-client, streaming", lambda whole=whole: theirs(whole))
        yield side_by_side(what, ("PartReader", lambda whole=whole: collect(whole)), peer, size.rounds)
    one = body(1, size.slices * 262_500, length=False)
    two = body(1, size.slices * 525_000, length=False)
    what = "multipart reader, one part twice as long"
    yield side_by_side(what, ("twice", lambda: read(two)), ("once", lambda: read(one)), size.rounds)


def store(size: Size, scratch: Path, orthanc: Orthanc) -> Iterator[Row]:
    """A folder of files to the server."""
    web = WebEndpoint(orthanc.url)
    paths = sorted((scratch / "ct").iterdir())
    client = DICOMwebClient(orthanc.url)
    datasets = [dcmread(path) for path in paths]

    def ours() -> None:
        with dicomlab.trace():
            assert web.store(scratch / "ct", progress=False).count("done") == size.slices

    def theirs() -> None:
        assert len(client.store_instances(datasets).ReferencedSOPSequence) == size.slices

    what = f"store {size.slices} instances"
    peer = ("dicomweb-client, datasets in memory", theirs)
    yield side_by_side(what, ("store", ours), peer, min(size.rounds, 5), orthanc.reset)


def slow(size: Size, scratch: Path, orthanc: Orthanc, study: str) -> Iterator[Row]:
    """Series over a link with 25 ms each way: several at once against one after the other."""
    plan = Plan([Delay(0.025)], [Delay(0.025)])
    at = scratch / "slow"
    with TcpProxy(orthanc.http_port, others=plan) as proxy:
        web = WebEndpoint(f"http://{LOOPBACK}:{proxy.port}/dicom-web")
        cohort = web.find("instance", StudyInstanceUID=study, progress=False)

        def run(streams: int) -> None:
            report = cohort.retrieve(at, progress=False, streams=streams)
            assert report.count("done") == len(cohort)

        ours, theirs = ("4 streams", lambda: run(4)), ("1 stream", lambda: run(1))
        what = f"10 series, {len(cohort)} instances, 25 ms each way"
        yield side_by_side(what, ours, theirs, min(size.rounds, 3), lambda: shutil.rmtree(at, True))


if __name__ == "__main__":
    main(bench, peers=["orthanc"])
