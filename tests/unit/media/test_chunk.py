"""Every real file that the packages here bring, read as pydicom reads it; names in all character sets as DCMTK does."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import tarfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from dicomlab.media.cells import raws_of
from dicomlab.media.chunk import Batch, read_chunk
from dicomlab.media.found import BASE
from dicomlab.media.look import DIRECTORY
from dicomlab.model.columns import Column, columns, read
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.processes import need

EXTRA = """WindowCenter SmallestImagePixelValue PixelPaddingValue FrameIncrementPointer OtherPatientIDs EchoTime
    InstitutionAddress PatientComments ReferencedStudySequence.ReferencedSOPInstanceUID
    ReferencedImageSequence.ReferencedSOPInstanceUID RequestAttributesSequence.ScheduledProcedureStepID
    AnatomicRegionSequence.CodeMeaning""".split()
NAMES = tuple(dict.fromkeys((*BASE, *EXTRA)))
COLUMNS = [one for one in columns(NAMES) if one.tag >> 16 != 2]

DIFFERENT: dict[str, str] = {}
"""Files, by name, whose values are others than pydicom's, and why that is right. There are none at present."""

REFUSED = {
    "missing_uid": "no place in patient, study and series",
    "truncated": "octets are missing: it must not pass for whole",
    "bad_meta": "nothing says how its data set is encoded",
}
"""Kinds of errors of files that pydicom reads."""

PACKAGES = ("pydicom", "data_store", "pynetdicom", "nibabel")  # data_store: that is pydicom-data


SDISTS = sorted((Path(sys.prefix) / "sdists").glob("*.tar.gz"))
"""Source distributions whose tests hold real files, where somebody has fetched them:
``pip download --no-deps --no-binary :all: -d .venv/sdists dicognito dicompyler-core``."""


def folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(params=[*PACKAGES, *SDISTS], ids=lambda one: one if isinstance(one, str) else one.name)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """Everything that is no program, in its folder; what is packed, unpacked."""
    if isinstance(request.param, Path):
        with tarfile.open(request.param) as packed:
            packed.extractall(tmp_path, filter="data")
    folder = tmp_path if isinstance(request.param, Path) else folder_of(str(request.param))
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix not in (".py", ".pyc", ".pyi", ".so")]
    if str(request.param) == "nibabel":
        for path in paths:
            if path.name.endswith(".dcm.gz"):
                (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
            elif path.suffix == ".dcm":
                (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path, sorted(path.name for path in tmp_path.iterdir())
    return folder, [path.relative_to(folder).as_posix() for path in paths]


def test_values_are_those_of_pydicom(files: tuple[Path, list[str]]) -> None:
    folder, names = files
    batch = read_chunk(str(folder), [(name, (folder / name).stat().st_size, 1) for name in names], NAMES)
    compared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own opinion of these files
        for number, (name, kind) in enumerate(zip(batch["path"], batch["kind"], strict=True)):
            if batch["member"][number] is not None or kind in ("not_dicom", "empty", DIRECTORY):
                continue
            assert kind in ("", *REFUSED), (name, kind)
            dataset = dcmread(folder / name, force=not kind)
            differing = [one.name for one in COLUMNS if cell(batch, one, number) != theirs(dataset, one)]
            if kind == "truncated":  # what comes behind the cut is not compared
                differing = [one for one in differing if batch[one][number] is not None]
            if kind not in ("bad_meta", "truncated"):
                assert bool(differing) == (name in DIFFERENT), (name, differing)
            compared += not kind
    least = {"pydicom": 130, "data_store": 40, "pynetdicom": 5, "dicognito": 50, "dicompyler_core": 4}
    assert compared >= least.get(_package(folder), 4)


def _package(folder: Path) -> str:
    inside = [folder.name, *(path.name.rpartition("-")[0].replace("-", "_") for path in folder.iterdir())]
    return next((name for name in (*PACKAGES, "dicognito", "dicompyler_core") if name in inside), "nibabel")


def cell(batch: Batch, one: Column, number: int) -> object:
    return read(one, raws_of(one, batch[one.name][number]))


def theirs(dataset: Any, one: Column) -> object:
    return read(one, _raws(dataset, one.path))


def _raws(dataset: Any, path: tuple[int, ...]) -> tuple[object, ...]:
    element = dataset.get(path[0])
    if element is None:
        return ()
    if len(path) > 1:
        inner = [_raws(item, path[1:]) for item in element.value or ()]
        return tuple("\\".join(map(str, raws)) if len(raws) > 1 else raws[0] if raws else None for raws in inner)
    value: Any = element.value
    values = value if isinstance(value, MultiValue | list) else [] if value in (None, "") else [value]
    if element.VR == "AT":
        return tuple(f"{int(tag):08X}" for tag in values)
    return tuple(v if isinstance(v, int | float) and not hasattr(v, "original_string") else str(v) for v in values)


def charset_files() -> list[str]:
    return sorted(path.name for path in (folder_of("pydicom") / "data" / "charset_files").glob("*.dcm"))


@pytest.mark.parametrize("name", charset_files())
def test_names_are_those_of_dcmtk(name: str) -> None:
    need("dcmtk")
    folder = folder_of("pydicom") / "data" / "charset_files"
    path = folder / name
    batch = read_chunk(str(folder), [(name, path.stat().st_size, 1)], NAMES)
    done = subprocess.run(["dcmdump", "+U8", "+P", "0010,0010", path], capture_output=True, check=False, timeout=30)
    found = re.search(r"^\(0010,0010\) PN \[(.*)\]", done.stdout.decode("utf-8", "replace"), re.MULTILINE)
    if done.returncode or found is None:
        assert (batch["PatientName"][0] or "") == NOT_FOR_DCMTK[name]
        return
    assert (batch["PatientName"][0] or "").rstrip("=") == found[1].rstrip().rstrip("=")


JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"  # PS3.5 §H.3.1
NOT_FOR_DCMTK = {
    "chrH31.dcm": JAPANESE,
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",  # PS3.5 §H.3.2
    "chrJapMulti.dcm": "やまだ^たろう",
    "chrJapMultiExplicitIR6.dcm": "やまだ^たろう",
    "chrSQEncoding.dcm": "",
    "chrSQEncoding1.dcm": "",
}
"""Files that DCMTK, as Debian builds it, can't convert (it has no ISO 2022 IR 87), or that have no name at the top."""


def test_a_sequence_that_is_broken_inside_is_an_error(tmp_path: Path) -> None:
    ds = next(iter(phantom_datasets(patients=1, slices=1)))
    ds.RequestAttributesSequence = [Dataset()]
    ds.RequestAttributesSequence[0].ScheduledProcedureStepID = "S1"
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    octets = (tmp_path / "a").read_bytes()
    at = octets.index(b"\x40\0\x75\x02SQ") + 12
    (tmp_path / "b").write_bytes(octets[:at] + b"\xfe\xff\x00\xe1" + octets[at + 4 :])
    batch = read_chunk(str(tmp_path), [(name, len(octets), 1) for name in ("a", "b")], NAMES)
    assert batch["kind"] == ["", "bad_length"]
    assert batch["RequestAttributesSequence.ScheduledProcedureStepID"] == ["S1", None]


def test_all_of_the_file_meta_information_can_be_asked_for() -> None:
    folder = folder_of("pydicom") / "data" / "test_files"
    names = (*NAMES, "ImplementationClassUID", "SourceApplicationEntityTitle", "SendingApplicationEntityTitle")
    files = ["CT_small.dcm", "ExplVR_LitEndNoMeta.dcm", "README.txt", "rtplan.dcm"]
    batch = read_chunk(str(folder), [(name, (folder / name).stat().st_size, 1) for name in files], names)
    assert batch["ImplementationClassUID"] == ["1.3.6.1.4.1.5962.2", None, None, "1.2.888.888.88.8.8.8"]
    assert batch["SourceApplicationEntityTitle"][0] == "CLUNIE1"
    assert batch["SendingApplicationEntityTitle"] == [None] * 4
